#!/bin/sh
# Rules a compiler does not check: the library neither exits, aborts, prints nor reads the environment; forward code names
# no quantisation type and no model; files keep to their size; shell scripts name no hosts.
set -eu
cd "${1:-$(dirname "$0")/../..}"
bad=0
complain() { # title, matches
    if [ -n "$2" ]; then
        printf '%s\n%s\n' "$1" "$2"
        bad=1
    fi
}
code() { grep -nE "$1" $2 | grep -vE ':[0-9]+: *(/\*|\*|//)' || true; }
src=$(find src -name '*.[ch]' -o -name '*.inc')
complain "The library must not exit, abort, print, or read the environment:" \
    "$(code '(^|[^a-z_])(exit|abort|printf|fprintf|puts|perror|getenv|setlocale|signal) *\(' "$src" | grep -vE 'snprintf|vsnprintf' || true)"
complain "Static variables that are not constant (no mutable globals, no static scratch):" \
    "$(grep -nE '^ *static [a-z_A-Z ]+[ *][a-z_A-Z0-9]+(\[[^]]*\])? *(=|;)' $src | grep -vE 'static (inline )?const |static const|_Static_assert|\*const ' || true)"
complain "Forward code names a quantisation type or a model:" \
    "$(code 'CT_(Q[0-9]|IQ)|E2B|E4B|A4B|31B' "$(find src/forward -name '*.[ch]')")"
complain "malloc outside the seam of base/mem.h:" "$(code '(^|[^a-z_])(malloc|calloc|realloc|strdup|free) *\(' "$(echo "$src" | grep -v base/mem.c)")"
for f in $(find src apps tests include -name '*.[ch]' -o -name '*.inc'); do
    n=$(wc -l <"$f")
    limit=1000
    case $f in tests/*) limit=1500 ;; esac
    [ "$n" -le "$limit" ] || complain "Too long (which two ideas live in one room?):" "$f: $n lines, at most $limit"
done
[ "$bad" = 0 ] && echo "ok - house rules kept"
exit "$bad"
