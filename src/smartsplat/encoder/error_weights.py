"""Weights of errors: where an image has to be right, and where it need not be. One plane for step, sampling, pruning.

A caller gives them (``encode(weights=)``), and opacity makes some: what is transparent costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.encoder.pyramid import reduced
from smartsplat.errors import SettingsError
from smartsplat.gaussians import CUTOFF, Gaussians
from smartsplat.images.image import SourceImage, flatten
from smartsplat.images.strips import row_slices
from smartsplat.limits import Limits

MIN_ALPHA_WEIGHT = 2
"""Of 255, for what is transparent: colours go on there as they are nearby, and shrinking mixes in no black."""

MAX_LEVELS = 12
"""Of the pyramid that Gaussians are looked up in."""

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601), as Pillow's."""

STRIP_ROWS = 256
"""Rows that are worked on at once."""


def alpha_weights(alpha: SampleArray) -> ByteArray:
    """The squares of opacity [H, W], uint8: what errors of a colour add to those of the composite, over any background.

    The composite's error is alpha times the colour's, and the loss squares it.
    """
    white = int(np.iinfo(alpha.dtype).max)
    weights = np.empty(alpha.shape, np.uint8)
    for rows in row_slices(len(alpha), 1, STRIP_ROWS):
        opacity = alpha[rows] / np.float32(white)
        weights[rows] = np.maximum(np.rint(255 * opacity * opacity), MIN_ALPHA_WEIGHT)
    return weights


def product(first: ByteArray | None, second: ByteArray | None) -> ByteArray | None:
    """Both weights multiplied; None is 1 everywhere. What is black in neither is not black in the product."""
    if first is None or second is None:
        return second if first is None else first
    result = np.empty_like(first)
    for rows in row_slices(len(first), 1, STRIP_ROWS):
        wide = first[rows].astype(np.uint16) * second[rows]
        result[rows] = np.maximum((wide + 127) // 255, wide > 0)
    return result


def weights_of(mask: SourceImage, source: SourceImage) -> ByteArray:
    """A grey image as weights [H, W]: its brightest is 1, black 0, transparent black; colours count by their luma.

    What is dark all over weighs nothing less than what is white all over: one place is weighed against another.

    Raises:
        SettingsError: it has another size than ``source``, or is black everywhere.
    """
    if (mask.width, mask.height) != (source.width, source.height):
        raise SettingsError(
            f"weights of {mask.width} x {mask.height} pixels do not fit an image of {source.width} x {source.height}"
        )
    pixels = flatten(mask, (0, 0, 0)).pixels
    luma = np.array(LUMA if pixels.shape[2] == 3 else (1.0,), np.float32)
    strips = list(row_slices(len(pixels), 1, STRIP_ROWS))
    brightest = max(float((pixels[rows] @ luma).max()) for rows in strips)
    if brightest == 0:
        raise SettingsError("the weights are black everywhere")
    weights = np.empty(pixels.shape[:2], np.uint8)
    for rows in strips:
        weights[rows] = np.rint(pixels[rows] @ luma * np.float32(255 / brightest))
    return weights


def mean_square_error(reference: SampleArray, parts: Iterable[SampleArray], weights: ByteArray | None) -> float:
    """Of an image in strips against ``reference`` [H, W, C] of the same type, samples in [0, 1], errors by weights."""
    total, top = 0.0, 0
    for part in parts:
        for begin in range(0, len(part), STRIP_ROWS):
            rows = slice(top + begin, min(top + begin + STRIP_ROWS, top + len(part)))
            difference = reference[rows].astype(np.float32) - part[begin : begin + STRIP_ROWS]
            square = np.square(difference, out=difference).sum(axis=2)
            if weights is not None:
                square *= weights[rows] / np.float32(255)
            total += float(square.sum(dtype=np.float64))
        top += len(part)
    return total / (float(np.iinfo(reference.dtype).max) ** 2 * reference.size)


class WeightPyramid:
    """Weights [H, W], ``plane``, and their means over squares of 2^k pixels, for Gaussians of all sizes."""

    def __init__(self, weights: ByteArray) -> None:
        self.plane = weights
        self._levels = [weights]
        while len(self._levels) < MAX_LEVELS and min(self._levels[-1].shape) > 1:
            self._levels.append(reduced(self._levels[-1][..., None], 2)[..., 0])

    def at(self, gaussians: Gaussians) -> FloatArray:
        """The mean weight where each Gaussian is, [N] in (0, 1]: over a square of about its shorter half extent.

        A Gaussian whose numbers are none has some weight, too.
        """
        side = CUTOFF * np.nan_to_num(gaussians.scale.min(axis=1)).clip(0, Limits().side)
        level = np.clip(np.rint(np.log2(np.maximum(side, 1))), 0, len(self._levels) - 1).astype(np.intp)
        height, width = self.plane.shape
        mean = np.nan_to_num(gaussians.mean).clip(0, [width - 1, height - 1])
        result = np.empty(len(gaussians), np.float32)
        for index in np.unique(level):
            own = np.flatnonzero(level == index)
            plane = self._levels[index]
            column, row = (mean[own] / 2.0**index).astype(np.intp).T
            result[own] = np.maximum(plane[row, column], 1) / np.float32(255)
        return result
