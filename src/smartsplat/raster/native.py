"""The CPU backend: numpy arrays handed to the compiled kernels of ``native/``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.gaussians import FloatArray, Gaussians
from smartsplat.raster import DrawnCells, StepResult, StepSettings, View, cells

Bytes = npt.NDArray[np.uint8]
Params = Gaussians
"""The parameters are the arrays of Gaussians themselves, which ``step`` changes in place."""

CELLS = 1 << 21
"""Of the residual that are looked at at once, about: what bounds the memory of ``draw_cells``."""


@dataclass
class State:
    """Adam's moments, [N, 5 + C], and each Gaussian's age in steps, [N]."""

    first: FloatArray
    second: FloatArray
    age: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        # The compiled step would convert anything else and then update its own copy.
        for array, kind in ((self.first, np.float32), (self.second, np.float32), (self.age, np.int32)):
            if array.dtype != kind or not array.flags.c_contiguous:
                raise ValueError(f"Adam's state must be C-contiguous {np.dtype(kind)}, not {array.dtype}")

    def __getitem__(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> State:
        return State(self.first[index], self.second[index], self.age[index])

    def joined(self, other: State) -> State:
        return State(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.age, other.age]),
        )


def fields(gaussians: Gaussians) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """The arrays in the order in which the compiled functions take them."""
    return gaussians.mean, gaussians.scale, gaussians.rotation, gaussians.color


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _area(view: View) -> tuple[float, float, float, float, int, int]:
    return view.x, view.y, view.scale_x, view.scale_y, view.columns, view.rows


class Backend:
    """The contract of ``smartsplat.raster`` on ``threads`` threads.

    ``variant`` names an instruction set ("v2", "v3", "v4"; "base" elsewhere than on x86-64); the default is the
    best that this processor runs. ValueError if it cannot run the one that is named. Gaussians that are wide against
    the pixels are drawn on coarser grids, within 1e-3 each (native/levels.cpp); ``exact`` draws all of
    them at full size. Not to be shared between Python threads: it owns the buffers that it works in.
    """

    def __init__(self, threads: int | None = None, variant: str | None = None, exact: bool = False) -> None:
        coarsest = {"coarsest": 0} if exact else {}
        self._rasterizer = _native.Rasterizer(threads or available_threads(), variant, **coarsest)

    @property
    def variant(self) -> str:
        return str(self._rasterizer.variant)

    def upload(self, gaussians: Gaussians) -> Params:
        return Gaussians(*(field.copy() for field in fields(gaussians)))

    def download(self, params: Params) -> Gaussians:
        return self.upload(params)

    def render(self, params: Params, view: View) -> FloatArray:
        image = np.empty((view.rows, view.columns, params.channels), np.float32)
        self._rasterizer.render(fields(params), _area(view), image)
        return image

    def render_bytes(self, params: Params, view: View, overlap: float = math.inf) -> Bytes:
        """OverflowError, before anything large is allocated, if more than ``overlap`` lie over a pixel on average."""
        (image,) = self.render_strips(params, view, view.rows * view.columns, overlap)
        return image

    def render_strips(self, params: Params, view: View, pixels: int, overlap: float = math.inf) -> Iterator[Bytes]:
        """What ``render_bytes`` draws, in strips of whole rows with about so many ``pixels``.

        Nothing else may be asked of this backend until the last one is drawn.
        """
        self._rasterizer.prepare_strips(fields(params), _area(view), overlap)
        rows = _strip_rows(view, pixels)
        return (self._drawn(top, view, rows, params.channels) for top in range(0, view.rows, rows))

    def _drawn(self, top: int, view: View, rows: int, channels: int) -> Bytes:
        # numpy asks for huge pages, which the first touch of a large picture needs: 6 against 85 ms at 16 MP.
        image = np.empty((min(rows, view.rows - top), view.columns, channels), np.uint8)
        self._rasterizer.draw_bytes(top, image)
        return image

    def render_gradient(self, params: Params, view: View, d_image: FloatArray) -> Params:
        gradient = Gaussians(*(np.empty_like(field) for field in fields(params)))
        self._rasterizer.render_gradient(fields(params), _area(view), d_image, fields(gradient))
        return gradient

    def start(self, params: Params) -> State:
        shape = (len(params), 5 + params.channels)
        return State(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(len(params), np.int32))

    def step(self, params: Params, state: State, target: Bytes, view: View, settings: StepSettings) -> StepResult:
        s = settings
        loss, mean_square = self._rasterizer.step(
            fields(params),
            state.first,
            state.second,
            state.age,
            target,
            _area(view),
            (s.l1, s.l2, s.ssim, s.size, s.size_floor),
            (s.rate_mean_x, s.rate_mean_y, s.rate_scale, s.rate_rotation, s.rate_color),
            (s.beta1, s.beta2, s.epsilon),
            s.relative,
            (s.smallest_scale, s.largest_scale, s.largest_aspect),
            (s.width, s.height),
        )
        return StepResult(loss, mean_square)

    def residual(self, params: Params, target: Bytes, view: View, cell: int) -> FloatArray:
        (cells,) = self.residual_strips(params, target, view, cell, view.rows * view.columns)
        return cells

    def residual_strips(
        self, params: Params, target: Bytes, view: View, cell: int, pixels: int
    ) -> Iterator[FloatArray]:
        """What ``residual`` finds, in strips of whole rows of cells with about so many ``pixels``.

        Nothing else may be asked of this backend until the last one is there.
        """
        if target.shape != (view.rows, view.columns, params.channels):
            raise ValueError(f"a target of {target.shape} for {view}")
        self._rasterizer.prepare_strips(fields(params), _area(view), math.inf)
        rows = _strip_rows(view, pixels)
        return (self._rasterizer.residual(top, target[top : top + rows], cell) for top in range(0, view.rows, rows))

    def draw_cells(
        self,
        params: Params,
        target: Bytes,
        view: View,
        cell: int,
        count: int,
        blur: float,
        generator: np.random.Generator,
    ) -> DrawnCells:
        strips = self.residual_strips(params, target, view, cell, CELLS * cell**2)
        return cells.drawn(strips, -(-view.rows // cell), -(-view.columns // cell), count, blur, generator)

    def draw_weighted(
        self,
        target: Bytes,
        boxes: npt.NDArray[np.int64],
        budgets: npt.NDArray[np.int64],
        keys: npt.NDArray[np.uint64],
        window: int,
        share: float,
    ) -> tuple[FloatArray, FloatArray]:
        target = np.ascontiguousarray(target)
        return _native.draw_weighted(target, boxes, budgets, keys, window, share, self._rasterizer.threads)

    def median_color(self, target: Bytes, mean: FloatArray, scale: FloatArray) -> FloatArray:
        target = np.ascontiguousarray(target)
        return _native.weighted_median_colors(target, mean, scale, self._rasterizer.threads)

    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each part of the calls since ``reset_clocks``, summed over threads."""
        return self._rasterizer.stage_seconds()

    def reset_clocks(self) -> None:
        self._rasterizer.reset_clocks()

    def multiply_add(self, rounds: int) -> float:
        """Multiply-adds as fast as this variant can, on every thread; returns how many floating-point operations.

        Timed, it is the ceiling that ``bench.kernels`` compares with.
        """
        return self._rasterizer.multiply_add(rounds)


def _strip_rows(view: View, pixels: int) -> int:
    """Rows of a strip with about so many pixels: whole panels, or all of them."""
    if pixels >= view.rows * view.columns:
        return view.rows
    return max(1, pixels // view.columns // _native.PANEL) * _native.PANEL


def runs_here(variant: str) -> bool:
    """Whether this processor can run the kernels of an instruction set."""
    try:
        Backend(1, variant)
    except ValueError:
        return False
    return True
