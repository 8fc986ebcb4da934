"""A strip for the README: the same crop of an image, original and decoded at several ratios.

python -m bench.figures.strip examples/seeding.jpg docs/figures/demo.jpg --ratios 200 1000 --crop 1900,500,1200,1200
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import smartsplat

CROP_WIDTH, TITLE_HEIGHT = 480, 24  # pixels


def strip(path: Path, ratios: list[float], crop: tuple[int, int, int, int], effort: int) -> Image.Image:
    """The crops side by side, each with its ratio and its file's bytes."""
    x, y, width, height = crop
    with Image.open(path) as image:
        original = image.convert("RGB").crop((x, y, x + width, y + height))
    crops = [(f"original, {path.stat().st_size:,} bytes as {path.suffix[1:]}", original)]
    for ratio in ratios:
        data = smartsplat.encode(path, ratio=ratio, effort=effort)
        crops.append((f"{ratio:g} : 1, {len(data):,} bytes", Image.fromarray(smartsplat.decode(data, region=crop))))
    rows = round(CROP_WIDTH * height / width)
    out = Image.new("RGB", (CROP_WIDTH * len(crops), rows + TITLE_HEIGHT), "white")
    draw = ImageDraw.Draw(out)
    for index, (title, image) in enumerate(crops):
        out.paste(image.resize((CROP_WIDTH, rows), Image.Resampling.LANCZOS), (CROP_WIDTH * index, TITLE_HEIGHT))
        draw.text((CROP_WIDTH * index + 6, 4), title, fill="black", font=ImageFont.load_default(14))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--ratios", nargs="+", type=float, default=[200, 1000])
    parser.add_argument("--crop", required=True, help="X,Y,W,H in pixels")
    parser.add_argument("--effort", type=int, default=5)
    options = parser.parse_args()
    x, y, width, height = (int(number) for number in options.crop.split(","))
    strip(options.image, options.ratios, (x, y, width, height), options.effort).save(options.output, quality=90)


if __name__ == "__main__":
    main()
