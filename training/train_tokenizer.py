"""Train the tokenizer: Gemma's format, 4096 entries.

Merges are learned inside word-like units (a space mark and letters, a space mark
and punctuation), so no token crosses a word border. What is shipped has Gemma's own
pipeline instead: spaces become U+2581, nothing is split, BPE runs over the whole text.
Both give the same ids because no learned merge joins two units; --check proves it.
"""

import argparse
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import corpus

FIRST = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
CONTROL = ["<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|tool>", "<tool|>", "<|tool_call>",
           "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>', "<|image>", "<image|>", "<|image|>",
           "<|audio>", "<audio|>", "<|audio|>", "<|video|>"]
NEWLINES = ["\n" * n for n in (1, 2, 3, 4)]
NEWLINE_MERGES = [("\n", "\n"), ("\n\n", "\n\n"), ("\n\n", "\n")]
# Units in which merges are learned. Digits stay single, as in Gemma.
UNITS = r"\n+|[0-9]|▁?[A-Za-z\x{C0}-\x{24F}']+|▁?[^\sA-Za-z0-9▁']+|▁"

TEMPLATE = (
    "{{ bos_token }}"
    "{%- for m in messages -%}"
    "{{ '<|turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (m['content'] | trim) + '<turn|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|turn>model\n' }}%EMPTY%{%- endif -%}"
)


def learn(texts, vocab_size):
    """Learn merges on word-like units; returns (alphabet, merges in order of rank)."""
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Split(Regex(UNITS), "isolated")
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab_size, limit_alphabet=110, show_progress=False,
                                                       min_frequency=8, special_tokens=[]))
    model = json.loads(tok.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    alphabet = sorted(c for c in model["vocab"] if len(c) == 1 and c != "\n")
    return alphabet, [m for m in merges if "\n" not in m[0] + m[1]]


def assemble(alphabet, merges, vocab_size):
    """Put Gemma's pipeline around the learned merges; also the same model split into units, for the check."""
    vocab = {}
    for t in FIRST + CONTROL + ["<0x%02X>" % b for b in range(256)] + NEWLINES + alphabet:
        vocab[t] = len(vocab)
    kept = list(NEWLINE_MERGES)
    for a, b in merges:
        if len(vocab) < vocab_size or a + b in vocab:
            vocab.setdefault(a + b, len(vocab))
            kept.append((a, b))
        else:
            break
    def bpe():
        return Tokenizer(models.BPE(vocab=vocab, merges=kept, unk_token="<unk>", fuse_unk=True, byte_fallback=True))

    units = bpe()
    units.normalizer = normalizers.Replace(" ", "▁")
    units.pre_tokenizer = pre_tokenizers.Split(Regex(UNITS), "isolated")
    tok = bpe()
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in FIRST + CONTROL])
    return tok, units


def save(tok, folder, empty_thought):
    """Write tokenizer.json and its companions as transformers expects them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    empty = "{{ '<|channel>thought\n<channel|>' }}" if empty_thought else ""
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>",
        "unk_token": "<unk>", "mask_token": "<mask>", "clean_up_tokenization_spaces": False,
        "model_max_length": 2048}, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("%EMPTY%", empty))


def check(tok, units, texts):
    """Round trips, and equality with the same merges applied unit by unit, as they were learned."""
    n_tok = n_bytes = 0
    for t in texts:
        ids = tok.encode(t, add_special_tokens=False).ids
        assert tok.decode(ids, skip_special_tokens=False) == t, t[:80]
        assert ids == units.encode(t, add_special_tokens=False).ids, t[:80]
        n_tok += len(ids)
        n_bytes += len(t.encode())
    return n_tok, n_bytes


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--data", default="../../shared/data")
    ap.add_argument("--out", required=True, help="folder for tokenizer.json")
    ap.add_argument("--vocab", type=int, default=4096)
    args = ap.parse_args()
    stories = corpus.train_stories(args.data)
    book_text = [p for _, t in corpus.books(args.data, held_out=False) for p in corpus.pieces(t, 4000)[::8]]
    alphabet, merges = learn(stories + book_text, args.vocab)
    tok, units = assemble(alphabet, merges, args.vocab)
    assert tok.get_vocab_size() == args.vocab, tok.get_vocab_size()
    save(tok, args.out, empty_thought=False)
    for name, texts in (("TinyStories valid", corpus.valid_stories(args.data)), ("TinyStories train", stories),
                        ("held-out books", [t for _, t in corpus.books(args.data, True)])):
        n, b = check(tok, units, texts)
        print(f"{name}: {n} tokens, {b} bytes, {b / n:.3f} bytes a token, round trips and unit-wise ids agree")
    odd = 'Tabs\tand é, 日本語 🙂\r\n  two  spaces\n\n\n\n\nend "x"\u0000'
    assert tok.decode(tok.encode(odd, add_special_tokens=False).ids, skip_special_tokens=False) == odd
    print("byte fallback round trip ok;", len(alphabet), "characters,", len(merges), "merges learned")


if __name__ == "__main__":
    main()
