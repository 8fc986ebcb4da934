"""From what the tiles left in a Gaussian's slots to its gradient, and Adam. One Gaussian a thread, in float64.

A Gaussian has a few slots, or tens of thousands if it lies over the whole picture; ``collapse`` first brings those with
more than ``CHUNK`` down to one for each chunk. Bytes a Gaussian: 32 a slot, and 228 for parameters, moments and age.
"""

import triton
import triton.language as tl

from smartsplat.raster.gpu.bins import CHUNK, HALF_LOG2_E, NORM, SPLAT


@triton.jit
def collapse(
    offsets,  # [N + 1] int64: a Gaussian's first slot
    chunk_offsets,  # [N + 1] int64: and its first chunk
    owners,  # [chunks] int64: Gaussian of a chunk
    partials,  # [total, SPLAT] float32; the first slot of a chunk becomes the sum over it
):
    """One chunk a program."""
    chunk = tl.program_id(0)
    owner = tl.load(owners + chunk)
    begin = tl.load(offsets + owner) + (chunk - tl.load(chunk_offsets + owner)) * CHUNK
    end = tl.load(offsets + owner + 1)
    column, slot = tl.arange(0, SPLAT), begin + tl.arange(0, CHUNK)
    place = partials + slot[:, None] * SPLAT + column[None, :]
    total = tl.sum(tl.load(place, (slot < end)[:, None] & (column >= 0)[None, :], 0.0), axis=0)
    tl.store(partials + begin * SPLAT + column, total)


@triton.jit
def _sums(offsets, partials, i, here, block: tl.constexpr):
    """The eight sums over a Gaussian's slots, [block] float64 each."""
    begin, end = tl.load(offsets + i, here, 0), tl.load(offsets + i + 1, here, 0)
    stride = tl.where(end - begin > CHUNK, CHUNK, 1).to(tl.int64)
    rounds = (end - begin + stride - 1) // stride
    zero = tl.zeros([block], tl.float64)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    for round_ in range(tl.max(rounds)):
        there = here & (round_ < rounds)
        slot = partials + (begin + round_ * stride) * SPLAT
        s0 += tl.load(slot, there, 0.0)
        s1 += tl.load(slot + 1, there, 0.0)
        s2 += tl.load(slot + 2, there, 0.0)
        s3 += tl.load(slot + 3, there, 0.0)
        s4 += tl.load(slot + 4, there, 0.0)
        s5 += tl.load(slot + 5, there, 0.0)
        s6 += tl.load(slot + 6, there, 0.0)
        s7 += tl.load(slot + 7, there, 0.0)
    return begin < end, s0, s1, s2, s3, s4, s5, s6, s7


@triton.jit
def _natural_gradient(
    scale, rotation, color, view, offsets, partials, i, here, channels: tl.constexpr, block: tl.constexpr
):
    """dL/d(mean x, mean y, scale u, scale v, rotation, colours) in pixels and radians; zero for what was not drawn.

    The slots hold sums over pixels of h (u, v) (u, v)^T with (u, v) = F d, F = ((p, 0), (s, r)) and cov^-1 = F^T F /
    HALF_LOG2_E. dL/dmean is cov^-1 E[d], dL/dcov is cov^-1 E[d d^T] cov^-1 / 2, E being those sums.
    """
    drawn, mu, mv, muu, muv, mvv, sum0, sum1, sum2 = _sums(offsets, partials, i, here, block)
    u = tl.load(scale + 2 * i, here, 1.0).to(tl.float64)
    v = tl.load(scale + 2 * i + 1, here, 1.0).to(tl.float64)
    angle = tl.load(rotation + i, here, 0.0).to(tl.float64)
    c, s = tl.cos(angle), tl.sin(angle)
    xx = c * c * u * u + s * s * v * v + tl.load(view + 4)
    yy = s * s * u * u + c * c * v * v + tl.load(view + 5)
    xy = c * s * (u * u - v * v)
    determinant = xx * yy - xy * xy
    # F in picture pixels, over HALF_LOG2_E where it stands for half of cov^-1.
    p, r = tl.sqrt(1 / xx * HALF_LOG2_E), tl.sqrt(xx / determinant * HALF_LOG2_E)
    shear = -xy / xx * r
    p, r, shear = p / HALF_LOG2_E, r / HALF_LOG2_E, shear / HALF_LOG2_E
    mean_x, mean_y = p * mu + shear * mv, r * mv
    # cov^-1 d along the Gaussian's own axes, as combinations of u and v.
    along_u, along_v = c * p, c * shear + s * r
    across_u, across_v = -s * p, c * r - s * shear
    guu = 0.5 * (along_u * along_u * muu + 2 * along_u * along_v * muv + along_v * along_v * mvv)
    gvv = 0.5 * (across_u * across_u * muu + 2 * across_u * across_v * muv + across_v * across_v * mvv)
    guv = along_u * across_u * muu + (along_u * across_v + along_v * across_u) * muv + along_v * across_v * mvv
    # The amplitude sqrt(u^2 v^2 / |cov|) of the pixel filter depends on the shape as well.
    amplitude = tl.sqrt(u * u * v * v / determinant)
    color0, color1, color2 = sum0 * (amplitude * NORM), sum1 * (amplitude * NORM), sum2 * (amplitude * NORM)
    d_log_amplitude = color0 * tl.load(color + channels * i, here, 0.0)
    if channels == 3:
        d_log_amplitude += color1 * tl.load(color + channels * i + 1, here, 0.0)
        d_log_amplitude += color2 * tl.load(color + channels * i + 2, here, 0.0)
    kuu = (yy * c * c - 2 * xy * c * s + xx * s * s) / determinant
    kvv = (yy * s * s + 2 * xy * c * s + xx * c * c) / determinant
    kuv = ((xx - yy) * c * s - xy * (c * c - s * s)) / determinant
    d_u = 2 * u * guu + d_log_amplitude * (1 / u - u * kuu)
    d_v = 2 * v * gvv + d_log_amplitude * (1 / v - v * kvv)
    turn = (u * u - v * v) * (guv - d_log_amplitude * kuv)
    return (
        tl.where(drawn, mean_x, 0.0),
        tl.where(drawn, mean_y, 0.0),
        tl.where(drawn, d_u, 0.0),
        tl.where(drawn, d_v, 0.0),
        tl.where(drawn, turn, 0.0),
        tl.where(drawn, color0, 0.0),
        tl.where(drawn, color1, 0.0),
        tl.where(drawn, color2, 0.0),
    )


@triton.jit(do_not_specialize=["count"])
def gradients(
    scale,
    rotation,
    color,
    view,  # [6] float64, as for ``bins.project``
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
    here = i < count
    x, y, u, v, turn, color0, color1, color2 = _natural_gradient(
        scale, rotation, color, view, offsets, partials, i, here, channels, block
    )
    tl.store(d_mean + 2 * i, x.to(tl.float32), here)
    tl.store(d_mean + 2 * i + 1, y.to(tl.float32), here)
    tl.store(d_scale + 2 * i, u.to(tl.float32), here)
    tl.store(d_scale + 2 * i + 1, v.to(tl.float32), here)
    tl.store(d_rotation + i, turn.to(tl.float32), here)
    tl.store(d_color + channels * i, color0.to(tl.float32), here)
    if channels == 3:
        tl.store(d_color + channels * i + 1, color1.to(tl.float32), here)
        tl.store(d_color + channels * i + 2, color2.to(tl.float32), here)


@triton.jit
def _add_size_term(settings, u, v, c0, c1, c2, d_u, d_v, d_c0, d_c1, d_c2):
    """size log(1 + energy / floor), and the gradient with its own added."""
    size, floor = tl.load(settings), tl.load(settings + 1)
    square = c0 * c0 + c1 * c1 + c2 * c2
    energy = square * u * v
    slope = size / (energy + floor)
    d_u += slope * square * v
    d_v += slope * square * u
    area = slope * 2 * u * v
    return tl.log(1 + energy / floor) * size, d_u, d_v, d_c0 + area * c0, d_c1 + area * c1, d_c2 + area * c2


@triton.jit
def _place(at, move, size, here):
    """Moves a coordinate, and keeps it inside the picture."""
    value = tl.load(at, here, 0.0).to(tl.float64) + move
    tl.store(at, tl.minimum(tl.maximum(value, 0.0), size).to(tl.float32), here)


@triton.jit
def _resize(at, u, v, settings, here):
    """Writes two scales within their bounds."""
    smallest = tl.load(settings + 12)
    longest = tl.minimum(tl.maximum(tl.maximum(u, v), smallest), tl.load(settings + 13))
    shortest = tl.maximum(smallest, longest / tl.load(settings + 14))
    tl.store(at, tl.minimum(tl.maximum(u, shortest), longest).to(tl.float32), here)
    tl.store(at + 1, tl.minimum(tl.maximum(v, shortest), longest).to(tl.float32), here)


@triton.jit
def _adam(moments, place, d, settings, correct1, correct2, here):
    """Adam's move for one parameter; its moments, ``place`` elements behind both pointers, are updated."""
    first, second = moments
    mean = tl.load(first + place, here, 0.0).to(tl.float64)
    square = tl.load(second + place, here, 0.0).to(tl.float64)
    mean += (1 - tl.load(settings + 7)) * (d - mean)
    square += (1 - tl.load(settings + 8)) * (d * d - square)
    tl.store(first + place, mean.to(tl.float32), here)
    tl.store(second + place, square.to(tl.float32), here)
    return -(mean / correct1) / (tl.sqrt(square / correct2) + tl.load(settings + 9))


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
    settings,  # [17] float64, in the order of ``backend.settings_of``
    offsets,
    partials,
    sizes,  # out [programs] float64: sums of the size term
    count,
    channels: tl.constexpr,
    relative: tl.constexpr,
    block: tl.constexpr,
):
    """Gradient, size term and Adam, in place."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = i < count
    x, y, d_u, d_v, d_angle, d0, d1, d2 = _natural_gradient(
        scale, rotation, color, view, offsets, partials, i, here, channels, block
    )
    u, v = tl.load(scale + 2 * i, here, 1.0).to(tl.float64), tl.load(scale + 2 * i + 1, here, 1.0).to(tl.float64)
    angle = tl.load(rotation + i, here, 0.0).to(tl.float64)
    cosine, sine = tl.cos(angle), tl.sin(angle)
    shade = color + channels * i
    c0 = tl.load(shade, here, 0.0).to(tl.float64)
    c1, c2 = tl.zeros_like(c0), tl.zeros_like(c0)
    if channels == 3:
        c1, c2 = tl.load(shade + 1, here, 0.0).to(tl.float64), tl.load(shade + 2, here, 0.0).to(tl.float64)
    size, d_u, d_v, d0, d1, d2 = _add_size_term(settings, u, v, c0, c1, c2, d_u, d_v, d0, d1, d2)
    tl.store(sizes + tl.program_id(0), tl.sum(tl.where(here, size, 0.0)))
    if relative:  # the mean along the Gaussian's own axes in units of its scales, and log scales
        x, y = (cosine * x + sine * y) * u, (cosine * y - sine * x) * v
        d_u *= u
        d_v *= v

    steps = tl.load(age + i, here, 0) + 1
    tl.store(age + i, steps, here)
    correct1 = 1 - tl.exp(steps.to(tl.float64) * tl.load(settings + 10))
    correct2 = 1 - tl.exp(steps.to(tl.float64) * tl.load(settings + 11))
    at, moments, rate = i * (5 + channels), (first, second), tl.load(settings + 6)
    move = _adam(moments, at + 5, d0, settings, correct1, correct2, here)
    tl.store(shade, (c0 + rate * move).to(tl.float32), here)
    if channels == 3:
        move = _adam(moments, at + 6, d1, settings, correct1, correct2, here)
        tl.store(shade + 1, (c1 + rate * move).to(tl.float32), here)
        move = _adam(moments, at + 7, d2, settings, correct1, correct2, here)
        tl.store(shade + 2, (c2 + rate * move).to(tl.float32), here)
    turn = _adam(moments, at + 4, d_angle, settings, correct1, correct2, here) * tl.load(settings + 5)
    tl.store(rotation + i, (angle + turn).to(tl.float32), here)
    x = _adam(moments, at, x, settings, correct1, correct2, here) * tl.load(settings + 2)
    y = _adam(moments, at + 1, y, settings, correct1, correct2, here) * tl.load(settings + 3)
    growth_u = _adam(moments, at + 2, d_u, settings, correct1, correct2, here) * tl.load(settings + 4)
    growth_v = _adam(moments, at + 3, d_v, settings, correct1, correct2, here) * tl.load(settings + 4)
    if relative:
        x, y = cosine * x * u - sine * y * v, sine * x * u + cosine * y * v
        u, v = u * tl.exp(growth_u), v * tl.exp(growth_v)
    else:
        u, v = u + growth_u, v + growth_v
    _place(mean + 2 * i, x, tl.load(settings + 15), here)
    _place(mean + 2 * i + 1, y, tl.load(settings + 16), here)
    _resize(scale + 2 * i, u, v, settings, here)
