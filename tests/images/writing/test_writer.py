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
import pyvips
from PIL import Image, ImageCms

from smartsplat.arrays import SampleArray
from smartsplat.errors import DeviceError, FormatError, ImageError, LimitError
from smartsplat.images.strips import Strips
from smartsplat.images.writing.writer import WRITABLE, write
from smartsplat.metadata import Metadata
from tests.samples import cut, exif_data, gamma_profile

LOSSLESS = ("png", "webp", "tif", "tiff", "bmp", "ppm")
WITH_ALPHA = ("png", "webp", "tif", "tiff", "avif")
DEEP = ("png", "tif", "tiff", "ppm")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP, IPTC = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", b"\x1c\x02\x78\x00\x05hello"


def noise(*shape: int, dtype: type[np.unsignedinteger] = np.uint8) -> SampleArray:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(channels: int) -> np.ndarray:
    rows, columns = np.mgrid[:40, :56]
    planes = [rows * 3, columns * 4, rows + columns, 255 - columns][:channels]
    return np.stack(planes, axis=2).astype(np.uint8)


def read(source: Path | bytes | io.BytesIO) -> SampleArray:
    """The pixels [H, W, C] that Pillow sees."""
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def read_deep(path: Path) -> SampleArray:
    """The pixels [H, W, C] that libvips sees, which has 16 bits of every channel; of PPM those behind the header."""
    if path.suffix == ".ppm":
        kind, size, peak, samples = path.read_bytes().split(b"\n", 3)
        width, height = size.split()
        assert peak == b"65535"
        return np.frombuffer(samples, ">u2").reshape(int(height), int(width), {b"P5": 1, b"P6": 3}[kind])
    image = pyvips.Image.new_from_file(str(path), fail_on="warning")
    assert image.format == "ushort"
    return np.asarray(image.numpy().reshape(image.height, image.width, image.bands))


def widened(pixels: SampleArray) -> SampleArray:
    """What formats without grey make of it."""
    channels = pixels.shape[2]
    return pixels if channels > 2 else pixels[:, :, (0, 0, 0, 1)[: 2 + channels]]


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (41, 341)])
def test_lossless_formats_return_the_pixels(suffix: str, size: tuple[int, int], channels: int, tmp_path: Path) -> None:
    if channels in (2, 4) and suffix not in WITH_ALPHA:
        return
    pixels, path = noise(*size, channels), tmp_path / f"a.{suffix}"
    assert write(path, pixels) == ()
    expected = pixels if suffix != "webp" else widened(pixels)  # WebP has no grey
    assert np.array_equal(read(path), expected)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", DEEP)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (41, 341)])
def test_16_bits_are_kept(suffix: str, size: tuple[int, int], channels: int, tmp_path: Path) -> None:
    if channels in (2, 4) and suffix not in WITH_ALPHA:
        return
    pixels, path = noise(*size, channels, dtype=np.uint16), tmp_path / f"a.{suffix}"
    assert write(path, pixels) == ()
    assert np.array_equal(read_deep(path), pixels)
    write(tmp_path / f"strips.{suffix}", cut(pixels))
    assert np.array_equal(read_deep(tmp_path / f"strips.{suffix}"), pixels)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if suffix not in DEEP])
def test_16_bits_are_rounded_where_a_format_has_8(suffix: str, tmp_path: Path) -> None:
    pixels = np.tile(smooth(3), (2, 1, 1)).astype(np.uint16) * 257
    pixels[pixels < 65535 - 128] += 128  # still rounded down
    for name, image in (("whole", pixels), ("strips", cut(pixels))):
        notices = write(tmp_path / f"{name}.{suffix}", image)
        assert len(notices) == 1
        assert notices[0].endswith("8 bits: rounded from 16")
        assert notices[0].startswith(suffix.replace("jpeg", "jpg"))
    write(tmp_path / f"bytes.{suffix}", np.tile(smooth(3), (2, 1, 1)))
    expected = (tmp_path / f"bytes.{suffix}").read_bytes()
    assert [(tmp_path / f"{name}.{suffix}").read_bytes() for name in ("whole", "strips")] == [expected, expected]


@pytest.mark.parametrize("error", [FormatError, LimitError, DeviceError, BrokenPipeError])
def test_what_is_wrong_with_the_strips_is_not_said_of_the_output(error: type[Exception], tmp_path: Path) -> None:
    def parts() -> Iterator[SampleArray]:
        yield noise(64, 5, 3)
        raise error("as it is")

    for suffix in ("png", "tif", "webp"):
        with pytest.raises(error, match="as it is"):
            write(tmp_path / f"a.{suffix}", Strips((70, 5, 3), parts()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if suffix not in WITH_ALPHA])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_where_there_is_no_place_for_it(suffix: str, channels: int, tmp_path: Path) -> None:
    for pixels in (noise(4, 5, channels), cut(noise(4, 5, channels))):
        with pytest.raises(ImageError, match=rf"a\.{suffix}: cannot be written: .* holds no alpha: give a background"):
            write(tmp_path / f"a.{suffix}", pixels)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "avif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossy_formats_return_nearly_the_pixels(suffix: str, channels: int, tmp_path: Path) -> None:
    if channels in (2, 4) and suffix not in WITH_ALPHA:
        return
    pixels, path = smooth(channels), tmp_path / f"a.{suffix.upper()}"
    assert write(str(path), pixels) == ()
    found = read(path)
    if found.shape[2] != channels:  # not all versions of Pillow read grey AVIF as grey
        assert suffix == "avif"
        pixels = widened(pixels)
    assert np.abs(found.astype(int) - pixels).max() <= 8


def test_colour_is_not_subsampled(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, ::2] = 255, 0, 0, 0
    pixels[:, :, 3] = 254  # without any transparency there would be no alpha in the file
    for suffix, channels in (("jpg", 3), ("avif", 3), ("avif", 4)):
        write(tmp_path / f"a.{suffix}", pixels[:, :, :channels])
        assert np.abs(read(tmp_path / f"a.{suffix}").astype(int) - pixels[:, :, :channels]).max() < 60


FULL = Metadata(icc=SRGB, exif=exif_data(), xmp=XMP, iptc=IPTC, density=(2835, 11811))
PLACES = {
    "png": {"icc", "exif", "xmp", "density"},
    "jpg": {"icc", "exif", "xmp", "iptc", "density"},
    "webp": {"icc", "exif", "xmp"},
    "tif": {"icc", "exif", "xmp", "iptc", "density"},
    "avif": {"icc", "exif", "xmp"},
    "bmp": {"density"},
    "ppm": set(),
}
WORDS = {
    "icc": "colour profile",
    "exif": "EXIF data",
    "xmp": "XMP packet",
    "iptc": "IPTC records",
    "density": "density of pixels",
}


def found_metadata(path: Path) -> set[str]:
    """Which fields of FULL Pillow finds unchanged in a file."""
    with Image.open(path) as image:
        image.load()
        found = {"icc"} if image.info.get("icc_profile") == SRGB else set()
        exif = image.getexif()
        if exif.get(271) == "Maker of cameras" and exif.get_ifd(34665)[37500].startswith(b"own words"):
            found.add("exif")
        if image.info.get("xmp") == XMP:
            found.add("xmp")
        photoshop: Any = image.info.get("photoshop") or {}
        if IPTC in (photoshop.get(0x0404), getattr(image, "tag_v2", {}).get(33723)):
            found.add("iptc")
        if image.info.get("dpi") == pytest.approx((72, 300), rel=2e-4):
            found.add("density")
    return found


@pytest.mark.parametrize("suffix", PLACES)
@pytest.mark.parametrize("in_strips", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_metadata_are_written_or_named(suffix: str, in_strips: bool, order: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / f"a.{suffix}", smooth(3)
    metadata = Metadata(SRGB, exif=exif_data(order), xmp=XMP, iptc=IPTC, density=(2835, 11811))
    notices = write(path, cut(pixels) if in_strips else pixels, metadata=metadata)
    assert found_metadata(path) == PLACES[suffix]
    expected = {f"{suffix} holds no {WORDS[name]}: left out" for name in WORDS.keys() - PLACES[suffix]}
    assert set(notices) == expected
    assert write(path, cut(pixels) if in_strips else pixels) == ()
    assert found_metadata(path) == set()


@pytest.mark.parametrize("suffix", PLACES)
def test_a_density_that_is_not_known_is_not_made_up(suffix: str, tmp_path: Path) -> None:
    write(tmp_path / f"a.{suffix}", smooth(3))
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert image.info.get("dpi", (0, 0)) in ((0, 0), (1, 1))  # 1: of a TIFF that says nothing


@pytest.mark.parametrize("suffix", PLACES)
def test_colours_that_only_png_can_name(suffix: str, tmp_path: Path) -> None:
    notices = write(tmp_path / f"a.{suffix}", smooth(3), metadata=Metadata(primaries=9, transfer=16))
    said = f"{suffix} cannot say that its colours are those of CICP 9/16: left out"
    assert notices == (() if suffix == "png" else (said,))
    assert write(tmp_path / "a.jpg", smooth(3), metadata=Metadata(SRGB, primaries=9, transfer=16)) == ()


def test_the_profile_of_grey(tmp_path: Path) -> None:
    icc = gamma_profile(2.2)
    for suffix in ("png", "tif", "jpg", "avif"):
        for channels in (1, 2):
            if channels == 2 and suffix in ("jpg", "avif"):
                continue
            path = tmp_path / f"a.{suffix}"
            assert write(path, smooth(channels), metadata=Metadata(icc)) == ()
            with Image.open(path) as image:
                assert image.info["icc_profile"] == icc


@pytest.mark.parametrize(("suffix", "channels"), [("webp", 1), ("webp", 2), ("avif", 2)])
def test_grey_that_becomes_rgb_leaves_its_profile(suffix: str, channels: int, tmp_path: Path) -> None:
    path, pixels = tmp_path / f"a.{suffix}", np.full((70, 9, channels), 100, np.uint8)
    for image in (pixels.astype(np.uint16) * 257, cut(pixels)):
        notices = write(path, image, metadata=Metadata(gamma_profile(1.0)))
        assert notices[-1] == f"{suffix} holds RGB in place of grey, and no profile of grey: converted to sRGB"
        with Image.open(path) as opened:
            assert "icc_profile" not in opened.info
        assert np.abs(read(path)[:, :, :3].astype(int) - 168).max() <= 2, "linear light is brighter in sRGB"


def test_metadata_that_are_too_long_for_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    longest = {"icc": 255 * 65519, "exif": 65527, "xmp": 65504, "iptc": 65506}
    for name, room in longest.items():
        data = (exif_data() if name == "exif" else b"").ljust(room, b"x")
        assert write(path, smooth(3), metadata=Metadata(**{name: data})) == ()  # type: ignore[arg-type]
        assert read(path).shape == (40, 56, 3)
        notices = write(path, smooth(3), metadata=Metadata(**{name: data + b"x"}))  # type: ignore[arg-type]
        assert notices == (f"jpg holds at most {room} bytes of {WORDS[name]}: left out",)
    for density in ((1, 2835), (2835, 1 << 31)):
        assert write(path, smooth(3), metadata=Metadata(density=density)) == (
            "jpg holds 1 to 65535 pixels per inch: left out",
        )


def test_densities_out_of_range(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp"):
        for density in ((0, 1), (1, 1 << 31), (1 << 40, 1)):
            assert write(tmp_path / f"a.{suffix}", smooth(3), metadata=Metadata(density=density)) == (
                f"{suffix} holds 1 to 2147483647 pixels per metre: left out",
            )
        assert write(tmp_path / f"a.{suffix}", smooth(3), metadata=Metadata(density=(1, (1 << 31) - 1))) == ()


def test_a_density_that_the_exif_data_hold_is_not_lost(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 72.0, 72.0, 2
    metadata = Metadata(exif=exif.tobytes().removeprefix(b"Exif\0\0"), density=(2835, 2835))
    for suffix in ("webp", "avif"):
        assert write(tmp_path / f"a.{suffix}", smooth(3), metadata=metadata) == ()
    assert len(write(tmp_path / "a.ppm", smooth(3), metadata=metadata)) == 2


def test_damaged_metadata(tmp_path: Path) -> None:
    for suffix in ("tif", "avif"):
        (notice,) = write(tmp_path / f"a.{suffix}", smooth(3), metadata=Metadata(exif=b"damaged"))
        assert notice.startswith(f"{suffix} needs EXIF data that are not damaged")
    for xmp in ("<x/>".encode("utf-16"), b"<x/>\0"):
        assert write(tmp_path / "a.png", smooth(3), metadata=Metadata(xmp=xmp)) == (
            "png needs an XMP packet in UTF-8: left out",
        )


def test_save_options_override_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write(path, noise(64, 64, 3))
    usual = path.stat().st_size
    write(path, noise(64, 64, 3), quality=20)
    assert path.stat().st_size < usual / 2
    with pytest.raises(ImageError, match=f"{path}: cannot be written: .*quality"):
        write(path, noise(64, 64, 3), quality="splendid")
    for suffix in DEEP:
        with pytest.raises(ImageError, match="takes no options, not quality"):
            write(tmp_path / f"a.{suffix}", noise(64, 64, 3), quality=20)


def test_streams_and_an_explicit_format(tmp_path: Path) -> None:
    pixels = noise(9, 8, 3)
    for format in ("png", "PNG", ".tif", "bmp"):
        stream = io.BytesIO()
        write(stream, pixels, format=format)
        assert not stream.closed
        assert np.array_equal(read(stream), pixels)
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
        assert read(socket.getvalue()).shape[1] == 56, format


def test_views_are_written(tmp_path: Path) -> None:
    pixels = noise(9, 8, 3)
    for view in (pixels[::-1, ::2], pixels.swapaxes(0, 1), pixels[:, :, 1:2]):
        write(tmp_path / "a.png", view)
        assert np.array_equal(read(tmp_path / "a.png"), view)


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
    for bad in (noise(4, 4), noise(4, 4, 5), noise(0, 4, 3), noise(4, 4, 3).astype(float)):
        with pytest.raises(ImageError, match=r"a\.png: cannot be written: pixels must be uint8 or uint16"):
            write(tmp_path / "a.png", bad)
    for suffix, side in (("webp", 16384), ("jpg", 65501), ("avif", 65537)):
        with pytest.raises(ImageError, match=f"{suffix} ends at {side - 1} pixels a side, the image has {side} x 1"):
            write(tmp_path / f"a.{suffix}", noise(1, side, 1))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("suffix", "side"), [("webp", 16383), ("jpg", 65500)])
def test_largest_side(suffix: str, side: int, tmp_path: Path) -> None:
    write(tmp_path / f"a.{suffix}", noise(1, side, 1))
    assert read(tmp_path / f"a.{suffix}").shape[1] == side


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", WRITABLE)
def test_strips_become_the_same_file(suffix: str, channels: int, tmp_path: Path) -> None:
    if channels in (2, 4) and suffix not in WITH_ALPHA:
        return
    pixels = np.tile(smooth(channels), (4, 2, 1))
    metadata = Metadata(SRGB if channels > 2 else gamma_profile(2.2), exif=exif_data())
    for name, image in (("whole", pixels), ("strips", cut(pixels))):
        write(tmp_path / f"{name}.{suffix}", image, metadata=metadata, threads=2)
    assert (tmp_path / f"whole.{suffix}").read_bytes() == (tmp_path / f"strips.{suffix}").read_bytes()


def test_strips_in_streams(tmp_path: Path) -> None:
    pixels = noise(70, 8, 3)
    for format in ("png", "tif"):
        behind = io.BytesIO(b"prefix")
        behind.seek(6)
        write(behind, cut(pixels), format=format)
        assert np.array_equal(read(behind.getvalue()[6:]), pixels)
    os.mkfifo(tmp_path / "a.tif")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "a.tif").read_bytes()))
    reader.start()
    write(tmp_path / "a.tif", cut(pixels))
    reader.join()
    assert np.array_equal(read(received[0]), pixels)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm", "jpg"])
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
    with pytest.raises(ImageError, match="jpg ends at 65500 pixels a side"):
        write(tmp_path / "a.jpg", Strips((1, 65501, 3), []))
    with pytest.raises(ImageError, match=r"a\.png: cannot be written: png holds no pyramid: tif does"):
        write(tmp_path / "a.png", cut(noise(70, 90, 3)), smaller=())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "in_strips"), [*((suffix, False) for suffix in WRITABLE), ("png", True), ("tif", True), ("ppm", True)]
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
@pytest.mark.parametrize("format", WRITABLE)
def test_full_device(format: str) -> None:
    with pytest.raises(ImageError, match="/dev/full: cannot be written: No space left on device"):
        write("/dev/full", smooth(3), format=format)


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
        file.write(b"\xff\xd8")
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.jpg", smooth(3))
    assert os.listdir(tmp_path) == []
