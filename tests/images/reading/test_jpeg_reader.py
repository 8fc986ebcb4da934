from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smartsplat.errors import ImageError
from smartsplat.images.image import read_image
from tests.samples import landscape


def jpeg(width: int = 160, height: int = 120, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(landscape(width, height)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode)).reshape(120, 160, -1)


def segment(kind: int, body: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body


def with_segment(data: bytes, kind: int, body: bytes) -> bytes:
    """A JPEG with a segment in front of all others."""
    return data[:2] + segment(kind, body) + data[2:]


def scan_of(data: bytes) -> int:
    """The first byte of the coded samples."""
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "full colour": {"subsampling": 0, "quality": 97},
    "rgb": {"keep_rgb": True},
    "restarts": {"restart_marker_blocks": 5},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_pillow(kind: str) -> None:
    data = jpeg(**KINDS[kind])
    result = read_image(data)
    assert np.array_equal(result.pixels, by_pillow(data, "L" if kind == "grey" else "RGB"))
    expected = ("CMYK converted to RGB without a colour profile",) if kind == "cmyk" else ()
    assert result.notices == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_lacks_but_the_end_marker_is_complete(kind: str) -> None:
    data = jpeg(**KINDS[kind])
    result = read_image(data[:-2])
    assert np.array_equal(result.pixels, read_image(data).pixels)
    assert result.notices[0] == "the end marker is missing, the image is complete"
    assert read_image(data + b"\0 trailer").notices == read_image(data).notices


@pytest.mark.parametrize("kind", ["baseline", "progressive", "full colour", "restarts", "grey", "cmyk"])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_half_of_the_data_gone(kind: str, end: bytes) -> None:
    data = jpeg(**KINDS[kind])
    start = scan_of(data)
    cut = data[: (start + len(data)) // 2] + end
    with pytest.raises(ImageError, match=r"is damaged: .*--accept-damaged"):
        read_image(cut)
    result = read_image(cut, accept_damaged=True)
    if kind != "progressive":  # whose first scans show all of the image
        assert np.array_equal(result.pixels[:16], read_image(data).pixels[:16])
    assert result.notices[-1].startswith("DAMAGED: ") or "DAMAGED" in str(result.notices)


def test_a_piece_gone_from_the_middle() -> None:
    for options in ({}, {"restart_marker_blocks": 7}):
        data = jpeg(quality=95, **options)
        middle = (scan_of(data) + len(data)) // 2
        with pytest.raises(ImageError, match="is damaged"):
            read_image(data[: middle - 400] + data[middle + 400 :])


def test_what_is_not_about_pixels_is_harmless(capfd: pytest.CaptureFixture[str]) -> None:
    data, progressive = jpeg(), jpeg(progressive=True)
    tables, scan = data.index(b"\xff\xdb"), progressive.index(b"\xff\xda", scan_of(progressive))
    revision = data.index(b"JFIF\0") + 5
    for whole, damaged, notice in (
        (data, data[:tables] + bytes(3) + data[tables:], "libjpeg: Corrupt JPEG data: 3 extraneous bytes"),
        (progressive, progressive[:scan] + b"\1\2" + progressive[scan:], "libjpeg: Corrupt JPEG data: 2 extraneous"),
        (data, data[:revision] + b"\x09" + data[revision + 1 :], "libjpeg: Warning: unknown JFIF revision"),
        (data, data[:-2] + b"\1\2\3" * 9 + data[-2:], None),
        (data, with_segment(data, 0xEE, b"Adobe\0\x64\0\0\0\0\x09"), None),
    ):
        result = read_image(damaged)
        assert np.array_equal(result.pixels, read_image(whole).pixels)
        assert len(result.notices) == (notice is not None)
        assert notice is None or result.notices[0].startswith(notice)
    assert capfd.readouterr() == ("", "")


def test_a_small_image_inside_has_an_end_of_its_own() -> None:
    """Its end marker is not that of the file."""
    small = jpeg(16, 16)
    data = with_segment(jpeg()[:-2], 0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + small)
    assert "the end marker is missing, the image is complete" in read_image(data).notices


def test_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[271] = "Maker"
    data = jpeg(exif=exif, dpi=(300, 150), xmp=b'<x tiff:Orientation="6"/>')
    records = b"\x1c\x02\x05\0\x01T"
    resource = b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(records)) + records
    data = with_segment(data, 0xED, b"Photoshop 3.0\0" + resource)
    result = read_image(data)
    assert np.array_equal(result.pixels, np.rot90(by_pillow(data), -1))
    metadata = result.metadata
    assert metadata.density == (11811, 5906)
    assert metadata.xmp == b'<x tiff:Orientation="1"/>'
    assert metadata.iptc == records
    found = Image.Exif()
    found.load(b"Exif\0\0" + (metadata.exif or b""))
    assert (found[0x0112], found[271]) == (1, "Maker")


def test_density_of_exif_where_the_file_states_none() -> None:
    exif = Image.Exif()
    exif.update({282: 72.0, 283: 36.0, 296: 2})
    assert read_image(jpeg(exif=exif)).metadata.density == (2835, 1417)
    assert read_image(jpeg()).metadata.density is None


def test_orientation_in_xmp_only_turns_nothing() -> None:
    data = jpeg(xmp=b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>')
    assert np.array_equal(read_image(data).pixels, by_pillow(data))


def test_an_rgb_profile_on_inks_is_dropped() -> None:
    from tests.images.reading.test_png_reader import SRGB

    result = read_image(jpeg(mode="CMYK", icc_profile=SRGB))
    assert result.icc is None
    assert result.notices == (
        "CMYK converted to RGB without a colour profile",
        "colour profile dropped: it is for RGB, the image is CMYK",
    )


def test_several_images() -> None:
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    image = read_image(buffer.getvalue())
    assert image.width == 16
    assert image.pixels[0, 0, 0] > 250
    assert image.notices == ("image 1 of 2 was read",)
    assert read_image(buffer.getvalue(), page=1).notices == ()
    other = read_image(buffer.getvalue(), page=2)
    assert other.width == 8
    assert other.pixels[0, 0, 2] > 250
    with pytest.raises(ImageError, match="has 2 images, there is no image 3"):
        read_image(buffer.getvalue(), page=3)
