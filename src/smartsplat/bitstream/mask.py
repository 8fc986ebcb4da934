"""Masks <-> groups (docs/format.md, "Masks"): opacity in sixteen levels, coded without loss, in parts.

What Gaussians take thousands of for, an outline, a mask holds in a bit or two for each pixel along it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from smartsplat import _native
from smartsplat.arrays import ByteArray
from smartsplat.bitstream.container import TILE, Group
from smartsplat.errors import FormatError

MAX_LEVEL = _native.MAX_MASK_LEVEL
"""The level of what is opaque; 0 is transparent."""

PART_SIDE = 32 * TILE
"""Pixels: a part of a mask is at most such a square. Smaller ones cut regions finer, larger ones save headers."""


def to_mask(levels: ByteArray, threads: int = 1) -> tuple[Group, ...]:
    """The parts of a mask, ``levels`` [H, W] of 0 to 15; what is transparent all over takes none."""
    height, width = levels.shape

    def coded(corner: tuple[int, int]) -> Group | None:
        top, left = corner
        part = np.ascontiguousarray(levels[top : top + PART_SIDE, left : left + PART_SIDE])
        if not part.any():
            return None
        data, mixed_blocks = _native.encode_mask(part)
        bottom, right = top + part.shape[0], left + part.shape[1]
        return Group(mixed_blocks, (left // TILE, top // TILE, -(-right // TILE), -(-bottom // TILE)), data)

    corners = [(top, left) for top in range(0, height, PART_SIDE) for left in range(0, width, PART_SIDE)]
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return tuple(group for group in pool.map(coded, corners) if group is not None)


def mask_levels(
    parts: Sequence[Group], box: tuple[int, int, int, int], size: tuple[int, int], threads: int
) -> ByteArray:
    """The levels of a rectangle of the image, uint8 [height, width].

    Args:
        parts: of the mask; those that do not touch the rectangle are not decoded.
        box: column, row, width and height of the rectangle, pixels; inside the image.
        size: width and height of the image.

    Raises:
        FormatError: a part is damaged.
    """
    left, top, width, height = box
    levels = np.zeros((height, width), np.uint8)

    def decode(part: Group) -> None:
        x0, y0, x1, y1 = (TILE * edge for edge in part.extent)
        x1, y1 = min(x1, size[0]), min(y1, size[1])
        begin_x, end_x, begin_y, end_y = max(x0, left), min(x1, left + width), max(y0, top), min(y1, top + height)
        if begin_x >= end_x or begin_y >= end_y:
            return
        own = np.empty((y1 - y0, x1 - x0), np.uint8)
        try:
            _native.decode_mask(part.data, part.count, own)
        except ValueError as error:
            raise FormatError(f"damaged mask: {error}") from None
        inside = own[begin_y - y0 : end_y - y0, begin_x - x0 : end_x - x0]
        levels[begin_y - top : end_y - top, begin_x - left : end_x - left] = inside

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        list(pool.map(decode, parts))
    return levels
