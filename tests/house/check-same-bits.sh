#!/bin/sh
# The same program on another processor gives the same bits, and executes no instruction that processor lacks. Compares
# logits of every oracle checkpoint and files written by `cut`.
#   check-same-bits.sh CPU CARAT [KERNEL-TEST]     CARAT on this machine and under qemu-user as CPU (Conroe has no AVX)
#   check-same-bits.sh arm CARAT-HERE CARAT-ARM    two builds
set -eu
cpu=$1 here=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
models=$CARAT_ROOT/tests/oracle

if [ "$cpu" = arm ]; then
    [ -x "$here" ] || { echo "SKIPPED: needs $here to compare with (./check builds it)"; exit 77; }
    there() { "$arm" "$@"; }
    arm=$3
else
    qemu=$(command -v qemu-x86_64-static || command -v qemu-x86_64) ||
        { echo "SKIPPED: running as a $cpu needs qemu-user (apt-get install qemu-user-static)"; exit 77; }
    there() { "$qemu" -cpu "$cpu" "$here" "$@"; }
fi

same() { # WHAT ARGUMENTS…, without --out
    what=$1
    shift
    "$here" "$@" --out "$tmp/here" >"$tmp/log" 2>&1 || { cat "$tmp/log"; echo "not ok - $what fails on this machine"; exit 1; }
    there "$@" --out "$tmp/there" >"$tmp/log" 2>&1 || { cat "$tmp/log"; echo "not ok - $what fails on $cpu, status $?"; exit 1; }
    cmp "$tmp/here" "$tmp/there" || { echo "not ok - $what differs on $cpu"; exit 1; }
    echo "ok - $what: the same on $cpu"
    rm "$tmp/here" "$tmp/there"
}
for m in e2b e4b 31b 26b-a4b gemma3; do
    same "logits of $m" logits "$models/$m" --tokens 2,4,6,9,30,22,11,17,3,44,50,8,13,60,21,7
done
# Weights that kernels decode, and encoders.
for type in Q8_0 Q4_0; do same "cut $type" cut "$models/e2b" --type $type; done
"$here" cut "$models/e2b" --type Q8_0 --out "$tmp/q8.gguf" >/dev/null 2>&1
same "logits of Q8_0" logits "$tmp/q8.gguf" --tokens 2,4,6,9,30,22,11,17

if [ "$cpu" = Conroe ]; then
    there logits "$models/e2b" --tokens 2 --cpu avx2 --out "$tmp/no" >"$tmp/log" 2>&1 &&
        { echo "not ok - a processor without AVX2 is asked for it and agrees"; exit 1; }
    grep -q 'avx2' "$tmp/log" || { cat "$tmp/log"; echo "not ok - the refusal does not name avx2"; exit 1; }
    echo "ok - asked for AVX2, a processor without it says no"
fi
[ "$cpu" = arm ] || [ $# -lt 3 ] || { "$qemu" -cpu "$cpu" "$3" && echo "ok - kernel tests on $cpu"; }
