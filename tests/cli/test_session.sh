# carat run --session: a text read once, other questions behind it, answers that do not change; files that cannot be used.
. "$(dirname "$0")/lib.sh"
M=$CARAT_ROOT/models/carat-story-e.gguf
TEXT="Once upon a time there was a cat named Tom. $(printf 'The cat sat on the red mat and saw a dog. %.0s' $(seq 40))"
S=$TMP/text.kv
told() { echo "$(json session.loaded_tokens) $(json session.reused_tokens) $(json session.saved_tokens)"; }

# ask QUESTION OPTIONS…: with the session's file, and without
ask() {
    question=$1
    shift
    carat run "$M" -p "$TEXT$question" --temp 0 -n 40 --json "$@"
    check "an answer without a session" status 0
    check "JSON says there is none" equal "$(json session)" null
    ids=$(json token_ids)
    carat run "$M" -p "$TEXT$question" --temp 0 -n 40 --json --session "$S" "$@"
    check "an answer with a session" status 0
    check "the same answer" equal "$(json token_ids)" "$ids"
    check "JSON names the file" equal "$(json session.file)" "$S"
}

for kv in f16 q8_0 f32; do
    rm -f "$S"
    ask "What did Tom see?" --kv $kv
    n=$(json prompt_tokens) saved=$(json session.saved_tokens)
    check "nothing to load yet" equal "$(told)" "0 0 $saved"
    check "prompt and answer are saved" test "$saved" -ge "$n"
    check "and are the owner's to read" equal "$(ls -l "$S" | cut -c1-10)" "-rw-------"
    ask "Where was the dog?" --kv $kv -t 1 --lookup off
    check "all is loaded" equal "$(json session.loaded_tokens)" "$saved"
    check "the text is reused, for another question" test "$(json session.reused_tokens)" -gt $((n - 20))
    check "but not all of it" test "$(json session.reused_tokens)" -lt "$n"
    ask "Where was the dog?" --kv $kv -c 1000 -n 4
    check "the same question: all but the last token" equal "$(json session.reused_tokens)" $(($(json prompt_tokens) - 1))
    ask "Where was the dog? Tell me all about the dog and the cat and the mat." --kv $kv
    check "a longer question" test "$(json session.reused_tokens)" -gt $((n - 20))
    check "no temporary files" equal "$(find "$TMP" -name '*.tmp-*')" ""
done

# The next run takes over how far this one could go back, however little it answers itself.
rm -f "$S"
carat run "$M" -p "$TEXT" --temp 0 -n 400 --lookup off --session "$S" --json
n=$(json session.saved_tokens)
carat run "$M" -p "$TEXT Why?" --temp 0 -n 1 --lookup off --session "$S" --json
check "a long answer is gone back over" test "$(json session.reused_tokens)" -gt $(($(json prompt_tokens) - 20))
check "all of it was loaded" equal "$(json session.loaded_tokens)" "$n"
carat run "$M" -p "$TEXT" -n 2 --session "$S" --stats
check "--stats tells in one line" grep -q "^session: [0-9]* tokens loaded, [0-9]* of them reused; [0-9]* saved to $S, " "$TMP/err"
carat run "$M" -p "Another text" -n 2 --session "$S" --json
check "nothing in common: nothing is reused but how texts begin" test "$(json session.reused_tokens)" -lt 10
carat run "$M" -p "$TEXT" -n 60 --session "$S" --json

# A file of another kind says what to do, and stays as it is.
cp "$S" "$TMP/before"
refused 1 "saved with another model" run "$CARAT_ROOT/models/carat-story-moe.gguf" -p a --session "$S"
refused 1 "name another with --session" run "$CARAT_ROOT/models/carat-story-moe.gguf" -p a --session "$S"
refused 1 "as F16, this session keeps Q8_0" run "$M" -p a --kv q8_0 --session "$S"
refused 1 "larger -c" run "$M" -p a -c 100 --session "$S"
check "none of it wrote" cmp -s "$S" "$TMP/before"
head -c 5000 "$TMP/before" >"$TMP/cut"
refused 1 "5000 bytes, expected" run "$M" -p a --session "$TMP/cut"
{ head -c 9000 "$TMP/before"; printf xyz; tail -c +9004 "$TMP/before"; } >"$TMP/changed"
refused 1 "is damaged" run "$M" -p a --session "$TMP/changed"
refused 1 "delete the file" run "$M" -p a --session "$TMP/changed"
refused 1 "is no saved session" run "$M" -p a --session "$M"
check "and the model is still there" test -s "$M"
refused 1 "cannot create" run "$M" -p a --session "$TMP/none/s.kv"
refused 1 "is a folder" run "$M" -p a --session "$TMP"
refused 2 "empty word" run "$M" -p a --session ""

# A full disk, played by a limit on the size of files: the answer is there, the error too, and what was saved before.
(ulimit -f 1; trap '' XFSZ; "$CARAT" run "$M" -p "$TEXT" -n 3 --temp 0 --session "$S" >"$TMP/out" 2>"$TMP/err" </dev/null)
check "status of an answer that cannot be saved" equal $? 1
check "the answer is printed" test -s "$TMP/out"
check "the error is one line" lines "$TMP/err" 1
check "and says what failed" err_has "write: "
check "what was saved is untouched" cmp -s "$S" "$TMP/before"
check "no temporary files at the end" equal "$(find "$TMP" -name '*.tmp-*')" ""
finish
