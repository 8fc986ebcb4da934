"""From Gaussians to splats and to the list of Gaussians of every tile of ``TILE`` x ``TILE`` output pixels.

A splat is ``SPLAT`` floats, one 32-byte sector: mean x, y; p, r, s; up to three colours. With dx, dy the distance from
the mean in output pixels, u = p dx and v = r dy + s dx are such that 2^-(u^2 + v^2) = exp(-q / 2) (E1): the Cholesky
factor of the inverse covariance, which keeps long thin Gaussians exact in float32 where the quadratic form does not.
The colour contains the pixel filter's amplitude and the window's 1 / (1 - EDGE).

A pair is a Gaussian and a tile that its ellipse (E8) touches: of those in its rectangle, a third fewer in fits, and far
fewer for thin ones that lie across. In each row of tiles these are neighbours, a "span", so that two sums over counts
number everything: spans by Gaussian, and pairs ("slots") by span. The slots of one Gaussian are consecutive, and what
the backward pass leaves in them is summed in that order. The order inside a tile's list is free, and is that of the
slots only so that sums have a fixed order. No sort of all pairs is needed: a histogram counts them by tile, each pair
is dropped behind its tile's start in whatever order the atomics give, and each tile then ranks its own short list.

Bytes a pair: 24 in ``pair``, its share of a span included, 20 in ``scatter``, 20 in ``order``. Counts and offsets have
64 bits.
"""

import triton
import triton.language as tl

from smartsplat import raster

TILE = tl.constexpr(16)
SPLAT = tl.constexpr(8)
CHUNK = tl.constexpr(64)
"""Slots of one Gaussian that ``update.collapse`` sums in one program; Gaussians with fewer are left to ``update``."""

LONGEST = tl.constexpr(4096)
"""Longest list of a tile that is put in order. A longer one, which no fit makes, is summed in the order of arrival:
equal up to float32's rounding, not to the last bit."""

CUTOFF = tl.constexpr(raster.CUTOFF)
NORM = tl.constexpr(1 / (1 - raster.EDGE))
HALF_LOG2_E = tl.constexpr(0.72134752044448170368)  # exp(-q / 2) = 2^-(q HALF_LOG2_E)
REACH = tl.constexpr(raster.CUTOFF**2 * 0.72134752044448170368)  # u^2 + v^2 where the window ends
LARGEST_SLOT = tl.constexpr(2147483647)
ELLIPSE = tl.constexpr(9 * 3.14159265358979323846)  # area within three deviations, over the root of the determinant


@triton.jit(do_not_specialize=["count", "width", "height"])
def project(
    mean,  # [N, 2] float32
    scale,  # [N, 2] float32
    rotation,  # [N] float32
    color,  # [N, C] float32
    view,  # [6] float64: x, y, scale x, y, filter variance x, y
    splats,  # out [N, SPLAT] float32
    first_rows,  # out [N] int32: of tiles
    counts,  # out [N] int64: rows of tiles
    areas,  # out [N] float32: output pixels covered
    count,
    width,  # of the output, pixels
    height,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """One Gaussian a thread, in float64 as on the CPU: it is little work, and cancels badly in float32."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = i < count
    u = tl.load(scale + 2 * i, here, 1.0).to(tl.float64)
    v = tl.load(scale + 2 * i + 1, here, 1.0).to(tl.float64)
    angle = tl.load(rotation + i, here, 0.0).to(tl.float64)
    scale_x, scale_y = tl.load(view + 2), tl.load(view + 3)
    cosine, sine = tl.cos(angle), tl.sin(angle)
    xx = (cosine * cosine * u * u + sine * sine * v * v + tl.load(view + 4)) * scale_x * scale_x
    yy = (sine * sine * u * u + cosine * cosine * v * v + tl.load(view + 5)) * scale_y * scale_y
    xy = cosine * sine * (u * u - v * v) * scale_x * scale_y
    determinant = xx * yy - xy * xy
    x = (tl.load(mean + 2 * i, here, 0.0).to(tl.float64) - tl.load(view)) * scale_x
    y = (tl.load(mean + 2 * i + 1, here, 0.0).to(tl.float64) - tl.load(view + 1)) * scale_y
    amplitude = tl.sqrt(u * u * v * v * scale_x * scale_x * scale_y * scale_y / determinant) * NORM

    mean_x, mean_y = x.to(tl.float32), y.to(tl.float32)
    p = tl.sqrt(1 / xx * HALF_LOG2_E)
    r = tl.sqrt(xx / determinant * HALF_LOG2_E)
    s = (-xy / xx * r).to(tl.float32)
    p, r = p.to(tl.float32), r.to(tl.float32)
    # NaN and infinity from absurd parameters would spread over the picture: such a Gaussian is left out.
    total = tl.abs(mean_x) + tl.abs(mean_y) + p + r + tl.abs(s)
    splat = splats + i * SPLAT
    tl.store(splat, mean_x, here)
    tl.store(splat + 1, mean_y, here)
    tl.store(splat + 2, p, here)
    tl.store(splat + 3, r, here)
    tl.store(splat + 4, s, here)
    for c in tl.static_range(channels):
        shade = (tl.load(color + channels * i + c, here, 0.0).to(tl.float64) * amplitude).to(tl.float32)
        total += tl.abs(shade) * 1e-6  # the sum of finite ones stays finite
        tl.store(splat + 5 + c, shade, here)
    drawn = here & (total < float("inf"))

    reach_x, reach_y = tl.sqrt(xx) * CUTOFF, tl.sqrt(yy) * CUTOFF
    left = _within(tl.ceil(x - reach_x - 0.5), width)
    right = _within(tl.floor(x + reach_x + 0.5), width)
    top = _within(tl.ceil(y - reach_y - 0.5), height)
    bottom = _within(tl.floor(y + reach_y + 0.5), height)
    drawn = drawn & (left < right) & (top < bottom)
    box = (right - left).to(tl.float64) * (bottom - top).to(tl.float64)
    covered = tl.minimum(box, tl.sqrt(determinant) * ELLIPSE)
    tl.store(areas + i, tl.where(drawn, covered, 0.0).to(tl.float32), here)

    first_row = top // TILE
    tl.store(first_rows + i, first_row, here)
    tl.store(counts + i, tl.where(drawn, (bottom - 1) // TILE + 1 - first_row, 0).to(tl.int64), here)


@triton.jit
def _within(value, size):
    """A whole number between 0 and ``size``."""
    return tl.minimum(tl.maximum(value, 0.0), size.to(tl.float64)).to(tl.int32)


@triton.jit(do_not_specialize=["count", "width", "columns"])
def span(
    offsets,  # [N + 1] int64: a Gaussian's first span
    first_rows,  # [N] int32
    splats,  # [N, SPLAT] float32
    owners,  # out [spans] int32: Gaussian of a span
    tiles,  # out [spans] int32: its first tile
    counts,  # out [spans] int32: its tiles
    count,
    width,  # of the output, pixels
    columns,  # of tiles
    block: tl.constexpr,
    together: tl.constexpr,
):
    """``together`` spans of each of ``block`` Gaussians at once: from where to where the ellipse
    p^2 dx^2 + (r dy + s dx)^2 = REACH is as wide as it gets between the first and the last pixel centres of a row of
    tiles. In float64, of the splat that will be drawn."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = i < count
    begin = tl.load(offsets + i, here, 0)
    rows = (tl.load(offsets + i + 1, here, 0) - begin).to(tl.int32)
    splat = splats + i * SPLAT
    x, y = tl.load(splat, here, 0.0).to(tl.float64), tl.load(splat + 1, here, 0.0).to(tl.float64)
    p, r = tl.load(splat + 2, here, 1.0).to(tl.float64), tl.load(splat + 3, here, 1.0).to(tl.float64)
    s = tl.load(splat + 4, here, 0.0).to(tl.float64)
    square = p * p + s * s
    tall, wide = tl.sqrt(square * REACH) / (p * r), tl.sqrt(tl.zeros_like(p) + REACH) / p
    lean = -r * s / square  # dx in the middle of the ellipse, a dy
    tip = s / r * wide  # dy of the leftmost point; the rightmost is opposite
    first_row = tl.load(first_rows + i, here, 0)
    for done in range(0, tl.max(rows), together):
        number = done + tl.arange(0, together)[None, :]
        row = first_row[:, None] + number
        top = (row * TILE).to(tl.float64) + 0.5 - y[:, None]
        top, bottom = tl.maximum(top, -tall[:, None]), tl.minimum(top + (TILE - 1), tall[:, None])
        left_top, right_top = _ends(top, lean[:, None], square[:, None], (p * r)[:, None])
        left_bottom, right_bottom = _ends(bottom, lean[:, None], square[:, None], (p * r)[:, None])
        left, right = tl.minimum(left_top, left_bottom), tl.maximum(right_top, right_bottom)
        left = tl.where((top <= tip[:, None]) & (tip[:, None] <= bottom), -wide[:, None], left)
        right = tl.where((top <= -tip[:, None]) & (-tip[:, None] <= bottom), wide[:, None], right)
        first = _within(tl.ceil(x[:, None] + left - 0.5), width)
        end = _within(tl.floor(x[:, None] + right + 0.5), width)
        drawn = (top <= bottom) & (first < end)
        there, place = number < rows[:, None], begin[:, None] + number
        tl.store(owners + place, i.to(tl.int32)[:, None] + 0 * number, there)
        tl.store(tiles + place, row * columns + first // TILE, there)
        tl.store(counts + place, tl.where(drawn, (end - 1) // TILE + 1 - first // TILE, 0), there)


@triton.jit
def _ends(dy, lean, square, steepness):
    """The dx where a row meets the ellipse."""
    half = tl.sqrt(tl.maximum(square * REACH - steepness * steepness * dy * dy, 0.0)) / square
    return lean * dy - half, lean * dy + half


@triton.jit(do_not_specialize=["spans"])
def pair(
    offsets,  # [spans + 1] int64: a span's first slot
    span_owners,  # [spans] int32
    span_tiles,  # [spans] int32
    tile_counts,  # in and out [tiles] int32, at first 0
    owners,  # out [pairs] int32: Gaussian of a slot
    tiles,  # out [pairs] int32
    arrivals,  # out [pairs] int32: how many came to the tile before
    spans,
    block: tl.constexpr,
    together: tl.constexpr,
):
    """``together`` slots of each of ``block`` spans at once."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = i < spans
    begin = tl.load(offsets + i, here, 0)
    count = (tl.load(offsets + i + 1, here, 0) - begin).to(tl.int32)
    owner, first = tl.load(span_owners + i, here, 0)[:, None], tl.load(span_tiles + i, here, 0)[:, None]
    for done in range(0, tl.max(count), together):
        number = done + tl.arange(0, together)[None, :]
        there, slot, tile = number < count[:, None], begin[:, None] + number, first + number
        tl.store(owners + slot, owner + 0 * number, there)
        tl.store(tiles + slot, tile, there)
        tl.store(arrivals + slot, tl.atomic_add(tile_counts + tile, 1, there), there)


@triton.jit(do_not_specialize=["total"])
def scatter(
    starts,  # [tiles + 1] int64
    tiles,  # [total] int32
    arrivals,  # [total] int32
    arrived,  # out [total] int32: the slots of each tile, in any order
    total,
    block: tl.constexpr,
):
    slot = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = slot < total
    start = tl.load(starts + tl.load(tiles + slot, here, 0), here, 0)
    tl.store(arrived + start + tl.load(arrivals + slot, here, 0), slot.to(tl.int32), here)


@triton.jit(do_not_specialize=["count"])
def order(
    starts,  # [tiles + 1] int64
    arrived,  # [total] int32
    owners,  # [total] int32
    slots,  # out [total] int32: the slots of each tile, rising
    gaussians,  # out [total] int32: their Gaussians
    count,  # of tiles
    tiles: tl.constexpr,
    block: tl.constexpr,
):
    """Some tiles a program: an entry's place is the number of smaller ones, which is cheap for a few dozen."""
    tile = tl.program_id(0) * tiles + tl.arange(0, tiles)
    begin, end = tl.load(starts + tile, tile < count, 0), tl.load(starts + tile + 1, tile < count, 0)
    length = (end - begin).to(tl.int32)
    sorted_length = tl.where(length <= LONGEST, length, 0)
    for first in range(0, tl.max(length), block):
        place = first + tl.arange(0, block)[None, :]
        here = place < length[:, None]
        mine = tl.load(arrived + begin[:, None] + place, here, 0)
        smaller = tl.zeros([tiles, block], tl.int32)
        for other in range(tl.max(sorted_length)):
            theirs = tl.load(arrived + begin + other, other < sorted_length, LARGEST_SLOT)
            smaller += (theirs[:, None] < mine).to(tl.int32)
        at = begin[:, None] + tl.where((length <= LONGEST)[:, None], smaller, place)
        tl.store(slots + at, mine, here)
        tl.store(gaussians + at, tl.load(owners + mine, here, 0), here)
