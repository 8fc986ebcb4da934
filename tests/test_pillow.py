from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

import smartsplat
import smartsplat.pillow
from smartsplat.bitstream.container import SIGNATURE
from smartsplat.errors import SettingsError
from tests.samples import landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IMAGE = landscape(96, 64)


def data(pixels: np.ndarray = IMAGE) -> bytes:
    return smartsplat.encode(pixels, ratio=40, steps=20, threads=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_open_sees_what_decode_sees(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    path.write_bytes(data(IMAGE[..., :channels]))
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("SSPL", (96, 64), {1: "L", 3: "RGB"}[channels])
        assert np.array_equal(np.asarray(image).reshape(64, 96, channels), smartsplat.decode(path))
        assert image.convert("L").size == (96, 64)


def test_the_file_is_closed_once_the_pixels_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    path.write_bytes(data())
    image = Image.open(path)  # as elsewhere in Pillow: load closes the file, and warnings are errors here
    image.load()
    del image


def test_a_file_of_the_caller_stays_open() -> None:
    with io.BytesIO(data()) as file:
        Image.open(file).load()
        assert not file.closed


def test_open_twice_and_copy() -> None:
    image = Image.open(io.BytesIO(data()))
    copied = image.copy()
    assert np.array_equal(np.asarray(copied), np.asarray(image))
    assert image.crop((0, 0, 5, 5)).size == (5, 5)
    image.load()
    image.thumbnail((10, 10))
    assert image.width == 10


def test_save_takes_the_options_of_encode(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    image = Image.fromarray(IMAGE)
    image.save(path, ratio=40, steps=20, threads=1)
    assert path.read_bytes() == data()
    image.save(path, gaussians=33, effort=1, seed=4, steps=3)
    assert smartsplat.open(path).info.gaussians == 33
    image.save(path, max_bytes=400, preset="paper", steps=3)
    assert path.stat().st_size <= 400
    buffer = io.BytesIO()
    image.save(buffer, "SSPL", bpp=0.5, steps=3)
    assert len(buffer.getvalue()) <= 384


def test_bad_options_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Image.fromarray(IMAGE).save(tmp_path / "a.sspl", ratio=40, bpp=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA"])
def test_save_takes_any_mode(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).convert("L" if mode == "LA" else "RGB").convert(mode).save(buffer, "SSPL", steps=3)
    with Image.open(buffer) as again:
        assert again.size == (96, 64)
        assert again.mode == ("L" if mode in ("L", "1", "LA") else "RGB")


def test_the_profile_goes_both_ways() -> None:
    image = Image.fromarray(IMAGE)
    image.info["icc_profile"] = SRGB
    buffer = io.BytesIO()
    image.save(buffer, "SSPL", gaussians=20, steps=2)
    with Image.open(buffer) as again:
        assert again.info["icc_profile"] == SRGB


@pytest.mark.parametrize("size", [0, 5, 8, 20, 40, 100, -1])
def test_truncated_files_are_not_images(size: int) -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data()[:size]))


def test_damaged_files_are_not_images(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    for place in (9, 15, 30, 70, -5):
        damaged = bytearray(data())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UnidentifiedImageError):
            Image.open(path)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(SIGNATURE + bytes(100)))


def test_registration() -> None:
    extensions = Image.registered_extensions()
    assert extensions[".sspl"] == "SSPL"
    assert Image.MIME["SSPL"] == "image/x-sspl"
