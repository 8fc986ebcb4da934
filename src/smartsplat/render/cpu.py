"""The renderer on the processor: numpy arrays handed to the compiled kernels of ``native/render``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.gaussians import Gaussians
from smartsplat.render import (
    Grain,
    StepResult,
    StepSettings,
    Structure,
    View,
    check_weights,
    max_covered_pixels,
    max_intersections,
    strip_rows,
)
from smartsplat.threads import available_threads


@dataclass
class AdamState:
    """Adam's moments, [N, 5 + C], and each Gaussian's age in steps, [N]."""

    first: FloatArray
    second: FloatArray
    age: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        # The compiled step would convert anything else and then update its own copy.
        for array, kind in ((self.first, np.float32), (self.second, np.float32), (self.age, np.int32)):
            if array.dtype != kind or not array.flags.c_contiguous:
                raise ValueError(f"Adam's state must be C-contiguous {np.dtype(kind)}, not {array.dtype}")

    def __getitem__(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> AdamState:
        return AdamState(self.first[index], self.second[index], self.age[index])

    def joined(self, other: AdamState) -> AdamState:
        return AdamState(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.age, other.age]),
        )


class CpuRenderer:
    """The contract of ``Renderer``; ``params`` are Gaussians, which ``step`` changes in place.

    Not to be shared between Python threads: it owns the buffers that it works in.

    Args:
        threads: the default is all.
        variant: an instruction set, "v2", "v3" or "v4" ("base" elsewhere than on x86-64); the default is the best that
            this processor runs.
        exact: render all Gaussians at full size. Otherwise those that are wide against the pixels are rendered on
            coarser grids, within 1e-3 each (native/render/pyramid.cpp).

    Raises:
        ValueError: the processor cannot run the variant.
    """

    def __init__(self, threads: int | None = None, variant: str | None = None, exact: bool = False) -> None:
        max_level = {"max_level": 0} if exact else {}
        self._fitter = _native.Fitter(threads or available_threads(), variant, **max_level)

    @property
    def variant(self) -> str:
        return str(self._fitter.variant)

    @property
    def threads(self) -> int:
        return int(self._fitter.threads)

    def upload(self, gaussians: Gaussians) -> Gaussians:
        return Gaussians(*(array.copy() for array in gaussians.arrays()))

    def download(self, params: Gaussians) -> Gaussians:
        return self.upload(params)

    def render(self, params: Gaussians, view: View) -> FloatArray:
        image = np.empty((view.rows, view.columns, params.channels), np.float32)
        self._fitter.render(params, view, image)
        return image

    def render_samples(
        self,
        params: Gaussians,
        view: View,
        dtype: npt.DTypeLike = np.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> SampleArray:
        (image,) = self.render_strips(params, view, view.rows * view.columns, dtype, overlap, grain)
        return image

    def render_strips(
        self,
        params: Gaussians,
        view: View,
        strip_pixels: int,
        dtype: npt.DTypeLike = np.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> Iterator[SampleArray]:
        self._prepare_strips(params, view, overlap)
        rows = strip_rows(view, strip_pixels, _native.MACROTILE)
        return (
            self._rendered_rows(top, view, rows, params.channels, dtype, grain) for top in range(0, view.rows, rows)
        )

    def _prepare_strips(self, params: Gaussians, view: View, overlap: float) -> None:
        count, tiles = len(params), -(-view.columns // _native.TILE) * -(-view.rows // _native.TILE)
        limits = max_covered_pixels(overlap, view.columns * view.rows, count), max_intersections(overlap, tiles, count)
        self._fitter.prepare_strips(params, view, *limits)

    def _rendered_rows(
        self, top: int, view: View, rows: int, channels: int, dtype: npt.DTypeLike, grain: Grain | None
    ) -> SampleArray:
        # numpy asks for huge pages, which the first touch of a large image needs: 6 against 85 ms at 16 MP.
        image: SampleArray = np.empty((min(rows, view.rows - top), view.columns, channels), dtype)
        self._fitter.render_rows(top, image, grain)
        return image

    def render_gradient(self, params: Gaussians, view: View, d_image: FloatArray) -> Gaussians:
        gradient = Gaussians.of_size(len(params), params.channels)
        self._fitter.render_gradient(params, view, d_image, gradient)
        return gradient

    def loss_gradient(
        self,
        params: Gaussians,
        target: SampleArray,
        view: View,
        settings: StepSettings,
        weights: ByteArray | None = None,
    ) -> tuple[Gaussians, StepResult]:
        check_weights(weights, view, settings)
        gradient = Gaussians.of_size(len(params), params.channels)
        loss, mean_square = self._fitter.loss_gradient(params, target, weights, view, settings, gradient)
        return gradient, StepResult(loss, mean_square)

    def adam_state(self, params: Gaussians) -> AdamState:
        shape = (len(params), 5 + params.channels)
        return AdamState(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(len(params), np.int32))

    def download_adam(self, adam: AdamState) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int32]]:
        return adam.first.copy(), adam.second.copy(), adam.age.copy()

    def upload_adam(self, first: FloatArray, second: FloatArray, age: npt.NDArray[np.int32]) -> AdamState:
        return AdamState(first.copy(), second.copy(), age.copy())

    def step(
        self,
        params: Gaussians,
        adam: AdamState,
        target: SampleArray,
        view: View,
        settings: StepSettings,
        weights: ByteArray | None = None,
        structure: Structure | None = None,
    ) -> StepResult:
        check_weights(weights, view, settings)
        loss, mean_square = self._fitter.step(params, adam, target, weights, view, settings, structure)
        return StepResult(loss, mean_square)

    def residual(
        self, params: Gaussians, target: SampleArray, view: View, cell: int, weights: ByteArray | None = None
    ) -> FloatArray:
        (cells,) = self.residual_strips(params, target, view, cell, view.rows * view.columns, weights)
        return cells

    def residual_strips(
        self,
        params: Gaussians,
        target: SampleArray,
        view: View,
        cell: int,
        strip_pixels: int,
        weights: ByteArray | None = None,
    ) -> Iterator[FloatArray]:
        """What ``residual`` finds, in strips of whole rows of cells with about so many pixels.

        Nothing else may be asked of this renderer until the last one is there.
        """
        if target.shape != (view.rows, view.columns, params.channels):
            raise ValueError(f"a target of {target.shape} for {view}")
        check_weights(weights, view)
        self._prepare_strips(params, view, math.inf)
        rows = strip_rows(view, strip_pixels, _native.MACROTILE)
        tops = range(0, view.rows, rows)
        weights_of = {top: None if weights is None else weights[top : top + rows] for top in tops}
        return (self._fitter.residual(top, target[top : top + rows], weights_of[top], cell) for top in tops)

    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each part of the calls since ``reset_clocks``, summed over threads."""
        return self._fitter.stage_seconds()

    def reset_clocks(self) -> None:
        self._fitter.reset_clocks()

    def multiply_add(self, rounds: int) -> float:
        """Multiply-adds as fast as this variant can, on every thread; returns how many floating-point operations.

        Timed, it is the ceiling that ``bench.kernels`` compares with.
        """
        return self._fitter.multiply_add(rounds)


def runs_here(variant: str) -> bool:
    """Whether this processor can run the kernels of an instruction set."""
    try:
        CpuRenderer(1, variant)
    except ValueError:
        return False
    return True
