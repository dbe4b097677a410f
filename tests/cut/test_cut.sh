# carat cut as a user runs it: names, JSON, and that a failure says so in one line and leaves nothing behind.
. "$(dirname "$0")/../cli/lib.sh"

# No file of this beginning is left, finished or not.
nothing_at() {
    for f in "$1"*; do [ ! -e "$f" ] || { echo "  $f was left" >&2; return 1; }; done
}
name_of() { # FILE
    carat inspect "$1" --json
    json name
}

carat cut "$MODEL" --type q8_0 --out "$TMP/a.gguf"
check "cut" status 0
check "says the file" out_has "a.gguf: q8_0, "
check "a folder's name" equal "$(name_of "$TMP/a.gguf")" e2b
carat cut "$MODEL" --type q8_0 --out "$TMP/a.gguf" --name "Story E" --json
check "cut --json" status 0
check "type in JSON" equal "$(json type)" q8_0
check "--name" equal "$(name_of "$TMP/a.gguf")" "Story E"
carat cut "$TMP/a.gguf" --type q4_0 --out "$TMP/b.gguf"
check "the name is kept" equal "$(name_of "$TMP/b.gguf")" "Story E"
carat cut "$TMP/a.gguf" --type q4_0 --out "$TMP/b.gguf" --name B
check "the name is replaced" equal "$(name_of "$TMP/b.gguf")" B

cp "$TMP/a.gguf" "$TMP/copy.gguf"
refused 1 "is a file of the model that is read" cut "$TMP/a.gguf" --type q4_0 --out "$TMP/../$(basename "$TMP")/a.gguf"
check "the source is unharmed" cmp "$TMP/a.gguf" "$TMP/copy.gguf"
refused 1 "No such file" cut "$MODEL" --type q4_0 --out "$TMP/nowhere/x.gguf"
refused 2 "is a folder" cut "$MODEL" --type q4_0 --out "$TMP"
refused 2 "--out FILE is missing" cut "$MODEL" --type q4_0
refused 2 "is a folder" synth e2b --out "$TMP"
check "no temporary file" nothing_at "$TMP.tmp"

# Layout: types are kept, the way back gives the same bytes, and the listing says how a tensor lies.
carat cut "$TMP/a.gguf" --layout panels --out "$TMP/p.gguf"
check "cut --layout panels" status 0
check "says that types are kept" out_has "types kept"
check "says that panels are carat's own" out_has "only carat reads"
carat inspect "$TMP/p.gguf" --tensors
check "inspect shows panels" out_has "Q8_0 panels"
carat run "$TMP/p.gguf" -p x -n 4 --temp 0 && cp "$TMP/out" "$TMP/of_panels"
carat run "$TMP/a.gguf" -p x -n 4 --temp 0
check "the same answer" cmp "$TMP/out" "$TMP/of_panels"
carat cut "$TMP/p.gguf" --layout rows --out "$TMP/r.gguf" --json
check "layout in JSON" equal "$(json layout) $(json type) $(json panels)" "rows kept 0"
check "back to the same bytes" cmp "$TMP/r.gguf" "$TMP/a.gguf"
refused 2 "--type TYPE is missing" cut "$MODEL" --layout panels --out "$TMP/x.gguf"
refused 2 "--layout" cut "$TMP/a.gguf" --layout columns --out "$TMP/x.gguf"

# A full disk, as far as a test can have one: the file may not grow beyond 50 KiB.
full() { (ulimit -f 100; "$CARAT" "$@" >"$TMP/out" 2>"$TMP/err" </dev/null); rc=$? args=$*; }
for verb in "cut $MODEL" "synth e2b"; do
    # shellcheck disable=SC2086
    full $verb --type q8_0 --out "$TMP/full.gguf"
    check "full disk: $verb" status 1
    check "one line" lines "$TMP/err" 1
    check "it says why" err_has "full.gguf"
    check "nothing is left" nothing_at "$TMP/full"
done
finish
