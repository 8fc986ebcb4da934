"""The definition of the renderer, its gradient, the losses and one step: numpy, float64, loops, no options.

Slow on purpose. Every renderer is tested against this one, and this one against finite differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, DoubleArray, SampleArray
from smartsplat.gaussians import CUTOFF, EDGE, Gaussians
from smartsplat.render import (
    COARSE_CELL,
    LUMA,
    MAX_TURN_ASPECT,
    REACH,
    REACH_ENERGY,
    Grain,
    StepResult,
    StepSettings,
    Structure,
    View,
    check_weights,
    filter_variance,
    strip_rows,
)
from smartsplat.render.grain import grain_at, with_grain

_MEAN_AND_RATIO = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
"""Turns two log scales to their mean and difference, and back."""

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2


@dataclass
class DoubleGaussians:
    """The arrays of Gaussians in float64."""

    mean: DoubleArray  # [N, 2]
    scale: DoubleArray  # [N, 2]
    rotation: DoubleArray  # [N]
    color: DoubleArray  # [N, C]


@dataclass
class DoubleAdamState:
    """Adam's moments, [N, 5 + C], and each Gaussian's age in steps, [N]."""

    first: DoubleArray
    second: DoubleArray
    age: npt.NDArray[np.int64]


def upload(gaussians: Gaussians) -> DoubleGaussians:
    return DoubleGaussians(*(array.astype(np.float64) for array in gaussians.arrays()))


def download(params: DoubleGaussians) -> Gaussians:
    return Gaussians(*(array.astype(np.float32) for array in vars(params).values()))


def project(params: DoubleGaussians, view: View, i: int) -> tuple[DoubleArray, DoubleArray, DoubleArray, float]:
    """Output mean [2], output covariance [2, 2] (E3 and pixel filter), filtered image covariance, amplitude."""
    cosine, sine = np.cos(params.rotation[i]), np.sin(params.rotation[i])
    axes = np.array([[cosine, -sine], [sine, cosine]])  # E6
    own = axes @ np.diag(params.scale[i] ** 2) @ axes.T
    covariance = own + np.diag([filter_variance(view.scale_x), filter_variance(view.scale_y)])
    zoom = np.diag([view.scale_x, view.scale_y])
    mean = zoom @ (params.mean[i] - [view.x, view.y])
    amplitude = float(np.sqrt(np.linalg.det(own) / np.linalg.det(covariance)))
    return mean, zoom @ covariance @ zoom, covariance, amplitude


def distances(mean: DoubleArray, view: View) -> DoubleArray:
    """Distance of every output pixel centre from a mean: [rows, columns, 2]."""
    x = np.arange(view.columns) + 0.5 - mean[0]
    y = np.arange(view.rows) + 0.5 - mean[1]
    return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)


def window(distance: DoubleArray, conic: npt.NDArray[np.floating]) -> tuple[DoubleArray, DoubleArray]:
    """The window of docs/format.md and its derivative by q, over [rows, columns]."""
    q = np.einsum("yxi,ij,yxj->yx", distance, conic, distance)
    gaussian = np.exp(-np.minimum(q, 700) / 2)  # E1
    inside = q < CUTOFF**2
    return np.where(inside, gaussian - EDGE, 0) / (1 - EDGE), np.where(inside, -gaussian / 2, 0) / (1 - EDGE)


def render(params: DoubleGaussians, view: View) -> DoubleArray:
    """C(p) = sum_i c_i a_i w(q_i(p)), [rows, columns, C], not clamped."""
    image = np.zeros((view.rows, view.columns, params.color.shape[1]))
    for i in range(len(params.mean)):
        mean, covariance, _, amplitude = project(params, view, i)
        weight, _ = window(distances(mean, view), np.linalg.inv(covariance))
        image += amplitude * weight[..., None] * params.color[i]
    return image


def to_samples(image: DoubleArray, dtype: npt.DTypeLike = np.uint8) -> SampleArray:
    """Clamp to [0, 1] and round half up to the code values of ``dtype``, uint8 or uint16."""
    return np.floor(np.clip(image, 0, 1) * np.iinfo(dtype).max + 0.5).astype(dtype)


def render_samples(
    params: DoubleGaussians, view: View, dtype: npt.DTypeLike = np.uint8, grain: Grain | None = None
) -> SampleArray:
    image = render(params, view)
    return to_samples(image if grain is None else with_grain(image, grain_at(view, grain)), dtype)


def render_strips(
    params: DoubleGaussians, view: View, strip_pixels: int, dtype: npt.DTypeLike = np.uint8
) -> Iterator[SampleArray]:
    rows = strip_rows(view, strip_pixels, 1)
    image = render_samples(params, view, dtype)
    return (image[top : top + rows] for top in range(0, view.rows, rows))


def render_gradient(params: DoubleGaussians, view: View, d_image: DoubleArray) -> DoubleGaussians:
    """dL/d(parameter) for dL/d(image) ``d_image`` [rows, columns, C]."""
    gradient = DoubleGaussians(*(np.zeros_like(array) for array in vars(params).values()))
    zoom = np.diag([view.scale_x, view.scale_y])
    for i in range(len(params.mean)):
        mean, covariance, filtered, amplitude = project(params, view, i)
        conic = np.linalg.inv(covariance)
        distance = distances(mean, view)
        weight, slope = window(distance, conic)
        gradient.color[i] = amplitude * np.einsum("yx,yxc->c", weight, d_image)
        d_weight = amplitude * d_image @ params.color[i]
        d_q = d_weight * slope
        gradient.mean[i] = -2 * zoom @ conic @ np.einsum("yx,yxi->i", d_q, distance)
        # q = d^T S^-1 d, so dL/dS = -S^-1 (sum dL/dq d d^T) S^-1, one symmetric matrix whose off-diagonal
        # element stands for both of S's: contracted with the symmetric dS below it is counted once for each.
        moments = np.einsum("yx,yxi,yxj->ij", d_q, distance, distance)
        d_covariance = zoom @ (-conic @ moments @ conic) @ zoom
        d_log_amplitude = float(gradient.color[i] @ params.color[i])
        cosine, sine = np.cos(params.rotation[i]), np.sin(params.rotation[i])
        axes = np.array([[cosine, -sine], [sine, cosine]])
        turned = np.array([[-sine, -cosine], [cosine, -sine]])
        squares = np.diag(params.scale[i] ** 2)
        inverse = np.linalg.inv(filtered)
        for axis in range(2):
            own = 2 * params.scale[i, axis] * np.outer(axes[:, axis], axes[:, axis])
            gradient.scale[i, axis] = np.sum(d_covariance * own) + d_log_amplitude * (
                1 / params.scale[i, axis] - 0.5 * np.sum(inverse * own)
            )
        own = turned @ squares @ axes.T + axes @ squares @ turned.T
        gradient.rotation[i] = np.sum(d_covariance * own) - 0.5 * d_log_amplitude * np.sum(inverse * own)
    return gradient


def _blur(plane: DoubleArray) -> DoubleArray:
    """11 x 11 Gaussian window with zeros outside; its own adjoint. [H, W]."""
    taps = np.exp(-(np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) ** 2) / (2 * SSIM_SIGMA**2))
    taps /= taps.sum()
    rows = np.stack([np.convolve(row, taps)[SSIM_RADIUS:-SSIM_RADIUS] for row in plane])
    return np.stack([np.convolve(column, taps)[SSIM_RADIUS:-SSIM_RADIUS] for column in rows.T]).T


def ssim(image: DoubleArray, target: DoubleArray) -> tuple[float, DoubleArray]:
    """Mean SSIM over pixels and channels of two [H, W, C] in [0, 1], and its gradient by ``image``."""
    gradient = np.zeros_like(image)
    total = 0.0
    for c in range(image.shape[2]):
        x, y = image[..., c], target[..., c]
        mean_x, mean_y = _blur(x), _blur(y)
        var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
        cov = _blur(x * y) - mean_x * mean_y
        top1, top2 = 2 * mean_x * mean_y + SSIM_C1, 2 * cov + SSIM_C2
        bottom1, bottom2 = mean_x**2 + mean_y**2 + SSIM_C1, var_x + var_y + SSIM_C2
        values = top1 * top2 / (bottom1 * bottom2)
        total += values.sum()
        d_mean = 2 * mean_y * (top2 - top1) / (bottom1 * bottom2) - 2 * values * mean_x * (1 / bottom1 - 1 / bottom2)
        gradient[..., c] = _blur(d_mean) + 2 * x * _blur(-values / bottom2) + y * _blur(2 * top1 / (bottom1 * bottom2))
    return total / image.size, gradient / image.size


def _factors(weights: ByteArray | None) -> DoubleArray:
    """What errors are multiplied with, [rows, columns, 1]."""
    return np.ones((1, 1, 1)) if weights is None else weights[..., None] / 255.0


def cell_means(error: DoubleArray, factor: DoubleArray) -> DoubleArray:
    """The coarse error: each pixel's error [rows, columns, C] replaced by the mean over its cell, by ``factor``."""
    out = np.zeros_like(error)
    for top in range(0, error.shape[0], COARSE_CELL):
        for left in range(0, error.shape[1], COARSE_CELL):
            cell = np.s_[top : top + COARSE_CELL, left : left + COARSE_CELL]
            by = factor[cell]
            out[cell] = (by * error[cell]).sum(axis=(0, 1)) / (by.sum() or 1)
    return out


def loss(
    image: DoubleArray, target: SampleArray, settings: StepSettings, weights: ByteArray | None = None
) -> tuple[float, float, DoubleArray]:
    """E22 with an L2 term: loss, mean square error, and the gradient by the clamped rendering.

    ``weights`` [rows, columns], 255 being 1, multiply the absolute and the square error of each pixel.
    """
    clamped = np.clip(image, 0, 1)
    expected = target / float(np.iinfo(target.dtype).max)
    error, factor = clamped - expected, _factors(weights)
    mean_square = float((factor * error**2).mean())
    coarse = cell_means(error, np.broadcast_to(factor, (*error.shape[:2], 1)))
    square = (1 - settings.coarse) * mean_square + settings.coarse * float((factor * coarse**2).mean())
    value = settings.l1 * (factor * np.abs(error)).mean() + settings.l2 * square
    slope = 2 * settings.l2 * ((1 - settings.coarse) * error + settings.coarse * coarse)
    gradient = factor * (settings.l1 * np.sign(error) + slope) / error.size
    if settings.ssim:
        similarity, d_similarity = ssim(clamped, expected)
        value += settings.ssim * (1 - similarity)
        gradient = gradient - settings.ssim * d_similarity
    return float(value), mean_square, gradient


def rate_term(params: DoubleGaussians, settings: StepSettings) -> tuple[float, DoubleGaussians]:
    """rate_weight * sum_i log(1 + e_i / rate_energy) with the energy e_i = |c_i|^2 u_i v_i, and its gradient."""
    square = (params.color**2).sum(axis=1, keepdims=True)
    area = params.scale.prod(axis=1, keepdims=True)
    energy = square * area
    value = settings.rate_weight * np.log1p(energy / settings.rate_energy).sum()
    slope = settings.rate_weight / (settings.rate_energy + energy)
    gradient = DoubleGaussians(*(np.zeros_like(array) for array in vars(params).values()))
    gradient.scale[:] = slope * square * params.scale[:, ::-1]
    gradient.color[:] = slope * area * 2 * params.color
    return float(value), gradient


def structure_term(params: DoubleGaussians, structure: Structure) -> tuple[float, DoubleGaussians]:
    """weight (1 - SSIM) of luma of the rendering at the term's view, not clamped, and its gradient.

    The gradient by colours is the one along grey: ``Structure`` says why.
    """
    channels = params.color.shape[1]
    weights = np.array(LUMA if channels == 3 else (1.0,))
    expected = structure.pixels / float(np.iinfo(structure.pixels.dtype).max)
    grey = DoubleGaussians(params.mean, params.scale, params.rotation, params.color @ weights[:, None])
    similarity, d_similarity = ssim(render(grey, structure.view), expected)
    gradient = render_gradient(grey, structure.view, -structure.weight * d_similarity)
    gradient.color = np.repeat(gradient.color / channels, channels, axis=1)
    return structure.weight * (1 - similarity), gradient


def adam_state(params: DoubleGaussians) -> DoubleAdamState:
    count, channels = params.color.shape
    return DoubleAdamState(np.zeros((count, 5 + channels)), np.zeros((count, 5 + channels)), np.zeros(count, np.int64))


def loss_gradient(
    params: DoubleGaussians,
    target: SampleArray,
    view: View,
    settings: StepSettings,
    weights: ByteArray | None = None,
) -> tuple[DoubleGaussians, StepResult]:
    """The gradient of the loss, without the rate term."""
    check_weights(weights, view, settings)
    value, mean_square, d_image = loss(render(params, view), target, settings, weights)
    return render_gradient(params, view, d_image), StepResult(value, mean_square)


def reach(energy: DoubleArray, settings: StepSettings) -> DoubleArray:
    """How far shapes of an energy |c|^2 u v move with ``relative``, in units of the learning rates.

    The uncertainty of a gradient by a shape goes with the root of the energy, the curvature with the energy itself. So
    Newton's step goes with energy^-1/2, and Adam's, which divides by the uncertainty, with none. This is between them:
    strokes that carry much move with care, faint ones far.
    """
    low, high = REACH
    ratio = REACH_ENERGY * settings.rate_energy / np.maximum(energy, 1e-30)
    return np.clip(ratio, low**4, high**4) ** 0.25


def turn(scale: DoubleArray) -> DoubleArray:
    """The same of rotations, by scales [N, 2]: to turn a long stroke moves its ends by far more than its scales."""
    aspect = scale[:, 0] / scale[:, 1]
    return np.minimum(1.0, MAX_TURN_ASPECT / np.maximum(np.abs(aspect - 1 / aspect), 1e-30))


def step(
    params: DoubleGaussians,
    adam: DoubleAdamState,
    target: SampleArray,
    view: View,
    settings: StepSettings,
    weights: ByteArray | None = None,
    structure: Structure | None = None,
) -> StepResult:
    """One step of Adam on ``params``, in place."""
    d, result = loss_gradient(params, target, view, settings, weights)
    rate, d_rate = rate_term(params, settings)
    if structure is not None:
        term, d_term = structure_term(params, structure)
        rate += term
        d = DoubleGaussians(*(own + other for own, other in zip(vars(d).values(), vars(d_term).values(), strict=True)))
    cosine, sine = np.cos(params.rotation), np.sin(params.rotation)
    own_axes = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], 1)  # [N, axis, xy]
    d_mean, d_scale = d.mean, d.scale + d_rate.scale
    if settings.relative:
        d_mean = np.einsum("nax,nx->na", own_axes, d_mean) * params.scale
        d_scale = (d_scale * params.scale) @ _MEAN_AND_RATIO
    gradient = np.concatenate([d_mean, d_scale, d.rotation[:, None], d.color + d_rate.color], axis=1)
    adam.age += 1
    adam.first += (1 - settings.beta1) * (gradient - adam.first)
    adam.second += (1 - settings.beta2) * (gradient**2 - adam.second)
    first = adam.first / (1 - settings.beta1 ** adam.age[:, None])
    second = adam.second / (1 - settings.beta2 ** adam.age[:, None])
    if settings.relative:
        second[:, :2] = second[:, :2].mean(axis=1, keepdims=True)
    move = -first / (np.sqrt(second) + settings.epsilon)
    if settings.relative:
        energy = (params.color**2).sum(axis=1) * params.scale.prod(axis=1)
        move[:, :5] *= reach(energy, settings)[:, None]
        move[:, 4] *= turn(params.scale)
        move[:, 2:4] = move[:, 2:4] @ _MEAN_AND_RATIO
    shift = move[:, :2] * [settings.lr_mean_x, settings.lr_mean_y]
    scale_change = move[:, 2:4] * settings.lr_scale
    if settings.relative:
        shift = np.einsum("nax,na->nx", own_axes, shift * params.scale)
        scale = params.scale * np.exp(scale_change)
    else:
        scale = params.scale + scale_change
    params.mean[:] = np.clip(params.mean + shift, 0, [settings.width, settings.height])
    longer = np.clip(scale.max(axis=1), settings.min_scale, settings.max_scale)[:, None]
    shorter = np.maximum(settings.min_scale, longer / settings.max_aspect)
    params.scale[:] = np.clip(scale, shorter, longer)
    params.rotation += move[:, 4] * settings.lr_rotation
    params.color += move[:, 5:] * settings.lr_color
    return StepResult(result.loss + rate, result.mean_square)


def residual(
    params: DoubleGaussians, target: SampleArray, view: View, cell: int, weights: ByteArray | None = None
) -> DoubleArray:
    """Weighted mean of (target - clamped rendering) [..., :C] and mean of the weighted squares [..., C] over cells."""
    check_weights(weights, view)
    error = target / float(np.iinfo(target.dtype).max) - np.clip(render(params, view), 0, 1)
    factor = np.broadcast_to(_factors(weights), (view.rows, view.columns, 1))
    rows, columns = -(-view.rows // cell), -(-view.columns // cell)
    out = np.empty((rows, columns, error.shape[2] + 1))
    for row in range(rows):
        for column in range(columns):
            inside = np.s_[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            part, by = error[inside], factor[inside]
            out[row, column, :-1] = (by * part).sum(axis=(0, 1)) / (by.sum() or 1)
            out[row, column, -1] = (by * part**2).mean()
    return out
