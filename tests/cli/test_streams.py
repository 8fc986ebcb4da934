from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smartsplat
from tests.cli.commands import COMMAND, ENVIRONMENT, QUICK, fails, files, process, start
from tests.cli.test_encode import KEYS


def test_streams(workdir: Path) -> None:
    data, output = process("encode", "-", "-", "--ratio", "30", "--json", *QUICK, stdin=Path("a.png").read_bytes())
    assert smartsplat.open(data).width == 96
    assert list(json.loads(output)) == KEYS, "stdout is taken, so that the object goes to stderr"
    image, output = process("decode", "-", "-", stdin=data)
    assert output == ""
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image))), smartsplat.decode(data))
    assert b"96 x 64" in process("info", "-", stdin=data)[0]
    assert b"MS-SSIM" in process("compare", "a.png", "-", stdin=data)[0]


def test_errors_of_streams(workdir: Path) -> None:
    for command in (("encode", "-", "b.sspl"), ("decode", "-", "b.png"), ("info", "-"), ("compare", "a.png", "-")):
        out, output = process(*command, code=1, stdin=b"nonsense")
        assert out == b""
        assert re.fullmatch(r"smartsplat: .*stdin.*\n", output), output
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device(workdir: Path) -> None:
    Path("full.png").symlink_to("/dev/full")
    for command in (
        ("encode", "a.png", "/dev/full", *QUICK),
        ("encode", "a.png", "-", *QUICK),
        ("decode", "a.sspl", "full.png"),
        ("decode", "a.sspl", "-"),
        ("encode", "a.png", "b.sspl", "--json", *QUICK),
        ("info", "a.sspl"),
        ("info", "a.sspl", "--json"),
        ("compare", "a.png", "a.sspl"),
    ):
        with Path("/dev/full").open("wb") as full:
            writing = start(*command, stdout=full, stderr=subprocess.PIPE)
            _, output = writing.communicate(timeout=60)
        assert writing.returncode == 1
        (line,) = output.decode().splitlines()
        assert re.fullmatch(rf"smartsplat: .*: cannot be written: {os.strerror(errno.ENOSPC)}", line), line


def test_a_full_disk_keeps_what_was_there(workdir: Path) -> None:
    names = ("b.bmp", "b.png", "b.sspl", "b.tif")
    for name in names:
        Path(name).write_bytes(b"" if name == "b.sspl" else b"older")
    encode = ("encode", "a.png", "b.sspl", "--ratio", "3", *QUICK)
    for command in (encode, *(("decode", "a.sspl", name) for name in names if name != "b.sspl")):
        _, output = process(*command, code=1, blocks=2)
        assert output == f"smartsplat: {command[2]}: cannot be written: {os.strerror(errno.EFBIG)}\n"
        assert Path(command[2]).read_bytes() in (b"", b"older")
    assert files(workdir) == ["a.png", "a.sspl", *names]


@pytest.mark.parametrize("command", [("encode", "a.png", "-", *QUICK), ("decode", "a.sspl", "-"), ("info", "a.sspl")])
def test_a_reader_that_has_had_enough(workdir: Path, command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        running = start(*command, stdout=pipe, stderr=subprocess.PIPE)
    _, output = running.communicate(timeout=60)
    assert running.returncode == 1
    assert output == b""


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(workdir: Path, closed: str) -> None:
    """No file gets the number of a stream, and with it what is said."""

    def shell(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *arguments]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False, timeout=60)

    assert shell("encode", "a.png", "b.sspl", "-v", *QUICK).returncode == 0
    assert smartsplat.open("b.sspl").width == 96
    assert shell("decode", "b.sspl", "b.png", "-v").returncode == 0
    with Image.open("b.png") as image:
        assert image.size == (96, 64)
    assert files(workdir) == ["a.png", "a.sspl", "b.png", "b.sspl"]
    if "1>&-" in closed:
        ran = shell("encode", "a.png", "-", *QUICK)
        assert ran.returncode == 1
        if "2>&-" not in closed:
            assert re.fullmatch(rb"smartsplat: stdout: cannot be written: .*\n", ran.stderr)
    if "0<&-" in closed:
        ran = shell("decode", "-", "c.png")
        assert ran.returncode == 1
        if "2>&-" not in closed:
            assert re.fullmatch(rb"smartsplat: stdin: cannot be read: .*\n", ran.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_stderr_that_takes_nothing(workdir: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        assert start("encode", "a.png", "b.sspl", "-v", *QUICK, stderr=full).wait(timeout=60) == 0
        assert start("encode", "missing.png", "b.sspl", *QUICK, stderr=full).wait(timeout=60) == 1
    assert smartsplat.open("b.sspl").width == 96


def test_stdin_and_stdout_are_files_to_look_after(workdir: Path) -> None:
    before = Path("a.png").read_bytes()
    with Path("a.png").open("rb") as image:
        encoding = start("encode", "-", "a.png", "-f", *QUICK, stdin=image, stderr=subprocess.PIPE)
        assert b"a.png: is an input" in encoding.communicate(timeout=60)[1]
    with Path("a.png").open("ab") as image:
        encoding = start("encode", "a.png", "-", *QUICK, stdout=image, stderr=subprocess.PIPE)
        assert b"stdout: is an input" in encoding.communicate(timeout=60)[1]
    assert encoding.returncode == 1
    assert Path("a.png").read_bytes() == before


def test_a_pipe_that_is_named(workdir: Path) -> None:
    for program in (
        'exec "$@" encode <(cat a.png) b.sspl --steps 5',
        'exec "$@" info <(cat a.sspl)',
        'exec "$@" decode <(cat a.sspl) b.png',
    ):
        ran = subprocess.run(
            ["bash", "-c", program, "bash", *COMMAND], env=ENVIRONMENT, capture_output=True, check=False, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
    Path("pipe").symlink_to("/dev/fd/0")
    assert "stdin has no name" in fails("encode", "-", "--out-dir", "out", code=2)
