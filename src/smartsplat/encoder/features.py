"""Where an image needs Gaussians: gradient, local colour variance and each pixel's sampling weight (E9-E10).

All of it is computed one tile at a time, so that an image of hundreds of megapixels never exists as floats:
``native/encoder/features.cpp`` does the work. A tile sees its true neighbours through a halo, and the image's own edge
repeats outwards: no tile border and no image border looks like an edge.

Letters: H x W the image, h x w a tile, C channels (1 or 3), values are 8-bit code values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from smartsplat import _native
from smartsplat.arrays import ByteArray, FloatArray
from smartsplat.encoder.settings import InitializeSettings
from smartsplat.errors import SettingsError


@dataclass(frozen=True)
class SamplingTile:
    """A rectangle of whole pixels: columns x to x + width - 1, rows y to y + height - 1."""

    x: int
    y: int
    width: int
    height: int


def sampling_tiles(width: int, height: int, settings: InitializeSettings) -> list[SamplingTile]:
    """The fewest tiles of at most ``settings.tile`` pixels a side, row by row.

    They partition the image: every pixel is in exactly one, and sides differ by at most one pixel.
    """
    columns = _boundaries(width, settings.tile)
    rows = _boundaries(height, settings.tile)
    return [
        SamplingTile(left, top, right - left, bottom - top)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _boundaries(length: int, max_side: int) -> list[int]:
    parts = -(-length // max_side)
    return [part * length // parts for part in range(parts + 1)]


def tile_features(
    pixels: ByteArray, tile: SamplingTile, settings: InitializeSettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E9-E10 for the pixels of one tile of an image [H, W, C]; float32 [h, w] each.

    The gradient's magnitude in code values per pixel and the variance over the window in code values squared, both
    means over the channels, and the weight in [0, 1]: how much a pixel asks for a Gaussian. For the weight both
    features are divided by their maximum over the tile. A flat tile has weight 0 everywhere: no pixel is preferred, and
    E13 gives each its full base scale.
    """
    box = (tile.x, tile.y, tile.width, tile.height)
    return _native.tile_features(
        np.ascontiguousarray(pixels), box, checked_window(settings), settings.gradient_fraction
    )


def checked_window(settings: InitializeSettings) -> int:
    """Side of the window of the variance, which has limits."""
    side = settings.variance_window
    if side % 2 == 0 or not 0 < side <= _native.MAX_VARIANCE_WINDOW:
        raise SettingsError(f"variance_window must be odd and at most {_native.MAX_VARIANCE_WINDOW}, not {side}")
    return side
