"""How many threads there are to work with."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def available_threads() -> int:
    """Processors that this process may use: those it is bound to, and not more than its cgroup may keep busy."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(count, cgroup_processors()))


def cgroup_processors(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the cgroups of this process may keep busy, as containers limit them; infinite without a limit.

    Args:
        proc: the file that says which they are.
        root: where both versions of cgroups are mounted.
    """
    return min(_limits(proc, root), default=math.inf)


def _limits(proc: Path, root: Path) -> Iterator[float]:
    """A limit holds for all groups below the one that has it. In a container the group's own path may not be there."""
    with suppress(OSError):
        for line in proc.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = root / "cpu" if controllers else root
            for folder in (PurePosixPath(group), *PurePosixPath(group).parents):
                with suppress(OSError, ValueError):
                    quota, period = _quota(mount / folder.relative_to("/"), version=1 if controllers else 2)
                    if quota > 0 and period > 0:
                        yield quota / period


def _quota(folder: Path, version: int) -> tuple[float, float]:
    """Microseconds in each period, and its length. OSError, ValueError: there is no limit."""
    if version == 1:
        return float((folder / "cpu.cfs_quota_us").read_text()), float((folder / "cpu.cfs_period_us").read_text())
    quota, period = (folder / "cpu.max").read_text().split()
    return float(quota), float(period)
