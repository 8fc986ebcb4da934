"""Sampling tiles: the rectangles of an image in which pixels are sampled by weight, each with its own budget (E12).

Features and weights (E9-E10) are computed one tile at a time, so that an image of hundreds of megapixels never exists
as floats. A tile sees its true neighbours through a halo, and the image's own edge repeats outwards: no tile border and
no image border looks like an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class SamplingTile:
    """A rectangle of whole pixels: columns x to x + width - 1, rows y to y + height - 1."""

    x: int
    y: int
    width: int
    height: int


def sampling_tiles(width: int, height: int, max_side: int) -> list[SamplingTile]:
    """The fewest tiles of at most ``max_side`` pixels a side, row by row.

    They partition the image: every pixel is in exactly one, and sides differ by at most one pixel.
    """
    columns, rows = _boundaries(width, max_side), _boundaries(height, max_side)
    return [
        SamplingTile(left, top, right - left, bottom - top)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _boundaries(length: int, max_side: int) -> list[int]:
    parts = -(-length // max_side)
    return [part * length // parts for part in range(parts + 1)]
