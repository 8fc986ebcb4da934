from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smartsplat.render.cpu import CpuRenderer
from smartsplat.threads import available_threads, cgroup_processors

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
    assert available_threads() == math.ceil(min(len(allowed), cgroup_processors()))


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b", {"a/b/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
        ("0::/host/path", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/", {}, math.inf),
        ("0::/a", {"a/cpu.max": "nonsense"}, math.inf),
        ("3:cpu,cpuacct:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("3:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, math.inf),
        ("3:cpuset:/a", {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"}, math.inf),
    ],
)
def test_limits_of_cgroups(groups: str, files: dict[str, str], expected: float, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "groups").write_text(groups + "\n")
    assert cgroup_processors(tmp_path / "groups", tmp_path) == expected
    assert cgroup_processors(tmp_path / "none", tmp_path) == math.inf


CPU_CGROUP = Path("/sys/fs/cgroup/cpu")


@pytest.mark.skipif(not os.access(CPU_CGROUP / "cgroup.procs", os.W_OK), reason="needs cgroups that may be changed")
def test_one_processor_of_a_cgroup() -> None:
    group = CPU_CGROUP / f"smartsplat-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text((group / "cpu.cfs_period_us").read_text())
        code = f"open('{group}/cgroup.procs', 'w').write('0')\n"
        code += "from smartsplat.threads import available_threads\nprint(available_threads())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "1\n"
    finally:
        group.rmdir()


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
