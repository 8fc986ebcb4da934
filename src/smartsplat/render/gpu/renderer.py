"""The renderer with its arrays on a GPU: checks and copies; the stages have modules of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.gaussians import Gaussians
from smartsplat.render import Grain, StepResult, StepSettings, Structure, View, check_weights, strip_rows
from smartsplat.render.gpu.adam import adam_step, natural_gradient
from smartsplat.render.gpu.bin import TileLists, tile_lists
from smartsplat.render.gpu.constants import TILE
from smartsplat.render.gpu.grain import TensorGrain, grain_rows
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.params import TensorAdamState, TensorGaussians
from smartsplat.render.gpu.residual import residual_cells
from smartsplat.render.gpu.ssim import fit_strips
from smartsplat.render.gpu.tile import ImageRows, backward_rows, empty_partials, fit_tiles, render_rows

SAMPLE_TYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.uint16}
"""What numpy and torch call them."""


class GpuRenderer:
    """The contract of ``Renderer`` on one GPU.

    A target and its weights are uploaded when they are first seen and must not change afterwards. Sums have a fixed
    order: the same device and the same versions of torch and Triton give the same results, except for tiles that more
    than ``bin.MAX_SORTED_LIST`` Gaussians touch. Not to be shared between Python threads.

    Every method that works on the device raises DeviceError if its memory does not suffice.

    Args:
        device: "cuda" or "cuda:N", also for AMD's GPUs; "cpu" is Triton's interpreter.
        launcher: of that device, unless the renderer makes its own.
    """

    def __init__(self, device: str = "cuda", launcher: Launcher | None = None) -> None:
        self.launcher = launcher or Launcher(device)

    @property
    def device(self) -> torch.device:
        return self.launcher.device

    # ---- the contract ----------------------------------------------------------------------------------------------

    def upload(self, gaussians: Gaussians) -> TensorGaussians:
        return TensorGaussians(*map(self.launcher.upload, gaussians.arrays()))

    def download(self, params: TensorGaussians) -> Gaussians:
        return Gaussians(*(tensor.cpu().numpy().copy() for tensor in params.tensors()))

    def render(self, params: TensorGaussians, view: View) -> FloatArray:
        image: FloatArray = self.render_tensor(params, view).cpu().numpy()
        return image

    def render_samples(
        self,
        params: TensorGaussians,
        view: View,
        dtype: npt.DTypeLike = np.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> SampleArray:
        image = self.render_samples_tensor(params, view, _sample_type(dtype), overlap, grain)
        samples: SampleArray = image.cpu().numpy()
        return samples

    def render_strips(
        self,
        params: TensorGaussians,
        view: View,
        strip_pixels: int,
        dtype: npt.DTypeLike = np.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> Iterator[SampleArray]:
        samples = _sample_type(dtype)
        with self.launcher.memory_errors(len(params), view):
            lists = self.bin(params, view, overlap)
            own = None if grain is None else TensorGrain.of(self.launcher, grain, view)
        rows = strip_rows(view, strip_pixels, int(TILE.value))
        strips = ((top, min(top + rows, view.rows)) for top in range(0, view.rows, rows))
        return (self._rendered(lists, params.channels, view, strip, samples, own).cpu().numpy() for strip in strips)

    def render_gradient(self, params: TensorGaussians, view: View, d_image: FloatArray) -> Gaussians:
        return self.download(self.gradient_tensor(params, view, self.launcher.upload(d_image)))

    def loss_gradient(
        self,
        params: TensorGaussians,
        target: SampleArray,
        view: View,
        settings: StepSettings,
        weights: ByteArray | None = None,
    ) -> tuple[Gaussians, StepResult]:
        check_weights(weights, view, settings)
        tensors = self._target(params, target, weights, view)
        with self.launcher.memory_errors(len(params), view):
            lists = self.bin(params, view)
            partials = empty_partials(self.launcher, lists)
            sums = self._loss_pass(lists, *tensors, partials, settings)
            gradient = natural_gradient(self.launcher, params, lists, partials)
            result = _result(sums.tolist(), 0.0, target.size, settings)
        return self.download(gradient), result

    def adam_state(self, params: TensorGaussians) -> TensorAdamState:
        shape = (len(params), 5 + params.channels)
        first, second = self.launcher.zeros(shape), self.launcher.zeros(shape)
        return TensorAdamState(first, second, self.launcher.zeros((len(params),), torch.int32))

    def download_adam(self, adam: TensorAdamState) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int32]]:
        first, second, age = (tensor.cpu().numpy().copy() for tensor in adam.tensors())
        return first, second, age

    def upload_adam(self, first: FloatArray, second: FloatArray, age: npt.NDArray[np.int32]) -> TensorAdamState:
        return TensorAdamState(*(self.launcher.upload(array) for array in (first, second, age)))

    def step(
        self,
        params: TensorGaussians,
        adam: TensorAdamState,
        target: SampleArray,
        view: View,
        settings: StepSettings,
        weights: ByteArray | None = None,
        structure: Structure | None = None,
    ) -> StepResult:
        check_weights(weights, view, settings)
        if adam.first.shape != (len(params), 5 + params.channels):
            raise ValueError(f"moments of {tuple(adam.first.shape)} for {len(params)} Gaussians")
        tensors = self._target(params, target, weights, view)
        with self.launcher.memory_errors(len(params), view):
            other, term = (None, 0.0) if structure is None else self._structure(params, structure)
            lists = self.bin(params, view)
            partials = empty_partials(self.launcher, lists)
            sums = self._loss_pass(lists, *tensors, partials, settings)
            rate_sums = adam_step(self.launcher, params, adam, lists, partials, settings, other)
            terms = (rate_sums.sum() + term).reshape(1)
            *totals, rest = torch.cat([sums, terms]).tolist()  # one wait for the device
        return _result(totals, rest, target.size, settings)

    def residual(
        self, params: TensorGaussians, target: SampleArray, view: View, cell: int, weights: ByteArray | None = None
    ) -> FloatArray:
        cells: FloatArray = self.residual_tensor(params, target, view, cell, weights).cpu().numpy()
        return cells

    # ---- the same on tensors ---------------------------------------------------------------------------------------

    def render_tensor(self, params: TensorGaussians, view: View) -> Tensor:
        """``render`` as a tensor: float32 [rows, columns, C], not clamped."""
        with self.launcher.memory_errors(len(params), view):
            return self._rendered(self.bin(params, view), params.channels, view, (0, view.rows), torch.float32)

    def render_samples_tensor(
        self,
        params: TensorGaussians,
        view: View,
        dtype: torch.dtype = torch.uint8,
        overlap: float = math.inf,
        grain: Grain | None = None,
    ) -> Tensor:
        """``render_samples`` as a tensor: uint8 or uint16 [rows, columns, C].

        Raises:
            OverflowError: more than ``overlap`` Gaussians lie over a pixel on average.
        """
        with self.launcher.memory_errors(len(params), view):
            lists = self.bin(params, view, overlap)
            own = None if grain is None else TensorGrain.of(self.launcher, grain, view)
            return self._rendered(lists, params.channels, view, (0, view.rows), dtype, own)

    def gradient_tensor(self, params: TensorGaussians, view: View, d_image: Tensor) -> TensorGaussians:
        """``render_gradient`` on tensors: dL/d(parameter) for dL/d(image) ``d_image`` [rows, columns, C]."""
        if d_image.shape != (view.rows, view.columns, params.channels):
            raise ValueError(f"a gradient of {tuple(d_image.shape)} for {view}")
        rows = ImageRows.contiguous(d_image.to(torch.float32).contiguous())
        with self.launcher.memory_errors(len(params), view):
            lists = self.bin(params, view)
            partials = empty_partials(self.launcher, lists)
            backward_rows(self.launcher, lists, rows, partials, 0, view.rows)
            return natural_gradient(self.launcher, params, lists, partials)

    def residual_tensor(
        self, params: TensorGaussians, target: SampleArray, view: View, cell: int, weights: ByteArray | None = None
    ) -> Tensor:
        """``residual`` as a tensor: float32 [rows, columns, C + 1]."""
        check_weights(weights, view)
        tensors = self._target(params, target, weights, view)
        with self.launcher.memory_errors(len(params), view):
            return residual_cells(self.launcher, self.bin(params, view), *tensors, view, cell)

    def bin(self, params: TensorGaussians, view: View, overlap: float = math.inf) -> TileLists:
        """The lists of Gaussians by tile, which all other methods work on.

        Raises:
            OverflowError: more than ``overlap`` Gaussians lie over a pixel on average.
        """
        return tile_lists(self.launcher, params, view, overlap)

    # ---- parts -----------------------------------------------------------------------------------------------------

    def _rendered(
        self,
        lists: TileLists,
        channels: int,
        view: View,
        rows: tuple[int, int],
        dtype: torch.dtype,
        grain: TensorGrain | None = None,
    ) -> Tensor:
        """Some rows of a rendering, the first of which begins a tile, [rows, columns, C]."""
        begin, end = rows
        image = self.launcher.empty((end - begin, view.columns, channels), dtype)
        noise = None if grain is None else grain_rows(self.launcher, grain, lists.view, rows, view.columns)
        render_rows(self.launcher, lists, ImageRows.contiguous(image, begin), begin, end, noise)
        return image

    def _loss_pass(
        self, lists: TileLists, target: Tensor, weights: Tensor | None, partials: Tensor, settings: StepSettings
    ) -> Tensor:
        """Rendering, loss and backward pass: sums of |e|, e^2, the coarse error's square and SSIM, float64 [4]."""
        if settings.ssim:
            return fit_strips(self.launcher, lists, target, partials, settings)
        return fit_tiles(self.launcher, lists, target, weights, partials, settings)

    def _structure(self, params: TensorGaussians, structure: Structure) -> tuple[TensorGaussians, Tensor]:
        """The natural gradient of a step's second term, with luma as colour, and the term, float64."""
        grey = params.grey()
        target, _ = self._target(grey, structure.pixels, None, structure.view)
        lists = self.bin(grey, structure.view)
        partials = empty_partials(self.launcher, lists)
        settings = StepSettings(l2=0.0, ssim=structure.weight)
        similarity = fit_strips(self.launcher, lists, target, partials, settings, clamp=False)[-1]
        term = structure.weight * (1 - similarity / structure.pixels.size)
        return natural_gradient(self.launcher, grey, lists, partials), term

    def _target(
        self, params: TensorGaussians, target: SampleArray, weights: ByteArray | None, view: View
    ) -> tuple[Tensor, Tensor | None]:
        """A target and its weights on the device."""
        if target.shape != (view.rows, view.columns, params.channels) or target.dtype not in SAMPLE_TYPES:
            raise ValueError(f"a target of {target.dtype} {target.shape} for {view}")
        with self.launcher.memory_errors(len(params), view):
            return self.launcher.resident(target), self.launcher.resident_weights(weights)


def _sample_type(dtype: npt.DTypeLike) -> torch.dtype:
    """torch's name of a type of samples."""
    if np.dtype(dtype) not in SAMPLE_TYPES:
        raise ValueError(f"samples of {np.dtype(dtype)}")
    return SAMPLE_TYPES[np.dtype(dtype)]


def _result(sums: list[float], other: float, samples: int, settings: StepSettings) -> StepResult:
    """The loss of a step, from the sums of |e|, e^2, the coarse error's square and SSIM and the ``other`` terms."""
    absolute, square, coarse, similarity = sums
    squares = (1 - settings.coarse) * square + settings.coarse * coarse
    loss = (settings.l1 * absolute + settings.l2 * squares) / samples + other
    if settings.ssim:
        loss += settings.ssim * (1 - similarity / samples)
    return StepResult(loss, square / samples)
