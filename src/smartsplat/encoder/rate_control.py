"""Rate control: how many Gaussians a number of bytes allows, and how a file comes to use them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.container import NO_EXTRAS, TILE, Extras
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import MAX_QUALITY, Quantizer
from smartsplat.encoder.densify import top_by_energy
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.errors import SettingsError
from smartsplat.gaussians import Gaussians
from smartsplat.limits import Limits
from smartsplat.render import max_intersections

TYPICAL_GAUSSIAN_BYTES = 4.6
"""Bytes of a Gaussian before any was coded: the mean over the development images."""

MIN_CODED_BYTES = 12
"""Room for coded Gaussians without which no fit starts."""

FILL_TARGET = 1.005
"""Fraction of the budget that a fit aims at: Gaussians lose some energy after the last count, and leaving out a few of
the weakest costs less than what room is left over is worth."""

SAMPLE_SIZE = 1 << 16
"""Gaussians that are coded for an approximate count: off by 0.4 % of 136 000, by 2 % of 1.4 million."""

MAX_QUALITY_GAIN = 48
"""Quality steps (eighths of an octave) by which a file with room to spare is refined at most."""

OVERLAP_FRACTION = 0.9
"""Of the overlap that readers accept, what a file may have."""


@dataclass(frozen=True)
class ExactCount:
    """The plan of ``--gaussians``."""

    gaussians: int

    def count(self, gaussians: Gaussians, quantizer: Quantizer, approximate: bool = False) -> int:
        return self.gaussians


@dataclass(frozen=True)
class ByteBudget:
    """The plan of every target in bytes: as many Gaussians as fit, judged by coding those that are there.

    Args:
        max_bytes: of the whole file.
        max_count: of Gaussians: one a pixel, which is more than the bytes of the pixels hold.
        extras: what the file holds beside its colours.
        sample_size: Gaussians that are coded for an approximate count.
    """

    max_bytes: int
    max_count: int
    extras: Extras = NO_EXTRAS
    threads: int = 1
    sample_size: int = SAMPLE_SIZE

    def first_count(self) -> int:
        """An estimate before anything is fitted.

        Raises:
            SettingsError: not even one Gaussian fits.
        """
        overhead = container.overhead(1, self.extras)
        if self.max_bytes - overhead < MIN_CODED_BYTES:
            min_bytes = overhead + MIN_CODED_BYTES
            raise SettingsError(f"the target of {self.max_bytes} bytes is too small, a file takes at least {min_bytes}")
        return min(max(1, int((self.max_bytes - overhead) / TYPICAL_GAUSSIAN_BYTES)), self.max_count)

    def count(self, gaussians: Gaussians, quantizer: Quantizer, approximate: bool = False) -> int:
        overhead = container.overhead(1, self.extras)
        sample = sample_for_coding(gaussians, quantizer, self.sample_size) if approximate else gaussians
        size = len(container.pack(to_file(sample, quantizer, self.extras, self.threads)))
        bytes_each = max((size - overhead) / len(sample), 0.5)
        return min(max(1, int((FILL_TARGET * self.max_bytes - overhead) / bytes_each)), self.max_count)


def sample_for_coding(
    gaussians: Gaussians, quantizer: Quantizer, sample_size: int, group_size: int = entropy.GROUP_SIZE
) -> Gaussians:
    """About ``sample_size`` Gaussians: those in every so many squares of the image, which do not line up.

    A square has about ``group_size`` Gaussians. All Gaussians if there are not many more, or if they crowd in a few
    squares.
    """
    every = len(gaussians) // sample_size
    if every < 2:
        return gaussians
    side = math.sqrt(quantizer.width * quantizer.height * group_size / len(gaussians))
    column, row = (gaussians.mean // side).astype(np.int64).T
    sampled = (column + (every + 1) // 2 * row) % every == 0
    return gaussians[sampled] if sampled.sum() > sample_size // 4 else gaussians


def fill_budget(
    gaussians: Gaussians,
    quantizer: Quantizer,
    max_bytes: int,
    extras: Extras = NO_EXTRAS,
    threads: int = 1,
    weights: WeightPyramid | None = None,
) -> bytes:
    """The best file of at most ``max_bytes``: refined while there is room, or with the weakest Gaussians pruned.

    Raises:
        SettingsError: the smallest file is larger than that.
    """

    def packed(kept: Gaussians, quality: int) -> bytes:
        return container.pack(to_file(kept, replace(quantizer, quality=quality), extras, threads))

    data = packed(gaussians, quantizer.quality)
    if len(data) <= max_bytes:
        raw_bytes = 3 * quantizer.width * quantizer.height
        for quality in range(quantizer.quality + 1, min(quantizer.quality + MAX_QUALITY_GAIN, MAX_QUALITY) + 1):
            finer = packed(gaussians, quality)
            if len(finer) > min(max_bytes, raw_bytes):
                break
            data = finer
        return data
    fits, too_many = 0, len(gaussians)
    guess = int(too_many * max_bytes / len(data))
    data = packed(gaussians[:0], quantizer.quality)
    while too_many - fits > max(1, len(gaussians) // 500):
        guess = min(max(guess, fits + 1), too_many - 1)
        pruned = packed(gaussians[top_by_energy(gaussians, guess, weights)], quantizer.quality)
        if len(pruned) <= max_bytes:
            fits, data = guess, pruned
            guess = (fits + too_many) // 2
        else:
            too_many = guess
            guess = int(too_many * max_bytes / len(pruned))
    if not fits:  # not even one, as fine as this
        for quality in range(quantizer.quality - 8, -1, -8):
            coarser = packed(gaussians[top_by_energy(gaussians, 1, weights)], quality)
            if len(coarser) <= max_bytes:
                return coarser
    if len(data) > max_bytes:
        raise SettingsError(f"the target of {max_bytes} bytes is too small, the smallest file takes {len(data)}")
    return data


def prune_overlap(gaussians: Gaussians, quantizer: Quantizer, limits: Limits = Limits()) -> Gaussians:
    """Without those that would make readers refuse the file for its work: see ``Limits.overlap``.

    Only images of long stripes come near the limit. Pruned are the Gaussians with the least energy for the tiles of
    their boxes, until the boxes are within nine tenths of the limit. As for readers, four tiles each do not count.
    """
    half_extent = gaussians.half_extent()
    tiles = -(-np.array([quantizer.width, quantizer.height]) // TILE)
    max_counted = max_intersections(OVERLAP_FRACTION * limits.overlap, int(tiles.prod()), 0)
    first = np.clip(np.floor((gaussians.mean - half_extent) / TILE), 0, tiles - 1)
    last = np.clip(np.floor((gaussians.mean + half_extent) / TILE), 0, tiles - 1)
    touched = (last - first + 1).prod(axis=1, dtype=np.float64)
    counted = touched - max_intersections(0, 0, 1)
    if counted.sum() <= max_counted:
        return gaussians
    best = np.argsort(-gaussians.energy() / touched, kind="stable")
    return gaussians[np.sort(best[np.cumsum(counted[best]) <= max_counted])]
