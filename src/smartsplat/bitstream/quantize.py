"""Gaussians <-> integer symbols, with steps that follow each attribute's sensitivity (docs/format.md, "Symbols").

The arithmetic is in ``native/bitstream/quantize.cpp``, because the entropy coder needs the same integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.gaussians import Gaussians, base_scale

SymbolArray = npt.NDArray[np.int32]
"""[N, 11]: cell x and y, energy class, mean scale, ratio, angle, three colours, offset x and y."""

MAX_QUALITY = _native.MAX_QUALITY
MAX_POSITION_CELL_LOG2 = _native.MAX_POSITION_CELL_LOG2
"""log2 of the longest side of a position cell, pixels."""

MAX_CELLS = _native.MAX_CELLS
"""Position cells a side, at most."""


@dataclass(frozen=True)
class Quantizer:
    """What a file says about its quantisation; the compiled functions read it by these names.

    Every attribute of every Gaussian may add K^2 / 12 to the image's squared error (pixels in [0, 1], summed
    over channels), where K = 2^((64 - quality) / 8): one octave finer costs about one bit an attribute.
    """

    quality: int  # in [0, 191]
    cell_log2: int  # log2 of a position cell's side, pixels
    width: int  # of the image, pixels
    height: int
    channels: int

    @property
    def error_budget(self) -> float:
        """K, the error budget of each attribute."""
        return float(2 ** ((_native.QUALITY_ZERO - self.quality) / 8))


def position_cell_log2(width: int, height: int, count: int) -> int:
    """log2 of the cell side at which the number of cells is about six times that of the Gaussians.

    Or of a longer one, where those would be more than ``MAX_CELLS`` a side.
    """
    least = max(math.ceil(math.log2(max(width, height) / MAX_CELLS)), 0)
    return min(max(round(math.log2(2.2 * base_scale(width, height, count))), least), MAX_POSITION_CELL_LOG2)


def quality_for_error(noise: float, attributes: float) -> int:
    """The quality at which quantising so many ``attributes`` adds about ``noise`` to the image's squared error.

    Where errors have weights, the weights of the attributes are counted.
    """
    budget = math.sqrt(12 * max(noise, 1e-12) / max(attributes, 1))  # K
    return min(max(round(_native.QUALITY_ZERO - 8 * math.log2(budget)), 0), MAX_QUALITY)


def quantize(gaussians: Gaussians, quantizer: Quantizer) -> SymbolArray:
    """Symbols [N, 11] in the order of the file: along the Morton curve of the position cells."""
    return _native.quantize(gaussians, quantizer)


def dequantize(symbols: SymbolArray, quantizer: Quantizer) -> Gaussians:
    """The Gaussians that a decoder sees. ValueError if a symbol is out of its range."""
    gaussians = Gaussians.of_size(len(symbols), quantizer.channels)
    _native.dequantize(symbols, quantizer, gaussians)
    return gaussians


def fake_quantize(gaussians: Gaussians, quantizer: Quantizer, out: Gaussians, threads: int = 1) -> None:
    """Write what a decoder would see into ``out``, in the order and with the axes that ``gaussians`` has."""
    _native.fake_quantize(gaussians, quantizer, out, threads)
