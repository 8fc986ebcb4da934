from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import SourceImage, read_image
from smartsplat.limits import Limits
from tests.samples import png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def random(*shape: int, kind: str = "u1") -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256 if kind == "u1" else 65536, shape).astype(kind)


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(data: bytes, piece: bytes) -> bytes:
    """A PNG with a piece behind its header."""
    return data[:33] + piece + data[33:]


def values(image: SourceImage) -> list[Any]:
    """Samples of the first row, alpha behind the colours."""
    if image.alpha is None:
        return image.pixels[0].tolist()
    return np.dstack([image.pixels, image.alpha])[0].tolist()


@pytest.mark.parametrize(("color_type", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("bits", [8, 16])
def test_all_samples_are_exact(color_type: int, samples: int, bits: int) -> None:
    array = random(70, 31, samples, kind="u1" if bits == 8 else "u2")
    result = read_image(png(31, 70, bits, color_type, array.astype(array.dtype.newbyteorder(">")).tobytes()))
    colors = samples - (color_type >= 4)
    assert result.depth == bits
    assert np.array_equal(result.pixels, array[:, :, :colors])
    assert (result.alpha is None) == (color_type < 4)
    assert result.alpha is None or np.array_equal(result.alpha, array[:, :, -1])
    assert result.notices == ()
    assert result.metadata.is_srgb


@pytest.mark.parametrize("bits", [8, 16])
def test_interlaced(bits: int) -> None:
    array = random(30, 20, 3, kind="u1" if bits == 8 else "u2")
    image = pyvips.Image.new_from_array(array).copy(interpretation="srgb" if bits == 8 else "rgb16")
    assert np.array_equal(read_image(bytes(image.write_to_buffer(".png", interlace=True))).pixels, array)


def test_few_bits() -> None:
    for bits, row, expected in ((1, b"\x40", [0, 255]), (2, b"\x60", [85, 170]), (4, b"\x1f", [17, 255])):
        result = read_image(png(2, 1, bits, 0, row))
        assert result.pixels[0, :, 0].tolist() == expected
        assert result.depth == bits


def test_opaque_alpha_is_dropped_in_silence() -> None:
    array = random(11, 10, 4)
    array[:, :, 3] = 255
    result = read_image(png(10, 11, 8, 6, array.tobytes()))
    assert (result.alpha, result.notices) == (None, ())


def test_transparent_colour() -> None:
    assert values(read_image(png(2, 1, 8, 2, bytes([1, 2, 3, 4, 5, 6]), tRNS=numbers(1, 2, 3)))) == [
        [1, 2, 3, 0], [4, 5, 6, 255]
    ]  # fmt: skip
    deep = png(2, 1, 16, 2, numbers(257, 514, 772, 257, 514, 771), tRNS=numbers(257, 514, 771))
    assert values(read_image(deep)) == [[257, 514, 772, 65535], [257, 514, 771, 0]], "all 16 bits are compared"
    assert values(read_image(png(2, 1, 16, 0, numbers(2001, 2000), tRNS=numbers(2000)))) == [[2001, 65535], [2000, 0]]
    for bits, row, clear in ((8, b"\x11\x22", 0x22), (4, b"\x12", 2), (2, b"\x60", 2), (1, b"\x40", 1)):
        result = read_image(png(2, 1, bits, 0, row, tRNS=numbers(clear)))
        assert result.alpha is not None
        assert result.alpha.tolist() == [[255, 0]], bits
    assert read_image(png(2, 1, 8, 2, bytes(6), tRNS=b"\0")).alpha is None, "of a wrong length"
    assert values(read_image(png(1, 1, 8, 6, bytes([1, 2, 3, 4]), tRNS=numbers(1, 2, 3)))) == [[1, 2, 3, 4]], (
        "not allowed"
    )


def test_palettes_as_odd_writers_make_them() -> None:
    palette = bytes(range(9))
    row = bytes([0, 1, 2])
    assert values(read_image(png(3, 1, 8, 3, row, PLTE=palette))) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert values(read_image(png(3, 1, 8, 3, row, PLTE=palette, tRNS=b"\xff\0"))) == [
        [0, 1, 2, 255], [3, 4, 5, 0], [6, 7, 8, 255]
    ]  # fmt: skip
    longer = b"\xff\0\x10\x20\x30" + bytes(300)
    assert values(read_image(png(3, 1, 8, 3, row, PLTE=palette, tRNS=longer))) == [
        [0, 1, 2, 255], [3, 4, 5, 0], [6, 7, 8, 16]
    ]  # fmt: skip
    short = png(3, 1, 8, 3, bytes([0, 1, 200]), PLTE=palette[:4])
    assert values(read_image(short)) == [[0, 1, 2], [3, 0, 0], [0, 0, 0]], "what is missing is black"
    long = png(3, 1, 2, 3, b"\x18", PLTE=palette + bytes(90))
    assert values(read_image(long)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    with pytest.raises(ImageError, match="it has no palette"):
        read_image(png(3, 1, 8, 3, row))


def test_damage_beside_the_pixels_is_no_reason_to_refuse() -> None:
    plain = png(2, 1, 8, 2, bytes([1, 2, 3, 4, 5, 6]))
    texts = b"Comment\0" + bytes(100)
    packed = b"Comment\0\0" + zlib.compress(bytes(64 << 20))
    for piece, notices in (
        (chunk(b"tEXt", texts, checksum=1), ("tEXt chunk is damaged",)),
        (chunk(b"zTXt", packed), ()),
        (chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB), checksum=1), ("iCCP chunk is damaged",)),
        (chunk(b"iCCP", b"x\0\0nonsense"), ("colour profile dropped: it is damaged",)),
        (chunk(b"gAMA", bytes(4), checksum=1), ("gAMA chunk is damaged",)),
        (chunk(b"eXIf", b"nonsense"), ("damaged EXIF data dropped",)),
        (chunk(b"quIz", bytes(9), checksum=1), ()),
    ):
        result = read_image(with_chunk(plain, piece))
        assert values(result) == [[1, 2, 3], [4, 5, 6]]
        assert result.notices == notices
    assert read_image(with_chunk(plain, chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB), checksum=1))).icc == SRGB
    assert read_image(plain[:-12]).notices == ("the end of the file is missing",)


def test_a_profile_that_unpacks_to_too_much() -> None:
    plain = png(2, 1, 8, 2, bytes(6))
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB[:128] + bytes(1 << 26)))
    result = read_image(with_chunk(plain, bomb))
    assert (result.icc, result.notices) == (None, ("colour profile dropped: it is damaged",))


def test_damaged_pixels() -> None:
    array = random(300, 200, 3)
    data = bytearray(png(200, 300, 8, 2, array.tobytes()))
    data[len(data) // 2] ^= 0x55
    for damaged in (bytes(data), bytes(data[: len(data) // 2])):
        with pytest.raises(ImageError, match=r"is damaged: .*; --accept-damaged \(accept_damaged=True\)"):
            read_image(damaged)
        result = read_image(damaged, accept_damaged=True)
        assert np.array_equal(result.pixels[:100], array[:100])
        assert any(notice.startswith("DAMAGED: ") for notice in result.notices)
    header = png(2, 1, 8, 2, bytes(6))
    for damaged, problem in (
        (header[:33] + chunk(b"IEND", b""), "it has no pixels"),
        (header[:24] + b"\x07" + header[25:], "header is damaged"),
        (header[:30], "header is damaged"),
    ):
        with pytest.raises(ImageError, match=problem):
            read_image(damaged)


def test_frames() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    for options, still in (({}, "red"), ({"default_image": True}, "red")):
        buffer = io.BytesIO()
        frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], **options)
        result = read_image(buffer.getvalue())
        assert values(result)[0] == [255, 0, 0], still
        assert result.notices == ("frame 1 of 3 was read",)
        assert values(read_image(buffer.getvalue(), page=3))[0] == [0, 0, 255]
        assert read_image(buffer.getvalue(), page=1).notices == ()
        with pytest.raises(ImageError, match="has 3 frames, there is no frame 4"):
            read_image(buffer.getvalue(), page=4)
    with pytest.raises(ImageError, match="has 1 page, there is no page 2"):
        read_image(png(2, 1, 8, 2, bytes(6)), page=2)


def test_code_points_come_before_a_profile() -> None:
    profile = b"x\0\0" + zlib.compress(SRGB)
    result = read_image(png(1, 1, 16, 2, bytes(6), cICP=bytes([9, 16, 0, 1]), iCCP=profile))
    assert (result.metadata.primaries, result.metadata.transfer, result.icc) == (9, 16, None)
    assert result.notices == ()
    narrow = read_image(png(1, 1, 16, 2, bytes(6), cICP=bytes([9, 18, 0, 0])))
    assert narrow.notices == ("samples of video range are kept as they are",)
    for unusable in (bytes([2, 2, 0, 1]), bytes([9, 16, 1, 1]), bytes(3)):
        assert read_image(png(1, 1, 8, 2, bytes(3), cICP=unusable, iCCP=profile)).icc == SRGB


def chromaticities(*points: float) -> bytes:
    return struct.pack(">8I", *(round(100000 * value) for value in points))


BT709 = chromaticities(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3 = chromaticities(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def test_gamma_and_primaries() -> None:
    def image(color_type: int = 2, **chunks: bytes) -> SourceImage:
        return read_image(png(1, 1, 8, color_type, bytes(3 if color_type else 1), **chunks))

    usual, linear = struct.pack(">I", 45455), struct.pack(">I", 100000)
    for chunks in ({"gAMA": usual}, {"gAMA": usual, "cHRM": BT709}, {"cHRM": BT709}, {"gAMA": linear, "sRGB": b"\0"}):
        assert image(**chunks).metadata.is_srgb
    assert image(gAMA=linear, sRGB=b"\0", iCCP=b"x\0\0" + zlib.compress(SRGB)).icc == SRGB
    for color_type, chunks in ((2, {"gAMA": linear}), (0, {"gAMA": linear}), (2, {"gAMA": usual, "cHRM": P3})):
        result = image(color_type, **chunks)
        assert result.icc is not None
        assert result.icc[16:20] == (b"RGB " if color_type else b"GRAY")
        assert result.notices == ()
    assert image(0, gAMA=usual, cHRM=P3).metadata.is_srgb, "grey has no primaries"
    senseless = image(gAMA=usual, cHRM=bytes(32))
    assert senseless.notices == ("gamma and primaries make no sense: taken for sRGB",)
    assert senseless.metadata.is_srgb


def test_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[271] = "Maker"
    structure = exif.tobytes().removeprefix(b"Exif\0\0")
    hexadecimal = b"\nexif\n%8d\n%s\n" % (len(structure), structure.hex().encode())
    xmp = b'<x tiff:Orientation="6"/>'
    array = random(2, 3, 3)
    for chunks in (
        {"eXIf": structure, "iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + xmp},
        {"eXIf": b"Exif\0\0" + structure, "iTXt": b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(xmp)},
        {
            "zTXt": b"Raw profile type exif\0\0" + zlib.compress(hexadecimal),
            "iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + xmp,
        },
    ):
        result = read_image(png(3, 2, 8, 2, array.tobytes(), pHYs=struct.pack(">IIB", 2835, 5669, 1), **chunks))
        assert np.array_equal(result.pixels, np.rot90(array, -1))
        assert result.metadata.xmp == b'<x tiff:Orientation="1"/>'
        assert result.metadata.density == (2835, 5669)
        found = Image.Exif()
        found.load(b"Exif\0\0" + (result.metadata.exif or b""))
        assert (found[0x0112], found[271]) == (1, "Maker")
    records = b"\x1c\x02\x05\0\x01T"
    iptc = b"\niptc\n%8d\n%s\n" % (len(records), records.hex().encode())
    assert read_image(png(1, 1, 8, 0, b"\0", tEXt=b"Raw profile type iptc\0" + iptc)).metadata.iptc == records
    assert read_image(png(1, 1, 8, 0, b"\0", pHYs=struct.pack(">IIB", 1, 1, 0))).metadata.density is None


def test_metadata_behind_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    array = random(2, 3, 3)
    plain = png(3, 2, 8, 2, array.tobytes())
    data = plain[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + plain[-12:]
    assert np.array_equal(read_image(data).pixels, array[::-1, ::-1])


def test_orientation_in_xmp_only_turns_nothing() -> None:
    array = random(2, 3, 3)
    result = read_image(png(3, 2, 8, 2, array.tobytes(), iTXt=b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'))
    assert np.array_equal(result.pixels, array)


def test_the_limit_comes_before_everything() -> None:
    with pytest.raises(LimitError, match="30 x 70 pixels, the limit is 2099 in all"):
        read_image(png(30, 70, 8, 0, bytes(2100)), limits=Limits(pixels=2099))
