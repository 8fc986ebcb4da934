"""What a command says on stderr. Results go to stdout."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from smartsplat.errors import SettingsError, SmartSplatError, SmartSplatWarning

FAILED, USAGE = 1, 2
"""Exit codes: something could not be done, or the command makes no sense. A signal's is 128 and its number."""


def say(text: str) -> None:
    """A line on stderr. One that takes none is no reason to give up, nor is a signal in the middle of another line."""
    with contextlib.suppress(OSError, RuntimeError):
        print(text, file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    return " ".join(text.split())


def channels_in_words(colors: int, has_alpha: bool) -> str:
    """Of an image with 1 or 3 channels of colour."""
    return ("grey" if colors == 1 else "RGB") + (" with alpha" if has_alpha else "")


def complain(error: SmartSplatError) -> int:
    """Says what is wrong in one line; returns the exit code."""
    say(f"smartsplat: {one_line(str(error))}")
    return USAGE if isinstance(error, SettingsError) else FAILED


@dataclass
class Messages:
    """What is said besides errors.

    Args:
        quiet: no status lines and no progress; notices stay, because they tell of something lost.
        verbose: one more line for each stage.
    """

    quiet: bool = False
    verbose: bool = False
    _noticed: set[tuple[str, str]] = field(default_factory=set, init=False)

    def status(self, text: str) -> None:
        if not self.quiet:
            say(text)

    def stage(self, text: str) -> None:
        if self.verbose:
            say(text)

    def notices(self, name: str, notices: Iterable[str]) -> None:
        """Each once: an encoder repeats those of the image that it is given."""
        for notice in notices:
            if (name, notice) not in self._noticed:
                self._noticed.add((name, notice))
                say(f"smartsplat: {name}: {one_line(notice)}")

    @contextmanager
    def warnings_as_notices(self, name: str) -> Iterator[None]:
        """What the library warns of inside of it is a notice about ``name``."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", SmartSplatWarning)
            show = warnings.showwarning

            def say_notice(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, SmartSplatWarning):
                    self.notices(name, (str(message),))
                else:
                    show(message, category, *where, **more)

            warnings.showwarning = say_notice
            yield
