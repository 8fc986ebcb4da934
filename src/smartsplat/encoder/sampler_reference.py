"""The definition of the sampler: numpy, float64, loops, no options.

Slow on purpose: every sampler is tested against this one. Random numbers are part of the definition: those of a tile,
or of an image of cells, are splitmix64's (Steele, Lea and Flood, 2014), a counter from a key on with its bits mixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray, IndexArray, SampleArray
from smartsplat.encoder.sampler import BLUR_RADIUS, MIN_WEIGHT, CellRequest, SampledCells, TileBudgets
from smartsplat.render import View, reference

FULL_RADIUS = 24.0
"""Pixels: up to this radius a disc counts every pixel, beyond about ``LATTICE_PIXELS`` of them."""

LATTICE_PIXELS = 1000.0
UNIT_WEIGHT = 1 << 20
"""The weights of a median are multiples of one over this."""


def uniform_numbers(key: int, count: int) -> DoubleArray:
    """The first ``count`` random numbers of a key, multiples of 2^-53 in [0, 1)."""
    z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2**53, np.float64)


def race(weights: npt.NDArray[np.floating[Any]], count: int, key: int) -> IndexArray:
    """Places, rising, of the ``count`` first in an exponential race: a sample by weight without replacement."""
    weight = np.maximum(weights.astype(np.float64), MIN_WEIGHT)
    time = -np.log1p(-uniform_numbers(key, weights.size)) / weight
    return np.sort(np.argsort(time, kind="stable")[:count])


def features(pixels: ByteArray, window: int) -> tuple[DoubleArray, DoubleArray]:
    """E9 for every pixel of an image [H, W, C]: gradient and variance, [H, W], means over the channels."""
    height, width, channels = pixels.shape
    halo = max(window // 2, 1)
    padded = np.pad(pixels, ((halo, halo), (halo, halo), (0, 0)), mode="edge").astype(np.float64)
    gradient, variance = np.zeros((height, width)), np.zeros((height, width))
    smoothing, radius = {-1: 1, 0: 2, 1: 1}, window // 2
    for y in range(height):
        for x in range(width):
            around = padded[y : y + 2 * halo + 1, x : x + 2 * halo + 1]  # the pixel is its middle
            for c in range(channels):
                plane = around[..., c]
                dx = sum(k * (plane[halo + d, halo + 1] - plane[halo + d, halo - 1]) for d, k in smoothing.items())
                dy = sum(k * (plane[halo + 1, halo + d] - plane[halo - 1, halo + d]) for d, k in smoothing.items())
                gradient[y, x] += np.hypot(dx, dy) / 8 / channels
                inner = plane[halo - radius : halo + radius + 1, halo - radius : halo + radius + 1]
                variance[y, x] += inner.var() / channels
    return gradient, variance


def tile_weights(gradient: DoubleArray, variance: DoubleArray, gradient_fraction: float) -> DoubleArray:
    """E10 for the pixels of a tile: both features over their maximum in it."""
    gradient_unit, variance_unit = gradient.max() or 1.0, variance.max() or 1.0
    return gradient_fraction * gradient / gradient_unit + (1 - gradient_fraction) * variance / variance_unit


def upper_bits(pixels: SampleArray) -> ByteArray:
    """The upper 8 bits of samples, uint8."""
    return (pixels >> (8 * pixels.itemsize - 8)).astype(np.uint8)


def sample_pixels(
    pixels: SampleArray,
    budgets: TileBudgets,
    window: int,
    gradient_fraction: float,
    error_weights: ByteArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """E9-E12."""
    gradient, variance = features(upper_bits(pixels), window)
    means, weights = [np.zeros((0, 2))], [np.zeros(0)]
    for (x, y, columns, rows), count, key in zip(budgets.boxes, budgets.counts, budgets.keys, strict=True):
        tile = np.s_[y : y + rows, x : x + columns]
        weight = tile_weights(gradient[tile], variance[tile], gradient_fraction).ravel()
        if error_weights is not None:
            weight *= error_weights[tile].ravel() / 255
        place = race(weight, int(count), int(key))
        means.append(np.stack([x + place % columns + 0.5, y + place // columns + 0.5], axis=1))
        weights.append(weight[place])
    return np.concatenate(means).astype(np.float32), np.concatenate(weights).astype(np.float32)


def median_color(pixels: SampleArray, mean: FloatArray, radius: FloatArray) -> FloatArray:
    """E18-E20: the smallest code value of 8 bits at or below which half of the disc's weight lies, over 255."""
    height, width, channels = pixels.shape
    samples = upper_bits(pixels)
    color = np.zeros((len(mean), channels))
    for i, ((x, y), r) in enumerate(zip(mean.astype(np.float64), radius.astype(np.float64), strict=True)):
        home_x, home_y = min(int(x), width - 1), min(int(y), height - 1)
        step = 1 if r <= FULL_RADIUS else int(np.ceil(r * np.sqrt(np.pi / LATTICE_PIXELS)))
        row, column = np.mgrid[home_y % step : height : step, home_x % step : width : step]
        squared = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2  # E18
        # A disc smaller than a pixel may contain no pixel centre: its own pixel always belongs.
        inside = (squared <= r**2) | ((row == home_y) & (column == home_x))
        exact = UNIT_WEIGHT * np.exp(-squared[inside] / (2 * r**2))  # E19
        weight = np.maximum(np.floor(exact + 0.5), 1).astype(np.int64)
        for c in range(channels):
            histogram = np.bincount(samples[row[inside], column[inside], c], weight, 256)
            color[i, c] = np.searchsorted(np.cumsum(histogram), (weight.sum() + 1) // 2) / 255  # E20
    return color.astype(np.float32)


def blurred(error: DoubleArray, blur: float) -> DoubleArray:
    """The error of cells [rows, columns], blurred along both axes; the edge repeats outwards, mirrored."""
    radius = int(BLUR_RADIUS * blur + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(blur, 1e-9)) ** 2)
    taps /= taps.sum()
    for _ in range(2):
        padded = np.pad(error, ((radius, radius), (0, 0)), mode="symmetric") if radius else error
        error = sum(tap * padded[i : i + len(error)] for i, tap in enumerate(taps)).T
    return error


def sample_cells(
    params: reference.DoubleGaussians,
    target: SampleArray,
    view: View,
    request: CellRequest,
    generator: np.random.Generator,
    error_weights: ByteArray | None = None,
) -> SampledCells:
    """Cells by their blurred mean square error, and the mean residual of the 3 x 3 around each."""
    cells = reference.residual(params, target, view, request.side, error_weights)
    rows, columns = request.grid(view)
    if request.count > rows * columns:
        place = np.sort(generator.integers(rows * columns, size=request.count))
    else:
        place = race(blurred(cells[..., -1], request.blur).ravel(), request.count, int(generator.integers(1 << 63)))
    row, column = np.divmod(place, columns)
    padded = np.pad(cells[..., :-1], ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = [padded[row + dy, column + dx] for dy in range(3) for dx in range(3)]
    return SampledCells(row, column, np.mean(around, axis=0))
