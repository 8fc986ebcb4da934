"""A strip of panels for the README: the same crop of a picture, original and decoded at several ratios.

python -m bench.strip examples/seeding.jpg docs/figures/demo.jpg --ratios 200 1000 --crop 1900,500,1200,1200
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import smartsplat

PANEL = 480  # side of a panel, pixels


def strip(picture: Path, ratios: list[float], crop: tuple[int, int, int, int], effort: int) -> Image.Image:
    """Panels side by side, each with its ratio and its file's bytes."""
    x, y, width, height = crop
    with Image.open(picture) as image:
        original = image.convert("RGB").crop((x, y, x + width, y + height))
    panels = [(f"original, {picture.stat().st_size:,} bytes as {picture.suffix[1:]}", original)]
    for ratio in ratios:
        data = smartsplat.encode(picture, ratio=ratio, effort=effort)
        panels.append((f"{ratio:g} : 1, {len(data):,} bytes", Image.fromarray(smartsplat.decode(data, region=crop))))
    rows = round(PANEL * height / width)
    out = Image.new("RGB", (PANEL * len(panels), rows + 24), "white")
    draw = ImageDraw.Draw(out)
    for index, (title, panel) in enumerate(panels):
        out.paste(panel.resize((PANEL, rows), Image.Resampling.LANCZOS), (PANEL * index, 24))
        draw.text((PANEL * index + 6, 4), title, fill="black", font=ImageFont.load_default(14))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--ratios", nargs="+", type=float, default=[200, 1000])
    parser.add_argument("--crop", required=True, help="X,Y,W,H in pixels")
    parser.add_argument("--effort", type=int, default=5)
    options = parser.parse_args()
    x, y, width, height = (int(number) for number in options.crop.split(","))
    strip(options.picture, options.ratios, (x, y, width, height), options.effort).save(options.output, quality=90)


if __name__ == "__main__":
    main()
