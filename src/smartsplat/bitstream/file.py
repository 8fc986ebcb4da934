"""Gaussians -> File: quantised, put into groups, entropy-coded."""

from __future__ import annotations

import numpy as np

from smartsplat.bitstream import entropy
from smartsplat.bitstream.container import NO_EXTRAS, TILE, Extras, File, Group
from smartsplat.bitstream.quantize import Quantizer, SymbolArray, dequantize, quantize
from smartsplat.gaussians import CUTOFF, Gaussians


def to_file(
    gaussians: Gaussians,
    quantizer: Quantizer,
    extras: Extras = NO_EXTRAS,
    threads: int = 1,
    *,
    group_size: int = entropy.GROUP_SIZE,
    min_layered_count: int = entropy.MIN_LAYERED_COUNT,
) -> File:
    """The file that holds the Gaussians, with each group's extent.

    Args:
        extras: what it holds beside them.
        group_size: Gaussians in a group, at most.
        min_layered_count: Gaussians from which on those with the most energy come first.
    """
    return File(quantizer, to_groups(gaussians, quantizer, threads, group_size, min_layered_count), extras)


def to_groups(
    gaussians: Gaussians,
    quantizer: Quantizer,
    threads: int = 1,
    group_size: int = entropy.GROUP_SIZE,
    min_layered_count: int = entropy.MIN_LAYERED_COUNT,
) -> tuple[Group, ...]:
    """The groups that hold the Gaussians, in the order of a file."""
    groups = entropy.split(quantize(gaussians, quantizer), group_size, min_layered_count)
    coded = entropy.encode(groups, quantizer, threads)
    return tuple(Group(len(group), extent(group, quantizer), data) for group, data in zip(groups, coded, strict=True))


def extent(symbols: SymbolArray, quantizer: Quantizer) -> tuple[int, int, int, int]:
    """Tiles, x begin, y begin, x end, y end, that hold a circle of three of the larger scales around each mean."""
    gaussians = dequantize(symbols, quantizer)
    radius = CUTOFF * gaussians.scale.max(axis=1, keepdims=True)
    low = np.floor((gaussians.mean - radius).min(axis=0) / TILE)
    high = np.ceil((gaussians.mean + radius).max(axis=0) / TILE)
    tiles = np.ceil(np.array([quantizer.width, quantizer.height]) / TILE)
    x0, y0 = np.clip(low, 0, tiles).astype(int)
    x1, y1 = np.clip(high, 0, tiles).astype(int)
    return int(x0), int(y0), int(x1), int(y1)
