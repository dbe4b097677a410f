"""Loss curves of one or more loss.csv files as a small SVG, and as a Markdown table on stdout."""

import argparse
import csv
import math
from pathlib import Path

W, H, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 52, 150, 16, 40
COLOURS = ("#1f6fb4", "#d1631a", "#2c8c4a", "#8a4fa0")


def rows(path):
    with open(path, newline="") as f:
        return [r for r in csv.DictReader(f)]


def series(table, field):
    return [(int(r["tokens"]) / 1e6, float(r[field])) for r in table if r[field]]


def svg(curves):
    """curves: (label, points, dashed). Tokens in millions against nats a token, the latter on a log scale."""
    points = [p for _, ps, _ in curves for p in ps]
    xmax = max(x for x, _ in points)
    ymin, ymax = min(y for _, y in points) * 0.97, min(8.6, max(y for _, y in points))

    def at(x, y):
        k = math.log(min(y, ymax) / ymin) / math.log(ymax / ymin)
        return LEFT + (W - LEFT - RIGHT) * x / xmax, H - BOTTOM - (H - TOP - BOTTOM) * k

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="sans-serif" font-size="12">',
           f'<rect width="{W}" height="{H}" fill="white"/>']
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10) if xmax / s <= 8)
    for i in range(int(xmax / step) + 1):
        x, _ = at(i * step, ymin)
        out.append(f'<path d="M{x:.1f} {TOP}V{H - BOTTOM}" stroke="#ddd"/>'
                   f'<text x="{x:.1f}" y="{H - BOTTOM + 16}" text-anchor="middle">{i * step:g}</text>')
    for y in (1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 8):
        if ymin <= y <= ymax:
            _, v = at(0, y)
            out.append(f'<path d="M{LEFT} {v:.1f}H{W - RIGHT}" stroke="#ddd"/>'
                       f'<text x="{LEFT - 6}" y="{v + 4:.1f}" text-anchor="end">{y:g}</text>')
    for i, (label, ps, dashed) in enumerate(curves):
        c = COLOURS[i // 2 % len(COLOURS)]
        d = "M" + "L".join("%.1f %.1f" % at(*p) for p in ps)
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        out.append(f'<path d="{d}" fill="none" stroke="{c}" stroke-width="1.6"{dash}/>')
        y = TOP + 14 + 18 * i
        out.append(f'<path d="M{W - RIGHT + 8} {y - 4}h22" stroke="{c}" stroke-width="1.6"{dash}/>'
                   f'<text x="{W - RIGHT + 36}" y="{y}">{label}</text>')
    out.append(f'<text x="{(LEFT + W - RIGHT) / 2}" y="{H - 6}" text-anchor="middle">million tokens with loss</text>'
               f'<text x="14" y="{H / 2}" transform="rotate(-90 14 {H / 2})" text-anchor="middle">nats a token</text></svg>')
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("csv", nargs="+", help="NAME=loss.csv")
    ap.add_argument("--out", required=True, help="SVG file")
    args = ap.parse_args()
    curves = []
    for spec in args.csv:
        name, path = spec.split("=", 1)
        t = rows(path)
        curves += [(name + " train", series(t, "train_nats"), False), (name + " held out", series(t, "valid_nats"), True)]
        print(f"\n{name}\n\n| step | million tokens | minutes | epochs | lr | train nats | held-out nats |\n"
              "|---|---|---|---|---|---|---|")
        for r in t:
            if r["valid_nats"]:
                print(f"| {r['step']} | {int(r['tokens']) / 1e6:.2f} | {int(r['seconds']) / 60:.0f} | {r['epochs']} | "
                      f"{r['lr']} | {r['train_nats']} | {r['valid_nats']} |")
    Path(args.out).write_text(svg(curves))


if __name__ == "__main__":
    main()
