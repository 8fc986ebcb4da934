"""Splats by covariance, blended in three ways: what the rivals of this codec draw with.

Three blends of the same window w (E1), for splats in the order in which they lie, the first in front:

- ``sum``: C = sum_i c_i w_i, as everywhere else in this package (E4)
- ``alpha``: a_i = min(opacity_i w_i, 0.999), T_0 = 1, T_{i + 1} = T_i (1 - a_i) as long as T_i is at least 1e-4, and
  a_i = 0 from there on; C = sum_i c_i a_i T_i + background T_N
- ``top``: C = sum_i c_i w_i / (sum_i w_i + 1e-4) over those w_i that are at least the tenth largest of the pixel

``blend_reference.py`` defines the last two in float64; ``Backend`` here is the compiled one, whose ``sum`` is that of
``raster.native``. Results do not depend on the number of threads. Whole pictures only, at their own size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.gaussians import SMALLEST_SCALE, FloatArray, Gaussians
from smartsplat.raster import StepResult, StepSettings, View, native

Bytes = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.floating[Any]]

TOP = 10
"""Splats of a pixel that the blend ``top`` mixes: the K of Image-GS."""

TOP_FLOOR = 1e-4
"""What ``top`` adds to the sum of the weights that it divides by."""

LARGEST_ALPHA = 0.999

LEAST_LIGHT = 1e-4
"""What has to reach a splat for ``alpha`` to draw it."""

LARGEST_SCALE, LARGEST_ASPECT = 1e5, 256.0
"""Bounds, with SMALLEST_SCALE, of the standard deviations that ``sum`` draws a covariance with, pixels, whatever it is:
also one that is none. At the smallest scale a splat still reaches a pixel, wherever it lies. The gradient passes the
bounds unchanged, so that what is out of them can come back."""

LEAST_DIFFERENCE = 2e-4
"""Of two standard deviations, relative: an angle exists only if they differ."""


@dataclass(frozen=True)
class Blend:
    """How splats become a pixel."""

    kind: Literal["sum", "alpha", "top"] = "sum"
    background: float = 0.0  # of every channel; only ``alpha`` lets it be seen


@dataclass(frozen=True)
class Loss:
    """E22: weights of the mean absolute error, the mean square error and 1 - SSIM."""

    l1: float = 0.0
    l2: float = 1.0
    ssim: float = 0.0


@dataclass
class Splats:
    """What is drawn, or the gradient by it; any floating-point type."""

    mean: Reals  # [N, 2] pixels, centres at +0.5
    covariance: Reals  # [N, 3] xx, xy, yy, squared pixels; a gradient by xy counts both places that it stands in
    color: Reals  # [N, C]
    opacity: Reals  # [N] in [0, 1]; only ``alpha`` looks at it

    def __len__(self) -> int:
        return len(self.mean)

    def fields(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """The arrays as the compiled functions take them."""
        arrays = (self.mean, self.covariance, self.color, self.opacity)
        mean, covariance, color, opacity = (np.ascontiguousarray(array, np.float32) for array in arrays)
        return mean, covariance, color, opacity


class Backend:
    """Draws splats and finds gradients, on ``threads`` threads."""

    def __init__(self, threads: int | None = None, variant: str | None = None, exact: bool = False) -> None:
        self._sums = native.Backend(threads, variant, exact)
        self._blender = _native.Blender(threads or native.available_threads(), variant)

    def render(self, splats: Splats, blend: Blend, width: int, height: int) -> FloatArray:
        """[height, width, C], not clamped."""
        if blend.kind == "sum":
            return self._sums.render(gaussians_of(splats), View.whole(width, height))
        image = np.empty((height, width, splats.color.shape[1]), np.float32)
        self._blender.render(splats.fields(), blend.kind == "top", blend.background, image)
        return image

    def render_bytes(self, splats: Splats, blend: Blend, width: int, height: int) -> Bytes:
        """Clamped to [0, 1] and rounded half up to 8 bits."""
        if blend.kind == "sum":
            return self._sums.render_bytes(gaussians_of(splats), View.whole(width, height))
        image = np.empty((height, width, splats.color.shape[1]), np.uint8)
        self._blender.render_bytes(splats.fields(), blend.kind == "top", blend.background, image)
        return image

    def render_gradient(self, splats: Splats, blend: Blend, d_image: Reals) -> Splats:
        """dL/d(splats) for dL/d(image), [height, width, C]."""
        height, width, _ = d_image.shape
        d_image = np.ascontiguousarray(d_image, np.float32)
        if blend.kind == "sum":
            gaussians = gaussians_of(splats)
            d = self._sums.render_gradient(gaussians, View.whole(width, height), d_image)
            return covariance_gradient(gaussians, d)
        gradient = self._like(splats)
        self._blender.render_gradient(
            splats.fields(), blend.kind == "top", blend.background, d_image, gradient.fields()
        )
        return gradient

    def loss_gradient(self, splats: Splats, blend: Blend, target: Bytes, loss: Loss) -> tuple[Splats, StepResult]:
        """The gradient of the loss of the rendering, clamped to [0, 1], against ``target`` [height, width, C]."""
        if blend.kind == "sum":
            return self._sum_loss_gradient(splats, target, loss)
        gradient = self._like(splats)
        value, mean_square = self._blender.loss_gradient(
            splats.fields(),
            blend.kind == "top",
            blend.background,
            target,
            (loss.l1, loss.l2, loss.ssim),
            gradient.fields(),
        )
        return gradient, StepResult(value, mean_square)

    def _sum_loss_gradient(self, splats: Splats, target: Bytes, loss: Loss) -> tuple[Splats, StepResult]:
        """A step of Adam that stands still: with beta1 = 0 its first moment is the gradient."""
        height, width, _ = target.shape
        gaussians = gaussians_of(splats)
        still = StepSettings(
            l1=loss.l1,
            l2=loss.l2,
            ssim=loss.ssim,
            rate_mean_x=0,
            rate_mean_y=0,
            rate_scale=0,
            rate_rotation=0,
            rate_color=0,
            beta1=0,
            relative=False,
            width=width,
            height=height,
        )
        state = self._sums.start(gaussians)
        params = self._sums.upload(gaussians)
        result = self._sums.step(params, state, target, View.whole(width, height), still)
        parts = np.split(state.first, [2, 4, 5], axis=1)
        mean, scale, rotation, color = (np.ascontiguousarray(part) for part in parts)
        return covariance_gradient(gaussians, Gaussians(mean, scale, rotation[:, 0], color)), result

    @staticmethod
    def _like(splats: Splats) -> Splats:
        arrays = (splats.mean, splats.covariance, splats.color, splats.opacity)
        return Splats(*(np.empty(array.shape, np.float32) for array in arrays))


def gaussians_of(splats: Splats) -> Gaussians:
    """Scales and rotation of each covariance, within the bounds above."""
    finite = np.nan_to_num(splats.covariance.astype(np.float64), posinf=LARGEST_SCALE**2, neginf=0)
    xx, xy, yy = finite.T
    middle, half = (xx + yy) / 2, (xx - yy) / 2
    root = np.hypot(half, xy)
    larger = middle + root
    with np.errstate(divide="ignore", invalid="ignore"):  # what that leaves is not taken
        smaller = np.where(larger > 0, (xx * yy - xy * xy) / larger, 0)  # the difference would cancel in a thin one
    longest = np.sqrt(np.clip(larger, SMALLEST_SCALE**2, LARGEST_SCALE**2))
    least = np.maximum(longest / LARGEST_ASPECT, SMALLEST_SCALE)
    shortest = np.clip(np.sqrt(np.maximum(smaller, 0)), least, longest)
    longest = np.maximum(longest, shortest * (1 + LEAST_DIFFERENCE))
    scale = np.stack([longest, shortest], axis=1).astype(np.float32)
    rotation = (0.5 * np.arctan2(xy, half)).astype(np.float32)
    mean, _, color, _ = splats.fields()
    return Gaussians(mean, scale, rotation, color)


def covariance_gradient(gaussians: Gaussians, d: Gaussians) -> Splats:
    """dL/d(covariance) from dL/d(scale) and dL/d(rotation) of what ``gaussians_of`` made.

    In the Gaussian's own axes the covariance is diag(u^2, v^2), and turning it by t changes the element between them
    by (u^2 - v^2) t, exactly as float32 has u and v: the angle's gradient is divided by what it was multiplied by.
    """
    u, v = gaussians.scale.astype(np.float64).T
    uu, vv = d.scale[:, 0] / (2 * u), d.scale[:, 1] / (2 * v)
    uv = d.rotation / (u * u - v * v)  # by the element that stands in two places
    cosine, sine = np.cos(gaussians.rotation), np.sin(gaussians.rotation)
    cc, cs, ss = cosine * cosine, cosine * sine, sine * sine
    xx = cc * uu - cs * uv + ss * vv
    xy = 2 * cs * (uu - vv) + (cc - ss) * uv
    yy = ss * uu + cs * uv + cc * vv
    covariance = np.stack([xx, xy, yy], axis=1).astype(np.float32)
    return Splats(d.mean, covariance, d.color, np.zeros(len(gaussians), np.float32))
