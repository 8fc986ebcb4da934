"""How many threads there are to work with."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath


def available_threads() -> int:
    """Processors that this process may use: those it is bound to, and not more than its cgroup may keep busy."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(count, cgroup_processors()))


@cache  # a decode asks each time, and files are slow
def cgroup_processors(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the cgroups of this process may keep busy, as containers limit them; infinite without a limit.

    Args:
        proc: the file that says which they are.
        root: where both versions of cgroups are mounted.
    """
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return math.inf
    return min((_limit(folder) for line in lines for folder in _folders(line, root)), default=math.inf)


def _folders(line: str, root: Path) -> list[Path]:
    """A cgroup's folder, which in a container may not be there, and those above it, whose limits hold for it too."""
    _, controllers, group = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return []
    mount, own = root / "cpu" if controllers else root, PurePosixPath(group)
    return [mount / folder.relative_to("/") for folder in (own, *own.parents)]


def _limit(folder: Path) -> float:
    """Of a cgroup of either version: microseconds in each period, over its length."""
    with suppress(OSError, ValueError):
        if (folder / "cpu.max").exists():
            quota, period = map(float, (folder / "cpu.max").read_text().split())
        else:
            quota, period = (float((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0 and period > 0:
            return quota / period
    return math.inf
