#!/bin/sh
# Rules a compiler does not check: the library neither exits, prints, reads the environment nor keeps state of its own; it
# allocates in one place; forward code names no quantisation type and no model; instruction sets stay in kernels; files
# keep to their size; scripts name no hosts. check-objects.sh finds in compiled code what these patterns cannot see.
# Usage: check-rules.sh [TREE]
set -eu
cd "${1:-$(dirname "$0")/../..}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0
complain() { # title, matches
    if [ -n "$2" ]; then
        printf '%s\n%s\n' "$1" "$2"
        bad=1
    fi
}

# Every line of the library as "file:line:text" without comments, in code also without what strings hold.
sources=$(find src -name '*.[ch]' -o -name '*.inc' -o -name '*.def')
awk -v code="$tmp/code" -v text="$tmp/text" '
    FNR == 1 { in_comment = 0 }
    {
        rest = $0; with = without = ""
        while (rest != "") {
            if (in_comment) {
                end = index(rest, "*/")
                if (!end) break
                rest = substr(rest, end + 2); in_comment = 0
            } else if (match(rest, /"([^"\\]|\\.)*"|\/\*|\/\/|\047([^\047\\]|\\.)+\047/)) {
                what = substr(rest, RSTART, RLENGTH); before = substr(rest, 1, RSTART - 1)
                with = with before; without = without before; rest = substr(rest, RSTART + RLENGTH)
                if (what == "//") break
                if (what == "/*") { in_comment = 1; continue }
                with = with what; without = without substr(what, 1, 1) substr(what, 1, 1)
            } else {
                with = with rest; without = without rest; rest = ""
            }
        }
        print FILENAME ":" FNR ":" with >text
        print FILENAME ":" FNR ":" without >code
    }' $sources
calls() { grep -E "(^|[^a-zA-Z0-9_])($1) *\(" "$2" || true; }
seen=$(wc -l <"$tmp/code")
[ "$seen" -gt 3000 ] || { echo "looked at $seen lines only: the script is broken"; exit 1; }

complain "The library must not exit, abort, or install handlers:" \
    "$(calls 'exit|_exit|_Exit|quick_exit|abort|raise|kill|signal|sigaction|atexit' "$tmp/code")"
complain "The library must not print:" \
    "$(calls 'v?printf|v?fprintf|v?dprintf|puts|fputs|putchar|putc|fputc|perror|v?syslog' "$tmp/code")"
complain "The library has no standard streams:" \
    "$(grep -E '(^|[^a-zA-Z0-9_.>])(stdin|stdout|stderr)([^a-zA-Z0-9_]|$)' "$tmp/code" || true)"
complain "The library must not read or change the environment, nor call what keeps hidden state:" \
    "$(calls 'getenv|secure_getenv|setenv|unsetenv|putenv|setlocale|rand|srand|random|srandom|drand48|strtok|localtime|gmtime' "$tmp/code")"
grep -v '^src/base/mem\.c:' "$tmp/code" >"$tmp/not_mem"
complain "Memory outside the seam of base/mem.h:" \
    "$(calls 'malloc|calloc|realloc|reallocarray|strdup|strndup|free|aligned_alloc|posix_memalign|memalign|v?asprintf|getline|getdelim|alloca' "$tmp/not_mem")"

# `static` without const, or with a pointer that is not itself const. A parenthesis before any `=` is a function (or
# a pointer to one, which must be const).
complain "Static variables that are not constant (no mutable globals, no static scratch):" "$(awk '
    {
        line = $0; sub(/^[^:]*:[0-9]*:/, "", line)
        if (line !~ /(^|[ \t;{])(static|_Thread_local|thread_local|__thread)([ \t]|$)/) next
        sub(/=.*/, "", line); sub(/;.*/, "", line)
        if (line ~ /\( *\*/) { if (line !~ /\( *\*+ *const/) print; next }
        if (line ~ /\(/) next
        constant = line ~ /(^|[ \t])const([ \t]|$)/ && !(line ~ /\*/ && line !~ /\*[ \t]*const[^*]*$/)
        if (!constant && line !~ /^[ \t]*static[ \t]+inline/) print
    }' "$tmp/code")"

grep '^src/forward/' "$tmp/text" >"$tmp/forward"
complain "Forward code names a quantisation type or a model:" "$(grep -iE 'CT_(Q[0-9]|IQ)|E2B|E4B|A4B|31B' "$tmp/forward" || true)"
complain "Forward code asks for the number of layers to know the model:" "$(grep -E 'n_layers? *[!=]= *[0-9]' "$tmp/forward" || true)"
complain "Instruction sets outside kernels:" \
    "$(grep -v '^src/kernels/' "$tmp/code" | grep -E '__(AVX|SSE|FMA|F16C|ARM_)|immintrin\.h|arm_neon\.h' || true)"
complain "Left to do:" "$(grep -nE '(^|[^A-Za-z])(TODO|FIXME)' $(find src apps tests include -name '*.[ch]' -o -name '*.inc') || true)"
complain "Scripts name a host:" "$(grep -nE '(https?|ftp)://|(curl|wget) ' check demo $(find tools tests .ci -name '*.sh' ! -name check-rules.sh) 2>/dev/null || true)"
for f in $(find src apps tests include -name '*.[ch]' -o -name '*.inc'); do
    n=$(wc -l <"$f")
    limit=1000
    case $f in tests/*) limit=1500 ;; esac
    [ "$n" -le "$limit" ] || complain "Too long (which two ideas live in one room?):" "$f: $n lines, at most $limit"
done
[ "$bad" = 0 ] && echo "ok - house rules kept ($seen lines)"
exit "$bad"
