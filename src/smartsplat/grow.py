"""Where new Gaussians go during a fit, and which ones are given up for them.

New centres are drawn from the squared error of the current rendering, smoothed; each starts with the smoothed
residual as its colour. Measured on two pictures at equal steps and count: +0.4 dB over none, +0.25 dB more with
the moves, and better than drawing from the gain of the best-matching Gaussian (by 0.1 to 0.4 dB).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from smartsplat.gaussians import SMALLEST_SCALE, FloatArray, Gaussians, base_scale
from smartsplat.raster import View
from smartsplat.raster.native import Backend
from smartsplat.settings import Growth

LARGEST_CELL_LOG2 = 6
"""The renderer's tile of 64 pixels is the largest cell that the error is averaged over."""

Indices = npt.NDArray[np.intp]


def energy(gaussians: Gaussians) -> FloatArray:
    """|c|^2 times the integral of G^2 (up to pi): what a Gaussian adds to the picture's square, [N]."""
    square: FloatArray = (gaussians.color**2).sum(axis=1)
    return square * gaussians.scale[:, 0] * gaussians.scale[:, 1]


def strongest(gaussians: Gaussians, count: int) -> npt.NDArray[np.bool_]:
    """A mask [N] of the ``count`` Gaussians with the most energy."""
    keep = np.ones(len(gaussians), bool)
    if count < len(gaussians):
        keep[np.argsort(energy(gaussians), kind="stable")[: len(gaussians) - count]] = False
    return keep


def newcomers(
    gaussians: Gaussians,
    count: int,
    final_count: int,
    target: npt.NDArray[np.uint8],
    view: View,
    backend: Backend,
    growth: Growth,
    generator: np.random.Generator,
) -> Gaussians:
    """``count`` Gaussians where ``gaussians`` render the ``target`` [rows, columns, C] of ``view`` worst.

    ``final_count`` is the number at the end of the fit: it sets the new scales (E14).
    """
    base = base_scale(int(view.width), int(view.height), final_count)
    cells = backend.residual(gaussians, target, view, _cell(growth.cell * base * view.scale_x))
    rows, columns = cells.shape[:2]
    weight = gaussian_filter(cells[..., -1], growth.blur)
    row, column = np.divmod(_draw(weight.ravel(), count, generator), columns)
    jitter = generator.random((count, 2))
    size = np.array([view.width / columns, view.height / rows])
    mean = (np.stack([column, row], axis=1) + jitter) * size + [view.x, view.y]
    scale = np.full((count, 2), max(growth.scale * base, SMALLEST_SCALE))
    rotation = generator.uniform(0, np.pi, count)
    color = _mean_around(cells[..., :-1], row, column)
    fields = (np.ascontiguousarray(field, np.float32) for field in (mean, scale, rotation, color))
    return Gaussians(*fields)


def _cell(wanted: float) -> int:
    """The side, output pixels, nearest to ``wanted`` of those that divide the renderer's tile."""
    return int(2 ** min(max(round(math.log2(max(wanted, 1))), 0), LARGEST_CELL_LOG2))


def _mean_around(cells: FloatArray, row: Indices, column: Indices) -> npt.NDArray[np.float64]:
    """The mean of the 3 x 3 cells [rows, columns, C] around each place, [count, C]."""
    rows, columns, channels = cells.shape
    total = np.zeros((len(row), channels))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            total += cells[np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1)]
    return total / 9


def _draw(weight: FloatArray, count: int, generator: np.random.Generator) -> Indices:
    """``count`` indices drawn without replacement by weight (an exponential race); if there are too few, any."""
    if count > weight.size:
        return generator.integers(weight.size, size=count)
    time = generator.standard_exponential(weight.size, np.float32) / np.maximum(weight, np.float32(1e-30))
    return np.sort(np.argpartition(time, count - 1)[:count]) if count else np.zeros(0, np.intp)
