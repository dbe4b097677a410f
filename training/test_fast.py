"""fast.py in f32 against transformers' own classes: logits, and gradients against autograd."""

import torch

import fast
import models


def main():
    torch.manual_seed(0)
    for name in models.MODELS:
        hf = models.build(name)
        params = fast.init_params(hf, seed=3)
        for k, p in params.items():             # nothing may hide behind a weight of one
            if p.dim() < 2:
                p.mul_(1 + 0.3 * torch.randn(p.shape))
        missing, extra = hf.load_state_dict(params, strict=False)
        assert not extra and missing in ([], ["lm_head.weight"]), (missing, extra)
        hf.tie_weights()
        net = fast.Gemma4Fast(hf.config, torch.float32, max_t=384)
        ids = torch.randint(5, 4096, (2, 384))
        w = net.leaves(params)
        y, _ = net.hidden(w, ids)
        cap = hf.config.final_logit_softcapping
        mine = cap * torch.tanh(y @ w["head"].t() / cap)
        ref = hf(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        err = (mine - ref).abs().max().item()
        # gradients of a weighted loss
        target = torch.randint(5, 4096, (2, 384))
        weight = torch.rand(2, 384)
        weight[0, :50] = 0
        weight /= weight.sum()
        ce = torch.nn.functional.cross_entropy(ref, target.flatten(), reduction="none")
        (ce * weight.flatten()).sum().backward()
        total, value, _ = net.loss(w, ids, target, weight)
        total.backward()
        worst = ("", 0.0)
        for k, p in hf.named_parameters():
            g = w[k].grad + (w["head"].grad if k == "model.embed_tokens.weight" else 0)
            rel = ((g - p.grad).norm() / (p.grad.norm() + 1e-12)).item()
            worst = max(worst, (k, rel), key=lambda z: z[1])
        print(f"{name}: {sum(p.numel() for p in params.values())} parameters, logits differ by {err:.2e} "
              f"(largest {ref.abs().max():.1f}), worst gradient {worst[0]} by {worst[1]:.2e}")
        assert err < 1e-4 and worst[1] < 1e-3


if __name__ == "__main__":
    main()
