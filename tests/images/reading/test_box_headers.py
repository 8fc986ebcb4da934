from __future__ import annotations

import struct

import pytest

from smartsplat.images.reading.box_headers import BoxColor, avif_bits, box_color, boxes, jpeg2000_size, jxl_header


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I", len(body) + 8) + kind + body


def test_boxes_and_those_inside() -> None:
    inner = box(b"meta", bytes(4), box(b"iprp", box(b"ipco", box(b"colr", b"a"))))
    long = struct.pack(">I4sQ", 1, b"wide", 18) + b"bc"
    data = box(b"ftyp", b"avif") + inner + long + struct.pack(">I", 0) + b"mdat" + b"rest"
    found = [(kind, body) for kind, body in boxes(data) if kind not in (b"meta", b"iprp", b"ipco")]
    assert found == [(b"ftyp", b"avif"), (b"colr", b"a"), (b"wide", b"bc"), (b"mdat", b"rest")]
    assert list(boxes(b"")) == list(boxes(bytes(7))) == []
    assert list(boxes(struct.pack(">I4s", 5, b"tiny"))) == []


def test_colours() -> None:
    def colors(*bodies: bytes) -> BoxColor:
        return box_color(box(b"jp2h", *(box(b"colr", body) for body in bodies)))

    assert colors(b"nclx" + struct.pack(">HHHB", 9, 16, 9, 128)) == BoxColor(None, 9, 16)
    assert colors(b"nclx" + struct.pack(">HHHB", 1, 13, 6, 128), b"nclx" + struct.pack(">HHHB", 9, 16, 9, 128)) == (
        BoxColor(None, 1, 13)
    )
    assert colors(b"profICC") == BoxColor(b"ICC")
    assert colors(b"\2\0\0ICC") == BoxColor(b"ICC")
    for body in (b"nclx" + struct.pack(">HHHB", 2, 2, 2, 128), b"nclx", b"\1\0\0\0\0\0\x10", b""):
        assert colors(body) == BoxColor()


@pytest.mark.parametrize(
    ("head", "bits"),
    [
        (b"....av1C\x81\x00\x0c\x00", 8), (b"....av1C\x81\x00\x4c\x00", 10), (b"....av1C\x81\x40\x6c\x00", 12),
        (b"....av1C\x81", 8), (b"", 8),
    ],
)  # fmt: skip
def test_bits_of_avif(head: bytes, bits: int) -> None:
    assert avif_bits(head) == bits


def codestream(*fields: tuple[int, int]) -> bytes:
    """A JPEG XL codestream that begins with numbers, each of so many bits."""
    value, place = 0, 0
    for number, bits in fields:
        value |= number << place
        place += bits
    return b"\xff\x0a" + value.to_bytes(40, "little")


def test_header_of_jpeg_xl() -> None:
    size = ((0, 1), (1, 2), (999, 13), (0, 3), (0, 2), (511, 9))  # 1000 rows of 512 pixels
    usual = jxl_header(codestream(*size, (1, 1)))
    assert usual is not None
    assert (usual.width, usual.height, usual.bits, usual.is_float) == (512, 1000, 8, False)
    for fields, bits, is_float in (
        (((0, 1), (0, 1), (0, 1), (1, 2)), 10, False),
        (((0, 1), (0, 1), (0, 1), (3, 2), (15, 6)), 16, False),
        (((0, 1), (0, 1), (1, 1), (0, 2)), 32, True),
        (((0, 1), (1, 1), (5, 3), (0, 1), (0, 1), (0, 1), (0, 1), (2, 2)), 12, False),
        (((0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1), (0, 2), (0, 2), (0, 2), (0, 1), (0, 1), (2, 2)), 12, False),
    ):
        header = jxl_header(codestream(*size, *fields))
        assert header is not None
        assert (header.bits, header.is_float) == (bits, is_float)
    small = jxl_header(codestream((1, 1), (9, 5), (4, 3), (1, 1)))  # 80 rows, 3 : 2
    assert small is not None
    assert (small.width, small.height) == (120, 80)
    in_a_box = box(b"JXL ", b"\r\n\x87\n") + box(b"jxlp", bytes(4), codestream(*size, (1, 1)))
    assert jxl_header(in_a_box) == usual
    preview = codestream(*size, (0, 1), (1, 1), (0, 3), (0, 1), (1, 1))
    for data in (b"", b"\xff\x0a", preview, box(b"jxlc", b"nonsense"), b"nonsense"):
        assert jxl_header(data) is None


def test_size_of_jpeg_2000() -> None:
    head = b"..\xff\x4f\xff\x51" + bytes(4) + struct.pack(">8IH", 70, 50, 6, 2, 64, 64, 0, 0, 3)
    assert jpeg2000_size(head) == (64, 48, 3)
    assert jpeg2000_size(head[:-1]) is None
    assert jpeg2000_size(b"") is None
