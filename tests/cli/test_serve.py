from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.commands import fails, start


def test_a_folder_is_served_until_ctrl_c(workdir: Path) -> None:
    process = start("serve", ".", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    address = process.stdout.readline().decode().strip()
    with urllib.request.urlopen(f"{address}iiif/a.sspl/info.json") as response:
        assert json.load(response)["width"] == 96
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    (line,) = said.decode().splitlines()
    assert line == f". is at {address}, its images at {address}iiif/NAME; Ctrl-C ends it"


def test_sigterm_ends_it(workdir: Path) -> None:
    process = start("serve", ".", "--port", "0", "-q", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert said.decode() == "smartsplat: ended by SIGTERM\n"


def test_no_folder(workdir: Path) -> None:
    assert fails("serve", "missing", code=2) == "smartsplat: missing: is no folder"
    assert fails("serve", "a.sspl", code=2) == "smartsplat: a.sspl: is no folder"
    assert "--port" in fails("serve", ".", "--port", "70000", code=2)
    assert "--max-area" in fails("serve", ".", "--max-area", "0", code=2)


def test_a_port_in_use(workdir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails("serve", ".", "--port", str(port))
    assert line == f"smartsplat: 127.0.0.1:{port} cannot be listened on: address already in use"


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_without_the_extra(workdir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    for command in (("serve", "."), ("view", "a.sspl")):
        line = fails(*command, code=2)
        assert line == f"smartsplat: {name} is not installed; pip install 'smartsplat[view]'"
