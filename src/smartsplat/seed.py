"""The Gaussians that a fit starts from, placed, sized and coloured by the picture's own features (E11-E21).

Most are drawn where the sampling weight is high and start small; the others fill what is left at random and
take their size from their neighbours. What reads every pixel is the backend's, on a GPU or here; searches among points
are done here. The result depends on the picture, the count, the settings, ``rng`` and the kind of backend alone, never
on the number of threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from smartsplat.errors import SettingsError
from smartsplat.features import checked_window, tiles
from smartsplat.gaussians import SMALLEST_SCALE, FloatArray, Gaussians, base_scale
from smartsplat.raster import Backend, native
from smartsplat.settings import SeedSettings

Pixels = npt.NDArray[np.uint8]

FEWEST_CANDIDATES = 1024
"""Uniform candidates in a batch, so that its accept rate means something."""

BAND = 64
"""Rows of a band in the order of uniform points, pixels."""


def seed(
    pixels: Pixels,
    count: int,
    *,
    settings: SeedSettings = SeedSettings(),
    rng: int = 0,
    threads: int = 1,
    backend: Backend | None = None,
) -> Gaussians:
    """Exactly ``count`` Gaussians for a picture, uint8 [H, W, C] with C = 1 or 3.

    Weighted ones come first, tile by tile, then uniform ones. The two scales of each are equal. ``backend`` is one of
    ``threads`` threads unless given.
    """
    if count < 0:
        raise SettingsError(f"The number of Gaussians must not be negative, and {count} is")
    height, width, channels = pixels.shape
    if count == 0:
        return Gaussians.empty(channels)
    weighted_count = min(int(settings.weighted_share * count + 0.5), width * height)  # E21; once a pixel
    backend = backend or native.Backend(max(threads, 1))
    weighted, weight = place_weighted(pixels, weighted_count, settings, rng, backend)
    base = base_scale(width, height, count)
    weighted_scale = (base * np.exp(-weight / 2)).astype(np.float32)  # E13

    generator = np.random.default_rng(_stream(rng, 1))
    radius = exclusion_radius(base, weighted_scale)
    uniform = place_uniform(width, height, count - weighted_count, weighted, radius, generator, threads)
    mean = np.concatenate([weighted, uniform])
    if count > 1:
        uniform_scale = neighbor_scale(uniform, mean, settings.neighbors, threads)
    else:
        uniform_scale = np.full(len(uniform), max(width, height), np.float32)

    scale = np.concatenate([weighted_scale, uniform_scale]).clip(SMALLEST_SCALE, max(width, height) / 2)
    rotation = generator.random(count, np.float32) * np.float32(2 * np.pi)
    color = backend.median_color(pixels, mean, scale)
    return Gaussians(mean, np.stack([scale, scale], axis=1), rotation, color)


def _stream(rng: int, *stream: int) -> np.random.SeedSequence:
    """An independent stream of ``rng``: (0, tile) draws a tile's points, (1,) all that is uniform."""
    return np.random.SeedSequence(rng, spawn_key=stream)


def place_weighted(
    pixels: Pixels, count: int, settings: SeedSettings, rng: int, backend: Backend
) -> tuple[FloatArray, FloatArray]:
    """E11-E12: ``count`` distinct pixel centres, each tile's share drawn by its sampling weight.

    Returns the positions [count, 2] and the weight [count] of each, tile by tile and row by row.
    """
    height, width, _ = pixels.shape
    areas = tiles(width, height, settings)
    boxes = np.array([(area.x, area.y, area.width, area.height) for area in areas], np.int64)
    budgets = np.array(_shares(count, [area.width * area.height for area in areas]), np.int64)
    keys = np.array([_stream(rng, 0, index).generate_state(1, np.uint64)[0] for index in range(len(areas))])
    return backend.draw_weighted(pixels, boxes, budgets, keys, checked_window(settings), settings.gradient_share)


def _shares(count: int, sizes: list[int]) -> list[int]:
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
) -> FloatArray:
    """E15: ``count`` random positions [count, 2], none closer than ``radius`` to a weighted one.

    With the radius of E16 the weighted discs cover at most a ninth of the picture, so nearly all candidates
    pass. A radius that leaves almost no room is halved until it does, which always ends.
    """
    size = np.array([width, height], np.float32)
    tree = _tree(weighted)
    accepted = [np.zeros((0, 2), np.float32)]
    missing = count
    while missing > 0:
        candidates = generator.random((max(missing + missing // 4, FEWEST_CANDIDATES), 2), np.float32) * size
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


def _along_bands(points: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the points [P, 2] by bands of rows, from left to right in each.

    One point's neighbours, in the tree and in the picture, are then in the cache when the next one needs them.
    Searches in a million points take a third of the time.
    """
    return np.lexsort((points[:, 0], points[:, 1] // BAND))


def _tree(points: FloatArray) -> cKDTree:
    """For searches as many as points: a balanced, tight tree takes longer to build than it saves."""
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def neighbor_scale(points: FloatArray, among: FloatArray, neighbors: int, threads: int) -> FloatArray:
    """E17: root mean square distance, pixels, from each of ``points`` to its nearest ones ``among`` all, [P].

    ``points`` are among them, and do not count as their own neighbours. ``among`` holds at least two.
    """
    nearest = min(neighbors + 1, len(among))
    distance, _ = _tree(among).query(points, k=nearest, workers=max(threads, 1))
    # The first is the point itself, or one in the same place: at distance zero either way.
    scale: FloatArray = np.sqrt(np.mean(np.square(distance[:, 1:]), axis=1)).astype(np.float32)
    return scale
