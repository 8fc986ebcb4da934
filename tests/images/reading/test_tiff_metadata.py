from __future__ import annotations

import io

import numpy as np
from PIL import Image, TiffImagePlugin

from smartsplat.images.image import read_image
from smartsplat.images.reading.exif import orientation_of
from tests.images.reading.tiff_files import Page, tiff


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)


def test_metadata() -> None:
    tags = {
        271: (2, b"Maker\0"), 274: (3, [6]), 282: (5, [300, 1]), 283: (5, [150, 1]), 296: (3, [2]), 700: (1, b"<x/>"),
        33723: (7, b"\x1c\x02\x05\0\x01T"),
    }  # fmt: skip
    array = random(4, 7, 3)
    for order in "<>":
        result = read_image(tiff(Page(array, 2, tags=tags), order=order))
        assert np.array_equal(result.pixels, np.rot90(array, -1))
        metadata = result.metadata
        assert metadata.density == (11811, 5906)
        assert metadata.xmp == b"<x/>"
        assert metadata.iptc == b"\x1c\x02\x05\0\x01T"
        assert orientation_of(metadata.exif) == 1
        found = Image.Exif()
        found.load(b"Exif\0\0" + (metadata.exif or b""))
        assert (found[271], found[282]) == ("Maker", 300)


def test_exif_of_a_page_with_its_directories() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271] = "Maker"
    tags[34665] = {33434: 0.5, 36867: "2026:01:02 03:04:05", 37500: b"a note of the maker"}
    tags[34853] = {1: "N"}
    buffer = io.BytesIO()
    Image.fromarray(random(4, 5, 3)).save(buffer, "TIFF", tiffinfo=tags)
    found = Image.Exif()
    found.load(b"Exif\0\0" + (read_image(buffer.getvalue()).metadata.exif or b""))
    assert found[271] == "Maker"
    assert found.get_ifd(34665)[33434] == 0.5
    assert found.get_ifd(34665)[36867] == "2026:01:02 03:04:05"
    assert 37500 not in found.get_ifd(34665)
    assert found.get_ifd(34853)[1] == "N"


def test_iptc_as_numbers_of_the_other_byte_order() -> None:
    records = b"\x1c\x02\x05\0\x04Text\0\0\0"
    turned = b"".join(records[start : start + 4][::-1] for start in range(0, len(records), 4))
    result = read_image(tiff(Page(random(4, 5, 1), tags={33723: (7, turned)})))
    assert result.metadata.iptc == records
