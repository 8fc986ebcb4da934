"""Grain of docs/format.md, written from the page alone: the part of the second decoder for noise."""

from __future__ import annotations

import math
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


def _pixels(begin: float, extent: float, count: int) -> list[tuple[int, float]]:
    """For each sample along an axis the pixel that it lies in, or the first of two and the part of the second."""
    scale, pixels = count / extent, []
    for i in range(count):
        p = begin + (i + 0.5) / scale
        at = p - 0.5 if scale > 1 else float(math.floor(p + 1 / 1021))
        pixels.append((math.floor(at), at - math.floor(at)))
    return pixels


def _strength(band: list[list[float]], cell: int, x: int, y: int) -> float:
    def between(pixel: int, cells: int) -> tuple[int, int, float]:
        at = min(max((pixel + 0.5) / cell - 0.5, 0), cells - 1)
        return int(at), min(int(at) + 1, cells - 1), at - int(at)

    left, right, along_x = between(x, len(band[0]))
    top, bottom, along_y = between(y, len(band))
    above, below = (band[row][left] * (1 - along_x) + band[row][right] * along_x for row in (top, bottom))
    return above * (1 - along_y) + below * along_y


def render_grain(levels: Levels, cell_log2: int, across: Axis, down: Axis) -> list[float]:
    """g of every sample of a view, without its room."""
    scale = min(count / extent for _, extent, count in (across, down))
    parts = [min(max(2 ** (k + 1) * scale - 1, 0), 1) / 32 for k in range(len(levels))]
    strengths = [[[2 ** ((level - 1) / 2) / 510 if level else 0.0 for level in row] for row in band] for band in levels]

    @cache
    def grain(x: int, y: int) -> float:
        at = 256 * (y % 256) + x % 256
        return sum(
            parts[k] * noise_bands()[k][at] * _strength(band, 1 << cell_log2, x, y) for k, band in enumerate(strengths)
        )

    result = []
    for y, along_y in _pixels(*down):
        for x, along_x in _pixels(*across):
            above, below = (
                grain(x, row) * (1 - along_x) + (grain(x + 1, row) * along_x if along_x else 0)
                for row in ((y, y + 1) if along_y else (y, y))
            )
            result.append(above * (1 - along_y) + below * along_y)
    return result


def add_grain(colors: list[float], channels: int, grain: list[float]) -> list[float]:
    result = []
    for at, g in enumerate(grain):
        own = colors[at * channels : (at + 1) * channels]
        luma = (own[0] + 2 * own[1] + own[2]) / 4 if channels == 3 else own[0]
        room = min(max(4 * min(luma, 1 - luma), 0), 1)
        result += [value + room * g for value in own]
    return result
