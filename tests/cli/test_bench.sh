# carat bench: its counts, its arithmetic, its three forms; no speed is judged here.
. "$(dirname "$0")/lib.sh"
SMALL="--buffer 32M -p 4 -n 2 -r 3"

# true if the awk expression is
holds() { awk "BEGIN { exit !($1) }"; }
# true if the quotient of two awk expressions is 1 within a tolerance
near() { awk "BEGIN { x = ($1) / ($2) - 1; exit !(x < $3 && x > -$3) }"; }

carat bench "$MODEL" $SMALL -d 20 -d 0,20 -d 0 --json --profile
check "bench" status 0
check "nothing on stderr" lines "$TMP/err" 0
check "top of the object" equal "$(json reps threads cpu kv all_layers | wc -l)" 5
check "more of it" json model arch file_bytes bytes_token kv_bytes scratch_bytes >/dev/null
check "the machine" json machine.threads machine.buffer_bytes machine.read_method machine.dot_method >/dev/null
check "the buffer is as large as was asked" equal "$(json machine.buffer_bytes)" 33554432
for k in read_bytes_s macs_s; do
    lo=$(json machine.$k.min) mid=$(json machine.$k.median) hi=$(json machine.$k.max)
    check "machine: $k is a measure" holds "$lo > 1e6 && $lo <= $mid && $mid <= $hi"
done
# Depths in order, each once; prefill and decode at each.
i=0
for d in 0 20; do
    for t in "prefill 4" "decode 2"; do
        check "test $i" equal "$(echo $(json tests.$i.test tests.$i.tokens tests.$i.depth))" "$t $d"
        json tests.$i.tok_s.min tests.$i.tok_s.q1 tests.$i.tok_s.median tests.$i.tok_s.q3 tests.$i.tok_s.max | paste -s - >"$TMP/row"
        read -r lo q1 mid q3 hi <"$TMP/row"
        check "test $i: the median is between" holds "$lo > 0 && $lo <= $q1 && $q1 <= $mid && $mid <= $q3 && $q3 <= $hi"
        json tests.$i.reps.0.tok_s tests.$i.reps.1.tok_s tests.$i.reps.2.tok_s >"$TMP/rates"
        read -r a <"$TMP/rates"
        check "test $i: the median is the middle one of three" \
            equal "$(sort -g "$TMP/rates" | sed -n 2p)" "$mid"
        ms=$(json tests.$i.reps.0.ms) n=$(json tests.$i.tokens)
        check "test $i: tokens a second" near "1000 * $n / $ms" "$a" 1e-6
        # The limit, from the counts and the machine's medians of this test.
        json tests.$i.read_bytes_s.median tests.$i.macs_s.median tests.$i.bytes tests.$i.macs tests.$i.limit_tok_s tests.$i.limit |
            paste -s - >"$TMP/row"
        read -r B P bytes macs limit by <"$TMP/row"
        check "test $i: limit" near "$bytes / $B > $macs / $P ? $n / ($bytes / $B) : $n / ($macs / $P)" "$limit" 1e-6
        check "test $i: what limits" holds "($bytes / $B >= $macs / $P) == (\"$by\" == \"read\")"
        check "test $i: share" near "$mid / $limit" "$(json tests.$i.share)" 1e-6
        # The profile's parts are the whole.
        paths=
        for k in 0 1 2 3 4 5 6 7 8 9 10; do paths="$paths tests.$i.profile.$k.ms tests.$i.profile.$k.bytes tests.$i.profile.$k.macs"; done
        json $paths | paste - - - | awk '{ ms += $1; b += $2; m += $3 } END { printf "%.9f %d %d\n", ms, b, m }' >"$TMP/sums"
        read -r sum_ms sum_bytes sum_macs <"$TMP/sums"
        check "test $i: bytes and multiply-adds of the steps are the total" equal "$sum_bytes $sum_macs" "$bytes $macs"
        check "test $i: the steps took time" holds "$sum_ms > 0"
        check "the last step" equal "$(json tests.$i.profile.10.step)" waiting
        check "no step behind it" test "$("$HELPER" json tests.$i.profile.11.step <"$TMP/out" 2>/dev/null)" = ""
        i=$((i + 1))
    done
done

# Counts of tests/oracle/e2b by hand: d_model 32; layers 0-3 sliding (window 8), 4 full, with keys; 5-8 sliding, 9 full,
# without, and a feed-forward of 64 instead of 32; heads of 32 (full: 64), 2 with 1 of keys; 346 tokens; bf16.
ple=$((3 * 32 * 32)) ffn=$((3 * 32 * 32)) head=$((346 * 32))
own=$((4 * (64 * 32 + 2 * 32 * 32 + 32 * 64 + ffn + ple))) kv=$((2 * 64 * 32))
full=$((128 * 32 + kv + 32 * 128 + ffn + ple))
shared=$((4 * (64 * 32 + 32 * 64 + 2 * ffn + ple) + 128 * 32 + 32 * 128 + 2 * ffn + ple))
all=$((own + full + shared))
# decode of 2 tokens at depth 0: 1 and 2 keys
check "decode at 0" equal "$(json tests.1.macs)" $((2 * (all + head) + 3 * (8 * 128 + 2 * 256)))
# at depth 20: 8 and 8 in the window, 21 and 22 in all
check "decode at 20" equal "$(json tests.3.macs)" $((2 * (all + head) + 16 * 8 * 128 + 43 * 2 * 256))
check "decode at 20 reads" equal "$(json tests.3.bytes)" $((2 * $(json bytes_token) + 16 * 8 * 128 + 43 * 2 * 256))
# prefill of 4: 10 keys seen in the layers before 4; there three tokens need keys and values only
check "prefill needs" equal "$(json tests.0.macs)" $((4 * own + 10 * 4 * 128 + 3 * kv + full + shared + 4 * (4 * 128 + 2 * 256) + head))
carat bench "$MODEL" $SMALL -n 0 --all-layers --json
check "all layers" equal "$(json tests.0.macs) $(json all_layers)" "$((4 * all + 10 * (8 * 128 + 2 * 256) + head)) true"
check "-n 0 leaves the decode out" equal "$(json tests | grep -o '"test"' | wc -l)" 1
carat bench "$MODEL" $SMALL -p 0 --kv f32 --json
check "-p 0 leaves the prefill out" equal "$(json tests.0.test)" decode
check "f32 keys are twice as long" equal "$(json tests.0.bytes)" $((2 * $(json bytes_token) + 2 * 3 * (8 * 128 + 2 * 256)))

# All variants, at a depth beyond the window and a prompt beyond a chunk: exactly what is measured is evaluated, or it fails.
for m in e2b 26b-a4b gemma3; do
    carat bench "$ORACLE/$m" --buffer 32M -p 300 -n 3 -r 2 -d 0,40 --csv -t 2
    check "$m" status 0
    check "$m: a line a test" lines "$TMP/out" 5
done
check "every line has as many fields" equal "$(awk -F, '{ print NF }' "$TMP/out" | sort -u)" 21
check "CSV has a head" equal "$(sed -n 1p "$TMP/out" | cut -d, -f1-4)" "model,test,depth,tokens"
check "CSV is in order" equal "$(sed 1d "$TMP/out" | cut -d, -f2-4 | tr '\n' ' ')" "prefill,0,300 decode,0,3 prefill,40,300 decode,40,3 "
check "CSV: the median is between" awk -F, 'NR > 1 && !($11 <= $12 && $12 <= $10 && $10 <= $13 && $13 <= $14) { exit 1 }' "$TMP/out"

carat bench "$MODEL" $SMALL --profile
check "for people" status 0
for s in "read bandwidth" "8-bit peak" "tokens/s" "decode 2" "prefill 4" "ms a token" "attention"; do check "tables say $s" out_has "$s"; done

carat bench --machine --buffer 32M -r 2 --json
check "--machine" status 0
check "--machine measures twice" json machine.reps.1.read_bytes_s machine.reps.1.macs_s >/dev/null
check "--machine has no tests" test "$(json tests 2>/dev/null)" = ""
carat bench --machine --buffer 32M -r 2 --csv
check "--machine as CSV" lines "$TMP/out" 2
carat bench --machine --buffer 32M -r 2
check "--machine for people" lines "$TMP/out" 2

refused 2 "did you mean --profile?" bench --profil
refused 2 "did you mean --all-layers?" bench --all-layer
refused 2 "did you mean --machine?" bench --machin
refused 2 "did you mean --depth?" bench --dept 3
refused 2 "did you mean bench?" bnech
for d in x 1x -1 "" 1,,2 1, 4M 1.5K; do refused 2 "no depth" bench "$MODEL" -d "$d"; done
refused 2 "outside 0 to" bench "$MODEL" -d 99999999999999999999
refused 2 "outside 0 to" bench "$MODEL" -d 2000K
refused 2 "outside 1 to" bench "$MODEL" -r 0
refused 2 "not one of" bench "$MODEL" --kv q8
refused 2 "nothing to measure" bench "$MODEL" -p 0 -n 0
refused 2 "one of them" bench "$MODEL" --json --csv
refused 2 "takes no MODEL" bench "$MODEL" --machine
refused 2 "no place" bench --machine --profile
refused 2 "caches" bench --machine --buffer 1M
refused 1 "was trained for" bench "$MODEL" -d 64K -p 4
refused 1 "leaves no room" bench "$MODEL" $SMALL --ram 100K
refused 1 "leaves no room" bench "$MODEL" --buffer 64M -p 4 -n 2 --ram 60M
check "says what would do" err_has "larger --ram"
refused 1 "needs " bench "$MODEL" --buffer 32M -p 4 -n 2 --ram 40M
check "says how much would do" err_has "give --ram"
refused 1 "No such file" bench "$TMP/none"
"$HELPER" later "$CARAT" bench "$MODEL" -p 4096 -n 4000 -r 1000 --json >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C ends it" equal $? 1
check "and says so" err_has interrupted
if [ -f "$CARAT_ROOT/models/carat-story-e.gguf" ]; then
    mkdir "$TMP/bin"
    cp "$CARAT" "$TMP/bin/carat"
    ln -s "$CARAT_ROOT/models" "$TMP/models"
    CARAT=$TMP/bin/carat
    carat bench $SMALL --json
    check "bundled model" equal "$rc $(json model)" "0 $(json model)"
fi
finish
