"""What many workers would make of an encode in blocks: its measured tasks, replayed as on a cluster.

A simulation: no cluster has so many workers. Tasks are handed out as ``ClusterRunner`` does it. Each worker has the
processors that the measurement had; what one machine does alone takes as long as it did. All bytes go over the
scheduler, one after the other, as fast as was measured.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from smartsplat.distributed.blocks import AHEAD, HELD_BYTES


@dataclass(frozen=True)
class Link:
    """The way to the workers and back: seconds of any task, and of each byte."""

    per_task: float
    per_byte_there: float
    per_byte_back: float


@dataclass(frozen=True)
class MeasuredTask:
    """Seconds to make it, and on a worker; bytes of its pixels, of all else that it takes, and of its result."""

    made: float
    seconds: float
    pixel_bytes: int
    task_bytes: int
    result_bytes: int


def seconds_of_stage(tasks: Sequence[MeasuredTask], workers: int, link: Link, kept: int = 0) -> float:
    """From the first task that is made to the last result that is there.

    At most ``AHEAD`` tasks for each worker are on their way or at work; results are taken in the order of their tasks.

    Args:
        kept: the first so many go to workers that have their pixels.
    """
    now, waiting, running = 0.0, deque(enumerate(tasks)), deque[tuple[float, MeasuredTask]]()
    free = [0.0] * min(workers, len(tasks))  # when each worker has done what it has
    while waiting or running:
        while waiting and len(running) < AHEAD * workers:
            number, task = waiting.popleft()
            pixel_bytes = 0 if number < kept else task.pixel_bytes
            now += task.made + link.per_task + (pixel_bytes + task.task_bytes) * link.per_byte_there
            end = max(now, heapq.heappop(free)) + task.seconds
            heapq.heappush(free, end)
            running.append((end, task))
        end, task = running.popleft()
        now = max(now, end) + task.result_bytes * link.per_byte_back
    return now


def seconds_of_encode(stages: Sequence[Sequence[MeasuredTask]], alone: float, workers: int, link: Link) -> float:
    """All stages, one after the other, and what is done ``alone``. Workers keep pixels from the first stage on."""
    kept = workers * (HELD_BYTES // max(task.pixel_bytes for task in stages[0]))
    later = sum(seconds_of_stage(tasks, workers, link, kept) for tasks in stages[1:])
    return alone + seconds_of_stage(stages[0], workers, link) + later
