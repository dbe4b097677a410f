"""Bits per byte of a text file by transformers' own model in f32: the values in tests/models/bits_per_byte.txt.

    python reference_text.py CHECKPOINT FILE

The rule of evaluate.py's `excerpt`: the tokens of the file are cut into windows of 256, each a sequence of its own behind
<bos>, all of the window's tokens predicted; nats / ln 2 / UTF-8 bytes.
"""

import math
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Gemma4ForCausalLM

from evaluate import BOS, nats

folder, path = sys.argv[1:3]
torch.set_num_threads(1)
model = Gemma4ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
text = Path(path).read_text()
ids = Tokenizer.from_file(folder + "/tokenizer.json").encode(text, add_special_tokens=False).ids
windows = [[BOS] + ids[i:i + 256] for i in range(0, len(ids), 256)]
print(nats(model, windows).sum() / math.log(2) / len(text.encode()))
