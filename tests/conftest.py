"""What holds for all tests: their order, Ctrl-C interrupts, and libvips is loaded as the package loads it."""

from __future__ import annotations

import signal

import pytest

from smartsplat.images.reading.vips_reader import libvips

LONG = ("tests/viewer/", "tests/bench/gpu/", "tests/render/")
"""Folders with files that take long: first, so that no process is left with one when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # where a shell has started the tests in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    libvips()  # before a test imports pyvips, whose log handler can end the process
