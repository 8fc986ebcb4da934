"""Runs the command line: in this process, in one of its own, and on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from PIL import Image
from typer.testing import CliRunner

import smartsplat
from smartsplat import cli
from tests.samples import landscape

IMAGE = landscape(96, 64)
QUICK = ("--steps", "5", "--threads", "1")
COMMAND = (sys.executable, "-m", "smartsplat")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(smartsplat.__file__).absolute().parents[1]),
}  # from any working directory


def run(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Any:
    apart = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}  # as Click from 8.2 on
    result = CliRunner(**apart).invoke(cli.app, list(arguments), input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def fails(*arguments: str, code: int = 1) -> str:
    """The one line that a failing command says, without anything on stdout."""
    result = run(*arguments, code=code)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("smartsplat: ")
    return str(line)


def image_of(path: str) -> Image.Image:
    """A loaded image, its file closed."""
    with Image.open(path) as image:
        image.load()
    return image


def start(*arguments: str, command: Sequence[str] = COMMAND, **options: Any) -> subprocess.Popen[bytes]:
    """A process of its own. Whoever runs the tests may ignore Ctrl-C, as a shell's background does; it does not."""
    options = {"env": ENVIRONMENT, "preexec_fn": _heed_signals} | options
    return subprocess.Popen([*command, *arguments], **options)


def _heed_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def process(*arguments: str, code: int = 0, stdin: bytes = b"", blocks: int | None = None) -> tuple[bytes, str]:
    """A process of its own: stdout and stderr. ``blocks``: no file may grow beyond as many times 512 bytes."""
    limit = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh"] if blocks is not None else []
    command = [*limit, *COMMAND, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False, env=ENVIRONMENT)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout, done.stderr.decode()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


class Terminal:
    """A command whose stderr is a terminal, and what it has output there."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.output = b""
        self.process = start(*arguments, stderr=slave, stdout=subprocess.DEVNULL, env=ENVIRONMENT | {"TERM": "xterm"})
        os.close(slave)

    def wait_for(self, text: bytes | None) -> None:
        """Reads until ``text`` appears, or the end."""
        limit = time.monotonic() + 60
        while text is None or text not in self.output:
            assert time.monotonic() < limit
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # Linux: the other end is closed
                piece = b""
            if not piece:
                assert text is None, self.output
                return
            self.output += piece

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        self.wait_for(None)
        os.close(self.master)
        return self.process.wait(timeout=60)
