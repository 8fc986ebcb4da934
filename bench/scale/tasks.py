"""What an encode in blocks does when: its stages, and how long every task takes and how many bytes go to and fro."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from smartsplat.arrays import SampleArray
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.blocks.fit import max_margin
from smartsplat.encoder.blocks.runner import LocalRunner
from smartsplat.encoder.blocks.task import BlockResult, BlockTask, Survey
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.fit import Progress
from smartsplat.encoder.grain import LostTexture

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Where the time of an encode in blocks goes.

    Args:
        stages: when each began and ended, seconds of ``time.perf_counter``: the survey, the rounds, and grain.
        tasks: a row for each: its stage, the seconds that it took to make it and to do it, and the bytes of the pixels
            that a worker keeps, of all else that it takes, and of its result.
    """

    stages: list[tuple[float, float]] = field(default_factory=list)
    tasks: list[dict[str, float]] = field(default_factory=list)

    def runner(self, pixels: SampleArray, compute: Compute) -> TimedRunner:
        """What ``encode`` takes as ``runner``."""
        return TimedRunner(pixels, compute, self)


class TimedRunner:
    """Does blocks as ``LocalRunner`` does, and writes down what they take."""

    def __init__(self, pixels: SampleArray, compute: Compute, stopwatch: Stopwatch) -> None:
        self._pixels, self._stopwatch, self._local = pixels, stopwatch, LocalRunner(pixels, compute)

    def surveys(self, cores: list[Box], for_eye: bool) -> Iterator[Survey]:
        return self._timed(((core, core) for core in cores), lambda core: self._local.surveys([core], for_eye))

    def lost_textures(self, cores: list[Box], data: bytes) -> Iterator[LostTexture]:
        return self._timed(
            ((core, (core, data)) for core in cores), lambda one: self._local.lost_textures([one[0]], data)
        )

    def fits(self, tasks: Iterable[BlockTask], report: Callable[[Progress], bool]) -> Iterator[BlockResult]:
        return self._timed(((task.core, task) for task in tasks), lambda task: self._local.fits([task], report))

    def _timed(self, works: Iterable[tuple[Box, T]], do: Callable[[T], Iterable[object]]) -> Iterator:
        stage, begin = len(self._stopwatch.stages), time.perf_counter()
        height, width, channels = self._pixels.shape
        before = time.perf_counter()
        for core, work in works:
            made = time.perf_counter()
            (result,) = do(work)
            end = time.perf_counter()
            held = core.grown(max_margin(core), width, height).area * channels * self._pixels.itemsize
            row = {"stage": stage, "made_seconds": made - before, "seconds": end - made, "pixel_bytes": held}
            self._stopwatch.tasks.append(row | {"task_bytes": _size(work), "result_bytes": _size(result)})
            yield result
            before = time.perf_counter()
        self._stopwatch.stages.append((begin, time.perf_counter()))


def _size(message: object) -> int:
    """Bytes of what goes over the network."""
    return len(pickle.dumps(message, protocol=5))
