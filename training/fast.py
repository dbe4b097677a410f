"""The same Gemma 4 text model as transformers' Gemma4ForCausalLM, laid out for training on one CPU core.

Matrix products run in bf16; everything between them is done by the fused row
operations of fused.c. Parameters carry transformers' names and shapes, so a state
dict goes across unchanged; test_fast.py compares the logits of both (f32).
"""

import ctypes
import math
import os
import subprocess
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

_libs = {}
_fn = ctypes.c_void_p
FLOAT_RESULT = {"xent": ctypes.c_double, "add_b": ctypes.c_float}


def lib(dtype):
    """Compile fused.c (once a process) for activations of this type."""
    if dtype not in _libs:
        src = Path(__file__).with_name("fused.c")
        so = os.path.join(tempfile.mkdtemp(), "fused.so")
        flags = ["-DF32"] if dtype == torch.float32 else []
        subprocess.run(["gcc", "-O3", "-march=native", "-ffast-math", "-mrecip=none", "-fPIC", "-shared", *flags, "-o", so, str(src),
                        "-lmvec", "-lm"], check=True)
        _libs[dtype] = ctypes.CDLL(so)
        for name, res in FLOAT_RESULT.items():
            getattr(_libs[dtype], name).restype = res
    return _libs[dtype]


def call(dtype, name, *args):
    """Call a C function: tensors become pointers, ints i64, floats float, None a null pointer."""
    conv = []
    for a in args:
        if a is None:
            conv.append(_fn(0))
        elif isinstance(a, torch.Tensor):
            conv.append(_fn(a.data_ptr()))
        elif isinstance(a, float):
            conv.append(ctypes.c_float(a))
        else:
            conv.append(ctypes.c_int64(a))
    return getattr(lib(dtype), name)(*conv)


class Norm(torch.autograd.Function):
    """(rms(x)*w as activation, x): x passes through so that its gradient is summed inside the kernel."""

    @staticmethod
    def forward(ctx, x, w, dtype):
        n, d = x.shape
        y = torch.empty(n, d, dtype=dtype)
        r = torch.empty(n)
        call(dtype, "norm_f", n, d, x, w, y, r)
        ctx.save_for_backward(x, w, r)
        ctx.dtype = dtype
        return y, x.view_as(x)

    @staticmethod
    def backward(ctx, dy, dx):
        x, w, r = ctx.saved_tensors
        n, d = x.shape
        dx = torch.zeros_like(x) if dx is None else dx.contiguous()
        dw = torch.zeros_like(w)
        if dy is not None:
            call(ctx.dtype, "norm_b", n, d, x, w, r, dy.contiguous(), dx, dw)
        return dx, dw, None


class Add(torch.autograd.Function):
    """(res + rms(a)*w) * s in f32; s may be a float or a one-element tensor."""

    @staticmethod
    def forward(ctx, a, w, res, s):
        a = a.contiguous()
        n, d = a.shape
        out = torch.empty(n, d)
        r = torch.empty(n)
        ctx.scale = float(s)
        call(a.dtype, "add_f", n, d, a, w, res, ctx.scale, out, r)
        ctx.learned = isinstance(s, torch.Tensor)
        ctx.has_res = res is not None
        ctx.save_for_backward(a, w, r, *([out] if ctx.learned else []))
        return out

    @staticmethod
    def backward(ctx, g):
        a, w, r, *rest = ctx.saved_tensors
        n, d = a.shape
        g = g.contiguous()
        da = torch.empty_like(a)
        dw = torch.zeros_like(w)
        ds = call(a.dtype, "add_b", n, d, a, w, r, ctx.scale, rest[0] if rest else None, g, da, dw)
        return da, dw, g if ctx.has_res else None, torch.tensor([ds / ctx.scale]) if ctx.learned else None


class Glu(torch.autograd.Function):
    """gelu(g) * u"""

    @staticmethod
    def forward(ctx, g, u):
        n, d = g.shape
        y = torch.empty(n, d, dtype=g.dtype)
        call(g.dtype, "glu_f", n, d, g, g.stride(0), u, u.stride(0), y)
        ctx.save_for_backward(g, u)
        return y

    @staticmethod
    def backward(ctx, dy):
        g, u = ctx.saved_tensors
        n, d = g.shape
        dg, du = torch.empty(n, d, dtype=g.dtype), torch.empty(n, d, dtype=g.dtype)
        call(g.dtype, "glu_b", n, d, g, g.stride(0), u, u.stride(0), dy.contiguous(), dg, d, du, d)
        return dg, du


class Heads(torch.autograd.Function):
    """Per-head norm and rope; [b*t, kv*g*hd] -> [b*kv, t*g, hd]."""

    @staticmethod
    def forward(ctx, x, w, cs, sn, shape):
        x = x.contiguous()
        b, t, kv, g, hd = shape
        y = torch.empty(b * kv, t * g, hd, dtype=x.dtype)
        r = torch.empty(b * t * kv * g)
        call(x.dtype, "head_f", b, t, kv, g, hd, x, w, cs, sn, y, r)
        ctx.save_for_backward(x, w, cs, sn, r)
        ctx.shape = shape
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w, cs, sn, r = ctx.saved_tensors
        dx = torch.empty_like(x)
        dw = None if w is None else torch.zeros_like(w)
        call(x.dtype, "head_b", *ctx.shape, x, w, cs, sn, r, dy.contiguous(), dx, dw)
        return dx, dw, None, None, None


class Attend(torch.autograd.Function):
    """Causal attention in query chunks, so that keys after the chunk or before the window cost nothing."""

    CHUNK = 128

    @staticmethod
    def chunks(t, win):
        c = Attend.CHUNK
        for a in range(0, t, c):
            e = min(a + c, t)
            yield a, e, max(0, a - win + 1) // 32 * 32

    @staticmethod
    def forward(ctx, q, k, v, shape, win):
        b, t, kv, g, hd = shape
        out = torch.empty_like(q)
        probs = []
        for a, e, lo in Attend.chunks(t, win):
            s = torch.bmm(q[:, a * g:e * g], k[:, lo:e].transpose(1, 2))
            call(q.dtype, "soft_f", b * kv, (e - a) * g, e - lo, g, a, lo, win, s)
            out[:, a * g:e * g] = torch.bmm(s, v[:, lo:e])
            probs.append(s)
        ctx.save_for_backward(q, k, v, *probs)
        ctx.shape, ctx.win = shape, win
        y = torch.empty(b * t, kv * g * hd, dtype=q.dtype)
        call(q.dtype, "heads_back", b, t, kv, g * hd, out, y, 0)
        return y

    @staticmethod
    def backward(ctx, dy):
        q, k, v, *probs = ctx.saved_tensors
        b, t, kv, g, hd = ctx.shape
        do = torch.empty_like(q)
        call(q.dtype, "heads_back", b, t, kv, g * hd, dy.contiguous(), do, 1)
        dq = torch.empty_like(q)
        dk, dv = torch.zeros(k.shape), torch.zeros(v.shape)
        for (a, e, lo), p in zip(Attend.chunks(t, ctx.win), probs):
            d_o = do[:, a * g:e * g]
            dv[:, lo:e] += torch.bmm(p.transpose(1, 2), d_o)
            dp = torch.bmm(d_o, v[:, lo:e].transpose(1, 2))
            call(q.dtype, "soft_b", p.shape[0] * p.shape[1], p.shape[2], p, dp)
            dq[:, a * g:e * g] = torch.bmm(dp, k[:, lo:e])
            dk[:, lo:e] += torch.bmm(dp.transpose(1, 2), q[:, a * g:e * g])
        return dq, dk.to(q.dtype), dv.to(q.dtype), None, None


class Experts(torch.autograd.Function):
    """Token-choice experts: pairs sorted by expert, one small product per expert, nothing dropped."""

    @staticmethod
    def forward(ctx, x, idx, wts, gate_up, down):
        n, k = idx.shape
        e, f2, d = gate_up.shape
        order = torch.argsort(idx.flatten(), stable=True)
        pos = torch.empty_like(order)
        pos[order] = torch.arange(n * k)
        ends = torch.bincount(idx.flatten(), minlength=e).cumsum(0).tolist()
        xs = x[order // k]
        h = torch.empty(n * k, f2, dtype=x.dtype)
        act = torch.empty(n * k, f2 // 2, dtype=x.dtype)
        ys = torch.empty(n * k, d, dtype=x.dtype)
        a = 0
        for i, b in enumerate(ends):
            if b > a:
                torch.mm(xs[a:b], gate_up[i].t(), out=h[a:b])
            a = b
        call(x.dtype, "glu_f", n * k, f2 // 2, h, f2, h[:, f2 // 2:], f2, act)
        a = 0
        for i, b in enumerate(ends):
            if b > a:
                torch.mm(act[a:b], down[i].t(), out=ys[a:b])
            a = b
        out = torch.empty_like(x)
        call(x.dtype, "mix_f", n, k, d, ys, pos, wts, out)
        ctx.save_for_backward(xs, h, act, ys, pos, wts, gate_up, down)
        ctx.ends = ends
        return out

    @staticmethod
    def backward(ctx, dout):
        xs, h, act, ys, pos, wts, gate_up, down = ctx.saved_tensors
        n, k = wts.shape
        e, f2, d = gate_up.shape
        dys, dwts = torch.empty_like(ys), torch.empty_like(wts)
        call(ys.dtype, "mix_b", n, k, d, ys, pos, wts, dout.contiguous(), dys, dwts)
        dact, dh, dxs = torch.empty_like(act), torch.empty_like(h), torch.empty_like(xs)
        dgu, ddn = torch.zeros_like(gate_up), torch.zeros_like(down)
        a = 0
        for i, b in enumerate(ctx.ends):
            if b > a:
                torch.mm(dys[a:b], down[i], out=dact[a:b])
                torch.mm(dys[a:b].t(), act[a:b], out=ddn[i])
            a = b
        call(ys.dtype, "glu_b", n * k, f2 // 2, h, f2, h[:, f2 // 2:], f2, dact, dh, f2, dh[:, f2 // 2:], f2)
        a = 0
        for i, b in enumerate(ctx.ends):
            if b > a:
                torch.mm(dh[a:b], gate_up[i], out=dxs[a:b])
                torch.mm(dh[a:b].t(), xs[a:b], out=dgu[i])
            a = b
        dx = torch.empty_like(dout)
        call(ys.dtype, "mix_f", n, k, d, dxs, pos, None, dx)
        return dx, None, dwts, dgu, ddn


class Xent(torch.autograd.Function):
    """Weighted sum of soft-capped cross entropies; the gradient takes the place of the logits."""

    @staticmethod
    def forward(ctx, logits, target, weight, cap):
        grad = logits.detach()
        loss = call(grad.dtype, "xent", *grad.shape, grad, target, weight, float(cap))
        ctx.save_for_backward(grad)
        return torch.tensor(loss)

    @staticmethod
    def backward(ctx, g):
        return ctx.saved_tensors[0], None, None, None


class Gemma4Fast:
    """Functional forward over a dict of parameters named as in transformers."""

    def __init__(self, config, dtype=torch.bfloat16, max_t=512):
        self.c, self.dtype, c = config, dtype, config
        self.full = [t == "full_attention" for t in c.layer_types]
        self.first_shared = c.num_hidden_layers - c.num_kv_shared_layers
        self.rope = {}
        for full in (False, True):
            p = c.rope_parameters["full_attention" if full else "sliding_attention"]
            hd = self.head_dim(full)
            inv = 1.0 / p["rope_theta"] ** (torch.arange(0, hd, 2).float() / hd)
            if p["rope_type"] == "proportional":
                inv[int(p["partial_rotary_factor"] * hd // 2):] = 0
            ang = torch.arange(max_t).float()[:, None] * inv
            self.rope[full] = ang.cos().contiguous(), ang.sin().contiguous()

    def head_dim(self, full):
        return self.layer(full).head_dim

    def kv_heads(self, full):
        return self.layer(full).num_key_value_heads

    def layer(self, full):
        """The config as seen by the layers of one kind."""
        return self.c.per_layer_config[self.c.layer_types.index("full_attention" if full else "sliding_attention")]

    def leaves(self, params):
        """What a step differentiates: matrices as activations' type, vectors and tables as f32.

        `params` maps names to f32 masters. The tied embedding yields two leaves, because
        summing many small row gradients needs f32 while the output product wants bf16.
        """
        out = {}
        for k, p in params.items():
            table = k.startswith("model.embed_tokens")
            t = p.detach().float() if p.dim() < 2 or table else p.detach().to(self.dtype)
            out[k] = t.clone().requires_grad_() if t is p or t.data_ptr() == p.data_ptr() else t.requires_grad_()
        out["head"] = params["model.embed_tokens.weight"].detach().to(self.dtype).clone().requires_grad_()
        return out

    def hidden(self, w, ids, stats=None):
        """ids [b,t] -> (final normed hidden [b*t,d] as activation, list of router (probabilities, index))."""
        c, dt = self.c, self.dtype
        b, t = ids.shape
        eps_embed = F.embedding(ids.flatten(), w["model.embed_tokens.weight"])
        x = eps_embed * c.hidden_size ** 0.5
        L, P = c.num_hidden_layers, c.hidden_size_per_layer_input
        if P:
            tok = F.embedding(ids.flatten(), w["model.embed_tokens_per_layer.weight"]) * P ** 0.5
            ctx = F.linear(eps_embed.to(dt), w["model.per_layer_model_projection.weight"])   # sqrt(H) and H^-1/2 cancel
            ple = Add.apply(ctx.view(-1, P), w["model.per_layer_projection_norm.weight"], tok.view(-1, P), 2.0 ** -0.5)
            ple = ple.to(dt).view(-1, L, P).unbind(1)
        shared, routes = {}, []
        for i in range(L):
            n = f"model.layers.{i}."
            g = lambda name: w[n + name]                                          # noqa: E731
            full = self.full[i]
            hd, kv = self.head_dim(full), self.kv_heads(full)
            shape = (b, t, kv, c.num_attention_heads // kv, hd)
            kshape = (b, t, kv, 1, hd)
            cs, sn = self.rope[full]
            y, x = Norm.apply(x, g("input_layernorm.weight"), dt)
            q = Heads.apply(F.linear(y, g("self_attn.q_proj.weight")), g("self_attn.q_norm.weight"), cs, sn, shape)
            if i < self.first_shared:
                kr = F.linear(y, g("self_attn.k_proj.weight"))
                vr = F.linear(y, g("self_attn.v_proj.weight")) if n + "self_attn.v_proj.weight" in w else kr
                shared[full] = (Heads.apply(kr, g("self_attn.k_norm.weight"), cs, sn, kshape),
                                Heads.apply(vr, None, None, None, kshape))
            k, v = shared[full]
            o = Attend.apply(q, k, v, shape, t if full else c.sliding_window)
            x = Add.apply(F.linear(o, g("self_attn.o_proj.weight")), g("post_attention_layernorm.weight"), x, 1.0)

            y, x = Norm.apply(x, g("pre_feedforward_layernorm.weight"), dt)
            m = Glu.apply(F.linear(y, g("mlp.gate_proj.weight")), F.linear(y, g("mlp.up_proj.weight")))
            m = F.linear(m, g("mlp.down_proj.weight"))
            if c.enable_moe_block:
                y, x = Norm.apply(x, g("pre_feedforward_layernorm_2.weight"), dt)
                r, x = Norm.apply(x, g("router.scale"), dt)
                prob = torch.softmax(F.linear(r, g("router.proj.weight")).float() * c.hidden_size ** -0.5, -1)
                top, idx = torch.topk(prob, c.top_k_experts, dim=-1)
                top = top / top.sum(-1, keepdim=True) * w[n + "router.per_expert_scale"][idx]
                e = Experts.apply(y, idx, top.contiguous(), g("experts.gate_up_proj"), g("experts.down_proj"))
                routes.append((prob, idx))
                m = Add.apply(m, g("post_feedforward_layernorm_1.weight"), None, 1.0)
                m = Add.apply(e, g("post_feedforward_layernorm_2.weight"), m, 1.0).to(dt)
            last = 1.0 if P else g("layer_scalar")
            x = Add.apply(m, g("post_feedforward_layernorm.weight"), x, last)
            if P:
                u = Glu.apply(F.linear(x.to(dt), g("per_layer_input_gate.weight")), ple[i])
                u = F.linear(u, g("per_layer_projection.weight"))
                x = Add.apply(u, g("post_per_layer_input_norm.weight"), x, g("layer_scalar"))
        return Norm.apply(x, w["model.norm.weight"], dt)[0], routes

    def loss(self, w, ids, target, weight, aux=0.0):
        """Weighted loss (weights sum to 1 over the batch) plus the load-balancing term; (loss, ce, usage counts)."""
        y, routes = self.hidden(w, ids)
        keep = weight.flatten().nonzero().squeeze(1)
        logits = F.linear(y[keep], w["head"])
        ce = Xent.apply(logits, target.flatten()[keep].contiguous(), weight.flatten()[keep].contiguous(),
                        self.c.final_logit_softcapping)
        total, usage = ce, []
        for prob, idx in routes:
            count = torch.bincount(idx.flatten(), minlength=self.c.num_experts).float()
            total = total + aux * self.c.num_experts * (count / count.sum() * prob.mean(0)).sum()
            usage.append(count)
        return total, ce.item(), usage


def init_params(model, seed=0):
    """Masters for a fresh model, from transformers' own parameter list.

    Scores have no 1/sqrt(head_dim), so k_norm starts at that value; the norms that end a
    sub-block start small, so that the sum of all blocks starts near the embedding's size.
    """
    gen = torch.Generator().manual_seed(seed)
    out = {}
    named = list(model.named_parameters()) + [(k, v) for k, v in model.named_buffers() if k.endswith("layer_scalar")]
    for k, p in named:
        if k.startswith("lm_head"):
            continue
        if p.dim() < 2:
            t = torch.ones(p.shape)
            if "k_norm" in k:
                t *= p.shape[0] ** -0.5
            elif "post_attention" in k or "post_per_layer" in k or k.endswith("post_feedforward_layernorm.weight"):
                t *= 0.25
            elif k.endswith("router.scale"):
                t *= 4.0        # HF divides by sqrt(hidden): start with logits that can tell experts apart
        else:
            std = 0.04 if k.startswith("model.embed_tokens.") else 0.05 if "per_layer.weight" in k else \
                0.5 / math.sqrt(p.shape[-1])
            t = torch.randn(p.shape, generator=gen) * std
        out[k] = t
    return out
