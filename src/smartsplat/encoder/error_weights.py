"""Weights of errors: where an image has to be right, and where it need not be. One plane for step, sampling, pruning.

A caller gives them (``encode(weights=)``), opacity makes some: what is transparent costs nothing. And so does the
image itself where the fit is for the eye: errors show less where it is busy.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.encoder.pyramid import Frame, reduced
from smartsplat.errors import SettingsError
from smartsplat.gaussians import CUTOFF, Gaussians
from smartsplat.images.image import SourceImage, flatten
from smartsplat.images.strips import rounded_to_8_bits, row_slices
from smartsplat.limits import Limits
from smartsplat.render import COARSE_CELL, luma

MIN_ALPHA_WEIGHT = 2
"""Of 255, for what is transparent: colours go on there as they are nearby, and shrinking mixes in no black."""

MAX_LEVELS = 12
"""Of the pyramid that Gaussians are looked up in."""

STRIP_ROWS = 256
"""Rows that are worked on at once."""

BUSY_CELL = 8
"""Side of the squares whose variance of luma says how busy they are, pixels."""

BUSY_BLUR = 1.2
"""Standard deviation of what it is averaged over, cells: about a box of 32 pixels."""

QUIET_DEVIATION = 10 / 255
"""Standard deviation of luma below which a place is as good as flat."""

EYE_UNIT = 32
"""What stands for 1 in weights for the eye, which are up to 8, and 1 in the mean."""

MIN_EYE_WEIGHT = 0.1


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
    return _product(first, second)


def _product(first: ByteArray, second: ByteArray) -> ByteArray:
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
    strips = list(row_slices(len(pixels), 1, STRIP_ROWS))
    brightest = max(float(luma(pixels[rows]).max()) for rows in strips)
    if brightest == 0:
        raise SettingsError("the weights are black everywhere")
    weights = np.empty(pixels.shape[:2], np.uint8)
    for rows in strips:
        weights[rows] = np.rint(luma(pixels[rows]) * np.float32(255 / brightest))
    return weights


def eye_weights(pixels: SampleArray, given: ByteArray | None) -> ByteArray:
    """Weights for the eye, uint8 [H, W], ``EYE_UNIT`` being 1: (variance + QUIET_DEVIATION^2)^-1/2 of luma around.

    The eye forgives most where there is most to see, as 1 - SSIM, about e^2 / (2 variance), does in full. It does not
    beside an edge on flat ground: the variance is that of small squares, and its geometric mean is taken over those
    around, of which an edge is in few. (One variance of all pixels around left ghosts of edges.)

    Args:
        pixels: uint8 or uint16 [H, W, C].
        given: weights [H, W] that these multiply, 255 being 1; None: all are 1.
    """
    height, width = pixels.shape[:2]
    importance = None if given is None else _cell_means(given.astype(np.float32))
    plane = eye_plane(eye_levels(*luma_moments(pixels), importance), height, width)
    return plane if given is None else _product(given, plane)


def eye_levels(mean: FloatArray, square: FloatArray, importance: FloatArray | None = None) -> ByteArray:
    """``eye_weights`` of cells of ``BUSY_CELL`` pixels a side, [rows, columns].

    Args:
        mean, square: ``luma_moments``.
        importance: [rows, columns] weights given; None: all are 1.
    """
    variance = np.maximum(square - mean * mean, 0) + np.float32(QUIET_DEVIATION**2)
    weights = np.exp(-gaussian_filter(np.log(variance), BUSY_BLUR, mode="nearest") / 2)
    importance = np.ones_like(weights) if importance is None else np.maximum(importance, np.float32(1e-3))
    weights /= (weights * importance).sum() / importance.sum()
    levels: ByteArray = np.rint(EYE_UNIT * np.maximum(weights, MIN_EYE_WEIGHT)).clip(1, 255).astype(np.uint8)
    return levels


def eye_plane(levels: ByteArray, height: int, width: int) -> ByteArray:
    """The weights of pixels, [H, W], from those of cells."""
    rows, columns = levels.shape
    whole = Image.fromarray(levels).resize((columns * BUSY_CELL, rows * BUSY_CELL), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(whole)[:height, :width])


def luma_moments(pixels: SampleArray) -> tuple[FloatArray, FloatArray]:
    """Means of luma in [0, 1] and of its square over squares of ``BUSY_CELL`` pixels, [rows, columns] each."""
    moments = []
    for rows in row_slices(len(pixels), 1, STRIP_ROWS):
        plane = luma(rounded_to_8_bits(pixels[rows])) / np.float32(255)
        moments.append((_cell_means(plane), _cell_means(plane * plane)))
    means, squares = (np.concatenate(parts) for parts in zip(*moments, strict=True))
    return means, squares


def _cell_means(plane: FloatArray, side: int = BUSY_CELL) -> FloatArray:
    """Means over squares of ``side`` pixels, [rows, columns]; the edge repeats outwards."""
    padded = np.pad(plane, [(0, -length % side) for length in plane.shape], mode="edge")
    means: FloatArray = padded.reshape(len(padded) // side, side, -1, side).mean(axis=(1, 3))
    return means


class WeightPyramid:
    """Weights [H, W], ``plane``, of which ``unit`` stands for 1, and their means over squares of 2^k pixels.

    Args:
        frame: where they are in an image, if they are not all of it.
    """

    def __init__(self, weights: ByteArray, unit: int = 255, frame: Frame | None = None) -> None:
        self.plane, self.unit = weights, unit
        self._origin = np.array([frame.x, frame.y] if frame else [0, 0], np.float32)
        self._factor = frame.factor if frame else 1
        levels = [weights]
        while len(levels) < MAX_LEVELS and min(levels[-1].shape) > 1:
            levels.append(reduced(levels[-1][..., None], 2)[..., 0])
        self._coarser = np.concatenate([level.ravel() for level in levels[1:]] or [np.zeros(0, np.uint8)])
        self._columns = np.array([level.shape[1] for level in levels])
        sizes = [level.size for level in levels[1:]]
        self._begin = np.array([0, 0, *np.cumsum(sizes)[:-1]])[: len(levels)]  # of a level, in ``_coarser``

    def at(self, gaussians: Gaussians) -> FloatArray:
        """The mean weight where each Gaussian is, [N], above 0: over a square of about its shorter half extent.

        A Gaussian whose numbers are none has some weight, too.
        """
        factor = self._factor
        side = CUTOFF / factor * np.nan_to_num(np.minimum(*gaussians.scale.T)).clip(factor / CUTOFF, Limits().side)
        level = np.minimum(np.rint(np.log2(side)).astype(np.intp), len(self._columns) - 1)
        height, width = self.plane.shape
        mean = (np.nan_to_num(gaussians.mean) - self._origin) / np.float32(factor)
        column, row = mean.clip(0, [width - 1, height - 1]).astype(np.intp).T >> level
        place = self._begin[level] + row * self._columns[level] + column
        own = level == 0
        levels = np.empty(len(gaussians), np.uint8)
        levels[own] = self.plane[row[own], column[own]]
        levels[~own] = self._coarser[place[~own]]
        return np.maximum(levels, 1).astype(np.float32) / np.float32(self.unit)

    def mean_square_error(self, reference: SampleArray, parts: Iterable[SampleArray], coarse: float = 0.0) -> float:
        """``mean_square_error`` by these weights."""
        return mean_square_error(reference, parts, self.plane, coarse) * 255 / self.unit


def mean_square_error(
    reference: SampleArray, parts: Iterable[SampleArray], weights: ByteArray | None, coarse: float = 0.0
) -> float:
    """Of an image in strips against ``reference`` [H, W, C] of the same type, samples in [0, 1].

    Args:
        parts: strips of rows; each but the last has a multiple of ``COARSE_CELL`` of them.
        weights: [H, W] of the errors, 255 being 1; None: all are 1.
        coarse: part of it that is of mean errors over coarse cells, as in ``StepSettings``.
    """
    total, top = 0.0, 0
    for part in parts:
        for begin in range(0, len(part), STRIP_ROWS):
            rows = slice(top + begin, min(top + begin + STRIP_ROWS, top + len(part)))
            difference = reference[rows].astype(np.float32) - part[begin : begin + STRIP_ROWS]
            factor = np.float32(1) if weights is None else weights[rows, :, None] / np.float32(255)
            total += (1 - coarse) * float((factor * np.square(difference)).sum(dtype=np.float64))
            if coarse:
                total += coarse * _coarse_square(difference, np.broadcast_to(factor, (*difference.shape[:2], 1)))
        top += len(part)
    return total / (float(np.iinfo(reference.dtype).max) ** 2 * reference.size)


def _coarse_square(error: FloatArray, factor: FloatArray) -> float:
    """The sum over coarse cells of (sum of factor x error)^2 / sum of factor; [h, w, C] and [h, w, 1]."""

    def sums(values: FloatArray) -> FloatArray:
        height, width, channels = values.shape
        padded = np.pad(values, ((0, -height % COARSE_CELL), (0, -width % COARSE_CELL), (0, 0)))
        grid = padded.reshape(-(-height // COARSE_CELL), COARSE_CELL, -1, COARSE_CELL, channels)
        total: FloatArray = grid.sum(axis=(1, 3))
        return total

    by = np.maximum(sums(factor), np.float32(1e-6))
    return float((np.square(sums(factor * error)) / by).sum(dtype=np.float64))
