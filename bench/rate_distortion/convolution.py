"""A layer of a network in numpy."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from smartsplat.arrays import FloatArray

MATRIX_ELEMENTS = 1 << 20
"""Of the windows that are multiplied at once, about."""


def convolved(values: FloatArray, kernel: FloatArray, stride: int, padding: int) -> FloatArray:
    """[h, w, c] correlated with [side, side, c, channels], zeros around it; some rows at a time, to stay small."""
    side, _, depth, channels = kernel.shape
    padded = np.pad(values, ((padding, padding), (padding, padding), (0, 0)))
    windows = sliding_window_view(padded, (side, side), axis=(0, 1))[::stride, ::stride]  # [h, w, c, side, side]
    matrix = kernel.reshape(-1, channels)
    height, width = windows.shape[:2]
    out = np.empty((height, width, channels), np.float32)
    rows = max(1, MATRIX_ELEMENTS // (width * len(matrix)))
    for top in range(0, height, rows):
        part = windows[top : top + rows].transpose(0, 1, 3, 4, 2).reshape(-1, side * side * depth)
        np.matmul(part, matrix, out=out[top : top + rows].reshape(-1, channels))
    return out
