# Routing: --trace of run and bench writes it, bench --replay compares caches on it; wrong inputs.
. "$(dirname "$0")/lib.sh"
MOE=$ORACLE/26b-a4b
T=$TMP/run.trace

carat run "$MOE" -p "Once upon a time" -n 12 --seed 3 --lookup off --trace "$T" --json
check "run --trace" status 0
text=$(json text) evals=$(json memory.experts.evals)
counts=$(json memory.experts.layers.1.counts)
prompt=$(json prompt_tokens)
check "a trace is written" grep -q '^carat-routes 1$' "$T"
check "it ends as it should" grep -q "^end $(grep -c '^[pd] ' "$T")\$" "$T"
check "prefill, then decode" equal "$(sed -n 's/^\([pd]\) .*/\1/p' "$T" | uniq | tr -d '\n')" pd
carat run "$MOE" -p "Once upon a time" -n 12 --seed 3 --lookup off --json
check "the answer is the same without" equal "$(json text)" "$text"

carat bench --replay "$T" --json
check "bench --replay" status 0
check "nothing on stderr" lines "$TMP/err" 0
check "all tokens are there" equal "$(json prefill_tokens) $(json decode_tokens)" "$prompt 11"
check "counts are those of the session" equal "$(json use.layers.1.counts)" "$counts"
check "evaluations too" equal "$(json use.layers.0.evals use.layers.1.evals use.layers.2.evals | awk '{ s += $1 } END { print s }')" "$evals"
check "keys" json experts_used expert_bytes use.working_set.0.experts use.repeated use.ahead caches.4.share \
    caches.0.policies.0.decode.hit_rate caches.0.policies.0.prefill.bytes_token caches.0.guesses.0.coverage >"$TMP/values"
check "policies" equal "$(json caches.0.policies | grep -o '"policy": *"[a-z_]*"' | sed 's/.*"\([a-z_]*\)"$/\1/' | tr '\n' ' ')" \
    "lru layer_lru lfu live live_ahead belady "
each=$(json expert_bytes) all=$(( $(json layers) * $(json experts) ))
carat inspect "$MOE" --json
check "one expert's bytes" equal "$((each * all))" "$(tr -d ' \n' <"$TMP/out" | sed 's/.*"experts":{"tensors":[0-9]*,"params":[0-9]*,"bytes":\([0-9]*\).*/\1/')"

carat bench --replay "$T" --replay "$T" --token-by-token --cache-experts 1,12 --cache-experts 100% --half-life 0,2.5,inf --json
check "several traces, sizes and half-lives" status 0
check "twice the tokens, all of decode" equal "$(json prefill_tokens) $(json decode_tokens)" "0 $((2 * (prompt + 11)))"
check "sizes" equal "$(json caches.0.experts) $(json caches.1.experts) $(json caches.2.experts)" \
    "1 12 $all"
check "more half-lives" equal "$(json caches.0.policies.3.half_life) $(json caches.0.policies.4.half_life) $(json caches.0.policies.5.policy)" "0.0 2.5 decay"
for i in 0 1 2 3 4 5 6 8; do
    check "nobody beats Belady" awk -v a="$(json caches.1.policies.$i.decode.hits)" -v b="$(json caches.1.policies.8.decode.hits)" \
        'BEGIN { exit !(a <= b) }'
    check "where all fits, all read the same" equal "$(json caches.2.policies.$i.decode.loads)" "$(json caches.2.policies.8.decode.loads)"
done
check "files apart" equal "$(json caches.2.policies.0.decode_files.1.uses)" "$(json caches.2.policies.0.decode_files.1.hits)"

carat bench --replay "$T"
check "for people" status 0
for s in "entropy" "effective" "cache of" "Belady" "Guesses" "next layer's router" "token reads" "used by the token before"; do
    check "tables say $s" out_has "$s"
done

carat bench "$MOE" --buffer 32M -p 20 -n 5 -r 2 --trace "$TMP/bench.trace" --json
check "bench --trace" status 0
check "warm-up and repetitions, prefill and decode" equal \
    "$(awk '$1 == "p" && $4 == 0 { p += $3 } $1 == "d" && $4 == 0 { d += $3 } END { print p, d }' "$TMP/bench.trace")" "60 15"
carat bench --replay "$TMP/bench.trace"
check "and replays" status 0

refused 1 "has no experts" run "$MODEL" -p x --trace "$TMP/none"
refused 1 "has no experts" bench "$MODEL" --trace "$TMP/none"
refused 1 "cannot create" run "$MOE" -p x --trace "$TMP/no/such/folder"
refused 2 "takes no MODEL" bench "$MOE" --replay "$T"
for f in --machine --csv --profile --all-layers; do refused 2 "no place beside" bench --replay "$T" $f; done
refused 2 "no place beside" bench --replay "$T" --trace "$TMP/x"
refused 2 "no place beside" bench --machine --trace "$TMP/x"
refused 2 "needs --replay" bench --cache-experts 5
refused 2 "needs --replay" bench --half-life 5
refused 2 "needs --replay" bench --token-by-token
for n in 0 -1 x 5x 1,,2 1, 101% 99999 0.5 0% ""; do refused 2 "no size of a cache" bench --replay "$T" --cache-experts "$n"; done
for n in -1 x nan 1,,2 infx ""; do refused 2 "no number of tokens" bench --replay "$T" --half-life "$n"; done
refused 2 "at most 16" bench --replay "$T" --half-life 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
refused 1 "No such file" bench --replay "$TMP/nothing"
refused 1 "is no trace" bench --replay "$CARAT_ROOT/README.md"
head -n 5 "$T" >"$TMP/cut"
refused 1 "cut short" bench --replay "$TMP/cut"
sed '2s/experts [0-9]*/experts 1/' "$T" >"$TMP/bad"
refused 1 "line 2" bench --replay "$TMP/bad"
sed '2s/layers [0-9]*/layers 77/' "$T" >"$TMP/bad"
refused 1 "another model" bench --replay "$T" --replay "$TMP/bad"
if [ -w /dev/full ]; then
    "$CARAT" run "$MOE" -p x -n 4 --trace /dev/full >"$TMP/out" 2>"$TMP/err"
    check "a full disk is told" equal $? 1
    check "as one line" err_has "cannot write"
fi
finish
