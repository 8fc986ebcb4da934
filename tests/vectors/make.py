"""Writes the test vectors of docs/format.md: ``python -m tests.vectors.make``. Released ones are never changed.

Needed again only when the format gains something that no vector has, or before its first release.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smartsplat import decoder
from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.gaussians import Gaussians
from smartsplat.render import View, reference
from tests.bitstream.format_decoder import netpbm
from tests.compare import scene

FOLDER = Path(__file__).parent
Window = tuple[int, int, int, int, int, int]  # region x, y, width, height, then columns and rows rendered


def packed(
    gaussians: Gaussians, quantizer: Quantizer, group: int = entropy.GROUP_SIZE, icc: bytes | None = None
) -> bytes:
    return container.pack(to_file(gaussians, quantizer, icc, group_size=group))


def with_chunk(data: bytes, kind: bytes, body: bytes, unpacked: int | None = None) -> bytes:
    """The file with one more chunk, which need not be a valid one, at its end."""
    end = 32 + 16 * int.from_bytes(data[28:32], "little")
    entry = struct.pack("<4sIII", kind, len(body), len(body) if unpacked is None else unpacked, zlib.crc32(body))
    return sealed(data[:28] + struct.pack("<I", (end - 32) // 16 + 1) + data[32:end] + entry, data[end + 4 :] + body)


def sealed(head: bytes, bodies: bytes) -> bytes:
    """Header and table of contents, their CRC, the bodies."""
    return head + struct.pack("<I", zlib.crc32(head)) + bodies


def grey_profile() -> bytes:
    """A small ICC profile: grey with the gamma 2.2, white D50."""

    def text(words: str) -> bytes:
        coded = words.encode("utf-16-be")
        return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded

    tags = {
        b"desc": text("Grey, gamma 2.2"),
        b"cprt": text("Public domain"),
        b"wtpt": b"XYZ " + struct.pack(">4x3i", 0xF6D6, 0x10000, 0xD32D),
        b"kTRC": b"curv" + struct.pack(">4xIH", 1, round(2.2 * 256)),
    }
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    header = struct.pack(">I4xI4s4s4s", 128 + len(table) + len(bodies), 0x04200000, b"mntr", b"GRAY", b"XYZ ")
    header += struct.pack(">6H4s28x", 2024, 1, 1, 0, 0, 0, b"acsp") + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + table + bodies


def example() -> bytes:
    """The one that docs/format.md explains byte by byte."""
    one = Gaussians(*(np.array(field, np.float32) for field in ([[9.3, 4.2]], [[3, 1.5]], [0.5], [[0.8]])))
    return packed(one, Quantizer(80, 3, 16, 8, 1))


def fine() -> bytes:
    """The finest quality; extreme cells (above 2^31), scales, ratios and colours."""
    width, height = 16384, 65536
    random = np.random.default_rng(5)
    count = 48
    mean = random.choice([0, 0.5, 1, 8191.9, 16383.99, 65535.99], (count, 2)).clip(0, [width, height])
    scale = np.exp2(random.choice([-6.0, -2, 0, 3, 16, 19], (count, 2)))
    color = random.choice([0, 1e-9, -0.01, 0.2, -40, 40], (count, 3)) * random.uniform(0.5, 1, (count, 3))
    mean[:8] = np.array([width - 16, height - 16]) + random.uniform(-12, 12, (8, 2))
    scale[:8] = np.exp(random.uniform(-0.5, 1.8, (8, 2)))
    color[:8] = random.normal(0.3, 0.3, (8, 3))
    fields = (mean, scale, random.uniform(0, np.pi, count), color)
    return packed(Gaussians(*(field.astype(np.float32) for field in fields)), Quantizer(191, 0, width, height, 3))


def coarse() -> bytes:
    """The coarsest quality and cell; so predictable that a Gaussian takes less than a bit and zeros fill the group."""
    random = np.random.default_rng(6)
    count = 1200
    color = np.zeros((count, 3), np.float32)
    color[:4] = random.uniform(-0.3, 0.6, (4, 3))
    scale = np.full((count, 2), 2000, np.float32)
    scale[:4] = np.exp(random.uniform(3.2, 7, (4, 2)))
    fields = (np.full((count, 2), 20, np.float32), scale, np.full(count, 0.6, np.float32), color)
    return packed(Gaussians(*fields), Quantizer(0, 12, 96, 64, 3))


VECTORS: dict[str, tuple[Callable[[], bytes], list[Window]]] = {
    "example": (example, [(0, 0, 16, 8, 16, 8)]),
    "grey": (
        lambda: packed(scene(60, 41, 27, 1, seed=1), Quantizer(100, 2, 41, 27, 1)),
        [(0, 0, 41, 27, 41, 27), (0, 0, 41, 27, 13, 9)],
    ),
    "color": (
        lambda: packed(scene(150, 48, 32, seed=2), Quantizer(84, 3, 48, 32, 3)),
        [(0, 0, 48, 32, 48, 32), (0, 0, 48, 32, 7, 32), (8, 4, 20, 10, 50, 25)],
    ),
    "groups": (
        lambda: packed(scene(200, 200, 150, seed=3), Quantizer(70, 4, 200, 150, 3), group=60),
        [(130, 90, 48, 40, 48, 40), (0, 0, 200, 150, 40, 30)],
    ),
    "profile": (
        lambda: with_chunk(
            packed(scene(20, 17, 23, 1), Quantizer(90, 2, 17, 23, 1), icc=grey_profile()), b"note", b"?"
        ),
        [(0, 0, 17, 23, 17, 23)],
    ),
    "empty": (lambda: packed(Gaussians.empty(3), Quantizer(64, 0, 5, 3, 3)), [(0, 0, 5, 3, 5, 3)]),
    "pixel": (lambda: packed(scene(5, 1, 1, seed=4), Quantizer(120, 0, 1, 1, 3)), [(0, 0, 1, 1, 1, 1)]),
    "fine": (fine, [(16352, 65504, 32, 32, 32, 32), (8183, 65488, 16, 48, 4, 12)]),
    "coarse": (coarse, [(0, 0, 96, 64, 24, 16)]),
}
"""Each file, and the views that are rendered of it."""


def symbols_hash(rows: Any) -> str:
    """SHA-256 of the symbols of a file, [N, 11]."""
    return hashlib.sha256(b"".join(struct.pack("<11i", *row) for row in rows)).hexdigest()


def describe(name: str, data: bytes, windows: list[Window]) -> dict[str, Any]:
    """The entry of vectors.json, and the images that it names."""
    file = container.unpack(data)
    tables = entropy.decode([(group.data, group.count) for group in file.groups], file.quantizer)
    params = reference.upload(decoder.open(data).gaussians())
    channels = file.quantizer.channels
    views = []
    for index, (*region, columns, rows) in enumerate(windows):
        image = f"{name}-{index}.{'pgm' if channels == 1 else 'ppm'}"
        x, y, width, height = region
        pixels = reference.render_bytes(params, View(x, y, width, height, columns, rows))
        (FOLDER / image).write_bytes(netpbm(pixels.tobytes(), columns, rows, channels))
        views.append({"region": region, "size": [columns, rows], "image": image})
    return {
        "gaussians": file.count,
        "groups": len(file.groups),
        "profile_sha256": hashlib.sha256(file.icc).hexdigest() if file.icc else None,
        "symbols_sha256": symbols_hash(row for table in tables for row in table.tolist()),
        "views": views,
    }


def main() -> None:
    entries = {}
    for name, (build, windows) in VECTORS.items():
        data = build()
        (FOLDER / f"{name}.sspl").write_bytes(data)
        entries[name] = describe(name, data, windows)
    (FOLDER / "vectors.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
