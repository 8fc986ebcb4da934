"""What holds for all tests: Ctrl-C interrupts, and libvips is loaded as the package loads it."""

from __future__ import annotations

import signal

from smartsplat.images.reading.vips_reader import libvips


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # where a shell has started the tests in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    libvips()  # before a test imports pyvips, whose log handler can end the process
