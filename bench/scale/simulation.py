"""What many workers would make of an encode in blocks: its measured tasks, replayed as on a cluster.

A simulation: no cluster has so many workers. Tasks are handed out as ``ClusterRunner`` does it. Each worker has the
processors that the measurement had; what one machine does alone takes as long as it did. All bytes go over the
scheduler, one after the other, as fast as was measured.
"""

from __future__ import annotations

from collections import Counter, deque
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


def seconds_of_stage(tasks: Sequence[MeasuredTask], workers: int, link: Link, homes: dict[int, int]) -> float:
    """From the first task that is made to the last result that is there.

    At most ``AHEAD`` tasks for each worker are on their way or at work; results are taken in the order of their tasks.

    Args:
        homes: number of a task -> the worker that keeps its pixels, and does it; others go to whoever is free first,
            and stay there if there is room.
    """
    now, waiting, running = 0.0, deque(enumerate(tasks)), deque[tuple[float, MeasuredTask]]()
    free = [0.0] * workers  # when each has done what it has
    kept = Counter(homes.values())
    while waiting or running:
        while waiting and len(running) < AHEAD * workers:
            number, task = waiting.popleft()
            worker = homes.get(number)
            pixel_bytes = task.pixel_bytes if worker is None else 0
            now += task.made + link.per_task + (pixel_bytes + task.task_bytes) * link.per_byte_there
            if worker is None:
                worker = min(range(workers), key=free.__getitem__)
                if (kept[worker] + 1) * task.pixel_bytes <= HELD_BYTES:
                    homes[number] = worker
                    kept[worker] += 1
            free[worker] = max(now, free[worker]) + task.seconds
            running.append((free[worker], task))
        end, task = running.popleft()
        now = max(now, end) + task.result_bytes * link.per_byte_back
    return now


def seconds_of_encode(stages: Sequence[Sequence[MeasuredTask]], alone: float, workers: int, link: Link) -> float:
    """All stages, one after the other, and what is done ``alone``."""
    homes = dict[int, int]()
    return alone + sum(seconds_of_stage(tasks, workers, link, homes) for tasks in stages)
