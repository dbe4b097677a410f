# carat tokenize: ids and pieces, and back to the same bytes.
. "$(dirname "$0")/lib.sh"

carat tokenize "$MODEL" "Hello there"
check "tokenize" status 0
check "a line a token, id first" grep -qE '^ *[0-9]+  ' "$TMP/out"
check "nothing on stderr" lines "$TMP/err" 0

# Text survives the round trip, whatever it holds.
printf 'Hello  there\n\n\tüñí — 日本語 🎉 <|turn>\r\n    x = [1,2];\n' >"$TMP/text"
"$CARAT" tokenize "$MODEL" --ids <"$TMP/text" >"$TMP/ids"
check "ids on one line" lines "$TMP/ids" 1
"$CARAT" tokenize "$MODEL" --decode - <"$TMP/ids" >"$TMP/back"
check "decode gives the text back" cmp -s "$TMP/text" "$TMP/back"
carat tokenize "$MODEL" - --json
check "empty text" equal "$(json tokens) $(json ids)" "0 []"
"$CARAT" tokenize "$MODEL" --json <"$TMP/text" >"$TMP/out"
check "as many pieces as ids" equal "$(json pieces | tr -cd '"' | wc -c)" "$(($(json tokens) * 2 + $(json pieces | grep -o '\\"' | wc -l)))"
check "JSON has the same ids" equal "$(json ids)" "[$(cat "$TMP/ids")]"

# Control tokens are text unless --special says otherwise; --bos puts one in front.
carat tokenize "$MODEL" "<|turn>user" --json
plain=$(json tokens)
carat tokenize "$MODEL" "<|turn>user" --special --json
check "--special reads control tokens" test "$(json tokens)" -lt "$plain"
ids=$(json ids | tr -d '[]')
carat tokenize "$MODEL" --decode "$ids" --special
check "--special prints them" equal "$(cat "$TMP/out")" "<|turn>user"
carat tokenize "$MODEL" --decode "$ids"
check "without it they are dropped" equal "$(cat "$TMP/out")" "user"
carat tokenize "$MODEL" "x" --bos --json
check "--bos" equal "$(json tokens) $(json pieces.0)" "2 <bos>"

# Ill-formed UTF-8 goes through, and JSON stays JSON.
printf 'a\377\376b\355\240\200c' >"$TMP/bad"
"$CARAT" tokenize "$MODEL" --json <"$TMP/bad" >"$TMP/out"
check "ill-formed UTF-8" json tokens ids pieces >/dev/null

refused 2 "no list" tokenize "$MODEL" --decode 1,x
refused 2 "no list" tokenize "$MODEL" --decode 1,,2
refused 2 "no list" tokenize "$MODEL" --decode ""
for f in --ids --bos; do refused 2 "not with --decode" tokenize "$MODEL" --decode 1 $f; done
printf '1,2\0,3' >"$TMP/nul"
"$CARAT" tokenize "$MODEL" --decode - <"$TMP/nul" >"$TMP/out" 2>"$TMP/err"
check "a NUL among ids is refused" equal $? 2
refused 2 "outside the vocabulary" tokenize "$MODEL" --decode 99999999
refused 2 "takes no TEXT" tokenize "$MODEL" hello --decode 1
refused 1 "No such file" tokenize "$TMP/none" hello
finish
