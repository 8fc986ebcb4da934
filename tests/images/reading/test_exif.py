from __future__ import annotations

import pytest
from PIL import Image

from smartsplat.images.reading.exif import (
    density,
    density_of,
    orientation_of,
    upright_exif,
    upright_xmp,
    without_mark,
)
from tests.images.reading.tiff_files import Page, tiff
from tests.samples import landscape


def exif(**tags: object) -> bytes:
    found = Image.Exif()
    found.update({int(number[1:]): value for number, value in tags.items()})
    return found.tobytes().removeprefix(b"Exif\0\0")


def test_the_mark_of_jpeg() -> None:
    assert without_mark(b"Exif\0\0II*\0") == b"II*\0"
    assert without_mark(b"II*\0") == b"II*\0"
    assert without_mark(b"") is None
    assert without_mark(None) is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_only_the_orientation_changes(order: str, kind: int) -> None:
    data = tiff(Page(landscape(5, 4), 2, tags={274: (kind, [6]), 271: (2, b"Maker\0")}), order=order)
    assert orientation_of(data) == 6
    upright = upright_exif(data)
    assert upright is not None
    assert orientation_of(upright) == 1
    assert [place for place in range(len(data)) if data[place] != upright[place]] == [
        data.index(b"\x06", data.index((274).to_bytes(2, "little" if order == "<" else "big")))
    ]
    assert upright_exif(upright) is upright


def test_exif_without_an_orientation_stays_as_it_is() -> None:
    data = exif(_271="Maker")
    assert orientation_of(data) == 1
    assert upright_exif(data) == data
    assert orientation_of(exif(_274=9)) == 1
    assert orientation_of(None) == 1


@pytest.mark.parametrize("data", [b"nonsense", b"II*\0", b"II*\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_damaged_exif(data: bytes) -> None:
    assert orientation_of(data) == 1
    assert upright_exif(data) is None
    assert density_of(data) is None


def test_orientation_of_xmp() -> None:
    for before, after in (
        (b'<a tiff:Orientation="6" b="6"/>', b'<a tiff:Orientation="1" b="6"/>'),
        (b"<a tiff:Orientation = '8'/>", b"<a tiff:Orientation = '1'/>"),
        (b"<tiff:Orientation>3</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
        (b'<a tiff:Orientation="1"/>', b'<a tiff:Orientation="1"/>'),
        (b'<a tiff:Orientation="65"/>', b'<a tiff:Orientation="65"/>'),
    ):
        assert upright_xmp(before) == after
    assert upright_xmp(None) is None


def test_density() -> None:
    assert density_of(exif(_282=72.0, _283=300.0, _296=2)) == (2835, 11811)
    assert density_of(exif(_282=28.0, _283=28.0, _296=3)) == (2800, 2800)
    assert density_of(exif(_282=72.0, _283=72.0, _296=1)) is None, "a ratio only"
    assert density_of(exif(_282=72.0)) is None
    for bad in (0.0, -1.0, float("nan"), float("inf"), 1e30):
        assert density(bad, 1.0) is None
