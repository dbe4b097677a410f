#!/bin/sh
# The bundled models: they load, tell a story that ends by itself, the same for a seed; their size is as promised; their
# bits per byte are transformers' own value (training/evaluate.py on the checkpoint they were cut from).
# On text of this repository always; on held-out stories where ../shared is. Bound: 0.5 %, for Q8_0 and the f16 KV cache.
set -eu
MODELS=$CARAT_ROOT/models
DATA=$CARAT_ROOT/../shared/data
TMP=$(mktemp -d "${TMPDIR:-/tmp}/carat-models.XXXXXX")
trap 'rm -rf "$TMP"' EXIT
failures=0 checks=0
check() { # WHAT COMMAND…
    what=$1
    shift
    checks=$((checks + 1))
    "$@" || { failures=$((failures + 1)); echo "FAILED: $what"; }
}
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a / b - 1; exit !(d < 0.005 && d > -0.005) }'; }
bits() { # MODEL TEXT
    "$CARAT_BIN" weigh "$1" --text "$2" --windows full -c 257 --json | sed 's/.*"bits_per_byte": *\([0-9.]*\).*/\1/'
}
value() { awk -v m="$1" -v t="$2" '$1 == m && $2 == t { print $3 }' "$CARAT_ROOT/tests/models/bits_per_byte.txt"; }
story() { "$CARAT_BIN" run "$1" -p "Tell me a story about a cat." -n 500 --json --seed "$2"; }

for name in story-e story-moe; do
    model=$MODELS/carat-$name.gguf
    check "$name is at most 8 MB" test "$(wc -c <"$model")" -le 8000000
    story "$model" 1 >"$TMP/a"
    story "$model" 1 >"$TMP/b"
    story "$model" 2 >"$TMP/c"
    ids() { sed 's/.*"token_ids": \(\[[^]]*\]\).*/\1/' "$1"; }
    check "$name: a seed reproduces" test "$(ids "$TMP/a")" = "$(ids "$TMP/b")"
    check "$name: another seed tells another story" test "$(ids "$TMP/a")" != "$(ids "$TMP/c")"
    check "$name: the story ends by itself" grep -q '"stop": "stop"' "$TMP/a"
    check "$name: the story is about a cat" grep -qi cat "$TMP/a"
    got=$(bits "$model" "$CARAT_ROOT/tests/models/text.txt") want=$(value $name text)
    echo "$name: $got bits a byte of tests/models/text.txt, transformers $want"
    check "$name: bits a byte of tests/models/text.txt" near "$got" "$want"
    if [ -f "$DATA/tinystories_valid.txt.xz" ] && command -v xz >/dev/null; then
        xz -dc "$DATA/tinystories_valid.txt.xz" | awk '/^<\|endoftext\|>$/ { if (++n == 40) exit; next } { print }' >"$TMP/held-out"
        got=$(bits "$model" "$TMP/held-out") want=$(value $name excerpt)
        echo "$name: $got bits a byte of 40 held-out stories, transformers $want"
        check "$name: bits a byte of 40 held-out stories" near "$got" "$want"
    else
        echo "SKIPPED: $name on held-out stories needs $DATA/tinystories_valid.txt.xz and xz"
    fi
done
echo "$checks checks, $failures failures"
[ "$failures" = 0 ]
