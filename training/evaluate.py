"""Held-out bits per byte of a checkpoint folder, by transformers' own model in f32. Writes JSON.

Rules (so that another engine can be held against the values):
  stories  each story of tinystories_valid.txt (split at the lines <|endoftext|>, surrounding white space removed)
           is one sequence <bos> + story. Nats are summed over every token after <bos>; no end token is predicted.
           bits per byte = nats / ln 2 / UTF-8 bytes of all stories. Interval: 95 %, bootstrap over stories.
  books    the same over pieces of the held-out books (corpus.HELD_OUT_BOOKS, corpus.pieces of 1600 characters).
  excerpt  the first 40 stories, each followed by one "\\n" (the marker lines left out), as one text; its tokens are cut
           into windows of 256 (the last one shorter); each window is a sequence of its own: <bos> + window, all of the
           window's tokens predicted. bits per byte = nats / ln 2 / UTF-8 bytes of the excerpt.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Gemma4ForCausalLM

import corpus

BOS = 2


@torch.no_grad()
def nats(model, seqs, batch=16):
    """Summed nats of each sequence's tokens after its <bos>. Right padding is invisible to a causal model."""
    out = np.zeros(len(seqs))
    order = sorted(range(len(seqs)), key=lambda i: len(seqs[i]))
    for a in range(0, len(order), batch):
        part = order[a:a + batch]
        t = max(len(seqs[i]) for i in part)
        ids = torch.zeros(len(part), t, dtype=torch.long)
        for r, i in enumerate(part):
            ids[r, :len(seqs[i])] = torch.tensor(seqs[i])
        model.lengths = torch.tensor([len(seqs[i]) for i in part])
        model.batch_ids = ids
        logp = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[:, :-1].float(), -1)
        got = logp.gather(-1, ids[:, 1:, None]).squeeze(-1).double()
        for r, i in enumerate(part):
            out[i] = -got[r, :len(seqs[i]) - 1].sum().item()
    return out


def bits(n, b, rng=np.random.default_rng(0), rounds=1000):
    n, b = np.asarray(n), np.asarray(b)
    pick = rng.integers(0, len(n), (rounds, len(n)))
    boot = n[pick].sum(1) / math.log(2) / b[pick].sum(1)
    lo, hi = np.percentile(boot, [2.5, 97.5])
    return {"bits_per_byte": n.sum() / math.log(2) / b.sum(), "low": lo, "high": hi, "nats": n.sum(), "bytes": int(b.sum())}


class Usage:
    """Counts which experts the router of each layer picks, apart for each token id (padding left out)."""

    def __init__(self, model):
        self.model, self.counts = model, []
        for layer in model.model.layers:
            if getattr(layer, "router", None) is not None:
                c = torch.zeros(model.config.vocab_size, model.config.num_experts, dtype=torch.float64)
                self.counts.append(c)
                layer.router.register_forward_hook(self.hook(c))

    def hook(self, c):
        def f(_, __, output):
            ids = self.model.batch_ids
            real = (torch.arange(ids.shape[1])[None] < self.model.lengths[:, None]).flatten()
            tok, idx = ids.flatten()[real], output[2][real]
            for j in range(idx.shape[1]):
                c.index_put_((tok, idx[:, j]), torch.ones(len(tok), dtype=torch.float64), accumulate=True)
        return f

    def report(self):
        """Entropy of the use of experts (log2 of their number = even) and what a token's identity tells of its expert."""
        rows = []
        for c in self.counts:
            q = c.sum(0) / c.sum()
            h = -(q * (q + 1e-12).log2()).sum().item()
            common = c[c.sum(1).topk(500).indices]
            p = common / common.sum()
            indep = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
            mi = (p * ((p + 1e-15) / (indep + 1e-15)).log2()).sum().item()
            rows.append({"entropy_bits": h, "even_bits": math.log2(len(q)), "least_share": q.min().item(),
                         "largest_share": q.max().item(), "token_expert_information_bits": mi})
        return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("folder")
    ap.add_argument("--data", default="../../shared/data")
    ap.add_argument("--out", help="JSON file (default: on stdout only)")
    ap.add_argument("--excerpt", help="also write the excerpt's text here")
    ap.add_argument("--stories", type=int, help="only so many stories (a quick look)")
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    model = Gemma4ForCausalLM.from_pretrained(args.folder, dtype=torch.float32).eval()
    tok = Tokenizer.from_file(str(Path(args.folder) / "tokenizer.json"))

    def enc(texts):
        return [[BOS] + e.ids for e in tok.encode_batch(texts, add_special_tokens=False)]

    usage = Usage(model)
    stories = corpus.valid_stories(args.data)
    part = stories[:args.stories]
    seqs = enc(part)
    res = {"parameters": sum(p.numel() for p in model.parameters()), "stories": len(part),
           "tokens": sum(len(s) - 1 for s in seqs),
           "tinystories_valid": bits(nats(model, seqs), [len(s.encode()) for s in part])}
    if usage.counts:
        res["experts"] = usage.report()
    text = "".join(s + "\n" for s in stories[:40])
    ids = enc([text])[0][1:]
    n = nats(model, [[BOS] + ids[a:a + 256] for a in range(0, len(ids), 256)])
    res["excerpt"] = {"bits_per_byte": n.sum() / math.log(2) / len(text.encode()), "nats": n.sum(), "tokens": len(ids),
                      "windows": len(n), "bytes": len(text.encode())}
    if not args.stories:
        held = [p for _, t in corpus.books(args.data, held_out=True) for p in corpus.pieces(t, 1600)]
        res["held_out_books"] = bits(nats(model, enc(held)), [len(p.encode()) for p in held])
    if args.excerpt:
        Path(args.excerpt).write_text(text, encoding="utf-8")
    s = json.dumps(res, indent=1, default=float)
    print(s)
    if args.out:
        Path(args.out).write_text(s + "\n")


if __name__ == "__main__":
    main()
