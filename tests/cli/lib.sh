# Common part of the program's tests. A script sources this with $1 = the helper; CARAT_BIN and CARAT_ROOT are set.
# Every check prints what it expected when it fails; `finish` ends the script with the verdict.
set -u
HELPER=$1
CARAT=${CARAT_BIN:?path of the program}
ORACLE=${CARAT_ROOT:?source tree}/tests/oracle
MODEL=$ORACLE/e2b
TMP=$(mktemp -d "${TMPDIR:-/tmp}/carat-cli.XXXXXX") || exit 99
trap 'rm -rf "$TMP"' EXIT
failures=0 checks=0
unset NO_COLOR 2>/dev/null || :

# carat ARGS…: output in $TMP/out and $TMP/err, status in $rc
carat() {
    "$CARAT" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null
    rc=$?
    args=$*
}

fail() {
    failures=$((failures + 1))
    echo "FAILED: $1 (carat ${args:-})" >&2
    sed 's/^/  out: /' "$TMP/out" 2>/dev/null | head -5 | cut -c1-200 >&2
    sed 's/^/  err: /' "$TMP/err" 2>/dev/null | head -5 | cut -c1-200 >&2
}

# check WHAT COMMAND…: the command must succeed
check() {
    what=$1
    shift
    checks=$((checks + 1))
    "$@" || fail "$what"
}

equal() {
    [ "$1" = "$2" ] || { echo "  expected '$2', found '$1'" >&2; return 1; }
}

status() { equal "$rc" "$1"; }
out_has() { grep -qF -e "$1" "$TMP/out"; }
err_has() { grep -qF -e "$1" "$TMP/err"; }
lines() { equal "$(wc -l <"$1" | tr -d ' ')" "$2"; }

# An error: this status, nothing on stdout, one line on stderr that begins with "carat: " and holds the text.
refused() {
    want=$1
    text=$2
    shift 2
    carat "$@"
    check "status $want" status "$want"
    check "nothing on stdout" lines "$TMP/out" 0
    check "one line on stderr" lines "$TMP/err" 1
    check "the line begins with carat:" grep -q '^carat: ' "$TMP/err"
    check "the line says '$text'" err_has "$text"
}

# json PATH…: values of the last output
json() { "$HELPER" json "$@" <"$TMP/out"; }

finish() {
    echo "$checks checks, $failures failures"
    [ "$failures" -eq 0 ]
    exit
}
