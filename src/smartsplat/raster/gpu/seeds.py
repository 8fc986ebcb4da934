"""What of seeding reads every pixel: sampling weights and the race between them (E9-E12), colour medians (E18-E20).

The picture is on the device already, uint8 [H, W, C]. In ``peaks`` and ``race`` a thread has two pixels and computes
their features from the 5 x 5 around each, which lie in the first-level cache; keeping features for the second kernel
would take 8 bytes a pixel of the whole picture. Only a group of tiles has its weights and times in memory, 12 bytes a
pixel. A tile's random numbers are those of the CPU, a hash of the pixel's place, and so, but for ties, are the winners.

``medians`` has a program for each Gaussian, which keeps the weights of its disc's pixels in registers and finds the
level at half of their sum by halving the range eight times. Sums are integers: their order does not matter.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.gaussians import FloatArray

Launch = Callable[..., None]
"""``Backend._launch``: kernel, programs, arguments."""

PLACES = 256  # pixels of a program of ``peaks`` and ``race``: two a thread keep the code short
GROUP = 1 << 24  # pixels, about, that have weights and times at once
SIDES = (16, 32, 64)  # of the squares that hold a disc's pixels: 51 is the most (native/seed.cpp)

NEVER = tl.constexpr(1e-30)
"""Stands in for a weight of zero in the race: behind all that have a weight, at random among its like."""
LAST = tl.constexpr(2**63 - 1)
LOW_BITS = tl.constexpr(32)  # of an entry of the race: the place

# splitmix64, as in native/sampling.cpp.
STEP = tl.constexpr(0x9E3779B97F4A7C15)
FIRST_MIX = tl.constexpr(0xBF58476D1CE4E5B9)
SECOND_MIX = tl.constexpr(0x94D049BB133111EB)
UNIT = tl.constexpr(2.0**-53)

# Discs and their weights, as in native/seed.cpp.
FULL_RADIUS = tl.constexpr(24.0)
LATTICE = tl.constexpr(math.sqrt(math.pi / 1000))
UNIT_WEIGHT = tl.constexpr(2.0**20)
SMALLEST_RADIUS = tl.constexpr(1e-3)
LARGEST_RADIUS = tl.constexpr(1e9)


@triton.jit
def _level(picture, x, y, c, width, height, channels: tl.constexpr):
    """A sample, int32; the picture's edge repeats outwards."""
    column, row = tl.minimum(tl.maximum(x, 0), width - 1), tl.minimum(tl.maximum(y, 0), height - 1)
    return tl.load(picture + (row.to(tl.int64) * width + column) * channels + c).to(tl.int32)


@triton.jit
def _features(picture, x, y, width, height, channels: tl.constexpr, window: tl.constexpr, block: tl.constexpr):
    """E9 for some pixels: gradient and variance, [block] each."""
    gradient = tl.zeros([block], tl.float32)
    spread = tl.zeros([block], tl.int32)  # n sum x^2 - (sum x)^2, which may wrap around on the way
    for c in tl.static_range(channels):
        along_x, along_y = tl.zeros([block], tl.int32), tl.zeros([block], tl.int32)
        for side in range(-1, 2):
            weight = 2 - side * side
            along_x += weight * _level(picture, x + 1, y + side, c, width, height, channels)
            along_x -= weight * _level(picture, x - 1, y + side, c, width, height, channels)
            along_y += weight * _level(picture, x + side, y + 1, c, width, height, channels)
            along_y -= weight * _level(picture, x + side, y - 1, c, width, height, channels)
        gradient += tl.sqrt_rn((along_x * along_x + along_y * along_y).to(tl.float32)) * 0.125
        total, squares = tl.zeros([block], tl.int32), tl.zeros([block], tl.int32)
        for i in range(window * window):
            across, down = x + i % window - window // 2, y + i // window - window // 2
            level = _level(picture, across, down, c, width, height, channels)
            total += level
            squares += level * level
        spread += window * window * squares - total * total
    samples = window * window * window * window * channels
    return tl.div_rn(gradient, channels * 1.0), tl.div_rn(spread.to(tl.float32), samples * 1.0)


@triton.jit
def _pixel(tiles, blocks, block: tl.constexpr):
    """Tile of a program; place in it, column and row in the picture, and whether it has such a place, [block] each."""
    tile = tl.program_id(0) // blocks
    place = tl.program_id(0) % blocks * block + tl.arange(0, block)
    box = tiles + 4 * tile
    across = tl.load(box + 2)
    x, y = tl.load(box) + place % across, tl.load(box + 1) + place // across
    return tile, place, x, y, place < across * tl.load(box + 3)


@triton.jit(do_not_specialize=["width", "height", "blocks"])
def peaks(
    picture,  # [H, W, C] uint8
    tiles,  # [T, 4] int32: column, row, columns, rows
    highest,  # out [T, blocks, 2] float32: largest gradient and variance
    width,
    height,
    blocks,  # programs of a tile
    channels: tl.constexpr,
    window: tl.constexpr,
    block: tl.constexpr,
):
    _, _, x, y, here = _pixel(tiles, blocks, block)
    gradient, variance = _features(picture, x, y, width, height, channels, window, block)
    out = highest + 2 * tl.program_id(0)
    tl.store(out, tl.max(tl.where(here, gradient, 0.0)))
    tl.store(out + 1, tl.max(tl.where(here, variance, 0.0)))


@triton.jit(do_not_specialize=["width", "height", "blocks", "span", "share"])
def race(
    picture,  # [H, W, C] uint8
    tiles,  # [T, 4] int32
    units,  # [T, 2] float32: what the features are divided by
    keys,  # [T] int64, the bits of unsigned numbers
    weights,  # out [T, span] float32
    entries,  # out [T, span] int64: time above, place below; LAST where a tile has no pixel
    width,
    height,
    blocks,
    span,  # places of the largest tile
    share,  # of the gradient
    channels: tl.constexpr,
    window: tl.constexpr,
    block: tl.constexpr,
):
    """E10, and E12's time of each pixel: rounded to float32, whose bits, of positive numbers, are ordered like them."""
    tile, place, x, y, here = _pixel(tiles, blocks, block)
    gradient, variance = _features(picture, x, y, width, height, channels, window, block)
    weight = share * tl.div_rn(gradient, tl.load(units + 2 * tile))
    weight += (1 - share) * tl.div_rn(variance, tl.load(units + 2 * tile + 1))
    z = (place + 1).to(tl.uint64) * STEP + tl.load(keys + tile).to(tl.uint64)
    z = (z ^ (z >> 30)) * FIRST_MIX
    z = (z ^ (z >> 27)) * SECOND_MIX
    u = ((z ^ (z >> 31)) >> 11).to(tl.int64).to(tl.float64) * UNIT
    time = (tl.abs(tl.log(1.0 - u)) / tl.maximum(weight, NEVER).to(tl.float64)).to(tl.float32)
    entry = (time.to(tl.int32, bitcast=True).to(tl.int64) << LOW_BITS) + place
    out = tile.to(tl.int64) * span + place
    tl.store(weights + out, weight, place < span)
    tl.store(entries + out, tl.where(here, entry, LAST), place < span)


def draw_weighted(
    launch: Launch,
    picture: Tensor,
    boxes: npt.NDArray[np.int64],
    budgets: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    window: int,
    share: float,
) -> tuple[FloatArray, FloatArray]:
    """E9-E12: see ``smartsplat.raster``."""
    found = [
        _winners(boxes[group], budgets[group], *raced(launch, picture, boxes[group], keys[group], window, share))
        for group in _groups(boxes)
    ]
    means, weights = zip(*found, strict=True)
    return torch.cat(means).cpu().numpy(), torch.cat(weights).cpu().numpy()


def _groups(boxes: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Tiles that are drawn from at once."""
    tiles = max(1, GROUP // int(boxes[:, 2:].prod(axis=1).max()))
    return (slice(first, first + tiles) for first in range(0, len(boxes), tiles))


def raced(
    launch: Launch,
    picture: Tensor,
    boxes: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    window: int,
    share: float,
) -> tuple[Tensor, Tensor]:
    """Weights, float32, and entries of the race, int64, of the pixels of some tiles, [T, places of the largest]."""
    height, width, channels = picture.shape
    device, span = picture.device, int(boxes[:, 2:].prod(axis=1).max())
    blocks = -(-span // PLACES)
    tiles = torch.tensor(boxes.astype(np.int32), device=device)
    highest = torch.empty((len(boxes), blocks, 2), dtype=torch.float32, device=device)
    weights = torch.empty((len(boxes), span), dtype=torch.float32, device=device)
    entries = torch.empty((len(boxes), span), dtype=torch.int64, device=device)
    shape, form = (width, height, blocks), (channels, window, PLACES)
    launch(peaks, len(boxes) * blocks, picture, tiles, highest, *shape, *form)
    units = highest.amax(dim=1)
    units = torch.where(units > 0, units, torch.ones_like(units))
    streams = torch.tensor(keys.view(np.int64), device=device)
    launch(race, len(boxes) * blocks, picture, tiles, units, streams, weights, entries, *shape, span, share, *form)
    return weights, entries


def _winners(
    boxes: npt.NDArray[np.int64], budgets: npt.NDArray[np.int64], weights: Tensor, entries: Tensor
) -> tuple[Tensor, Tensor]:
    """Pixel centres [P, 2] and weights [P] of each tile's first, in the order of their places. No two entries tie."""
    device, most = weights.device, int(budgets.max())
    places = torch.topk(entries, most, dim=1, largest=False).values & (2**LOW_BITS.value - 1)
    wins = torch.arange(most, device=device) < torch.tensor(budgets, device=device)[:, None]
    places = places.masked_fill(~wins, weights.shape[1]).sort(dim=1).values[wins]
    tile = torch.arange(len(boxes), device=device).repeat_interleave(torch.tensor(budgets, device=device))
    x, y, across, _ = torch.tensor(boxes, device=device)[tile].unbind(dim=1)
    mean = torch.stack([x + places % across, y + places // across], dim=1).to(torch.float32) + 0.5
    return mean, weights[tile, places]


@triton.jit
def _home(coordinate, length):
    """The pixel that contains a coordinate, or the nearest one of the picture; 0 for NaN."""
    last = (length - 1).to(tl.float64)
    return tl.where(coordinate > 0, tl.minimum(tl.floor(coordinate), last), 0.0).to(tl.int64)


@triton.jit(do_not_specialize=["width", "height", "above"])
def medians(
    picture,  # [H, W, C] uint8
    mean,  # [N, 2] float32
    scale,  # [N] float32
    levels,  # out [N, C] uint8
    width,
    height,
    above,  # side of the next smaller square
    channels: tl.constexpr,
    side: tl.constexpr,
):
    """E18-E20, for the Gaussians whose disc fits this square and no smaller one."""
    i = tl.program_id(0).to(tl.int64)
    given = tl.load(scale + i).to(tl.float64)
    radius = tl.where(given > SMALLEST_RADIUS, tl.minimum(given, LARGEST_RADIUS), SMALLEST_RADIUS)
    step = tl.where(radius <= FULL_RADIUS, 1.0, tl.ceil(radius * LATTICE)).to(tl.int64)
    reach = tl.ceil(radius).to(tl.int64) // step + 1
    if (2 * reach < side) & (2 * reach >= above):
        x, y = tl.load(mean + 2 * i).to(tl.float64), tl.load(mean + 2 * i + 1).to(tl.float64)
        home_x, home_y = _home(x, width), _home(y, height)
        place = tl.arange(0, side * side)
        across, down = place % side - side // 2, place // side - side // 2
        column, row = home_x + across * step, home_y + down * step
        dx, dy = column.to(tl.float64) + 0.5 - x, row.to(tl.float64) + 0.5 - y
        squared = dx * dx + dy * dy
        # A disc smaller than a pixel may contain no pixel centre: its own pixel always belongs.
        belongs = (squared <= radius * radius) | ((across == 0) & (down == 0))
        belongs = belongs & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        exact = tl.exp(-squared / (2 * radius * radius)) * UNIT_WEIGHT
        weight = tl.where(exact >= 1, exact + 0.5, 1.0).to(tl.int32)  # 1 for NaN
        weight = tl.where(belongs, weight, 0)
        total = tl.sum(weight)
        half = total // 2 + total % 2
        pixel = picture + (row * width + column) * channels
        for c in tl.static_range(channels):
            level = tl.load(pixel + c, belongs, 0).to(tl.int32)
            median = total * 0
            for bit in tl.static_range(8):
                higher = median + (128 >> bit)
                below = tl.sum(tl.where(level < higher, weight, 0))
                median = tl.where(below < half, higher, median)
            tl.store(levels + channels * i + c, median.to(tl.uint8))


def median_color(launch: Launch, picture: Tensor, mean: Tensor, scale: Tensor) -> npt.NDArray[Any]:
    """Levels of 255, uint8 [N, C]."""
    height, width, channels = picture.shape
    levels = torch.empty((len(mean), channels), dtype=torch.uint8, device=picture.device)
    for above, side in zip((0, *SIDES), SIDES, strict=False):
        arrays, shape = (picture, mean, scale, levels), (width, height, above)
        launch(medians, len(mean), *arrays, *shape, channels, side, warps=warps_for(side))
    found: npt.NDArray[Any] = levels.cpu().numpy()
    return found


def warps_for(side: int) -> int:
    """Of a program of ``medians``: eight pixels a thread keep the code short and its registers few."""
    return side * side // 256
