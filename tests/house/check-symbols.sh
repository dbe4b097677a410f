#!/bin/sh
# The installed library exports carat_* and nothing else. Usage: check-symbols.sh libcarat.so
set -eu
# sanitizers and coverage add symbols of their own
names=$(nm -D --defined-only "$1" | awk '{print $3}' | grep -vE '^(_init|_fini|__asan|__ubsan|__tsan|__sanitizer|_edata|_end|__bss_start|__odr_asan)' || true)
bad=$(echo "$names" | grep -v '^carat_' || true)
[ -z "$bad" ] || { echo "symbols without the prefix carat_:"; echo "$bad"; exit 1; }
n=$(echo "$names" | grep -c '^carat_')
[ "$n" -ge 30 ] || { echo "only $n carat_ symbols exported"; exit 1; }
# every function carat.h promises is there
for f in $(sed -n 's/^CARAT_API .*[ *]\(carat_[a-z_0-9]*\)(.*/\1/p' "$(dirname "$0")/../../include/carat.h"); do
    echo "$names" | grep -qx "$f" || { echo "carat.h declares $f, the library lacks it"; exit 1; }
done
echo "ok - $n exported symbols, all carat_*"
