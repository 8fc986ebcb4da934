"""The sampler on the processor: ``native/encoder`` and ``error_sampling.py``."""

from __future__ import annotations

import numpy as np

from smartsplat import _native
from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.encoder import error_sampling
from smartsplat.encoder.sampler import CellRequest, SampledCells, TileBudgets
from smartsplat.gaussians import Gaussians
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer

STRIP_CELLS = 1 << 21
"""Cells of the error that are looked at at once, about: what bounds the memory of ``sample_cells``."""


class CpuSampler:
    """The contract of ``Sampler`` on the threads of a renderer, whose Gaussians it samples the error of."""

    def __init__(self, renderer: CpuRenderer, strip_cells: int = STRIP_CELLS) -> None:
        self._renderer = renderer
        self._strip_cells = strip_cells

    def sample_pixels(
        self,
        pixels: SampleArray,
        budgets: TileBudgets,
        window: int,
        gradient_fraction: float,
        error_weights: ByteArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        pixels = np.ascontiguousarray(pixels)
        tiles = (budgets.boxes, budgets.counts, budgets.keys)
        return _native.sample_pixels(pixels, error_weights, *tiles, window, gradient_fraction, self._renderer.threads)

    def median_color(self, pixels: SampleArray, mean: FloatArray, radius: FloatArray) -> FloatArray:
        return _native.median_color(np.ascontiguousarray(pixels), mean, radius, self._renderer.threads)

    def sample_cells(
        self,
        params: Gaussians,
        target: SampleArray,
        view: View,
        request: CellRequest,
        generator: np.random.Generator,
        error_weights: ByteArray | None = None,
    ) -> SampledCells:
        strip_pixels = self._strip_cells * request.side**2
        strips = self._renderer.residual_strips(params, target, view, request.side, strip_pixels, error_weights)
        return error_sampling.sample_cells(strips, request.grid(view), request, generator)
