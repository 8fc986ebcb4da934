"""Gaussians by covariance, blended in three ways: what the baselines render with.

Three blends of the same window w (E1), for Gaussians in the order in which they lie, the first in front:

- ``sum``: C = sum_i c_i w_i, as the codec itself renders (E4)
- ``alpha``: a_i = min(opacity_i w_i, 0.999), T_0 = 1, T_{i + 1} = T_i (1 - a_i) as long as T_i is at least 1e-4, and
  a_i = 0 from there on; C = sum_i c_i a_i T_i + background T_N
- ``top-k``: C = sum_i c_i w_i / (sum_i w_i + 1e-4) over those w_i that are at least the tenth largest of the pixel

``blend_reference.py`` defines the last two in float64. ``BlendRenderer`` is the compiled renderer, whose ``sum`` is
``CpuRenderer``'s. Results do not depend on the number of threads. It renders whole images only, at their own size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from smartsplat.arrays import ByteArray, FloatArray
from smartsplat.gaussians import MIN_SCALE, Gaussians
from smartsplat.render import StepResult, StepSettings, View
from smartsplat.render.cpu import CpuRenderer
from smartsplat.threads import available_threads
from smartsplat_baselines import _blend
from smartsplat_baselines.arrays import RealArray

TOP_K = 10
"""Gaussians of a pixel that the blend ``top-k`` mixes: the K of Image-GS."""

TOP_K_FLOOR = 1e-4
"""What ``top-k`` adds to the sum of the weights that it divides by."""

MAX_ALPHA = 0.999

MIN_TRANSMITTANCE = 1e-4
"""What has to reach a Gaussian for ``alpha`` to render it."""

MAX_SCALE, MAX_ASPECT = 1e5, 256.0
"""Bounds, with MIN_SCALE, of the standard deviations, pixels, that ``sum`` renders a covariance with, whether it is
positive definite or not. At MIN_SCALE a Gaussian still covers a pixel centre, wherever it lies. The gradient passes the
bounds unchanged, so that what is beyond them can come back."""

MIN_SCALE_DIFFERENCE = 2e-4
"""Of two standard deviations, relative: an angle exists only if they differ."""


@dataclass(frozen=True)
class Blend:
    """How Gaussians become a pixel; the compiled functions read it by these names."""

    kind: Literal["sum", "alpha", "top-k"] = "sum"
    background: float = 0.0  # of every channel; only ``alpha`` shows it


@dataclass(frozen=True)
class Loss:
    """E22: weights of the mean absolute error, the mean square error and 1 - SSIM."""

    l1: float = 0.0
    l2: float = 1.0
    ssim: float = 0.0


@dataclass
class CovarianceGaussians:
    """N Gaussians by covariance, or the gradient by them; the compiled functions read them by these names."""

    mean: RealArray  # [N, 2] pixels, centres at +0.5
    covariance: RealArray  # [N, 3] xx, xy, yy, squared pixels; a gradient by xy counts both of its places
    color: RealArray  # [N, C]
    opacity: RealArray  # [N] in [0, 1]; only ``alpha`` uses it

    def __len__(self) -> int:
        return len(self.mean)

    def arrays(self) -> tuple[RealArray, RealArray, RealArray, RealArray]:
        """Mean, covariance, color and opacity: the arguments of the constructor."""
        return self.mean, self.covariance, self.color, self.opacity

    def as_float32(self) -> CovarianceGaussians:
        """The same as C-contiguous float32, as the compiled functions need them."""
        return CovarianceGaussians(*(np.ascontiguousarray(array, np.float32) for array in self.arrays()))

    def empty_gradient(self) -> CovarianceGaussians:
        """Float32 arrays of the same shapes, whose values are still to be written."""
        return CovarianceGaussians(*(np.empty(array.shape, np.float32) for array in self.arrays()))


class BlendRenderer:
    """Renders Gaussians by covariance and computes gradients; not to be shared between Python threads.

    Args:
        threads, variant, exact: as those of ``CpuRenderer``; ``exact`` changes ``sum`` only.

    Raises:
        ValueError: the processor cannot run the variant.
    """

    def __init__(self, threads: int | None = None, variant: str | None = None, exact: bool = False) -> None:
        self._sum_renderer = CpuRenderer(threads, variant, exact)
        self._blender = _blend.Blender(threads or available_threads(), variant)

    def render(self, gaussians: CovarianceGaussians, blend: Blend, width: int, height: int) -> FloatArray:
        """[height, width, C], not clamped."""
        if blend.kind == "sum":
            return self._sum_renderer.render(gaussians_of(gaussians), View.whole(width, height))
        image = np.empty((height, width, gaussians.color.shape[1]), np.float32)
        self._blender.render(gaussians.as_float32(), blend, image)
        return image

    def render_bytes(self, gaussians: CovarianceGaussians, blend: Blend, width: int, height: int) -> ByteArray:
        """Clamped to [0, 1] and rounded half up to 8 bits."""
        if blend.kind == "sum":
            return self._sum_renderer.render_samples(gaussians_of(gaussians), View.whole(width, height))
        image = np.empty((height, width, gaussians.color.shape[1]), np.uint8)
        self._blender.render_bytes(gaussians.as_float32(), blend, image)
        return image

    def render_gradient(self, gaussians: CovarianceGaussians, blend: Blend, d_image: RealArray) -> CovarianceGaussians:
        """dL/d(gaussians) for dL/d(image), [height, width, C]."""
        height, width, _ = d_image.shape
        d_pixels = np.ascontiguousarray(d_image, np.float32)
        if blend.kind == "sum":
            params = gaussians_of(gaussians)
            d = self._sum_renderer.render_gradient(params, View.whole(width, height), d_pixels)
            return covariance_gradient(params, d)
        gradient = gaussians.empty_gradient()
        self._blender.render_gradient(gaussians.as_float32(), blend, d_pixels, gradient)
        return gradient

    def loss_gradient(
        self, gaussians: CovarianceGaussians, blend: Blend, target: ByteArray, loss: Loss
    ) -> tuple[CovarianceGaussians, StepResult]:
        """The gradient of the loss of the rendering, clamped to [0, 1], against ``target`` [height, width, C]."""
        if blend.kind == "sum":
            height, width, _ = target.shape
            params = gaussians_of(gaussians)
            settings = StepSettings(l1=loss.l1, l2=loss.l2, ssim=loss.ssim)
            d, result = self._sum_renderer.loss_gradient(params, target, View.whole(width, height), settings)
            return covariance_gradient(params, d), result
        gradient = gaussians.empty_gradient()
        value, mean_square = self._blender.loss_gradient(gaussians.as_float32(), blend, target, loss, gradient)
        return gradient, StepResult(value, mean_square)


def gaussians_of(gaussians: CovarianceGaussians) -> Gaussians:
    """Scales and rotation of each covariance, within the bounds above."""
    finite = np.nan_to_num(gaussians.covariance.astype(np.float64), posinf=MAX_SCALE**2, neginf=0)
    xx, xy, yy = finite.T
    half_trace, half_difference = (xx + yy) / 2, (xx - yy) / 2
    larger = half_trace + np.hypot(half_difference, xy)
    with np.errstate(divide="ignore", invalid="ignore"):  # of values that np.where leaves out
        # By the determinant: the difference to the trace would cancel in a thin Gaussian.
        smaller = np.where(larger > 0, (xx * yy - xy * xy) / larger, 0)
    major = np.sqrt(np.clip(larger, MIN_SCALE**2, MAX_SCALE**2))
    min_scale = np.maximum(major / MAX_ASPECT, MIN_SCALE)
    minor = np.clip(np.sqrt(np.maximum(smaller, 0)), min_scale, major)
    major = np.maximum(major, minor * (1 + MIN_SCALE_DIFFERENCE))
    scale = np.stack([major, minor], axis=1).astype(np.float32)
    rotation = (0.5 * np.arctan2(xy, half_difference)).astype(np.float32)
    mean, color = (np.ascontiguousarray(array, np.float32) for array in (gaussians.mean, gaussians.color))
    return Gaussians(mean, scale, rotation, color)


def covariance_gradient(gaussians: Gaussians, d: Gaussians) -> CovarianceGaussians:
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
    return CovarianceGaussians(d.mean, covariance, d.color, np.zeros(len(gaussians), np.float32))
