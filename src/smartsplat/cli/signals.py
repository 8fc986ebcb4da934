"""How a command ends before its end: by Ctrl-C, SIGTERM or SIGHUP, soon and without a trace.

A signal becomes an exception, which removes temporary files and shows the cursor on its way. Python raises it only
between two of its own instructions. A library that writes a large image may take minutes until the next one, so a
thread watches, too: it ends the process when the exception has not done so after GRACE_SECONDS.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from smartsplat.cli.messages import say
from smartsplat.images.writing.atomic import discard_unfinished

GRACE_SECONDS = 1.0

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # no system has all three for certain
_SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(BaseException):
    """A signal has ended the command; no error of a file, and nothing that Typer would take for its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class _State:
    """What has arrived, as the main thread and the watching one see it."""

    received: int = 0  # signals that the watching thread knows of: all, and at once
    handled: int = 0  # signals that the main thread knows of
    ending: bool = False
    said: bool = False
    stop: EarlyStop | None = None


@dataclass
class EarlyStop:
    """Whether Ctrl-C has asked a fit to stop early."""

    announce: Callable[[], None]
    asked: bool = False


_state = _State()


def exit_code(number: int) -> int:
    """As shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + number


def install() -> None:
    """Handles the signals from here on; those that whoever started the process has it ignore stay ignored."""
    for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    if os.name == "posix":  # elsewhere a signal reaches no pipe
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        with contextlib.suppress(RuntimeError):  # no thread to be had: a signal waits for Python's next instruction
            threading.Thread(target=_watch, args=(reading,), daemon=True).start()


@contextmanager
def early_stop(announce: Callable[[], None]) -> Iterator[EarlyStop]:
    """While it is open the first Ctrl-C only calls ``announce`` and sets ``asked``; the second ends the command."""
    _state.stop = EarlyStop(announce)
    try:
        yield _state.stop
    finally:
        _state.stop = None


def finish() -> None:
    """The command is over: a signal raises nothing any more."""
    _state.ending = True


def say_interrupted(number: int) -> None:
    if not _state.said:
        _state.said = True
        say(
            "smartsplat: interrupted"
            if number == signal.SIGINT
            else f"smartsplat: ended by {signal.Signals(number).name}"
        )


def _handle(number: int, frame: FrameType | None) -> None:
    _state.handled += 1
    if _state.ending:  # nothing disturbs the exception that is on its way
        return
    stop = _state.stop
    if number == signal.SIGINT and stop is not None and not stop.asked:
        stop.asked = True
        stop.announce()
        return
    _state.ending = True
    raise Interrupted(number)


def _watch(pipe: int) -> None:
    while number := os.read(pipe, 1)[0]:
        _state.received += 1
        time.sleep(GRACE_SECONDS)
        missed = _state.received - _state.handled
        patient = number == signal.SIGINT and _state.stop is not None and not _state.stop.asked and missed == 1
        if _state.ending or (missed > 0 and not patient):
            _end_now(number)


def _end_now(number: int) -> NoReturn:
    discard_unfinished()
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    say_interrupted(number)
    os._exit(exit_code(number))
