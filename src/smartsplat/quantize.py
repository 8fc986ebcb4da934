"""Gaussians <-> integer symbols, with steps that follow each attribute's sensitivity (docs/format.md, "Symbols").

The arithmetic is in ``native/quantize.cpp``, because the entropy coder needs the same integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.gaussians import Gaussians, base_scale
from smartsplat.raster.native import fields

SymbolArray = npt.NDArray[np.int32]
"""[N, 11]: cell x and y, energy class, mean scale, ratio, angle, three colours, offset x and y."""

LARGEST_QUALITY = _native.LARGEST_QUALITY
LARGEST_CELL_LOG2 = _native.LARGEST_CELL_LOG2


@dataclass(frozen=True)
class Quantizer:
    """What a file says about its quantisation.

    Every attribute of every Gaussian may add K^2 / 12 to the picture's squared error (pixels in [0, 1], summed
    over channels), where K = 2^((64 - quality) / 8): one octave finer costs about one bit an attribute.
    """

    quality: int  # in [0, 191]
    cell_log2: int  # log2 of a position cell's side, pixels
    width: int  # of the picture, pixels
    height: int
    channels: int

    @property
    def budget(self) -> float:
        """K."""
        return float(2 ** ((_native.QUALITY_ZERO - self.quality) / 8))

    @property
    def key(self) -> tuple[int, int, int, int, int]:
        """The settings in the order in which the compiled functions take them."""
        return self.quality, self.cell_log2, self.width, self.height, self.channels


def cell_for(width: int, height: int, count: int) -> int:
    """log2 of the cell side at which the number of cells is about six times that of the Gaussians."""
    return min(max(round(math.log2(2.2 * base_scale(width, height, count))), 0), LARGEST_CELL_LOG2)


def quality_for_noise(noise: float, values: int) -> int:
    """The quality at which rounding ``values`` attributes adds about ``noise`` to the picture's squared error."""
    budget = math.sqrt(12 * max(noise, 1e-12) / max(values, 1))  # K
    return min(max(round(_native.QUALITY_ZERO - 8 * math.log2(budget)), 0), LARGEST_QUALITY)


def quantize(gaussians: Gaussians, quantizer: Quantizer) -> SymbolArray:
    """Symbols [N, 11] in the order of the file: along the Morton curve of the position cells."""
    return _native.quantize(fields(gaussians), quantizer.key)


def dequantize(symbols: SymbolArray, quantizer: Quantizer) -> Gaussians:
    """The Gaussians that a decoder sees. ValueError if a symbol is out of its range."""
    gaussians = Gaussians.of_size(len(symbols), quantizer.channels)
    _native.dequantize(symbols, quantizer.key, fields(gaussians))
    return gaussians


def snap(gaussians: Gaussians, quantizer: Quantizer, out: Gaussians, threads: int = 1) -> None:
    """Write what a decoder would see into ``out``, in the order and with the axes that ``gaussians`` has."""
    _native.snap(fields(gaussians), quantizer.key, fields(out), threads)
