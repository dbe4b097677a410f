# carat logits: .npy files of the right shape, the same for any chunk and thread count; taps.
. "$(dirname "$0")/lib.sh"
IDS=2,10,20,30,40,50,60,70,80,90,100,110

carat inspect "$MODEL" --json
n_vocab=$(json n_vocab)
carat logits "$MODEL" --tokens $IDS --out "$TMP/a.npy"
check "logits" status 0
check "nothing on stdout" lines "$TMP/out" 0
check "shape" equal "$("$HELPER" npy "$TMP/a.npy")" "12 $n_vocab"

for f in "--chunk 1" "--chunk 5" "-t 1" "-t 3" "-c 600"; do
    carat logits "$MODEL" --tokens $IDS --out "$TMP/b.npy" $f
    check "$f" status 0
    diff=$("$HELPER" npydiff "$TMP/a.npy" "$TMP/b.npy")
    check "$f changes nothing (differs by $diff)" awk "BEGIN { exit !($diff <= 2e-5) }"
done

carat logits "$MODEL" --tokens $IDS --chunk 5 --out "$TMP/c.npy" --taps "$TMP/taps" --json
check "taps" status 0
check "JSON" equal "$(json tokens) $(json n_vocab)" "12 $n_vocab"
check "taps are listed" test "$(json taps | tr '}' '\n' | grep -c name)" -gt 10
check "and written" equal "$(find "$TMP/taps" -name '*.npy' | wc -l | tr -d ' ')" "$(json taps | tr '}' '\n' | grep -c name)"
for f in "$TMP"/taps/*.npy; do
    check "$(basename "$f"): chunks are joined" equal "$("$HELPER" npy "$f" | cut -d' ' -f1)" 12
done
check "no temporary files" equal "$(find "$TMP" -name '*.tmp-*')" ""

carat logits "$MODEL" -p "Hello" --out "$TMP/p.npy" --json
n=$(json tokens)
carat tokenize "$MODEL" "Hello" --bos --json
check "-p is the text with <bos>" equal "$n" "$(json tokens)"

refused 2 "--out" logits "$MODEL" --tokens 1
refused 2 "--out" logits "$MODEL" --tokens 1 --out ""
refused 2 "--out" logits "$MODEL" --tokens 1 --out -
refused 2 "--taps" logits "$MODEL" --tokens 1 --out "$TMP/x.npy" --taps ""
refused 1 "is a folder" logits "$MODEL" --tokens 1 --out "$TMP/taps"
mkfifo "$TMP/pipe" # stands for a device: a rename onto it would take it away from everyone
refused 1 "no regular file" logits "$MODEL" --tokens 1 --out "$TMP/pipe"
check "the pipe is still one" test -p "$TMP/pipe"
refused 2 "one of them" logits "$MODEL" --out "$TMP/x.npy"
refused 2 "one of them" logits "$MODEL" --tokens 1 -p x --out "$TMP/x.npy"
refused 2 "outside the vocabulary" logits "$MODEL" --tokens "$n_vocab" --out "$TMP/x.npy"
refused 2 "no list" logits "$MODEL" --tokens '1;2' --out "$TMP/x.npy"
refused 1 "larger -c" logits "$MODEL" --tokens $IDS -c 4 --out "$TMP/x.npy"
refused 1 "cannot create" logits "$MODEL" --tokens 1 --out "$TMP/none/x.npy"
refused 1 "was trained for" logits "$MODEL" --tokens $IDS -c 99999999 --out "$TMP/x.npy"
refused 1 "needs " logits "$MODEL" --tokens 1 --out "$TMP/x.npy" --ram 10K
check "nothing was left behind" test ! -e "$TMP/x.npy"
finish
