# carat bench --ple and --experts, without a word behind them: what is counted, its forms, wrong inputs. No speed is judged.
. "$(dirname "$0")/lib.sh"
E=$CARAT_ROOT/models/carat-story-e.gguf
MOE=$CARAT_ROOT/models/carat-story-moe.gguf

# true if the awk expression is
holds() { awk "BEGIN { exit !($1) }"; }

# ---- --ple ----

carat bench --ple "$E" -p 40 -n 12 -r 2 --json --svg "$TMP/ple.svg"
check "--ple" status 0
check "nothing on stderr" lines "$TMP/err" 0
check "top of the object" equal "$(echo $(json prompt_tokens gen_tokens reps))" "40 12 2"
check "more of it" json model arch file_bytes table_bytes threads cpu kv not_evicted_bytes >/dev/null
check "modes" equal "$(echo $(json modes.0.mode modes.1.mode modes.2.mode modes.3.mode modes.4.mode modes.5.mode))" \
    "resident mapped_warm mapped_cold streamed_warm streamed_cold zero"
check "resident is all of itself" equal "$(json modes.0.of_resident.min modes.0.of_resident.max | sort -u)" 1.0
for m in 0 1 2 3 4 5; do
    json modes.$m.token_ms.p50 modes.$m.token_ms.p95 modes.$m.token_ms.p99 modes.$m.token_ms.max modes.$m.tok_s.median |
        paste -s - >"$TMP/row"
    read -r p50 p95 p99 most speed <"$TMP/row"
    check "mode $m: percentiles ascend" holds "0 < $p50 && $p50 <= $p95 && $p95 <= $p99 && $p99 <= $most && $speed > 0"
    json modes.$m.stall_ms_token.median modes.$m.stall_share.median modes.$m.lookup_p50_us.median modes.$m.lookup_p99_us.median \
        modes.$m.lookup_max_us.max | paste -s - >"$TMP/row"
    read -r stall share l50 l99 lmax <"$TMP/row"
    check "mode $m: waits for less than it takes" holds "0 <= $stall && 0 <= $share && $share <= 1"
    check "mode $m: lookups ascend" holds "0 < $l50 && $l50 <= $l99 && $l99 <= $lmax"
    check "mode $m: memory" holds "$(json modes.$m.anon_bytes.median) > 0 && $(json modes.$m.peak_bytes.min) > 0"
    check "mode $m: prefill" holds "$(json modes.$m.prefill_tok_s.min) > 0"
done
row=$(json row_bytes)
check "the table is its rows" holds "$(json table_bytes) % $row == 0"
check "cold: each token reads its row, and no other" equal "$(json modes.4.disk_reads_token.min modes.4.disk_reads_token.max | sort -u)" 1.0
check "cold: none was there" equal "$(json modes.4.hit_rate.max)" 0.0
check "cold: whole blocks hold the row" holds "$(json modes.4.disk_bytes_token.median) >= $row"
check "cold: from asking to having" holds "0 < $(json modes.4.disk_p50_us.median) && $(json modes.4.disk_p50_us.median) <= $(json modes.4.disk_p99_us.median)"
check "warm: no row is read" equal "$(json modes.3.disk_reads_token.max)" 0.0
check "warm: all rows are there" equal "$(json modes.3.hit_rate.min)" 1.0
check "warm: no reads have no times" equal "$(json modes.3.disk_p50_us)" null
check "the others read through no cache of rows" equal "$(json modes.0.hit_rate modes.2.disk_reads_token modes.5.disk_bytes_token | sort -u)" null
check "a plot is written" grep -q '</svg>' "$TMP/ple.svg"
check "with every mode" equal "$(grep -c '<rect class="f0"' "$TMP/ple.svg")" 6

carat bench --ple "$E" -p 0 -n 3 -r 1 --csv
check "--ple as CSV, without a prompt" status 0
check "a line a mode" lines "$TMP/out" 7
check "every line has as many fields" equal "$(awk -F, '{ print NF }' "$TMP/out" | sort -u | wc -l)" 1
check "no prefill" equal "$(sed 1d "$TMP/out" | awk -F, '{ print $17 }' | sort -u)" ""
check "that field is the prefill" equal "$(sed -n 1p "$TMP/out" | cut -d, -f17)" prefill_tok_s
carat bench "$E" -p 4 -n 3 -r 1 --ple
check "--ple behind the model, for people" status 0
for s in "of resident" "mapped, cold" "waited a token" "disk p50" "file pages" "peak"; do check "tables say $s" out_has "$s"; done
carat bench "$E" --ple streamed --buffer 32M -p 4 -n 2 -r 1 --json
check "with a word it is a place" equal "$rc $(json plan.ple)" "0 streamed"

refused 1 "has no per-layer embeddings" bench --ple "$MOE" -n 4
refused 1 "different tokens" bench --ple "$ORACLE/e2b" -p 300 -n 20
refused 1 "was trained for" bench --ple "$E" -p 100K
refused 1 "No such file" bench --ple "$E" --svg "$TMP/no/such/folder.svg"
refused 2 "needs -n" bench --ple "$E" -n 0
refused 2 "needs --ple" bench "$E" --svg "$TMP/x.svg"
for f in --machine --limit --profile --all-layers --uniform-routing "-d 4" "--buffer 64M" "--trace $TMP/x" "--replay $TMP/x"; do
    refused 2 "no place beside" bench --ple $f
done
refused 2 "one argument too many" bench --ple strem "$E"
# ---- --experts ----

# The text's topics are far apart; what is decoded comes from one to the other twice.
{ head -c 300 "$CARAT_ROOT/tests/models/text.txt"; printf '\n---\n'; printf '1 + 2 = 3; 4 * 5 = 20; x = y / z; f(x) = 7\n'
  printf '\f'; tail -c 300 "$CARAT_ROOT/tests/models/text.txt"; } >"$TMP/topics"
carat bench --experts "$MOE" --cache-experts 12.5%,48,100% --text "$TMP/topics" -r 2 --json --svg "$TMP/experts.svg"
check "--experts" status 0
check "nothing on stderr" lines "$TMP/err" 0
check "top of the object" equal "$(echo $(json reps prompt_tokens topics switches routing experts_used))" "2 16 3 2 learned 2"
check "more of it" json model arch file_bytes threads cpu kv expert_bytes text use.working_set.0.experts use.layers.0.least_share \
    use.layers.0.most_share use.layers.0.effective >/dev/null
all=$(json experts_in_all) n=$(json gen_tokens)
check "sizes" equal "$(echo $(json caches.0.experts caches.1.experts caches.2.experts caches.3.experts))" "$((all / 8)) 48 $all $all"
check "all in memory comes last" equal "$(echo $(json caches.0.mode caches.2.mode caches.3.mode))" "streamed streamed resident"
layers=$((all / 16))
for c in 0 1 2; do
    json caches.$c.decode.hits caches.$c.decode.misses caches.$c.decode.read_ahead_used caches.$c.decode.hit_rate caches.$c.decode.own_hit_rate \
        caches.$c.belady_hit_rate caches.$c.gap caches.$c.decode.bytes_token | paste -s - >"$TMP/row"
    read -r hits misses used rate own belady gap bytes <"$TMP/row"
    check "cache $c: every token asks for its experts" equal "$((hits + misses))" $((2 * n * layers * 2))
    check "cache $c: hit rate" holds "($rate - $hits / ($hits + $misses)) ^ 2 < 1e-12"
    check "cache $c: its own hits" holds "($own - ($hits - $used) / ($hits + $misses)) ^ 2 < 1e-12"
    check "cache $c: nobody beats Belady" holds "$belady >= $own - 1e-9 && ($gap - ($belady - $own)) ^ 2 < 1e-12"
    check "cache $c: what misses is read" holds "($misses + $used > 0) == ($bytes > 0)"
    json caches.$c.token_ms.p50 caches.$c.token_ms.p95 caches.$c.token_ms.p99 caches.$c.token_ms.max caches.$c.worst_token.ms |
        paste -s - >"$TMP/row"
    read -r p50 p95 p99 most worst <"$TMP/row"
    check "cache $c: percentiles ascend" holds "0 < $p50 && $p50 <= $p95 && $p95 <= $p99 && $p99 <= $most && $most == $worst"
    check "cache $c: the disk was measured" holds "$(json caches.$c.disk_bytes_s.min) > 0 && $(json caches.$c.disk_share.median) >= 0"
    check "cache $c: memory" holds "$(json caches.$c.memory.peak_bytes) > 0 && $(json caches.$c.cache_bytes) > 0"
    check "cache $c: the first token of a topic, twice, each time" equal "$(json caches.$c.switches.1.n)" 4
    check "cache $c: 16 before each" equal "$(json caches.$c.switches.0.n)" 64
done
check "a larger cache hits more" holds "$(json caches.0.decode.own_hit_rate) < $(json caches.1.decode.own_hit_rate) &&
    $(json caches.1.decode.own_hit_rate) < $(json caches.2.decode.own_hit_rate)"
check "the worst token of a cache that is too small missed some" holds "$(json caches.0.switches.0.misses_token) > 0"
check "where all fit, the optimum and the policy are near" holds "$(json caches.2.gap) < 0.02"
check "resident has no cache" equal "$(json caches.3.decode 2>/dev/null)$(json caches.3.cache_bytes)" 0
check "a plot is written, of two parts" equal "$(grep -c 'class="title"' "$TMP/experts.svg")" 2
check "and closed once" equal "$(grep -c '</svg>' "$TMP/experts.svg")" 1

carat bench --experts "$MOE" --cache-experts 8 -p 0 -n 5 -r 1 --uniform-routing --csv
check "--experts as CSV, without a prompt" status 0
check "a line a size, and all in memory" lines "$TMP/out" 3
check "every line has as many fields" equal "$(awk -F, '{ print NF }' "$TMP/out" | sort -u | wc -l)" 1
carat bench --experts "$ORACLE/26b-a4b" -p 4 -n 3 -r 1 --cache-experts 50%
check "--experts of a folder, for people" status 0
for s in "no text" "learned routing" "Belady" "share of D" "as experts came" "entropy" "effective" "least used"; do
    check "tables say $s" out_has "$s"
done
check "without topics there are no switches" test -z "$(grep 'topic changes' "$TMP/out")"
carat bench --experts "$MOE" --text "$TMP/topics" --cache-experts 50% -n 150 -r 1
check "with topics there are" out_has "first of the new topic"
carat bench "$MOE" --experts streamed --buffer 32M -p 4 -n 2 -r 1 --json
check "with a word it is a place" equal "$rc $(json plan.experts)" "0 streamed"

refused 1 "has no experts" bench --experts "$E" -n 4
refused 1 "give a smaller -p or -n" bench --experts "$MOE" --text "$TMP/topics" -n 4000
refused 1 "was trained for" bench --experts "$MOE" -p 100K
printf '\n---\n \f' >"$TMP/blank"
refused 1 "holds no text" bench --experts "$MOE" --text "$TMP/blank"
refused 1 "No such file" bench --experts "$MOE" --text "$TMP/none"
refused 1 "No such file" bench --experts "$MOE" -n 4 --svg "$TMP/no/such/folder.svg"
refused 2 "too few" bench --experts "$MOE" --cache-experts 3
refused 2 "no size of a cache" bench --experts "$MOE" --cache-experts 101%
refused 2 "needs -n" bench --experts "$MOE" -n 0
refused 2 "needs --experts" bench "$MOE" --text "$TMP/topics"
refused 2 "no place beside" bench --ple --experts
for f in --machine --limit --profile --all-layers "-d 4" "--buffer 64M" "--trace $TMP/x" "--expert-cache 1M"; do
    refused 2 "no place beside" bench --experts $f
done
for f in "--half-life 5" --token-by-token; do refused 2 "needs --replay" bench --experts $f; done
"$HELPER" later "$CARAT" bench --experts "$MOE" -p 400 -n 400 -r 1000 --json >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C ends it" equal $? 1
check "and says so" err_has interrupted

# ---- what a run tells ----

carat run "$MOE" -p "Once upon a time" -n 40 --seed 1 --lookup off --experts streamed --expert-cache 2M --json
check "run --json" status 0
check "what is where" equal "$(echo $(json memory.plan.roles.experts.streamed) $(json memory.plan.roles.attention.streamed))" \
    "$(json memory.plan.streamed_bytes) 0"
check "a token uses two of a layer's" equal "$(json memory.experts.working_set.0.tokens memory.experts.working_set.0.experts | paste -s -d' ' -)" "1 2.0"
check "more tokens use more" holds "$(json memory.experts.working_set.0.experts) < $(json memory.experts.working_set.2.experts)"
check "too many are none" equal "$(json memory.experts.working_set.4.experts)" null
check "as if so many were used" holds "$(json memory.experts.layers.0.effective) >= 2 && $(json memory.experts.layers.0.effective) <= 16 &&
    $(json memory.experts.layers.0.least_share) <= $(json memory.experts.layers.0.most_share)"
counts=$(json memory.experts.layers.1.counts)
carat run "$MOE" -p "Once upon a time" -n 40 --seed 1 --lookup off --experts streamed --expert-cache 2M --json --trace "$TMP/run.trace"
check "with --trace too" equal "$rc $(json memory.experts.working_set.0.experts) $(json memory.experts.layers.1.counts)" "0 2.0 $counts"
check "which is complete" grep -q "^end $(grep -c '^[pd] ' "$TMP/run.trace")\$" "$TMP/run.trace"
carat run "$MOE" -p "Once upon a time" -n 20 --seed 1 --experts streamed --expert-cache 2M --stats
for s in "experts from disk" "single tokens" "streamed" "in the last 1 token: 2.0" "as if they were"; do check "--stats says $s" err_has "$s"; done
carat run "$E" -p "Once upon a time" -n 5 --seed 1 --ple streamed --stats
for s in "per-layer embeddings streamed" "rows looked up" "read from disk" "resident"; do check "--stats says $s" err_has "$s"; done

"$HELPER" later "$CARAT" bench --ple "$E" -p 400 -n 400 -r 1000 --json >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C ends it" equal $? 1
check "and says so" err_has interrupted
finish
