"""The error of a file near the seams of blocks and elsewhere, as a line of JSON, in a process of its own.

python -m bench.scale.errors IMAGE.tif FILE.sspl --block 4096

``--block`` says where seams are, or would be in an image that was fitted whole.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import smartsplat
from smartsplat.arrays import SampleArray
from smartsplat.encoder.blocks.boxes import Box, blocks_of
from smartsplat.encoder.fit import psnr_of_mean_square
from smartsplat.images.image import read_image
from smartsplat.images.spooled import release

NEAR = 64
"""Pixels on each side of a seam."""


def near_seams(box: Box, blocks: list[Box]) -> np.ndarray:
    """Which of the pixels of a box are near a seam, bool [h, w]."""
    columns = np.zeros(box.width, bool)
    rows = np.zeros(box.height, bool)
    for seam in {block.x for block in blocks} - {0}:
        columns[max(0, seam - NEAR - box.x) : max(0, seam + NEAR - box.x)] = True
    for seam in {block.y for block in blocks} - {0}:
        rows[max(0, seam - NEAR - box.y) : max(0, seam + NEAR - box.y)] = True
    found: np.ndarray = rows[:, None] | columns
    return found


def errors(pixels: SampleArray, file: Path, side: int) -> dict[str, float]:
    """PSNR, and mean squared errors of samples in [0, 255] near seams and elsewhere; grain is no part of them."""
    height, width, channels = pixels.shape
    blocks, reader = blocks_of(width, height, side), smartsplat.open(file)
    sums, counts = np.zeros(2), np.zeros(2)
    for box in blocks_of(width, height, 2048):
        decoded = reader.read(region=(box.x, box.y, box.width, box.height), grain=False)
        squares = (decoded.astype(np.float32) - pixels[box.slices]) ** 2
        release(pixels)
        near = near_seams(box, blocks)
        for index, chosen in enumerate((~near, near)):
            sums[index] += squares[chosen].sum(dtype=np.float64)
            counts[index] += np.count_nonzero(chosen) * channels
    elsewhere, seams = sums / np.maximum(counts, 1)
    psnr = psnr_of_mean_square(sums.sum() / counts.sum() / 255**2)
    return {"psnr": round(psnr, 3), "seam_error": round(seams, 3), "other_error": round(elsewhere, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--block", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(errors(read_image(options.image).pixels, options.file, options.block)))


if __name__ == "__main__":
    main()
