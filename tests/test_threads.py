from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smartsplat.render.cpu import CpuRenderer
from smartsplat.threads import available_threads

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_available_threads_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_threads() == 1
        assert CpuRenderer().threads == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_threads() == len(allowed)


FORKING = """
import os, signal, sys, threading
import numpy as np
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.render.scenes import scene

gaussians, view = scene(500, 900, 900), View.whole(900, 900)
renderers = [CpuRenderer(4)]
expected = renderers[0].render(gaussians, view)
done, drawing = threading.Event(), CpuRenderer(4)

def draw():
    while not done.is_set():
        drawing.render(gaussians, view)

thread = threading.Thread(target=draw)
if sys.argv[1] == "busy":
    thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = np.array_equal(renderers[0].render(gaussians, view), expected)
        renderers.clear()
        same = same and np.array_equal(CpuRenderer(4).render(gaussians, view), expected)
        os._exit(0 if same else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("others", ["idle", "busy"])
def test_a_forked_process_renders_and_waits_for_no_thread_of_its_parent(others: str) -> None:
    """It gives up renderers whose threads did not come along, and makes new ones."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, others]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
    assert (ran.stdout.split(), ran.stderr) == (["0"] * 5, "")
