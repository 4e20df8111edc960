#!/usr/bin/python3
"""RUN/log.jsonl as a picture: curve.py RUN/log.jsonl > curve.svg. Needs Python alone."""
import json
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 320, 48, 36, 16
COLOURS = {"plain": "#8a97a8", "prompts": "#d08a3c", "heldout": "#1f6fb2"}
TITLES = {
    "plain": "files trained on",
    "prompts": "prompts and messages",
    "heldout": "held-out projects",
}


def smooth(points, n=5):
    values = [v for _, v in points]
    return [
        (points[i][0], sum(values[max(0, i - n) : i + 1]) / len(values[max(0, i - n) : i + 1]))
        for i in range(len(points))
    ]


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    series = {k: [(r["minutes"], r[k]) for r in rows if k in r] for k in COLOURS}
    series = {k: p if k == "heldout" else smooth(p) for k, p in series.items() if p}
    last = max(r["minutes"] for r in rows)
    values = [v for points in series.values() for _, v in points]
    low, high = int(2 * min(values)) / 2, int(2 * max(values) + 1) / 2

    def x(minutes):
        return LEFT + (WIDTH - LEFT - 12) * minutes / last

    def y(value):
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for i in range(int(2 * (high - low)) + 1):
        v = low + i / 2
        out.append(f'<path d="M{LEFT} {y(v):.1f}H{WIDTH - 12}" stroke="#e4e7eb"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    for minutes in range(0, int(last) + 1, 10):
        place = f'x="{x(minutes):.1f}" y="{HEIGHT - 18}"'
        out.append(f'<text {place} text-anchor="middle">{minutes}</text>')
    out.append(f'<text x="{WIDTH - 12}" y="{HEIGHT - 4}" text-anchor="end">minutes</text>')
    out.append(f'<text x="{LEFT}" y="{HEIGHT - 4}">nats per token</text>')
    for i, (name, points) in enumerate(series.items()):
        path = "L".join(f"{x(m):.1f} {y(v):.1f}" for m, v in points)
        out.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        out.append(
            f'<text x="{WIDTH - 20}" y="{TOP + 14 + 16 * i}" text-anchor="end" '
            f'fill="{COLOURS[name]}">{TITLES[name]}</text>'
        )
    print("\n".join(out) + "\n</svg>")


if __name__ == "__main__":
    main()
