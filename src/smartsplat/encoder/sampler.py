"""The sampler: the parts of initialization and densification that read every pixel, a contract with several samplers.

``sampler_reference`` defines every method in float64; ``CpuSampler`` and ``GpuSampler`` are tested against it. Results
do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray, IndexArray, SampleArray
from smartsplat.render import View

MIN_WEIGHT = 1e-30
"""Stands in for a weight of zero: behind all that have a weight, at random among its like."""

BLUR_RADIUS = 2
"""Standard deviations at which the blur of the error ends."""


@dataclass(frozen=True)
class TileBudgets:
    """How many pixels are to be sampled in each of T tiles, which partition the image."""

    boxes: npt.NDArray[np.int64]  # [T, 4] column, row, columns, rows
    counts: npt.NDArray[np.int64]  # [T] pixels to sample, at most those of the tile
    keys: npt.NDArray[np.uint64]  # [T] of the tile's own stream of random numbers


@dataclass(frozen=True)
class CellRequest:
    """Which error cells are to be sampled.

    Args:
        side: of a square cell, output pixels; a power of two up to 64.
        count: of cells.
        blur: standard deviation of the blur of the error before it is sampled, cells.
    """

    side: int
    count: int
    blur: float

    def grid(self, view: View) -> tuple[int, int]:
        """Rows and columns of all cells of a view."""
        return -(-view.rows // self.side), -(-view.columns // self.side)


@dataclass(frozen=True)
class SampledCells:
    """Cells of an image, sampled by the error of its rendering."""

    row: IndexArray  # [P]
    column: IndexArray  # [P]
    residual: DoubleArray  # [P, C] mean of target - rendering over the 3 x 3 cells around each


class Sampler(Protocol):
    """What an encoder samples an image with. ``params`` are those of the renderer that the sampler belongs to.

    Of an image of 16 bits ``sample_pixels`` and ``median_color`` see the upper 8: a fit needs no more to start from.
    """

    def sample_pixels(
        self,
        pixels: SampleArray,
        budgets: TileBudgets,
        window: int,
        gradient_fraction: float,
        error_weights: ByteArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """E9-E12: pixels of an image [H, W, C] sampled without replacement by their weight, tile by tile.

        Args:
            window: side of the window of the variance, pixels, odd.
            gradient_fraction: lambda_m of E10.
            error_weights: [H, W], 255 being 1, which the weights are multiplied with; None: all are 1.

        Returns:
            Their centres [P, 2], pixels, and their weights [P].
        """

    def median_color(self, pixels: SampleArray, mean: FloatArray, radius: FloatArray) -> FloatArray:
        """E18-E20: weighted medians over the discs around ``mean`` [N, 2] of ``radius`` [N], pixels; [N, C] in [0, 1].

        Discs of a radius beyond 24 pixels are sampled on a lattice.
        """

    def sample_cells(
        self,
        params: Any,
        target: SampleArray,
        view: View,
        request: CellRequest,
        generator: np.random.Generator,
        error_weights: ByteArray | None = None,
    ) -> SampledCells:
        """Error sampling: cells sampled without replacement by the mean square error of the rendering.

        If there are fewer cells than are asked for, all are equally likely, with replacement.

        Args:
            target: [rows, columns, C] of the view.
            error_weights: [rows, columns], as ``Renderer.residual`` takes them.
        """
