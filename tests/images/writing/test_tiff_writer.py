from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from smartsplat.images.image import read_image
from smartsplat.images.strips import Strips
from smartsplat.images.writing import tiff_writer
from smartsplat.images.writing.tiff_writer import write_tiff
from smartsplat.metadata import NO_METADATA, Metadata
from tests.samples import cut, exif_data, landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP, IPTC = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", b"\x1c\x02\x78\x00\x05hello"


def written(pixels: np.ndarray, metadata: Metadata = NO_METADATA) -> bytes:
    file = io.BytesIO()
    write_tiff(file, cut(pixels), metadata)
    return file.getvalue()


def tags(data: bytes) -> dict[int, Any]:
    with Image.open(io.BytesIO(data)) as image:
        return dict(image.tag_v2)  # type: ignore[attr-defined]


def noise(channels: int, dtype: type[np.unsignedinteger] = np.uint16) -> np.ndarray:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (70, 9, channels), dtype)


def test_layout_of_samples() -> None:
    found = tags(written(noise(4, np.uint8)))
    assert (found[256], found[257], found[258], found[277]) == (9, 70, (8, 8, 8, 8), 4)
    assert found[338] == (2,), "alpha that colours are not multiplied with"
    assert 338 not in tags(written(noise(3, np.uint8)))
    assert tags(written(noise(1)))[258] == (16,)
    assert tags(written(noise(1)))[262] == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_behind_exif_data_of_either_byte_order(order: str, channels: int) -> None:
    pixels = noise(channels)
    data = written(pixels, Metadata(exif=exif_data(order), iptc=IPTC, xmp=XMP, density=(1000, 2000)))
    image = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
    assert np.array_equal(image.numpy().reshape(pixels.shape), pixels)
    assert bytes(image.get("xmp-data")) == XMP
    assert bytes(image.get("iptc-data"))[: len(IPTC)] == IPTC
    assert (image.xres, image.yres) == pytest.approx((1, 2))  # pixels per millimetre


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_data_stay_as_they_are(order: str) -> None:
    """Every pointer in them, also that of the camera's own note, is still right."""
    exif = exif_data(order)
    data = written(landscape(9, 70), Metadata(icc=SRGB, exif=exif))
    assert data[8 : len(exif)] == exif[8:]
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), landscape(9, 70))
        found = image.getexif()
        assert found[271] == "Maker of cameras"
        note = found.get_ifd(34665)[37500]
        (place,) = struct.unpack("<I", note[-4:])
        assert data[place : place + 16] == note
        assert image.info["icc_profile"] == SRGB
        assert 274 not in found, "the image is upright"


def test_how_samples_were_stored_elsewhere_is_not_taken_over() -> None:
    exif = exif_data()
    thumbnail = struct.pack("<HHII", 259, 3, 1, 6)  # compression: JPEG of old
    data = written(landscape(9, 70), Metadata(exif=exif.replace(struct.pack("<HHIHH", 274, 3, 1, 1, 0), thumbnail)))
    assert tags(data)[259] == 8


def test_pointers_to_nowhere_are_not_taken_over() -> None:
    exif = exif_data()
    for place in (len(exif) - 1, 0xFFFFFFFF):
        pointer = struct.pack("<HHI", 34665, 4, 1)
        start = exif.index(pointer)
        damaged = exif[: start + 8] + struct.pack("<I", place) + exif[start + 12 :]
        found = tags(written(landscape(9, 70), Metadata(exif=damaged)))
        assert 34665 not in found
        assert found[271] == "Maker of cameras"


def test_damaged_exif_data_are_refused() -> None:
    with pytest.raises(ValueError, match="TIFF structure"):
        written(landscape(9, 70), Metadata(exif=b"damaged"))


@pytest.mark.parametrize(
    ("density", "unit", "expected"),
    [
        ((2835, 11811), 2, (72, 300)),
        ((1000, 2000), 3, (10, 20)),
        ((2834, 2835), 3, (28.34, 28.35)),
        ((1, 1), 3, (0.01, 0.01)),
    ],
)
def test_density_in_inches_where_it_is_whole(
    density: tuple[int, int], unit: int, expected: tuple[float, float]
) -> None:
    found = tags(written(landscape(9, 70), Metadata(density=density)))
    assert found[296] == unit
    assert (float(found[282]), float(found[283])) == pytest.approx(expected)


def test_density_of_the_exif_data_is_replaced() -> None:
    exif = exif_data().replace(struct.pack("<HHIHH", 274, 3, 1, 1, 0), struct.pack("<HHIHH", 296, 3, 1, 3, 0))
    assert tags(written(landscape(9, 70), Metadata(exif=exif)))[296] == 3
    assert tags(written(landscape(9, 70), Metadata(exif=exif, density=(2835, 2835))))[296] == 2


def test_what_needs_longer_numbers_becomes_a_big_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiff_writer.is_big(Strips((1 << 16, 1 << 16, 3), []), NO_METADATA, False)
    assert tiff_writer.is_big(Strips((1 << 15, 1 << 14, 4), [], np.uint16), NO_METADATA, False)
    assert not tiff_writer.is_big(Strips((1 << 15, 1 << 15, 3), []), NO_METADATA, False)
    assert tiff_writer.is_big(Strips((36000, 36000, 3), []), NO_METADATA, True), "with smaller images behind it"
    monkeypatch.setattr(tiff_writer, "MAX_CLASSIC_BYTES", 3 * 9 * 70)
    assert written(landscape(9, 70))[2] == 42
    assert written(landscape(9, 70), Metadata(xmp=b"x"))[2] == 43


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint16), (2, np.uint8), (3, np.uint8), (4, np.uint16)])
def test_a_big_one(order: str, channels: int, dtype: type[np.unsignedinteger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_writer, "MAX_CLASSIC_BYTES", 0)
    pixels = np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (600, 300, channels), dtype)
    exif = exif_data(order)
    data = written(pixels, Metadata(exif=exif, icc=SRGB if channels > 2 else None, xmp=XMP, density=(1000, 2000)))
    image = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
    assert np.array_equal(image.numpy().reshape(pixels.shape), pixels)
    assert bytes(image.get("xmp-data")) == XMP
    assert (image.xres, image.yres) == pytest.approx((1, 2))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        assert file.is_bigtiff
        assert (page.tilewidth, page.tilelength) == (256, 256)
        assert np.array_equal(page.asarray().reshape(pixels.shape), pixels)
        assert page.tags[271].value == "Maker of cameras"
        note = page.tags[34665].value["MakerNote"]
        (place,) = struct.unpack("<I", note[-4:])
        assert data[place : place + 16] == note, "what it points to is where it was"
    metadata = read_image(data).metadata
    assert metadata.exif is not None
    assert b"Maker of cameras" in metadata.exif


def test_exif_data_that_a_longer_header_would_hide() -> None:
    assert tiff_writer.fits_big(exif_data())
    entry = struct.pack("<HHII", 271, 2, 8, 8)
    assert not tiff_writer.fits_big(b"II*\0" + struct.pack("<I", 16) + b"Camera\0\0" + b"\1\0" + entry + bytes(4))


@pytest.mark.parametrize("big", [False, True])
def test_a_pyramid(big: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if big:
        monkeypatch.setattr(tiff_writer, "MAX_CLASSIC_BYTES", 0)
    pixels = np.random.default_rng(5).integers(0, 255, (700, 601, 3), np.uint8)
    levels = [pixels[::step, ::step] for step in (1, 2, 4)]
    file = io.BytesIO()
    write_tiff(file, cut(pixels), Metadata(exif=exif_data()), 2, (cut(level) for level in levels[1:]))
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as found:
        assert found.is_bigtiff == big
        assert [bool(page.is_reduced) for page in found.pages] == [False, True, True]
        assert all(page.is_tiled for page in found.pages)
        for page, level in zip(found.pages, levels, strict=True):
            assert np.array_equal(page.asarray(), level)
    for number, level in enumerate(levels):
        assert np.array_equal(read_image(file.getvalue(), page=number + 1).pixels, level)
    image = read_image(file.getvalue())
    assert np.array_equal(image.pixels, pixels)
    assert image.notices == ("page 1 of 3 was read, the others are thumbnails or masks",)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 1), (257, 3, 4), (256, 256, 3)], ids=str)
def test_tiles_of_odd_shapes(shape: tuple[int, int, int]) -> None:
    pixels, file = np.random.default_rng(5).integers(0, 255, shape, np.uint8), io.BytesIO()
    write_tiff(file, cut(pixels), smaller=())
    assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())).reshape(shape), pixels)
