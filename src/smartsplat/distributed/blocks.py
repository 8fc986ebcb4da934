"""One image on many workers: what is done to its blocks, as tasks of a Dask cluster."""

from __future__ import annotations

import threading
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from distributed import Client, Future, get_worker, wait
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from smartsplat.arrays import SampleArray
from smartsplat.distributed.cluster import GONE
from smartsplat.distributed.worker import keep_freed_memory
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.blocks.fit import max_margin
from smartsplat.encoder.blocks.runner import RunnerOpener, pixels_of
from smartsplat.encoder.blocks.task import BlockResult, BlockTask, Survey, fit_block, survey
from smartsplat.encoder.compute import Compute, open_compute
from smartsplat.encoder.fit import Progress, psnr_of_mean_square
from smartsplat.encoder.grain import LostTexture, lost_texture
from smartsplat.errors import ClusterError

AHEAD = 2
"""Tasks for each worker that are with the scheduler at once: their pixels are in its memory."""

HELD_BYTES = 1 << 30
"""Of pixels that a worker keeps, at most, until those of another image come: others are sent for each task."""

CHECK_SECONDS = 5
"""After which it is looked whether a worker is still there."""


def cluster_runner(client: Client, threads: int | None = None, device: str = "cpu") -> RunnerOpener:
    """What ``encode`` takes as ``runner``, to fit the blocks of an image on a cluster.

    Args:
        client: of the cluster.
        threads: of each block's fit; None: those of the least worker.
        device: that workers fit on, as ``encode`` takes it.
    """
    return partial(ClusterRunner, client, threads or min(client.nthreads().values(), default=1), device)


@dataclass(frozen=True)
class BlockWork:
    """What is to be done to a block, wherever its pixels are.

    Args:
        work: from pixels [h, w, C] of ``box`` and how to compute to the answer.
        core: the block.
        box: what it takes the pixels of.
    """

    work: Callable[[SampleArray, Compute], Any]
    core: Box
    box: Box


class ClusterRunner:
    """Does blocks on the workers of a cluster; the results are those of ``LocalRunner``, byte for byte.

    A block goes to the worker that had it before, which keeps its pixels as far as ``HELD_BYTES`` allow. Where another
    takes it, or that one has died, pixels are sent again: no worker needs the image's file, and none has what is not
    elsewhere, too.

    Args:
        client: of the cluster.
        threads: of each task.
        device: that workers fit on, as ``encode`` takes it.
    """

    def __init__(self, client: Client, threads: int, device: str, pixels: SampleArray, compute: Compute) -> None:
        self._client, self._threads, self._device = client, threads, device
        self._pixels, self._image = pixels, uuid.uuid4().hex
        self._homes: dict[Box, str | None] = {}  # of blocks, the addresses of workers that keep their pixels

    def surveys(self, cores: list[Box], for_eye: bool) -> Iterable[Survey]:
        work = partial(_survey, for_eye=for_eye)
        return self._answers(BlockWork(work, core, core) for core in cores)

    def fits(self, tasks: Iterable[BlockTask], report: Callable[[Progress], bool]) -> Iterator[BlockResult]:
        steps = deque[BlockTask]()

        def works() -> Iterator[BlockWork]:
            for task in tasks:
                steps.append(task)
                yield BlockWork(partial(fit_block, task), task.core, task.box)

        for result in self._answers(works()):
            task = steps.popleft()
            gaussians, psnr = len(result.population), psnr_of_mean_square(result.mean_square)
            report(Progress(task.end, task.settings.steps, gaussians, psnr))
            yield result

    def lost_textures(self, cores: list[Box], data: bytes) -> Iterable[LostTexture]:
        return self._answers(BlockWork(partial(_lost_texture, data, core), core, core) for core in cores)

    def _answers(self, works: Iterable[BlockWork]) -> Iterator[Any]:
        """Those of all, in their order."""
        waiting, running = iter(works), deque[tuple[BlockWork, Future]]()
        try:
            while True:
                workers = self._client.nthreads()
                for index, (asked, future) in enumerate(running):
                    if self._has_lost(asked, workers):
                        self._client.cancel([future])
                        running[index] = asked, self._submitted(asked)
                while len(running) < AHEAD * max(1, len(workers)):
                    work = next(waiting, None)
                    if work is None:
                        break
                    running.append((work, self._submitted(work)))
                if not running:
                    return
                work, future = running.popleft()
                answer = self._answer(work, future)
                if answer is None:
                    self._homes[work.core] = None
                    running.appendleft((work, self._submitted(work, priority=1)))
                else:
                    found, self._homes[work.core] = answer
                    yield found
        except KilledWorker:
            raise ClusterError("workers died of a block, one after the other: not enough memory?") from None
        except (CancelledError, ClosedClientError, OSError, TimeoutError):
            raise ClusterError(GONE) from None
        finally:
            if self._client.status == "running":
                self._client.cancel([future for _, future in running])

    def _has_lost(self, work: BlockWork, workers: Container[str]) -> bool:
        """Whether the worker that has the pixels is gone; then it is no longer thought to have them."""
        home = self._homes.get(work.core)
        is_gone = home is not None and home not in workers
        if is_gone:
            self._homes[work.core] = None
        return is_gone

    def _answer(self, work: BlockWork, future: Future) -> tuple[Any, str | None] | None:
        """What ``_done`` returned; None, too, if the worker that has the pixels is gone.

        Where there was no worker at all for a moment, Dask would wait for that very one.
        """
        while True:
            try:
                with self._client.as_current():
                    wait(future, timeout=CHECK_SECONDS)
            except TimeoutError:
                if self._has_lost(work, self._client.nthreads()):
                    self._client.cancel([future])
                    return None
                continue
            answer: tuple[Any, str | None] | None = future.result()
            return answer

    def _submitted(self, work: BlockWork, priority: int = 0) -> Future:
        """With pixels, unless a worker should have them: its answer is None where it has not."""
        home = self._homes.get(work.core)
        options: dict[str, Any] = {"pure": False, "priority": priority}
        if home is not None:
            options |= {"workers": [home], "allow_other_workers": True}
        height, width, _ = self._pixels.shape
        held = work.core.grown(max_margin(work.core), width, height)  # what this and other work takes
        pixels = None if home is not None else pixels_of(self._pixels, held)
        given = work, (self._image, held), pixels, self._threads, self._device
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that so many bytes are sent
            return self._client.submit(_done, *given, **options)


# ---- on a worker ----------------------------------------------------------------------------------------------------


def _survey(pixels: SampleArray, compute: Compute, for_eye: bool) -> Survey:
    return survey(pixels, for_eye)


def _lost_texture(data: bytes, core: Box, pixels: SampleArray, compute: Compute) -> LostTexture:
    return lost_texture(pixels, data, core, compute.threads)


_kept: dict[tuple[str, Box], SampleArray] = {}
"""Pixels of blocks of an image."""

_keeping = threading.Lock()


def _done(
    work: BlockWork, key: tuple[str, Box], pixels: SampleArray | None, threads: int, device: str
) -> tuple[Any, str | None] | None:
    """The answer, and the address of this worker if it keeps the pixels, of an image and a box; None: it has none."""
    keep_freed_memory()
    image, held = key
    if pixels is None:
        pixels = _kept.get(key)
        if pixels is None:
            return None
    with _keeping:
        others = deque(other for other in _kept if other[0] != image)
        while _kept_bytes() + pixels.nbytes > HELD_BYTES and others:
            del _kept[others.popleft()]
        if key not in _kept and _kept_bytes() + pixels.nbytes <= HELD_BYTES:
            _kept[key] = pixels
    answer = work.work(np.ascontiguousarray(pixels[work.box.within(held).slices]), _compute(device, threads))
    return answer, get_worker().address if key in _kept else None


def _kept_bytes() -> int:
    return sum(pixels.nbytes for pixels in _kept.values())


@lru_cache(maxsize=1)
def _compute(device: str, threads: int) -> Compute:
    return open_compute(device, threads)
