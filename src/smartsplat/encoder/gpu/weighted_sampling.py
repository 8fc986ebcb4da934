"""Pixels sampled by weight and without replacement (E10-E12), by an exponential race in each tile.

The image is on the device already, uint8 or uint16 [H, W, C]. ``race`` computes the features of its pixels again:
keeping those of ``peaks`` would take 8 bytes a pixel of the whole image. Only a group of tiles has its weights and
times in memory, 12 bytes a pixel. A tile's random numbers are those of the CPU, a hash of the pixel's place, and so,
but for ties, are the winners.
"""

from collections.abc import Iterator

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.arrays import FloatArray
from smartsplat.encoder.gpu.features import features, peaks, tile_pixels
from smartsplat.encoder.sampler import MIN_WEIGHT, TileBudgets
from smartsplat.render.gpu.launcher import Launcher

PIXELS_PER_PROGRAM = 256
"""Of ``peaks`` and ``race``: two a thread keep the code short."""

GROUP_PIXELS = 1 << 24
"""About: pixels that have weights and times at once."""

ZERO_WEIGHT = tl.constexpr(MIN_WEIGHT)  # as kernels read it

NO_ENTRY = tl.constexpr(2**63 - 1)
PLACE_BITS = tl.constexpr(32)
"""Low bits of an entry of the race, which are the place."""

# splitmix64, as in native/encoder/weighted_sampling.cpp.
SPLITMIX_STEP = tl.constexpr(0x9E3779B97F4A7C15)
SPLITMIX_FACTOR1 = tl.constexpr(0xBF58476D1CE4E5B9)
SPLITMIX_FACTOR2 = tl.constexpr(0x94D049BB133111EB)
UNIFORM_STEP = tl.constexpr(2.0**-53)


@triton.jit(do_not_specialize=["width", "height", "blocks", "max_places", "gradient_fraction"])
def race(
    image,  # [H, W, C] uint8 or uint16
    error_weights,  # [H, W] uint8, which weights are multiplied with, 255 being 1; None: all are 1
    tiles,  # [T, 4] int32
    units,  # [T, 2] float32: what the features are divided by
    keys,  # [T] int64, the bits of unsigned numbers
    weights,  # out [T, max_places] float32
    entries,  # out [T, max_places] int64: time above, place below; NO_ENTRY where a tile has no pixel
    width,
    height,
    blocks,
    max_places,  # of the largest tile
    gradient_fraction,
    channels: tl.constexpr,
    window: tl.constexpr,
    block: tl.constexpr,
):
    """E10, and E12's time of each pixel: rounded to float32, whose bits, of positive numbers, are ordered like them."""
    tile, place, x, y, valid = tile_pixels(tiles, blocks, block)
    gradient, variance = features(image, x, y, width, height, channels, window, block)
    weight = gradient_fraction * tl.div_rn(gradient, tl.load(units + 2 * tile))
    weight += (1 - gradient_fraction) * tl.div_rn(variance, tl.load(units + 2 * tile + 1))
    if error_weights is not None:
        factor = tl.load(error_weights + (y.to(tl.int64) * width + x), valid, 0).to(tl.float32)
        weight *= tl.div_rn(factor, 255.0)
    z = (place + 1).to(tl.uint64) * SPLITMIX_STEP + tl.load(keys + tile).to(tl.uint64)
    z = (z ^ (z >> 30)) * SPLITMIX_FACTOR1
    z = (z ^ (z >> 27)) * SPLITMIX_FACTOR2
    uniform = ((z ^ (z >> 31)) >> 11).to(tl.int64).to(tl.float64) * UNIFORM_STEP
    time = (tl.abs(tl.log(1.0 - uniform)) / tl.maximum(weight, ZERO_WEIGHT).to(tl.float64)).to(tl.float32)
    entry = (time.to(tl.int32, bitcast=True).to(tl.int64) << PLACE_BITS) + place
    out = tile.to(tl.int64) * max_places + place
    tl.store(weights + out, weight, place < max_places)
    tl.store(entries + out, tl.where(valid, entry, NO_ENTRY), place < max_places)


def sample_pixels(
    launcher: Launcher,
    image: Tensor,
    error_weights: Tensor | None,
    budgets: TileBudgets,
    window: int,
    gradient_fraction: float,
) -> tuple[FloatArray, FloatArray]:
    """``Sampler.sample_pixels`` of an image on the device, uint8 or uint16 [H, W, C], and weights uint8 [H, W]."""
    means, weights = zip(
        *(
            _winners(group, *race_entries(launcher, image, error_weights, group, window, gradient_fraction))
            for group in _groups(budgets)
        ),
        strict=True,
    )
    return torch.cat(means).cpu().numpy(), torch.cat(weights).cpu().numpy()


def _groups(budgets: TileBudgets) -> Iterator[TileBudgets]:
    """Tiles that are sampled at once."""
    tiles = max(1, GROUP_PIXELS // _max_places(budgets))
    for first in range(0, len(budgets.boxes), tiles):
        group = slice(first, first + tiles)
        yield TileBudgets(budgets.boxes[group], budgets.counts[group], budgets.keys[group])


def _max_places(budgets: TileBudgets) -> int:
    """Pixels of the largest tile."""
    return int(budgets.boxes[:, 2:].prod(axis=1).max())


def race_entries(
    launcher: Launcher,
    image: Tensor,
    error_weights: Tensor | None,
    budgets: TileBudgets,
    window: int,
    gradient_fraction: float,
) -> tuple[Tensor, Tensor]:
    """The race of the pixels of some tiles.

    Returns:
        Weights, float32, and entries, int64, [T, places of the largest tile] each.
    """
    height, width, channels = image.shape
    tile_count, max_places = len(budgets.boxes), _max_places(budgets)
    blocks = -(-max_places // PIXELS_PER_PROGRAM)
    tiles = launcher.upload(budgets.boxes.astype(np.int32))
    maxima = launcher.empty((tile_count, blocks, 2))
    weights = launcher.empty((tile_count, max_places))
    entries = launcher.empty((tile_count, max_places), torch.int64)
    sizes, form = (width, height, blocks), (channels, window, PIXELS_PER_PROGRAM)
    launcher.launch(peaks, tile_count * blocks, image, tiles, maxima, *sizes, *form)
    units = maxima.amax(dim=1)
    units = torch.where(units > 0, units, torch.ones_like(units))
    keys = launcher.upload(budgets.keys.view(np.int64))
    arrays = (image, error_weights, tiles, units, keys, weights, entries)
    launcher.launch(race, tile_count * blocks, *arrays, *sizes, max_places, gradient_fraction, *form)
    return weights, entries


def _winners(budgets: TileBudgets, weights: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres [P, 2] and weights [P] of each tile's first, in the order of their places. No two entries tie."""
    device, max_count = weights.device, int(budgets.counts.max())
    counts = torch.tensor(budgets.counts, device=device)
    places = torch.topk(entries, max_count, dim=1, largest=False).values & (2**PLACE_BITS.value - 1)
    wins = torch.arange(max_count, device=device) < counts[:, None]
    places = places.masked_fill(~wins, weights.shape[1]).sort(dim=1).values[wins]
    tile = torch.arange(len(counts), device=device).repeat_interleave(counts)
    x, y, columns, _ = torch.tensor(budgets.boxes, device=device)[tile].unbind(dim=1)
    mean = torch.stack([x + places % columns, y + places // columns], dim=1).to(torch.float32) + 0.5
    return mean, weights[tile, places]
