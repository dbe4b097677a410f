# The command line itself: help, unknown verbs and flags with the nearest right one, the man page.
. "$(dirname "$0")/lib.sh"

carat
check "no verb is a wrong command line" status 2
check "help goes to stderr then" err_has "usage: carat VERB"
for h in --help -h help; do
    carat $h
    check "help" status 0
    check "help lists run" out_has "  run "
    check "nothing on stderr" lines "$TMP/err" 0
done
carat --version
check "version" status 0
check "version text" out_has "carat 0."
for h in -V version; do
    carat $h
    check "$h is --version" out_has "carat 0."
done
carat --help
check "no line of the help beyond 80 columns" equal "$(LC_ALL=C awk 'length($0) > 80' "$TMP/out")" ""

verbs=$("$CARAT" --help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p')
check "verbs are listed" test -n "$verbs"
for v in $verbs; do
    carat "$v" --help
    check "help of $v" status 0
    check "usage of $v" out_has "usage: carat $v"
    check "common flag of $v" out_has "--threads N"
    check "an example of $v" grep -q "^    .*carat $v " "$TMP/out"
    check "no line beyond 80 columns" equal "$(LC_ALL=C awk 'length($0) > 80' "$TMP/out")" ""
    cp "$TMP/out" "$TMP/kept"
    carat help "$v"
    check "carat help $v says the same" cmp -s "$TMP/out" "$TMP/kept"
    refused 2 "did you mean --json?" "$v" --jsno
    refused 2 "did you mean --threads?" "$v" --thread 3
    refused 2 "whole number" "$v" -t two
    refused 2 "outside" "$v" -t 0
    refused 2 "no size" "$v" --ram lots
    refused 2 "needs a value" "$v" --ram
done

refused 2 "did you mean run?" rnu
refused 2 "did you mean tokenize?" tokenise
refused 2 "did you mean inspect?" inspct model.gguf
refused 2 "did you mean --help?" --hlep
refused 2 "did you mean --top-k?" run --topk 3
refused 2 "did you mean --temp?" run --temperature 1
refused 2 "did you mean --temp?" run -temp 1
refused 2 "did you mean --repeat-penalty?" run --repeat_penalty 1
# Where nothing is near, a hint would only mislead; what is promised for later says so.
for w in foo nonsense -z; do
    refused 2 "no such" "$w"
    check "no hint for $w" test -z "$(grep 'did you mean' "$TMP/err")"
    refused 2 "no such flag" run "-$w"
done
check "no hint for a far flag" test -z "$(grep 'did you mean' "$TMP/err")"
for w in chat serve; do refused 2 "not in this version" $w; done
refused 2 "empty word" ""
refused 2 "no number" run --temp hot
refused 2 "outside 0 to 100" run --temp 1e400
refused 2 "no number" run --temp nan
refused 2 "-n: 99999999999999999999 is outside -1 to 2147483647" run -n 99999999999999999999
refused 2 "--max-tokens: 2147483648 is outside -1 to 2147483647" run --max-tokens 2147483648
refused 2 "no whole number" run -n 1e3
refused 2 "outside 0 to 1" run --top-p 1.5
refused 2 "not one of on|off" run --think maybe
refused 2 "takes no value" run --raw=yes
refused 2 "no seed" run --seed -1
refused 2 "no seed" run --seed 9223372036854775808
refused 2 "one argument too many" run a b
refused 2 "too few arguments" inspect
refused 2 "too few arguments" weigh --json
refused 2 "no such flag" run -x

# Sizes: what is taken, and what is not.
for s in 1.5G 900M 64KiB 2g 2gb 123456789 .5G; do
    carat run "$TMP/none" -p x --ram $s
    check "size $s is read, the model is missed" status 1
done
for s in 1.5X G -1 0 1e999 0x10 1.5GG inf; do refused 2 "no size" run "$TMP/none" -p x --ram $s; done

# Flags in all spellings reach the same place; after -- nothing is a flag.
for f in "-n 3" "-n3" "--max-tokens 3" "--max-tokens=3"; do
    carat run "$MODEL" -p x --seed 1 --json $f
    check "$f" equal "$(json tokens)" 3
done
carat run --json -n 2 -p x --seed 1 -- "$MODEL"
check "words after --" status 0

carat --help-man
cp "$TMP/out" "$TMP/man"
check "docs/man/carat.1 is current: carat --help-man > docs/man/carat.1" cmp -s "$TMP/man" "$CARAT_ROOT/docs/man/carat.1"
for v in $verbs; do check "man page has $v" grep -q "^.SH CARAT $v\$" "$TMP/man"; done
finish
