"""Where the tasks of blocks are done: here, or by whatever else keeps the contract ``BlockRunner``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from smartsplat.arrays import SampleArray
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.blocks.task import BlockResult, BlockTask, Survey, fit_block, survey
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.fit import Progress
from smartsplat.encoder.grain import LostTexture, lost_texture
from smartsplat.images.spooled import release


class BlockRunner(Protocol):
    """Does what is done to blocks, here or elsewhere."""

    def surveys(self, cores: list[Box], for_eye: bool) -> Iterable[Survey]:
        """``survey`` of every block, in their order."""

    def fits(self, tasks: Iterable[BlockTask], report: Callable[[Progress], bool]) -> Iterator[BlockResult]:
        """``fit_block`` of every task, in their order; ``report`` is told of steps, and may end the round."""

    def lost_textures(self, cores: list[Box], data: bytes) -> Iterable[LostTexture]:
        """``lost_texture`` of every block, in their order, in the file that has ``data``."""


class LocalRunner:
    """One block after the other, here."""

    def __init__(self, pixels: SampleArray, compute: Compute) -> None:
        self._pixels, self._compute = pixels, compute

    def surveys(self, cores: list[Box], for_eye: bool) -> Iterable[Survey]:
        return (survey(pixels_of(self._pixels, core), for_eye) for core in cores)

    def fits(self, tasks: Iterable[BlockTask], report: Callable[[Progress], bool]) -> Iterator[BlockResult]:
        return (fit_block(task, pixels_of(self._pixels, task.box), self._compute, report) for task in tasks)

    def lost_textures(self, cores: list[Box], data: bytes) -> Iterable[LostTexture]:
        return (lost_texture(pixels_of(self._pixels, core), data, core, self._compute.threads) for core in cores)


def pixels_of(pixels: SampleArray, box: Box) -> SampleArray:
    """A copy of a box's pixels; of an image on disk no more than that stays in memory."""
    copy = pixels[box.slices].copy()
    release(pixels)
    return copy


RunnerOpener = Callable[[SampleArray, Compute], BlockRunner]
"""From the image's pixels, and what the caller computes with, to what does its tasks."""
