"""One image, whose blocks are fitted by the workers of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from PIL import Image

import smartsplat
from smartsplat.arrays import SampleArray
from smartsplat.distributed import blocks
from smartsplat.distributed.blocks import cluster_runner
from smartsplat.encoder.blocks.boxes import Box, blocks_of
from smartsplat.encoder.blocks.runner import pixels_of
from smartsplat.errors import ClusterError
from tests.distributed.test_batch import command
from tests.samples import landscape

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

IMAGE = landscape(1100, 1050)
SETTINGS: dict[str, Any] = {"ratio": 100, "effort": 1, "steps": 30, "block": 512}


@pytest.fixture(scope="module")
def expected() -> bytes:
    return smartsplat.encode(IMAGE, **SETTINGS)


@pytest.fixture
def client() -> Iterator[Client]:
    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(n_workers=2, host="127.0.0.1", memory_limit=0, **options) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


def test_same_bytes_whoever_fits_the_blocks(client: Client, expected: bytes) -> None:
    seen: list[int] = []
    data = smartsplat.encode(
        IMAGE, runner=cluster_runner(client), progress=lambda at: seen.append(at.step) or True, **SETTINGS
    )
    assert data == expected
    assert seen == sorted(seen)
    assert seen[-1] == 30


@pytest.mark.parametrize("keeps", [True, False])
def test_pixels_are_sent_once(keeps: bool, expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as workers keep them."""
    sent: list[Box] = []

    def counted(pixels: SampleArray, box: Box) -> SampleArray:
        sent.append(box)
        return pixels_of(pixels, box)

    monkeypatch.setattr(blocks, "pixels_of", counted)
    if not keeps:
        monkeypatch.setattr(blocks, "HELD_BYTES", 0)
    options: dict[str, Any] = {"processes": False, "dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host=None, **options) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        assert smartsplat.encode(IMAGE, runner=cluster_runner(connected), **SETTINGS) == expected
    count = len(set(sent))
    assert count == len(blocks_of(1100, 1050, 512))
    assert len(sent) == (count if keeps else 11 * count), "a survey, nine rounds, and grain"


def test_a_worker_that_has_lost_pixels_gets_them_again(expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It forgets all of them every ninth time that it is asked."""
    asked, sent = 0, 0

    def forget() -> None:
        nonlocal asked
        asked += 1
        if asked % 9 == 0:
            blocks._kept.clear()

    def counted(pixels: SampleArray, box: Box) -> SampleArray:
        nonlocal sent
        sent += 1
        return pixels_of(pixels, box)

    monkeypatch.setattr(blocks, "keep_freed_memory", forget)
    monkeypatch.setattr(blocks, "pixels_of", counted)
    options: dict[str, Any] = {"processes": False, "dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host=None, **options) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        assert smartsplat.encode(IMAGE, runner=cluster_runner(connected), **SETTINGS) == expected
    count = len(blocks_of(1100, 1050, 512))
    assert count < sent < 11 * count
    assert asked > 11 * count, "some have been asked again"


def test_a_worker_that_is_killed_costs_its_block_only(client: Client, expected: bytes) -> None:
    killed = 0

    def kill(at: smartsplat.Progress) -> bool:
        nonlocal killed
        if at.step > 10 * (killed + 1) and killed < 2:
            killed += 1
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        return True

    assert smartsplat.encode(IMAGE, runner=cluster_runner(client), progress=kill, **SETTINGS) == expected
    assert killed == 2


def test_stopped_early(client: Client) -> None:
    data = smartsplat.encode(IMAGE, runner=cluster_runner(client), progress=lambda at: at.step < 15, **SETTINGS)
    assert smartsplat.open(data).info.gaussians > 100


def test_the_scheduler_is_killed_under_it(tmp_path: Path) -> None:
    local = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", tmp_path / "scheduler.json")
    scheduler = command("dask", "scheduler", *local, "--port", 0)
    worker = command("dask", "worker", *local, "--nthreads", 1, "--no-nanny")

    def kill(at: smartsplat.Progress) -> bool:
        if at.step > 15:
            scheduler.kill()
        return True

    try:
        with Client(scheduler_file=tmp_path / "scheduler.json", set_as_default=False, timeout=30) as client:
            client.wait_for_workers(1, timeout=30)
            with pytest.raises(ClusterError, match="the scheduler is gone"):
                smartsplat.encode(IMAGE, runner=cluster_runner(client), progress=kill, **SETTINGS)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.communicate()


def test_the_command(tmp_path: Path, expected: bytes) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    given = ("--ratio", "100", "--effort", "1", "--steps", "30", "--block", "512")

    def encode(output: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "smartsplat", "encode", "a.png", output, *given, *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = encode("a.sspl", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.sspl").read_bytes() == smartsplat.encode(tmp_path / "a.png", **SETTINGS)
    assert "dashboard: http://127.0.0.1" in done.stderr
    for more, says in (
        (("--cluster", "tcp://127.0.0.1:9"), "the cluster at tcp://127.0.0.1:9 cannot be reached"),
        (("--cluster", "tcp://127.0.0.1:9", "--workers", "2"), "give a cluster or a number of workers, not both"),
    ):
        done = encode("b.sspl", *more)
        assert done.returncode != 0
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "b.sspl").exists()
