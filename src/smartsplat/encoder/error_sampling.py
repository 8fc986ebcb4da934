"""Error sampling on the processor: cells sampled at random by the squared error of a rendering, by strips of rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from smartsplat import _native
from smartsplat.arrays import DoubleArray, FloatArray, IndexArray
from smartsplat.encoder.sampler import BLUR_RADIUS, CellRequest, SampledCells


def sample_cells(
    strips: Iterator[FloatArray], grid: tuple[int, int], request: CellRequest, generator: np.random.Generator
) -> SampledCells:
    """``Sampler.sample_cells``, from what ``CpuRenderer.residual_strips`` yields.

    The sample is the first ``count`` of an exponential race of the blurred squared errors, which goes on from strip to
    strip: the same as sampling one after the other without replacement.

    Args:
        strips: rows of cells [h, columns, C + 1]: mean of target - rendering, and mean square error.
        grid: rows and columns of all cells.
    """
    (rows, columns), count, blur = grid, request.count, request.blur
    anywhere = np.sort(generator.integers(rows * columns, size=count)) if count > rows * columns else None
    time, place, residual = np.zeros(0), np.zeros(0, np.intp), None
    bound, first = math.inf, 0
    for cells, begin, end in with_neighbors(strips, math.ceil(BLUR_RADIUS * blur) + 1):
        if anywhere is None:
            error = np.ascontiguousarray(cells[..., -1])
            gaussian_filter(error, blur, truncate=BLUR_RADIUS, output=error)
            times, places = race(error[begin:end].ravel(), count, generator, bound)
        else:
            inside = (anywhere >= first) & (anywhere < first + (end - begin) * columns)
            places = anywhere[inside] - first
            times = np.zeros(len(places))
        row, column = np.divmod(places, columns)
        around = mean_around(cells[..., :-1], row + begin, column)
        time, place = np.concatenate([time, times]), np.concatenate([place, places + first])
        residual = around if residual is None else np.concatenate([residual, around])
        if len(time) > count:
            kept = np.zeros(len(time), bool)
            kept[np.argpartition(time, count)[:count]] = True
            time, place, residual = time[kept], place[kept], residual[kept]
        if len(time) == count:
            bound = float(time.max(initial=0))
        first += (end - begin) * columns
    assert residual is not None
    row, column = np.divmod(place, columns)
    return SampledCells(row, column, residual)


def race(
    weights: FloatArray, count: int, generator: np.random.Generator, bound: float = math.inf
) -> tuple[DoubleArray, IndexArray]:
    """Times and places [P] of the ``count`` first in an exponential race: a sample by weight without replacement.

    Args:
        weights: [W] the rate of each place.
        bound: times from here on do not count.
    """
    return _native.race(weights, count, int(generator.integers(1 << 63)), bound)


def mean_around(cells: FloatArray, row: IndexArray, column: IndexArray) -> DoubleArray:
    """The mean of the 3 x 3 cells [rows, columns, C] around each place, [P, C]; the edge repeats outwards."""
    rows, columns, channels = cells.shape
    total = np.zeros((len(row), channels))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            total += cells[np.clip(row + dy, 0, rows - 1), np.clip(column + dx, 0, columns - 1)]
    return total / 9


def with_neighbors(strips: Iterator[FloatArray], halo: int) -> Iterator[tuple[FloatArray, int, int]]:
    """Each strip of rows with up to ``halo`` rows of those beside it, and where its own rows begin and end in that."""
    current = next(strips)
    above = nothing = current[:0]
    for below in itertools.chain(strips, [nothing]):
        alone = len(above) == len(below) == 0  # and not to be copied
        strip = current if alone else np.concatenate([above, current, below[:halo]])
        yield strip, len(above), len(above) + len(current)
        above, current = current[-halo:], below
