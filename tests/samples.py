"""Images for the tests: a natural-looking one, and files that Pillow cannot write, made by hand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from smartsplat.arrays import SampleArray
from smartsplat.images.strips import ROW_MULTIPLE, Strips


def landscape(width: int, height: int, channels: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Gradients, edges and texture as natural images have them, uint8 [height, width, channels]."""
    random = np.random.default_rng(seed)
    y, x = (np.mgrid[:height, :width] + 0.5) / max(width, height)
    image = 0.6 + 0.3 * np.stack([0.5 - y, 0.2 - 0.5 * y, 0.3 * x], axis=-1)
    for _ in range(14):
        center, radius, color = random.uniform(0, 1, 2), random.uniform(0.03, 0.25), random.uniform(0.1, 0.9, 3)
        shade = color + 0.8 * (x - center[0])[..., None]
        inside = (np.abs(x - center[0]) ** 1.5 + np.abs(y - center[1]) ** 1.5) < radius**1.5
        image = np.where(inside[..., None], shade, image)
    texture = gaussian_filter(random.normal(0, 1, (height, width)), 0.8)
    image += 0.12 * (texture * (y > 0.4 * height / max(width, height)))[..., None]
    return np.ascontiguousarray((image.clip(0, 1) * 255).round().astype(np.uint8)[..., :channels])


def cut(pixels: SampleArray, rows: int = ROW_MULTIPLE) -> Strips:
    """An image [H, W, C] in strips."""
    height, width, channels = pixels.shape
    parts = (pixels[top : top + rows] for top in range(0, height, rows))
    return Strips((height, width, channels), parts, pixels.dtype.type)


def png(width: int, height: int, bits: int, color_type: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG file; ``rows`` are the packed samples of all rows, ``chunks`` go before the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = len(rows) // height if height and height < 1 << 20 else 0
    filtered = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride or 1))
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    extra = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    pixels = chunk(b"IDAT", zlib.compress(filtered))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def tiff_12_bits(values: list[int]) -> bytes:
    """A TIFF of one row with an even number of 12-bit grey samples."""
    pairs = zip(values[::2], values[1::2], strict=True)
    data = b"".join((first << 12 | second).to_bytes(3, "big") for first, second in pairs)
    # width, height, bits, compression, photometric, strip offset, samples, rows per strip, strip bytes
    entries = {256: len(values), 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(data)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    start = 8 + len(data)
    return struct.pack("<2sHI", b"II", 42, start) + data + struct.pack("<H", len(entries)) + directory + bytes(4)


def cmyk_profile() -> bytes:
    """The smallest ICC profile of a CMYK device: paper is Lab (100, 0, 0), any full ink is Lab (0, 0, 0)."""
    ramp = bytes(range(256))
    corners = b"".join(b"\xff\x80\x80" if corner == 0 else b"\x00\x80\x80" for corner in range(16))
    matrix = struct.pack(">9i", *(65536 if place % 4 == 0 else 0 for place in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + corners + ramp * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    first = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2)
    tags += b"wtpt" + struct.pack(">II", first, len(white))
    tags += b"A2B0" + struct.pack(">II", first + len(white), len(table))
    illuminant = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    header = struct.pack(">I4sI4s4s4s", first + len(white) + len(table), b"none", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + illuminant
    return header.ljust(128, b"\0") + tags + white + table


def matrix_profile(*curves: bytes, columns: tuple[tuple[float, float, float], ...], **tables: bytes) -> bytes:
    """The smallest ICC profile of an RGB device: curves of R, G and B, and XYZ of each under D50."""
    names = [b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ", *(name.encode() for name in tables)]
    numbers = [b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * each) for each in column)) for column in columns]
    values = [value.ljust(-(-len(value) // 4) * 4, b"\0") for value in (*curves, *numbers, *tables.values())]
    start = 128 + 4 + 12 * len(names)
    tags = struct.pack(">I", len(names))
    for name, value in zip(names, values, strict=True):
        tags += name + struct.pack(">II", start, len(value))
        start += len(value)
    header = struct.pack(">I4sI4s4s4s", start, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + tags + b"".join(values)


def exif_data(order: str = "<", orientation: int | None = 1) -> bytes:
    """EXIF data of a camera: its maker, perhaps an orientation, and a note of its own that points to itself.

    ``order`` is struct's mark. The note is tag 37500 of the EXIF directory, sixteen bytes that end with their place.
    """
    maker = b"Maker of cameras\0\0"
    count = 2 if orientation is None else 3
    maker_at = 8 + 2 + 12 * count + 4
    inner_at = maker_at + len(maker)
    note_at = inner_at + 2 + 12 + 4
    entries = [struct.pack(f"{order}HHII", 271, 2, len(maker) - 1, maker_at)]
    if orientation is not None:
        entries.append(struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0))
    entries.append(struct.pack(f"{order}HHII", 34665, 4, 1, inner_at))
    inner = struct.pack(f"{order}HHHIII", 1, 37500, 7, 16, note_at, 0) + b"own words..." + struct.pack("<I", note_at)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    first = struct.pack(f"{order}H", count) + b"".join(entries) + bytes(4)
    return mark + struct.pack(f"{order}I", 8) + first + maker + inner


def gamma_profile(gamma: float) -> bytes:
    """The smallest ICC profile of a grey device."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(256 * gamma))
    first = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", first, len(white))
    tags += b"kTRC" + struct.pack(">II", first + len(white), len(curve))
    size = first + len(white) + len(curve)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + tags + white + curve


def sources(tmp_path: Path, data: bytes) -> dict[str, Any]:
    """The bytes of a file in every form that a function takes them in: by its name, too."""
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    return {"bytes": data, "bytearray": bytearray(data), "view": memoryview(data), "path": path, "name": str(path)}
