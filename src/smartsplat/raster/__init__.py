"""Rendering: one contract, several backends.

A backend is an object with these methods (``Backend``). ``params`` and ``state`` are its own and opaque outside
``raster``, but for ``len(params)``, ``params[index]``, ``params.joined(other)`` and the last two of states:

- ``upload(gaussians) -> params`` and ``download(params) -> Gaussians``
- ``render(params, view) -> float32 [h, w, C]``, not clamped, ``render_bytes(params, view) -> uint8``, and
  ``render_strips`` the same a number of rows at a time
- ``render_gradient(params, view, d_image) -> Gaussians``: dL/d(parameter) for dL/d(image), of natural
  parameters (pixels, radians)
- ``start(params) -> state``: Adam's moments for new Gaussians
- ``step(params, state, target, view, settings) -> StepResult``: render, loss against ``target``, gradient, Adam on
  ``params`` in place
- ``residual(params, target, view, cell) -> float32 [rows, columns, C + 1]``: mean of (target - rendering) and
  mean square error over square cells
- ``draw_cells(params, target, view, cell, count, blur, generator) -> (row [count], column [count], color [count, C])``:
  cells drawn by that error, blurred, without replacement, and the mean residual of the 3 x 3 around each; if there
  are fewer cells than that, all are equal
- ``draw_weighted(target, boxes, budgets, keys, window, share) -> (mean [P, 2], weight [P])``: E9-E12, for each tile
  (column, row, columns, rows; together the whole picture) a number of pixel centres by its own stream of random numbers
- ``median_color(target, mean, scale) -> float32 [N, C]`` in [0, 1]: E18-E20 for discs of radius ``scale`` [N]. Those
  beyond 24 pixels are sampled on a lattice

The loss of a step sees the rendering clamped to [0, 1]; its gradient passes the clamp unchanged, so that a
saturated pixel can still come back. ``reference`` defines every method but the last three in float64; other backends
are tested against it: ``native`` and ``gpu``, which ``device`` chooses from. Results do not depend on the number of
threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smartsplat.gaussians import FloatArray, Gaussians

FILTER_VARIANCE = 0.1
"""Variance of the pixel filter at minification, in units of (pixels averaged)^2 - 1.

Averaging n pixels has a variance of (n^2 - 1) / 12; a tenth makes up for the window, which cuts the tails off.
Measured best of six values against the box average of the whole, at 1/2 to 1/16: 42 to 64 dB.
"""

CUTOFF = 3.0
"""Standard deviations at which a Gaussian's window ends."""

EDGE = math.exp(-(CUTOFF**2) / 2)
"""What is subtracted from exp(-q/2), so that the window ends continuously."""


@dataclass(frozen=True)
class View:
    """A region of the picture and the size it is drawn at.

    ``x``, ``y``, ``width``, ``height`` are the region in picture pixels, ``columns`` and ``rows`` the output's size.
    """

    x: float
    y: float
    width: float
    height: float
    columns: int
    rows: int

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0 and self.columns > 0 and self.rows > 0):
            raise ValueError(f"an empty view: {self}")

    @staticmethod
    def whole(width: int, height: int, columns: int | None = None, rows: int | None = None) -> View:
        """The whole picture, at its own size unless ``columns`` and ``rows`` are given."""
        return View(0, 0, width, height, columns or width, rows or height)

    @property
    def scale_x(self) -> float:
        return self.columns / self.width

    @property
    def scale_y(self) -> float:
        return self.rows / self.height


def filter_variance(scale: float) -> float:
    """Variance of the pixel filter in picture pixels: an output pixel averages ``1 / scale`` of them."""
    return FILTER_VARIANCE * (1 / scale**2 - 1) if scale < 1 else 0.0


@dataclass(frozen=True)
class StepSettings:
    """Loss, rates and bounds of one optimisation step.

    With ``relative``, ``rate_mean_x`` and ``rate_mean_y`` move the mean along the Gaussian's own axes in units
    of its scales and ``rate_scale`` changes log scales; otherwise both are in pixels.
    """

    l1: float = 0.0
    l2: float = 1.0
    ssim: float = 0.0  # weight of 1 - SSIM
    size: float = 0.0  # weight of the size term: sum of log(1 + energy / size_floor)
    size_floor: float = 1.0  # energy |c|^2 u v at which it sets in, squared pixels
    rate_mean_x: float = 0.02
    rate_mean_y: float = 0.02
    rate_scale: float = 0.02
    rate_rotation: float = 0.02  # radians
    rate_color: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-15
    relative: bool = True
    smallest_scale: float = 0.25  # pixels
    largest_scale: float = 65536.0  # pixels
    largest_aspect: float = 256.0
    width: int = 1  # pixels of the whole picture: means stay inside
    height: int = 1


@dataclass(frozen=True)
class StepResult:
    """What a step saw before it moved: the loss and the mean square error, both in [0, 1] units."""

    loss: float
    mean_square: float


Bytes = npt.NDArray[np.uint8]
DrawnCells = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]
"""Row and column of each, [count], and the mean residual around it, [count, C]."""


class Backend(Protocol):
    """The contract, for type checkers. ``overlap`` bounds the work of a hostile file: see ``native.Backend``."""

    def upload(self, gaussians: Gaussians) -> Any: ...

    def download(self, params: Any) -> Gaussians: ...

    def render(self, params: Any, view: View) -> FloatArray: ...

    def render_bytes(self, params: Any, view: View, overlap: float = math.inf) -> Bytes: ...

    def render_strips(self, params: Any, view: View, pixels: int, overlap: float = math.inf) -> Iterator[Bytes]: ...

    def render_gradient(self, params: Any, view: View, d_image: FloatArray) -> Gaussians: ...

    def start(self, params: Any) -> Any: ...

    def step(self, params: Any, state: Any, target: Bytes, view: View, settings: StepSettings) -> StepResult: ...

    def residual(self, params: Any, target: Bytes, view: View, cell: int) -> FloatArray: ...

    def draw_cells(
        self,
        params: Any,
        target: Bytes,
        view: View,
        cell: int,
        count: int,
        blur: float,
        generator: np.random.Generator,
    ) -> DrawnCells: ...

    def draw_weighted(
        self,
        target: Bytes,
        boxes: npt.NDArray[np.int64],
        budgets: npt.NDArray[np.int64],
        keys: npt.NDArray[np.uint64],
        window: int,
        share: float,
    ) -> tuple[FloatArray, FloatArray]: ...

    def median_color(self, target: Bytes, mean: FloatArray, scale: FloatArray) -> FloatArray: ...
