#!/usr/bin/env python3
"""Writes tests/oracle: small random checkpoints of every variant and what transformers computes from them.

    python oracle/build.py [--out tests/oracle] [--only NAME,...] [--no-long]

Everything is deterministic. The maths is transformers' own: this file only chooses sizes and weights,
and listens (forward hooks, and wrappers that call the original function). See oracle/README.md.
"""
import argparse
import copy
import json
import os
import shutil
import sys
import time
from types import SimpleNamespace

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, Gemma4Config, Gemma4ForCausalLM,
                          Gemma4ForConditionalGeneration, Gemma4TextConfig)
from transformers.cache_utils import DynamicCache
transformers.utils.logging.disable_progress_bar()
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.gemma4 import modeling_gemma4

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tiny_tokenizer
import tokenizer_golden

N_VOCAB = tiny_tokenizer.N_VOCAB
N_TOK = 17            # > 2 sliding windows of 8
N_GREEDY = 64
N_LONG = 33000
MIN_MARGIN = 0.03     # smallest top-1 minus top-2 logit along the greedy golden
MIN_ROUTER_GAP = 5e-4 # smallest k-th minus (k+1)-th router probability in the taps
# transformers' top-level class reads these ids as <pad>, waiting for an image or a sound
SOFT = {tiny_tokenizer.ids()[t] for t in ("<|image|>", "<|audio|>", "<|video|>")}
MAX_NOISE = 4e-5      # largest difference of f32 and f64 logits, both by transformers
IDS = tiny_tokenizer.ids()


def gemma4_text(**changes):
    """The switches the published configs set, at small sizes."""
    config = dict(
        vocab_size=N_VOCAB, vocab_size_per_layer_input=N_VOCAB,
        hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=1,
        head_dim=32, global_head_dim=64, sliding_window=8, max_position_embeddings=65536,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25,
                               "rope_theta": 1000000.0}},
        hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, final_logit_softcapping=30.0,
        tie_word_embeddings=True, hidden_size_per_layer_input=0, num_kv_shared_layers=0,
        attention_k_eq_v=False, use_double_wide_mlp=False, enable_moe_block=False,
        use_bidirectional_attention=None, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )
    config.update(changes)
    return config


def pattern(n_layer, every):
    return ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(n_layer)]


SPECS = {
    # K and V of layers 5-9 come from 3 (sliding) and 4 (full); layers 5-9 have the double-wide MLP.
    "e2b": dict(
        seed=100, dtype=torch.bfloat16, layout="conditional", long=True,
        text=gemma4_text(num_hidden_layers=10, layer_types=pattern(10, 5), hidden_size_per_layer_input=32,
                         intermediate_size=32,
                         num_kv_shared_layers=5, use_double_wide_mlp=True)),
    # K and V of layers 6-11 come from 4 (sliding) and 5 (full).
    "e4b": dict(
        seed=200, dtype=torch.float16, layout="causal", redundant_kv=True,
        text=gemma4_text(num_hidden_layers=12, intermediate_size=32, layer_types=pattern(12, 6), hidden_size_per_layer_input=32,
                         num_kv_shared_layers=6, num_attention_heads=4, num_key_value_heads=2,
                         head_dim=16, global_head_dim=32)),
    "31b": dict(
        seed=300, dtype=torch.bfloat16, layout="causal", sharded=True, published_keys=True, long=True,
        text=gemma4_text(num_hidden_layers=6, layer_types=pattern(6, 6), num_attention_heads=4,
                         num_key_value_heads=2, num_global_key_value_heads=1, attention_k_eq_v=True,
                         use_bidirectional_attention="vision")),
    "26b-a4b": dict(
        seed=429, dtype=torch.bfloat16, layout="causal",
        text=gemma4_text(num_hidden_layers=3, layer_types=pattern(3, 3), num_attention_heads=4,
                         head_dim=16, global_head_dim=32,
                         num_key_value_heads=2, num_global_key_value_heads=1, attention_k_eq_v=True,
                         use_bidirectional_attention="vision", enable_moe_block=True, num_experts=12,
                         top_k_experts=4, moe_intermediate_size=32)),
    "gemma3": dict(
        seed=500, dtype=torch.float32, layout="gemma3", published_keys=True,
        text=dict(vocab_size=N_VOCAB, hidden_size=32, intermediate_size=32, num_hidden_layers=6,
                  num_attention_heads=2, num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=24,
                  sliding_window=8, layer_types=pattern(6, 6), max_position_embeddings=65536,
                  rope_parameters={
                      "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                      "full_attention": {"rope_type": "default", "rope_theta": 1000000.0}},
                  hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, tie_word_embeddings=True,
                  pad_token_id=0, eos_token_id=1, bos_token_id=2)),
}


# ---------------------------------------------------------------- weights

def new_model(spec):
    if spec["layout"] == "gemma3":
        return Gemma3ForCausalLM(Gemma3TextConfig(**spec["text"]))
    text = Gemma4TextConfig(**spec["text"])
    if spec["layout"] == "causal":
        return Gemma4ForCausalLM(text)
    return Gemma4ForConditionalGeneration(Gemma4Config(
        text_config=text, vision_config=None, audio_config=None,
        boi_token_id=IDS["<|image>"], eoi_token_id=IDS["<image|>"], image_token_id=IDS["<|image|>"],
        video_token_id=IDS["<|video|>"], boa_token_id=IDS["<|audio>"], eoa_token_index=IDS["<audio|>"],
        audio_token_id=IDS["<|audio|>"]))


@torch.no_grad()
def fill(model, seed, gemma3, dtype):
    """Random weights under which every part of the graph matters.

    Linears keep the variance; norm weights lie around 1 (gemma3 stores w - 1). Three exceptions: k_norm is small,
    as in the real checkpoints (attention scale is 1, so it sets the softmax temperature); the final norm is large
    (logits have to reach the softcap although the embedding is tied); the post norms lie around 0.5 (not in gemma3),
    so that rounding errors do not grow too fast from layer to layer (see MAX_NOISE).
    """
    g = torch.Generator().manual_seed(seed)

    def uniform(t, lo, hi):
        t.copy_(torch.rand(t.shape, generator=g) * (hi - lo) + lo)

    def normal(t, std):
        t.copy_(torch.randn(t.shape, generator=g) * std)

    one = 1.0 if gemma3 else 0.0
    names = dict(model.named_parameters())
    names.update({n: b for n, b in model.named_buffers() if n.endswith("layer_scalar")})
    for name in sorted(names):
        t = names[name]
        if name.endswith("layer_scalar"):
            uniform(t, 0.3, 1.2)
        elif name.endswith("embed_tokens.weight"):
            normal(t, 0.1 if gemma3 else 0.15)
        elif name.endswith("embed_tokens_per_layer.weight"):
            normal(t, 0.18)
        elif name.endswith("router.scale"):
            uniform(t, 0.5, 1.5)
        elif name.endswith("per_expert_scale"):
            uniform(t, 0.4, 1.6)
        elif name.endswith("router.proj.weight"):
            normal(t, 1.3)
        elif name.endswith("k_norm.weight") and not gemma3:
            uniform(t, 0.1, 0.25)
        elif name.endswith("norm.weight") and name.count(".layers.") == 0 and "per_layer" not in name:
            uniform(t, 4.0 - one, 11.0 - one)
        elif ".post_" in name and not gemma3:
            uniform(t, 0.25 - one, 0.75 - one)
        elif "norm" in name:
            uniform(t, 0.5 - one, 1.5 - one)
        elif t.dim() >= 2:
            normal(t, 1.1 * t.shape[-1] ** -0.5)
        else:
            raise AssertionError(name)
        t.copy_(t.to(dtype).float())


def text_model(model):
    return model.model.language_model if hasattr(model.model, "language_model") else model.model


# ---------------------------------------------------------------- saving and reading back

def published_gemma4(config):
    """config.json as google publishes it: head sizes of the full layers as two scalars, no per_layer_config."""
    layers = config.pop("per_layer_config")
    over = next(iter(layers.values()))
    config["global_head_dim"] = over["head_dim"]
    config["num_global_key_value_heads"] = over.get("num_key_value_heads")
    return config


def published_gemma3(config):
    """config.json as the first Gemma 3 checkpoints have it: no rope_parameters, no layer_types."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["full_attention"]["rope_theta"]
    config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    config["rope_scaling"] = None
    types = config.pop("layer_types")
    config.pop("_sliding_window_pattern", None)
    config["sliding_window_pattern"] = types.index("full_attention") + 1
    return config


def add_redundant_kv(model, spec, path):
    """As in the first published E2B and E4B: the layers that share K and V carry unused k_proj, v_proj, k_norm."""
    tensors = load_file(path)
    g = torch.Generator().manual_seed(4)
    for i, layer in enumerate(text_model(model).layers):
        if layer.self_attn.is_kv_shared_layer and i >= 9:       # only some of them, to save bytes
            hd, nkv = layer.self_attn.head_dim, spec["text"]["num_key_value_heads"]
            P = f"model.layers.{i}.self_attn."
            for part, shape in (("k_proj", (nkv * hd, spec["text"]["hidden_size"])),
                                ("v_proj", (nkv * hd, spec["text"]["hidden_size"])), ("k_norm", (hd,))):
                assert P + part + ".weight" not in tensors
                tensors[P + part + ".weight"] = torch.randn(shape, generator=g).to(spec["dtype"])
    save_file(tensors, path, metadata={"format": "pt"})


def save(model, spec, folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model.generation_config.update(do_sample=True, temperature=1.0, top_k=64, top_p=0.95, bos_token_id=2,
                                   pad_token_id=0, eos_token_id=[1, IDS["<turn|>"], IDS["<|tool_response>"]])
    model = copy.deepcopy(model).to(spec["dtype"])
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    shard = size // 2 + 20000 if spec.get("sharded") else size * 2
    model.save_pretrained(folder, max_shard_size=shard)
    if spec.get("redundant_kv"):
        add_redundant_kv(model, spec, os.path.join(folder, "model.safetensors"))
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    if spec.get("published_keys"):
        config = published_gemma3(config) if spec["layout"] == "gemma3" else published_gemma4(config)
    with open(path, "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
        f.write("\n")
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        f.write(tiny_tokenizer.text())


def load(spec, folder):
    """The model that computes the goldens: read back from the files, so that it has the rounded weights, in f32."""
    cls = {"gemma3": Gemma3ForCausalLM, "causal": Gemma4ForCausalLM,
           "conditional": Gemma4ForConditionalGeneration}[spec["layout"]]
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                experts_implementation="eager")
    model.eval()
    for p in model.parameters():
        assert p.dtype == torch.float32
        p.requires_grad_(False)
    return model


def check_saved(model, spec, folder):
    """What was read back is the random model rounded to the file's dtype, and nothing was left at an initial value."""
    want = model.state_dict()
    back = load(spec, folder).state_dict()
    assert want.keys() == back.keys()
    for k in want:
        assert torch.equal(want[k], back[k]), k
        assert k.endswith("layer_scalar") or want[k].std() > 0.01, k
        assert not (want[k] == 1).all() and not (want[k] == 0).any(dim=-1).all(), k
    for f in sorted(os.listdir(folder)):
        if f.endswith(".safetensors"):
            for k, v in load_file(os.path.join(folder, f)).items():
                assert v.dtype == spec["dtype"], (k, v.dtype)


# ---------------------------------------------------------------- listening

class Listener:
    """Collects the taps of one forward pass without changing it."""

    def __init__(self, model, gemma3):
        self.taps = {}
        self.handles = []
        self.text = text_model(model)
        self.gemma3 = gemma3
        self.module = modeling_gemma3 if gemma3 else modeling_gemma4
        self.extra = {}

    def put(self, name, t):
        assert name not in self.taps, name
        self.taps[name] = t.detach().to(torch.float32).clone().contiguous()

    def after(self, module, name, pick=lambda out: out):
        def hook(mod, args, out):
            t = pick(out)
            self.put(name, t[0] if t.dim() == 3 and t.shape[0] == 1 else t)
        self.handles.append(module.register_forward_hook(hook))

    def before(self, module, name):
        def hook(mod, args):
            self.put(name, args[0][0])
        self.handles.append(module.register_forward_pre_hook(hook))

    def __enter__(self):
        text = self.text
        self.after(text.embed_tokens, "embed")
        self.after(text.norm, "final_norm")
        if getattr(text.config, "hidden_size_per_layer_input", 0):
            original = text.project_per_layer_inputs
            def wrapper(*args, **kwargs):
                out = original(*args, **kwargs)
                self.put("ple", out[0])
                return out
            text.project_per_layer_inputs = wrapper
            self.handles.append(SimpleNamespace(remove=lambda: delattr(text, "project_per_layer_inputs")))

        attention = self.module.eager_attention_forward
        def eager(module, query, key, value, mask, **kwargs):
            L = "L%02d." % module.layer_idx
            self.put(L + "q", query[0].transpose(0, 1))
            if not getattr(module, "is_kv_shared_layer", False):
                self.put(L + "k", key[0].transpose(0, 1))
                self.put(L + "v", value[0].transpose(0, 1))
            self.extra[L + "mask"] = mask[0, 0].clone()
            return attention(module, query, key, value, mask, **kwargs)
        self.module.eager_attention_forward = eager
        self.handles.append(SimpleNamespace(
            remove=lambda: setattr(self.module, "eager_attention_forward", attention)))

        for i, layer in enumerate(text.layers):
            L = "L%02d." % i
            self.after(layer.input_layernorm, L + "attn_norm")
            self.before(layer.self_attn.o_proj, L + "attn_heads")
            self.after(layer.self_attn.o_proj, L + "attn_out")
            self.before(layer.pre_feedforward_layernorm, L + "attn_resid")
            self.after(layer.pre_feedforward_layernorm, L + "ffn_norm")
            self.after(layer.mlp, L + "ffn_out")
            if getattr(layer, "enable_moe_block", False):
                self.after(layer.router, L + "router", lambda out: out[0])
                self.after(layer.experts, L + "moe_out")
            self.after(layer.post_feedforward_layernorm, L + "ffn_post")
            if getattr(layer, "hidden_size_per_layer_input", 0):
                self.before(layer.per_layer_input_gate, L + "ffn_resid")
                self.after(layer.post_per_layer_input_norm, L + "ple_out")
            self.after(layer, L + "out", lambda out: out[0] if isinstance(out, tuple) else out)
        return self

    def __exit__(self, *exc):
        for h in self.handles:
            h.remove()

    def finish(self):
        """ffn_resid has no module of its own without PLE: it is the same single addition as in the layer;
        that it is right is then proved bit for bit by the layer's output."""
        for i, layer in enumerate(self.text.layers):
            L = "L%02d." % i
            post = self.taps.pop(L + "ffn_post")
            resid = self.taps[L + "attn_resid"] + post
            if L + "ffn_resid" in self.taps:
                assert torch.equal(resid, self.taps[L + "ffn_resid"])
            elif not self.gemma3:           # in gemma3 it is the layer's output
                self.taps[L + "ffn_resid"] = resid
            x = resid + self.taps[L + "ple_out"] if L + "ple_out" in self.taps else resid
            if not self.gemma3:
                x = x * layer.layer_scalar
            assert torch.equal(x, self.taps[L + "out"]), L
        return {"tap." + k: v for k, v in self.taps.items()}


def run(model, tokens, cache=None, **kwargs):
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=cache is not None,
                     **kwargs).logits[0]


# ---------------------------------------------------------------- goldens

def random_tokens(seed, n):
    g = torch.Generator().manual_seed(seed)
    media = {IDS[t] for t in tiny_tokenizer.UPPER}
    allowed = [i for i in range(5, N_VOCAB) if i not in media]
    return [2] + [allowed[i] for i in torch.randint(len(allowed), (n - 1,), generator=g).tolist()]


def greedy(model, prompt, n):
    cache = DynamicCache(config=model.config.get_text_config())
    logits = run(model, prompt, cache)
    out, margin = [], float("inf")
    for _ in range(n):
        top = logits[-1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        out.append(top.indices[0].item())
        if margin <= MIN_MARGIN or (len(out) >= 16 and len(set(out)) < 6):
            break               # search() will not take it
        logits = run(model, [out[-1]], cache)
    return out, margin


def greedy_plain(model, prompt, n):
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(run(model, tokens)[-1].argmax().item())
    return tokens[len(prompt):]


def check_masks(extra, config):
    """The window rule, read from the masks the layers really got: j <= i, and j > i - W on sliding layers."""
    for i, kind in enumerate(config.layer_types):
        seen = extra["L%02d.mask" % i] == 0
        n = seen.shape[0]
        q, k = torch.arange(n)[:, None], torch.arange(n)[None, :]
        want = k <= q
        if kind == "sliding_attention":
            want &= k > q - config.sliding_window
        assert torch.equal(seen, want), i


def long_tokens():
    tokens = [5 + (i * i * 31 + i * 17) % (N_VOCAB - 5) for i in range(N_LONG)]
    assert not SOFT & set(tokens)
    return tokens


def chunked(model, tokens, chunk, keep):
    """The last `keep` logits, prefilled chunk by chunk (eager attention, scores of one chunk at a time)."""
    config = model.config.get_text_config()
    cache = DynamicCache(config=config)
    last = max(len(tokens) - keep, 0)
    cut = list(range(0, last, chunk)) + [last, len(tokens)]
    for a, b in zip(cut, cut[1:]):
        if b > a:
            logits = run(model, tokens[a:b], cache, logits_to_keep=0 if b == len(tokens) else 1)
    return logits


def router_gap(model, tokens, k):
    """How clear the choice of experts is: the smallest distance of the k-th from the (k+1)-th probability."""
    found = []
    handles = [layer.router.register_forward_hook(lambda mod, args, out: found.append(out[0]))
               for layer in text_model(model).layers]
    run(model, tokens)
    for h in handles:
        h.remove()
    top = torch.cat(found).topk(k + 1, dim=-1).values
    return (top[:, k - 1] - top[:, k]).min().item()


def noise_of(model, tokens):
    """How far f32 arithmetic is from exact: the logits against those of the same model in f64."""
    exact = run(copy.deepcopy(model).double(), tokens)
    assert exact.dtype == torch.float64
    return (run(model, tokens) - exact).abs().max().item()


def search(name, spec):
    """The first weights and inputs whose goldens do not hang on a razor's edge."""
    gemma3 = spec["layout"] == "gemma3"
    for seed in range(spec["seed"], spec["seed"] + 100):
        model = new_model(spec).eval()
        for c in (model.config, model.config.get_text_config()):
            c._attn_implementation = c._experts_implementation = "eager"
        fill(model, seed, gemma3, spec["dtype"])
        k = getattr(model.config.get_text_config(), "top_k_experts", None)
        for t in range(40):
            tokens = random_tokens(seed * 1000 + t, N_TOK)
            gap = router_gap(model, tokens, k) if k else 1.0
            peak = run(model, tokens).abs().max().item()
            if gap > MIN_ROUTER_GAP and peak > 15 and noise_of(model, tokens) < MAX_NOISE:
                break
        else:
            continue
        for p in range(20):
            prompt = random_tokens(seed * 1000 + 500 + p, 6)
            answer, margin = greedy(model, prompt, N_GREEDY)
            varied = len(set(answer))
            if margin > MIN_MARGIN and varied >= 16 and not SOFT & set(answer):
                print(f"{name}: seed {seed}/{t}/{p} greedy margin {margin:.4f}, {varied} different tokens, "
                      f"router gap {gap:.4f}, |logit| up to {peak:.2f}", flush=True)
                return model, tokens, prompt, answer
    sys.exit(f"{name}: no seed is good enough")


def build(name, spec, out, do_long):
    folder = os.path.join(out, name)
    gemma3 = spec["layout"] == "gemma3"
    fresh, tokens, prompt, answer = search(name, spec)
    before = run(fresh, tokens)
    save(fresh, spec, folder)
    check_saved(fresh, spec, folder)
    model = load(spec, folder)
    config = model.config.get_text_config()
    plain = run(model, tokens)
    assert torch.equal(plain, before), "the saved model is another one"
    with Listener(model, gemma3) as listener:
        logits = run(model, tokens)
    assert torch.equal(plain, logits), "listening changed the result"
    assert torch.equal(plain, run(model, tokens)), "listening left a trace"
    taps = listener.finish()
    assert greedy(model, prompt, N_GREEDY)[0] == answer
    check_masks(listener.extra, config)
    assert greedy_plain(model, prompt, N_GREEDY) == answer, "cache and plain differ"
    golden = {
        "tokens": torch.tensor(tokens, dtype=torch.int32),
        "logits": logits.clone().contiguous(),
        "greedy_prompt": torch.tensor(prompt, dtype=torch.int32),
        "greedy": torch.tensor(answer, dtype=torch.int32),
        "noise": torch.tensor([noise_of(model, tokens)]),
        "inv_freq.sliding": text_model(model).rotary_emb.sliding_attention_inv_freq.clone(),
        "inv_freq.full": text_model(model).rotary_emb.full_attention_inv_freq.clone(),
    }
    assert not golden["logits"].isnan().any()
    golden.update(taps)
    for k, v in sorted(taps.items()):
        rms = v.pow(2).mean().sqrt().item()
        assert 1e-3 < rms < 100, (k, rms)
    rms_out = [taps["tap.L%02d.out" % i].pow(2).mean().sqrt().item() for i in range(config.num_hidden_layers)]
    print(f"{name}: f32 against f64 logits {golden['noise'].item():.1e}")
    print(f"{name}: residual rms by layer", " ".join("%.2f" % r for r in rms_out))

    if spec.get("long"):
        seq = long_tokens()
        a = chunked(model, seq[:300], 64, 4)
        b = run(model, seq[:300])[-4:]
        print(f"{name}: chunked against plain on 300 tokens, max |difference| {(a - b).abs().max().item():.2e}")
        assert (a - b).abs().max() < 1e-4
        if do_long:
            start = time.time()
            golden["long_n"] = torch.tensor([N_LONG], dtype=torch.int32)
            golden["long_logits"] = chunked(model, seq, 512, 4).clone().contiguous()
            print(f"{name}: long context took {time.time() - start:.0f} s", flush=True)
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    for f in os.listdir(folder):
        os.chmod(os.path.join(folder, f), 0o644)
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    n = sum(p.numel() for p in model.parameters())
    print(f"{name}: {n} parameters, {size} bytes", flush=True)


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--out", default=os.path.join(root, "tests", "oracle"))
    ap.add_argument("--only", default=",".join(SPECS))
    ap.add_argument("--no-long", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    os.makedirs(args.out, exist_ok=True)
    tokenizer_golden.write(os.path.join(args.out, "tokenizer_golden.jsonl"))
    for name in args.only.split(","):
        build(name, SPECS[name], args.out, not args.no_long)
    print("transformers", transformers.__version__, "torch", torch.__version__)


if __name__ == "__main__":
    main()
