"""The small tokenizer that all checkpoints in tests/oracle share.

It has exactly the format of Gemma's tokenizer.json (normalizer, pre_tokenizer, BPE with
byte_fallback and fuse_unk, decoder), only with 346 entries in place of 262,144.
"""
import json

N_VOCAB = 346

# Ids 0-4 as in Gemma. The rest of Gemma 4's control tokens follow, then the 256 bytes, plain pieces, and the
# media tokens at the very end (Gemma 4 keeps them in its upper range).
CONTROL = [
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>",
    "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
    '<|"|>', "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>",
]
UPPER = ["<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<|video|>", "<audio|>"]
# In Gemma 4 these are visible in the output (GGUF type USER_DEFINED); HF marks them special=false.
NOT_SPECIAL = {"<mask>"}

CHARS = list("\u2581\n\tetaoinhsrdlumcgw.,é日本и\u0301😀\ufffd")          # one character each
MERGES = [
    ("\n", "\n"), ("\n\n", "\n\n"), ("\n\n", "\n"),
    ("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581"), ("\u2581\u2581", "\u2581"),
    ("\t", "\t"),
    ("t", "h"), ("h", "e"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "n"), ("r", "e"),
    ("\u2581", "t"), ("\u2581", "a"), ("\u2581t", "he"), ("th", "e"), ("\u2581", "s"),
    ("an", "d"), ("\u2581", "and"), ("o", "u"), ("e", "s"), ("l", "l"), ("\u2581the", "re"),
    ("e", "n"), ("en", "d"), ("日", "本"), ("e", "\u0301"), ("😀", "😀"), (".", "\u2581a"),
]


def vocabulary():
    pieces = list(CONTROL) + ["<0x%02X>" % b for b in range(256)] + list(CHARS)
    for left, right in MERGES:
        if left + right not in pieces:
            pieces.append(left + right)
    n_filler = N_VOCAB - len(UPPER) - len(pieces)
    assert n_filler >= 0, n_filler
    pieces += ["<unused%d>" % i for i in range(n_filler)]
    pieces += UPPER
    assert len(pieces) == len(set(pieces)) == N_VOCAB
    return pieces


def ids():
    return {piece: i for i, piece in enumerate(vocabulary())}


def tokenizer_json():
    vocab = vocabulary()
    index = {p: i for i, p in enumerate(vocab)}
    added = [
        {"id": index[p], "content": p, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": p not in NOT_SPECIAL}
        for p in vocab if p in CONTROL or p in UPPER
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                          "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                                    {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": index, "merges": [[a, b] for a, b in MERGES]},
    }


def text():
    return json.dumps(tokenizer_json(), ensure_ascii=False, separators=(",", ":")) + "\n"
