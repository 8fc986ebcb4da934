"""Gaussians drawn as a differentiable torch function, for losses of your own: ``render``.

On the CPU the compiled kernels draw (float32) or the reference does (float64: slow, and exact enough for gradcheck); on
a GPU Triton does (raster/gpu). Needs the extra ``gpu``, or any torch of 2.6 or newer for the CPU alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from smartsplat.gaussians import Gaussians
from smartsplat.raster import View, reference


def render(means: Tensor, log_scales: Tensor, rotations: Tensor, colours: Tensor, size: tuple[int, int]) -> Tensor:
    """E4: the sum of N Gaussians over a picture of ``size`` (width, height), [height, width, C], not clamped.

    ``means`` [N, 2] are x, y in pixels, the centre of the first pixel at (0.5, 0.5); ``log_scales`` [N, 2] natural
    logarithms of the standard deviations in pixels; ``rotations`` [N] radians; ``colours`` [N, C], C = 1 or 3. All are
    float32, or float64 on the CPU, on one device. Each has a first derivative. Wide Gaussians are drawn within 1e-3 of
    their colour on the CPU in float32 (docs/method.md, "raster").
    """
    tensors = {"means": means, "log_scales": log_scales, "rotations": rotations, "colours": colours}
    count = len(means)
    shapes = {"means": (count, 2), "log_scales": (count, 2), "rotations": (count,)}
    for name, tensor in tensors.items():
        wanted = shapes.get(name, (count, 3 if tuple(colours.shape) == (count, 3) else 1))
        if tuple(tensor.shape) != wanted:
            raise ValueError(f"{name} must be {list(wanted)}, not {list(tensor.shape)}")
        if tensor.dtype != means.dtype or tensor.device != means.device:
            raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}, means {means.dtype} on {means.device}")
    if means.dtype != torch.float32 and (means.dtype != torch.float64 or means.device.type != "cpu"):
        raise ValueError(f"render takes float32, or float64 on the CPU, not {means.dtype} on {means.device}")
    view = View.whole(*size)
    image: Tensor = _Render.apply(means, log_scales.exp(), rotations, colours, view)
    return image


class _Render(torch.autograd.Function):
    """Of natural parameters; the chain to log scales is torch's."""

    @staticmethod
    def forward(context: Any, means: Tensor, scales: Tensor, rotations: Tensor, colours: Tensor, view: View) -> Tensor:
        context.save_for_backward(means, scales, rotations, colours)
        context.view = view
        return _draw((means, scales, rotations, colours), view)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, d_image: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradient(context.saved_tensors, context.view, d_image), None


def _draw(fields: tuple[Tensor, ...], view: View) -> Tensor:
    if fields[0].is_cuda:
        backend, params = _on_gpu(fields)
        image: Tensor = backend.draw(params, view)
        return image
    if fields[0].dtype == torch.float64:
        return torch.from_numpy(reference.render(_doubles(fields), view))
    return torch.from_numpy(_native().render(_gaussians(fields), view))


def _gradient(fields: tuple[Tensor, ...], view: View, d_image: Tensor) -> tuple[Tensor, ...]:
    if d_image.is_cuda:
        backend, params = _on_gpu(fields)
        return tuple(vars(backend.gradient(params, view, d_image)).values())
    wanted = d_image.contiguous().numpy()
    if d_image.dtype == torch.float64:
        found: Any = reference.render_gradient(_doubles(fields), view, wanted)
    else:
        found = _native().render_gradient(_gaussians(fields), view, wanted)
    return tuple(torch.from_numpy(field) for field in (found.mean, found.scale, found.rotation, found.color))


def _doubles(fields: tuple[Tensor, ...]) -> reference.Params:
    return reference.Params(*(field.detach().numpy() for field in fields))


def _gaussians(fields: tuple[Tensor, ...]) -> Gaussians:
    return Gaussians(*(field.detach().contiguous().numpy() for field in fields))


@cache
def _native() -> Any:
    from smartsplat.raster.native import Backend

    return Backend()


@cache
def _gpu(device: str) -> Any:
    from smartsplat.raster.gpu import Backend

    return Backend(device)


def _on_gpu(fields: tuple[Tensor, ...]) -> tuple[Any, Any]:
    from smartsplat.raster.gpu import Params

    return _gpu(str(fields[0].device)), Params(*(field.detach().contiguous() for field in fields))
