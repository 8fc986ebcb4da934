from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from smartsplat import decoder
from smartsplat.bitstream import container
from smartsplat.bitstream.container import GAUSSIANS, SIGNATURE, Extras, File, Group, pack, unpack
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import MAX_POSITION_CELL_LOG2, MAX_QUALITY, Quantizer
from smartsplat.errors import FormatError, LimitError, SmartSplatError, UnsupportedError
from smartsplat.gaussians import Gaussians
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata
from tests.compare import scene

HEADER_FORMAT = "<8sBBBBIIBBBBBBBBII"
HEADER, ENTRY, CRC, GROUP_HEADER = 36, 16, 4, 12  # bytes
CHUNKS = 32  # where the header has the number of chunks
ICC = bytes(range(256)) * 4
PROFILE = b"iccp"


def sample(count: int = 200, channels: int = 3, icc: bytes | None = None, seed: int = 0, **groups: int) -> File:
    extras = Extras(metadata=Metadata(icc=icc))
    return to_file(scene(count, 96, 64, channels, seed), Quantizer(80, 3, 96, 64, channels), extras, **groups)


def several_groups(icc: bytes | None = None) -> bytes:
    return pack(sample(icc=icc, group_size=60))


def build(parts: list[tuple[bytes, bytes, int]], **header: int) -> bytes:
    """A file with right checksums, whatever its content: (type, stored bytes, claimed length) and header fields."""
    fields = {
        "major": container.MAJOR,
        "minor": 0,
        "channels": 3,
        "depth": 8,
        "width": 96,
        "height": 64,
        "primaries": 1,
        "transfer": 13,
        "quality": 80,
        "cell": 3,
        "alpha": 0,
        "alpha_quality": 0,
        "alpha_cell": 0,
    }
    fields |= {"reserved": 0, "count": 0, "chunks": len(parts)} | header
    head = struct.pack(HEADER_FORMAT, SIGNATURE, *fields.values())
    head += b"".join(struct.pack("<4sIII", kind, len(body), size, zlib.crc32(body)) for kind, body, size in parts)
    return head + struct.pack("<I", zlib.crc32(head)) + b"".join(body for _, body, _ in parts)


def chunks_of(data: bytes) -> list[tuple[bytes, bytes, int]]:
    (chunks,) = struct.unpack_from("<I", data, CHUNKS)
    start, chunks_found = HEADER + chunks * ENTRY + CRC, []
    for index in range(chunks):
        kind, stored, size, _ = struct.unpack_from("<4sIII", data, HEADER + index * ENTRY)
        chunks_found.append((kind, data[start : start + stored], size))
        start += stored
    return chunks_found


def mended(data: bytes) -> bytes:
    """The same bytes with every checksum made right, as far as the table of contents allows."""
    out = bytearray(data)
    (chunks,) = struct.unpack_from("<I", out, CHUNKS)
    table_end = HEADER + chunks * ENTRY
    start = table_end + CRC
    if start > len(out):
        return bytes(out)
    for index in range(chunks):
        at = HEADER + index * ENTRY
        (stored,) = struct.unpack_from("<I", out, at + 4)
        struct.pack_into("<I", out, at + 12, zlib.crc32(out[start : start + stored]))
        start += stored
    struct.pack_into("<I", out, table_end, zlib.crc32(out[:table_end]))
    return bytes(out)


def refused(data: bytes, error: type[SmartSplatError] = SmartSplatError, limits: Limits = Limits()) -> str:
    with pytest.raises(error) as caught:
        unpack(data, limits)
    (message,) = str(caught.value).splitlines()
    return message


def same(first: File, second: File) -> bool:
    return first == second


@pytest.mark.parametrize("icc", [None, ICC])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_files_come_back(count: int, channels: int, icc: bytes | None) -> None:
    file = sample(count, channels, icc)
    data = pack(file)
    again = unpack(data)
    assert same(file, again)
    assert again.count == count
    assert pack(again) == data


def test_several_groups_come_back() -> None:
    data = several_groups(ICC)
    file = unpack(data)
    assert [group.count for group in file.groups] == [60, 60, 60, 20]
    assert pack(file) == data
    coded = sum(len(group.data) for group in file.groups)
    assert container.overhead(4, Extras(metadata=Metadata(icc=ICC))) == len(data) - coded


def test_the_header_is_what_the_format_says() -> None:
    data = pack(sample())
    assert data.startswith(SIGNATURE)
    _, major, minor, *rest = struct.unpack_from(HEADER_FORMAT, data)
    assert (major, minor) == (container.MAJOR, 0)
    assert rest == [3, 8, 96, 64, 1, 13, 80, 3, 0, 0, 0, 0, 200, 1]
    assert build(chunks_of(data), count=200) == data


def test_gaussians_that_cost_nothing_are_padded_to_what_a_reader_accepts() -> None:
    """A reader bounds its allocation by the length of the bytes, and predictable Gaussians can fall below."""
    black = scene(4000, 96, 64)
    black.mean[:], black.scale[:], black.color[:] = 1, 1, 0
    file = to_file(black, Quantizer(0, 3, 96, 64, 3))
    assert len(file.groups[0].data) == 4000
    assert len(zlib.compress(file.groups[0].data)) < 4000 // 8
    assert unpack(pack(file)).count == 4000
    assert decoder.decode(pack(file)).shape == (64, 96, 3)


@pytest.mark.parametrize("icc", [None, ICC])
def test_every_truncation_is_refused(icc: bytes | None) -> None:
    data = several_groups(icc)
    for size in range(len(data)):
        refused(data[:size], FormatError)


def test_every_flipped_bit_of_the_header_is_refused() -> None:
    data = several_groups(ICC)
    table_end = HEADER + 5 * ENTRY + CRC
    for bit in range(8 * table_end):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


def test_flipped_bits_anywhere_are_refused() -> None:
    data = several_groups(ICC)
    for bit in np.random.default_rng(0).integers(0, 8 * len(data), 500):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


def test_spliced_files_are_refused() -> None:
    first, second = pack(sample(seed=1)), pack(sample(seed=2))
    for cut in range(1, min(len(first), len(second)), 7):
        spliced = first[:cut] + second[cut:]
        if spliced not in (first, second):
            refused(spliced, FormatError)


@pytest.mark.parametrize("extra", [b"\0", b"\n", b"more", bytes(1000)])
def test_trailing_bytes_are_refused(extra: bytes) -> None:
    assert "follow" in refused(pack(sample()) + extra, FormatError)


@pytest.mark.parametrize(
    "data", [b"", b"\x89", b"\x89SSP\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(100), b"x"]
)
def test_other_files_are_refused(data: bytes) -> None:
    refused(data, FormatError)


def test_random_bytes_are_refused() -> None:
    random = np.random.default_rng(0)
    for size in (1, 10, 40, 1000):
        refused(random.bytes(size), FormatError)
        refused(SIGNATURE + random.bytes(size))


def test_unknown_chunks() -> None:
    known = chunks_of(pack(sample()))
    for place in (0, 1):
        ancillary = [*known[:place], (b"note", b"hello", 5), *known[place:]]
        assert same(sample(), unpack(build(ancillary, count=200)))
        critical = [*known[:place], (b"NOTE", b"hello", 5), *known[place:]]
        assert "NOTE" in refused(build(critical, count=200), UnsupportedError)
    refused(build([*known, (b"\x00\n\x1b\xff", b"", 0)], count=200), UnsupportedError)


@pytest.mark.parametrize("major", [0, 1, 255])
def test_other_major_versions_are_not_supported(major: int) -> None:
    assert str(major) in refused(build(chunks_of(pack(sample())), count=200, major=major), UnsupportedError)


def test_later_minor_versions_are_read() -> None:
    assert same(sample(), unpack(build(chunks_of(pack(sample())), count=200, minor=9)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", 0),
        ("depth", 17),
        ("primaries", 0),
        ("transfer", 0),
        ("alpha", 2),
        ("alpha", 255),
        ("alpha_quality", 1),
        ("alpha_cell", 1),
        *(("reserved", 1 << bit) for bit in range(8)),
        ("channels", 0),
        ("channels", 2),
        ("channels", 4),
        ("channels", 255),
        ("width", 0),
        ("height", 0),
        ("quality", MAX_QUALITY + 1),
        ("quality", 255),
        ("cell", MAX_POSITION_CELL_LOG2 + 1),
        ("cell", 255),
        ("count", 199),
        ("count", 0),
        ("chunks", 0),
        ("chunks", 2),
        ("chunks", 1 << 16),
        ("chunks", (1 << 32) - 1),
    ],
)
def test_impossible_headers_are_refused(field: str, value: int) -> None:
    refused(build(chunks_of(pack(sample())), **{"count": 200} | {field: value}), FormatError)


@pytest.mark.parametrize(
    ("limits", "header"),
    [
        (Limits(side=95), {}),
        (Limits(pixels=96 * 64 - 1), {}),
        (Limits(gaussians=199), {}),
        (Limits(file_bytes=300), {}),
        (Limits(), {"width": (1 << 22) + 1}),
        (Limits(), {"height": (1 << 32) - 1}),
        (Limits(), {"width": 1 << 17, "height": 1 << 16}),
        (Limits(), {"count": (1 << 26) + 1}),
        (Limits(), {"count": (1 << 32) - 1}),
    ],
)
def test_limits(limits: Limits, header: dict[str, int]) -> None:
    data = build(chunks_of(pack(sample())), **{"count": 200} | header)
    assert "limit" in refused(data, LimitError, limits)


def test_limits_allow_what_is_as_large_as_they_are() -> None:
    data = pack(sample())
    limits = Limits(side=96, pixels=96 * 64, gaussians=200, file_bytes=len(data))
    assert unpack(data, limits).count == 200


def group_chunk(count: int, size: int, reach: tuple[int, ...] = (0, 0, 2, 1)) -> tuple[bytes, bytes, int]:
    body = struct.pack("<I4H", count, *reach) + bytes(size)
    return GAUSSIANS, body, len(body)


@pytest.mark.parametrize(
    "chunk",
    [
        (GAUSSIANS, b"", 0),
        (GAUSSIANS, bytes(GROUP_HEADER - 1), GROUP_HEADER - 1),
        group_chunk(1000, 124),
        group_chunk((1 << 32) - 1, 10),
        (GAUSSIANS, bytes(100), 99),
    ],
)
def test_impossible_groups_are_refused(chunk: tuple[bytes, bytes, int]) -> None:
    refused(build([chunk], count=struct.unpack_from("<I", chunk[1].ljust(4, b"\0"))[0] & (1 << 25) - 1), FormatError)


def test_counts_that_add_up_above_the_limit_are_refused() -> None:
    chunk = group_chunk(150, 20)
    refused(build([chunk] * 4, count=600), LimitError, Limits(gaussians=599))


def profile(icc: bytes, claimed: int | None = None, level: int = 9) -> tuple[bytes, bytes, int]:
    return PROFILE, zlib.compress(icc, level), len(icc) if claimed is None else claimed


@pytest.mark.parametrize(
    "chunk",
    [
        profile(ICC, len(ICC) - 1),
        profile(ICC, len(ICC) + 1),
        profile(ICC, 0),
        profile(b"", 5),
        (PROFILE, b"", 0),
        (PROFILE, b"not deflated", 12),
        (PROFILE, zlib.compress(ICC)[:-1], len(ICC)),
        (PROFILE, zlib.compress(ICC) + b"\0", len(ICC)),
    ],
)
def test_impossible_profiles_are_refused(chunk: tuple[bytes, bytes, int]) -> None:
    refused(build([chunk]), FormatError)


def test_a_second_profile_is_refused() -> None:
    """A thousand that each unpack to the limit would keep a reader busy for a long time."""
    assert "second" in refused(build([profile(ICC), profile(ICC)]), FormatError)


def peak_memory(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_profile_that_unpacks_to_much_more_than_it_claims() -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    assert len(bomb) < 1 << 17
    small, large = build([(PROFILE, bomb, 1000)]), build([(PROFILE, bomb, 1 << 26)])
    assert peak_memory(lambda: refused(small, FormatError)) < 1 << 20
    assert peak_memory(lambda: refused(large, LimitError)) < 1 << 20


def test_claims_do_not_allocate() -> None:
    """What a header claims costs nothing before the bytes that would back it are there."""
    claims: list[dict[str, int]] = [
        {"count": 1 << 26},
        {"chunks": 1 << 16},
        {"width": 1 << 15, "height": 1 << 15, "count": 1 << 26},
    ]
    for claim in claims:
        data = build([group_chunk(1 << 25, 10)], **claim)
        assert peak_memory(lambda data=data: refused(data)) < 1 << 20


def decoded_or_refused(data: bytes) -> np.ndarray | None:
    """Decodes hostile bytes as far as they go; nothing but SmartSplatError may come out."""
    limits = Limits(pixels=1 << 20, side=1 << 12, gaussians=1 << 16)
    try:
        reader = decoder.Reader(data, threads=1, limits=limits)
        whole = reader.read()
        reader.read(region=(0, 0, 1, 1))
        assert len(reader.gaussians()) == reader.info.gaussians
    except SmartSplatError as error:
        (_,) = str(error).splitlines()
        return None
    assert whole.shape == (reader.height, reader.width, reader.channels)
    return whole


@pytest.mark.parametrize("channels", [1, 3])
def test_damage_behind_right_checksums(channels: int) -> None:
    """What CRCs catch by chance is let through here, so that it reaches every later stage."""
    data = pack(sample(150, channels, ICC, group_size=60))
    random = np.random.default_rng(channels)
    decoded = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            # A third of the damage goes to the header and the table, which are a small part of the file.
            place = random.integers(8, HEADER + 4 * ENTRY) if random.random() < 0.33 else random.integers(8, len(data))
            damaged[place] = random.integers(256) if random.random() < 0.5 else damaged[place] ^ 1 << random.integers(8)
        decoded += decoded_or_refused(mended(bytes(damaged))) is not None
    assert 10 < decoded < 290, "both outcomes are tested"


def test_random_gaussians_behind_right_checksums() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        quality, cell = int(random.integers(MAX_QUALITY + 1)), int(random.integers(MAX_POSITION_CELL_LOG2 + 1))
        count = int(random.integers(1, 20))
        body = struct.pack("<I4H", count, 0, 0, 65535, 65535) + random.bytes(int(random.integers(3, 30 * count)))
        width, height = random.integers(1, 300, 2).tolist()
        decoded_or_refused(
            build([(GAUSSIANS, body, len(body))], quality=quality, cell=cell, count=count, width=width, height=height)
        )


def extreme_file(value: float, color: float, quality: int) -> bytes:
    gaussians = scene(40, 96, 64)
    gaussians.scale[:, 0] = value
    gaussians.color[:] *= color
    return pack(to_file(gaussians, Quantizer(quality, 3, 96, 64, 3)))


@pytest.mark.parametrize("quality", [0, 80, MAX_QUALITY])
def test_gaussians_at_the_bounds_of_the_format_are_rendered(quality: int) -> None:
    for value in (0.25, 65536.0, 1e30):
        for color in (1e-30, 1e30):
            data = extreme_file(value, color, quality)
            assert decoder.decode(data).shape == (64, 96, 3)
            assert decoder.decode(data, scale=0.1).shape == (6, 10, 3)
            assert decoder.decode(data, region=(95, 63, 1, 1), size=(50, 50)).shape == (50, 50, 3)


def test_a_small_file_cannot_keep_a_reader_busy() -> None:
    """Gaussians as large as the image cost bits each to store and the whole image each to render."""
    count, width, height = 20_000, 8192, 8192
    gaussians = Gaussians(
        np.full((count, 2), 4000, np.float32),
        np.full((count, 2), 60_000, np.float32),
        np.zeros(count, np.float32),
        np.full((count, 1), 1e-4, np.float32),
    )
    data = pack(to_file(gaussians, Quantizer(0, 12, width, height, 1)))
    assert len(data) < 100_000
    reader = decoder.Reader(data, threads=1)
    for view in ({}, {"region": (0, 0, 64, 64)}, {"scale": 0.01}):
        with pytest.raises(LimitError, match="lie over each"):
            reader.read(**view)
    allowed = decoder.Reader(data, threads=1, limits=Limits(overlap=count))
    assert allowed.read(region=(0, 0, 16, 16)).shape == (16, 16, 1)


def test_a_small_file_cannot_fill_the_memory() -> None:
    """Thin Gaussians along a diagonal cover little, but the boxes around them take a list entry for every tile."""
    count, side = 16_000, 2048
    gaussians = Gaussians(
        np.full((count, 2), side / 2, np.float32),
        np.tile(np.float32([448, 3.5]), (count, 1)),
        np.full(count, np.pi / 4, np.float32),
        np.full((count, 1), 1e-4, np.float32),
    )
    data = pack(to_file(gaussians, Quantizer(80, 11, side, side, 1)))
    assert len(data) < 100_000
    with pytest.raises(LimitError, match="lie over each"):
        decoder.decode(data)
    few = pack(to_file(gaussians[: count // 100], Quantizer(80, 11, side, side, 1)))
    assert decoder.decode(few).shape == (side, side, 1)


def test_a_group_with_an_empty_extent_is_not_rendered() -> None:
    file = sample()
    (group,) = file.groups
    with_empty_extent = File(file.quantizer, (Group(group.count, (0, 0, 0, 0), group.data),))
    assert not decoder.decode(pack(with_empty_extent)).any()
