"""Batches from and to stores that are reached over a network: S3, by a server of its own process, and HTTP."""

from __future__ import annotations

import http.server
import io
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from distributed import Client, LocalCluster
from PIL import Image

import smartsplat
from smartsplat import on_demand
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from tests.compare import scene
from tests.samples import landscape

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

SETTINGS: dict[str, Any] = {"ratio": 40, "effort": 1, "steps": 10}


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(landscape(64 + seed, 48)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A file system of S3, for this process and those that it starts."""
    url = f"http://127.0.0.1:{free_port()}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", url.rpartition(":")[2]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    names = {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in names.items():
            environment.setenv(f"AWS_{name}", value)
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(url).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        store = fsspec.filesystem("s3")
        store.mkdir("images")
        store.mkdir("files")
        yield store
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def client(s3: Any) -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


def test_s3(s3: Any, client: Client) -> None:
    for index, name in enumerate(("a.png", "below/b.png", "below/bad.png", "notes.txt")):
        s3.pipe_file(f"images/in/{name}", png(index) if "b" not in name[-7:-4] else b"none")
    s3.pipe_file("images/in/below/b.png", png(1))
    s3.pipe_file("images/list.txt", b"s3://images/in\n")

    def run(source: str) -> tuple[int, int, int]:
        result = smartsplat.batch(source, "s3://files/out", cluster=client, **SETTINGS)
        return result.encoded, result.kept, len(result.failed)

    assert run("s3://images/in") == (2, 0, 1)
    s3.invalidate_cache()
    assert sorted(s3.find("files/out")) == [
        f"files/out/{name}" for name in ("a.sspl", "below/b.sspl", "manifest.jsonl")
    ]
    lines = [json.loads(line) for line in s3.cat_file("files/out/manifest.jsonl").splitlines()]
    assert [(line["input"], line["bytes"]) for line in lines if line["error"] is None] == [
        (f"s3://images/in/{name}.png", s3.size(f"files/out/{name}.sspl")) for name in ("a", "below/b")
    ]
    assert lines[-1]["error"].startswith("s3://images/in/below/bad.png: is not an image in a known format")
    s3.pipe_file("images/in/below/bad.png", png(3))
    assert run("@s3://images/list.txt") == (1, 2, 0)
    s3.pipe_file("images/in/a.png", png(9))
    assert run("s3://images/in/*.png") == (1, 0, 0)
    assert smartsplat.decode(s3.cat_file("files/out/a.sspl")).shape == (48, 73, 3)


def test_s3_refuses(s3: Any, client: Client) -> None:
    s3.pipe_file("images/only/a.png", png(0))
    with pytest.raises(smartsplat.ImageError, match=r"s3://nowhere/out/manifest\.jsonl: cannot be written: "):
        smartsplat.batch("s3://images/only", "s3://nowhere/out", cluster=client, **SETTINGS)
    with pytest.raises(smartsplat.SettingsError, match=r"s3://nowhere/a.*: (has no images|cannot be listed)"):
        smartsplat.batch("s3://nowhere/a*", "s3://files/out", cluster=client, **SETTINGS)
    result = smartsplat.batch("s3://images/only/gone.png", "s3://files/gone", cluster=client, **SETTINGS)
    (record,) = result.failed
    assert str(record.error).startswith("s3://images/only/gone.png: cannot be read: ")


def test_a_file_in_s3_is_read_on_demand(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "FIRST_BYTES", 1 << 13)
    monkeypatch.setattr(on_demand, "MAX_GAP", 1 << 12)
    gaussians, quantizer = scene(60000, 4000, 3000, max_scale=6), Quantizer(100, 5, 4000, 3000, 3)
    data = container.pack(to_file(gaussians, quantizer, group_size=500))
    s3.pipe_file("files/large.sspl", data)
    with smartsplat.open("s3://files/large.sspl") as reader:
        assert reader._on_demand is not None
        region = (1000, 2000, 300, 200)
        assert np.array_equal(reader.read(region=region), smartsplat.decode(data, region=region))
        assert reader._on_demand.requests <= 12
        there = sum(1 for at in range(0, len(data), 512) if any(reader._on_demand.bytes[at : at + 512]))
        assert 512 * there < len(data) / 3
    with pytest.raises(smartsplat.FormatError, match=r"^s3://files/gone\.sspl: cannot be read: "):
        smartsplat.open("s3://files/gone.sspl")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def test_http(tmp_path: Path, client: Client) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(0))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "in")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        result = smartsplat.batch([f"{base}/a.png", f"{base}/gone.png"], tmp_path / "out", cluster=client, **SETTINGS)
        assert result.encoded == 1
        assert [record.error for record in result.failed] == [f"{base}/gone.png: cannot be read: {base}/gone.png"]
        assert smartsplat.open(tmp_path / "out/a.sspl").shape == (48, 64, 3)
    finally:
        server.shutdown()
        server.server_close()
