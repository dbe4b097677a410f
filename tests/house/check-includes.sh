#!/bin/sh
# The rooms' one-way doors: which room may include which (docs/architecture.md). Fails on the first breach it lists.
# Private headers (*_int.h, *_priv.h) may be included only inside their own room.
set -eu
cd "${1:-$(dirname "$0")/../..}"

allowed() { # room -> rooms it may include, itself included
    case $1 in
    base) echo base ;;
    quant) echo quant base ;;
    formats) echo formats base ;;
    model) echo model base formats ;;
    text) echo text base formats ;;
    media) echo media base ;;
    kernels) echo kernels base quant ;;
    runtime) echo runtime base ;;
    forward) echo forward base model runtime kernels quant ;;
    sample) echo sample base kernels ;;
    engine) echo engine base quant formats model text media kernels runtime forward sample ;;
    *) echo "no such room: $1" >&2; exit 1 ;;
    esac
}

# Ours in quotes; in angle brackets too when the folder is one of ours.
includes() {
    sed -n 's/^[[:blank:]]*#[[:blank:]]*include[[:blank:]]*"\([^"]*\)".*/\1/p' "$1"
    sed -n 's/^[[:blank:]]*#[[:blank:]]*include[[:blank:]]*<\([^>]*\)>.*/\1/p' "$1" |
        grep -E "^(carat\.h|jansson\.h|($rooms)/.*)\$" || true
}

bad=0 seen=0
rooms=$(ls src | tr '\n' '|')
rooms=${rooms%|}
for file in $(find src -name '*.[ch]' -o -name '*.inc' -o -name '*.def' | sort); do
    room=$(echo "$file" | cut -d/ -f2)
    may=" $(allowed "$room") "
    for inc in $(includes "$file"); do
        seen=$((seen + 1))
        case $inc in
        carat.h) case $room in base | engine) ;; *) echo "$file: includes carat.h; only base and engine may"; bad=1 ;; esac; continue ;;
        jansson.h) [ "$file" = src/formats/json.c ] || { echo "$file: only formats/json.c may include jansson"; bad=1; }; continue ;;
        */*) door=${inc%%/*} ;;
        *) door=$room ;;
        esac
        case $may in *" $door "*) ;; *) echo "$file: includes $inc, but $room may include only:$may"; bad=1 ;; esac
        case $inc in *_int.h | *_priv.h) [ "$door" = "$room" ] || { echo "$file: includes the private header $inc"; bad=1; } ;; esac
    done
done
# Apps talk to carat.h, base and themselves; the verbs that look into files also to quant, formats and model,
# and to the layout of panels; the simulator of caches to the live policy.
for file in apps/*/*.[ch]; do
    case $(basename "$file") in
    recipe*) may=' base formats kernels ' ;;
    expert_sim*) may=' base runtime ' ;;
    cut* | inspect* | synth* | hf_* | gemma_keys*) may=' base quant formats model ' ;;
    *) may=' base ' ;;
    esac
    for inc in $(includes "$file"); do
        seen=$((seen + 1))
        case $inc in carat.h | jansson.h) continue ;; esac
        case $inc in */*) door=${inc%%/*} ;; *) continue ;; esac
        [ "$door" = carat ] && continue
        case $may in *" $door "*) ;; *) echo "$file: includes $inc, but it may include only carat.h,$may"; bad=1 ;; esac
        case $inc in *_int.h | *_priv.h) echo "$file: includes the private header $inc"; bad=1 ;; esac
    done
done
ours=$(includes include/carat.h)$(sed -n 's/^#include "\(.*\)"/\1/p' include/carat.h)
[ -z "$ours" ] || { echo "include/carat.h: includes $ours, but it may include only the C library"; bad=1; }
[ "$seen" -gt 100 ] || { echo "looked at $seen includes only: the script is broken"; exit 1; }
[ "$bad" = 0 ] && echo "ok - $seen includes keep to the table"
exit "$bad"
