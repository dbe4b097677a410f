# carat inspect: the ledger adds up, in text and JSON, and agrees with the tensor directory.
. "$(dirname "$0")/lib.sh"

roles="token_embedding output_head ple_table ple_projections attention dense_mlp experts router norms vision audio unused"
files=
for m in e2b e4b 31b 26b-a4b gemma3; do
    files="$files $ORACLE/$m"
    # and as GGUF, whose names and layout are others
    "$CARAT" cut "$ORACLE/$m" --type q8_0 --out "$TMP/$m.gguf" >"$TMP/out" 2>"$TMP/err" && files="$files $TMP/$m.gguf"
done
for f in $files; do
    m=$(basename "$f")
    carat inspect "$f"
    check "inspect $m" status 0
    check "text names the roles" out_has "attention projections"
    check "nothing on stderr" lines "$TMP/err" 0
    carat inspect "$f" --json --tensors
    check "inspect $m --json" status 0
    sum=0 n=0
    for r in $roles; do
        sum=$((sum + $(json "roles.$r.bytes"))) n=$((n + $(json "roles.$r.tensors")))
    done
    check "$m: roles and the rest are the file" equal $((sum + $(json other_bytes))) "$(json file_bytes)"
    if [ -d "$f" ]; then size=$(cat "$f"/model*.safetensors | wc -c); else size=$(wc -c <"$f"); fi
    check "$m: the file is as long" equal "$(json file_bytes)" "$(echo $size)"
    # The listing of tensors and the ledger must agree.
    json tensors | tr '}' '\n' | sed -n 's/.*"bytes":\([0-9]*\),"role":"\([a-z_]*\)".*/\2 \1/p' >"$TMP/list"
    check "$m: every tensor is listed" lines "$TMP/list" "$n"
    for r in $roles; do
        listed=$(awk -v r="$r" '$1 == r { s += $2 } END { print s + 0 }' "$TMP/list")
        check "$m: $r of the listing" equal "$listed" "$(json "roles.$r.bytes")"
    done
    check "$m: effective leaves the PLE table out" equal "$(json params.effective)" \
        $(($(json params.total) - $(json roles.ple_table.params)))
    check "$m: as many kinds as layers" equal "$(json layers | tr ',' '\n' | wc -l | tr -d ' ')" "$(json n_layer)"
done

# Memory: what inspect says is what run uses.
carat inspect "$MODEL" -c 500 --json
kv=$(json memory.plan.kv_bytes)
carat run "$MODEL" -p x -n 1 -c 500 --json
check "KV bytes of run" equal "$(json memory.kv_bytes)" "$kv"
carat inspect "$MODEL" -c 20000 --json
a=$(json memory.plan.kv_bytes) slope=$(json memory.kv_bytes_per_token)
carat inspect "$MODEL" -c 20992 --json
check "KV bytes a token" equal $(($(json memory.plan.kv_bytes) - a)) $((slope * 992)) # whole tiles of 16 slots

carat inspect "$MODEL" --ram 1G
check "fits" out_has "fits"
carat inspect "$MODEL" --ram 100K --json
check "does not fit" equal "$(json memory.plan.fits)" false
carat inspect "$MODEL" --tensors
check "tensors in text" out_has "embed_tokens_per_layer"
check "GGUF files were inspected too" test -e "$TMP/e2b.gguf"

refused 1 "No such file" inspect "$TMP/none"
head -c 100 "$MODEL/config.json" >"$TMP/cut.gguf"
refused 1 "cut.gguf" inspect "$TMP/cut.gguf"
finish
