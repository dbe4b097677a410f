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
"$HELPER" later "$CARAT" bench --ple "$E" -p 400 -n 400 -r 1000 --json >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C ends it" equal $? 1
check "and says so" err_has interrupted
finish
