"""Features of the compiled module, and images to take them of."""

from __future__ import annotations

import numpy as np

from smartsplat import _native
from smartsplat.encoder.sampling_tiles import SamplingTile
from smartsplat.encoder.settings import InitializeSettings


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random bytes [height, width, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def tile_features(
    pixels: np.ndarray, tile: SamplingTile, settings: InitializeSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient, variance (E9) and weight (E10) of the pixels of a tile, float32 [h, w] each."""
    box = (tile.x, tile.y, tile.width, tile.height)
    return _native.tile_features(pixels, box, settings.variance_window, settings.gradient_fraction)


def sampling_weight(pixels: np.ndarray, tile: SamplingTile, settings: InitializeSettings) -> np.ndarray:
    """E10 alone."""
    return tile_features(pixels, tile, settings)[2]
