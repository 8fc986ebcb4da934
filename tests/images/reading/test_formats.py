from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from smartsplat.errors import ImageError
from smartsplat.images.image import read_image
from smartsplat.images.reading.exif import orientation_of
from tests.samples import landscape


def saved(array: np.ndarray, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format, **options)
    return buffer.getvalue()


def message(data: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data)
    return str(caught.value)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "PPM", "QOI", "JPEG2000"])
def test_formats_without_loss(format: str) -> None:
    array = landscape(37, 29)
    result = read_image(saved(array, format))
    assert np.array_equal(result.pixels, array)
    assert (result.depth, result.alpha, result.notices) == (8, None, ())


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "QOI", "TGA", "JPEG2000"])
def test_formats_with_alpha(format: str, tmp_path: Path) -> None:
    array = np.dstack([landscape(37, 29), landscape(37, 29, 1, seed=1)])
    path = tmp_path / "a.tga"
    path.write_bytes(saved(array, format, **({"lossless": True, "exact": True} if format == "WEBP" else {})))
    result = read_image(path)
    assert np.array_equal(result.pixels, array[:, :, :3])
    assert np.array_equal(result.alpha, array[:, :, 3])


def test_tga_has_no_mark_but_its_end_or_its_name(tmp_path: Path) -> None:
    data = saved(landscape(37, 29), "TGA")
    assert data.endswith(b"TRUEVISION-XFILE.\0")
    assert np.array_equal(read_image(data).pixels, landscape(37, 29))
    old = data[:-26]
    assert "is not an image in a known format" in message(old)
    path = tmp_path / "a.TGA"
    path.write_bytes(old)
    assert np.array_equal(read_image(path).pixels, landscape(37, 29))


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("samples", [3, 4])
def test_avif_keeps_its_bits(bits: int, samples: int) -> None:
    unit = np.linspace(0, 1, 48 * 64 * samples).reshape(48, 64, samples)
    values = np.rint(unit * ((1 << bits) - 1)).astype(np.uint16)
    image = pyvips.Image.new_from_array(values << np.uint16(16 - bits)).copy(interpretation="rgb16")
    data = bytes(image.heifsave_buffer(lossless=True, bitdepth=bits, compression="av1"))
    result = read_image(data)
    full = 255 if bits == 8 else 65535
    expected = np.floor(values.astype(float) * full / ((1 << bits) - 1) + 0.5)
    assert np.array_equal(result.pixels, expected[:, :, :3])
    assert samples == 3 or np.array_equal(result.alpha, expected[:, :, 3])
    assert (result.depth, result.notices) == (bits, ())


def test_avif_that_is_turned() -> None:
    """By its own properties, that Pillow reports as EXIF."""
    exif = Image.Exif()
    exif[274] = 6
    array = landscape(64, 48)
    data = saved(array, "AVIF", exif=exif, quality=100, subsampling="4:4:4")
    assert b"irot" in data
    result = read_image(data)
    assert np.abs(result.pixels.astype(int) - np.rot90(array, -1)).max() < 12
    assert orientation_of(result.metadata.exif) == 1


def test_code_points_of_avif() -> None:
    data = saved(landscape(64, 48), "AVIF")
    place = data.index(b"nclx") + 4
    for primaries, transfer, expected in ((9, 16, (9, 16)), (2, 2, (1, 13)), (12, 13, (12, 13))):
        changed = data[:place] + bytes([0, primaries, 0, transfer]) + data[place + 4 :]
        metadata = read_image(changed).metadata
        assert (metadata.primaries, metadata.transfer) == expected


def test_nothing_is_left_of_some() -> None:
    data = saved(landscape(64, 48), "QOI")
    with pytest.raises(ImageError, match="is damaged, nothing of it can be read"):
        read_image(data[: len(data) // 2], accept_damaged=True)


def test_streams_that_are_no_images() -> None:
    assert message(b"") == "<bytes>: is empty"
    for data in (b"x", b"GIF", b"\0" * 100, b"this is text", b"RIFF\0\0\0\0WAVE" + bytes(90), b"ftyp" * 9):
        assert "is not an image in a known format (PNG, JPEG, " in message(data)
