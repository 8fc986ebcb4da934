from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import ENVIRONMENT, fails, start
from tests.samples import landscape


def viewed(*arguments: str, **options: object) -> tuple[subprocess.Popen[bytes], str]:
    process = start("view", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    assert process.stdout is not None
    return process, process.stdout.readline().decode().strip()


def ended(process: subprocess.Popen[bytes]) -> str:
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    return said.decode()


def fetched(address: str) -> bytes:
    with urllib.request.urlopen(address) as response:
        return bytes(response.read())


def test_a_file_and_its_original(workdir: Path) -> None:
    process, address = viewed("a.sspl", "--original", "a.png", "--no-browser")
    assert address.startswith("http://127.0.0.1:")
    assert b"<canvas" in fetched(address)
    assert fetched(f"{address}file/a.sspl") == Path("a.sspl").read_bytes()
    assert json.loads(fetched(f"{address}original/info.json"))["height"] == 64
    assert fetched(f"{address}original/full/max/0/default.png").startswith(b"\x89PNG")
    assert ended(process) == f"a.sspl is at {address}; Ctrl-C ends it\n"


def test_the_file_may_go(workdir: Path) -> None:
    process, address = viewed("a.sspl", "--no-browser", "-q")
    Path("a.sspl").unlink()
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetched(f"{address}file/a.sspl")
    with caught.value as answer:
        assert (answer.code, answer.read()) == (404, b"the file is not there any more\n")
    assert ended(process) == ""


def test_the_browser_is_opened_or_missed(workdir: Path) -> None:
    browser = Path("browser")
    browser.write_text('#!/bin/sh\necho "$1" > opened\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    environment = ENVIRONMENT | {"BROWSER": f"{browser.absolute()} %s"}
    process, address = viewed("a.sspl", env=environment)
    for _ in range(200):
        if os.path.exists("opened") and Path("opened").read_text().endswith("\n"):
            break
        time.sleep(0.05)
    assert Path("opened").read_text().strip() == address
    ended(process)
    process, _ = viewed("a.sspl", env=environment | {"BROWSER": "/missing/browser", "PATH": "", "DISPLAY": ""})
    assert process.stderr is not None
    process.stderr.readline()
    assert process.stderr.readline() == b"smartsplat: no browser was found; open the address in one\n"
    ended(process)


def test_what_cannot_be_viewed(workdir: Path) -> None:
    assert fails("view", "missing.sspl", "--no-browser").startswith("smartsplat: missing.sspl: cannot be read")
    line = fails("view", "a.png", "--no-browser")
    assert line == "smartsplat: a.png: not a SmartSplat file: the signature is missing"
    Image.fromarray(landscape(30, 20)).save("other.png")
    line = fails("view", "a.sspl", "--original", "other.png", "--no-browser", code=2)
    assert line == "smartsplat: other.png: has 30 x 20 pixels, the file 96 x 64"
    assert "missing.png" in fails("view", "a.sspl", "--original", "missing.png", "--no-browser")
    os.mkfifo("pipe")
    with subprocess.Popen(["sh", "-c", "cat a.sspl > pipe"]):
        assert fails("view", "pipe", "--no-browser", code=2) == "smartsplat: pipe: only a file can be viewed"
