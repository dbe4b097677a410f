# carat --ram: a ceiling is kept, or refused with one that works; --ple and --experts put parts where they say, and change no
# token. Where control groups can be made, the program runs inside one of the ceiling's size.
. "$(dirname "$0")/lib.sh"
P="Once upon a time there was a little girl who lived in a house near the forest and had a dog and a cat. Once upon a time there was"
E=$CARAT_ROOT/models/carat-story-e.gguf
MOE=$CARAT_ROOT/models/carat-story-moe.gguf
for f in "$E" "$MOE"; do [ -f "$f" ] || { echo "SKIPPED: no $f"; exit 77; }; done
answer="-n 60 -c 512 --temp 0 --seed 1 -t 1 --json"

# least ARGS…: the smallest ceiling in MiB, from the line that refuses one of 1 MiB
least() {
    carat "$@" --ram 1M
    sed -n 's/.*give --ram \([0-9]*\)M.*/\1/p' "$TMP/err"
}

# What is refused, and that what the refusal names works.
for m in "$E" "$MOE"; do
    name=$(basename "$m" .gguf)
    carat run "$m" -p "$P" $answer
    ids=$(json token_ids)
    check "$name answers" test -n "$ids"
    n=$(least run "$m" -p "$P" $answer)
    check "$name: a ceiling is named" test "${n:-0}" -gt 0
    refused 1 "give --ram ${n}M" run "$m" -p "$P" $answer --ram $((n - 1))M
    carat run "$m" -p "$P" $answer --ram "${n}M"
    check "$name: the smallest works" status 0
    check "$name: nothing on stderr with --json" lines "$TMP/err" 0
    check "$name: the same tokens within ${n}M" equal "$(json token_ids)" "$ids"
    check "$name: nothing is mapped" equal "$(json memory.mapped_bytes)" 0
    case $name in # what the model has
    *moe) limited='--experts streamed --expert-cache 1
--experts resident
--experts streamed --expert-ahead off' free='--experts resident
--experts mapped
--experts streamed' other=--ple\ zero ;;
    *) limited='--ple streamed
--ple mapped
--ple resident' free='--ple streamed
--ple resident
--ple mapped' other=--experts\ streamed ;;
    esac
    IFS='
'
    for places in $limited; do
        unset IFS
        carat run "$m" -p "$P" $answer --ram 200M $places
        check "$name: $places" equal "$rc $(json token_ids)" "0 $ids"
    done
    IFS='
'
    for places in $free; do
        unset IFS
        carat run "$m" -p "$P" $answer $places
        check "$name: $places without a ceiling" equal "$rc $(json token_ids)" "0 $ids"
    done
    unset IFS
    refused 1 "the model has no" run "$m" -p x $other
    carat run "$m" -p x -n 2 --temp 0 --ram 200M
    check "$name: one line tells of the plan" lines "$TMP/err" 1
    check "$name: it names the ceiling" err_has "of 200.0 MiB"
    carat inspect "$m" --ram 1M
    check "$name: inspect says what does not fit" out_has "does not fit (smallest that would: "
    check "$name: which is no error" status 0
    carat inspect "$m" --ram 1G
    check "$name: inspect says what fits" out_has "  fits, "
done
carat run "$E" -p "$P" $answer --ram 200M --ple streamed
check "rows are read from disk" test "$(json memory.ple.disk_reads)" -gt 0
check "in the place that was named" equal "$(json memory.ple.mode)" streamed
carat run "$MOE" -p "$P" $answer --ram 200M --experts streamed --expert-cache 1
check "experts are read from disk" test "$(json memory.experts.decode.misses)" -gt 0
check "the fewest slots: two for each expert of a token" equal "$(json memory.experts.cache_slots)" 4
carat run "$E" -p "$P" -n 8 --temp 0 --ple zero --json
check "--ple zero answers" status 0
check "and says so" equal "$(json memory.ple.mode)" zero

# Words that cannot be.
refused 2 "--ple" run "$E" -p x --ple nowhere
refused 2 "--experts" run "$MOE" -p x --experts zero
refused 2 "--experts mapped" run "$MOE" -p x --experts mapped --ram 100M
for size in 0 -5M M 1.5.5G 99999999999T nonsense ""; do refused 2 "--ram" run "$E" -p x --ram "$size"; done
refused 1 "give --ram" run "$E" -p x --ram 1
refused 1 "a larger --ram" bench "$E" --ram 1M

# ---- inside a control group ----
# A group with a memory limit below the own one, version 2 or 1. Sets group, limit_file, peak_file.
make_group() {
    own=$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)
    for g in "/sys/fs/cgroup$own" /sys/fs/cgroup; do
        [ -f "$g/cgroup.controllers" ] || continue
        group=$g/carat-ram.$$ limit_file=memory.max peak_file=memory.peak
        mkdir "$group" 2>/dev/null || continue
        [ -w "$group/$limit_file" ] && return 0
        rmdir "$group"
    done
    own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup 2>/dev/null)
    for g in "/sys/fs/cgroup/memory$own" /sys/fs/cgroup/memory; do
        group=$g/carat-ram.$$ limit_file=memory.limit_in_bytes peak_file=memory.max_usage_in_bytes
        mkdir "$group" 2>/dev/null || continue
        [ -w "$group/$limit_file" ] && return 0
        rmdir "$group"
    done
    return 1
}

# within LIMIT COMMAND…: as carat; in $peak what it was charged with at most. Only the command runs in the group, as the shell
# goes there and becomes it; pages of the model that the cache holds already would be charged to nobody, so they are dropped.
within() {
    limit=$1
    shift
    make_group || return 99
    dd if="$m" iflag=nocache count=0 2>/dev/null
    echo "$limit" >"$group/$limit_file" || { rmdir "$group"; return 99; }
    [ -f "$group/memory.swap.max" ] && echo 0 >"$group/memory.swap.max"
    sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$group" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null
    rc=$?
    args=$*
    peak=$(cat "$group/$peak_file" 2>/dev/null)
    for i in 1 2 3 4 5 6 7 8 9 10; do rmdir "$group" 2>/dev/null && break || sleep 0.1; done
}

skipped=
if [ "$(uname)" != Linux ]; then skipped="no control groups here"
elif grep -q -a -e __asan_init -e __tsan_init "$CARAT"; then skipped="a sanitizer takes memory of its own"
elif ! make_group; then skipped="a group with a memory limit cannot be made"
else
    rmdir "$group"
    m=$E
    within 16777216 dd if=/dev/zero of=/dev/null bs=64M count=1
    check "the limit of a group is real" test $rc -ne 0
    for m in "$E" "$MOE"; do
        name=$(basename "$m" .gguf)
        n=$(least run "$m" -p "$P" $answer)
        carat run "$m" -p "$P" $answer
        ids=$(json token_ids)
        case $name in *moe) streamed='--experts streamed --expert-cache 1' ;; *) streamed='--ple streamed' ;; esac
        for more in 0 3; do
            size=$((n + more))
            ceiling=$((size * 1048576))
            within $((ceiling + ceiling * 3 / 100)) "$CARAT" run "$m" -p "$P" $answer --ram "${size}M"
            check "$name runs in a group of ${size}M" equal "$rc $(json token_ids)" "0 $ids"
            [ -z "$peak" ] || check "$name: charged $peak, at most ${size}M" test "$peak" -le $ceiling
            within $((ceiling + ceiling * 3 / 100)) "$CARAT" run "$m" -p "$P" $answer --ram "${size}M" $streamed
            [ $rc -ne 1 ] || continue # buffers of the readers may take more than is saved
            check "$name streams in a group of ${size}M" equal "$rc $(json token_ids)" "0 $ids"
            [ -z "$peak" ] || check "$name: charged $peak streaming, at most ${size}M" test "$peak" -le $ceiling
        done
        # Without a ceiling the group's limit is one.
        within $((n * 1048576 + 8388608)) "$CARAT" run "$m" -p "$P" $answer
        check "$name: the limit of the group is a ceiling by itself" equal "$rc $(json token_ids)" "0 $ids"
    done
fi
if [ -n "$skipped" ] && [ "$failures" -eq 0 ]; then
    echo "$checks checks passed; SKIPPED: ceilings inside a control group: $skipped"
    exit 77
fi
finish
