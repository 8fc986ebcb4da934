from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.errors import ImageError, LimitError, SettingsError
from smartsplat.images.image import SourceImage, flatten, from_object, read_image, without_profile
from smartsplat.images.writing.writer import write
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata

LOSSLESS = ("png", "webp", "tif", "tiff", "bmp", "ppm")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape).astype(np.uint8)


def smooth(channels: int) -> np.ndarray:
    rows, columns = np.mgrid[:40, :56]
    planes = [rows * 3, columns * 4, rows + columns][:channels]
    return np.stack(planes, axis=2).astype(np.uint8)


def test_an_image_checks_its_pixels() -> None:
    result = SourceImage(noise(3, 5, 1))
    assert (result.width, result.height, result.channels) == (5, 3, 1)
    for bad in (
        noise(3, 5),
        noise(3, 5, 2),
        noise(3, 5, 3).astype(np.float32),
        noise(0, 5, 3),
        noise(3, 5, 3)[:, ::-1],
    ):
        with pytest.raises(ImageError, match="pixels must be"):
            SourceImage(bad)


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_from_arrays(kind: str) -> None:
    full = np.iinfo(kind).max
    samples = np.random.default_rng(7).integers(0, full + 1, (6, 5, 4)).astype(kind)
    rgb = samples[:, :, :3].copy()
    result = from_object(rgb)
    assert result.pixels is rgb
    assert (result.depth, result.notices) == (8 * samples.itemsize, ())
    for array in (rgb[:, :, 0], rgb[:, :, :1]):
        assert np.array_equal(from_object(array).pixels, rgb[:, :, :1])
    assert np.array_equal(from_object(rgb[:, ::-1]).pixels, rgb[:, ::-1])
    for count in (2, 4):
        given = from_object(samples[:, :, :count])
        assert np.array_equal(given.pixels, samples[:, :, : count - 1])
        assert np.array_equal(given.alpha, samples[:, :, count - 1])
    samples[:, :, 3] = full
    assert from_object(samples).alpha is None
    swapped = from_object(rgb.astype(f">{kind}"))
    assert swapped.pixels.dtype.isnative
    assert np.array_equal(swapped.pixels, rgb)


def test_from_arrays_of_other_types() -> None:
    bits = from_object(np.array([[True, False]]))
    assert bits.pixels[0, :, 0].tolist() == [255, 0]
    assert bits.depth == 1
    for kind in (np.float32, np.float64):
        result = from_object(np.array([[[0, 0.5], [1, 1]]], kind))
        assert result.pixels[0, :, 0].tolist() == [0, 65535]
        assert result.alpha is not None
        assert result.alpha.tolist() == [[32768, 65535]]
        assert result.notices == ("floating-point samples from 0 to 1 taken as 16 bits",)
        wide = from_object(np.array([[0, 255]], kind), float_range=(0, 255))
        assert wide.pixels[0, :, 0].tolist() == [0, 65535]
        with pytest.raises(ImageError, match="the array: floating-point samples from 0 to 255, expected 0 to 1"):
            from_object(np.array([[0, 255]], kind))
    for bad in ((1, 0), (0, 0), (0, float("nan")), (0, float("inf"))):
        with pytest.raises(SettingsError, match="the range of floats must be two numbers"):
            from_object(np.zeros((2, 2)), float_range=bad)


def test_arrays_that_are_no_images() -> None:
    for bad, given in (
        (noise(6, 5, 3).astype(np.int64), r"int64 \[6, 5, 3\]"),
        (noise(6, 5).astype(np.float16), r"float16 \[6, 5\]"),
        (noise(6, 5, 5), r"uint8 \[6, 5, 5\]"),
        (noise(6), r"uint8 \[6\]"),
        (noise(2, 6, 5, 3), r"uint8 \[2, 6, 5, 3\]"),
    ):
        with pytest.raises(ImageError, match=rf"the array must be bool, uint8, uint16, .*, not {given}"):
            from_object(bad)
    with pytest.raises(ImageError, match=r"the array: has no pixels \(5 x 0\)"):
        from_object(noise(0, 5, 3))


def test_from_everything_else(tmp_path: Path) -> None:
    pixels = noise(6, 5, 3)
    path = tmp_path / "a.png"
    write(path, pixels)
    result = read_image(path)
    assert from_object(result) is result
    with Image.open(path) as opened:
        for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), opened):
            assert np.array_equal(from_object(source).pixels, pixels)
        assert np.array_equal(np.asarray(opened), pixels)  # still usable
    image = Image.fromarray(pixels).quantize(8)
    assert np.array_equal(from_object(image).pixels, np.asarray(image.convert("RGB")))
    with pytest.raises(ImageError, match="a path, a binary stream or bytes are needed, not int"):
        from_object(3)


def test_limits_of_objects() -> None:
    pixels = noise(6, 5, 3)
    for source in (pixels, SourceImage(pixels), Image.fromarray(pixels)):
        assert from_object(source, limits=Limits(side=6, pixels=30)).height == 6
        for limits in (Limits(side=5), Limits(pixels=29)):
            with pytest.raises(LimitError):
                from_object(source, limits=limits)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("background", [(200, 100, 0), (40, 40, 40), (255, 255, 255)])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_flattened_on_a_background(kind: str, background: tuple[int, int, int], channels: int) -> None:
    full = np.iinfo(kind).max
    samples = np.random.default_rng(7).integers(0, full + 1, (11, 10, channels + 1)).astype(kind)
    metadata = Metadata(exif=b"x", density=(1, 2))
    image = SourceImage(samples[:, :, :-1].copy(), samples[:, :, -1].copy(), metadata=metadata, notices=("first",))
    flat = flatten(image, background)
    alpha = samples[:, :, -1:].astype(float) / full
    ground = np.array(background) * (full // 255)
    if channels == 1 and len(set(background)) == 1:
        ground = ground[:1]
    expected = samples[:, :, :-1] * alpha + ground * (1 - alpha)
    assert flat.pixels.shape == expected.shape
    assert flat.pixels.dtype == samples.dtype
    assert np.abs(flat.pixels - expected).max() <= 0.5 + 1e-6
    assert flat.alpha is None
    assert flat.metadata == metadata
    assert flat.notices == ("first", f"alpha flattened on background {','.join(map(str, background))}")


def test_flattening_what_is_opaque_or_profiled() -> None:
    opaque = SourceImage(smooth(3))
    assert flatten(opaque, (1, 2, 3)) is opaque
    grey = SourceImage(smooth(1), smooth(1)[:, :, 0].copy(), metadata=Metadata(icc=b"grey"))
    assert flatten(grey, (9, 9, 9)).icc == b"grey"
    colored = flatten(grey, (1, 2, 3))
    assert colored.icc is None
    assert colored.notices[0] == "colour profile dropped: it is for GRAY, the image is RGB"
    for bad in ((256, 0, 0), (-1, 0, 0)):
        with pytest.raises(SettingsError, match="three numbers from 0 to 255"):
            flatten(grey, bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_an_image_without_its_profile(kind: str) -> None:
    unit = 1 if kind == "u1" else 257
    pixels, alpha = smooth(3).astype(kind) * np.array(unit, kind), smooth(1)[:, :, 0].astype(kind)
    plain = SourceImage(pixels)
    assert without_profile(plain) is plain
    metadata = Metadata(icc=SRGB, exif=b"x")
    changed = without_profile(SourceImage(pixels, alpha, metadata=metadata, notices=("first",)))
    assert changed.metadata == Metadata(exif=b"x")
    assert changed.alpha is alpha
    assert changed.icc is None
    assert changed.notices == ("first", "converted to sRGB: the colour profile takes too much of the file")
    assert np.abs(changed.pixels.astype(int) - pixels).max() <= unit
    damaged = without_profile(SourceImage(pixels, metadata=Metadata(icc=b"damaged")))
    assert damaged.icc is None
    assert np.array_equal(damaged.pixels, pixels)
    assert "dropped" in damaged.notices[0]


def in_zarr(pixels: np.ndarray, path: Path) -> Any:
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(path, shape=pixels.shape, chunks=(32, 40, *pixels.shape[2:]), dtype=pixels.dtype)
    array[:] = pixels
    return array


def in_dask(pixels: np.ndarray, path: Path) -> Any:
    return pytest.importorskip("dask.array").from_array(pixels, chunks=48)


@pytest.mark.parametrize("make", [in_zarr, in_dask])
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_what_can_be_indexed_as_an_array(make: Any, channels: int, dtype: str, tmp_path: Path) -> None:
    """It is the same image as the array."""
    shape = (100, 90, channels) if channels else (100, 90)
    pixels = np.random.default_rng(0).random(shape)
    pixels = pixels if dtype == "float32" else pixels * {"bool": 2, "uint8": 256, "uint16": 65536}[dtype]
    expected = from_object(pixels.astype(dtype))
    found = from_object(make(pixels.astype(dtype), tmp_path / "a.zarr"))
    assert found.pixels.dtype == expected.pixels.dtype
    assert np.array_equal(found.pixels, expected.pixels)
    assert np.array_equal(found.alpha, expected.alpha)
    assert (found.depth, found.notices) == (expected.depth, expected.notices)


def test_an_array_is_read_by_chunks_of_rows() -> None:
    class Chunked:
        shape, dtype, chunks = (1000, 5000, 3), np.dtype(np.uint8), (300, 100, 3)
        asked: ClassVar[list[slice]] = []

        def __getitem__(self, key: slice) -> np.ndarray:
            self.asked.append(key)
            return np.zeros((key.stop - key.start, 5000, 3), np.uint8)

    assert from_object(Chunked()).pixels.shape == (1000, 5000, 3)
    assert [(key.start, key.stop) for key in Chunked.asked] == [(0, 300), (300, 600), (600, 900), (900, 1000)]


def test_an_array_that_cannot_be_read(tmp_path: Path) -> None:
    array = in_zarr(np.full((100, 90, 3), 7, np.uint8), tmp_path / "a.zarr")
    chunk = next(path for path in (tmp_path / "a.zarr" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(b"damaged")
    with pytest.raises(ImageError, match="the array: cannot be read: "):
        from_object(array)
    for other in (
        in_zarr(np.zeros((9, 9, 3), np.int32), tmp_path / "b"),
        in_dask(np.zeros((9, 9, 5), np.uint8), tmp_path),
    ):
        with pytest.raises(ImageError, match="the array must be bool, uint8, "):
            from_object(other)
