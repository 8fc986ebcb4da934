"""Rendering: one contract, ``Renderer``, and several renderers.

``reference`` defines every method in float64 and is checked by finite differences; ``CpuRenderer`` and ``GpuRenderer``
are tested against it, and ``device`` chooses between them. The same stages have the same names
on all: project, bin, tile, loss, ssim, adam. Results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.gaussians import Gaussians

FILTER_VARIANCE = 0.1
"""Variance of the pixel filter at minification, in units of (pixels averaged)^2 - 1.

Averaging n pixels has a variance of (n^2 - 1) / 12; a tenth makes up for the window, which cuts the tails off.
Measured best of six values against the box average of the whole, at 1/2 to 1/16: 42 to 64 dB.
"""

MAX_ERROR_CELL_LOG2 = 6
"""log2 of the longest side of an error cell, output pixels: ``Renderer.residual`` takes powers of two up to 64."""


COARSE_CELL = 4
"""Side of the cells of the coarse error, pixels: ``StepSettings.coarse``."""

LUMA = (0.299, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601, as Pillow's); grey is luma itself."""


def luma(samples: SampleArray | FloatArray) -> FloatArray:
    """``LUMA`` of samples [..., C], C = 1 or 3: [...]."""
    values = samples.astype(np.float32)
    if values.shape[-1] == 1:
        return values[..., 0]
    red, green, blue = (np.float32(weight) * values[..., channel] for channel, weight in enumerate(LUMA))
    plane: FloatArray = red + green + blue
    return plane


@dataclass(frozen=True)
class View:
    """A region of the image and the size it is rendered at; the compiled functions read it by these names."""

    x: float  # of the region, image pixels
    y: float
    width: float
    height: float
    columns: int  # output pixels
    rows: int

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0 and self.columns > 0 and self.rows > 0):
            raise ValueError(f"an empty view: {self}")

    @staticmethod
    def whole(width: int, height: int, columns: int | None = None, rows: int | None = None) -> View:
        """The whole image, at its own size unless ``columns`` and ``rows`` are given."""
        return View(0, 0, width, height, columns or width, rows or height)

    @property
    def scale_x(self) -> float:
        """Output pixels for each image pixel."""
        return self.columns / self.width

    @property
    def scale_y(self) -> float:
        return self.rows / self.height


def filter_variance(scale: float) -> float:
    """Variance of the pixel filter in image pixels: an output pixel averages ``1 / scale`` of them."""
    return FILTER_VARIANCE * (1 / scale**2 - 1) if scale < 1 else 0.0


def check_weights(weights: ByteArray | None, view: View, settings: StepSettings | None = None) -> None:
    """ValueError if weights do not go with a view, or they or the coarse error with the loss of a step."""
    if settings is not None and settings.ssim and settings.coarse:
        raise ValueError("a loss with SSIM takes no coarse error")
    if weights is None:
        return
    if weights.dtype != np.uint8 or weights.shape != (view.rows, view.columns) or not weights.flags.c_contiguous:
        raise ValueError(f"weights of {weights.dtype} {weights.shape} for {view}")
    if settings is not None and settings.ssim:
        raise ValueError("a loss with SSIM takes no weights")


def max_covered_pixels(overlap: float, pixels: int, count: int) -> float:
    """Output pixels that ``count`` Gaussians may cover in all, before a file is refused for its work.

    As many as ``overlap`` over each pixel; a few that are smaller than a tile do not count.
    """
    return overlap * pixels + 64.0 * count


def max_intersections(overlap: float, tiles: int, count: int) -> float:
    """Tiles that ``count`` Gaussians may touch in all; four each do not count, as every small one may lie so."""
    return overlap * tiles + 4.0 * count


def strip_rows(view: View, strip_pixels: int, tile: int) -> int:
    """Rows of a strip with about ``strip_pixels`` output pixels: whole tiles of so many rows, or all of the view."""
    if strip_pixels >= view.rows * view.columns:
        return view.rows
    return max(1, strip_pixels // view.columns // tile) * tile


@dataclass(frozen=True)
class StepSettings:
    """Loss, learning rates and bounds of one optimisation step; kernels read them by these names.

    With ``relative``, steps are in a Gaussian's own units: ``lr_mean_x`` and ``lr_mean_y`` move the mean along its axes
    in units of its scales, with one second moment for both; ``lr_scale`` changes (log u + log v) / sqrt(2) and (log u -
    log v) / sqrt(2); and all moves but those of colours are multiplied by ``reach``, the rotation's also by ``turn``
    (reference.py). Otherwise moves are in pixels.

    The squared error is (1 - coarse) sum w e^2 + coarse sum over cells (sum w e)^2 / sum w, the cells having
    ``COARSE_CELL`` pixels a side of the view: errors that cancel out within a cell count less.
    """

    l1: float = 0.0
    l2: float = 1.0
    ssim: float = 0.0  # weight of 1 - SSIM
    coarse: float = 0.0  # part of l2 that is of mean errors over coarse cells
    rate_weight: float = 0.0  # lambda of the rate term: sum of log(1 + energy / rate_energy)
    rate_energy: float = 1.0  # energy |c|^2 u v at which it sets in, squared pixels
    lr_mean_x: float = 0.02
    lr_mean_y: float = 0.02
    lr_scale: float = 0.02
    lr_rotation: float = 0.02  # radians
    lr_color: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-15
    relative: bool = True
    min_scale: float = 0.25  # pixels
    max_scale: float = 65536.0  # pixels
    max_aspect: float = 256.0
    width: int = 1  # pixels of the whole image: means stay inside
    height: int = 1


REACH_ENERGY = 1000.0
"""Energy in units of ``StepSettings.rate_energy`` of a Gaussian whose shape moves by the learning rates as they are."""

REACH = 0.3, 3.0
"""How far the others move at least and at most, in units of the learning rates."""

MAX_TURN_ASPECT = 2.0
"""u / v - v / u up to which a rotation moves like a scale."""


@dataclass(frozen=True, eq=False)
class Grain:
    """How strong grain is; the compiled renderer reads it by these names.

    Args:
        strengths: [bands, rows, columns] standard deviation in each band and cell, in [0, 1] units.
        cell: side of a cell, image pixels. Strengths are those of cells' centres, and linear between them.
    """

    strengths: FloatArray
    cell: int


@dataclass(frozen=True, eq=False)
class Structure:
    """A second term of a step's loss: ``weight`` (1 - SSIM) of the rendering's ``LUMA`` at a view of its own.

    It moves colours along grey: its gradient by a colour is the one by luma, a third for each channel. Along the
    weights of luma, where a squared error changes least for the same luma, strokes become green and purple.

    Its rendering is not clamped: SSIM asks for contrast, and where the image is white or black nothing else would keep
    the rendering from going ever further beyond.
    """

    pixels: SampleArray  # [rows, columns, 1] luma of the image at the size of the view
    view: View
    weight: float


@dataclass(frozen=True)
class StepResult:
    """What a step saw before it moved: the loss and the mean square error, both in [0, 1] units."""

    loss: float
    mean_square: float


class Renderer(Protocol):
    """Renders Gaussians and fits them to an image.

    ``params`` are the renderer's own copy of Gaussians and ``adam`` the optimiser's state. Both are opaque outside, but
    for ``len(params)``, ``params[index]`` and ``params.joined(other)``, and the last two of ``adam``.

    The loss sees the rendering clamped to [0, 1]; its gradient passes the clamp unchanged, so that a saturated pixel
    can still come back.
    """

    def upload(self, gaussians: Gaussians) -> Any:
        """A copy as ``params``."""

    def download(self, params: Any) -> Gaussians:
        """A copy of ``params``."""

    def render(self, params: Any, view: View) -> FloatArray:
        """E4, float32 [rows, columns, C], not clamped."""

    def render_samples(
        self,
        params: Any,
        view: View,
        dtype: npt.DTypeLike = np.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> SampleArray:
        """The rendering clamped to [0, 1] and rounded half up to the code values of ``dtype``, uint8 or uint16.

        Args:
            grain: is added to it (``render.grain``).

        Raises:
            OverflowError: more than ``overlap`` Gaussians lie over a pixel on average; before anything large is
                allocated.
        """

    def render_strips(
        self,
        params: Any,
        view: View,
        strip_pixels: int,
        dtype: npt.DTypeLike = np.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> Iterator[SampleArray]:
        """``render_samples`` in strips of whole rows with about so many pixels.

        Nothing else may be asked of this renderer until the last one is rendered.
        """

    def render_gradient(self, params: Any, view: View, d_image: FloatArray) -> Gaussians:
        """dL/d(parameter) for dL/d(image) [rows, columns, C], by natural parameters (pixels, radians)."""

    def loss_gradient(
        self, params: Any, target: SampleArray, view: View, settings: StepSettings, weights: ByteArray | None = None
    ) -> tuple[Gaussians, StepResult]:
        """The gradient of the loss (E22) against ``target`` [rows, columns, C], without the rate term.

        Args:
            weights: [rows, columns] of the errors of each pixel, 255 being 1, for losses without SSIM; None: all are 1.
                They multiply errors and squares; sums are divided by the number of pixels all the same.
        """

    def adam_state(self, params: Any) -> Any:
        """Adam's state for new Gaussians."""

    def download_adam(self, adam: Any) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int32]]:
        """A copy of Adam's state: both moments, [N, 5 + C], and ages in steps, [N]."""

    def upload_adam(self, first: FloatArray, second: FloatArray, age: npt.NDArray[np.int32]) -> Any:
        """The inverse."""

    def step(
        self,
        params: Any,
        adam: Any,
        target: SampleArray,
        view: View,
        settings: StepSettings,
        weights: ByteArray | None = None,
        structure: Structure | None = None,
    ) -> StepResult:
        """One step: render, loss against ``target`` [rows, columns, C], gradient, Adam on ``params`` in place.

        The loss contains the rate term, and ``structure``.
        """

    def residual(
        self, params: Any, target: SampleArray, view: View, cell: int, weights: ByteArray | None = None
    ) -> FloatArray:
        """Errors by square cells of ``cell`` output pixels a side, a power of two up to 64, [rows, columns, C + 1].

        The mean of (target - clamped rendering) of each channel by the pixels' ``weights`` (0 where all are 0), and
        the mean of the weighted squares.
        """
