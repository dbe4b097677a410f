# carat weigh: the windows, the sums, and a cross-check of the score against carat logits.
. "$(dirname "$0")/lib.sh"

i=0
while [ $i -lt 60 ]; do
    echo "Once upon a time there was a cat number $i who lived in a small house by the sea."
    i=$((i + 1))
done >"$TMP/text"
bytes=$(wc -c <"$TMP/text" | tr -d ' ')

carat weigh "$MODEL" --text "$TMP/text" -c 64
check "weigh" status 0
check "perplexity" out_has "perplexity"
"$CARAT" tokenize "$MODEL" --json <"$TMP/text" >"$TMP/out"
n=$(json tokens)
printf %s "$(cat "$TMP/text")" >"$TMP/cut" # without the newline at its end, as llama.cpp reads a text
"$CARAT" tokenize "$MODEL" --bos --json <"$TMP/cut" >"$TMP/out"
n_half=$(json tokens)

carat weigh "$MODEL" --text "$TMP/cut" -c 64 --json
nll_cut=$(json nll)
carat weigh "$MODEL" --text "$TMP/text" -c 64 --json
check "a newline at the end is dropped" equal "$(json nll) $(json text_tokens)" "$nll_cut $n_half"
check "windows of the half rule" equal "$(json n_windows)" $((n_half / 64))
check "31 tokens a window" equal "$(json scored_tokens)" $((n_half / 64 * 31))
check "error bars" json nll nll_error perplexity perplexity_error bits_per_byte >/dev/null
nll=$(json nll) ppl=$(json perplexity)
check "perplexity is e^nll" awk "BEGIN { d = exp($nll) / $ppl - 1; exit !(d < 1e-6 && d > -1e-6) }"
carat weigh "$MODEL" --text "$TMP/text" -c 64 --json -t 3
check "the same with 3 threads" equal "$(json nll)" "$nll"
"$CARAT" weigh "$MODEL" --text - -c 64 --json <"$TMP/text" >"$TMP/out"
check "the same from stdin" equal "$(json nll)" "$nll"

carat weigh "$MODEL" --text "$TMP/text" -c 64 --windows full --json
check "every token is scored" equal "$(json scored_tokens)" "$n"
check "every byte counts" equal "$(json scored_bytes)" "$bytes"
check "bits per byte" awk "BEGIN { d = $(json nll) * $n / log(2) / $bytes / $(json bits_per_byte) - 1; exit !(d < 1e-6 && d > -1e-6) }"
carat weigh "$MODEL" --text "$TMP/text" -c 64 --windows full --chunks 2 --json
check "--chunks" equal "$(json n_windows) $(json scored_tokens)" "2 126"
carat weigh "$MODEL" --text "$TMP/text" -c 64 --stride 16 --json
check "--stride" equal "$(json n_windows)" $(((n + 1 - 64) / 16 + 1))
check "16 tokens a window" equal "$(json scored_tokens)" $(($(json n_windows) * 16))

printf 'cat' >"$TMP/short"
carat weigh "$MODEL" --text "$TMP/short" --windows full --json
check "a short text is one window" equal "$(json n_windows)" 1

refused 2 "--text" weigh "$MODEL"
refused 2 "--text" weigh "$MODEL" --text ""
refused 2 "smaller than -c" weigh "$MODEL" --text "$TMP/text" -c 64 --stride 64
refused 2 "half" weigh "$MODEL" --text "$TMP/text" --stride 4 --windows full
refused 1 "more text" weigh "$MODEL" --text "$TMP/short"
refused 1 "No such file" weigh "$MODEL" --text "$TMP/none"
: >"$TMP/empty"
refused 1 "is empty" weigh "$MODEL" --text "$TMP/empty" --windows full
carat cut "$MODEL" --type f32 --out "$TMP/nan.gguf"
size=$(wc -c <"$TMP/nan.gguf")
head -c 20000 /dev/zero | tr '\0' '\377' | dd of="$TMP/nan.gguf" bs=1 seek=$((size - 20000)) conv=notrunc 2>"$TMP/err"
for f in "" --json "--windows full"; do refused 1 "NaN" weigh "$TMP/nan.gguf" --text "$TMP/text" -c 64 $f; done
refused 1 "needs " weigh "$MODEL" --text "$TMP/text" --ram 10K
finish
