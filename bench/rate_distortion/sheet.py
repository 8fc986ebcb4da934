"""A contact sheet to look at: one place of an image as codecs show it, at 1:1 and at 2:1, at equal bytes.

python -m bench.rate_distortion.sheet picos sheet.png --ratio 200 --codecs avif:s6:eye smartsplat:e5:grain

IMAGE is one of the small set, or a file. Without --at the place is where the image has the most texture. --blind leaves
the titles out and changes the order; what is what is printed.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench import images
from bench.rate_distortion.codecs import codec
from bench.rate_distortion.perceptual import ssimulacra2
from smartsplat.arrays import ByteArray
from smartsplat.metrics import psnr

SIDE, TITLE_HEIGHT, GAP = 448, 22, 4  # pixels
STEP = 32
"""Pixels between the places that are looked at for texture."""


@dataclass(frozen=True)
class Shown:
    """What a column shows: the decoded pixels, uint8 [H, W, 3]."""

    title: str
    pixels: ByteArray


def busiest(pixels: ByteArray, side: int = SIDE) -> tuple[int, int]:
    """Left and top of the square with the most texture: the median of the deviations in its parts of STEP pixels."""
    luma = pixels.astype(np.float32).mean(axis=2)
    rows, columns = (length // STEP for length in luma.shape)
    parts = luma[: rows * STEP, : columns * STEP].reshape(rows, STEP, columns, STEP).std(axis=(1, 3))
    span = max(1, min(side // STEP, rows, columns))
    places = [(x, y) for y in range(rows - span + 1) for x in range(columns - span + 1)]
    x, y = max(places, key=lambda at: float(np.median(parts[at[1] : at[1] + span, at[0] : at[0] + span])))
    return x * STEP, y * STEP


def column(shown: Shown, left: int, top: int) -> Image.Image:
    """A square at 1:1, and below it its middle at 2:1."""
    square = Image.fromarray(shown.pixels[top : top + SIDE, left : left + SIDE])
    quarter = SIDE // 4
    middle = square.crop((quarter, quarter, 3 * quarter, 3 * quarter)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    out = Image.new("RGB", (SIDE, TITLE_HEIGHT + 2 * SIDE + GAP), "white")
    out.paste(square, (0, TITLE_HEIGHT))
    out.paste(middle, (0, TITLE_HEIGHT + SIDE + GAP))
    ImageDraw.Draw(out).text((4, 3), shown.title, fill="black", font=ImageFont.load_default(13))
    return out


def sheet(columns: Sequence[Image.Image]) -> Image.Image:
    """Columns side by side."""
    out = Image.new("RGB", (len(columns) * (SIDE + GAP) - GAP, columns[0].height), "white")
    for index, each in enumerate(columns):
        out.paste(each, (index * (SIDE + GAP), 0))
    return out


def decoded(pixels: ByteArray, name: str, byte_budget: int) -> Shown:
    """The image as a codec shows it.

    Raises:
        ValueError: it has no file of so few bytes.
    """
    tool = codec(name)
    (file,) = tool.encode(pixels, [byte_budget])
    if file is None:
        raise ValueError(f"{name} has no file of {byte_budget} bytes")
    height, width = pixels.shape[:2]
    result = tool.decode(file.data, width, height)
    score = ssimulacra2(pixels, result)
    judged = "" if score is None else f", SSIMULACRA2 {score:.1f}"
    return Shown(f"{name}, {len(file.data):,} bytes, {psnr(pixels, result):.2f} dB{judged}", result)


def _original(name: str, corpus: Path) -> ByteArray:
    path = Path(name)
    if path.suffix:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    (subject,) = images.provide(corpus, images.chosen(images.SETS["small"], [name]))
    pixels: ByteArray = np.load(subject.path)
    return pixels


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("output", type=Path)
    parser.add_argument("--ratio", type=float, default=200)
    parser.add_argument("--codecs", nargs="+", default=["smartsplat:e5:grain", "avif:s6:eye"])
    parser.add_argument("--at", metavar="X,Y", help="left and top of the square, pixels")
    parser.add_argument("--blind", type=int, metavar="SEED", help="no titles, in an order that the seed decides")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    options = parser.parse_args(arguments)
    try:
        pixels = _original(options.image, options.corpus)
        found = [decoded(pixels, name, int(pixels.size / options.ratio)) for name in options.codecs]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    left, top = map(int, options.at.split(",")) if options.at else busiest(pixels)
    if options.blind is not None:
        random.Random(options.blind).shuffle(found)
    for number, each in enumerate(found, 1):
        print(number, each.title)
    if options.blind is not None:
        found = [Shown(str(number), each.pixels) for number, each in enumerate(found, 1)]
    columns = [column(each, left, top) for each in (Shown(f"original, at {left},{top}", pixels), *found)]
    sheet(columns).save(options.output)


if __name__ == "__main__":
    main()
