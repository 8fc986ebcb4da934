"""``smartsplat.batch`` on clusters of real processes over TCP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from distributed import Client, LocalCluster
from PIL import Image

import smartsplat
from smartsplat.distributed import cluster as cluster_module
from smartsplat.distributed.batch import BatchProgress, BatchResult
from smartsplat.errors import ClusterError, ImageError, SettingsError
from tests.samples import landscape

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS: dict[str, Any] = {"ratio": 40, "effort": 1, "steps": 10}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", resources={"MEMORY": 400 << 20}, memory_limit=0
        ) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four images in two folders, and what is none."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "below/a.png", "below/c.webp")):
        Image.fromarray(landscape(64 + index, 48)).save(folder / name)
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.png").write_text("none")
    return folder


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_a_folder_becomes_a_folder(client: Client, images: Path, tmp_path: Path) -> None:
    seen: list[BatchProgress] = []
    out = tmp_path / "out"
    result = smartsplat.batch(images, out, cluster=client, progress=seen.append, threads=1, **SETTINGS)
    assert (result.encoded, result.kept, result.failed) == (4, 0, ())
    assert names(out) == ["a.sspl", "b.sspl", "below/a.sspl", "below/c.sspl", "manifest.jsonl"]
    assert [at.done for at in seen] == [0, 1, 2, 3, 4]
    assert seen[-1].seconds_left == 0
    for line in lines(out):
        data = (out / line["output"]).read_bytes()
        assert data == smartsplat.encode(line["input"], **SETTINGS), "and as one machine would make it"
        assert line["bytes"] == len(data)
        assert line["ratio"] == round(smartsplat.open(data).info.ratio, 3)
        assert line["settings"] == SETTINGS
        assert len(line["sha256"]) == 64
        assert line["psnr"] > 15
        assert line["seconds"] > 0
        assert line["host"]
        assert line["error"] is None
    assert result.bytes == sum(line["bytes"] for line in lines(out))


def again(client: Client, images: Path, out: Path, **changes: Any) -> tuple[int, int, int]:
    result = smartsplat.batch(images, out, cluster=client, **SETTINGS | changes)
    return result.encoded, result.kept, len(result.failed)


def test_run_again_it_does_what_is_missing(client: Client, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert again(client, images, out) == (4, 0, 0)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.sspl")}
    assert again(client, images, out) == (0, 4, 0)
    os.utime(images / "a.png")
    assert again(client, images, out) == (0, 4, 0), "touched, but the same bytes"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.sspl")} == times
    (out / "b.sspl").unlink()
    assert again(client, images, out) == (1, 3, 0)
    (out / "b.sspl").write_bytes(b"half")
    assert again(client, images, out) == (1, 3, 0)
    Image.fromarray(landscape(40, 40)).save(images / "below/a.png")
    assert again(client, images, out) == (1, 3, 0)
    assert smartsplat.open(out / "below/a.sspl").width == 40
    assert again(client, images, out, ratio=30) == (4, 0, 0)
    assert again(client, images, out, background=(1, 2, 3), ratio=30) == (4, 0, 0)
    assert again(client, images, out, background=(1, 2, 3), ratio=30) == (0, 4, 0)
    assert len(lines(out)) == 4
    (out / "manifest.jsonl").write_text((out / "manifest.jsonl").read_text() + '{"input": "torn')
    assert again(client, images, out, background=(1, 2, 3), ratio=30) == (0, 4, 0)


def test_failures_stop_nothing(client: Client, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    out = tmp_path / "out"
    missing = tmp_path / "missing.png"
    submitted = []
    submit = Client.submit

    def spy(self: Client, function: Any, task: Any, **options: Any) -> Any:
        submitted.append((task.image.output, options.get("workers")))
        return submit(self, function, task, **options)

    monkeypatch.setattr(Client, "submit", spy)
    result = smartsplat.batch([images, missing], out, cluster=client, **SETTINGS)
    assert result.encoded == 4
    assert [record.error for record in result.failed] == [
        f"{images}/bad.png: cannot be read as PNG: its header is damaged",
        f"{missing}: cannot be read: No such file or directory",
    ]
    first, second = (workers for output, workers in submitted if output == "bad.sspl")
    assert first is None
    assert second is not None
    assert len(second) == 1, "the other of two workers"
    assert [line["error"] for line in lines(out) if line["error"]] == [record.error for record in result.failed]
    Image.fromarray(landscape(40, 40)).save(images / "bad.png")
    assert again(client, images, out) == (1, 4, 0)


def test_an_image_that_no_worker_has_the_memory_for(client: Client, images: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8000, 6000)).save(images / "large.png", compress_level=1)
    result = smartsplat.batch(images, tmp_path / "out", cluster=client, **SETTINGS)
    assert result.encoded == 4
    (record,) = result.failed
    assert record.error == f"{images}/large.png: takes about 0.8 GB of memory, and no worker has more than 0.4"


def test_images_that_need_much_memory_take_turns(
    client: Client, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    submit = Client.submit

    def spy(self: Client, function: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(options["resources"]["MEMORY"])
        return submit(self, function, *arguments, **options)

    monkeypatch.setattr(Client, "submit", spy)
    assert again(client, images, tmp_path / "out") == (4, 0, 0)
    base = 250 << 20
    assert sorted(asked) == [base + 4 * 3 * 48 * width for width in (64, 65, 66, 67)]


@pytest.mark.parametrize("form", ["files", "glob", "list", "nested list"])
def test_sources(client: Client, images: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "list.txt").write_text(f"# some\n\n{images}/a.png\n  {images}/below/c.webp \n")
    (tmp_path / "lists.txt").write_text(f"@{tmp_path}/list.txt\n")
    sources = {
        "files": [images / "a.png", images / "below/c.webp"],
        "glob": [f"{images}/a.*", f"{images}/*/c.*"],
        "list": f"@{tmp_path}/list.txt",
        "nested list": [f"@{tmp_path}/lists.txt"],
    }
    out = tmp_path / "out"
    smartsplat.batch(sources[form], out, cluster=client, **SETTINGS)
    assert names(out) == ["a.sspl", "below/c.sspl" if form == "glob" else "c.sspl", "manifest.jsonl"]


@pytest.mark.parametrize(
    ("sources", "settings", "says"),
    [
        ([], {}, "nothing to encode"),
        ([""], {}, "name of a source is empty"),
        (["*.gone"], {}, r"\*.gone: has no images"),
        (["@gone.txt"], {}, "@gone.txt: cannot be read: No such file"),
        (["@self.txt"], {}, "@self.txt: the list names itself"),
        (["nowhere://a.png"], {}, "nowhere://a.png: Protocol not known"),
        (["a.png", "below/a.png"], {}, "would both become a.sspl"),
        (["a.png"], {"weights": "b.png"}, "weights: no settings of a batch"),
        (["a.png"], {"ratio": -1}, "ratio"),
        (["a.png"], {"ratio": 3, "bpp": 1}, "ratio"),
        (["a.png"], {"effort": 10}, "effort"),
        (["a.png"], {"seed": -1}, "seed"),
        (["a.png"], {"workers": 2}, "not both"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything(
    client: Client,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sources: list[str],
    settings: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.chdir(images)
    (images / "self.txt").write_text("@self.txt\n")
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match=says):
        smartsplat.batch(sources, out, cluster=client, **settings)
    assert not out.exists()


def test_folders_that_cannot_be_written(client: Client, images: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be written there"):
        smartsplat.batch(images, "https://host/out", cluster=client, **SETTINGS)
    with pytest.raises(SettingsError, match="is empty"):
        smartsplat.batch(images, "", cluster=client, **SETTINGS)
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written: Not a directory"):
        smartsplat.batch(images, tmp_path / "file/out", cluster=client, **SETTINGS)


def test_a_cluster_that_is_not_there(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
    with pytest.raises(ClusterError, match=r"cluster at tcp://127\.0\.0\.1:9 cannot be reached"):
        smartsplat.batch(images, tmp_path / "out", cluster="tcp://127.0.0.1:9", **SETTINGS)


def test_in_memory() -> None:
    store = fsspec.filesystem("memory")
    for name in ("a.png", "below/b.png"):
        with store.open(f"/batch-in/{name}", "wb") as file:
            Image.fromarray(landscape(64, 48)).save(file, "PNG")
    for expected in ((2, 0), (0, 2)):
        result = smartsplat.batch("memory://batch-in", "memory://batch-out", **SETTINGS)
        assert (result.encoded, result.kept, result.failed) == (*expected, ())
    assert smartsplat.decode(store.cat_file("/batch-out/below/b.sspl")).shape == (48, 64, 3)
    assert sorted(store.find("/batch-out")) == [
        f"/batch-out/{name}" for name in ("a.sspl", "below/b.sspl", "manifest.jsonl")
    ]


# ---- what is killed ------------------------------------------------------------------------------------------------


def many(folder: Path, count: int = 8) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(np.roll(landscape(256, 192), index, 0)).save(folder / f"{index}.png")
    return folder


SLOW = {"ratio": 40, "effort": 1, "steps": 120}


def test_workers_are_killed_under_it(tmp_path: Path) -> None:
    images, out = many(tmp_path / "in"), tmp_path / "out"
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50) as own,
        Client(own, set_as_default=False) as client,
    ):

        def kill(at: BatchProgress) -> None:
            if at.done in (1, 3):
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

        result = smartsplat.batch(images, out, cluster=client, progress=kill, **SLOW)
    assert (result.encoded, result.failed) == (8, ())
    assert names_but_unfinished(out) == [*(f"{index}.sspl" for index in range(8)), "manifest.jsonl"]


def names_but_unfinished(out: Path) -> list[str]:
    """Without what a kill in the milliseconds in which a file is written leaves, under a name of its own."""
    return [name for name in names(out) if not (name.startswith(".smartsplat-") and name.endswith(".tmp"))]


def command(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", *map(str, arguments)], stderr=subprocess.PIPE, text=True, **options)


def test_the_scheduler_is_killed_under_it(tmp_path: Path) -> None:
    images, out, address_file = many(tmp_path / "in"), tmp_path / "out", tmp_path / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = command("dask", "scheduler", *local, "--port", 0, "--scheduler-file", address_file)
    worker = command("dask", "worker", *local, "--nthreads", 1, "--no-nanny", "--scheduler-file", address_file)
    try:
        while not address_file.exists():
            time.sleep(0.05)
        address = json.loads(address_file.read_text())["address"]

        def kill(at: BatchProgress) -> None:
            if at.done == 2:
                scheduler.kill()

        with pytest.raises(ClusterError, match="scheduler is gone; what was finished stays"):
            smartsplat.batch(images, out, cluster=address, progress=kill, **SLOW)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.communicate()
    finished = len(list(out.glob("*.sspl")))
    assert 2 <= finished < 8
    result = smartsplat.batch(images, out, workers=2, **SLOW)
    assert (result.encoded, result.kept, result.failed) == (8 - finished, finished, ())
    assert names_but_unfinished(out) == [*(f"{index}.sspl" for index in range(8)), "manifest.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_the_command_is_ended_under_it(tmp_path: Path, number: signal.Signals) -> None:
    images, out = many(tmp_path / "in"), tmp_path / "out"
    options = ("--out", out, "--workers", 2, "-r", 40, "-e", 1, "--steps", 120)
    running = command("smartsplat", "batch", images, *options, start_new_session=True)
    while len(list(out.glob("*.sspl"))) < 2:
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    running.send_signal(number)
    begin = time.monotonic()
    _, said = running.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert running.returncode == (130 if number == signal.SIGINT else -9)
    if number == signal.SIGINT:
        assert "smartsplat: interrupted" in said.splitlines()
    time.sleep(1)  # a worker sees that the command is gone
    finished = len(list(out.glob("*.sspl")))
    result = smartsplat.batch(images, out, workers=2, effort=1, ratio=40, steps=120, seed=0)
    assert isinstance(result, BatchResult)
    assert (result.encoded, result.kept, result.failed) == (8 - finished, finished, ())


def test_the_command(images: Path, tmp_path: Path) -> None:
    (images / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    options = ("--out", tmp_path / "out", "--workers", 1, "-r", 40, "-e", 1, "--steps", 10)
    running = command("smartsplat", "batch", images, *options)
    said = running.communicate()[1].splitlines()
    assert running.returncode == 1
    assert said[0].startswith("dashboard: http://127.0.0.1:")
    assert said[1] == f"smartsplat: {images}/bad.png: cannot be read as PNG: its header is damaged"
    size = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.sspl"))
    assert said[2] == f"{tmp_path}/out: 4 encoded, 1 failed; {size} bytes in all"
    (images / "bad.png").unlink()
    running = command("smartsplat", "batch", images, *options)
    said = running.communicate()[1].splitlines()
    assert (running.returncode, said) == (0, [f"{tmp_path}/out: 0 encoded, 4 were there; {size} bytes in all"])
