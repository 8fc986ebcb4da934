"""Wasserstein distortion (Qiu, Wagner, Ballé, Theis, CISS 2024) of VGG16's maps; 0 for equal images.

The local distributions of each channel are compared as if they were normal: the sum over maps of the mean over channels
and positions of (difference of means)^2 + (difference of standard deviations)^2. What is local follows Ballé et al.
(CVPR 2025): k times a filter of 3 x 3, half the samples left out after each but the last; k = LOG2_SIGMA at full size
and one less after each pooling. At k = 0 the maps are compared place by place. Seen are the image, as the network takes
it, and the first four stages.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import convolve1d

from bench.rate_distortion import vgg as vgg16
from bench.rate_distortion.vgg import Weights, tiles
from smartsplat.arrays import ByteArray, FloatArray

LOG2_SIGMA = 3
STAGES = 4

Statistics = tuple[FloatArray, FloatArray | None]
"""Local means and standard deviations of a map, [h, w, channels]; no deviations where it is compared by place."""


class Wasserstein:
    """Distortions of one reference, whose statistics are worked out once.

    Args:
        reference: uint8 [H, W, 3].
        vgg: weights of VGG16.
    """

    def __init__(self, reference: ByteArray, vgg: Weights) -> None:
        self.vgg = vgg
        self.expected = [list(statistics(tile, vgg)) for tile in tiles(reference)]

    def distortion(self, image: ByteArray) -> float:
        """The mean over the tiles."""
        pairs = zip(self.expected, tiles(image), strict=True)
        return float(np.mean([_distortion(expected, statistics(tile, self.vgg)) for expected, tile in pairs]))


def _distortion(expected: list[Statistics], actual: Iterator[Statistics]) -> float:
    total = 0.0
    for (mean_x, deviation_x), (mean_y, deviation_y) in zip(expected, actual, strict=True):
        total += float(np.square(mean_x - mean_y).mean(dtype=np.float64))
        if deviation_x is not None and deviation_y is not None:
            total += float(np.square(deviation_x - deviation_y).mean(dtype=np.float64))
    return total


def statistics(tile: ByteArray, vgg: Weights) -> Iterator[Statistics]:
    """Those of the image and of each map."""
    yield local_statistics(vgg16.normalized(tile), LOG2_SIGMA)
    for stage, values in enumerate(itertools.islice(vgg16.maps(tile, vgg, maxima), STAGES)):
        yield local_statistics(values, LOG2_SIGMA - stage)


def local_statistics(values: FloatArray, times: int) -> Statistics:
    """Of a map [h, w, channels], over what ``times`` filters reach."""
    if times == 0:
        return values, None
    means, squares = values, np.square(values)
    for at in range(times):
        if at:
            means, squares = means[::2, ::2], squares[::2, ::2]
        means, squares = lowpass(means), lowpass(squares)
    return means, np.sqrt(np.maximum(squares - np.square(means), 0))


def lowpass(values: FloatArray) -> FloatArray:
    """1/4, 1/2, 1/4 along both sides, zeros around."""
    filtered: FloatArray = values
    for axis in (0, 1):
        filtered = convolve1d(filtered, (0.25, 0.5, 0.25), axis, mode="constant")
    return filtered


def maxima(values: FloatArray) -> FloatArray:
    """The largest of 2 x 2; an odd last row or column is left out, as VGG16 does."""
    height, width, channels = values.shape
    fours = values[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, channels)
    largest: FloatArray = fours.max(axis=(1, 3))
    return largest
