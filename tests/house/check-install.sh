#!/bin/sh
# What `meson install` gives is what somebody else needs: a header, a library, carat.pc, the program with its manual and
# models; and a build without jansson and with a shared library works and passes its tests.
# Usage: check-install.sh SOURCE BUILD MESON CC…
set -eu
unset MALLOC_PERTURB_ 2>/dev/null || :
source=$1 build=$2 meson=$3
shift 3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
no() { echo "not ok - $*" >&2; exit 1; }
quiet() { "$@" >"$tmp/log" 2>&1 || { tail -30 "$tmp/log"; no "$1 $2 failed"; }; }
one() { # a file of that name, and only one
    found=$(find "$1" -name "$2" ! -type d)
    [ "$(echo "$found" | wc -l)" = 1 ] && [ -s "$found" ] || no "$2 is not installed once but: $found"
    echo "$found"
}
warnings='-Wall -Wextra -Werror -pedantic'

# 1. This build, as configured.
quiet "$meson" install -C "$build" --no-rebuild --destdir "$tmp/dest"
header=$(one "$tmp/dest" carat.h)
pc=$(one "$tmp/dest" carat.pc)
program=$(one "$tmp/dest" carat)
one "$tmp/dest" carat.1 >/dev/null
one "$tmp/dest" carat-story-e.gguf >/dev/null
[ "$(find "$tmp/dest" -name '*.h' | wc -l)" = 1 ] || no "more headers than carat.h are installed"
find "$tmp/dest" -name 'libcarat.*' | grep -q . || no "no libcarat is installed"
"$program" --help >/dev/null || no "the installed program does not run"
echo "ok - header, library, carat.pc, program, manual and model are installed"

# 2. A program against it, as C and as C++. The destination is not where the files will lie: hence the prefix.
prefix=${header%/include/carat.h}
flags() { PKG_CONFIG_PATH=${pc%/*} pkg-config --define-variable=prefix="$prefix" "$@" carat; }
model=$CARAT_ROOT/models/carat-story-e.gguf
quiet env PKG_CONFIG_PATH="${pc%/*}" pkg-config --exists carat
eval "quiet \"\$@\" -std=c11 $warnings \"\$source/tests/house/outside.c\" -o \"\$tmp/outside\" $(flags --cflags --libs --static)"
"$tmp/outside" "$model" >"$tmp/c.out" || { cat "$tmp/c.out"; no "a C program with libcarat fails"; }
grep -q '^carat .*: logit ' "$tmp/c.out" || no "it says: $(cat "$tmp/c.out")"
echo "ok - a C program compiles with what carat.pc says, and runs"
cxx=$(command -v c++ || command -v g++ || command -v clang++) || cxx=
if [ -n "$cxx" ]; then
    cp "$source/tests/house/outside.c" "$tmp/outside.cc"
    eval "quiet \"\$cxx\" -std=c++11 $warnings \"\$tmp/outside.cc\" -o \"\$tmp/outside_cc\" $(flags --cflags --libs --static)"
    "$tmp/outside_cc" "$model" | cmp - "$tmp/c.out" || no "the C++ program says something else"
    echo "ok - the same program as C++"
else
    echo "SKIPPED: carat.h in C++ needs a C++ compiler (apt-get install g++)"
fi

# 3. Without jansson, static and shared; its tests, its installation, a program with the shared library.
export CC="$*"
quiet "$meson" setup "$tmp/build" "$source" -Djson=disabled -Ddefault_library=both -Doptimization=1 --prefix "$tmp/inst"
quiet "$meson" compile -C "$tmp/build"
quiet "$meson" test -C "$tmp/build" --no-rebuild --no-suite house --no-suite fuzz -t 4
sh "$source/tools/count-tests.sh" "$tmp/build" 0 >"$tmp/count" || { cat "$tmp/count"; no "tests without jansson"; }
echo "ok - without jansson: $(tail -1 "$tmp/count")"
quiet "$meson" install -C "$tmp/build" --no-rebuild
[ ! -e "$tmp/inst/bin/carat" ] || no "the program is installed without jansson"
pc=$(one "$tmp/inst" carat.pc)
eval "quiet \"\$@\" -std=c11 $warnings \"\$source/tests/house/outside.c\" -o \"\$tmp/outside_so\" \
    $(PKG_CONFIG_PATH=${pc%/*} pkg-config --cflags --libs carat)"
so() { LD_LIBRARY_PATH=$(dirname "${pc%/*}") "$tmp/outside_so" "$1"; }
so "$model" | cmp - "$tmp/c.out" || no "a program with libcarat.so says something else"
echo "ok - libcarat.so without jansson gives the same logits"
if so "$CARAT_ROOT/tests/oracle/e2b" >"$tmp/log"; then no "a folder opens without jansson"; fi
grep -q jansson "$tmp/log" || { cat "$tmp/log"; no "the refusal of a folder does not name jansson"; }
echo "ok - without jansson a Hugging Face folder is refused with a message that names it"
