"""Where a picture needs Gaussians: gradient, local colour variance and each pixel's sampling weight (E9-E10).

All of it is computed one tile at a time, so that a picture of hundreds of megapixels never exists as floats.
A tile sees its true neighbours through a halo, and the picture's own edge repeats outwards: no tile border
and no picture border looks like an edge.

Letters: H x W the picture, h x w a tile, C channels (1 or 3), values are 8-bit levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from smartsplat.errors import SettingsError
from smartsplat.gaussians import FloatArray
from smartsplat.settings import SeedSettings

LARGEST_WINDOW = 13
"""Largest ``variance_window``: (255 window^2)^2 must fit the int32 in which the variance is exact."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of whole pixels: columns x to x + width - 1, rows y to y + height - 1."""

    x: int
    y: int
    width: int
    height: int


def tiles(width: int, height: int, settings: SeedSettings) -> list[Tile]:
    """The fewest tiles of at most ``settings.tile`` pixels a side, row by row.

    They partition the picture: every pixel is in exactly one, and sides differ by at most one pixel.
    """
    columns = _boundaries(width, settings.tile)
    rows = _boundaries(height, settings.tile)
    return [
        Tile(left, top, right - left, bottom - top)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]


def _boundaries(length: int, largest: int) -> list[int]:
    parts = -(-length // largest)
    return [part * length // parts for part in range(parts + 1)]


def sampling_weight(pixels: npt.NDArray[np.uint8], tile: Tile, settings: SeedSettings) -> FloatArray:
    """E10: how much each pixel of a tile asks for a Gaussian; float32 [h, w] in [0, 1].

    Both features are divided by their maximum over the tile. A flat tile has weight 0 everywhere: no pixel is
    preferred, and E13 gives each its full base scale.
    """
    gradient, variance = gradient_and_variance(pixels, tile, settings)
    share = np.float32(settings.gradient_share)
    return share * _normalized(gradient) + (1 - share) * _normalized(variance)


def _normalized(feature: FloatArray) -> FloatArray:
    largest = feature.max()
    return feature / largest if largest > 0 else feature


def gradient_and_variance(
    pixels: npt.NDArray[np.uint8], tile: Tile, settings: SeedSettings
) -> tuple[FloatArray, FloatArray]:
    """E9 for the pixels of one tile; ``pixels`` is the whole picture [H, W, C].

    Returns the gradient's magnitude, float32 [h, w] in levels per pixel, and the variance over the window,
    float32 [h, w] in levels squared; both are means over the channels. Up to the square root and the division
    everything is integer, so a pixel's values do not depend on the tile that it is computed in.
    """
    window = settings.variance_window
    if window % 2 == 0 or not 0 < window <= LARGEST_WINDOW:
        raise SettingsError(f"variance_window must be odd and at most {LARGEST_WINDOW}, not {window}")
    reach = window // 2
    halo = max(reach, 1)  # Sobel reaches one pixel
    patch = _with_halo(pixels, tile, halo)
    gradient = np.zeros((tile.height, tile.width), np.float32)
    variance = np.zeros((tile.height, tile.width), np.float32)
    for channel in range(patch.shape[2]):
        plane = patch[:, :, channel].astype(np.int32)
        gradient += _gradient(_trimmed(plane, halo - 1))
        variance += _variance(_trimmed(plane, halo - reach), window)
    gradient /= patch.shape[2]
    variance /= patch.shape[2]
    return gradient, variance


def _with_halo(pixels: npt.NDArray[np.uint8], tile: Tile, halo: int) -> npt.NDArray[np.uint8]:
    """The tile and ``halo`` pixels around it, [h + 2 halo, w + 2 halo, C]; the picture's edge repeats."""
    height, width, _ = pixels.shape
    top, bottom = tile.y - halo, tile.y + tile.height + halo
    left, right = tile.x - halo, tile.x + tile.width + halo
    inside = pixels[max(top, 0) : bottom, max(left, 0) : right]
    missing = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))
    return np.pad(inside, missing, mode="edge")


def _trimmed(plane: npt.NDArray[np.int32], border: int) -> npt.NDArray[np.int32]:
    return plane[border : plane.shape[0] - border, border : plane.shape[1] - border]


def _gradient(plane: npt.NDArray[np.int32]) -> FloatArray:
    """Magnitude of the 3x3 Sobel derivative: int32 [h + 2, w + 2] -> float32 [h, w], levels per pixel."""
    down = plane[:-2] + 2 * plane[1:-1] + plane[2:]
    across = plane[:, :-2] + 2 * plane[:, 1:-1] + plane[:, 2:]
    along_x = down[:, 2:] - down[:, :-2]
    along_y = across[2:] - across[:-2]
    squared = along_x * along_x + along_y * along_y
    # The smoothing sums to 4 and the difference spans two pixels: divided by 8 it is a derivative.
    gradient: FloatArray = np.sqrt(squared.astype(np.float32)) / np.float32(8)
    return gradient


def _variance(plane: npt.NDArray[np.int32], window: int) -> FloatArray:
    """Variance in each window: int32 [h + window - 1, w + window - 1] -> float32 [h, w], levels squared."""
    samples = window * window
    total = _window_sum(plane, window)
    total_of_squares = _window_sum(plane * plane, window)
    # n sum x^2 - (sum x)^2 in integers: the difference of two large floats would leave noise in flat areas.
    return (samples * total_of_squares - total * total).astype(np.float32) / np.float32(samples**2)


def _window_sum(plane: npt.NDArray[np.int32], window: int) -> npt.NDArray[np.int32]:
    """Sum over each window that fits: [h + window - 1, w + window - 1] -> [h, w]."""
    height, width = (length - window + 1 for length in plane.shape)
    over_rows = plane[:height].copy()
    for row in range(1, window):
        over_rows += plane[row : row + height]
    total = over_rows[:, :width].copy()
    for column in range(1, window):
        total += over_rows[:, column : column + width]
    return total
