"""Measurements in a process of their own, whose peak memory is theirs alone."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.tables import REPOSITORY


class ProcessError(RuntimeError):
    """A measuring process ended with an error; its own message is on stderr."""


def json_lines(module: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """What a module prints in a fresh process, one JSON object a line, as it comes.

    On Linux a child's ru_maxrss starts at that of its parent. A process that calls this should therefore never load an
    image. OpenBLAS gets one thread, because the matrix products of LPIPS are small: an image of 2 MP takes 0.8 s on one
    thread and 7 s on two.

    Args:
        module: run as ``python -m`` in the repository's root.

    Raises:
        ProcessError: after the last line, if the process failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        raise ProcessError(f"failed with exit status {process.returncode}")


def max_resident_megabytes() -> float:
    """The largest resident memory so far of this process or of one that it started, 10^6 bytes.

    Interpreter included; where the system says so, without the parent's.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    else:
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    return max(own, children) / 1e6
