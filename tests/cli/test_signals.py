from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import smartsplat
from smartsplat.bitstream.container import SIGNATURE
from tests.cli.commands import ENVIRONMENT, Terminal, files, start
from tests.samples import landscape

SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"


@pytest.mark.parametrize("target", [("--ratio", "50"), ("--psnr", "60")])
def test_the_first_ctrl_c_writes_what_there_is(large: Path, target: tuple[str, ...]) -> None:
    terminal = Terminal("encode", "large.png", "b.sspl", "-e", "9", *target)
    terminal.wait_for(b"fitting")
    terminal.interrupt()
    assert terminal.end() == 130
    assert b"stopping early" in terminal.output
    assert smartsplat.open("b.sspl").read(scale=0.1).std() > 5
    if target[0] == "--ratio":
        assert Path("b.sspl").stat().st_size <= 3 * 1000 * 800 / 50
    assert files(large) == ["b.sspl", "large.png"]


def test_the_second_ctrl_c_writes_nothing(large: Path) -> None:
    older = smartsplat.encode(landscape(40, 30), gaussians=9, steps=1)
    Path("b.sspl").write_bytes(older)
    terminal = Terminal("encode", "large.png", "b.sspl", "-e", "9", "--ratio", "4")
    terminal.wait_for(b"fitting")
    terminal.interrupt()
    terminal.wait_for(b"stopping early")
    terminal.interrupt()
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.output
    assert terminal.output.rstrip().endswith(b"smartsplat: interrupted")
    assert Path("b.sspl").read_bytes() == older
    assert files(large) == ["b.sspl", "large.png"]


def test_ctrl_c_elsewhere(workdir: Path) -> None:
    reading, writing = os.pipe()
    waiting = start("decode", "-", "b.png", stdin=reading, stderr=subprocess.PIPE)
    os.write(writing, SIGNATURE)
    while fcntl.ioctl(reading, termios.FIONREAD, bytes(4)) != bytes(4):  # what is in the pipe is not read yet
        assert waiting.poll() is None
        time.sleep(0.05)
    os.close(reading)
    waiting.send_signal(signal.SIGINT)
    _, output = waiting.communicate(timeout=60)
    os.close(writing)
    assert waiting.returncode == 130
    assert output == b"smartsplat: interrupted\n"
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.parametrize("forced", [False, True])
def test_half_a_fit_replaces_a_whole_one_only_if_forced(large: Path, forced: bool) -> None:
    older = smartsplat.encode(landscape(40, 30), gaussians=9, steps=1)
    Path("b.sspl").write_bytes(older)
    terminal = Terminal("encode", "large.png", "b.sspl", "-e", "9", *(["--force"] if forced else []))
    terminal.wait_for(b"fitting")
    terminal.interrupt()
    assert terminal.end() == 130
    written = "b.sspl" if forced else "b.stopped.sspl"
    assert written.encode() in terminal.output
    assert smartsplat.open(written).width == 1000
    assert (Path("b.sspl").read_bytes() == older) is not forced
    assert files(large) == sorted({"b.sspl", written, "large.png"})


def test_ctrl_c_ends_the_work_on_several_inputs(large: Path) -> None:
    for name in ("b.png", "c.png"):
        Path(name).write_bytes(Path("large.png").read_bytes())
    terminal = Terminal("encode", "large.png", "b.png", "c.png", "--out-dir", "out", "-e", "9")
    terminal.wait_for(b"fitting")
    terminal.interrupt()
    assert terminal.end() == 130
    assert b"2 of 3 inputs are left" in terminal.output
    assert files(Path("out")) == ["large.sspl"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_leave_nothing(large: Path, number: int, code: int) -> None:
    terminal = Terminal("encode", "large.png", "b.sspl", "-e", "9")
    terminal.wait_for(b"fitting")
    terminal.interrupt(number)
    assert terminal.end() == code
    assert b"Traceback" not in terminal.output
    assert terminal.output.rfind(SHOW_CURSOR) > terminal.output.rfind(HIDE_CURSOR) >= 0
    assert files(large) == ["large.png"]


WRITING = """
import ctypes, time
from smartsplat import cli
from smartsplat.images.writing.atomic import write_atomically

sleep = ctypes.CDLL(None).sleep

def write(file):
    file.write(b"x" * 100000)
    file.flush()
    print("writing", flush=True)
    WAIT

def work(*_):
    write_atomically("b.png", write)

cli.app = work
cli.main()
"""
"""A command that is busy with a file, in Python or for long in a library that lets Python run no handler."""


@pytest.mark.parametrize(
    "wait",
    ["time.sleep(1000)", "sleep(1000)"],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_file(tmp_path: Path, wait: str, number: int, code: int) -> None:
    command = [sys.executable, "-c", WRITING.replace("WAIT", f"while True: {wait}")]
    writing = start(command=command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writing.stdout is not None
    assert writing.stdout.readline() == b"writing\n"
    assert len(files(tmp_path)) == 1
    writing.send_signal(number)
    _, output = writing.communicate(timeout=60)
    assert writing.returncode == code
    assert len(output.splitlines()) == 1
    assert files(tmp_path) == []


def test_what_is_to_be_ignored_stays_ignored(workdir: Path) -> None:
    """As nohup and a shell's background ask for."""
    program = (
        "import os, signal, smartsplat.cli\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "smartsplat.cli.app = lambda: os.kill(os.getpid(), signal.SIGHUP)\n"
        "smartsplat.cli.main()\n"
        "print('still there')"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"still there\n", b"", 0)
