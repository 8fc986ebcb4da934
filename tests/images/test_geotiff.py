"""The place of a map on the earth stays: GeoTIFF tags from TIFF to .sspl to TIFF, read and written with tifffile."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import smartsplat
from smartsplat.images.image import read_image
from smartsplat.images.tiff_packing import geo_values
from smartsplat.images.writing.writer import write
from smartsplat.metadata import Metadata
from tests.samples import landscape

KEYS = (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2049, 34737, 7, 0)
TAGS: dict[int, tuple[str, Any]] = {  # Web Mercator
    33550: ("d", (305.748113140705, 305.748113140705, 0.0)),
    33922: ("d", (0.0, 0.0, 0.0, -20037508.342787, 20037508.342787, 0.0)),
    34735: ("H", KEYS),
    34736: ("d", (6378137.0, 298.257223563)),
    34737: ("s", "WGS 84|"),
}


def geotiff(byteorder: Any = "<", big: bool = False, without: int | None = None) -> bytes:
    file = io.BytesIO()
    extra = [(tag, kind, len(value), value, False) for tag, (kind, value) in TAGS.items() if tag != without]
    tifffile.imwrite(file, landscape(128, 96), photometric="rgb", byteorder=byteorder, bigtiff=big, extratags=extra)
    return file.getvalue()


def tags(data: bytes) -> dict[int, Any]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        return {tag: page.tags[tag].value for tag in (*TAGS, 34264, 42113) if tag in page.tags}


EXPECTED = {tag: value for tag, (_, value) in TAGS.items()}


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_map_keeps_its_place(byteorder: str, big: bool, tmp_path: Path) -> None:
    source = geotiff(byteorder, big)
    assert tags(source) == EXPECTED
    data = smartsplat.encode(source, ratio=20, steps=5)
    reader = smartsplat.open(data)
    assert reader.info.version == "4.2"
    assert reader.info.metadata_bytes == len(reader.metadata.geo or b"")
    path = tmp_path / "map.tif"
    assert write(path, reader.strips(), metadata=reader.metadata) == ()
    assert tags(path.read_bytes()) == EXPECTED
    with_exif = Metadata(exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0", geo=reader.metadata.geo)
    write(path, reader.strips(), metadata=with_exif)  # whose byte order the file takes
    assert path.read_bytes()[:2] == b"MM"
    assert tags(path.read_bytes()) == EXPECTED


def test_where_it_does_not_stay() -> None:
    metadata = read_image(geotiff()).metadata
    assert metadata.geo is not None
    assert read_image(geotiff(without=34735)).metadata.geo is None, "without keys the others say nothing"
    assert smartsplat.open(smartsplat.encode(geotiff(), ratio=20, steps=5, strip=True)).metadata.geo is None
    notices = write(io.BytesIO(), landscape(9, 9), metadata=Metadata(geo=metadata.geo), format="png")
    assert notices == ("png holds no GeoTIFF tags: left out",)
    turned = read_image(with_orientation(geotiff()))
    assert turned.metadata.geo is None
    assert any("GeoTIFF tags left out: the image is turned" in notice for notice in turned.notices)


def with_orientation(data: bytes) -> bytes:
    """The same with the tag of an image that is to be turned, in place of that of the program."""
    place = data.index(struct.pack("<HH", 305, 2))
    return data[:place] + struct.pack("<HHII", 274, 3, 1, 6) + data[place + 12 :]


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_damaged_tags_are_left_out(cut: int) -> None:
    geo = read_image(geotiff()).metadata.geo
    assert geo is not None
    for damaged in (geo[:cut], geo[:cut] + b"\xff" * 8 + geo[cut + 8 :], b"MM\0*" + geo[4:]):
        file = io.BytesIO()
        notices = write(file, landscape(9, 9), metadata=Metadata(geo=damaged), format="tif")
        assert all("needs GeoTIFF tags that are not damaged" in notice for notice in notices)
        assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), landscape(9, 9))


def test_values_that_are_no_geotiff_are_not_taken() -> None:
    entries = [(273, 4, 1, 5), (34735, 4, 1, 5), (33550, 12, 0, 0), (34737, 2, 3, 0x414141), (33922, 12, 1 << 30, 8)]
    data = (
        b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)
    )
    assert geo_values(data, "<") == {34737: (2, 3, b"AAA")}
    assert geo_values(data, ">") == {34737: (2, 3, b"AAA")}
