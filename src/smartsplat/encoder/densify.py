"""Densification: where Gaussians are added during a fit, and which are pruned.

Added centres are sampled from the blurred squared error of the current rendering; each Gaussian starts with the local
residual as its colour. Relocating is pruning the Gaussians with the least energy and adding as many. Measured on two
images at equal steps and count: +0.4 dB over no densification, +0.25 dB more with relocation, and 0.1 to 0.4 dB
better than sampling from the gain of the best-matching Gaussian.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import FloatArray
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.encoder.pyramid import PyramidLevel
from smartsplat.encoder.sampler import CellRequest, Sampler
from smartsplat.encoder.settings import DensifySettings
from smartsplat.gaussians import MIN_SCALE, Gaussians, base_scale
from smartsplat.render import MAX_ERROR_CELL_LOG2


def weighted_energy(gaussians: Gaussians, weights: WeightPyramid | None) -> FloatArray:
    """The energy of each Gaussian, [N], times the weight of errors where it is."""
    return gaussians.energy() if weights is None else gaussians.energy() * weights.at(gaussians)


def top_by_energy(gaussians: Gaussians, count: int, weights: WeightPyramid | None = None) -> npt.NDArray[np.bool_]:
    """A mask [N] of the ``count`` Gaussians with the most weighted energy: the others are to be pruned."""
    energy, pruned = np.nan_to_num(weighted_energy(gaussians, weights), nan=-1), len(gaussians) - count
    if pruned <= 0:
        return np.ones(len(gaussians), bool)
    max_pruned_energy = np.partition(energy, pruned - 1)[pruned - 1]
    keep: npt.NDArray[np.bool_] = energy >= max_pruned_energy
    equal = np.flatnonzero(energy == max_pruned_energy)
    keep[equal[: int(keep.sum()) - count]] = False  # of equals the first are pruned
    return keep


def added_gaussians(
    params: Any,
    count: int,
    final_count: int,
    level: PyramidLevel,
    sampler: Sampler,
    settings: DensifySettings,
    generator: np.random.Generator,
) -> Gaussians:
    """``count`` Gaussians where the rendering of ``params`` differs most from the image.

    Args:
        params: the renderer's copy of the Gaussians.
        count: how many to add.
        final_count: number of Gaussians at the end of the fit; it sets the new scales (E14).
        level: of the pyramid, at which both are compared.
        sampler: on the renderer's device.
        generator: for positions inside of cells, and rotations.

    Returns:
        The added Gaussians, in image pixels; the renderer does not hold them yet.
    """
    view = level.view
    base = base_scale(int(view.width), int(view.height), final_count)
    request = CellRequest(_cell_side(settings.error_cell * base * view.scale_x), count, settings.blur)
    rows, columns = request.grid(view)
    sampled = sampler.sample_cells(params, level.pixels, view, request, generator, level.weights)
    jitter = generator.random((count, 2))
    cell_size = np.array([view.width / columns, view.height / rows])
    mean = (np.stack([sampled.column, sampled.row], axis=1) + jitter) * cell_size + [view.x, view.y]
    scale = np.full((count, 2), max(settings.added_scale * base, MIN_SCALE))
    rotation = generator.uniform(0, np.pi, count)
    arrays = (mean, scale, rotation, sampled.residual)
    return Gaussians(*(np.ascontiguousarray(array, np.float32) for array in arrays))


def _cell_side(side: float) -> int:
    """The power of two nearest to ``side``, output pixels, from 1 to 64."""
    return int(2 ** min(max(round(math.log2(max(side, 1))), 0), MAX_ERROR_CELL_LOG2))
