"""The paper's Figures 1 and 4: one crop of a picture as every method draws it, with what it gets wrong as an inset.

python -m bench.panels kleiber docs/figures/rivals.jpg --crop 900,300,320,240 --ratio 200 --corpus corpus

The methods and their fits are those of bench.table1, at the count of a nominal ratio (E5). The inset is the whole
picture's error, the mean over channels; white is ``WHITE`` or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from bench import images
from bench.table1 import methods_of
from smartsplat import baselines
from smartsplat.gaussians import nominal_count
from smartsplat.metrics import psnr

PANEL, ACROSS, TITLE = 400, 4, 22  # pixels, panels in a row, pixels
INSET = 0.38  # of a panel's width
WHITE = 32  # levels

Pixels = npt.NDArray[np.uint8]


def error_of(original: Pixels, drawn: Pixels) -> Image.Image:
    """The mean absolute error over channels, brighter where it is larger."""
    error = np.abs(original.astype(np.int16) - drawn).mean(axis=2)
    return Image.fromarray(np.minimum(error * 255 / WHITE, 255).astype(np.uint8))


def panel(title: str, original: Pixels, drawn: Pixels, crop: tuple[int, int, int, int]) -> Image.Image:
    """A crop of what was drawn below its title, with the error of the whole in a corner unless there is none."""
    x, y, width, height = crop
    rows = round(PANEL * height / width)
    out = Image.new("RGB", (PANEL, rows + TITLE), "white")
    part = Image.fromarray(drawn[y : y + height, x : x + width])
    out.paste(part.resize((PANEL, rows), Image.Resampling.LANCZOS), (0, TITLE))
    if drawn is not original:
        across = round(PANEL * INSET)
        inset = error_of(original, drawn)
        inset = inset.resize((across, round(across * inset.height / inset.width)), Image.Resampling.BOX)
        out.paste("white", (PANEL - across - 2, TITLE, PANEL, TITLE + inset.height + 2))
        out.paste(inset, (PANEL - across, TITLE))
    ImageDraw.Draw(out).text((4, 3), title, fill="black", font=ImageFont.load_default(13))
    return out


def grid(panels: Iterable[Image.Image]) -> Image.Image:
    """All panels, ``ACROSS`` in a row."""
    every = list(panels)
    width, height = every[0].size
    out = Image.new("RGB", (min(ACROSS, len(every)) * (width + 4), -(-len(every) // ACROSS) * (height + 4)), "white")
    for number, one in enumerate(every):
        out.paste(one, (number % ACROSS * (width + 4), number // ACROSS * (height + 4)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("picture", choices=[picture.id for picture in images.SETS["small"]])
    parser.add_argument("output", type=Path)
    parser.add_argument("--crop", required=True, help="X,Y,W,H in pixels")
    parser.add_argument("--ratio", type=float, default=200, help="nominal")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--methods", nargs="+", default=["paper", "smartsplat"])
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    options = parser.parse_args()
    (picture,) = (picture for picture in images.SETS["small"] if picture.id == options.picture)
    corpus = options.corpus.resolve()
    images.provide(corpus, (picture,))
    original = np.load(images.prepared(picture, corpus))
    x, y, width, height = map(int, options.crop.split(","))
    count = nominal_count(original.shape[1], original.shape[0], options.ratio)
    panels = [panel(f"original, {count} Gaussians for it", original, original, (x, y, width, height))]
    for name in methods_of(options.methods):
        fitted = baselines.run(name, baselines.Task(original, count, options.steps))
        title = f"{name}, {psnr(original, fitted.pixels):.2f} dB, {len(fitted.data):,} bytes"
        panels.append(panel(title, original, fitted.pixels, (x, y, width, height)))
        print(title, flush=True)
    grid(panels).save(options.output, quality=90)


if __name__ == "__main__":
    main()
