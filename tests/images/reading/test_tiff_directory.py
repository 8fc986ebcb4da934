from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest

from smartsplat.images.reading.exif import directory_density
from smartsplat.images.reading.tiff_directory import MAX_VALUE_BYTES, DamagedDirectoryError, TiffFile
from tests.images.reading.tiff_files import Page, tiff


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_values_of_every_type(order: str, big: bool) -> None:
    tags = {270: (2, b"text\0"), 282: (5, [3, 2]), 283: (5, [1, 0]), 700: (1, bytes(range(40))), 50000: (4, [7, 8, 9])}
    data = tiff(Page(np.zeros((2, 3, 1), np.uint16), tags=tags), order=order, big=big)
    file = TiffFile(io.BytesIO(data))
    directory = next(file.directories())
    assert (file.order, file.is_big) == (order, big)
    assert file.values(directory, 256) == (3,)
    assert file.values(directory, 282) == (1.5,)
    assert file.values(directory, 283) == (0.0,)
    assert file.values(directory, 50000) == (7, 8, 9)
    assert file.values(directory, 60000) == ()
    assert file.raw(directory, 270) == b"text\0"
    assert file.raw(directory, 700) == bytes(range(40))
    assert file.raw(directory, 60000) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_floats_that_are_no_numbers(value: float) -> None:
    head = b"II*\0" + struct.pack("<IH", 8, 2)
    entries = struct.pack("<HHIf", 296, 11, 1, value) + struct.pack("<HHIf", 297, 11, 1, 2.5)
    file = TiffFile(io.BytesIO(head + entries + bytes(4)))
    directory = next(file.directories())
    assert file.values(directory, 296) == ()
    assert file.values(directory, 297) == (2.5,)
    assert directory_density(file, directory) is None


def test_a_circle_of_directories_ends() -> None:
    data = tiff(Page(np.zeros((2, 3, 1), np.uint8)))
    assert data.endswith(bytes(4))
    circle = data[:-4] + data[4:8]
    assert len(list(TiffFile(io.BytesIO(circle)).directories())) == 1


def test_what_is_no_structure() -> None:
    for data in (
        b"",
        b"II",
        b"II\x2b\0" + bytes(4),
        b"XX*\0" + bytes(8),
        b"II*\0\x08\0\0\0",
        b"II*\0\x08\0\0\0\xff\xff" + bytes(1 << 20),
        b"II*\0\0\0\0\x40",
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8 + bytes(100),
    ):
        with pytest.raises(DamagedDirectoryError):
            list(TiffFile(io.BytesIO(data)).directories())


def test_values_that_are_too_long_or_cut_off_are_not_read() -> None:
    for count in (MAX_VALUE_BYTES + 1, 1 << 31, 5000):
        entry = struct.pack("<HHII", 700, 1, count, 8)
        data = b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4)
        file = TiffFile(io.BytesIO(data))
        directory = next(file.directories())
        assert file.raw(directory, 700) is None
        assert file.values(directory, 700) == ()
