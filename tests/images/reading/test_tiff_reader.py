from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import read_image
from smartsplat.images.reading.exif import orientation_of
from smartsplat.limits import Limits
from tests.images.reading.tiff_files import Page, tiff
from tests.samples import cmyk_profile, tiff_12_bits


def random(*shape: int, kind: str = "u1") -> np.ndarray:
    top = {"u1": 1 << 8, "u2": 1 << 16, "u4": 1 << 32}[kind]
    return np.random.default_rng(4).integers(0, top, shape).astype(kind)


def message(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data, **options)
    return str(caught.value)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(("samples", "photometric", "extra"), [(1, 1, ()), (2, 1, (2,)), (3, 2, ()), (4, 2, (2,))])
def test_every_layout_is_exact(
    samples: int, photometric: int, extra: tuple[int, ...], separate: bool, kind: str, order: str, big: bool
) -> None:
    array = random(70, 31, samples, kind=kind)
    if separate and samples == 2:
        pytest.importorskip("tifffile")
        pytest.importorskip("imagecodecs")
    result = read_image(tiff(Page(array, photometric, extra, separate), order=order, big=big))
    colors = samples - len(extra)
    assert np.array_equal(result.pixels, array[:, :, :colors])
    assert result.pixels.dtype == array.dtype
    assert result.depth == 8 * array.itemsize
    assert (result.alpha is None) == (not extra)
    assert result.alpha is None or np.array_equal(result.alpha, array[:, :, -1])
    assert result.notices == ()


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_where_zero_is_white(kind: str) -> None:
    array = random(20, 9, 1, kind=kind)
    full = np.iinfo(array.dtype).max
    assert np.array_equal(read_image(tiff(Page(array, photometric=0))).pixels, full - array)
    with_alpha = random(20, 9, 2, kind=kind)
    result = read_image(tiff(Page(with_alpha, photometric=0, extra=(2,))))
    assert np.array_equal(result.pixels, full - with_alpha[:, :, :1])
    assert result.alpha is not None
    assert np.array_equal(result.alpha, with_alpha[:, :, 1])
    floats = np.array([[0, 0.25, 1]], np.float32)
    assert read_image(tiff(Page(floats, photometric=0))).pixels[0, :, 0].tolist() == [65535, 65535 - 16384, 0]


def test_colours_multiplied_with_alpha_are_divided() -> None:
    array = np.array([[[100, 50, 0, 200], [7, 7, 7, 0], [9, 8, 7, 255]]], np.uint8)
    result = read_image(tiff(Page(array, 2, extra=(1,))))
    assert np.abs(result.pixels[0, ::2] - np.array([[127.5, 63.75, 0], [9, 8, 7]])).max() <= 1
    assert result.alpha is not None
    assert result.alpha.tolist() == [[200, 0, 255]]


def test_samples_that_nobody_explains() -> None:
    array = random(9, 8, 5)
    result = read_image(tiff(Page(array, 2, extra=(2, 0))))
    assert result.alpha is not None
    assert np.array_equal(result.alpha, array[:, :, 3])
    assert result.notices == ("1 sample a pixel beside RGBA left out",)
    plain = read_image(tiff(Page(array[:, :, :4], 2, extra=(0,))))
    assert plain.alpha is None
    assert plain.notices == ("1 sample a pixel beside RGB left out",)


def test_12_bits_use_the_whole_range() -> None:
    result = read_image(tiff_12_bits([0, 4095, 2048, 1]))
    assert result.pixels[0, :, 0].tolist() == [0, 65535, round(2048 * 65535 / 4095), 16]
    assert result.depth == 12
    assert result.notices == ()


def test_integers_of_32_bits() -> None:
    array = np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32)
    result = read_image(tiff(Page(array)))
    assert result.pixels[0, :, 0].tolist() == [0, 32768, 65535]
    assert result.notices == ("32-bit samples reduced to 16 bits",)
    signed = read_image(tiff(Page(np.array([[0, 257, 65535]], np.int32))))
    assert signed.pixels[0, :, 0].tolist() == [0, 257, 65535]
    assert signed.notices == ("32-bit integer samples taken as 0 to 65535",)
    for low, high in ((-5, 3), (0, 65536)):
        data = tiff(Page(np.array([[low, high]], np.int32)))
        assert f"samples from {low} to {high}; only 0 to 65535" in message(data)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
@pytest.mark.parametrize("samples", [1, 3])
def test_bits_that_fill_no_bytes(bits: int, samples: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    array = np.random.default_rng(1).integers(0, 1 << bits, (6, 8, samples)).astype("u1" if bits < 9 else "u2")
    buffer = io.BytesIO()
    photometric = "rgb" if samples == 3 else "minisblack"
    tifffile.imwrite(buffer, array.squeeze(), photometric=photometric, bitspersample=bits, metadata=None)
    result = read_image(buffer.getvalue())
    full = 255 if bits <= 8 else 65535
    assert np.array_equal(result.pixels, np.floor(array.astype(float) * full / ((1 << bits) - 1) + 0.5))
    assert (result.depth, result.notices) == (bits, ())


@pytest.mark.parametrize("compression", ["jpeg2000", "zstd"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("white", [False, True])
def test_compressions_of_the_extra(compression: str, kind: str, white: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    array = random(40, 30, kind=kind) if white else random(40, 30, 3, kind=kind)
    buffer = io.BytesIO()
    photometric = "miniswhite" if white else "rgb"
    tifffile.imwrite(buffer, array, photometric=photometric, compression=compression, metadata=None)
    expected = np.iinfo(kind).max - array[:, :, None] if white else array
    assert np.array_equal(read_image(buffer.getvalue()).pixels, expected)
    with pytest.raises(ImageError):
        read_image(buffer.getvalue()[:-300])


def test_a_part_that_states_another_size() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, random(40, 30, 3), photometric="rgb", compression="jpeg2000", metadata=None)
    data = buffer.getvalue()
    start = data.index(b"\xff\x4f\xff\x51")
    for place, value, words in ((8, 1 << 20, "1048576 x 40 pixels"), (12, 1 << 20, "30 x 1048576 pixels")):
        changed = data[: start + place] + struct.pack(">I", value) + data[start + place + 4 :]
        assert f"a part of it has {words}" in message(changed)
    assert "300 samples a pixel" in message(data[: start + 40] + struct.pack(">H", 300) + data[start + 42 :])


def test_planes_in_tiles() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    array = random(40, 30, 3, kind="u2")
    buffer = io.BytesIO()
    planes = array.transpose(2, 0, 1)
    tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", tile=(16, 16), metadata=None)
    assert np.array_equal(read_image(buffer.getvalue()).pixels, array)


def test_floats_of_64_bits() -> None:
    pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    array = np.linspace(0, 1, 60).reshape(4, 5, 3)
    assert np.array_equal(read_image(tiff(Page(array, 2))).pixels, np.rint(array * 65535))


@pytest.mark.parametrize("kind", ["f2", "f4"])
@pytest.mark.parametrize("samples", [1, 3])
def test_floats(kind: str, samples: int) -> None:
    array = np.linspace(0, 1, 6 * 4 * samples).reshape(4, 6, samples).astype(kind)
    result = read_image(tiff(Page(array, 1 if samples == 1 else 2)))
    assert np.array_equal(result.pixels, np.rint(array.astype(float) * 65535))
    assert result.depth == 16
    assert result.notices == ("floating-point samples from 0 to 1 taken as 16 bits",)


def test_floats_out_of_range() -> None:
    over = tiff(Page(np.array([[0, 0.5, 1.05]], np.float32)))
    result = read_image(over)
    assert result.pixels[0, :, 0].tolist() == [0, 32768, 65535]
    assert result.notices[1] == "floating-point samples from 0 to 1.04999995 clipped to this range"
    far = tiff(Page(np.array([[-3, 0.5, 200]], np.float32)))
    assert "samples from -3 to 200, expected 0 to 1" in message(far)
    assert "--float-range -3,200" in message(far)
    assert read_image(far, float_range=(-3, 200)).pixels[0, :, 0].tolist() == [0, round(3.5 / 203 * 65535), 65535]


def test_floats_that_are_no_numbers() -> None:
    array = np.zeros((90, 5, 3), np.float32)
    array[71, 2, 1] = np.nan
    array[80, 4] = np.inf
    assert message(tiff(Page(array, 2))).endswith("4 of the samples are not finite, the first at x 2, y 71")


def test_cmyk() -> None:
    array = random(9, 8, 5)
    image = Image.frombytes("CMYK", (8, 9), array[:, :, :4].tobytes())
    result = read_image(tiff(Page(array, 5, extra=(2,))))
    assert np.array_equal(result.pixels, np.asarray(image.convert("RGB")))
    assert result.alpha is not None
    assert np.array_equal(result.alpha, array[:, :, 4])
    assert result.notices == ("CMYK converted to RGB without a colour profile",)
    deep = read_image(tiff(Page(array[:, :, :4].astype("u2") * 257, 5)))
    assert np.array_equal(deep.pixels, result.pixels)
    assert deep.notices[0] == "CMYK of 16 bits reduced to 8"
    inked = read_image(tiff(Page(array[:, :, :4], 5, tags={34675: (7, cmyk_profile())})))
    assert inked.notices == ("CMYK converted to sRGB with its colour profile, which is dropped",)


def test_lab_of_16_bits() -> None:
    """L from 0 to 65535, a and b with a sign; the grey of L = 50 has the code value 118.9 of 255."""
    result = read_image(tiff(Page(np.array([[[32768, 0, 0], [65535, 0, 0], [0, 0, 0]]], np.uint16), 8)))
    assert np.abs(result.pixels[0].astype(int) - np.array([[30560], [65535], [0]])).max() < 200
    assert result.depth == 16


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits(bits: int, photometric: int) -> None:
    """Packed by hand: one row of eight samples."""
    values = [number % (1 << bits) for number in range(8)]
    packed = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(bits, "big")
    tags = {256: (4, [8]), 258: (3, [bits]), 277: (3, [1])}
    data = tiff(Page(np.frombuffer(packed, np.uint8)[None], photometric, tags=tags))
    full = (1 << bits) - 1
    expected = [round((value if photometric else full - value) * 255 / full) for value in values]
    result = read_image(data)
    assert result.pixels[0, :, 0].tolist() == expected
    assert result.depth == bits


def test_palette() -> None:
    image = Image.fromarray(random(12, 14, 3)).quantize(16)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    assert np.array_equal(read_image(buffer.getvalue()).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd", "jpeg"])
@pytest.mark.parametrize("mode", ["RGB", "YCbCr", "LAB", "L", "CMYK"])
def test_compressions(compression: str, mode: str) -> None:
    image = Image.new(mode, (40, 30), (90, 120, 150, 160)[: len(mode) if mode in ("RGB", "LAB", "CMYK") else 3]
                      if mode != "L" else 99)  # fmt: skip
    buffer = io.BytesIO()
    try:
        image.save(buffer, "TIFF", compression=compression)
    except (OSError, RuntimeError) as error:
        pytest.skip(str(error))
    result = read_image(buffer.getvalue())
    assert np.abs(result.pixels.astype(int) - np.asarray(image.convert("L" if mode == "L" else "RGB")).reshape(
        30, 40, -1)).max() <= 2  # fmt: skip


def test_the_image_among_pages() -> None:
    full, small = random(40, 30, 3), random(10, 8, 3)
    thumbnail = Page(small, 2, tags={254: (4, [1])})
    mask = Page(random(40, 30, 1), 4, tags={254: (4, [4])})
    for pages, number in (
        ([Page(full, 2), thumbnail], 1),
        ([thumbnail, Page(full, 2)], 2),
        ([Page(full, 2), mask, thumbnail], 1),
    ):
        result = read_image(tiff(*pages))
        assert np.array_equal(result.pixels, full)
        assert result.notices == (f"page {number} of {len(pages)} was read, the others are thumbnails or masks",)
    assert read_image(tiff(thumbnail)).notices == ("what was read is marked as a thumbnail or mask",)
    several = tiff(Page(full, 2), Page(full[::-1], 2), thumbnail)
    assert read_image(several).notices == ("page 1 of 3 was read",)
    assert np.array_equal(read_image(several, page=2).pixels, full[::-1])
    assert np.array_equal(read_image(several, page=3).pixels, small)
    assert read_image(several, page=2).notices == ()
    for page in (0, 4):
        assert message(several, page=page) == f"<bytes>: has 3 pages, there is no page {page}"


def test_the_limits_are_those_of_the_page() -> None:
    data = tiff(Page(random(4, 4, 3), 2), Page(random(40, 30, 3), 2))
    assert read_image(data, limits=Limits(pixels=16)).width == 4
    with pytest.raises(LimitError):
        read_image(data, page=2, limits=Limits(pixels=16))
    huge = tiff(Page(random(1, 1, 1), tags={256: (4, [1 << 31]), 257: (4, [1 << 31])}))
    with pytest.raises(LimitError):
        read_image(huge)
    tiled = tiff(Page(random(4, 4, 1), tags={322: (4, [1 << 20]), 323: (4, [1 << 20])}))
    with pytest.raises(LimitError, match="a tile: 1048576 x 1048576 pixels"):
        read_image(tiled)


def test_camera_raw_files() -> None:
    thumbnail = random(6, 8, 3)
    sensor = Page(random(60, 80, 1, kind="u2"), 32803)
    inside = tiff(Page(thumbnail, 2, tags={254: (4, [1]), 330: (4, [0])}), sensor)
    second = struct.unpack("<I", inside[4:8])[0]
    # The second directory becomes one inside the first.
    entries = struct.unpack_from("<H", inside, second)[0]
    following = struct.unpack_from("<I", inside, second + 2 + 12 * entries)[0]
    start = inside.index(struct.pack("<HHI", 330, 4, 1)) + 8
    inside = inside[:start] + struct.pack("<I", following) + inside[start + 4 :]
    end = second + 2 + 12 * entries
    inside = inside[:end] + bytes(4) + inside[end + 4 :]
    for data in (
        tiff(Page(thumbnail, 2, tags={50706: (1, bytes([1, 4, 0, 0]))})),
        tiff(sensor),
        tiff(Page(thumbnail, 2), sensor),
        inside,
        tiff(Page(random(6, 8, 1, kind="u2"), 1, tags={259: (3, [34713])})),
        *(mark + bytes(100) for mark in (b"IIRO\x08\0", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0\0\0\x18ftypcrx ")),
    ):
        assert message(data) == "<bytes>: is a camera raw file; develop it first"


def test_metadata_where_pillow_decodes() -> None:
    array = random(20, 30, 3)
    buffer = io.BytesIO()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[274] = "Maker", 6
    Image.fromarray(array).save(buffer, "TIFF", compression="zstd", tiffinfo=tags, dpi=(300, 150))
    result = read_image(buffer.getvalue())
    assert np.array_equal(result.pixels, np.rot90(array, -1))
    assert result.metadata.density == (11811, 5906)
    assert b"Maker" in (result.metadata.exif or b"")
    assert orientation_of(result.metadata.exif) == 1


def test_damaged_files() -> None:
    array = random(300, 300, 3)
    data = tiff(Page(array, 2))
    header = data[:8]
    moved = header[:4] + struct.pack("<I", 1 << 30) + data[8:]
    assert "the file ends before" in message(moved)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "TIFF", compression="tiff_lzw", strip_size=9000)
    packed = bytearray(buffer.getvalue())
    packed[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    assert "--accept-damaged" in message(bytes(packed))
    result = read_image(bytes(packed), accept_damaged=True)
    assert np.array_equal(result.pixels[:100], array[:100])
    assert result.notices[0].startswith("DAMAGED: ")
