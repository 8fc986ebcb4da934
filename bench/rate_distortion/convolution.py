"""A layer of a network in numpy."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from smartsplat.arrays import FloatArray


def convolved(values: FloatArray, kernel: FloatArray, stride: int, padding: int) -> FloatArray:
    """[h, w, c] correlated with [side, side, c, channels], zeros around it; a row at a time, to stay small."""
    side, _, depth, channels = kernel.shape
    padded = np.pad(values, ((padding, padding), (padding, padding), (0, 0)))
    windows = sliding_window_view(padded, (side, side), axis=(0, 1))[::stride, ::stride]  # [h, w, c, side, side]
    matrix = kernel.reshape(-1, channels)
    out = np.empty((*windows.shape[:2], channels), np.float32)
    for row, row_windows in enumerate(windows):
        np.matmul(row_windows.transpose(0, 2, 3, 1).reshape(-1, side * side * depth), matrix, out=out[row])
    return out
