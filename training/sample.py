"""Let a checkpoint tell stories, by transformers' own generate()."""

import argparse

import torch
from transformers import Gemma4ForCausalLM, PreTrainedTokenizerFast


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("folder")
    ap.add_argument("-p", "--prompt", action="append", help="a request (chat) or, with --raw, the beginning of a text")
    ap.add_argument("--raw", action="store_true")
    ap.add_argument("-n", type=int, default=300)
    ap.add_argument("--temp", type=float, default=0.0)
    ap.add_argument("--top-k", type=int, default=40)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    tok = PreTrainedTokenizerFast.from_pretrained(args.folder)
    model = Gemma4ForCausalLM.from_pretrained(args.folder, dtype=torch.float32).eval()
    for prompt in args.prompt or ["Tell me a story about a cat."]:
        text = "<bos>" + prompt
        if not args.raw:
            text = tok.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False,
                                           add_generation_prompt=True)
        ids = tok(text, return_tensors="pt", add_special_tokens=False).input_ids
        torch.manual_seed(args.seed)
        kind = dict(do_sample=True, temperature=args.temp, top_k=args.top_k, top_p=1.0) if args.temp > 0 else \
            dict(do_sample=False, temperature=None, top_k=None, top_p=None)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=args.n, **kind)[0, ids.shape[1]:]
        print(f"> {prompt}\n{tok.decode(out, skip_special_tokens=True).strip()}")
        print(f"[{len(out)} tokens, last {tok.convert_ids_to_tokens(int(out[-1]))!r}]\n")


if __name__ == "__main__":
    main()
