"""Where a rendering is worst: cells drawn at random by their squared error, a strip of rows at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.gaussians import FloatArray
from smartsplat.raster import DrawnCells

Indices = npt.NDArray[np.intp]

BLUR_REACH = 2
"""Standard deviations at which the blur of the error ends."""


def drawn(
    strips: Iterator[FloatArray], rows: int, columns: int, count: int, blur: float, generator: np.random.Generator
) -> DrawnCells:
    """Row and column of ``count`` cells, [count] each, and the mean residual around each, [count, C].

    They are drawn by the squared error, blurred, without replacement: the first ones of an exponential race that goes
    on from strip to strip. If there are fewer cells than that, all are equal.
    """
    from scipy.ndimage import gaussian_filter  # here, because decoding does without SciPy

    anywhere = np.sort(generator.integers(rows * columns, size=count)) if count > rows * columns else None
    time, place, color = np.zeros(0), np.zeros(0, np.intp), None
    bound, first = math.inf, 0
    for cells, begin, end in with_neighbors(strips, math.ceil(BLUR_REACH * blur) + 1):
        if anywhere is None:
            error = np.ascontiguousarray(cells[..., -1])
            gaussian_filter(error, blur, truncate=BLUR_REACH, output=error)
            times, places = _native.race(error[begin:end].ravel(), count, int(generator.integers(1 << 63)), bound)
        else:
            inside = (anywhere >= first) & (anywhere < first + (end - begin) * columns)
            places = anywhere[inside] - first
            times = np.zeros(len(places))
        row, column = np.divmod(places, columns)
        around = mean_around(cells[..., :-1], row + begin, column)
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


def mean_around(cells: FloatArray, row: Indices, column: Indices) -> npt.NDArray[np.float64]:
    """The mean of the 3 x 3 cells [rows, columns, C] around each place, [count, C]."""
    rows, columns, channels = cells.shape
    total = np.zeros((len(row), channels))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            total += cells[np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1)]
    return total / 9


def with_neighbors(strips: Iterator[FloatArray], halo: int) -> Iterator[tuple[FloatArray, int, int]]:
    """Each strip of rows with up to ``halo`` rows of those beside it, and where its own rows begin and end in that."""
    current = next(strips)
    above = nothing = current[:0]
    for below in itertools.chain(strips, [nothing]):
        yield np.concatenate([above, current, below[:halo]]), len(above), len(above) + len(current)
        above, current = current[-halo:], below
