# carat run: answers, JSON, seeds, threads, limits, bad input, Ctrl-C, closed output.
. "$(dirname "$0")/lib.sh"
P="Once upon a time"

carat run "$MODEL" -p "$P" -n 8 --seed 1
check "run" status 0
check "text is on stdout" test -s "$TMP/out"
check "nothing on stderr" lines "$TMP/err" 0

# JSON: one object, with the keys of the contract.
carat run "$MODEL" -p "$P" -n 8 --seed 1 --json
check "run --json" status 0
check "keys" json prompt_tokens tokens text stop timing.load_ms timing.prefill_ms timing.prefill_tok_s timing.first_token_ms \
    timing.decode_ms timing.decode_tok_s memory.peak_rss_bytes memory.resident_bytes memory.mapped_bytes memory.kv_bytes \
    memory.scratch_bytes memory.ple.mode memory.ple.table_bytes memory.ple.reads memory.ple.read_bytes memory.ple.stall_ms \
    memory.experts >"$TMP/values"
check "tokens" equal "$(json tokens)" 8
check "stop" equal "$(json stop)" length
check "PLE is mapped" equal "$(json memory.ple.mode)" mapped
check "every evaluated token reads one PLE row" equal "$(json memory.ple.reads)" $(($(json prompt_tokens) + 7))
check "no experts" equal "$(json memory.experts)" "{}"
carat run "$ORACLE/26b-a4b" -p "$P" -n 4 --seed 1 --json
check "experts are counted" test "$(json memory.experts.evals)" -gt 0
sum() { tr -d '[]' | tr ',' '\n' | awk '{ s += $1 } END { print s + 0 }'; }
all=0
for i in 0 1 2; do
    n=$(json memory.experts.layers.$i.evals)
    all=$((all + n))
    check "layer $i: counts are the evaluations" equal "$(json memory.experts.layers.$i.counts | sum)" "$n"
    check "layer $i: used and entropy" json memory.experts.layers.$i.used memory.experts.layers.$i.entropy_bits >/dev/null
done
check "layers are all evaluations" equal "$all" "$(json memory.experts.evals)"
check "no PLE" equal "$(json memory.ple.mode)" none

# Seeds and threads.
for m in e2b e4b 31b 26b-a4b gemma3; do
    carat run "$ORACLE/$m" -p "$P" -n 24 --seed 7 --json -t 1
    check "$m answers" status 0
    ids=$(json token_ids)
    for t in 2 3 8; do
        carat run "$ORACLE/$m" -p "$P" -n 24 --seed 7 --json -t $t
        check "$m: same tokens with $t threads" equal "$(json token_ids)" "$ids"
    done
    carat run "$ORACLE/$m" -p "$P" -n 24 --temp 0 --seed 1 --json
    greedy=$(json token_ids)
    carat run "$ORACLE/$m" -p "$P" -n 24 --temp 0 --seed 2 --json -t 1
    check "$m: greedy does not depend on the seed" equal "$(json token_ids)" "$greedy"
    carat run "$ORACLE/$m" -p "$P" -n 24 --top-k 1 --json
    check "$m: top-k 1 is greedy" equal "$(json token_ids)" "$greedy"
done
carat run "$MODEL" -p "$P" -n 24 --seed 7
cp "$TMP/out" "$TMP/seven"
carat run "$MODEL" -p "$P" -n 24 --seed 7 -t 3
check "same seed, same text" cmp -s "$TMP/out" "$TMP/seven"
carat run "$MODEL" -p "$P" -n 24 --seed 8
check "another seed, another text" test "$(cat "$TMP/out")" != "$(cat "$TMP/seven")"
carat run "$MODEL" -p "$P" -n 4 --json
seed=$(json seed) ids=$(json token_ids)
carat run "$MODEL" -p "$P" -n 4 --seed "$seed" --json
check "the seed that JSON tells reproduces the answer" equal "$(json token_ids)" "$ids"

# Prompt lookup: the same tokens, and JSON tells how the guesses went.
carat run "$MODEL" -p "$P" -n 60 --seed 7 --json --lookup off
ids=$(json token_ids)
check "lookup off guesses nothing" equal "$(json lookup.mode) $(json lookup.drafted)" "off 0"
for mode in auto always; do
    carat run "$MODEL" -p "$P" -n 60 --seed 7 --json --lookup $mode
    check "--lookup $mode: the same tokens" equal "$(json token_ids)" "$ids"
    check "--lookup $mode: JSON says so" equal "$(json lookup.mode)" $mode
    check "--lookup $mode: no more right than guessed" test "$(json lookup.accepted)" -le "$(json lookup.drafted)"
done
carat run "$MODEL" -p "$P" -n 2 --json
check "the default is auto" equal "$(json lookup.mode)" auto
refused 2 "--lookup" run "$MODEL" -p a --lookup never
carat run "$MODEL" -p "$P" -n 4 --seed 7 --json
check "the default of --screen is auto" equal "$(json screen.mode)" auto
refused 2 "--screen" run "$MODEL" -p a --screen never

# The prompt: -p, -f and stdin are the same; a newline at the end of a file is dropped.
carat run "$MODEL" -p "$P" -n 4 --temp 0 --json
n=$(json prompt_tokens) ids=$(json token_ids)
echo "$P" >"$TMP/prompt"
carat run "$MODEL" -f "$TMP/prompt" -n 4 --temp 0 --json
check "-f" equal "$(json prompt_tokens) $(json token_ids)" "$n $ids"
"$CARAT" run "$MODEL" -n 4 --temp 0 --json <"$TMP/prompt" >"$TMP/out"
check "stdin" equal "$(json prompt_tokens) $(json token_ids)" "$n $ids"
carat run "$MODEL" -p "$P" --raw -n 4 --temp 0 --json
check "--raw has no template" test "$(json prompt_tokens)" -lt "$n"
carat run "$MODEL" -p "$P" --system "Be brief." -n 1 --temp 0 --json
check "--system is in the prompt" test "$(json prompt_tokens)" -gt "$n"
carat run "$MODEL" -p "$P" --think on -n 1 --temp 0 --json
check "--think changes the prompt" test "$(json prompt_tokens)" -gt "$n"
refused 2 "one of them" run "$MODEL" -p a -f b
refused 2 "no place" run "$MODEL" --raw --system s -p a
refused 2 "vision" run "$MODEL" -p a --image f.png
refused 2 "audio" run "$MODEL" -p a --audio f.wav
printf 'a\0b' >"$TMP/nul"
refused 1 "NUL" run "$MODEL" -f "$TMP/nul"
mkfifo "$TMP/pipe"
cat "$TMP/prompt" >"$TMP/pipe" &
carat run "$MODEL" -f "$TMP/pipe" -n 4 --temp 0 --json
check "-f reads a pipe" equal "$(json prompt_tokens) $(json token_ids)" "$n $ids"
# An empty prompt is a slip (an unset variable), except for --raw, which continues from nothing.
: >"$TMP/void"
refused 2 "empty" run "$MODEL" -p ""
refused 1 "empty" run "$MODEL" -f "$TMP/void"
refused 1 "empty" run "$MODEL"
refused 2 "empty word" run "$MODEL" -f ""
refused 2 "empty word" run "" -p x
carat run "$MODEL" -p "" --raw -n 2
check "--raw begins with nothing" status 0
refused 1 "is a folder" run "$MODEL" -f "$TMP"
refused 1 "behind -p" run "Tell me a story" -p x

# Thoughts, which a random model opens by chance: never on stdout, on stderr with --think on.
carat tokenize "$MODEL" "<|channel>" --special --json
channel=$(json ids.0)
for think in off on; do
    seed=0 found= flat="-n 200 --temp 3 --top-k 0 --top-p 1 --think $think"
    while [ $seed -lt 100 ] && [ -z "$found" ]; do
        seed=$((seed + 1))
        carat run "$MODEL" -p "$P" $flat --seed $seed --json
        json token_ids | tr -d '[]' | tr ',' '\n' | sed '$d' | grep -qx "$channel" && json thought >"$TMP/thought" 2>/dev/null && found=yes
    done
    check "a seed whose answer has a thought" test -n "$found"
    json text >"$TMP/text"
    carat run "$MODEL" -p "$P" $flat --seed $seed
    check "--think $think: stdout is the text without the thought" cmp -s "$TMP/out" "$TMP/text"
    if [ $think = on ]; then check "the thought is on stderr" test -s "$TMP/err"
    else check "the thought is nowhere" test ! -s "$TMP/err"; fi
done

# Where an answer ends.
carat run "$MODEL" -p "$P" -n 0 --json
check "-n 0" equal "$(json tokens) $(json stop)" "0 length"
ctx=$((n + 10))
carat run "$MODEL" -p "$P" -n -1 -c $ctx --temp 0 --json
if [ "$(json stop)" = context ]; then
    check "the context is used to its last place" equal "$(($(json prompt_tokens) + $(json tokens)))" $((ctx + 1))
else
    check "or the model stopped" equal "$(json stop)" stop
fi
carat run "$MODEL" -p "$P" -n -1 -c "$n" --json
check "a prompt that fills the context gets one token" test "$(json tokens)" -le 1
refused 1 "larger -c" run "$MODEL" -p "$P" -c 4
refused 1 "was trained for" run "$MODEL" -p "$P" -c 99999999
i=0
while [ $i -lt 15 ]; do
    i=$((i + 1))
    cat "$TMP/prompt" "$TMP/prompt" >"$TMP/double"
    mv "$TMP/double" "$TMP/prompt"
done
refused 1 "shorten the prompt" run "$MODEL" -f "$TMP/prompt"

# --ram, --cpu.
refused 1 "needs " run "$MODEL" -p "$P" --ram 100K
check "says how much would do" err_has "give --ram"
carat run "$MODEL" -p "$P" -n 2 --ram 1G
check "enough memory" status 0
refused 2 "--cpu" run "$MODEL" -p "$P" --cpu nonsense
refused 2 "f16|f32|q8_0" run "$MODEL" -p "$P" --kv q4_0
carat run "$MODEL" -p "$P" -n 2 --cpu ref
check "--cpu ref" status 0

# The same model as GGUF answers the same.
if "$CARAT" --help | grep -q '^  cut '; then
    for m in e2b 26b-a4b gemma3; do
        carat cut "$ORACLE/$m" --type f32 --out "$TMP/$m.gguf"
        check "cut $m" status 0
        carat run "$ORACLE/$m" -p "$P" -n 24 --temp 0 --json
        ids=$(json token_ids)
        carat run "$TMP/$m.gguf" -p "$P" -n 24 --temp 0 --json
        check "$m as GGUF" equal "$(json token_ids)" "$ids"
    done
fi

# Logits that are no numbers: a file whose last weights are NaN.
carat cut "$MODEL" --type f32 --out "$TMP/nan.gguf"
size=$(wc -c <"$TMP/nan.gguf")
head -c 20000 /dev/zero | tr '\0' '\377' | dd of="$TMP/nan.gguf" bs=1 seek=$((size - 20000)) conv=notrunc 2>"$TMP/err"
for f in "--temp 0" "--seed 1" "--top-k 0" "--repeat-penalty 1.1" --json; do refused 1 "NaN" run "$TMP/nan.gguf" -p x $f; done

# Bad models: exit 1 and one line.
refused 1 "No such file" run "$TMP/none.gguf" -p x
: >"$TMP/empty.gguf"
refused 1 "empty.gguf" run "$TMP/empty.gguf" -p x
head -c 5000 /dev/zero >"$TMP/zero.gguf"
refused 1 "zero.gguf" run "$TMP/zero.gguf" -p x
refused 1 "$TMP" run "$TMP" -p x
refused 1 "No such file" run "$MODEL" -f "$TMP/none"

# Memory through time: in the JSON, and as a file.
carat run "$MODEL" -p "$P" -n 24 --seed 7 --json --memory-trace "$TMP/trace.csv"
check "a trace changes nothing" status 0
check "samples" test "$(json memory.samples.n)" -ge 2
check "samples say what watching cost" json memory.samples.period_ms memory.samples.cpu_ms >/dev/null
peak=$(json memory.samples.peak_bytes) median=$(json memory.samples.median_bytes)
check "the peak is no less than the median" test "$peak" -ge "$median"
check "no loads of experts are counted" equal "$(json memory.samples.at_switches_peak_bytes)" null
check "CSV has a head" equal "$(sed -n 1p "$TMP/trace.csv")" "t_ms,rss_anon,rss_file,charged,loads,rss_peak"
check "CSV has a line a sample" lines "$TMP/trace.csv" $(($(json memory.samples.n) + 1))
check "the peak is in it" equal "$(sed 1d "$TMP/trace.csv" | cut -d, -f6 | sort -n | tail -1)" "$peak"
carat run "$MODEL" -p "$P" -n 24 --seed 7 --memory-trace "$TMP/trace.svg"
check "a trace without --json" cmp -s "$TMP/out" "$TMP/seven"
check "is silent" lines "$TMP/err" 0
check "a plot" grep -q '^<svg xmlns' "$TMP/trace.svg"
check "the plot ends" equal "$(tail -1 "$TMP/trace.svg")" "</svg>"
refused 1 "--memory-trace: $TMP/none/trace.csv: No such file" run "$MODEL" -p "$P" --memory-trace "$TMP/none/trace.csv"
if [ -e /dev/full ]; then
    carat run "$MODEL" -p "$P" -n 4 --memory-trace /dev/full
    check "a trace on a full disk fails" status 1
    check "and says so" err_has "/dev/full: cannot be written"
fi

# --stats is a table on stderr; stdout stays the text.
carat run "$MODEL" -p "$P" -n 24 --seed 7 --stats
check "stats leave stdout alone" cmp -s "$TMP/out" "$TMP/seven"
for s in "tokens/s" "resident memory" "bytes by role" "seed 7"; do check "stats say $s" err_has "$s"; done
carat run "$ORACLE/26b-a4b" -p "$P" -n 4 --seed 7 --stats
check "stats say how experts were used" err_has "experts: 4 of 12"

# Ctrl-C: the text so far, exit 0; a second one ends at once. Random models end soon; one that goes on is needed.
for m in 26b-a4b 31b e2b e4b gemma3; do
    long="run $ORACLE/$m -p x --temp 0 --raw -n"
    carat $long 3000 --json
    [ "$(json stop)" = length ] && break
done
check "a model that goes on" equal "$(json stop)" length
long="$long 60000"
"$HELPER" interrupt "$CARAT" $long >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C ends well" equal $? 0
check "with text" test -s "$TMP/out"
check "before its time" test "$(wc -c <"$TMP/out")" -lt 200000
"$HELPER" later "$CARAT" $long --json >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C with --json ends well" equal $? 0
check "and says so" equal "$(json stop)" interrupted
check "with the text so far" test "$(json tokens)" -gt 0
if [ "$(uname)" = Linux ]; then
    "$HELPER" twice "$CARAT" $long >"$TMP/out" 2>"$TMP/err"
    check "a second Ctrl-C ends at once" equal $? 130
fi

# A reader who goes away is no error; a full disk is.
"$HELPER" closed "$CARAT" $long 2>"$TMP/err"
check "closed stdout ends quietly" equal $? 0
check "without a word" lines "$TMP/err" 0
if [ -w /dev/full ]; then
    "$CARAT" run "$MODEL" -p "$P" -n 4 --seed 1 >/dev/full 2>"$TMP/err"
    check "a failed write is an error" equal $? 1
    check "and is said" err_has "stdout"
fi

# Without MODEL: the bundled one, where the tree has it.
if [ -f "$CARAT_ROOT/models/carat-story-e.gguf" ]; then
    mkdir "$TMP/bin" # found beside the program, wherever the program was built
    cp "$CARAT" "$TMP/bin/carat"
    ln -s "$CARAT_ROOT/models" "$TMP/models"
    CARAT=$TMP/bin/carat
    carat run -p "$P" -n 32 --seed 1 --json
    check "bundled model" status 0
    check "it writes" test "$(json tokens)" -gt 0
else
    echo "no bundled model in models/: running without MODEL is not tested"
fi
finish
