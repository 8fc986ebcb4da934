"""Colours under what is transparent, taken from what is visible nearby: whatever was hidden there costs nothing."""

from __future__ import annotations

import numpy as np

from smartsplat.arrays import FloatArray, SampleArray

BLOCK = 4
"""Pixels: side of the squares that get one colour."""

MAX_FAINT = 2
"""Of 255: opacity of pixels whose colours show by two code values at most. In a file that was once multiplied with
alpha they are mere rounding. Unlike their neighbours' they would show when shrinking mixes them: on a disc in a field
of another colour at an opacity of 1/255, a quarter of the size has 26 dB with them and 54 dB without."""


def bled(pixels: SampleArray, alpha: SampleArray) -> SampleArray:
    """A copy of an image [H, W, C] whose transparent pixels have the mean colours of the visible ones around them.

    Squares of ``BLOCK`` pixels a side are averaged by opacity; those without any take the colours of coarser squares,
    level by level. Faint pixels are as good as transparent, unless there are no others.

    Args:
        alpha: [H, W] of the same type.
    """
    faint = int(np.iinfo(alpha.dtype).max) * MAX_FAINT // 255
    if alpha.max() <= faint:
        faint = 0
    colors = np.rint(_filled(_block_totals(pixels, alpha, faint))).astype(pixels.dtype)
    result = pixels.copy()
    for top in range(0, len(pixels), BLOCK):
        hidden = alpha[top : top + BLOCK] <= faint
        if hidden.any():
            row = np.repeat(colors[top // BLOCK], BLOCK, axis=0)[: pixels.shape[1]]
            strip = result[top : top + BLOCK]
            strip[hidden] = np.broadcast_to(row, strip.shape)[hidden]
    return result


def _block_totals(pixels: SampleArray, alpha: SampleArray, faint: int) -> FloatArray:
    """Sums over squares of colours times opacity, if above ``faint``, and of opacity, [rows, columns, C + 1]."""
    height, width, channels = pixels.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    totals = np.zeros((rows, columns, channels + 1), np.float32)
    starts = np.arange(0, width, BLOCK)
    for row in range(rows):
        strip = np.s_[row * BLOCK : (row + 1) * BLOCK]
        weight = np.where(alpha[strip] > faint, alpha[strip], 0).astype(np.float32)
        for channel in range(channels):
            totals[row, :, channel] = np.add.reduceat((pixels[strip][..., channel] * weight).sum(axis=0), starts)
        totals[row, :, -1] = np.add.reduceat(weight.sum(axis=0), starts)
    return totals


def _filled(totals: FloatArray) -> FloatArray:
    """The mean colour of each square, [rows, columns, C], from its own totals or those of the squares around it."""
    weight = totals[..., -1:]
    own: FloatArray = (totals[..., :-1] / np.maximum(weight, np.float32(1e-6))).astype(np.float32, copy=False)
    if weight.all() or max(totals.shape[:2]) == 1:
        return own
    rows, columns = totals.shape[:2]
    padded = np.pad(totals, ((0, rows % 2), (0, columns % 2), (0, 0)))
    coarse = padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]
    around = _filled(coarse).repeat(2, axis=0).repeat(2, axis=1)[:rows, :columns]
    filled: FloatArray = np.where(weight > 0, own, around)
    return filled
