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

if [ -f "$DATA/wikitext2_test_raw.txt.xz" ] && command -v xz >/dev/null; then
    text=$CACHE/wikitext2_test_raw.txt
    xz -dc "$DATA/wikitext2_test_raw.txt.xz" >"$text"
    # llama-perplexity -m FILE -f TEXT -c 512 --chunks N (docs/correctness.md has the versions and the whole file's value)
    chunks=8 expected=18.1556
    ppl=$("$CARAT_BIN" weigh "$GEMMA3" --text "$text" -c 512 --chunks $chunks --json 2>/dev/null | sed 's/.*"perplexity": *\([0-9.]*\).*/\1/')
    echo "perplexity over $chunks windows of 512: $ppl, llama.cpp $expected"
    check "perplexity within 0.5% of llama.cpp" awk -v a="$ppl" -v b="$expected" 'BEGIN { d = a / b - 1; exit !(d < 0.005 && d > -0.005) }'
else
    echo "SKIPPED: perplexity of Gemma 3 270M needs $DATA/wikitext2_test_raw.txt.xz and xz"
fi
finish
