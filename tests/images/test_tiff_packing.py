from __future__ import annotations

import struct
from typing import Literal

import pytest
from PIL import Image

from smartsplat.images.tiff_packing import first_directory, packed_directory, packed_values, without_orientation
from tests.samples import exif_data

ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")


@pytest.mark.parametrize("order", ORDERS)
def test_entries_as_they_stand(order: Literal["<", ">"]) -> None:
    data = exif_data(order)
    found = first_directory(data)
    assert (found.order, found.start, found.size) == (order, 8, 2 + 3 * 12 + 4)
    assert list(found.entries) == [271, 274, 34665]
    assert found.entries[274] == struct.pack(f"{order}HHIHH", 274, 3, 1, 1, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_damaged_directories_are_refused_or_read_in_part(order: Literal["<", ">"]) -> None:
    data = exif_data(order)
    for size in range(len(data)):
        try:
            found = first_directory(data[:size])
        except ValueError:
            assert size < 8 + found_size(data)
        else:
            assert set(found.entries) <= {271, 274, 34665}
            assert (271 in found.entries) == (size >= 8 + found_size(data) + 17)
    for start in (len(data) - 1, len(data), 0xFFFFFFFF):
        with pytest.raises(ValueError, match="its first directory"):
            first_directory(data[:4] + struct.pack(f"{order}I", start) + data[8:])
    with pytest.raises(ValueError, match="does not begin as a TIFF"):
        first_directory(b"Exif\0\0" + data)
    with pytest.raises(ValueError, match="does not end"):
        first_directory(data[:8] + b"\xff\xff" + data[10:])


def found_size(data: bytes) -> int:
    return first_directory(data).size


@pytest.mark.parametrize("order", ORDERS)
def test_the_orientation_is_taken_out_and_nothing_moves(order: str) -> None:
    data, plain = exif_data(order, orientation=6), exif_data(order, orientation=None)
    changed = without_orientation(data)
    assert len(changed) == len(data)
    assert changed[50:] == data[50:], "what entries point to is where it was"
    exif = Image.Exif()
    exif.load(changed)
    assert dict(exif).keys() == {271, 34665}
    assert exif.get_ifd(34665)[37500].startswith(b"own words")
    assert without_orientation(plain) is plain


@pytest.mark.parametrize("order", ORDERS)
def test_a_directory_that_is_written_can_be_read(order: Literal["<", ">"]) -> None:
    values = {
        258: (3, [8, 8, 8]),
        256: (4, [70000]),
        282: (5, [72, 1]),
        700: (1, b"odd"),
        262: (3, [2]),
        305: (7, b"12345"),
    }
    raw = {271: struct.pack(f"{order}HHI4s", 271, 2, 4, b"abc\0"), 256: bytes(12)}
    start = 10
    packed = packed_directory(packed_values(values, order), raw, order, start)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    data = mark + struct.pack(f"{order}I", start) + bytes(2) + packed
    found = first_directory(data)
    assert list(found.entries) == [256, 258, 262, 271, 282, 305, 700]
    exif = Image.Exif()
    exif.load(data)
    assert exif[258] == (8, 8, 8)
    assert exif[256] == 70000
    assert exif[282] == 72
    assert exif[700] == b"odd"
    assert exif[262] == 2
    assert exif[271] == "abc"
    assert exif[305] == b"12345"
    assert len(data) % 2 == 0
