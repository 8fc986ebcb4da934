"""Initialization: the Gaussians that a fit starts from, placed, sized and coloured by the image (E9 to E21).

A fraction of the Gaussians is sampled by weight and starts small. The others are placed uniformly at random, away from
those, and take their scales from their neighbours. The ``Sampler`` reads the pixels, on the CPU or on a GPU; searches
for nearest neighbours run on the CPU. The result depends on the image, the count, the settings, the seed and the kind
of sampler, never on the number of threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.encoder.sampler import Sampler, TileBudgets
from smartsplat.encoder.sampling_tiles import SamplingTile, sampling_tiles
from smartsplat.encoder.settings import InitializeSettings
from smartsplat.errors import SettingsError
from smartsplat.gaussians import MIN_SCALE, Gaussians, base_scale

MIN_CANDIDATES = 1024
"""Uniform candidates in a batch, so that its acceptance rate means something."""

MAX_THINNING = 64
"""Of so many uniform candidates one is kept, however dark the weights of errors are: what bounds their number."""

BAND_ROWS = 64
"""Rows of a band in the order of uniform points, pixels."""


def initialize(
    pixels: SampleArray,
    count: int,
    *,
    settings: InitializeSettings = InitializeSettings(),
    seed: int = 0,
    threads: int = 1,
    sampler: Sampler | None = None,
    error_weights: ByteArray | None = None,
) -> Gaussians:
    """Exactly ``count`` Gaussians for an image; the two scales of each are equal.

    Args:
        pixels: uint8 or uint16 [H, W, C], C = 1 or 3.
        count: of Gaussians, 0 or more.
        settings: of the placement.
        seed: of the random numbers.
        threads: for searches among points.
        sampler: one on ``threads`` threads of the processor unless given.
        error_weights: [H, W], 255 being 1: how likely a pixel is to get a Gaussian.

    Returns:
        The weighted ones, tile by tile, then the uniform ones.

    Raises:
        SettingsError: a negative count.
    """
    if count < 0:
        raise SettingsError(f"the number of Gaussians must not be negative, not {count}")
    height, width, channels = pixels.shape
    if count == 0:
        return Gaussians.empty(channels)
    if sampler is None:
        from smartsplat.encoder.compute import open_compute  # has the compiled module, which a GPU does without

        sampler = open_compute("cpu", max(threads, 1)).sampler
    generator = np.random.default_rng(_stream(seed, 1))
    base = base_scale(width, height, count)  # E14

    weighted_count = count_weighted(width, height, count, settings)  # E21
    weighted, weight = place_weighted(pixels, weighted_count, settings, seed, sampler, error_weights)  # E9-E12
    weighted_scale = (base * np.exp(-weight / 2)).astype(np.float32)  # E13

    radius = exclusion_radius(base, weighted_scale)  # E16
    missing = count - weighted_count
    uniform = place_uniform(width, height, missing, weighted, radius, generator, threads, error_weights)  # E15
    mean = np.concatenate([weighted, uniform])
    uniform_scale = neighbor_scale(uniform, mean, settings.neighbors, threads)  # E17

    scale = within_bounds(np.concatenate([weighted_scale, uniform_scale]), width, height)
    rotation = generator.random(count, np.float32) * np.float32(2 * np.pi)
    color = sampler.median_color(pixels, mean, scale)  # E18-E20
    return Gaussians(mean, np.stack([scale, scale], axis=1), rotation, color)


def _stream(seed: int, *stream: int) -> np.random.SeedSequence:
    """An independent stream of a seed: (0, tile) samples a tile's pixels, (1,) is for all that is uniform."""
    return np.random.SeedSequence(seed, spawn_key=stream)


def count_weighted(width: int, height: int, count: int, settings: InitializeSettings = InitializeSettings()) -> int:
    """E21: how many of ``count`` Gaussians are sampled by weight, at most one for each pixel of the image."""
    return min(int(settings.weighted_fraction * count + 0.5), width * height)


def place_weighted(
    pixels: SampleArray,
    count: int,
    settings: InitializeSettings,
    seed: int,
    sampler: Sampler,
    error_weights: ByteArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """E9-E12: ``count`` distinct pixel centres, each tile's part sampled by the pixels' weights.

    Returns the positions [count, 2] and the weight [count] of each, tile by tile and row by row.
    """
    height, width, _ = pixels.shape
    areas = sampling_tiles(width, height, settings.tile)
    boxes = np.array([(area.x, area.y, area.width, area.height) for area in areas], np.int64)
    counts = np.array(_tile_counts(count, areas, error_weights), np.int64)
    keys = np.array([_stream(seed, 0, index).generate_state(1, np.uint64)[0] for index in range(len(areas))])
    budgets = TileBudgets(boxes, counts, keys)
    return sampler.sample_pixels(pixels, budgets, settings.variance_window, settings.gradient_fraction, error_weights)


def _tile_counts(count: int, areas: list[SamplingTile], error_weights: ByteArray | None) -> list[int]:
    """How many of the pixels each tile gives: in proportion to its area, or to its weights as far as it has pixels."""
    sizes = [area.width * area.height for area in areas]
    if error_weights is None or not error_weights.any():
        return _split_count(count, sizes)
    boxes = [np.s_[area.y : area.y + area.height, area.x : area.x + area.width] for area in areas]
    by_weight = _split_count(count, [int(error_weights[box].sum(dtype=np.int64)) for box in boxes])
    counts = [min(wanted, size) for wanted, size in zip(by_weight, sizes, strict=True)]
    rooms = [size - given for given, size in zip(counts, sizes, strict=True)]
    if sum(counts) < count:
        counts = [a + b for a, b in zip(counts, _split_count(count - sum(counts), rooms), strict=True)]
    return counts


def _split_count(count: int, sizes: list[int]) -> list[int]:
    """``count`` split in proportion to ``sizes`` by largest remainder; at most the size if the count fits."""
    total = sum(sizes)
    shares = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda index: -(count * sizes[index] % total))
    for index in by_remainder[: count - sum(shares)]:
        shares[index] += 1
    return shares


def exclusion_radius(base: float, weighted_scale: FloatArray) -> float:
    """E16, pixels. E13 keeps every weighted scale at or below the base, so this is always the base."""
    return max(base, float(np.median(weighted_scale))) if weighted_scale.size else base


def place_uniform(
    width: int,
    height: int,
    count: int,
    weighted: FloatArray,
    radius: float,
    generator: np.random.Generator,
    threads: int,
    error_weights: ByteArray | None = None,
) -> FloatArray:
    """E15: ``count`` random positions [count, 2], none closer than ``radius`` to a weighted one.

    With the radius of E16 the weighted discs cover at most a ninth of the image, so nearly all candidates
    pass. A radius that leaves almost no room is halved until it does, which always ends. Candidates are dropped in
    proportion to the weights of errors before, but never nearly all of them.
    """
    size = np.array([width, height], np.float32)
    tree = _tree(weighted)
    accepted = [np.zeros((0, 2), np.float32)]
    missing = count
    while missing > 0:
        candidates = generator.random((max(missing + missing // 4, MIN_CANDIDATES), 2), np.float32) * size
        if error_weights is not None:
            candidates = _thinned(candidates, error_weights, generator)
        order = _along_bands(candidates)
        far = np.empty(len(candidates), bool)
        nearest, _ = tree.query(candidates[order], distance_upper_bound=radius, workers=max(threads, 1))
        far[order] = nearest >= radius
        kept = candidates[far]
        if 10 * len(kept) < len(candidates):
            radius /= 2
        accepted.append(kept[:missing])
        missing -= len(accepted[-1])
    points = np.concatenate(accepted)
    return points[_along_bands(points)]


def _thinned(points: FloatArray, error_weights: ByteArray, generator: np.random.Generator) -> FloatArray:
    """Those of the points [P, 2] that are kept, each with the probability of its weight; at least one in so many."""
    rows, columns = error_weights.shape
    column, row = np.minimum(points.astype(np.intp), [columns - 1, rows - 1]).T
    luck = error_weights[row, column] - 255 * generator.random(len(points), np.float32)
    kept = luck > 0
    least = -(-len(points) // MAX_THINNING)
    if np.count_nonzero(kept) < least:
        kept[np.argpartition(-luck, least - 1)[:least]] = True
    thinned: FloatArray = points[kept]
    return thinned


def _along_bands(points: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the points [P, 2] by bands of rows, from left to right in each.

    One point's neighbours, in the tree and in the image, are then in the cache when the next one needs them.
    Searches in a million points take a third of the time.
    """
    return np.lexsort((points[:, 0], points[:, 1] // BAND_ROWS))


def _tree(points: FloatArray) -> cKDTree:
    """For searches as many as points: a balanced, tight tree takes longer to build than it saves."""
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def neighbor_scale(points: FloatArray, among: FloatArray, neighbors: int, threads: int) -> FloatArray:
    """E17: root mean square distance, pixels, from each of ``points`` to its nearest ones ``among`` all, [P].

    ``points`` are among them, and do not count as their own neighbours. Infinite where ``among`` holds no other.
    """
    if len(among) < 2:
        return np.full(len(points), np.inf, np.float32)
    nearest = min(neighbors + 1, len(among))
    distance, _ = _tree(among).query(points, k=nearest, workers=max(threads, 1))
    # The first is the point itself, or one in the same place: at distance zero either way.
    scale: FloatArray = np.sqrt(np.mean(np.square(distance[:, 1:]), axis=1)).astype(np.float32)
    return scale


def within_bounds(scale: FloatArray, width: int, height: int) -> FloatArray:
    """Initial scales, brought between the smallest one and half of the image's longer side, pixels."""
    return scale.clip(MIN_SCALE, max(width, height) / 2)
