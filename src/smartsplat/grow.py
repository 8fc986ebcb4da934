"""Where new Gaussians go during a fit, and which ones are given up for them.

New centres are drawn from the squared error of the current rendering, smoothed; each starts with the smoothed
residual as its colour. Measured on two pictures at equal steps and count: +0.4 dB over none, +0.25 dB more with
the moves, and better than drawing from the gain of the best-matching Gaussian (by 0.1 to 0.4 dB).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.gaussians import SMALLEST_SCALE, FloatArray, Gaussians, base_scale
from smartsplat.raster import Backend, View
from smartsplat.settings import Growth

LARGEST_CELL_LOG2 = 6
"""The renderer's tile of 64 pixels is the largest cell that the error is averaged over."""


def energy(gaussians: Gaussians) -> FloatArray:
    """|c|^2 times the integral of G^2 (up to pi): what a Gaussian adds to the picture's square, [N]."""
    square: FloatArray = (gaussians.color**2).sum(axis=1)
    return square * gaussians.scale[:, 0] * gaussians.scale[:, 1]


def strongest(gaussians: Gaussians, count: int) -> npt.NDArray[np.bool_]:
    """A mask [N] of the ``count`` Gaussians with the most energy."""
    strength, dropped = np.nan_to_num(energy(gaussians), nan=-1), len(gaussians) - count
    if dropped <= 0:
        return np.ones(len(gaussians), bool)
    strongest_dropped = np.partition(strength, dropped - 1)[dropped - 1]
    keep: npt.NDArray[np.bool_] = strength >= strongest_dropped
    equal = np.flatnonzero(strength == strongest_dropped)
    keep[equal[: int(keep.sum()) - count]] = False  # the first of equals go first
    return keep


def newcomers(
    params: Any,
    count: int,
    final_count: int,
    target: npt.NDArray[np.uint8],
    view: View,
    backend: Backend,
    growth: Growth,
    generator: np.random.Generator,
) -> Gaussians:
    """``count`` Gaussians where ``params`` of the backend render the ``target`` [rows, columns, C] of ``view`` worst.

    ``final_count`` is the number at the end of the fit: it sets the new scales (E14).
    """
    base = base_scale(int(view.width), int(view.height), final_count)
    cell = _cell(growth.cell * base * view.scale_x)
    columns, rows = -(-view.columns // cell), -(-view.rows // cell)
    row, column, color = backend.draw_cells(params, target, view, cell, count, growth.blur, generator)
    jitter = generator.random((count, 2))
    size = np.array([view.width / columns, view.height / rows])
    mean = (np.stack([column, row], axis=1) + jitter) * size + [view.x, view.y]
    scale = np.full((count, 2), max(growth.scale * base, SMALLEST_SCALE))
    rotation = generator.uniform(0, np.pi, count)
    fields = (np.ascontiguousarray(field, np.float32) for field in (mean, scale, rotation, color))
    return Gaussians(*fields)


def _cell(wanted: float) -> int:
    """The side, output pixels, nearest to ``wanted`` of those that divide the renderer's tile."""
    return int(2 ** min(max(round(math.log2(max(wanted, 1))), 0), LARGEST_CELL_LOG2))
