"""tests/oracle/tokenizer_golden.jsonl: texts and their ids by HF tokenizers on the small tokenizer."""
import json
import random

from tokenizers import Tokenizer

import tiny_tokenizer

FIXED = [
    "", " ", "  ", "   ", "       ", " " * 31, " " * 100, "\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n" * 7, "\n" * 31, "\n" * 64,
    "\t", "\t\t", "\t\t\t", "\t" * 31, " \t \n ", "\r", "\r\n", "\r\n\r\n", "a", "A", "é", "e\u0301", "E\u0301",
    "the", " the", "the ", "  the  ", "the there then and these", "There and then, the end.", "and.a. a. the. and",
    ". a", ". and", ".  a", ".\na", "\u2581", "\u2581\u2581", " \u2581 ", "the\u2581the", "x\u2581",
    "日本", "日本語", "日", "本日", "Привет, мир", "и и ии", "γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया",
    "สวัสดีชาวโลก", "안녕하세요 세계", "你好，世界", "こんにちは世界", "ቋንቋ", "ქართული", "Xin chào thế giới", "ɹəʇɐʍ",
    "😀", "😀😀", "😀😀😀", "😀 😀", "👩‍👩‍👧‍👦", "👍🏽", "🇫🇷🇩🇪", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "#️⃣", "a😀b",
    "\ufffd", "\ufffd\ufffd", "\u0000", "a\u0000b", "\u0001\u0002\u007f", "\u0080\u009f", "\u00a0", "\u200b", "\u2028", "\u3000",
    "\ufeffthe", "\u202eabc", "\uffff", "\U0010ffff", "\U00010000", "\ud7ff", "\ue000", "a\u0301\u0302\u0303", "ﬁ ﬀ Å Å",
    "<bos>", "<bos><bos>", "<bos>the", "the<eos>", "<pad><eos><bos><unk><mask>", " <bos> ", "<bos", "bos>", "< bos>", "<BOS>",
    "<<bos>>", "<|turn>user\nthe end<turn|>\n<|turn>model\n", "<|turn>", "<turn|>", "<|turn|>", "<|turn><turn|>", "<|think|>",
    "<|channel>thought\n<channel|>", "<|channel>", "<|tool_call>call:f{a:<|\"|>the<|\"|>}<tool_call|>", "<|\"|>", "<|\"|><|\"|>",
    "<|tool>", "<tool|>", "<|tool_response>", "<tool_response|>", "<|image|>", "<|image>", "<image|>", "<|image><|image|><|image|><image|>",
    "<|audio><|audio|><audio|>", "<|video|>", "<|tool_calls>", "<|tool_call", "<|", "|>", "<|>", "the<|turn>the", "the <|turn> the",
    "\n<turn|>\n", "\n\n<turn|>\n\n", "  <mask>  ", "<unused0>", "<unused6>", "<0x41>", "<0x0A>", "<0xC3><0xA9>", "<0x", "<unk>",
    "<|turn>\u2581", "日<bos>本", "😀<eos>😀", "e<bos>\u0301", "t<pad>he", "<eos><turn|><eos>",
    "hello world", "Hello, World!", "int main(void) { return 0; }", "for (i = 0; i < n; i++)\n\t\ta[i] = b[i];\n",
    "def f(x):\n    return x + 1\n", "    indented\n        more\n", "{\"a\": [1, 2.5, null]}", "https://example.org/a?b=c&d=%20#e",
    "1234567890", "3.14159", "1,000,000", "$5.00 + 10%", "!@#$%^&*()_+-=[]{}|;':\",./<>?`~", "\\n\\t\\\\", "a\\b", "C:\\Users\\the",
    "ALL CAPS", "camelCaseName", "snake_case_name", "end.", "and and and and", "inininin", "thethethethe", "ererererer",
    "aaaaaaaaaaaaaaaaaaaa", "a" * 200, "the" * 100, "e " * 60, "andand the  theree\n\n\n\n\nend",
]


def texts():
    rng = random.Random(20260401)
    out = list(FIXED)
    atoms = ["the", "there", "and", "end", "en", "d", "t", "h", "e", "a", "n", "i", "in", "on", "er", "re", "s", "es", "ll", "l",
             " ", " ", "  ", "\n", "\n\n", "\t", ".", ",", " a", ". a", "é", "e", "\u0301", "日", "本", "😀", "и", "\ufffd", "Z", "9",
             "\u2581", "ß", "世", "👍", "<", "|", ">", "<bos>", "<|turn>", "<turn|>", "<|image|>", "<mask>"]
    while len(out) < 260:
        out.append("".join(rng.choice(atoms) for _ in range(rng.randint(2, 24))))
    while len(out) < 285:
        out.append("".join(rng.choice("tthheeaannddii  \n.") for _ in range(rng.randint(5, 60))))
    while len(out) < 305:
        s = []
        while len(s) < 12:
            c = rng.choice([rng.randrange(0x20, 0x250), rng.randrange(0x370, 0x3000), rng.randrange(0x3000, 0x10000),
                            rng.randrange(0x10000, 0x110000)])
            if not 0xD800 <= c < 0xE000:
                s.append(chr(c))
        out.append("".join(s))
    return out


def write(path):
    tok = Tokenizer.from_str(tiny_tokenizer.text())
    lines = []
    for t in texts():
        lines.append(json.dumps({"text": t, "ids": tok.encode(t, add_special_tokens=False).ids},
                                ensure_ascii=True, separators=(",", ":")) + "\n")
    with open(path, "w") as f:
        f.writelines(lines)
