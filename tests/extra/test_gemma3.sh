#!/bin/sh
# A real trained checkpoint: Gemma 3 270M (base, Q4_K_M). It answers sensibly, the same for any thread count, and its
# perplexity on WikiText-2 agrees with llama.cpp's on the same file and settings within 0.5%.
. "$(dirname "$0")/lib.sh"
gemma3

answer() { "$CARAT_BIN" run "$GEMMA3" --raw -n 8 --temp 0 -t "$1" -p "$2" 2>/dev/null; }
says() { case $(answer 2 "$1") in *"$2"*) ;; *) echo "  '$1' -> '$(answer 2 "$1")'"; return 1 ;; esac; }
check "largest planet" says "Question: What is the largest planet in the solar system?
Answer:" Jupiter
check "opposite" says "hot -> cold
big -> small
up ->" down
check "counting" says "one, two, three, four," five
one=$(answer 1 "Once upon a time")
for t in 2 3 8; do check "$t threads say the same" test "$(answer $t "Once upon a time")" = "$one"; done

# Prompt lookup changes no token, however the next one is chosen; where the text repeats, its guesses come true.
lookup() { # MODE SAMPLING…: ids, and how the guesses went
    mode=$1
    shift
    "$CARAT_BIN" run "$GEMMA3" --raw -n 48 --json --lookup "$mode" "$@" -p "Question: Who wrote the play about the prince of Denmark?
Answer: The play about the prince of Denmark was written by Shakespeare.
Question: Who wrote the play about the king of Scotland?
Answer: The play about" 2>/dev/null
}
ids() { sed 's/.*"token_ids": \(\[[^]]*\]\).*/\1/'; }
guesses() { sed 's/.*"lookup": {\([^}]*\)}.*/\1/'; }
for how in "--temp 0" "--seed 1 --top-k 0 --top-p 1" "--seed 2" "--seed 3 --temp 0.7 --repeat-penalty 1.2"; do
    off=$(lookup off $how | ids)
    for mode in auto always; do
        out=$(lookup $mode $how)
        echo "lookup $mode, $how: $(printf %s "$out" | guesses)"
        check "lookup $mode, $how: the same tokens" test "$(printf %s "$out" | ids)" = "$off"
    done
done
right=$(lookup always --temp 0 | sed 's/.*"accepted": \([0-9]*\).*/\1/')
check "greedy, always: at least 10 guesses come true ($right)" test "$right" -ge 10

# Screening the output head changes no token either, and leaves out most of it; without top-k there is nothing to screen.
screen() { # MODE SAMPLING…
    mode=$1
    shift
    "$CARAT_BIN" run "$GEMMA3" --raw -n 40 --json --screen "$mode" --lookup off "$@" -p "The history of the city of Rome begins" 2>/dev/null
}
number() { sed 's/.*"'"$1"'": *\([0-9]*\).*/\1/'; }
for how in "--temp 0" "--seed 1" "--seed 2 --top-k 20 --repeat-penalty 1.1" "--seed 3 --temp 1.5 --top-k 40 --min-p 0.02"; do
    off=$(screen off $how | ids)
    out=$(screen auto $how)
    groups=$(printf %s "$out" | number groups) computed=$(printf %s "$out" | number computed)
    fallbacks=$(printf %s "$out" | sed 's/.*"screen": {\([^}]*\)}.*/\1/' | number fallbacks)
    echo "screen, $how: $computed of $groups groups of 16 rows computed, $fallbacks rows whole"
    check "screen, $how: the same tokens" test "$(printf %s "$out" | ids)" = "$off"
    check "screen, $how: at most 3 in 10 groups computed" test "$((computed * 10))" -le "$((groups * 3))"
    check "screen, $how: hardly any fallbacks" test "$fallbacks" -le 4
done
check "screen, no top-k: not screened" test "$(screen auto --seed 4 --top-k 0 | number screened)" -eq 0

if [ -f "$DATA/wikitext2_test_raw.txt.xz" ] && command -v xz >/dev/null; then
    text=$CACHE/wikitext2_test_raw.txt
    xz -dc "$DATA/wikitext2_test_raw.txt.xz" >"$text"
    # llama-perplexity -m FILE -f TEXT -c 512 -b 512 --chunks 8 -fa off: 18.1116 on this file, 18.0678 on its F32 copy with
    # -ctk f32 -ctv f32, where no rounding of activations stands between the two programs (docs/correctness.md).
    within() { awk -v a="$1" -v b="$2" -v c="$3" 'BEGIN { d = a / b - 1; exit !(d < c && d > -c) }'; }
    ppl=$("$CARAT_BIN" weigh "$GEMMA3" --text "$text" -c 512 --chunks 8 --json 2>/dev/null | sed 's/.*"perplexity": *\([0-9.]*\).*/\1/')
    echo "perplexity over 8 windows of 512: $ppl; llama.cpp 18.1116, on F32 weights 18.0678"
    check "perplexity within 0.5% of llama.cpp on the same file" within "$ppl" 18.1116 0.005
    check "perplexity within 0.05% of llama.cpp on the dequantised file" within "$ppl" 18.0678 0.0005
else
    echo "SKIPPED: perplexity of Gemma 3 270M needs $DATA/wikitext2_test_raw.txt.xz and xz"
fi
finish
