"""Writes the test vectors of docs/format.md: ``python -m tests.vectors.make``. Released ones are never changed.

Needed again only when the format gains something that no vector has, or before its first release.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from smartsplat import _native
from smartsplat.arrays import DoubleArray, FloatArray
from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.container import NO_EXTRAS, Alpha, Extras, File, Group
from smartsplat.bitstream.file import to_file, to_groups
from smartsplat.bitstream.grain import grain_levels, strengths_of, to_grain
from smartsplat.bitstream.mask import MAX_LEVEL, mask_levels
from smartsplat.bitstream.quantize import Quantizer, dequantize
from smartsplat.gaussians import Gaussians
from smartsplat.images.tiff_packing import packed_geo
from smartsplat.metadata import Metadata
from smartsplat.render import Grain, View, reference
from smartsplat.render.grain import grain_at, with_grain
from tests.bitstream.format_decoder import netpbm
from tests.box_filter import BoxFilter, box_means
from tests.compare import scene

FOLDER = Path(__file__).parent
Window = tuple[int, int, int, int, int, int]  # region x, y, width, height, then columns and rows rendered


def packed(
    gaussians: Gaussians, quantizer: Quantizer, group: int = entropy.GROUP_SIZE, extras: Extras = NO_EXTRAS
) -> bytes:
    return container.pack(to_file(gaussians, quantizer, extras, group_size=group))


def with_chunk(data: bytes, kind: bytes, body: bytes, unpacked: int | None = None) -> bytes:
    """The file with one more chunk, which need not be a valid one, at its end."""
    end = 36 + 16 * int.from_bytes(data[32:36], "little")
    entry = struct.pack("<4sIII", kind, len(body), len(body) if unpacked is None else unpacked, zlib.crc32(body))
    return sealed(data[:32] + struct.pack("<I", (end - 36) // 16 + 1) + data[36:end] + entry, data[end + 4 :] + body)


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


def levels(width: int, height: int) -> np.ndarray:
    """Those of a mask: a disc with a soft edge, a hole, and noise in one corner."""
    y, x = np.mgrid[:height, :width] + 0.5
    soft = np.clip(0.45 * height - np.hypot(x - width / 2, y - height / 2) + 0.5, 0, 1)
    soft[np.hypot(x - width / 2, y - height / 2) < 7] = 0
    result = np.rint(15 * soft).astype(np.uint8)
    result[:9, :13] = np.random.default_rng(8).integers(0, 16, (9, 13))
    return result


def part(levels: np.ndarray, tiles: tuple[int, int, int, int]) -> Group:
    """A part of a mask."""
    x0, y0, x1, y1 = (64 * tile for tile in tiles)
    data, mixed_blocks = _native.encode_mask(np.ascontiguousarray(levels[y0:y1, x0:x1]))
    return Group(mixed_blocks, tiles, data)


def alpha() -> bytes:
    """Colours of 16 bits with alpha by Gaussians in two groups, and everything else that a file can hold."""
    quantizer = Quantizer(96, 3, 50, 40, 1)
    groups = to_groups(scene(30, 50, 40, 1, seed=9), quantizer, group_size=20)
    exif = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    metadata = Metadata(None, 9, 16, exif, b"<x:xmpmeta/>", b"\x1c\x02\x05\0\x01a", (11811, 5906))
    extras = Extras(12, metadata, Alpha(quantizer, groups))
    return packed(scene(60, 50, 40, seed=10), Quantizer(120, 3, 50, 40, 3), extras=extras)


def spots() -> Gaussians:
    """Two, of alpha."""
    return Gaussians(
        np.array([[20, 70], [60, 40]], np.float32),
        np.array([[6, 4], [9, 9]], np.float32),
        np.zeros(2, np.float32),
        np.array([[0.9], [-0.5]], np.float32),
    )


def mask() -> bytes:
    """Grey with alpha by a mask in two parts and two Gaussians, which do not cover the image."""
    width, height = 150, 90
    quantizer, all_levels = Quantizer(80, 4, width, height, 1), levels(width, height)
    parts = tuple(part(all_levels, tiles) for tiles in ((0, 0, 1, 1), (1, 0, 3, 2)))
    extras = Extras(8, alpha=Alpha(quantizer, to_groups(spots(), quantizer), parts))
    return packed(scene(40, width, height, 1, seed=11), Quantizer(90, 4, width, height, 1), extras=extras)


def grain() -> bytes:
    """Colours with grain in three bands, its levels far from what their neighbours say."""
    width, height = 200, 150
    ground = Gaussians(*(np.array(f, np.float32) for f in ([[90, 70]], [[160, 110]], [0.3], [[0.6, 0.5, 0.4]])))
    cells = np.random.default_rng(12).integers(0, 12, (3, 3, 4), dtype=np.uint8)
    extras = Extras(grain=to_grain(cells, 6))
    return packed(ground.joined(scene(40, width, height, seed=13)), Quantizer(90, 4, width, height, 3), extras=extras)


def index() -> bytes:
    """An index of groups of colours and of alpha, and of a part of a mask; and GeoTIFF tags."""
    width, height = 150, 90
    quantizer = Quantizer(80, 4, width, height, 1)
    groups = to_groups(spots(), quantizer, group_size=1)
    geo = packed_geo({34735: (3, 4, struct.pack("<4H", 1, 1, 0, 0))}, "<")
    mask = (part(levels(width, height), (0, 0, 3, 2)),)
    extras = Extras(metadata=Metadata(geo=geo), alpha=Alpha(quantizer, groups, mask))
    colors = scene(40, width, height, 1, seed=15)
    return container.pack(to_file(colors, Quantizer(90, 4, width, height, 1), extras, group_size=10), 1)


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
            packed(
                scene(20, 17, 23, 1), Quantizer(90, 2, 17, 23, 1), extras=Extras(metadata=Metadata(icc=grey_profile()))
            ),
            b"note",
            b"?",
        ),
        [(0, 0, 17, 23, 17, 23)],
    ),
    "empty": (lambda: packed(Gaussians.empty(3), Quantizer(64, 0, 5, 3, 3)), [(0, 0, 5, 3, 5, 3)]),
    "pixel": (lambda: packed(scene(5, 1, 1, seed=4), Quantizer(120, 0, 1, 1, 3)), [(0, 0, 1, 1, 1, 1)]),
    "fine": (fine, [(16352, 65504, 32, 32, 32, 32), (8183, 65488, 16, 48, 4, 12)]),
    "coarse": (coarse, [(0, 0, 96, 64, 24, 16)]),
    "alpha": (alpha, [(0, 0, 50, 40, 50, 40), (10, 5, 30, 20, 12, 9)]),
    "grain": (grain, [(0, 0, 200, 150, 200, 150), (0, 0, 200, 150, 111, 84), (97, 40, 24, 18, 61, 47)]),
    "index": (index, [(0, 0, 150, 90, 150, 90), (100, 10, 40, 30, 40, 30)]),
    "mask": (mask, [(0, 0, 150, 90, 150, 90), (0, 0, 150, 90, 41, 23), (50, 20, 30, 40, 70, 85)]),
}
"""Each file, and the views that are rendered of it."""


def symbols_hash(rows: Any) -> str:
    """SHA-256 of the symbols of a file, [N, 11]."""
    return hashlib.sha256(b"".join(struct.pack("<11i", *row) for row in rows)).hexdigest()


def coded_hash(groups: Iterable[Group], quantizer: Quantizer) -> str:
    """The same of coded groups."""
    tables = entropy.decode([(group.data, group.count) for group in groups], quantizer)
    return symbols_hash(row for table in tables for row in table.tolist())


def rendered(groups: Iterable[Group], quantizer: Quantizer, view: View) -> DoubleArray:
    """The reference's rendering of some groups."""
    tables = entropy.decode([(group.data, group.count) for group in groups], quantizer)
    gaussians = Gaussians.concatenated([dequantize(table, quantizer) for table in tables], quantizer.channels)
    return reference.render(reference.upload(gaussians), view)


def mask_of(alpha: Alpha, view: View) -> FloatArray:
    """Opacity [rows, columns] of the mask of a view."""
    size = alpha.quantizer.width, alpha.quantizer.height
    filters = (
        BoxFilter.of(view.y, view.height, view.rows, size[1]),
        BoxFilter.of(view.x, view.width, view.columns, size[0]),
    )
    (top, bottom), (left, right) = (each.support for each in filters)
    return box_means(mask_levels(alpha.mask, (left, top, right - left, bottom - top), size, 1), *filters, MAX_LEVEL)


def levels_hash(file: File) -> str:
    """SHA-256 of the levels of a file's mask, [H, W]."""
    assert file.extras.alpha is not None
    size = file.quantizer.width, file.quantizer.height
    return hashlib.sha256(mask_levels(file.extras.alpha.mask, (0, 0, *size), size, 1).tobytes()).hexdigest()


def grain_hash(file: File) -> str | None:
    """SHA-256 of the levels of a file's grain."""
    if file.extras.grain is None:
        return None
    size = file.quantizer.width, file.quantizer.height
    return hashlib.sha256(grain_levels(file.extras.grain, *size).tobytes()).hexdigest()


def grained(image: DoubleArray, file: File, view: View) -> DoubleArray:
    """A rendering of the colours, with the file's grain."""
    coded, size = file.extras.grain, (file.quantizer.width, file.quantizer.height)
    if coded is None:
        return image
    strengths = strengths_of(grain_levels(coded, *size))
    return with_grain(image, grain_at(view, Grain(strengths, 1 << coded.cell_log2)))


def describe(name: str, data: bytes, windows: list[Window]) -> dict[str, Any]:
    """The entry of vectors.json, and the images that it names."""
    file = container.unpack(data)
    own_alpha = file.extras.alpha
    dtype: type = np.uint8 if file.extras.depth <= 8 else np.uint16
    views = []
    for index, (*region, columns, rows) in enumerate(windows):
        x, y, width, height = region
        view = View(x, y, width, height, columns, rows)
        image = grained(rendered(file.groups, file.quantizer, view), file, view)
        pixels = reference.to_samples(image, dtype)
        if own_alpha is not None:
            opacity = rendered(own_alpha.groups, own_alpha.quantizer, view)[..., 0].clip(0, 1)
            opacity = np.minimum(opacity + mask_of(own_alpha, view), 1)
            pixels = np.dstack([pixels, reference.to_samples(opacity, dtype)])
        channels = pixels.shape[2]
        path = f"{name}-{index}.{('pgm', 'pam', 'ppm', 'pam')[channels - 1]}"
        content = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
        (FOLDER / path).write_bytes(netpbm(content, columns, rows, channels, file.extras.depth))
        views.append({"region": region, "size": [columns, rows], "image": path})
    return {
        "gaussians": file.count,
        "groups": len(file.groups),
        "profile_sha256": hashlib.sha256(icc).hexdigest() if (icc := file.extras.metadata.icc) else None,
        "levels_sha256": levels_hash(file) if own_alpha is not None and own_alpha.mask else None,
        "grain_sha256": grain_hash(file),
        "symbols_sha256": coded_hash(file.groups, file.quantizer),
        "alpha_sha256": coded_hash(own_alpha.groups, own_alpha.quantizer) if own_alpha is not None else None,
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
