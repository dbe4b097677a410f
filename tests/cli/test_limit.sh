# carat bench --limit: limits are enforced, the search ends where it says, nothing stays behind. No speed is judged: one percent
# of the free speed is enough. Skipped where no control group with a memory limit can be made.
. "$(dirname "$0")/lib.sh"

refused 2 "--limit: --depth has no place" bench "$MODEL" --limit -d 4
refused 2 "--limit: --profile has no place" bench "$MODEL" --limit --profile
refused 2 "--limit: --csv has no place" bench "$MODEL" --limit --csv
refused 2 "--limit: --machine has no place" bench --limit --machine
refused 2 "-n of at least 1" bench "$MODEL" --limit -n 0
refused 2 "-p and -n" bench "$MODEL" --limit -p 0
refused 2 "outside 1 to 100" bench "$MODEL" --limit --limit-share 0
refused 2 "belongs to --limit" bench "$MODEL" -c 100

carat bench "$MODEL" --limit --limit-share 1 --json
if [ "$rc" = 1 ] && err_has "--limit: " && { err_has "no group with a memory limit can be made" || err_has "no control group"; }; then
    check "one line" lines "$TMP/err" 1
    check "nothing on stdout" lines "$TMP/out" 0
    check "it says what is needed" grep -q -e "needs Linux" -e "run it as root" "$TMP/err"
    [ "$failures" = 0 ] || finish
    echo "SKIPPED: control groups with a memory limit need root, or a delegated group (systemd-run --user --scope -p Delegate=yes)" >&2
    cat "$TMP/err" >&2
    exit 77
fi

left() { # groups of ours that have no process any more
    find /sys/fs/cgroup -maxdepth 9 -type d -name 'carat.[0-9]*' 2>/dev/null | while read -r g; do
        [ -s "$g/cgroup.procs" ] && [ -n "$(cat "$g/cgroup.procs")" ] || kill -0 "${g##*.}" 2>/dev/null || echo "$g"
    done
}

# What the search says about itself.
measure() { # WHAT ARGS…
    name=$1
    shift
    carat bench "$@" --limit --limit-share 1 --json
    check "$name" status 0
    check "$name: nothing on stderr" lines "$TMP/err" 0
    check "$name: the free run has no limit" equal "$(echo $(json free.limit_bytes free.outcome smallest.outcome))" "null ok ok"
    json smallest.limit_bytes smallest.charged_peak_bytes smallest.anon_peak_bytes step_bytes | paste -s - >"$TMP/row"
    read -r limit charged anon step <"$TMP/row"
    check "$name: the charge stays within the limit" test "$charged" -le "$limit"
    check "$name: so does anonymous memory" test "$anon" -le "$limit"
    check "$name: the step is small" test "$step" -le $((limit / 50 > 8388608 ? limit / 50 : 8388608))
    i=0 tight=0
    while at=$("$HELPER" json "probes.$i.limit_bytes" <"$TMP/out" 2>/dev/null); do
        outcome=$(json "probes.$i.outcome")
        if [ "$at" != null ]; then
            check "$name: probe $i stays within its limit" test "$(json "probes.$i.charged_peak_bytes")" -le "$at"
            case $outcome in
            ok) check "$name: $at is enough, so the smallest is no more" test "$at" -ge "$limit" ;;
            *)
                check "$name: $at ($outcome) is not enough, so the smallest is more" test "$at" -lt "$limit"
                [ $((limit - at)) -le "$step" ] && tight=1
                ;;
            esac
        fi
        i=$((i + 1))
    done
    check "$name: there are probes" test "$i" -ge 3
    check "$name: a failure is a step away, or nothing is left" test "$tight" = 1 -o "$limit" -le "$step"
}
measure "oracle" "$MODEL"
check "its numbers" json model file_bytes threads cpu ctx prompt_tokens gen_tokens free.decode_tok_s free.first_token_ms free.load_ms \
    free.rss_file_bytes free.rss_peak_bytes smallest.share smallest.decode_tok_s probes.0.wall_ms cached_elsewhere_bytes >/dev/null
check "defaults" equal "$(echo $(json prompt_tokens gen_tokens ctx limit_share))" "128 48 176 0.01"
if [ -f "$CARAT_ROOT/models/carat-story-moe.gguf" ]; then
    measure "experts streamed" "$CARAT_ROOT/models/carat-story-moe.gguf" --experts streamed -p 40 -n 20 -c 300 -t 1
    check "the file's size" equal "$(json file_bytes)" "$(wc -c <"$CARAT_ROOT/models/carat-story-moe.gguf" | tr -d ' ')"
    check "what was asked" equal "$(echo $(json threads ctx prompt_tokens gen_tokens free.experts smallest.experts))" "1 300 40 20 streamed streamed"
fi

carat bench "$MODEL" --limit --limit-share 1 -p 20 -n 10
check "for people" status 0
for s in "memory limit" "anonymous at its peak" "file pages at the end" "charged at its peak" "smallest limit with 1%" "tried"; do
    check "tables say $s" out_has "$s"
done

# What goes wrong is one line, and leaves no group.
refused 1 "No such file" bench "$TMP/none.gguf" --limit
refused 1 "was trained for" bench "$MODEL" --limit -c 9999999
refused 1 "--ram" bench "$MODEL" --limit --ram 100K
"$HELPER" later "$CARAT" bench "$MODEL" --limit -p 16 -n 30000 --json >"$TMP/out" 2>"$TMP/err"
check "Ctrl-C ends it" equal $? 1
check "and says so" equal "$(cat "$TMP/err")" "carat: bench: interrupted"
check "no group is left" equal "$(left)" ""
finish
