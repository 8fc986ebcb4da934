"""The paper's Figures 1 and 4: one crop of an image as every method renders it, with its error as an inset.

python -m bench.paper.panels kleiber docs/figures/baselines.jpg --crop 900,300,320,240 --ratio 200 --corpus corpus

The methods and their fits are those of bench.paper.table1, at the count of a nominal ratio (E5). The inset is the whole
image's error, the mean over channels; white is ``WHITE_ERROR`` or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import smartsplat_baselines
from bench import images
from bench.paper.table1 import methods_of
from smartsplat.arrays import ByteArray
from smartsplat.gaussians import nominal_count
from smartsplat.metrics import psnr

PANEL_WIDTH, TITLE_HEIGHT, GAP = 400, 22, 4  # pixels
PANELS_PER_ROW = 4
INSET_FRACTION = 0.38  # of a panel's width
WHITE_ERROR = 32  # code values

Crop = tuple[int, int, int, int]
"""x, y, width and height, pixels."""


def error_of(original: ByteArray, rendered: ByteArray) -> Image.Image:
    """The mean absolute error over channels, brighter where it is larger."""
    error = np.abs(original.astype(np.int16) - rendered).mean(axis=2)
    return Image.fromarray(np.minimum(error * 255 / WHITE_ERROR, 255).astype(np.uint8))


def panel(title: str, original: ByteArray, rendered: ByteArray, crop: Crop) -> Image.Image:
    """A crop of the rendering below its title, with the error of the whole in a corner unless there is none."""
    x, y, width, height = crop
    rows = round(PANEL_WIDTH * height / width)
    out = Image.new("RGB", (PANEL_WIDTH, rows + TITLE_HEIGHT), "white")
    part = Image.fromarray(rendered[y : y + height, x : x + width])
    out.paste(part.resize((PANEL_WIDTH, rows), Image.Resampling.LANCZOS), (0, TITLE_HEIGHT))
    if rendered is not original:
        inset_width = round(PANEL_WIDTH * INSET_FRACTION)
        inset = error_of(original, rendered)
        inset = inset.resize((inset_width, round(inset_width * inset.height / inset.width)), Image.Resampling.BOX)
        left = PANEL_WIDTH - inset_width
        out.paste("white", (left - 2, TITLE_HEIGHT, PANEL_WIDTH, TITLE_HEIGHT + inset.height + 2))
        out.paste(inset, (left, TITLE_HEIGHT))
    ImageDraw.Draw(out).text((4, 3), title, fill="black", font=ImageFont.load_default(13))
    return out


def grid(panels: Iterable[Image.Image]) -> Image.Image:
    """All panels, ``PANELS_PER_ROW`` in a row."""
    listed = list(panels)
    width, height = (side + GAP for side in listed[0].size)
    columns, rows = min(PANELS_PER_ROW, len(listed)), -(-len(listed) // PANELS_PER_ROW)
    out = Image.new("RGB", (columns * width, rows * height), "white")
    for number, each in enumerate(listed):
        out.paste(each, (number % PANELS_PER_ROW * width, number // PANELS_PER_ROW * height))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", choices=[image.id for image in images.SETS["small"]])
    parser.add_argument("output", type=Path)
    parser.add_argument("--crop", required=True, help="X,Y,W,H in pixels")
    parser.add_argument("--ratio", type=float, default=200, help="nominal")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--methods", nargs="+", default=["paper", "smartsplat"])
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    options = parser.parse_args()
    (subject,) = images.provide(options.corpus, images.chosen(images.SETS["small"], [options.image]))
    original = np.load(subject.path)
    x, y, width, height = map(int, options.crop.split(","))
    count = nominal_count(original.shape[1], original.shape[0], options.ratio)
    panels = [panel(f"original, {count} Gaussians for it", original, original, (x, y, width, height))]
    for name in methods_of(options.methods):
        fitted = smartsplat_baselines.run(name, smartsplat_baselines.Task(original, count, options.steps))
        title = f"{name}, {psnr(original, fitted.pixels):.2f} dB, {len(fitted.data):,} bytes"
        panels.append(panel(title, original, fitted.pixels, (x, y, width, height)))
        print(title, flush=True)
    grid(panels).save(options.output, quality=90)


if __name__ == "__main__":
    main()
