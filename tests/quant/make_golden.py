"""Write golden.bin: random blocks of every weight type and their values as decoded by the `gguf` package.

    pip install gguf numpy && python tests/quant/make_golden.py

Never needed to build or test. Layout: for each type the name in 8 bytes (NUL-padded), u32 bytes of input, u32 number
of values, the input, the values as little-endian f32. Every bit of a block is random but for the f16 scales, which
are kept finite (NaN has no single bit pattern); a third of them are subnormal, negative or zero.
"""
import os
import numpy as np
from gguf import GGMLQuantizationType as T, quants, constants

# type -> (blocks, byte offsets of the f16 fields in a block)
TYPES = {
    "F32": (64, []), "F16": (64, [0]), "BF16": (64, []), "Q8_0": (3, [0]), "Q4_0": (3, [0]), "Q4_1": (3, [0, 2]),
    "Q5_0": (3, [0]), "Q5_1": (3, [0, 2]), "Q2_K": (2, [80, 82]), "Q3_K": (2, [108]), "Q4_K": (2, [0, 2]),
    "Q5_K": (2, [0, 2]), "Q6_K": (2, [208]), "IQ4_NL": (3, [0]), "IQ4_XS": (2, [0]),
}


def main():
    rng = np.random.default_rng(20)
    out = bytearray()
    for name, (n_block, halves) in TYPES.items():
        t = T[name]
        length, size = constants.GGML_QUANT_SIZES[t]
        if name == "F32":
            raw = rng.standard_normal(n_block).astype("<f4").view(np.uint8).reshape(n_block, size)
        elif name == "BF16":
            raw = (rng.standard_normal(n_block).astype("<f4").view("<u4") >> 16).astype("<u2").view(np.uint8).reshape(n_block, size)
        else:
            raw = rng.integers(0, 256, (n_block, size), dtype=np.uint8)
        for off in halves:
            h = (rng.standard_normal(n_block) * 0.05).astype("<f2")
            h[-1] = np.array([0x0001, 0x83ff, 0x0000, 0x03a5], "<u2").view("<f2")[rng.integers(4)]
            raw[:, off:off + 2] = h.view(np.uint8).reshape(n_block, 2)
        y = np.ascontiguousarray(quants.dequantize(raw.reshape(-1), t), dtype="<f4").reshape(-1)
        assert y.size == n_block * length and np.isfinite(y).all(), name
        out += name.encode().ljust(8, b"\0") + np.array([raw.size, y.size], "<u4").tobytes() + raw.tobytes() + y.tobytes()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.bin")
    with open(path, "wb") as f:
        f.write(out)
    print(path, len(out), "bytes")


main()
