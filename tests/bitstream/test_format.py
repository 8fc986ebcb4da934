"""docs/format.md against the package: a second decoder, the test vectors, and the numbers that the page quotes."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import smartsplat
from smartsplat import _native
from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.mask import MAX_LEVEL, mask_levels
from smartsplat.bitstream.quantize import MAX_POSITION_CELL_LOG2, MAX_QUALITY, Quantizer
from smartsplat.errors import FormatError, LimitError, SmartSplatError, UnsupportedError
from smartsplat.limits import Limits
from smartsplat.render import FILTER_VARIANCE
from tests.bitstream import format_decoder
from tests.bitstream.format_container import Group, Header, Refused
from tests.bitstream.format_decoder import TABLES, View, decode_group
from tests.vectors.make import FOLDER, VECTORS, levels_hash, sealed, symbols_hash, with_chunk

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/format.md").read_text()
ENTRIES: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
VIEWS = [(name, view) for name, entry in ENTRIES.items() for view in entry["views"]]


def vector(name: str) -> bytes:
    return (FOLDER / f"{name}.sspl").read_bytes()


def native_symbols(coded: bytes, count: int, q: Quantizer) -> list[tuple[int, ...]]:
    (table,) = entropy.decode([(coded, count)], q)
    return [tuple(row) for row in table.tolist()]


def of_quantizer(q: Quantizer) -> Header:
    return Header(q.width, q.height, q.channels, q.quality, q.cell_log2)


# ---- Vectors --------------------------------------------------------------------------------------------------------


def test_every_vector_is_described() -> None:
    assert {path.stem for path in FOLDER.glob("*.sspl")} == set(ENTRIES) == set(VECTORS)
    assert {path.name for path in FOLDER.glob("*.p?m")} == {view["image"] for _, view in VIEWS}


@pytest.mark.parametrize("name", ENTRIES)
def test_both_decoders_read_the_same_symbols(name: str) -> None:
    data, entry = vector(name), ENTRIES[name]
    theirs = format_decoder.decode(data)
    file = container.unpack(data)
    ours = [row for group in file.groups for row in native_symbols(group.data, group.count, file.quantizer)]
    assert symbols_hash(theirs.symbols) == symbols_hash(ours) == entry["symbols_sha256"]
    assert len(theirs.symbols) + len(theirs.alpha_symbols) == file.count == entry["gaussians"]
    groups = theirs.content.groups[b"GAUS"]
    assert len(groups) == len(file.groups) == entry["groups"]
    assert [group.extent for group in groups] == [group.extent for group in file.groups]


@pytest.mark.parametrize("name", ENTRIES)
def test_both_decoders_read_the_same_metadata(name: str) -> None:
    data, entry = vector(name), ENTRIES[name]
    theirs, file = format_decoder.decode(data).content, container.unpack(data)
    metadata = file.extras.metadata
    assert (theirs.depth, theirs.code_points) == (file.extras.depth, (metadata.primaries, metadata.transfer))
    density = struct.pack("<II", *metadata.density) if metadata.density else None
    fields = (metadata.icc, metadata.exif, metadata.xmp, metadata.iptc, density)
    assert tuple(theirs.metadata.get(kind) for kind in (b"iccp", b"exif", b"xmp ", b"iptc", b"dens")) == fields
    assert (hashlib.sha256(metadata.icc).hexdigest() if metadata.icc else None) == entry["profile_sha256"]


@pytest.mark.parametrize("name", ENTRIES)
def test_both_decoders_read_the_same_alpha(name: str) -> None:
    data, entry = vector(name), ENTRIES[name]
    theirs, file = format_decoder.decode(data), container.unpack(data)
    alpha = file.extras.alpha
    assert (theirs.content.alpha is None) == (alpha is None)
    if alpha is None:
        return
    assert theirs.content.alpha == of_quantizer(alpha.quantizer)
    ours = [row for group in alpha.groups for row in native_symbols(group.data, group.count, alpha.quantizer)]
    assert theirs.alpha_symbols == ours
    assert symbols_hash(ours) == entry["alpha_sha256"]
    width, height = file.quantizer.width, file.quantizer.height
    levels = mask_levels(alpha.mask, (0, 0, width, height), (width, height), 2)
    assert all(levels[y, x] == level for (x, y), level in theirs.levels.items())
    assert levels.astype(int).sum() == sum(theirs.levels.values())
    assert (levels_hash(file) if alpha.mask else None) == entry["levels_sha256"]


@pytest.mark.parametrize(("name", "view"), VIEWS, ids=lambda value: value if isinstance(value, str) else "")
def test_both_decoders_render_the_same_pixels(name: str, view: dict[str, Any]) -> None:
    """Within a code value of the image that the reference rendered."""
    data, (x, y, width, height), (columns, rows) = vector(name), view["region"], view["size"]
    decoded = format_decoder.decode(data)
    theirs = decoded.render(View(x, y, width, height, columns, rows))
    ours = smartsplat.decode(data, region=(x, y, width, height), size=(columns, rows))
    depth = decoded.content.depth
    head = format_decoder.netpbm(b"", columns, rows, decoded.channels, depth)
    image = (FOLDER / view["image"]).read_bytes()
    assert image.startswith(head)
    stored, unit = (">u1", 1) if depth <= 8 else (">u2", 257)
    expected = np.frombuffer(image[len(head) :], stored).astype(int)
    assert np.abs(np.frombuffer(theirs, stored).astype(int) - expected).max() <= 1
    assert ours.dtype == np.dtype(stored.replace(">", ""))
    assert np.abs(ours.ravel() - expected).max() <= unit


@pytest.mark.parametrize("name", ENTRIES)
def test_dequantised_values_agree(name: str) -> None:
    data = vector(name)
    ours = smartsplat.open(data).gaussians()
    decoded = format_decoder.decode(data)
    theirs = [format_decoder.dequantize(symbols, decoded.content.header) for symbols in decoded.symbols]
    for field in ("mean", "scale", "rotation", "color"):
        values = np.array([getattr(gaussian, field) for gaussian in theirs]).reshape(getattr(ours, field).shape)
        # The last bit: exp2 may differ between mathematical libraries.
        np.testing.assert_allclose(getattr(ours, field), values, rtol=1.2e-7)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_encoder_writes_the_same_bytes(name: str) -> None:
    """A change of the entropy coder shows here; it needs a new major version and leaves released vectors alone."""
    file = container.unpack(vector(name))
    for group in file.groups:
        tables = entropy.decode([(group.data, group.count)], file.quantizer)
        assert entropy.encode(tables, file.quantizer) == [group.data]


def test_the_vectors_reach_what_they_are_for() -> None:
    files = {name: container.unpack(vector(name)) for name in ENTRIES}
    symbols = np.array(format_decoder.decode(vector("fine")).symbols)
    assert symbols.min(axis=0).tolist()[2:] == [-8, -256, 0, 0, *[-1048575] * 3, 0, 0]
    assert symbols.max(axis=0).tolist()[:5] == [16383, 65535, 17, 2048, 1024]
    assert symbols.max(axis=0).tolist()[6:9] == [1048575] * 3
    cells = [sum((x >> i & 1) << 2 * i | (y >> i & 1) << (2 * i + 1) for i in range(16)) for x, y in symbols[:, :2]]
    assert max(cells) >= 1 << 31
    assert max(b - a for a, b in itertools.pairwise(cells)) >= 1 << 30
    (coarse,) = files["coarse"].groups
    assert bytes(8) in coarse.data, "between the two ends"
    assert len(coarse.data) == coarse.count
    assert len(files["groups"].groups) > 2
    assert files["profile"].extras.metadata.icc
    assert files["alpha"].extras.depth == 12
    assert None not in [getattr(files["alpha"].extras.metadata, name) for name in ("exif", "xmp", "iptc", "density")]
    assert {len(files[name].extras.alpha.groups) for name in ("alpha", "mask")} == {2, 1}
    assert [part.extent for part in files["mask"].extras.alpha.mask] == [(0, 0, 1, 1), (1, 0, 3, 2)]
    assert b"note" in vector("profile")
    assert (files["pixel"].quantizer.width, files["pixel"].quantizer.height) == (1, 1)
    assert {file.quantizer.quality for file in files.values()} >= {0, MAX_QUALITY}
    assert {file.quantizer.cell_log2 for file in files.values()} >= {0, MAX_POSITION_CELL_LOG2}


# ---- Hostile files --------------------------------------------------------------------------------------------------


def result(decode: Any, *arguments: Any) -> Any:
    try:
        return decode(*arguments)
    except (Refused, FormatError):
        return "refused"


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - {"empty", "coarse"}))
def test_both_decoders_agree_on_damaged_groups(name: str) -> None:
    file = container.unpack(vector(name))
    group = file.groups[-1]
    choice = random.Random(7)
    count = min(group.count, 12)
    kinds = set()
    for _ in range(60):
        coded = bytearray(group.data[: choice.randrange(1, len(group.data) + 1)])
        for _ in range(choice.randrange(3)):
            coded[choice.randrange(len(coded))] = choice.choice([0, 255, choice.randrange(256)])
        theirs = result(decode_group, Group(count, (0, 0, 0, 0), bytes(coded)), of_quantizer(file.quantizer))
        ours = result(native_symbols, bytes(coded), count, file.quantizer)
        assert theirs == ours, coded.hex()
        kinds.add(isinstance(ours, str))
    assert True in kinds


def damaged(data: bytes) -> Iterator[tuple[str, bytes, type[SmartSplatError]]]:
    """Changes of a file with one group that a decoder must refuse, and how."""
    table = len(data) - len(container.unpack(data).groups[0].data) - 12 - 4
    bodies = data[table + 4 :]

    def changed(offset: int, layout: str, value: int) -> bytes:
        size = struct.calcsize(layout)
        return sealed(data[:offset] + struct.pack(layout, value) + data[offset + size : table], bodies)

    assert changed(8, "<B", container.MAJOR) == data
    yield "signature", b"\x88" + data[1:], FormatError
    yield "truncated", data[:-1], FormatError
    yield "longer", data + b"\0", FormatError
    yield "inside the header", data[:20], FormatError
    yield "header CRC", data[:12] + b"\x11" + data[13:], FormatError
    yield "body CRC", data[:-1] + bytes([data[-1] ^ 1]), FormatError
    yield "major", changed(8, "<B", container.MAJOR - 1), UnsupportedError
    yield "depth 0", changed(11, "<B", 0), FormatError
    yield "depth", changed(11, "<B", 17), FormatError
    yield "primaries", changed(20, "<B", 0), FormatError
    yield "transfer", changed(21, "<B", 0), FormatError
    yield "alpha", changed(24, "<B", 2), FormatError
    yield "quality of no alpha", changed(25, "<B", 1), FormatError
    yield "cell of no alpha", changed(26, "<B", 1), FormatError
    yield "reserved", changed(27, "<B", 1), FormatError
    yield "width 0", changed(12, "<I", 0), FormatError
    yield "width", changed(12, "<I", (1 << 22) + 1), LimitError
    yield "pixels", sealed(data[:12] + struct.pack("<II", 1 << 17, (1 << 15) + 1) + data[20:table], bodies), LimitError
    yield "cells", changed(12, "<I", (65536 << data[23]) + 1), FormatError
    yield "channels", changed(10, "<B", 2), FormatError
    yield "quality", changed(22, "<B", 192), FormatError
    yield "cell", changed(23, "<B", 13), FormatError
    yield "count", changed(28, "<I", 2), FormatError
    yield "too many", changed(28, "<I", (1 << 26) + 1), LimitError
    yield "chunks", changed(32, "<I", 65537), FormatError
    yield "stored length", changed(40, "<I", 0xFFFFFFFF), FormatError
    yield "unknown critical chunk", with_chunk(data, b"Note", b"?"), UnsupportedError
    yield "short group", with_chunk(data, b"GAUS", bytes(11)), FormatError
    yield "more Gaussians than bits", with_chunk(data, b"GAUS", struct.pack("<I4HB", 9, 0, 0, 0, 0, 0)), FormatError
    yield "profile is no zlib stream", with_chunk(data, b"iccp", b"abcd"), FormatError
    abc = bytes.fromhex("78da4b4c4a0600024d0127")
    assert format_decoder.decode(with_chunk(data, b"iccp", abc, 3)).content.profile == b"abc"
    yield "profile ends early", with_chunk(data, b"iccp", abc[:-1], 3), FormatError
    yield "profile is shorter", with_chunk(data, b"iccp", abc, 4), FormatError
    yield "profile is longer", with_chunk(data, b"iccp", abc, 2), FormatError
    yield "large profile", with_chunk(data, b"iccp", abc, (1 << 24) + 1), LimitError
    for kind in (b"exif", b"xmp ", b"iptc"):
        yield f"large {kind!r}", with_chunk(data, kind, abc, (1 << 24) + 1), LimitError
        yield f"two {kind!r}", with_chunk(with_chunk(data, kind, abc, 3), kind, abc, 3), FormatError
    yield "density", with_chunk(data, b"dens", struct.pack("<II", 0, 1)), FormatError
    yield "short density", with_chunk(data, b"dens", bytes(7)), FormatError
    yield "alpha of an opaque image", with_chunk(data, b"ALPH", bytes(12)), FormatError
    yield "mask of an opaque image", with_chunk(data, b"MASK", struct.pack("<I4HI", 0, 0, 0, 1, 1, 65536)), FormatError


def damaged_masks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Parts of a mask, beside those of a file with one, that a decoder must refuse."""
    body = vector_mask_body(data)
    yield "again", with_chunk(data, b"MASK", body)
    yield "nothing", with_chunk(data, b"MASK", struct.pack("<I4HI", 0, 0, 1, 0, 2, 65536))
    yield "outside", with_chunk(data, b"MASK", struct.pack("<I4HI", 0, 0, 1, 1, 3, 65536))
    yield "more blocks than bytes", with_chunk(data, b"MASK", struct.pack("<I4HI", 65, 0, 1, 1, 2, 65536))
    for name, count, coded in (
        ("a kind above 2", 0, b"\xff" * 12),
        ("too many mixed blocks", int.from_bytes(body[:4], "little") + 1, body[12:]),
        ("too few mixed blocks", int.from_bytes(body[:4], "little") - 1, body[12:]),
        ("cut", int.from_bytes(body[:4], "little"), body[12:-9]),
        ("longer", int.from_bytes(body[:4], "little"), body[12:] + b"\1"),
    ):
        yield name, with_mask(data, struct.pack("<I", count) + body[4:12] + coded)


def vector_mask_body(data: bytes) -> bytes:
    """The first part of a file's mask."""
    alpha = container.unpack(data).extras.alpha
    assert alpha is not None
    part = alpha.mask[0]
    return struct.pack("<I4H", part.count, *part.extent) + part.data


def with_mask(data: bytes, body: bytes) -> bytes:
    """The file with another first part of its mask."""
    file = container.unpack(data)
    alpha = file.extras.alpha
    assert alpha is not None
    count, *extent = struct.unpack_from("<I4H", body)
    first = container.Group(count, (extent[0], extent[1], extent[2], extent[3]), body[12:])
    return container.pack(
        replace(file, extras=replace(file.extras, alpha=replace(alpha, mask=(first, *alpha.mask[1:]))))
    )


MASKS = list(damaged_masks(vector("mask")))


@pytest.mark.parametrize("data", [case[1] for case in MASKS], ids=[case[0] for case in MASKS])
def test_both_decoders_refuse_the_same_masks(data: bytes) -> None:
    with pytest.raises(FormatError):
        smartsplat.decode(data)
    with pytest.raises(Refused):
        format_decoder.decode(data)


def test_both_decoders_agree_on_damaged_levels() -> None:
    data = vector("mask")
    body = vector_mask_body(data)
    choice = random.Random(3)
    outcomes = set()
    for _ in range(60):
        coded = bytearray(body[12:])
        coded[choice.randrange(len(coded))] = choice.randrange(256)
        changed = with_mask(data, body[:12] + bytes(coded))
        theirs, ours = (result(decode, changed) for decode in (format_decoder.decode, levels_of))
        assert isinstance(theirs, str) == isinstance(ours, str), coded.hex()
        outcomes.add(isinstance(ours, str))
    assert True in outcomes


def levels_of(data: bytes) -> npt.NDArray[np.uint8]:
    file = container.unpack(data)
    assert file.extras.alpha is not None
    size = file.quantizer.width, file.quantizer.height
    return mask_levels(file.extras.alpha.mask, (0, 0, *size), size, 1)


HOSTILE = list(damaged(vector("example")))


@pytest.mark.parametrize(("data", "error"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_both_decoders_refuse_the_same_files(data: bytes, error: type[SmartSplatError]) -> None:
    with pytest.raises(error):
        smartsplat.decode(data)
    with pytest.raises(Refused):
        format_decoder.decode(data)


@pytest.mark.parametrize("kind", [b"note", b"zzzz"])
def test_unknown_ancillary_chunks_and_minor_versions_are_skipped(kind: bytes) -> None:
    data = with_chunk(vector("example"), kind, b"words")
    data = sealed(data[:9] + b"\x07" + data[10:68], data[72:])
    assert format_decoder.decode(data).symbols == format_decoder.decode(vector("example")).symbols
    np.testing.assert_array_equal(smartsplat.decode(data), smartsplat.decode(vector("example")))


# ---- The page -------------------------------------------------------------------------------------------------------


def rows(first_column: str, third_column: str) -> list[list[str]]:
    """The cells of the table of the page with these titles."""
    table = re.search(rf"^\| {first_column} \| [^|]+ \| {third_column} .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, third_column
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


@pytest.mark.parametrize(
    ("title", "layout"),
    [("header field", container._HEADER), ("entry of the", container._ENTRY), ("group field", container._GROUP)],
)
def test_the_byte_tables(title: str, layout: struct.Struct) -> None:
    fields = [
        (int(offset), int(size)) for offset, size, *_ in rows("offset", title) if offset.isdigit() and size.isdigit()
    ]
    codes = [
        code
        for number, code in re.findall(r"(\d*)([a-zA-Z])", layout.format)
        for code in ([f"{number}s"] if code == "s" else [code] * int(number or 1))
    ]
    sizes = [struct.calcsize(f"<{code}") for code in codes]
    assert [size for _, size in fields] == sizes
    assert [offset for offset, _ in fields] == [sum(sizes[:index]) for index in range(len(sizes))]
    assert sum(sizes) == layout.size


def test_the_tables_of_numbers() -> None:
    described = rows("table", "formula")
    assert [row[0] for row in described] == list(TABLES)
    for name, entries, _, first, last, total in described:
        table = TABLES[name]
        numbers = [int(number) for number in first.replace("−", "-").split(",")]
        assert (int(entries), int(last), int(total)) == (len(table), table[-1], sum(table)), name
        assert numbers == table[: len(numbers)], name


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    k, limits = _native.format_constants(), Limits()

    def power(number: int) -> str:
        assert number.bit_count() == 1
        return f"2^{number.bit_length() - 1}"

    quoted = [
        f"The .sspl bitstream, version {container.MAJOR}.{container.INDEX_MINOR}",
        " ".join(f"{byte:02X}" for byte in container.SIGNATURE),
        f"| quality Q | 0 to {MAX_QUALITY}, of the colours |",
        f"| cell_log2 B | 0 to {MAX_POSITION_CELL_LOG2}:",
        f"| depth | 1 to {k['MAX_DEPTH']}:",
        f"Of a `MASK`: mixed blocks; at most {k['MAX_BLOCKS_PER_BYTE']} for each coded byte",
        f"0 (transparent) to {MAX_LEVEL} (opaque)",
        f"| chunks n | 0 to {k['MAX_CHUNKS']} |",
        f"| width | 1 to {limits.side} pixels |",
        f"tiles of {container.TILE} pixels",
        f"at most {1 // k['MIN_GAUSSIAN_BYTES']} for each byte",
        f"a side above {limits.side}, more than {power(limits.pixels)} pixels, {power(limits.gaussians)} Gaussians, "
        f"{power(limits.file_bytes)} bytes, or a profile or metadata of more than {power(limits.metadata_bytes)} bytes",
        f"L = {k['QUALITY_ZERO']} − Q",
        f"| {k['MIN_ENERGY']} to {k['MAX_ENERGY']} |",
        f"steps of mean_step / {k['OCTAVE']}",
        f"trunc({k['MIN_MEAN_SCALE']} / mean_step) to trunc({k['MAX_MEAN_SCALE']} / mean_step)",
        f"0 to trunc({k['MAX_RATIO']} / ratio_step)",
        f"| {-k['MAX_COLOR']} to {k['MAX_COLOR']} |",
        f">> 3, 0, {k['MAX_ANGLE_BITS']})",
        f">> 3, 0, {k['MAX_POSITION_BITS']})",
        f"shift  = {k['FIRST_SHIFT']}, from seen = {k['SECOND_SHIFT_FROM']} on {k['FIRST_SHIFT'] + 1}, "
        f"from seen = {k['THIRD_SHIFT_FROM']} on {k['FIRST_SHIFT'] + 2};",
        f"state mod {k['WHOLE']}",
        f"if state < {k['MIN_STATE']}:",
        f"| gap | {k['GAP_CLASSES']} |",
        f"| scale | {k['STEP_CLASSES']} |",
        f"| ratio | {4 * k['SIZE_CLASSES']} |",
        f"lead         min(angle_bits, {k['LEAD_BITS']})",
        f"| first colour | {k['FIRST_COLOR_CLASSES']} |",
        f"| second colour | {k['COLOR_CLASSES'] * k['SHORTFALL_CLASSES']} |",
        f"F = {FILTER_VARIANCE:g}\n",
    ]
    text = PAGE.replace("−", "-")
    assert [phrase for phrase in quoted if phrase.replace("−", "-") not in text] == []
    assert format_decoder.FILTER_VARIANCE == FILTER_VARIANCE


def test_the_example() -> None:
    dump = re.findall(r"^00[0-4]0  ((?:[0-9a-f]{2} )+) ", PAGE, re.MULTILINE)
    assert bytes.fromhex("".join(dump)) == vector("example")
    decoded = format_decoder.decode(vector("example"))
    assert f"Symbols: {decoded.symbols[0]}." in PAGE
    one = format_decoder.dequantize(decoded.symbols[0], decoded.content.header)
    quoted = re.search(r"Mean \((.*), (.*)\), scales (.*) and (.*), rotation (.*), grey (.*)\.$", PAGE, re.MULTILINE)
    assert quoted
    values: npt.NDArray[np.float64] = np.array([*one.mean, *one.scale, one.rotation, *one.color])
    np.testing.assert_allclose(values, [float(number) for number in quoted.groups()], rtol=1e-5)
