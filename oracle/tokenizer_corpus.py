#!/usr/bin/env python3
"""A large tokenizer test: texts of every kind and their ids by HF tokenizers.

    python oracle/tokenizer_corpus.py TOKENIZER_JSON [--out DIR] [--records 25000] [--data DIR]

DIR/corpus.bin  records of: u32 little-endian number of bytes, the bytes
DIR/ids.bin     records of: u32 little-endian number of ids, the ids as u32
DIR/kinds.txt   one line a record: what kind of text it is

About one record in ten is not valid UTF-8. Its ids are those of bytes.decode("utf-8", errors="replace"), in which
each maximal invalid part becomes one U+FFFD. Special tokens are not added (add_special_tokens=False).
The same arguments give the same files. Text from --data (xz files) is mixed in where that folder exists.
"""
import argparse
import glob
import json
import lzma
import os
import random
import struct

from tokenizers import Tokenizer

SCRIPTS = [  # (first, last) code points
    (0x41, 0x7a), (0xc0, 0x17f), (0x180, 0x24f), (0x250, 0x2af), (0x370, 0x3ff), (0x400, 0x4ff), (0x531, 0x586),
    (0x5d0, 0x5ea), (0x600, 0x6ff), (0x700, 0x74f), (0x780, 0x7b1), (0x900, 0x97f), (0x980, 0x9ff), (0xa00, 0xa7f),
    (0xa80, 0xaff), (0xb00, 0xb7f), (0xb80, 0xbff), (0xc00, 0xc7f), (0xc80, 0xcff), (0xd00, 0xd7f), (0xd80, 0xdff),
    (0xe00, 0xe5b), (0xe80, 0xedf), (0xf00, 0xfff), (0x1000, 0x109f), (0x10a0, 0x10ff), (0x1100, 0x11ff),
    (0x1200, 0x137f), (0x13a0, 0x13ff), (0x1400, 0x167f), (0x1780, 0x17ff), (0x1800, 0x18af), (0x1e00, 0x1eff),
    (0x1f00, 0x1fff), (0x2000, 0x206f), (0x2070, 0x20cf), (0x2100, 0x214f), (0x2190, 0x21ff), (0x2200, 0x22ff),
    (0x2300, 0x23ff), (0x2460, 0x24ff), (0x2500, 0x257f), (0x2580, 0x25ff), (0x2600, 0x27bf), (0x2800, 0x28ff),
    (0x3000, 0x303f), (0x3040, 0x309f), (0x30a0, 0x30ff), (0x3100, 0x312f), (0x3400, 0x34ff), (0x4e00, 0x9fff),
    (0xa000, 0xa0ff), (0xac00, 0xd7a3), (0xe000, 0xe0ff), (0xf900, 0xfaff), (0xfb00, 0xfb4f), (0xfe00, 0xfe6f),
    (0xff00, 0xffef), (0xfff0, 0xffff), (0x10000, 0x100ff), (0x10300, 0x1034f), (0x12000, 0x120ff), (0x13000, 0x130ff),
    (0x1d400, 0x1d7ff), (0x1f000, 0x1f0ff), (0x1f300, 0x1f64f), (0x1f680, 0x1f6ff), (0x1f900, 0x1f9ff),
    (0x20000, 0x200ff), (0xe0000, 0xe007f), (0x10ff00, 0x10ffff),
]
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de kiwis.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.", "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia.",
    "À noite, vovô Kowalsky vê o ímã cair no pé do pinguim.", "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.", "Árvíztűrő tükörfúrógép.", "Pijamalı hasta yağız şoföre çabucak güvendi.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.", "Жебракують філософи при ґанку церкви в Гадячі.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.", "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה.", "نص حكيم له سر قاطع وذو شأن عظيم.",
    "यह एक वाक्य है जो परीक्षण के लिए लिखा गया है।", "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি।", "வணக்கம் உலகம், எப்படி இருக்கிறீர்கள்?",
    "నమస్కారం ప్రపంచం", "ನಮಸ್ಕಾರ ಜಗತ್ತು", "സ്വാഗതം ലോകം", "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า", "ສະບາຍດີຊາວໂລກ", "မင်္ဂလာပါကမ္ဘာလောက",
    "សួស្តី​ពិភពលោក", "いろはにほへと ちりぬるを", "視野無限廣，窗外有藍天。", "我能吞下玻璃而不伤身体。", "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "Tôi có thể ăn thủy tinh mà không hại gì.", "გამარჯობა მსოფლიო", "Բարեւ աշխարհ", "ሰላም ልዑል", "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ", "བཀྲ་ཤིས་བདེ་ལེགས།",
]
CODE = [
    "int main(int argc, char **argv)\n{\n\tfor (size_t i = 0; i < n; i++)\n\t\tsum += a[i] * b[i];\n\treturn sum ? 0 : 1;\n}\n",
    "def f(x, *args, **kw):\n    if x is None:\n        return [y for y in args if y != 0]\n    return {k: v ** 2 for k, v in kw.items()}\n",
    "const f = async (x) => { await fetch(`https://e.org/${x}?q=1&r=%20`); return x ?? null; };\n",
    "SELECT a.id, COUNT(*) FROM t AS a JOIN u ON a.id = u.id WHERE u.v >= 3.14 GROUP BY 1 ORDER BY 2 DESC;\n",
    "fn main() -> Result<(), Box<dyn Error>> {\n    let v: Vec<u8> = vec![0xff; 16];\n    println!(\"{:?}\", v);\n    Ok(())\n}\n",
    "<!DOCTYPE html>\n<html><head><title>x</title></head><body class=\"a b\"><p>1 &lt; 2</p></body></html>\n",
    "{\n  \"name\": \"x\",\n  \"list\": [1, 2.5e-3, null, true],\n  \"nested\": {\"a\": {\"b\": \"\\u00e9\\n\"}}\n}\n",
    "#!/bin/sh\nset -eu\nfor f in *.c; do cc -O2 -o \"${f%.c}\" \"$f\" 2>&1 | tee -a log; done\n",
    "\\begin{equation}\n  \\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}\n\\end{equation}\n",
    "| a | b |\n|---|---|\n| 1 | **2** |\n\n- [x] done\n- [ ] `todo`\n\n```c\nx = y;\n```\n", "a,b,c\n1,2,3\n\"x, y\",\"\"\"q\"\"\",\n",
    "diff --git a/x b/x\n@@ -1,3 +1,4 @@\n-old\n+new\n context\n", "0x1p-3 1e308 -0.0 NaN 1_000_000 0b1010 0o777 1,234.56 50% $9.99 €5 £3 ¥100\n",
]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "👨🏿‍🚀", "🏳️‍🌈", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🇫🇷", "🇯🇵🇩🇪", "❤️", "❤", "☎️", "#️⃣", "1️⃣", "🧑‍💻", "👁️‍🗨️", "🤷🏻‍♀️", "🐻‍❄️", "✨", "🫠", "🪿", "🀄", "⏰", "™️", "‼️"]
SPACES = [" ", "\n", "\t", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u2029", "\u0085", "\v", "\f", "\u2581", "\ufeff"]


class Maker:
    def __init__(self, seed, added, books):
        self.r = random.Random(seed)
        self.added = added
        self.books = books

    def script(self):
        r = self.r
        a, b = r.choice(SCRIPTS)
        out = []
        for _ in range(r.randint(1, 120)):
            if r.random() < 0.15:
                out.append(r.choice([" ", " ", " ", ", ", ". ", "\n", "-"]))
            else:
                out.append(chr(r.randint(a, b)))
        return "".join(out)

    def any_unicode(self):
        r, out = self.r, []
        for _ in range(r.randint(1, 80)):
            c = r.choice([r.randrange(0x80), r.randrange(0x800), r.randrange(0x10000), r.randrange(0x110000)])
            if not 0xD800 <= c < 0xE000:
                out.append(chr(c))
        return "".join(out)

    def sentence(self):
        s = self.r.choice(SENTENCES)
        how = self.r.randrange(5)
        if how == 0:
            a = self.r.randrange(len(s))
            return s[a:a + self.r.randint(1, 40)]
        if how == 1:
            return s.upper()
        if how == 2:
            return s + self.r.choice(SPACES) + self.r.choice(SENTENCES)
        if how == 3:
            return s.replace(" ", self.r.choice(SPACES) * self.r.randint(1, 3))
        return s

    def emoji(self):
        r = self.r
        return "".join(r.choice(EMOJI) + r.choice(["", "", " ", "\u200d", "\ufe0f", "!", "ok"]) for _ in range(r.randint(1, 30)))

    def code(self):
        r = self.r
        s = "".join(r.choice(CODE) for _ in range(r.randint(1, 3)))
        if r.random() < 0.5:
            indent = r.choice(["  ", "    ", "\t", "        ", " \t"]) * r.randint(1, 5)
            s = "".join(indent + line for line in s.splitlines(True))
        if r.random() < 0.4:
            a = r.randrange(len(s))
            s = s[a:a + r.randint(1, 200)]
        return s

    def runs(self):
        r, out = self.r, []
        for _ in range(r.randint(1, 6)):
            n = r.choice([1, 2, 3, r.randint(1, 40), r.randint(25, 70), r.randint(1, 300)])
            c = r.choice(SPACES[:3] * 3 + SPACES + ["a", "=", "-", "_", "*", ".", "0", "é", "日", "😀", "\u0000", "ab", " a", "\n "])
            out.append(c * n)
            if r.random() < 0.5:
                out.append(r.choice(["x", "the", "1", "é", ".", "<", " the"]))
        return "".join(out)

    def specials(self):
        r, out = self.r, []
        for _ in range(r.randint(1, 12)):
            t = r.choice(self.added)
            k = r.random()
            if k < 0.5:
                out.append(t)
            elif k < 0.65:
                out.append(t[:r.randint(1, len(t))])
            elif k < 0.75:
                out.append(t[r.randint(0, len(t) - 1):])
            elif k < 0.8:
                out.append(t.upper())
            if r.random() < 0.6:
                out.append(r.choice([" ", "  ", "\n", "\n\n", "the", " user", "model\n", "<", ">", "|", "é", "\t", "\u2581", "😀"]))
        return "".join(out)

    def real(self):
        r = self.r
        if not self.books:
            return self.sentence()
        b = r.choice(self.books)
        a = r.randrange(len(b))
        s = b[a:a + r.choice([r.randint(1, 80), r.randint(80, 400), r.randint(400, 1600)])]
        return s.encode("utf-8", "ignore").decode("utf-8")

    def numbers(self):
        r = self.r
        return "".join(r.choice("0123456789") * r.choice([1, 1, 1, 4]) + r.choice(["", "", "", ".", ",", " ", "e-", "/", ":", "%"])
                       for _ in range(r.randint(1, 60)))

    def ascii_soup(self):
        r = self.r
        return "".join(chr(r.randrange(128)) for _ in range(r.randint(1, 120)))

    def letters(self):
        r = self.r
        alphabet = r.choice(["abcdefghijklmnopqrstuvwxyz", "etaoin shrdlu", "ABCdef_", "ab", "aeiou rstlne.,\n", "the and"])
        return "".join(r.choice(alphabet) for _ in range(r.randint(1, 250)))

    def mixed(self):
        makers = [self.script, self.sentence, self.emoji, self.runs, self.specials, self.real, self.numbers, self.letters, self.code]
        parts = [self.r.choice(makers)()[:60] for _ in range(self.r.randint(2, 8))]
        return self.r.choice(["", " ", "\n"]).join(parts)

    def long(self):
        """A few thousand characters without a newline: one BPE word."""
        r = self.r
        k = r.randrange(4)
        n = r.randint(1000, 6000)
        if k == 0:
            return "".join(r.choice("abcdefgh ") for _ in range(n))
        if k == 1:
            return r.choice(["a", "ab", "the ", "=", "0", "é", " ", "日本"]) * (n // 2)
        if k == 2:
            return "".join(chr(r.randint(0x4e00, 0x9fff)) for _ in range(n // 3))
        return " ".join(self.real().replace("\n", " ") for _ in range(6))[:n]

    def broken(self):
        """Bytes that are not valid UTF-8 (mostly)."""
        r = self.r
        b = bytearray(self.r.choice([self.sentence, self.script, self.emoji, self.real, self.mixed])()[:120].encode("utf-8"))
        k = r.randrange(7)
        if k == 0:                                           # cut
            return bytes(b[r.randint(0, min(6, len(b))):len(b) - r.randint(0, min(6, len(b)))])
        if k == 1:                                           # random bytes
            return bytes(r.randrange(256) for _ in range(r.randint(1, 80)))
        if k == 2:                                           # high bytes only
            return bytes(r.randrange(0x80, 0x100) for _ in range(r.randint(1, 40)))
        if k == 3:                                           # some bytes replaced
            for _ in range(r.randint(1, 10)):
                b[r.randrange(len(b))] = r.randrange(256)
            return bytes(b)
        if k == 4:                                           # some bytes dropped
            for _ in range(r.randint(1, 6)):
                if len(b) > 1:
                    del b[r.randrange(len(b))]
            return bytes(b)
        bad = [b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80",
               b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"\x80", b"\xbf",
               b"\xe2\x82", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0", b"\xe2", b"\xc3", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc3\xc3\xa9",
               b"\xf0\x9f\x98A", b"\xe2\x82A", b"\xef\xbf\xbd", b"\xf4\x8f\xbf", b"\xe0\xa0", b"\xed\x9f"]
        if k == 5:                                           # known hard cases in the middle of text
            for _ in range(r.randint(1, 5)):
                at = r.randint(0, len(b))
                b[at:at] = r.choice(bad)
            return bytes(b)
        return b"".join(r.choice(bad + [b"a", b" ", b"\n", b"\xc3\xa9"]) for _ in range(r.randint(1, 20)))


PLAN = [("real", 24), ("mixed", 14), ("script", 12), ("broken", 10), ("specials", 8), ("runs", 6), ("code", 6), ("sentence", 5),
        ("any_unicode", 4), ("letters", 4), ("emoji", 3), ("numbers", 2), ("ascii_soup", 2)]


def read_books(folder):
    books = []
    for path in sorted(glob.glob(os.path.join(folder, "*.txt.xz"))):
        with lzma.open(path) as f:
            books.append(f.read(1500000).decode("utf-8", "replace"))
    return books


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("tokenizer")
    ap.add_argument("--out", default="/tmp/w/tokgold")
    ap.add_argument("--records", type=int, default=25000)
    ap.add_argument("--data", default="/work/shared/data")
    args = ap.parse_args()
    tok = Tokenizer.from_file(args.tokenizer)
    with open(args.tokenizer, encoding="utf-8") as f:
        added = [t["content"] for t in json.load(f)["added_tokens"]]
    # unused ones are many and alike: keep a few, and weigh the rest evenly
    added = [t for t in added if not t.startswith("<unused")] + ["<unused0>", "<unused1>", "<unused10>", "<unused99>"]
    books = read_books(args.data)
    make = Maker(20260411, added, books)
    kinds = [k for k, w in PLAN for _ in range(w)]
    os.makedirs(args.out, exist_ok=True)
    total = n_ids = n_bad = 0
    with open(os.path.join(args.out, "corpus.bin"), "wb") as fc, open(os.path.join(args.out, "ids.bin"), "wb") as fi, \
            open(os.path.join(args.out, "kinds.txt"), "w") as fk:
        for i in range(args.records):
            kind = "long" if i % 250 == 249 else make.r.choice(kinds)
            data = getattr(make, kind)() if i else ""
            if isinstance(data, str):
                data = data.encode("utf-8")
            text = data.decode("utf-8", errors="replace")
            n_bad += text.encode("utf-8") != data
            ids = tok.encode(text, add_special_tokens=False).ids
            fc.write(struct.pack("<I", len(data)) + data)
            fi.write(struct.pack("<I%dI" % len(ids), len(ids), *ids))
            fk.write(kind + "\n")
            total += len(data)
            n_ids += len(ids)
    print(f"{args.records} records, {total} bytes, {n_ids} ids, {n_bad} not valid UTF-8, {len(books)} books")


if __name__ == "__main__":
    main()
