"""VGG16 (Simonyan and Zisserman, 2015) in numpy, for DISTS and the Wasserstein distortion.

Both see squares of TILE pixels at 1:1 and are means over them: what happens to texture is not to be shrunk away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bench.rate_distortion.convolution import convolved
from smartsplat.arrays import ByteArray, FloatArray

LAYERS = (2, 2, 3, 3, 3)
"""Convolutions of each stage."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
TILE = 512
MAX_TILES_A_SIDE = 2

Weights = dict[str, FloatArray]
"""By their path in the tree, "VGG16_0/Conv_0/kernel" for one."""


def tiles(image: ByteArray) -> list[ByteArray]:
    """At most MAX_TILES_A_SIDE squares along each side, evenly placed; the whole of a smaller side."""

    def places(length: int) -> list[slice]:
        count = min(max(length // TILE, 1), MAX_TILES_A_SIDE)
        gap = max(length - count * TILE, 0) / (count + 1)
        begins = (round(gap * (at + 1)) + at * TILE for at in range(count))
        return [slice(begin, begin + TILE) for begin in begins]

    return [image[rows, columns] for rows in places(image.shape[0]) for columns in places(image.shape[1])]


def normalized(tile: ByteArray) -> FloatArray:
    """An image as the network takes it."""
    values: FloatArray = (tile.astype(np.float32) / 255 - MEAN) / DEVIATION
    return values


def maps(tile: ByteArray, vgg: Weights, pool: Callable[[FloatArray], FloatArray]) -> Iterator[FloatArray]:
    """The map at the end of each stage, [h, w, channels], with ``pool`` between the stages."""
    values, layer = normalized(tile), 0
    for stage, layers in enumerate(LAYERS):
        if stage:
            values = pool(values)
        for _ in range(layers):
            name = f"VGG16_0/Conv_{layer}"
            values = np.maximum(convolved(values, vgg[f"{name}/kernel"], 1, 1) + vgg[f"{name}/bias"], 0)
            layer += 1
        yield values
