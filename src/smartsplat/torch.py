"""Gaussians rendered as a differentiable torch function, for losses of your own: ``render``.

On the CPU the compiled kernels render (float32) or the reference does (float64: slow, and exact enough for gradcheck);
on a GPU Triton does (render/gpu). Needs the extra ``gpu``, or any torch of 2.6 or newer for the CPU alone.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from smartsplat.gaussians import Gaussians
from smartsplat.render import View, reference
from smartsplat.render.cpu import CpuRenderer


def render(means: Tensor, log_scales: Tensor, rotations: Tensor, colors: Tensor, size: tuple[int, int]) -> Tensor:
    """E4: the sum of N Gaussians over an image. Each argument but ``size`` has a first derivative.

    All tensors are float32, or float64 on the CPU, on one device. Wide Gaussians are rendered within 1e-3 of their
    colour on the CPU in float32 (docs/method.md).

    Args:
        means: [N, 2] x, y in pixels, the centre of the first pixel at (0.5, 0.5).
        log_scales: [N, 2] natural logarithms of the standard deviations in pixels.
        rotations: [N] radians.
        colors: [N, C], C = 1 or 3.
        size: width and height, pixels.

    Returns:
        [height, width, C], not clamped.

    Raises:
        ValueError: shapes, types or devices do not fit.
    """
    _check({"means": means, "log_scales": log_scales, "rotations": rotations, "colors": colors})
    image: Tensor = _Render.apply(means, log_scales.exp(), rotations, colors, View.whole(*size))
    return image


def _check(tensors: dict[str, Tensor]) -> None:
    means, colors = tensors["means"], tensors["colors"]
    count = len(means)
    channels = 3 if tuple(colors.shape) == (count, 3) else 1
    shapes = {"means": (count, 2), "log_scales": (count, 2), "rotations": (count,), "colors": (count, channels)}
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ValueError(f"{name} must be {list(shapes[name])}, not {list(tensor.shape)}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}, means {means.dtype} on {means.device}")
    if means.dtype != torch.float32 and (means.dtype != torch.float64 or means.device.type != "cpu"):
        raise ValueError(f"render takes float32, or float64 on the CPU, not {means.dtype} on {means.device}")


class _Render(torch.autograd.Function):
    """Of natural parameters; the derivative by log scales is torch's."""

    @staticmethod
    def forward(context: Any, means: Tensor, scales: Tensor, rotations: Tensor, colors: Tensor, view: View) -> Tensor:
        context.save_for_backward(means, scales, rotations, colors)
        context.view = view
        return _rendered((means, scales, rotations, colors), view)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, d_image: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradient(context.saved_tensors, context.view, d_image), None


def _rendered(tensors: tuple[Tensor, ...], view: View) -> Tensor:
    if tensors[0].is_cuda:
        renderer, params = _on_gpu(tensors)
        image: Tensor = renderer.render_tensor(params, view)
        return image
    if tensors[0].dtype == torch.float64:
        return torch.from_numpy(reference.render(_double_gaussians(tensors), view))
    return torch.from_numpy(_cpu_renderer().render(_gaussians(tensors), view))


def _gradient(tensors: tuple[Tensor, ...], view: View, d_image: Tensor) -> tuple[Tensor, ...]:
    if d_image.is_cuda:
        renderer, params = _on_gpu(tensors)
        return tuple(renderer.gradient_tensor(params, view, d_image).tensors())
    array = d_image.contiguous().numpy()
    if d_image.dtype == torch.float64:
        exact = reference.render_gradient(_double_gaussians(tensors), view, array)
        return tuple(map(torch.from_numpy, (exact.mean, exact.scale, exact.rotation, exact.color)))
    return tuple(map(torch.from_numpy, _cpu_renderer().render_gradient(_gaussians(tensors), view, array).arrays()))


def _double_gaussians(tensors: tuple[Tensor, ...]) -> reference.DoubleGaussians:
    return reference.DoubleGaussians(*(tensor.detach().numpy() for tensor in tensors))


def _gaussians(tensors: tuple[Tensor, ...]) -> Gaussians:
    return Gaussians(*(tensor.detach().contiguous().numpy() for tensor in tensors))


@functools.cache
def _cpu_renderer() -> CpuRenderer:
    return CpuRenderer()


@functools.cache
def _gpu_renderer(device: str) -> Any:
    from smartsplat.render.gpu import GpuRenderer  # imports Triton

    return GpuRenderer(device)


def _on_gpu(tensors: tuple[Tensor, ...]) -> tuple[Any, Any]:
    from smartsplat.render.gpu import TensorGaussians

    params = TensorGaussians(*(tensor.detach().contiguous() for tensor in tensors))
    return _gpu_renderer(str(tensors[0].device)), params
