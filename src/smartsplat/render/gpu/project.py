"""Project: from Gaussians to splats in output pixels, and to the rows of tiles that each one touches.

A splat is ``SPLAT_FLOATS`` floats: mean x, y; factor x, y; shear; up to three colours. With dx, dy the distance from
the mean in output pixels, the whitened coordinates white_x = factor_x dx and white_y = factor_y dy + shear dx are such
that 2^-(white_x^2 + white_y^2) = exp(-q / 2) (E1). This is the Cholesky factor of the inverse covariance: it keeps long
thin Gaussians exact in float32, where the quadratic form does not. The colour contains the pixel filter's amplitude and
the window's 1 / (1 - EDGE).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import View, filter_variance
from smartsplat.render.gpu.constants import BLOCK, CUTOFF, HALF_LOG2_E, SPLAT_FLOATS, TILE, WINDOW_NORM
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.params import TensorGaussians

VIEW_NAMES = ("x", "y", "scale_x", "scale_y", "filter_x", "filter_y")
"""What kernels know of a view, float64: the region's corner, output pixels for an image pixel, and the variances of the
pixel filter."""

VIEW_X, VIEW_Y, VIEW_SCALE_X, VIEW_SCALE_Y, VIEW_FILTER_X, VIEW_FILTER_Y = map(tl.constexpr, range(len(VIEW_NAMES)))

ELLIPSE_AREA = tl.constexpr(CUTOFF.value**2 * math.pi)
"""Area of the ellipse where the window ends, over the root of the covariance's determinant."""


@triton.jit
def filtered_covariance(scale, rotation, view, i, valid):
    """E3 with the pixel filter, in image pixels, and what it is made of: u, v, cosine, sine, xx, xy, yy; float64."""
    u = tl.load(scale + 2 * i, valid, 1.0).to(tl.float64)
    v = tl.load(scale + 2 * i + 1, valid, 1.0).to(tl.float64)
    angle = tl.load(rotation + i, valid, 0.0).to(tl.float64)
    cosine, sine = tl.cos(angle), tl.sin(angle)
    xx = cosine * cosine * u * u + sine * sine * v * v + tl.load(view + VIEW_FILTER_X)
    yy = sine * sine * u * u + cosine * cosine * v * v + tl.load(view + VIEW_FILTER_Y)
    xy = cosine * sine * (u * u - v * v)
    return u, v, cosine, sine, xx, xy, yy


@triton.jit(do_not_specialize=["count", "width", "height"])
def project(
    mean,  # [N, 2] float32
    scale,  # [N, 2] float32
    rotation,  # [N] float32
    color,  # [N, C] float32
    view,  # [6] float64: VIEW_NAMES
    splats,  # out [N, SPLAT_FLOATS] float32
    first_rows,  # out [N] int32: of tiles
    heights,  # out [N] int64: rows of tiles
    areas,  # out [N] float32: output pixels covered
    count,
    width,  # of the output, pixels
    height,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """One Gaussian a thread, in float64 as on the CPU: it is little work, and cancels badly in float32."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    valid = i < count
    scale_x, scale_y = tl.load(view + VIEW_SCALE_X), tl.load(view + VIEW_SCALE_Y)
    u, v, _, _, xx, xy, yy = filtered_covariance(scale, rotation, view, i, valid)
    xx, yy, xy = xx * scale_x * scale_x, yy * scale_y * scale_y, xy * scale_x * scale_y
    determinant = xx * yy - xy * xy
    x = (tl.load(mean + 2 * i, valid, 0.0).to(tl.float64) - tl.load(view + VIEW_X)) * scale_x
    y = (tl.load(mean + 2 * i + 1, valid, 0.0).to(tl.float64) - tl.load(view + VIEW_Y)) * scale_y
    amplitude = tl.sqrt(u * u * v * v * scale_x * scale_x * scale_y * scale_y / determinant) * WINDOW_NORM

    total = _store_splat(splats + i * SPLAT_FLOATS, x, y, xx, xy, determinant, valid)
    for c in tl.static_range(channels):
        weighted = (tl.load(color + channels * i + c, valid, 0.0).to(tl.float64) * amplitude).to(tl.float32)
        total += tl.abs(weighted) * 1e-6  # the sum of finite ones stays finite
        tl.store(splats + i * SPLAT_FLOATS + 5 + c, weighted, valid)

    half_x, half_y = tl.sqrt(xx) * CUTOFF, tl.sqrt(yy) * CUTOFF
    left, right = within(tl.ceil(x - half_x - 0.5), width), within(tl.floor(x + half_x + 0.5), width)
    top, bottom = within(tl.ceil(y - half_y - 0.5), height), within(tl.floor(y + half_y + 0.5), height)
    # NaN and infinity from absurd parameters would spread over the image: such a Gaussian is left out.
    visible = valid & (total < float("inf")) & (left < right) & (top < bottom)
    box = (right - left).to(tl.float64) * (bottom - top).to(tl.float64)
    covered = tl.minimum(box, tl.sqrt(determinant) * ELLIPSE_AREA)
    tl.store(areas + i, tl.where(visible, covered, 0.0).to(tl.float32), valid)
    first_row = top // TILE
    tl.store(first_rows + i, first_row, valid)
    tl.store(heights + i, tl.where(visible, (bottom - 1) // TILE + 1 - first_row, 0).to(tl.int64), valid)


@triton.jit
def _store_splat(splat, x, y, xx, xy, determinant, valid):
    """Writes a splat but for its colours; returns a sum of magnitudes, which is finite if all of it is."""
    mean_x, mean_y = x.to(tl.float32), y.to(tl.float32)
    factor_x = tl.sqrt(1 / xx * HALF_LOG2_E)
    factor_y = tl.sqrt(xx / determinant * HALF_LOG2_E)
    shear = (-xy / xx * factor_y).to(tl.float32)
    factor_x, factor_y = factor_x.to(tl.float32), factor_y.to(tl.float32)
    tl.store(splat, mean_x, valid)
    tl.store(splat + 1, mean_y, valid)
    tl.store(splat + 2, factor_x, valid)
    tl.store(splat + 3, factor_y, valid)
    tl.store(splat + 4, shear, valid)
    return tl.abs(mean_x) + tl.abs(mean_y) + factor_x + factor_y + tl.abs(shear)


@triton.jit
def within(value, size):
    """A whole number between 0 and ``size``, int32."""
    return tl.minimum(tl.maximum(value, 0.0), size.to(tl.float64)).to(tl.int32)


@dataclass(frozen=True)
class ProjectedSplats:
    """What ``project`` finds of N Gaussians in a view; shapes and types are there."""

    view: Tensor
    splats: Tensor
    first_rows: Tensor
    heights: Tensor
    areas: Tensor


def projected(launcher: Launcher, params: TensorGaussians, view: View) -> ProjectedSplats:
    """Launches ``project``."""
    count = len(params)
    filters = (filter_variance(view.scale_x), filter_variance(view.scale_y))
    values = launcher.upload(np.array([view.x, view.y, view.scale_x, view.scale_y, *filters], np.float64))
    out = ProjectedSplats(
        view=values,
        splats=launcher.empty((count, SPLAT_FLOATS.value)),
        first_rows=launcher.empty((count,), torch.int32),
        heights=launcher.empty((count,), torch.int64),
        areas=launcher.empty((count,)),
    )
    arrays = (*params.tensors(), values, out.splats, out.first_rows, out.heights, out.areas)
    sizes = (count, view.columns, view.rows)
    launcher.launch(project, -(-count // BLOCK), *arrays, *sizes, params.channels, BLOCK)
    return out
