"""Encode the training documents once, as flat uint16 arrays.

Every TinyStories story is kept in two forms, raw and (VARIANTS times, with different
requests) as a chat; train.py draws one form each time it meets the story. Books are
cut into pieces and kept raw. For each document `skip` tells how many of its first
tokens carry no loss (the request; 1, i.e. only <bos>, for raw text).
"""

import argparse
import random
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import corpus
import story_requests

VARIANTS = 3
STYLE = {"e": "", "moe": "<|channel>thought\n<channel|>"}


def store(path, docs):
    """docs: list of (ids, skip)."""
    start = np.cumsum([0] + [len(d) for d, _ in docs]).astype(np.int64)
    np.savez(path, ids=np.concatenate([np.asarray(d, np.uint16) for d, _ in docs]), start=start,
             skip=np.asarray([s for _, s in docs], np.int32))
    print(f"{path}: {len(docs)} documents, {start[-1]} tokens")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--data", default="../../shared/data")
    ap.add_argument("--tokenizer", required=True, help="folder with tokenizer.json")
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    tok = Tokenizer.from_file(str(Path(args.tokenizer) / "tokenizer.json"))
    eos = tok.token_to_id("<eos>")

    def enc(texts):
        return [e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]

    stories = corpus.train_stories(args.data)
    noun_set = story_requests.nouns(stories)
    print(len(stories), "stories,", len(noun_set), "nouns")
    store(out / "raw.npz", [(ids + [eos], 1) for ids in enc(["<bos>" + s for s in stories])])
    rng = random.Random(1)
    pairs = [story_requests.make(s, noun_set, rng) for _ in range(VARIANTS) for s in stories]
    for style, thought in STYLE.items():
        heads = enc([f"<bos><|turn>user\n{q}<turn|>\n<|turn>model\n{thought}" for q, _ in pairs])
        tails = enc([a + "<turn|>\n" for _, a in pairs])
        store(out / f"chat_{style}.npz", [(h + t, len(h)) for h, t in zip(heads, tails)])
    book = [p for _, t in corpus.books(args.data, held_out=False) for p in corpus.pieces(corpus.clean(t), 1600)]
    store(out / "books.npz", [(ids, 1) for ids in enc(["<bos>" + p for p in book])])
    store(out / "valid.npz", [(ids + [eos], 1) for ids in enc(["<bos>" + s for s in corpus.valid_stories(args.data)])])
    held = [p for _, t in corpus.books(args.data, held_out=True) for p in corpus.pieces(corpus.clean(t), 1600)]
    store(out / "valid_books.npz", [(ids, 1) for ids in enc(["<bos>" + p for p in held])])
    for q, a in random.Random(2).sample(pairs, 12):
        print(repr(q), "->", repr(a[:60]))


if __name__ == "__main__":
    main()
