from __future__ import annotations

import io
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

import smartsplat
import smartsplat.pillow
from smartsplat import metrics
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ratio": 40, "bpp": 1}, "exclude"),
        ({"quality": 80, "optimize": True}, "^optimize, quality: no options of the format"),
        ({"effort": 11}, "effort"),
    ],
)
def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    for name in ("a.sspl", "a.SSPL", "a.bin"):
        path = tmp_path / name
        path.write_bytes(b"older")
        for given in (path, str(path), os.fsencode(path)):
            with pytest.raises(SettingsError, match=says):
                Image.fromarray(IMAGE).save(given, "sspl" if name == "a.bin" else None, **options)
            assert path.read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    path.write_bytes(b"older")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            Image.fromarray(IMAGE).save(path, ratio=20, steps=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_saved_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    path.write_bytes(data())
    with Image.open(path) as image:
        image.save(path, gaussians=12, steps=2)
    assert smartsplat.open(path).info.gaussians == 12


def test_nowhere_to_write_is_said_before_the_fit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Image.fromarray(IMAGE).save(tmp_path / "missing" / "a.sspl", steps=1 << 40)


def test_text_streams(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="text"):
        Image.fromarray(IMAGE).save(io.StringIO(), "SSPL", steps=1 << 40)
    with (tmp_path / "a.sspl").open("w") as file, pytest.raises(SettingsError, match="text"):
        Image.fromarray(IMAGE).save(file, steps=1 << 40)


def test_a_thumbnail_is_rendered_small() -> None:
    file = data(landscape(640, 400))
    image = Image.open(io.BytesIO(file))
    image.thumbnail((80, 80))  # by way of an image of twice its size, as Pillow's own formats
    assert image.size == (80, 50)
    exact = Image.fromarray(smartsplat.decode(file)).resize((80, 50), Image.Resampling.BICUBIC)
    assert metrics.psnr(np.asarray(image), np.asarray(exact)) > 35
    image = Image.open(io.BytesIO(file))
    assert image.draft("L", (100, 100)) == ("RGB", (0, 0, 160.0, 100.0))
    assert np.array_equal(np.asarray(image), smartsplat.decode(file, size=(160, 100), preview=True))
    assert image.draft("RGB", (10, 10)) is None, "its pixels are there"
    image = Image.open(io.BytesIO(file))
    for size in ((640, 1), (1000, 1000), (0, 0), None):
        assert image.draft(None, size) is None
    assert np.array_equal(np.asarray(image), smartsplat.decode(file))


def test_other_formats_are_saved_as_ever(tmp_path: Path) -> None:
    image = Image.fromarray(IMAGE)
    image.save(tmp_path / "a.png", compress_level=1)
    image.save(tmp_path / "b.dat", format="png", compress_level=1)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.dat").read_bytes() == buffer.getvalue()
    with pytest.raises(ValueError, match="unknown file extension"):
        image.save(tmp_path / "a.nonsense")


def test_a_truncated_file_where_pillow_may_load_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = smartsplat.encode(landscape(400, 400), gaussians=9000, steps=1, effort=1, threads=1)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(whole[:-1])) as image:
        assert np.array_equal(np.asarray(image), smartsplat.decode(whole[:-1], partial=True))


@pytest.mark.parametrize(
    ("mode", "opened"),
    [
        ("L", "L"),
        ("LA", "LA"),
        ("RGB", "RGB"),
        ("RGBA", "RGBA"),
        ("1", "L"),
        ("P", "RGB"),
        ("CMYK", "RGB"),
        ("I;16", "I;16"),
    ],
)
@pytest.mark.filterwarnings("ignore:CMYK converted")
def test_save_takes_any_mode(mode: str, opened: str) -> None:
    image = Image.fromarray(IMAGE).convert("L" if mode in ("LA", "I;16") else "RGB")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image = image.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(90)
    buffer = io.BytesIO()
    image.save(buffer, "SSPL", max_bytes=1500, steps=30)
    with Image.open(buffer) as again:
        assert (again.size, again.mode) == ((96, 64), opened)
        pixels = np.asarray(again)
    assert np.array_equal(pixels, smartsplat.decode(buffer.getvalue()).reshape(pixels.shape))


def test_deep_colors_are_opened_with_8_bits() -> None:
    encoded = smartsplat.encode(IMAGE.astype(np.uint16) * 257, gaussians=30, steps=2, threads=1)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), smartsplat.decode(encoded, dtype=np.uint8))


def test_metadata_go_both_ways() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    options: dict[str, Any] = {"exif": exif, "xmp": b"<x:xmpmeta/>", "dpi": (300, 72)}
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, "SSPL", gaussians=20, steps=2, **options)
    with Image.open(buffer) as again:
        assert again.getexif()[0x010E] == "a description"
        assert again.info["xmp"] == options["xmp"]
        assert again.info["dpi"] == pytest.approx(options["dpi"], abs=0.02)
        stripped = io.BytesIO()
        again.save(stripped, "SSPL", gaussians=20, steps=2, strip=True)
    assert smartsplat.open(stripped.getvalue()).metadata.exif is None


def test_the_profile_can_be_an_option() -> None:
    image, buffer = Image.fromarray(IMAGE), io.BytesIO()
    image.save(buffer, "SSPL", gaussians=20, steps=2, icc_profile=SRGB)
    assert smartsplat.open(buffer.getvalue()).icc == SRGB
    assert "icc_profile" not in image.info


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
