"""PNG, chunk by chunk, as the specification has it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from smartsplat.images.writing.png_writer import write_png
from smartsplat.metadata import NO_METADATA, Metadata
from tests.samples import cut, exif_data, gamma_profile, landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>\xc3\xa4</x:xmpmeta>"


def written(pixels: np.ndarray, metadata: Metadata = NO_METADATA) -> bytes:
    file = io.BytesIO()
    write_png(file, cut(pixels), metadata)
    return file.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and content of every chunk, whose lengths and checksums are right."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", data, place + 8 + size) == (zlib.crc32(kind + content),)
        found.append((kind, content))
        place += 12 + size
    assert [kind for kind, _ in found][0::999] == [b"IHDR"]
    assert found[-1] == (b"IEND", b"")
    return found


def ancillary(metadata: Metadata) -> dict[bytes, bytes]:
    """The chunks between the header and the pixels, which are all that are not needed to see them."""
    found = chunks(written(landscape(9, 70), metadata))
    first = [kind for kind, _ in found].index(b"IDAT")
    assert {kind for kind, _ in found[first:]} == {b"IDAT", b"IEND"}
    kinds = [kind for kind, _ in found[1:first]]
    assert len(kinds) == len(set(kinds))
    return dict(found[1:first])


@pytest.mark.parametrize(("channels", "color_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_header_and_filtered_rows(channels: int, color_type: int, dtype: type[np.unsignedinteger], bits: int) -> None:
    """The first row is filtered by its left neighbours: of whole pixels, and the upper byte of a sample comes first."""
    pixels = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, (70, 9, channels), dtype)
    found = chunks(written(pixels))
    assert found[0][1] == struct.pack(">IIBBBBB", 9, 70, bits, color_type, 0, 0, 0)
    rows = zlib.decompress(b"".join(content for kind, content in found if kind == b"IDAT"))
    step = channels * bits // 8
    assert len(rows) == 70 * (1 + 9 * step)
    assert rows[0] == 1
    assert {rows[row * (1 + 9 * step)] for row in range(1, 64)} == {4}
    plain = pixels[0].astype(">u2").tobytes() if bits == 16 else pixels[0].tobytes()
    assert rows[1 : 1 + step] == plain[:step]
    assert rows[1 + step] == (plain[step] - plain[0]) % 256


def test_an_image_without_metadata_has_only_pixels() -> None:
    assert ancillary(NO_METADATA) == {}


def test_profiles_are_compressed() -> None:
    found = ancillary(Metadata(icc=SRGB, primaries=9, transfer=16))
    assert list(found) == [b"iCCP"], "a profile outranks the code points"
    name, packed = found[b"iCCP"].split(b"\0\0", 1)
    assert 1 <= len(name) <= 79
    assert zlib.decompress(packed) == SRGB


@pytest.mark.parametrize("points", [(9, 16), (9, 18), (12, 13), (1, 8)])
def test_code_points_of_other_colours(points: tuple[int, int]) -> None:
    primaries, transfer = points
    assert ancillary(Metadata(primaries=primaries, transfer=transfer)) == {b"cICP": bytes([*points, 0, 1])}


def test_metadata() -> None:
    found = ancillary(Metadata(exif=exif_data(), xmp=XMP, iptc=b"\x1c\x02\x78\0\1x", density=(2835, 11811)))
    assert found == {
        b"pHYs": struct.pack(">IIB", 2835, 11811, 1),
        b"eXIf": exif_data(),
        b"iTXt": b"XML:com.adobe.xmp" + bytes(5) + XMP,
    }


def test_pillow_finds_the_metadata() -> None:
    metadata = Metadata(icc=SRGB, exif=exif_data(), xmp=XMP, density=(2835, 2835))
    with Image.open(io.BytesIO(written(landscape(9, 70), metadata))) as image:
        image.load()
        assert image.info["icc_profile"] == SRGB
        assert image.info["exif"].endswith(exif_data())
        assert image.info["xmp"] == XMP
        assert image.info["dpi"] == pytest.approx((72.009, 72.009))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_libvips_finds_the_metadata_without_a_warning(channels: int) -> None:
    icc = SRGB if channels > 2 else gamma_profile(2.2)
    pixels = np.random.default_rng(0).integers(0, 65536, (70, 9, channels), np.uint16)
    data = written(pixels, Metadata(icc=icc, exif=exif_data(">"), xmp=XMP, density=(1000, 2000)))
    image = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
    assert np.array_equal(image.numpy().reshape(pixels.shape), pixels)
    assert bytes(image.get("icc-profile-data")) == icc
    assert bytes(image.get("xmp-data")) == XMP
    assert image.get("exif-ifd0-Make").startswith("Maker of cameras")
    assert (image.xres, image.yres) == (1, 2)  # pixels per millimetre
