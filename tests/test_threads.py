from __future__ import annotations

import os

import pytest

from smartsplat.render.cpu import CpuRenderer
from smartsplat.threads import available_threads


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
