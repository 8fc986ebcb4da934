"""Opacity flattened: colours over a background."""

from __future__ import annotations

import numpy as np

from smartsplat.arguments import Background
from smartsplat.arrays import SampleArray
from smartsplat.images.strips import row_slices

STRIP_PIXELS = 1 << 18
"""Pixels that are flattened at once: the numbers in between are wide."""


def flattened_channels(channels: int, background: Background) -> int:
    """Of an image over a background: grey stays grey where the background is."""
    return channels if len(set(background)) == 1 else 3


def flattened(color: SampleArray, alpha: SampleArray, background: Background) -> SampleArray:
    """Colours over a background, rounded: [H, W, ``flattened_channels``].

    Args:
        color: [H, W, C] uint8 or uint16, not multiplied with alpha.
        alpha: [H, W] of the same type.
    """
    white = int(np.iinfo(color.dtype).max)
    height, width, channels = color.shape
    channels = flattened_channels(channels, background)
    ground = np.array(background[:channels], np.uint64) * (white // 255)
    result: SampleArray = np.empty((height, width, channels), color.dtype)
    for rows in row_slices(height, width, STRIP_PIXELS):
        weight = alpha[rows, :, None].astype(np.uint64)
        result[rows] = (color[rows] * weight + ground * (white - weight) + white // 2) // white
    return result
