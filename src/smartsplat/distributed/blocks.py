"""One image on many workers: the rounds of its blocks as tasks of a Dask cluster."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import lru_cache, partial

from distributed import Client, Future
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from smartsplat.arrays import SampleArray
from smartsplat.distributed.cluster import GONE
from smartsplat.distributed.worker import keep_freed_memory
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.blocks.runner import LocalRunner, RunnerOpener, pixels_of
from smartsplat.encoder.blocks.task import BlockResult, BlockTask, Survey, fit_block
from smartsplat.encoder.compute import Compute, open_compute
from smartsplat.encoder.fit import Progress, psnr_of_mean_square
from smartsplat.errors import ClusterError

AHEAD = 2
"""Tasks for each worker that are with the scheduler at once: their pixels are in its memory."""


def cluster_runner(client: Client, threads: int | None = None, device: str = "cpu") -> RunnerOpener:
    """What ``encode`` takes as ``runner``, to fit the blocks of an image on a cluster.

    Args:
        client: of the cluster.
        threads: of each block's fit; None: those of the least worker.
        device: that workers fit on, as ``encode`` takes it.
    """
    return partial(ClusterRunner, client, threads or min(client.nthreads().values(), default=1), device)


class ClusterRunner:
    """Does the tasks of a round on the workers of a cluster; the result is that of ``LocalRunner``, byte for byte.

    Pixels go with each task, so that no worker needs the image's file, and a task whose worker died is done by another.
    The survey is done here.

    Args:
        client: of the cluster.
        threads: of each task.
        device: that workers fit on, as ``encode`` takes it.
    """

    def __init__(self, client: Client, threads: int, device: str, pixels: SampleArray, compute: Compute) -> None:
        self._client, self._threads, self._device = client, threads, device
        self._pixels, self._here = pixels, LocalRunner(pixels, compute)

    def surveys(self, boxes: list[Box], for_eye: bool) -> Iterable[Survey]:
        return self._here.surveys(boxes, for_eye)

    def fits(self, tasks: Iterable[BlockTask], report: Callable[[Progress], bool]) -> Iterator[BlockResult]:
        waiting, running = iter(tasks), deque[tuple[BlockTask, Future]]()
        try:
            while True:
                while len(running) < AHEAD * max(1, len(self._client.nthreads())):
                    task = next(waiting, None)
                    if task is None:
                        break
                    running.append((task, self._submitted(task)))
                if not running:
                    return
                task, future = running.popleft()
                result: BlockResult = future.result()
                gaussians, psnr = len(result.population), psnr_of_mean_square(result.mean_square)
                report(Progress(task.end, task.settings.steps, gaussians, psnr))
                yield result
        except KilledWorker:
            raise ClusterError("workers died of a block, one after the other: not enough memory?") from None
        except (CancelledError, ClosedClientError, OSError, TimeoutError):
            raise ClusterError(GONE) from None
        finally:
            if self._client.status == "running":
                self._client.cancel([future for _, future in running])

    def _submitted(self, task: BlockTask) -> Future:
        pixels = pixels_of(self._pixels, task.box)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that so many bytes are sent
            return self._client.submit(_fit_here, task, pixels, self._threads, self._device, pure=False)


def _fit_here(task: BlockTask, pixels: SampleArray, threads: int, device: str) -> BlockResult:
    """On a worker."""
    keep_freed_memory()
    return fit_block(task, pixels, _compute(device, threads))


@lru_cache(maxsize=1)
def _compute(device: str, threads: int) -> Compute:
    return open_compute(device, threads)
