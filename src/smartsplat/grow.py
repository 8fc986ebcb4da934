"""Where new Gaussians go during a fit, and which ones are given up for them.

New centres are drawn from the squared error of the current rendering, smoothed; each starts with the smoothed
residual as its colour. Measured on two pictures at equal steps and count: +0.4 dB over none, +0.25 dB more with
the moves, and better than drawing from the gain of the best-matching Gaussian (by 0.1 to 0.4 dB).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from smartsplat import _native
from smartsplat.gaussians import SMALLEST_SCALE, FloatArray, Gaussians, base_scale
from smartsplat.raster import Backend, View
from smartsplat.settings import Growth

LARGEST_CELL_LOG2 = 6
"""The renderer's tile of 64 pixels is the largest cell that the error is averaged over."""

STRIP = 1 << 21
"""Cells that are looked at at once, about: what bounds the memory of an event."""

BLUR_REACH = 2
"""Standard deviations at which the blur of the error ends."""

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
    strips = backend.residual_strips(params, target, view, cell, STRIP * cell**2)
    row, column, color = _drawn(strips, rows, columns, count, growth.blur, generator)
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


def _mean_around(cells: FloatArray, row: Indices, column: Indices) -> npt.NDArray[np.float64]:
    """The mean of the 3 x 3 cells [rows, columns, C] around each place, [count, C]."""
    rows, columns, channels = cells.shape
    total = np.zeros((len(row), channels))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            total += cells[np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1)]
    return total / 9


def _drawn(
    strips: Iterator[FloatArray], rows: int, columns: int, count: int, blur: float, generator: np.random.Generator
) -> tuple[Indices, Indices, npt.NDArray[np.float64]]:
    """Row and column of ``count`` cells, [count] each, and the mean residual around each, [count, C].

    They are drawn by the squared error, blurred, without replacement: the first ones of an exponential race that goes
    on from strip to strip. If there are fewer cells than that, all are equal.
    """
    anywhere = np.sort(generator.integers(rows * columns, size=count)) if count > rows * columns else None
    time, place, color = np.zeros(0), np.zeros(0, np.intp), None
    bound, first = math.inf, 0
    for cells, begin, end in _with_neighbors(strips, math.ceil(BLUR_REACH * blur) + 1):
        if anywhere is None:
            error = np.ascontiguousarray(cells[..., -1])
            gaussian_filter(error, blur, truncate=BLUR_REACH, output=error)
            times, places = _native.race(error[begin:end].ravel(), count, int(generator.integers(1 << 63)), bound)
        else:
            inside = (anywhere >= first) & (anywhere < first + (end - begin) * columns)
            places = anywhere[inside] - first
            times = np.zeros(len(places))
        row, column = np.divmod(places, columns)
        around = _mean_around(cells[..., :-1], row + begin, column)
        time, place = np.concatenate([time, times]), np.concatenate([place, places + first])
        color = around if color is None else np.concatenate([color, around])
        if len(time) > count:
            kept = np.zeros(len(time), bool)
            kept[np.argpartition(time, count)[:count]] = True
            time, place, color = time[kept], place[kept], color[kept]
        if len(time) == count:
            bound = float(time.max(initial=0))
        first += (end - begin) * columns
    assert color is not None
    row, column = np.divmod(place, columns)
    return row, column, color


def _with_neighbors(strips: Iterator[FloatArray], halo: int) -> Iterator[tuple[FloatArray, int, int]]:
    """Each strip of rows with up to ``halo`` rows of those beside it, and where its own rows begin and end in that."""
    current = next(strips)
    above = nothing = current[:0]
    for below in itertools.chain(strips, [nothing]):
        yield np.concatenate([above, current, below[:halo]]), len(above), len(above) + len(current)
        above, current = current[-halo:], below
