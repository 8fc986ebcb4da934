"""Grain of docs/format.md, written from the page alone: the part of the second decoder for noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from tests.bitstream.format_container import Header, require
from tests.bitstream.format_entropy import Coder, Distribution, clamp, sums_before

Levels = list[list[list[int]]]
"""Of bands, rows and columns of cells."""

Axis = tuple[float, float, int]
"""Of a view: where its region begins, how far it reaches, and how many samples it has."""


def _mean(band: list[list[int]], x: int, y: int) -> int:
    around = ([band[y][x - 1]] if x else []) + ([band[y - 1][x]] if y else [])
    return (2 * around[0] + 1) >> 1 if len(around) == 1 else (sum(around) + 1) >> 1


def decode_grain(body: bytes, header: Header) -> Levels:
    columns, rows = (((side - 1) >> body[0]) + 1 for side in (header.width, header.height))
    coder = Coder(body[2:])
    contexts = [Distribution(sums_before([min(2 * abs(t - e), 15) for t in range(16)])) for e in range(16)]
    levels: Levels = []
    for k in range(body[1]):
        band: list[list[int]] = [[0] * columns for _ in range(rows)]
        for y in range(rows):
            for x in range(columns):
                expected = _mean(band, x, y)
                if k:
                    expected += levels[k - 1][y][x] - _mean(levels[k - 1], x, y)
                band[y][x] = coder.token(contexts[clamp(expected, 0, 15)])
                coder.between()
        levels.append(band)
    require(coder.state == 65536 and not any(coder.between()), "more than the last level")
    return levels


@cache
def noise_bands() -> list[list[int]]:
    """Bands of 256 x 256 integers, row by row."""
    bands = []
    plane = [sum(_hash(i).to_bytes(4, "little")) - 510 for i in range(65536)]
    for k, norm in enumerate((1103, 203, 29)):
        across = [
            plane[y + (x - (1 << k)) % 256] + 2 * plane[y + x] + plane[y + (x + (1 << k)) % 256]
            for y in range(0, 65536, 256)
            for x in range(256)
        ]
        down = 256 << k
        smooth = [across[i - down] + 2 * across[i] + across[(i + down) % 65536] for i in range(65536)]
        bands.append(
            [clamp(((16 * a - b) * norm + 32768) >> 16, -127, 127) for a, b in zip(plane, smooth, strict=True)]
        )
        plane = smooth
    return bands


def _hash(i: int) -> int:
    h = (i ^ (i >> 16)) * 0x7FEB352D % (1 << 32)
    h = (h ^ (h >> 15)) * 0x846CA68B % (1 << 32)
    return h ^ (h >> 16)


Places = list[tuple[int, int, float]]
"""For each sample along an axis two elements, and the part of the second."""


def _places(begin: float, extent: float, count: int) -> Places:
    scale, places = count / extent, []
    for i in range(count):
        p = begin + (i + 0.5) / scale
        at = p - 0.5 if scale > 1 else float(math.floor(p + 1 / 1021))
        low = math.floor(at)
        places.append((low % 256, (low + 1) % 256, at - low))
    return places


def _cells(begin: float, extent: float, count: int, cell: int, cells: int) -> Places:
    places = []
    for i in range(count):
        at = min(max((begin + (i + 0.5) * extent / count) / cell - 0.5, 0), cells - 1)
        places.append((int(at), min(int(at) + 1, cells - 1), at - int(at)))
    return places


def _between(value: Callable[[int, int], float], x: tuple[int, int, float], y: tuple[int, int, float]) -> float:
    above, below = (value(x[0], row) * (1 - x[2]) + value(x[1], row) * x[2] for row in y[:2])
    return above * (1 - y[2]) + below * y[2]


def render_grain(levels: Levels, cell_log2: int, across: Axis, down: Axis) -> list[float]:
    """g of every sample of a view, without its room."""
    places_x, places_y = _places(*across), _places(*down)
    cells_x = _cells(*across, 1 << cell_log2, len(levels[0][0]))
    cells_y = _cells(*down, 1 << cell_log2, len(levels[0]))
    scale = min(count / extent for _, extent, count in (across, down))
    columns, rows = across[2], down[2]
    total = [0.0] * (rows * columns)
    for k, band in enumerate(levels):
        part, noise = min(max(2 ** (k + 1) * scale - 1, 0), 1) / 32, noise_bands()[k]
        strength = [[2 ** ((level - 1) / 2) / 510 if level else 0.0 for level in row] for row in band]
        for j in range(rows):
            for i in range(columns):
                value = _between(lambda x, y: noise[256 * y + x], places_x[i], places_y[j])  # noqa: B023
                own = _between(lambda x, y: strength[y][x], cells_x[i], cells_y[j])  # noqa: B023
                total[j * columns + i] += part * value * own
    return total


def add_grain(colors: list[float], channels: int, grain: list[float]) -> list[float]:
    result = []
    for at, g in enumerate(grain):
        own = colors[at * channels : (at + 1) * channels]
        luma = (own[0] + 2 * own[1] + own[2]) / 4 if channels == 3 else own[0]
        room = min(max(4 * min(luma, 1 - luma), 0), 1)
        result += [value + room * g for value in own]
    return result
