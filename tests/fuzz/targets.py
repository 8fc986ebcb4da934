"""What is fuzzed in Python: each target takes any bytes, and raises where something is wrong.

Those of the compiled code are in ``native/fuzz``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import smartsplat
from smartsplat.bitstream import container
from smartsplat.cli import options
from smartsplat.encoder.grain import grain_of
from smartsplat.encoder.settings import Tune
from smartsplat.errors import SettingsError, SmartSplatError
from smartsplat.limits import Limits
from smartsplat.web.iiif import RequestError, parse

LIMITS = Limits(pixels=1 << 22, gaussians=1 << 16, overlap=64)


def line_of(error: Exception) -> str:
    """What the error says, which is one line."""
    (line,) = str(error).splitlines()
    assert line
    return line


def file(data: bytes) -> None:
    """A .sspl file: refused in one line, or decoded, packed again and equal."""
    try:
        reader = smartsplat.open(data, threads=1, limits=LIMITS)
        reader.gaussians()
        image = reader.read(size=(16, 16))
    except SmartSplatError as error:
        line_of(error)
        return
    assert image.shape == (16, 16, reader.channels)
    info = reader.info
    assert info.bytes == len(data)
    unpacked = container.unpack(data, LIMITS)
    again = container.pack(unpacked)
    assert container.unpack(again, LIMITS) == unpacked
    assert np.array_equal(smartsplat.decode(again, size=(16, 16), limits=LIMITS, threads=1), image)
    partial = smartsplat.decode(data, size=(16, 16), partial=True, limits=LIMITS, threads=1)
    assert np.array_equal(partial, image)


def request(data: bytes) -> None:
    """The words of an IIIF request: refused in one line, or an image of pixels that are there."""
    try:
        found = parse(data.decode(errors="surrogateescape"), 1000, 600, 1 << 20)
    except RequestError as error:
        line_of(error)
        if not 400 <= error.status < 600:
            raise AssertionError(error.status) from error
        return
    x, y, width, height = found.region
    assert 0 <= x < x + width <= 1000
    assert 0 <= y < y + height <= 600
    assert 1 <= found.size[0] * found.size[1] <= 1 << 20


def words(data: bytes) -> None:
    """Values of the command line that are written in ways of their own."""
    text = data.decode(errors="surrogateescape")
    readings: tuple[Callable[[], object], ...] = (
        lambda: options.whole_numbers(text, ",", 4, "--region", "X,Y,W,H"),
        lambda: options.whole_numbers(text, "x", 2, "--size", "WxH"),
        lambda: options.color(text),
        lambda: options.reading_options(None, text, False),
        lambda: grain_of(text, Tune.EYE, None),
    )
    for reading in readings:
        try:
            reading()
        except SettingsError as error:
            line_of(error)


TARGETS: dict[str, Callable[[bytes], None]] = {"file": file, "request": request, "words": words}
