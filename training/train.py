"""Train one of the two models on one CPU core, to a wall-clock deadline.

The learning rate follows elapsed time, not a step count, so the decay ends on time
however busy the machine is. Matrices are trained by Muon, tables, norms, scales and
the router by AdamW. What is exported is a running average of the weights.
"""

import argparse
import csv
import ctypes
import datetime
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import torch

import fast
import models
import train_tokenizer


class Docs:
    """Documents of one prepared file."""

    def __init__(self, path):
        z = np.load(path)
        self.ids, self.start, self.skip = z["ids"], z["start"], z["skip"]

    def __len__(self):
        return len(self.skip)

    def get(self, i):
        return self.ids[self.start[i]:self.start[i + 1]], int(self.skip[i])


class Stream:
    """Endless documents: each story once an epoch (raw or as a chat), books mixed in by their share of tokens."""

    def __init__(self, folder, style, raw_share, book_share, seed):
        self.raw, self.chat, self.books = (Docs(Path(folder) / f) for f in ("raw.npz", f"chat_{style}.npz", "books.npz"))
        self.raw_share, self.book_share, self.rng = raw_share, book_share, np.random.default_rng(seed)
        self.tokens = self.book_tokens = self.epochs = 0
        self.order, self.book_order = [], []

    def next(self):
        if self.book_tokens < self.book_share * self.tokens:
            if not self.book_order:
                self.book_order = list(self.rng.permutation(len(self.books)))
            d = self.books.get(self.book_order.pop())
            self.book_tokens += len(d[0])
        else:
            if not self.order:
                self.order = list(self.rng.permutation(len(self.raw)))
                self.epochs += 1
            i = self.order.pop()
            if self.rng.random() < self.raw_share:
                d = self.raw.get(i)
            else:
                d = self.chat.get(i + len(self.raw) * self.rng.integers(len(self.chat) // len(self.raw)))
        self.tokens += len(d[0])
        return d


class Packer:
    """Rows of t tokens filled with whole documents, best fit from a pool; the little that stays empty is padding."""

    def __init__(self, stream, t, pool=256):
        self.stream, self.t, self.pool, self.size = stream, t, [], pool

    def row(self):
        ids, tgt, wt = np.zeros(self.t, np.int64), np.zeros(self.t, np.int64), np.zeros(self.t, np.float32)
        at = 0
        while len(self.pool) < self.size:
            self.pool.append(self.stream.next())
        i = int(self.stream.rng.integers(len(self.pool)))         # a random first one, then the longest that fits
        while i is not None:
            d, skip = self.pool.pop(i)
            d = d[:self.t + 1 - at]
            n = len(d) - 1
            ids[at:at + n], tgt[at:at + n], wt[at + skip - 1:at + n] = d[:-1], d[1:], 1.0
            at += n
            fits = [(len(x[0]), j) for j, x in enumerate(self.pool) if len(x[0]) <= self.t + 1 - at]
            i = max(fits)[1] if fits else None
        return ids, tgt, wt

    def batch(self, rows):
        ids, tgt, wt = (np.stack(x) for x in zip(*(self.row() for _ in range(rows))))
        return torch.from_numpy(ids), torch.from_numpy(tgt), torch.from_numpy(wt / wt.sum())


class Muon:
    """Momentum, then the nearest orthogonal matrix by five Newton-Schulz steps; equal shapes go as one batch."""

    def __init__(self, params, momentum=0.95, decay=0.0):
        self.params, self.momentum, self.decay = params, momentum, decay
        self.buf = {k: torch.zeros_like(p) for k, p in params.items()}
        shapes = {}
        for k, p in params.items():
            shapes.setdefault(tuple(p.shape[-2:]), []).append(k)
        self.groups = list(shapes.values())

    def step(self, grads, lr):
        for names in self.groups:
            ups = []
            for k in names:
                b = self.buf[k].mul_(self.momentum).add_(grads[k], alpha=1 - self.momentum)
                ups.append(torch.lerp(grads[k], b, self.momentum).view(-1, *b.shape[-2:]))
            x = torch.cat(ups).bfloat16()
            flip = x.shape[1] > x.shape[2]
            if flip:
                x = x.transpose(1, 2).contiguous()
            x = x / (x.float().norm(dim=(1, 2), keepdim=True).bfloat16() + 1e-7)
            for _ in range(5):
                a = torch.bmm(x, x.transpose(1, 2))
                x = 3.4445 * x + torch.bmm(-4.7750 * a + 2.0315 * torch.bmm(a, a), x)
            if flip:
                x = x.transpose(1, 2)
            x, at = x.float(), 0
            for k, u in zip(names, ups):
                p = self.params[k]
                scale = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - lr * self.decay).add_(x[at:at + u.shape[0]].reshape(p.shape), alpha=-lr * scale)
                at += u.shape[0]


class Adam:
    def __init__(self, params, betas=(0.9, 0.98), decay=0.0):
        self.params, self.betas, self.decay, self.t = params, betas, decay, 0
        self.m = {k: torch.zeros_like(p) for k, p in params.items()}
        self.v = {k: torch.zeros_like(p) for k, p in params.items()}

    def step(self, grads, lr, rate=lambda k: 1.0):
        self.t += 1
        b1, b2 = self.betas
        c1, c2 = 1 - b1 ** self.t, 1 - b2 ** self.t
        for k, p in self.params.items():
            g = grads[k]
            m, v = self.m[k].lerp_(g, 1 - b1), self.v[k].mul_(b2).addcmul_(g, g, value=1 - b2)
            step = lr * rate(k)
            if p.dim() > 1 and self.decay:
                p.mul_(1 - step * self.decay)
            p.addcdiv_(m, (v / c2).sqrt_().add_(1e-10), value=-step / c1)


def is_matrix(name, p):
    return p.dim() >= 2 and "embed_tokens" not in name and "router" not in name


def write_released_keys(path, sizes):
    """transformers 5 saves only `per_layer_config`; the released checkpoints say the same by these keys."""
    config = json.loads(path.read_text())
    for key in ("global_head_dim", "num_global_key_value_heads", "vocab_size_per_layer_input"):
        config[key] = sizes.get(key, 4096 if key.startswith("vocab") else None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def export(folder, name, params, tokenizer_dir):
    """A complete Hugging Face folder in bf16, put in place by one rename."""
    folder = Path(folder)
    tmp = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(tmp, ignore_errors=True)
    tok = train_tokenizer.Tokenizer.from_file(str(Path(tokenizer_dir) / "tokenizer.json"))
    eos = [tok.token_to_id("<eos>"), tok.token_to_id("<turn|>")]
    model = models.build(name, eos)
    missing, extra = model.load_state_dict(params, strict=False)
    assert not extra and set(missing) <= {"lm_head.weight"}, (missing, extra)
    model.tie_weights()
    model.to(torch.bfloat16)
    gc = model.generation_config
    gc.do_sample, gc.temperature, gc.top_k, gc.top_p = True, 0.6, 40, 0.95      # small models ramble at 1.0
    gc.bos_token_id, gc.pad_token_id, gc.eos_token_id = 2, 0, eos
    model.save_pretrained(tmp)
    write_released_keys(tmp / "config.json", models.MODELS[name])
    train_tokenizer.save(tok, tmp, empty_thought=models.MODELS[name].get("enable_moe_block", False))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(tmp, folder)
    shutil.rmtree(old, ignore_errors=True)


@torch.no_grad()
def held_out(net, params, docs, count, t):
    """Mean nats a token over whole held-out documents (quick watch; evaluate.py gives the numbers to quote)."""
    w = net.leaves(params)
    nats = n = 0
    for a in range(0, count, 16):
        part = [docs.get(i)[0][:t + 1].astype(np.int64) for i in range(a, min(a + 16, count))]
        ids, tgt, wt = (torch.zeros(len(part), t, dtype=x) for x in (torch.long, torch.long, torch.float32))
        for r, d in enumerate(part):
            m = len(d) - 1
            ids[r, :m], tgt[r, :m], wt[r, :m] = torch.from_numpy(d[:-1]), torch.from_numpy(d[1:]), 1.0
        k = wt.sum().item()
        nats += net.loss(w, ids, tgt, wt / k)[1] * k
        n += k
    return nats / n


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model", choices=models.MODELS)
    ap.add_argument("--enc", required=True, help="folder written by prepare_data.py")
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--until", help="UTC time HH:MM at which training ends")
    ap.add_argument("--minutes", type=float)
    ap.add_argument("--steps", type=int, help="end after so many steps instead (for comparisons)")
    ap.add_argument("--rows", type=int, default=8)
    ap.add_argument("--length", type=int, default=512)
    ap.add_argument("--muon-lr", type=float, default=0.02)
    ap.add_argument("--adam-lr", type=float, default=0.004)
    ap.add_argument("--optimizer", choices=["muon", "adam"], default="muon")
    ap.add_argument("--decay", type=float, default=0.1, help="decoupled weight decay of matrices")
    ap.add_argument("--hold", type=float, default=0.4, help="share of the time before the linear decay to zero")
    ap.add_argument("--aux", type=float, default=0.01, help="weight of the load-balancing term, per layer")
    ap.add_argument("--raw", type=float, default=0.35, help="share of stories shown raw rather than as a chat")
    ap.add_argument("--books", type=float, default=0.03, help="share of tokens from books")
    ap.add_argument("--ema", type=float, default=0.99)
    ap.add_argument("--every", type=float, default=300, help="seconds between exports")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--resume", action="store_true", help="go on from OUT/state.pt; loss.csv is continued")
    ap.add_argument("--no-export", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "args.json").write_text(json.dumps(vars(args), indent=1))

    hf = models.build(args.model)
    net = fast.Gemma4Fast(hf.config, torch.bfloat16, args.length)
    params = fast.init_params(hf, args.seed)
    ema = {k: p.clone() for k, p in params.items()}
    step, tokens, before, first_epoch = 0, 0, 0.0, 0
    if args.resume:
        state = torch.load(out / "state.pt")
        params, ema = state["params"], state["ema"]
        with open(out / "loss.csv", newline="") as f:
            past = [r for r in csv.reader(f)][1:]
        if "step" in state:
            past = [r for r in past if int(r[0]) <= state["step"]]
        step, tokens, before, first_epoch = int(past[-1][0]), int(past[-1][1]), float(past[-1][2]), int(past[-1][3])
    moe = hf.config.enable_moe_block
    del hf
    matrices = {k: p for k, p in params.items() if is_matrix(k, p) and args.optimizer == "muon"}
    rest = {k: p for k, p in params.items() if k not in matrices}
    muon, adam = Muon(matrices, decay=args.decay), Adam(rest, decay=0.0 if matrices else args.decay)
    if args.resume and "adam" in state:
        muon.buf, (adam.m, adam.v, adam.t) = state["muon"], state["adam"]
        first_epoch -= 1        # the running epoch starts anew
    packer = Packer(Stream(args.enc, "moe" if moe else "e", args.raw, args.books, args.seed + step), args.length)
    valid = Docs(Path(args.enc) / "valid.npz")

    def rate(k):
        if "embed_tokens" in k:
            return 1.0
        if args.optimizer == "adam" and params[k].dim() > 1:
            return 0.5
        return 0.25

    libc = ctypes.CDLL(None)
    begin = time.time()
    if args.until:
        h, m = map(int, args.until.split(":"))
        now = datetime.datetime.now(datetime.timezone.utc)
        budget = (now.replace(hour=h, minute=m, second=0) - now).total_seconds()
    else:
        budget = (args.minutes or 1e9) * 60
    fields = ["step", "tokens", "seconds", "epochs", "lr", "train_nats", "valid_nats"]
    log = open(out / "loss.csv", "w", newline="")
    table = csv.writer(log)
    table.writerow(fields + (["usage_entropy_bits_" + str(i) for i in range(models.MODELS[args.model]["num_hidden_layers"])]
                             if moe else []))
    if args.resume:
        table.writerows(past)
    start_step = step
    smooth, next_export, next_log, usage = None, 120.0, 0.0, None
    while True:
        gone = time.time() - begin
        done = step / args.steps if args.steps else gone / budget
        if done >= 1:
            break
        lr = min(1.0, (step - start_step + 1) / (20 if args.resume else 50)) * min(1.0, (1 - done) / (1 - args.hold))
        ids, tgt, wt = packer.batch(args.rows)
        w = net.leaves(params)
        total, ce, counts = net.loss(w, ids, tgt, wt, args.aux)
        if not np.isfinite(ce):
            raise SystemExit(f"loss is {ce} at step {step}")
        total.backward()
        with torch.no_grad():
            w["model.embed_tokens.weight"].grad += w.pop("head").grad
            grads = {k: v.grad.float() for k, v in w.items()}
            muon.step(grads, lr * args.muon_lr)
            adam.step(grads, lr * args.adam_lr, rate)
            keep = min(args.ema, step / (step + 20))
            for k, p in params.items():
                ema[k].lerp_(p, 1 - keep)
        step += 1
        tokens += int((wt > 0).sum())
        smooth = ce if smooth is None else 0.95 * smooth + 0.05 * ce
        if counts:
            usage = torch.stack(counts) if usage is None else usage + torch.stack(counts)
        if gone >= next_log or done >= 1:
            next_log += 15
            v = ""
            libc.malloc_trim(0)         # rows with loss vary in number, which fragments the heap
            if gone >= next_export:
                v = f"{held_out(net, ema, valid, 96, args.length):.4f}"
                next_export += args.every
                if not args.no_export:
                    export(out / "latest", args.model, ema, args.tokenizer)
                    torch.save({"params": params, "ema": ema, "muon": muon.buf, "adam": (adam.m, adam.v, adam.t),
                                "step": step}, out / "state.pt")
            row = [step, tokens, f"{before + gone:.0f}", first_epoch + packer.stream.epochs, f"{lr:.3f}", f"{smooth:.4f}", v]
            if usage is not None:
                q = usage / usage.sum(1, keepdim=True)
                row += [f"{x:.3f}" for x in (-(q * (q + 1e-9).log2()).sum(1)).tolist()]
                usage = None
            table.writerow(row)
            log.flush()
            print(*row, f"{tokens / max(before + gone, 1):.0f} tok/s", flush=True)
    last, avg = (held_out(net, p, valid, len(valid), args.length) for p in (params, ema))
    print(f"held out nats a token: last {last:.4f}, averaged {avg:.4f}", flush=True)
    table.writerow([step, tokens, f"{before + time.time() - begin:.0f}", first_epoch + packer.stream.epochs, "0.000", f"{smooth:.4f}",
                    f"{min(last, avg):.4f}"])
    log.close()
    if not args.no_export:
        torch.save({"params": params, "ema": ema}, out / "end.pt")
        best = ema if avg <= last else params
        export(out / "latest", args.model, best, args.tokenizer)
        export(out / "final", args.model, best, args.tokenizer)


if __name__ == "__main__":
    main()
