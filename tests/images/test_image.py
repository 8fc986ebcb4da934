from __future__ import annotations

import io
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import WRITABLE, SourceImage, from_object, read, without_profile, write
from smartsplat.images.strips import Strips
from smartsplat.limits import Limits
from tests.samples import cut

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


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (1, 17, 3), (17, 1, 1), (41, 341, 3), (41, 341, 1)])
def test_lossless_formats_return_the_pixels(suffix: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels, path = noise(*shape), tmp_path / f"a.{suffix}"
    write(path, pixels)
    result = read(path)
    expected = pixels if suffix != "webp" else np.broadcast_to(pixels, (*shape[:2], 3))  # WebP has no grey
    assert np.array_equal(result.pixels, expected)
    assert result.notices == ()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "avif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_return_nearly_the_pixels(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels, path = smooth(channels), tmp_path / f"a.{suffix.upper()}"
    write(str(path), pixels)
    result = read(path)
    assert result.pixels.shape[:2] == pixels.shape[:2]
    assert result.channels == channels or suffix == "avif"  # old versions of Pillow read grey AVIF as RGB
    assert np.abs(result.pixels.astype(int) - pixels).max() <= 8


def test_colour_is_not_subsampled(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, ::2] = 255, 0, 0
    for suffix in ("jpg", "avif"):
        write(tmp_path / f"a.{suffix}", pixels)
        assert np.abs(read(tmp_path / f"a.{suffix}").pixels.astype(int) - pixels).max() < 60


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_profile_round_trip(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / f"a.{suffix}", smooth(3), icc=SRGB)
    assert read(tmp_path / f"a.{suffix}").icc == SRGB
    write(tmp_path / f"a.{suffix}", smooth(3))
    assert read(tmp_path / f"a.{suffix}").icc is None


def test_save_options_override_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write(path, noise(64, 64, 3))
    usual = path.stat().st_size
    write(path, noise(64, 64, 3), quality=20)
    assert path.stat().st_size < usual / 2
    with pytest.raises(ImageError, match=f"{path}: cannot be written: .*quality"):
        write(path, noise(64, 64, 3), quality="splendid")


def test_streams_and_an_explicit_format(tmp_path: Path) -> None:
    pixels = noise(9, 8, 3)
    for format in ("png", "PNG", ".tif", "bmp"):
        stream = io.BytesIO()
        write(stream, pixels, format=format)
        assert not stream.closed
        assert np.array_equal(read(stream).pixels, pixels)
    write(tmp_path / "a.data", pixels, format="png")
    assert (tmp_path / "a.data").read_bytes()[:4] == b"\x89PNG"

    class Socket(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    for format in WRITABLE:
        socket = Socket()
        write(socket, smooth(3), format=format)
        assert read(socket.getvalue()).width == 56, format


def test_views_are_written(tmp_path: Path) -> None:
    pixels = noise(9, 8, 3)
    for view in (pixels[::-1, ::2], pixels.swapaxes(0, 1), pixels[:, :, 1:2]):
        write(tmp_path / "a.png", view)
        assert np.array_equal(read(tmp_path / "a.png").pixels, view)


def test_formats_that_cannot_be_written(tmp_path: Path) -> None:
    known = "known are png, jpg, jpeg, webp, tif, tiff, avif, bmp, ppm"
    for destination, options, problem in (
        (tmp_path / "a.xcf", {}, ".xcf is not an image format"),
        (tmp_path / "a", {}, "no image format is given"),
        (tmp_path / "a.png", {"format": "gif"}, "gif is not an image format"),
        (io.BytesIO(), {}, "no image format is given"),
    ):
        with pytest.raises(ImageError) as caught:
            write(destination, smooth(3), **options)
        assert str(caught.value).endswith(f": {problem}; {known}")
    assert os.listdir(tmp_path) == []


def test_pixels_that_cannot_be_written(tmp_path: Path) -> None:
    for bad in (noise(4, 4), noise(4, 4, 4), noise(0, 4, 3), noise(4, 4, 3).astype(float)):
        with pytest.raises(ImageError, match=r"a\.png: cannot be written: pixels must be uint8"):
            write(tmp_path / "a.png", bad)
    for suffix, side in (("webp", 16384), ("jpg", 65501), ("avif", 65537)):
        with pytest.raises(ImageError, match=f"ends at {side - 1} pixels a side, the image has {side} x 1"):
            write(tmp_path / f"a.{suffix}", noise(1, side, 1))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("suffix", "side"), [("webp", 16383), ("jpg", 65500)])
def test_largest_side(suffix: str, side: int, tmp_path: Path) -> None:
    write(tmp_path / f"a.{suffix}", noise(1, side, 1))
    assert read(tmp_path / f"a.{suffix}").width == side


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", WRITABLE)
def test_strips_become_the_same_image(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels = np.tile(smooth(channels), (4, 2, 1))
    write(tmp_path / f"whole.{suffix}", pixels, icc=SRGB)
    write(tmp_path / f"strips.{suffix}", cut(pixels), icc=SRGB, threads=2)
    whole, strips = (read(tmp_path / f"{name}.{suffix}") for name in ("whole", "strips"))
    assert np.array_equal(whole.pixels, strips.pixels)
    assert whole.icc == strips.icc


def test_strips_in_streams(tmp_path: Path) -> None:
    pixels = noise(70, 8, 3)
    behind = io.BytesIO(b"prefix")
    behind.seek(6)
    write(behind, cut(pixels), format="png")
    assert np.array_equal(read(behind.getvalue()[6:]).pixels, pixels)
    os.mkfifo(tmp_path / "a.tif")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "a.tif").read_bytes()))
    reader.start()
    write(tmp_path / "a.tif", cut(pixels))
    reader.join()
    assert np.array_equal(read(received[0]).pixels, pixels)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("existing", [None, b"older"])
def test_a_strip_that_fails_leaves_everything_as_it_was(suffix: str, existing: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    if existing is not None:
        path.write_bytes(existing)

    def parts(error: BaseException) -> Iterator[Any]:
        yield noise(64, 9, 3)
        raise error

    with pytest.raises(ImageError, match=rf"a\.{suffix}: cannot be written: not enough memory"):
        write(path, Strips((128, 9, 3), parts(MemoryError())))
    with pytest.raises(KeyboardInterrupt):
        write(path, Strips((128, 9, 3), parts(KeyboardInterrupt())))
    assert os.listdir(tmp_path) == ([] if existing is None else [path.name])
    assert existing is None or path.read_bytes() == existing


def test_strips_that_do_not_fit_a_format(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="JPEG ends at 65500 pixels a side"):
        write(tmp_path / "a.jpg", Strips((1, 65501, 3), []))
    with pytest.raises(ImageError, match=r"a\.tif: cannot be written: TIFF ends at"):
        write(tmp_path / "a.tif", Strips((1 << 16, 1 << 16, 3), []))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "in_strips"), [*((suffix, False) for suffix in WRITABLE), ("png", True), ("tif", True)]
)
def test_no_room_for_the_last_byte(suffix: str, in_strips: bool, tmp_path: Path) -> None:
    """The system accepts a part of the last write, so whoever does not look at the count sees no error."""
    path, pixels = tmp_path / f"a.{suffix}", noise(70, 90, 3)
    write(path, cut(pixels) if in_strips else pixels)
    complete = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(complete) - 1, hard))
    try:
        with pytest.raises(ImageError, match="cannot be written: File too large"):
            write(path, cut(pixels) if in_strips else pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == complete
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_full_device() -> None:
    with pytest.raises(ImageError, match="/dev/full: cannot be written: No space left on device"):
        write("/dev/full", smooth(3), format="png")


def test_impossible_destinations(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path, problem in (
        (tmp_path / "file" / "a.png", "Not a directory"),
        (tmp_path / "missing" / "a.png", "No such file or directory"),
        (tmp_path / f"{'n' * 300}.png", "File name too long"),
    ):
        with pytest.raises(ImageError) as caught:
            write(path, smooth(3))
        assert str(caught.value) == f"{path}: cannot be written: {problem}"
    assert os.listdir(tmp_path) == ["file"]


def test_ctrl_c_while_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_self: Image.Image, file: Any, _format: str, **_options: Any) -> None:
        file.write(b"\x89PNG")
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.png", smooth(3))
    assert os.listdir(tmp_path) == []


def test_from_arrays() -> None:
    rgb = noise(6, 5, 3)
    assert from_object(rgb).pixels is rgb
    assert np.array_equal(from_object(rgb[:, :, 0]).pixels, rgb[:, :, :1])
    assert np.array_equal(from_object(rgb[:, ::-1]).pixels, rgb[:, ::-1])
    rgba = noise(6, 5, 4)
    flat = from_object(rgba, background=(9, 8, 7))
    assert np.array_equal(flat.pixels, from_object(Image.fromarray(rgba), background=(9, 8, 7)).pixels)
    assert flat.notices == ("alpha flattened on background 9,8,7",)
    rgba[:, :, 3] = 255
    assert np.array_equal(from_object(rgba).pixels, rgba[:, :, :3])
    assert from_object(rgba).notices == ()


def test_arrays_that_are_no_images() -> None:
    for bad, given in (
        (noise(6, 5, 3).astype(np.float32), r"float32 \[6, 5, 3\]"),
        (noise(6, 5).astype(np.uint16), r"uint16 \[6, 5\]"),
        (noise(6, 5, 2), r"uint8 \[6, 5, 2\]"),
        (noise(6), r"uint8 \[6\]"),
        (noise(2, 6, 5, 3), r"uint8 \[2, 6, 5, 3\]"),
    ):
        with pytest.raises(ImageError, match=rf"the array must be uint8 .*, not {given}"):
            from_object(bad)
    with pytest.raises(ImageError, match=r"the array: has no pixels \(5 x 0\)"):
        from_object(noise(0, 5, 3))


def test_from_everything_else(tmp_path: Path) -> None:
    pixels = noise(6, 5, 3)
    path = tmp_path / "a.png"
    write(path, pixels)
    result = read(path)
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


def test_an_image_without_its_profile() -> None:
    plain = SourceImage(smooth(3))
    assert without_profile(plain) is plain
    changed = without_profile(SourceImage(smooth(3), SRGB, ("first",)))
    assert changed.icc is None
    assert changed.notices == ("first", "converted to sRGB: the colour profile takes too much of the file")
    assert np.abs(changed.pixels.astype(int) - smooth(3)).max() <= 1
    damaged = without_profile(SourceImage(smooth(3), b"damaged"))
    assert damaged.icc is None
    assert np.array_equal(damaged.pixels, smooth(3))
    assert "dropped" in damaged.notices[0]
