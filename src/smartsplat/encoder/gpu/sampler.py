"""The sampler with its arrays on a GPU: those of a renderer, whose image and memory it shares."""

from __future__ import annotations

import numpy as np

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.encoder.gpu.error_sampling import sample_cells
from smartsplat.encoder.gpu.median_color import median_code_values
from smartsplat.encoder.gpu.weighted_sampling import sample_pixels
from smartsplat.encoder.sampler import CellRequest, SampledCells, TileBudgets
from smartsplat.render import View, check_weights
from smartsplat.render.gpu import GpuRenderer, TensorGaussians


class GpuSampler:
    """The contract of ``Sampler`` on the GPU of a renderer.

    An image and its weights are uploaded when they are first seen, by either, and must not change afterwards. Every
    method raises DeviceError if the device's memory does not suffice.

    Args:
        renderer: whose Gaussians are sampled by their error.
    """

    def __init__(self, renderer: GpuRenderer) -> None:
        self._renderer = renderer
        self._launcher = renderer.launcher

    def sample_pixels(
        self,
        pixels: SampleArray,
        budgets: TileBudgets,
        window: int,
        gradient_fraction: float,
        error_weights: ByteArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        check_weights(error_weights, _whole(pixels))
        with self._launcher.memory_errors(int(budgets.counts.sum()), _whole(pixels)):
            image, weights = self._launcher.resident(pixels), self._launcher.resident_weights(error_weights)
            return sample_pixels(self._launcher, image, weights, budgets, window, gradient_fraction)

    def median_color(self, pixels: SampleArray, mean: FloatArray, radius: FloatArray) -> FloatArray:
        with self._launcher.memory_errors(len(mean), _whole(pixels)):
            discs = self._launcher.upload(mean), self._launcher.upload(radius)
            code_values = median_code_values(self._launcher, self._launcher.resident(pixels), *discs).cpu().numpy()
        color: FloatArray = code_values.astype(np.float32) / np.float32(255)  # torch multiplies by 1 / 255 instead
        return color

    def sample_cells(
        self,
        params: TensorGaussians,
        target: SampleArray,
        view: View,
        request: CellRequest,
        generator: np.random.Generator,
        error_weights: ByteArray | None = None,
    ) -> SampledCells:
        with self._launcher.memory_errors(len(params), view):
            cells = self._renderer.residual_tensor(params, target, view, request.side, error_weights)
            return sample_cells(cells, request, generator)


def _whole(pixels: SampleArray) -> View:
    return View.whole(pixels.shape[1], pixels.shape[0])
