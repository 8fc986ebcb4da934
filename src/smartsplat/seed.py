"""The Gaussians that a fit starts from, placed, sized and coloured by the picture's own features (E11-E21).

Most are drawn where the sampling weight is high and start small; the others fill what is left at random and
take their size from their neighbours. The result depends on the picture, the count, the settings and ``rng``
alone, never on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from smartsplat import _native
from smartsplat.errors import SettingsError
from smartsplat.features import Tile, sampling_weight, tiles
from smartsplat.gaussians import SMALLEST_SCALE, FloatArray, Gaussians, base_scale
from smartsplat.settings import SeedSettings

Pixels = npt.NDArray[np.uint8]

NEVER = 1e-30
"""Stands in for a weight of zero in the race: behind every pixel with a weight, at random among its like."""

MOST_TILES = 16
"""Tiles in work at once, whatever the number of threads: each needs some 45 MB."""

FEWEST_CANDIDATES = 1024
"""Uniform candidates in a batch, so that its accept rate means something."""


def seed(
    pixels: Pixels, count: int, *, settings: SeedSettings = SeedSettings(), rng: int = 0, threads: int = 1
) -> Gaussians:
    """Exactly ``count`` Gaussians for a picture, uint8 [H, W, C] with C = 1 or 3.

    Weighted ones come first, tile by tile, then uniform ones. The two scales of each are equal.
    """
    if count < 0:
        raise SettingsError(f"The number of Gaussians must not be negative, and {count} is")
    height, width, channels = pixels.shape
    if count == 0:
        return Gaussians.empty(channels)
    weighted_count = min(int(settings.weighted_share * count + 0.5), width * height)  # E21; once a pixel
    weighted, weight = place_weighted(pixels, weighted_count, settings, rng, threads)
    base = base_scale(width, height, count)
    weighted_scale = (base * np.exp(-weight / 2)).astype(np.float32)  # E13

    generator = _generator(rng, 1)
    radius = exclusion_radius(base, weighted_scale)
    uniform = place_uniform(width, height, count - weighted_count, weighted, radius, generator)
    mean = np.concatenate([weighted, uniform])
    if count > 1:
        uniform_scale = neighbor_scale(uniform, mean, settings.neighbors, threads)
    else:
        uniform_scale = np.full(len(uniform), max(width, height), np.float32)

    scale = np.concatenate([weighted_scale, uniform_scale]).clip(SMALLEST_SCALE, max(width, height) / 2)
    rotation = generator.random(count, np.float32) * np.float32(2 * np.pi)
    color = median_color(pixels, mean, scale, threads)
    return Gaussians(mean, np.stack([scale, scale], axis=1), rotation, color)


def _generator(rng: int, *stream: int) -> np.random.Generator:
    """An independent stream of ``rng``: (0, tile) draws a tile's points, (1,) all that is uniform."""
    return np.random.default_rng(np.random.SeedSequence(rng, spawn_key=stream))


def place_weighted(
    pixels: Pixels, count: int, settings: SeedSettings, rng: int, threads: int
) -> tuple[FloatArray, FloatArray]:
    """E11-E12: ``count`` distinct pixel centres, each tile's share drawn by its sampling weight.

    Returns the positions [count, 2] and the weight [count] of each.
    """
    height, width, _ = pixels.shape
    areas = tiles(width, height, settings)
    budgets = _shares(count, [area.width * area.height for area in areas])

    def draw(index: int) -> tuple[FloatArray, FloatArray]:
        return _draw(pixels, areas[index], budgets[index], settings, _generator(rng, 0, index))

    with ThreadPoolExecutor(min(max(threads, 1), MOST_TILES)) as pool:
        drawn = list(pool.map(draw, range(len(areas))))
    return np.concatenate([mean for mean, _ in drawn]), np.concatenate([weight for _, weight in drawn])


def _shares(count: int, sizes: list[int]) -> list[int]:
    """``count`` split in proportion to ``sizes`` by largest remainder; at most the size if the count fits."""
    total = sum(sizes)
    shares = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda index: -(count * sizes[index] % total))
    for index in by_remainder[: count - sum(shares)]:
        shares[index] += 1
    return shares


def _draw(
    pixels: Pixels, tile: Tile, count: int, settings: SeedSettings, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """E12 without replacement: centres [count, 2] and weights [count] of pixels drawn from one tile.

    An exponential race: each pixel's finishing time is exponential with its weight as the rate, and the first
    ``count`` win. That is the same draw as one after the other, each time from the pixels that are left.
    """
    if count == 0:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    weight = sampling_weight(pixels, tile, settings).ravel()
    time = generator.standard_exponential(weight.size)
    time /= np.maximum(weight, NEVER)
    winners = np.sort(np.argpartition(time, count - 1)[:count])
    row, column = np.divmod(winners, tile.width)
    mean = np.stack([tile.x + column + 0.5, tile.y + row + 0.5], axis=1)
    return mean.astype(np.float32), weight[winners]


def exclusion_radius(base: float, weighted_scale: FloatArray) -> float:
    """E16, pixels. E13 keeps every weighted scale at or below the base, so this is always the base."""
    return max(base, float(np.median(weighted_scale))) if weighted_scale.size else base


def place_uniform(
    width: int, height: int, count: int, weighted: FloatArray, radius: float, generator: np.random.Generator
) -> FloatArray:
    """E15: ``count`` random positions [count, 2], none closer than ``radius`` to a weighted one.

    With the radius of E16 the weighted discs cover at most a ninth of the picture, so nearly all candidates
    pass. A radius that leaves almost no room is halved until it does, which always ends.
    """
    size = np.array([width, height], np.float32)
    tree = cKDTree(weighted)
    accepted = [np.zeros((0, 2), np.float32)]
    missing = count
    while missing > 0:
        candidates = generator.random((max(missing + missing // 4, FEWEST_CANDIDATES), 2), np.float32) * size
        distance, _ = tree.query(candidates, distance_upper_bound=radius)
        kept = candidates[distance >= radius]
        if 10 * len(kept) < len(candidates):
            radius /= 2
        accepted.append(kept[:missing])
        missing -= len(accepted[-1])
    return np.concatenate(accepted)


def neighbor_scale(points: FloatArray, among: FloatArray, neighbors: int, threads: int) -> FloatArray:
    """E17: root mean square distance, pixels, from each of ``points`` to its nearest ones ``among`` all, [P].

    ``points`` are among them, and do not count as their own neighbours. ``among`` holds at least two.
    """
    nearest = min(neighbors + 1, len(among))
    distance, _ = cKDTree(among).query(points, k=nearest, workers=max(threads, 1))
    # The first is the point itself, or one in the same place: at distance zero either way.
    scale: FloatArray = np.sqrt(np.mean(np.square(distance[:, 1:]), axis=1)).astype(np.float32)
    return scale


def median_color(pixels: Pixels, mean: FloatArray, scale: FloatArray, threads: int) -> FloatArray:
    """E18-E20: for each Gaussian, [N, C] in [0, 1], the weighted median of each channel over its disc.

    The disc has radius s, the weight is a Gaussian of standard deviation s. A pixel belongs if its centre is
    in the disc, the pixel that contains the mean always. Discs beyond 24 pixels are sampled on a lattice.
    """
    pixels = np.ascontiguousarray(pixels)
    color: FloatArray = _native.weighted_median_colors(pixels, mean, scale, max(threads, 1))
    return color
