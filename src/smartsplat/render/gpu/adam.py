"""Adam: from what the tiles left in a Gaussian's slots to its gradient, and the step. One Gaussian a thread, float64.

A Gaussian has a few slots, or tens of thousands if it lies over the whole image; ``collapse`` first brings those with
more than ``CHUNK_SLOTS`` down to one for each chunk. Bytes a Gaussian: 32 a slot, and 228 for parameters, moments and
age.
"""

import math
from dataclasses import fields

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.arrays import DoubleArray
from smartsplat.render import MAX_TURN_ASPECT, REACH, REACH_ENERGY, StepSettings
from smartsplat.render.gpu.bin import TileLists
from smartsplat.render.gpu.constants import BLOCK, CHUNK_SLOTS, HALF_LOG2_E, SPLAT_FLOATS, WINDOW_NORM
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.params import TensorAdamState, TensorGaussians
from smartsplat.render.gpu.project import filtered_covariance

SETTING_NAMES = (*(field.name for field in fields(StepSettings)), "log_beta1", "log_beta2")
"""What kernels read the settings of a step by, in the order of ``pack_settings``."""


def _index(name: str) -> tl.constexpr:
    return tl.constexpr(SETTING_NAMES.index(name))


RATE_WEIGHT, RATE_ENERGY = _index("rate_weight"), _index("rate_energy")
LR_MEAN_X, LR_MEAN_Y = _index("lr_mean_x"), _index("lr_mean_y")
LR_SCALE, LR_ROTATION, LR_COLOR = _index("lr_scale"), _index("lr_rotation"), _index("lr_color")
BETA1, BETA2, EPSILON = _index("beta1"), _index("beta2"), _index("epsilon")
LOG_BETA1, LOG_BETA2 = _index("log_beta1"), _index("log_beta2")
MIN_SCALE, MAX_SCALE, MAX_ASPECT = _index("min_scale"), _index("max_scale"), _index("max_aspect")
WIDTH, HEIGHT = _index("width"), _index("height")

HALF_ROOT = tl.constexpr(math.sqrt(0.5))
OF_REACH, TURN_ASPECT = tl.constexpr(REACH_ENERGY), tl.constexpr(MAX_TURN_ASPECT)
MIN_REACH4, MAX_REACH4 = tl.constexpr(REACH[0] ** 4), tl.constexpr(REACH[1] ** 4)


def pack_settings(settings: StepSettings) -> DoubleArray:
    """The settings of a step as kernels read them: SETTING_NAMES."""
    logs = (math.log(beta) if beta > 0 else -math.inf for beta in (settings.beta1, settings.beta2))
    return np.array([*(getattr(settings, field.name) for field in fields(settings)), *logs], np.float64)


@triton.jit
def collapse(
    offsets,  # [N + 1] int64: a Gaussian's first slot
    chunk_offsets,  # [N + 1] int64: and its first chunk
    owners,  # [chunks] int64: Gaussian of a chunk
    partials,  # [total, SPLAT_FLOATS] float32; the first slot of a chunk becomes the sum over it
):
    """One chunk a program."""
    chunk = tl.program_id(0)
    owner = tl.load(owners + chunk)
    begin = tl.load(offsets + owner) + (chunk - tl.load(chunk_offsets + owner)) * CHUNK_SLOTS
    end = tl.load(offsets + owner + 1)
    column, slot = tl.arange(0, SPLAT_FLOATS), begin + tl.arange(0, CHUNK_SLOTS)
    place = partials + slot[:, None] * SPLAT_FLOATS + column[None, :]
    total = tl.sum(tl.load(place, (slot < end)[:, None] & (column >= 0)[None, :], 0.0), axis=0)
    tl.store(partials + begin * SPLAT_FLOATS + column, total)


@triton.jit
def _sums(offsets, partials, i, valid, block: tl.constexpr):
    """Whether a Gaussian has slots, and the eight sums over them, [block] float64 each."""
    begin, end = tl.load(offsets + i, valid, 0), tl.load(offsets + i + 1, valid, 0)
    stride = tl.where(end - begin > CHUNK_SLOTS, CHUNK_SLOTS, 1).to(tl.int64)
    rounds = (end - begin + stride - 1) // stride
    zero = tl.zeros([block], tl.float64)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    for round_ in range(tl.max(rounds)):
        mask = valid & (round_ < rounds)
        slot = partials + (begin + round_ * stride) * SPLAT_FLOATS
        s0 += tl.load(slot, mask, 0.0)
        s1 += tl.load(slot + 1, mask, 0.0)
        s2 += tl.load(slot + 2, mask, 0.0)
        s3 += tl.load(slot + 3, mask, 0.0)
        s4 += tl.load(slot + 4, mask, 0.0)
        s5 += tl.load(slot + 5, mask, 0.0)
        s6 += tl.load(slot + 6, mask, 0.0)
        s7 += tl.load(slot + 7, mask, 0.0)
    return begin < end, s0, s1, s2, s3, s4, s5, s6, s7


@triton.jit
def _natural_gradient(
    scale, rotation, color, view, offsets, partials, i, valid, channels: tl.constexpr, block: tl.constexpr
):
    """dL/d(mean x, mean y, scale u, scale v, rotation, colours) in pixels and radians; 0 for what was not rendered.

    The slots hold sums over pixels of h w w^T with w = F d the whitened coordinates, F = ((factor_x, 0), (shear,
    factor_y)) and cov^-1 = F^T F / HALF_LOG2_E. dL/dmean is cov^-1 E[d], dL/dcov is cov^-1 E[d d^T] cov^-1 / 2, E being
    those sums.
    """
    rendered, sum_x, sum_y, sum_xx, sum_xy, sum_yy, sum0, sum1, sum2 = _sums(offsets, partials, i, valid, block)
    u, v, cosine, sine, xx, xy, yy = filtered_covariance(scale, rotation, view, i, valid)
    determinant = xx * yy - xy * xy
    # F in image pixels, over HALF_LOG2_E where it stands for half of cov^-1.
    factor_x, factor_y = tl.sqrt(1 / xx * HALF_LOG2_E), tl.sqrt(xx / determinant * HALF_LOG2_E)
    shear = -xy / xx * factor_y
    factor_x, factor_y, shear = factor_x / HALF_LOG2_E, factor_y / HALF_LOG2_E, shear / HALF_LOG2_E
    d_x, d_y = factor_x * sum_x + shear * sum_y, factor_y * sum_y
    # cov^-1 d along the Gaussian's own axes, as combinations of the whitened coordinates.
    u_x, u_y = cosine * factor_x, cosine * shear + sine * factor_y
    v_x, v_y = -sine * factor_x, cosine * factor_y - sine * shear
    d_uu = 0.5 * (u_x * u_x * sum_xx + 2 * u_x * u_y * sum_xy + u_y * u_y * sum_yy)
    d_vv = 0.5 * (v_x * v_x * sum_xx + 2 * v_x * v_y * sum_xy + v_y * v_y * sum_yy)
    d_uv = u_x * v_x * sum_xx + (u_x * v_y + u_y * v_x) * sum_xy + u_y * v_y * sum_yy
    # The amplitude sqrt(u^2 v^2 / |cov|) of the pixel filter depends on the shape as well.
    amplitude = tl.sqrt(u * u * v * v / determinant)
    d_c0 = sum0 * (amplitude * WINDOW_NORM)
    d_c1, d_c2 = sum1 * (amplitude * WINDOW_NORM), sum2 * (amplitude * WINDOW_NORM)
    d_log_amplitude = d_c0 * tl.load(color + channels * i, valid, 0.0)
    if channels == 3:
        d_log_amplitude += d_c1 * tl.load(color + channels * i + 1, valid, 0.0)
        d_log_amplitude += d_c2 * tl.load(color + channels * i + 2, valid, 0.0)
    # cov^-1 along the Gaussian's own axes.
    uu = (yy * cosine * cosine - 2 * xy * cosine * sine + xx * sine * sine) / determinant
    vv = (yy * sine * sine + 2 * xy * cosine * sine + xx * cosine * cosine) / determinant
    uv = ((xx - yy) * cosine * sine - xy * (cosine * cosine - sine * sine)) / determinant
    d_u = 2 * u * d_uu + d_log_amplitude * (1 / u - u * uu)
    d_v = 2 * v * d_vv + d_log_amplitude * (1 / v - v * vv)
    d_angle = (u * u - v * v) * (d_uv - d_log_amplitude * uv)
    d_x, d_y = tl.where(rendered, d_x, 0.0), tl.where(rendered, d_y, 0.0)
    d_u, d_v = tl.where(rendered, d_u, 0.0), tl.where(rendered, d_v, 0.0)
    d_c0, d_c1 = tl.where(rendered, d_c0, 0.0), tl.where(rendered, d_c1, 0.0)
    return d_x, d_y, d_u, d_v, tl.where(rendered, d_angle, 0.0), d_c0, d_c1, tl.where(rendered, d_c2, 0.0)


@triton.jit(do_not_specialize=["count"])
def gradients(
    scale,
    rotation,
    color,
    view,  # [6] float64: project.VIEW_NAMES
    offsets,
    partials,
    d_mean,  # out, shaped as the parameters
    d_scale,
    d_rotation,
    d_color,
    count,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """The gradient by natural parameters, written out."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    valid = i < count
    x, y, u, v, angle, c0, c1, c2 = _natural_gradient(
        scale, rotation, color, view, offsets, partials, i, valid, channels, block
    )
    tl.store(d_mean + 2 * i, x.to(tl.float32), valid)
    tl.store(d_mean + 2 * i + 1, y.to(tl.float32), valid)
    tl.store(d_scale + 2 * i, u.to(tl.float32), valid)
    tl.store(d_scale + 2 * i + 1, v.to(tl.float32), valid)
    tl.store(d_rotation + i, angle.to(tl.float32), valid)
    tl.store(d_color + channels * i, c0.to(tl.float32), valid)
    if channels == 3:
        tl.store(d_color + channels * i + 1, c1.to(tl.float32), valid)
        tl.store(d_color + channels * i + 2, c2.to(tl.float32), valid)


@triton.jit
def _add_rate_term(settings, u, v, c0, c1, c2, d_u, d_v, d_c0, d_c1, d_c2):
    """rate_weight log(1 + energy / rate_energy), and the gradient with its own added."""
    rate_weight, rate_energy = tl.load(settings + RATE_WEIGHT), tl.load(settings + RATE_ENERGY)
    square = c0 * c0 + c1 * c1 + c2 * c2
    energy = square * u * v
    slope = rate_weight / (energy + rate_energy)
    d_u += slope * square * v
    d_v += slope * square * u
    d_c = slope * 2 * u * v
    return tl.log(1 + energy / rate_energy) * rate_weight, d_u, d_v, d_c0 + d_c * c0, d_c1 + d_c * c1, d_c2 + d_c * c2


@triton.jit
def _with_other(other, i, valid, channels: tl.constexpr, x, y, u, v, angle, c0, c1, c2):
    """A natural gradient, and that of another term, [N, 5 + luma], added."""
    place = other + 6 * i
    x, y = x + tl.load(place, valid, 0.0), y + tl.load(place + 1, valid, 0.0)
    u, v = u + tl.load(place + 2, valid, 0.0), v + tl.load(place + 3, valid, 0.0)
    angle += tl.load(place + 4, valid, 0.0)
    each = tl.load(place + 5, valid, 0.0) / channels
    c0 += each
    if channels == 3:
        c1, c2 = c1 + each, c2 + each
    return x, y, u, v, angle, c0, c1, c2


@triton.jit
def _move_mean(place, shift, size, valid):
    """Moves a coordinate, and keeps it inside the image."""
    value = tl.load(place, valid, 0.0).to(tl.float64) + shift
    tl.store(place, tl.minimum(tl.maximum(value, 0.0), size).to(tl.float32), valid)


@triton.jit
def _store_scales(place, u, v, settings, valid):
    """Writes two scales within their bounds."""
    min_scale = tl.load(settings + MIN_SCALE)
    longer = tl.minimum(tl.maximum(tl.maximum(u, v), min_scale), tl.load(settings + MAX_SCALE))
    shorter = tl.maximum(min_scale, longer / tl.load(settings + MAX_ASPECT))
    tl.store(place, tl.minimum(tl.maximum(u, shorter), longer).to(tl.float32), valid)
    tl.store(place + 1, tl.minimum(tl.maximum(v, shorter), longer).to(tl.float32), valid)


@triton.jit
def _bias_corrections(age, i, settings, valid):
    """What Adam divides its moments by at a Gaussian's next step, by which its age rises."""
    steps = tl.load(age + i, valid, 0) + 1
    tl.store(age + i, steps, valid)
    correct1 = 1 - tl.exp(steps.to(tl.float64) * tl.load(settings + LOG_BETA1))
    correct2 = 1 - tl.exp(steps.to(tl.float64) * tl.load(settings + LOG_BETA2))
    return correct1, correct2


@triton.jit
def _moments(state, element, d, settings, valid):
    """Adam's moments of one parameter, updated and without their bias."""
    first, second, correct1, correct2 = state
    mean = tl.load(first + element, valid, 0.0).to(tl.float64)
    square = tl.load(second + element, valid, 0.0).to(tl.float64)
    mean += (1 - tl.load(settings + BETA1)) * (d - mean)
    square += (1 - tl.load(settings + BETA2)) * (d * d - square)
    tl.store(first + element, mean.to(tl.float32), valid)
    tl.store(second + element, square.to(tl.float32), valid)
    return mean / correct1, square / correct2


@triton.jit
def _move(state, element, d, settings, valid):
    """Adam's move for one parameter, in units of its learning rate; its moments are updated."""
    mean, square = _moments(state, element, d, settings, valid)
    return -mean / (tl.sqrt(square) + tl.load(settings + EPSILON))


@triton.jit
def _move_means(state, element, d_x, d_y, settings, valid, relative: tl.constexpr):
    """Both coordinates of a mean, whose moments begin at ``element``; with ``relative`` they share the second one."""
    mean_x, square_x = _moments(state, element, d_x, settings, valid)
    mean_y, square_y = _moments(state, element + 1, d_y, settings, valid)
    if relative:
        square_x = 0.5 * (square_x + square_y)
        square_y = square_x
    epsilon = tl.load(settings + EPSILON)
    x = -mean_x / (tl.sqrt(square_x) + epsilon) * tl.load(settings + LR_MEAN_X)
    return x, -mean_y / (tl.sqrt(square_y) + epsilon) * tl.load(settings + LR_MEAN_Y)


@triton.jit
def _reach_and_turn(settings, u, v, c0, c1, c2):
    """``reach`` and ``turn`` of render/reference.py."""
    energy = tl.maximum((c0 * c0 + c1 * c1 + c2 * c2) * u * v, 1e-30)
    ratio = tl.minimum(tl.maximum(tl.load(settings + RATE_ENERGY) * OF_REACH / energy, MIN_REACH4), MAX_REACH4)
    longer = tl.maximum(tl.abs(u / v - v / u), 1e-30)
    return tl.sqrt(tl.sqrt(ratio)), tl.minimum(1.0 / longer * TURN_ASPECT, 1.0)


@triton.jit
def _step_colors(state, element, place, c0, c1, c2, d0, d1, d2, settings, valid, channels: tl.constexpr):
    """Moves the colours at ``place``, whose moments begin at ``element``."""
    lr = tl.load(settings + LR_COLOR)
    tl.store(place, (c0 + lr * _move(state, element, d0, settings, valid)).to(tl.float32), valid)
    if channels == 3:
        move = _move(state, element + 1, d1, settings, valid)
        tl.store(place + 1, (c1 + lr * move).to(tl.float32), valid)
        move = _move(state, element + 2, d2, settings, valid)
        tl.store(place + 2, (c2 + lr * move).to(tl.float32), valid)


@triton.jit(do_not_specialize=["count"])
def update(
    mean,
    scale,
    rotation,
    color,
    first,  # [N, 5 + C] float32
    second,  # [N, 5 + C] float32
    age,  # [N] int32
    view,
    settings,  # [SETTING_NAMES] float64
    offsets,
    partials,
    other,  # [N, 5 + luma] natural gradient of another term, which is added; or None
    rate_sums,  # out [programs] float64: of the rate term
    count,
    channels: tl.constexpr,
    relative: tl.constexpr,
    block: tl.constexpr,
):
    """Gradient, rate term and Adam, in place."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    valid = i < count
    x, y, d_u, d_v, d_angle, d0, d1, d2 = _natural_gradient(
        scale, rotation, color, view, offsets, partials, i, valid, channels, block
    )
    if other is not None:
        x, y, d_u, d_v, d_angle, d0, d1, d2 = _with_other(
            other, i, valid, channels, x, y, d_u, d_v, d_angle, d0, d1, d2
        )
    u, v = tl.load(scale + 2 * i, valid, 1.0).to(tl.float64), tl.load(scale + 2 * i + 1, valid, 1.0).to(tl.float64)
    angle = tl.load(rotation + i, valid, 0.0).to(tl.float64)
    cosine, sine = tl.cos(angle), tl.sin(angle)
    colors = color + channels * i
    c0 = tl.load(colors, valid, 0.0).to(tl.float64)
    c1, c2 = tl.zeros_like(c0), tl.zeros_like(c0)
    if channels == 3:
        c1, c2 = tl.load(colors + 1, valid, 0.0).to(tl.float64), tl.load(colors + 2, valid, 0.0).to(tl.float64)
    rate, d_u, d_v, d0, d1, d2 = _add_rate_term(settings, u, v, c0, c1, c2, d_u, d_v, d0, d1, d2)
    tl.store(rate_sums + tl.program_id(0), tl.sum(tl.where(valid, rate, 0.0)))
    if relative:  # the mean along the Gaussian's own axes in units of its scales, and log scales
        x, y = (cosine * x + sine * y) * u, (cosine * y - sine * x) * v
        d_u, d_v = (d_u * u + d_v * v) * HALF_ROOT, (d_u * u - d_v * v) * HALF_ROOT
    correct1, correct2 = _bias_corrections(age, i, settings, valid)
    state, element = (first, second, correct1, correct2), i * (5 + channels)
    _step_colors(state, element + 5, colors, c0, c1, c2, d0, d1, d2, settings, valid, channels)
    turned = _move(state, element + 4, d_angle, settings, valid)
    x, y = _move_means(state, element, x, y, settings, valid, relative)
    change_u = _move(state, element + 2, d_u, settings, valid) * tl.load(settings + LR_SCALE)
    change_v = _move(state, element + 3, d_v, settings, valid) * tl.load(settings + LR_SCALE)
    if relative:
        reach, turn = _reach_and_turn(settings, u, v, c0, c1, c2)
        turned *= reach * turn
        change_u, change_v = (change_u + change_v) * HALF_ROOT * reach, (change_u - change_v) * HALF_ROOT * reach
        x, y = (cosine * x * u - sine * y * v) * reach, (sine * x * u + cosine * y * v) * reach
        u, v = u * tl.exp(change_u), v * tl.exp(change_v)
    else:
        u, v = u + change_u, v + change_v
    tl.store(rotation + i, (angle + turned * tl.load(settings + LR_ROTATION)).to(tl.float32), valid)
    _move_mean(mean + 2 * i, x, tl.load(settings + WIDTH), valid)
    _move_mean(mean + 2 * i + 1, y, tl.load(settings + HEIGHT), valid)
    _store_scales(scale + 2 * i, u, v, settings, valid)


def sum_chunks(launcher: Launcher, lists: TileLists, partials: Tensor) -> None:
    """Sum the slots of the Gaussians that have many by chunks: each leaves its sum in its first slot."""
    counts = lists.chunk_offsets.diff()
    gaussians = torch.arange(len(counts), device=launcher.device)
    owners = gaussians.repeat_interleave(counts, output_size=lists.chunks)
    launcher.launch(collapse, lists.chunks, lists.offsets, lists.chunk_offsets, owners, partials, warps=1)


def natural_gradient(
    launcher: Launcher, params: TensorGaussians, lists: TileLists, partials: Tensor
) -> TensorGaussians:
    """The gradient by natural parameters (pixels, radians) of what the backward pass left in ``partials``."""
    gradient = TensorGaussians(*map(torch.empty_like, params.tensors()))
    sum_chunks(launcher, lists, partials)
    arrays = (params.scale, params.rotation, params.color, lists.view, lists.offsets, partials, *gradient.tensors())
    count = len(params)
    launcher.launch(gradients, -(-count // BLOCK), *arrays, count, params.channels, BLOCK)
    return gradient


def adam_step(
    launcher: Launcher,
    params: TensorGaussians,
    adam: TensorAdamState,
    lists: TileLists,
    partials: Tensor,
    settings: StepSettings,
    other: TensorGaussians | None = None,
) -> Tensor:
    """Gradient, rate term and Adam on ``params`` and ``adam`` in place.

    Args:
        other: the gradient of another term, by natural parameters and luma as colour, to be added.

    Returns:
        The rate term of each program's Gaussians, float64.
    """
    count = len(params)
    rate_sums = launcher.zeros((-(-count // BLOCK),), torch.float64)
    sum_chunks(launcher, lists, partials)
    packed = launcher.upload(pack_settings(settings))
    added = None
    if other is not None:
        added = torch.cat([tensor.reshape(count, -1) for tensor in other.tensors()], dim=1)
    arrays = (*params.tensors(), *adam.tensors(), lists.view, packed, lists.offsets, partials, added, rate_sums)
    launcher.launch(update, len(rate_sums), *arrays, count, params.channels, settings.relative, BLOCK)
    return rate_sums
