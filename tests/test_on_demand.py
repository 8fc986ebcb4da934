"""Files of which only what a view needs is read."""

from __future__ import annotations

import copy
import gc
import http.server
import pickle
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat import on_demand
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Extras
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.decoder import Reader
from smartsplat.errors import FormatError, LimitError, SettingsError, UnsupportedError
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata
from smartsplat.on_demand import OnDemand, merged
from tests.compare import scene

WIDTH, HEIGHT = 2000, 1500
REGIONS = ((0, 0, 100, 100), (1900, 1400, 100, 100), (950, 700, 64, 48), (0, 0, WIDTH, HEIGHT))


def packed(min_indexed_groups: int = 1, **extras: Any) -> bytes:
    gaussians, quantizer = scene(4000, WIDTH, HEIGHT, max_scale=8), Quantizer(90, 5, WIDTH, HEIGHT, 3)
    file = to_file(gaussians, quantizer, Extras(metadata=Metadata(**extras)), group_size=50)
    return container.pack(file, min_indexed_groups)


DATA = packed()
VECTOR = Path("tests/vectors/index.sspl").read_bytes()


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if small files were large, and requests cheap."""
    monkeypatch.setattr(on_demand, "MIN_BYTES", 1)
    monkeypatch.setattr(on_demand, "MAX_GAP", 256)
    monkeypatch.setattr(on_demand, "FIRST_BYTES", 3000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.sspl"
    file.write_bytes(DATA)
    return file


class Counted:
    """The ranges that are read of a file, instead of those that a reader asks of it."""

    def __init__(self, reader: Reader) -> None:
        assert reader._on_demand is not None
        self.ranges: list[tuple[int, int]] = []
        read = reader._on_demand._read

        def counted(ranges: Any) -> Any:
            self.ranges.extend(ranges)
            return read(ranges)

        reader._on_demand._read = counted  # type: ignore[method-assign]

    @property
    def bytes(self) -> int:
        return sum(count for _, count in self.ranges)


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_reads_only_what_it_needs(path: Path, region: tuple[int, int, int, int]) -> None:
    reader = smartsplat.open(path)
    counted = Counted(reader)
    expected = smartsplat.decode(DATA, region=region)
    assert np.array_equal(reader.read(region=region), expected)
    if region == REGIONS[-1]:
        assert len(counted.ranges) == 1, "nothing is left out, and one range is all of it"
    else:
        assert 0 < counted.bytes < len(DATA) / 10
        assert len(counted.ranges) <= 4
    seen = counted.bytes
    assert np.array_equal(reader.read(region=region), expected)
    assert np.array_equal(reader.strips(region=region).joined(), expected)
    assert counted.bytes == seen, "nothing is read twice"
    assert np.array_equal(reader.read(scale=0.1), smartsplat.decode(DATA, scale=0.1))
    assert counted.bytes < len(DATA)


def test_the_head_tells_what_the_file_holds(path: Path) -> None:
    reader = smartsplat.open(path)
    assert reader._on_demand is not None
    begin = container.head_size(DATA, len(DATA))
    assert begin is not None
    assert not any(reader._on_demand.bytes[begin + 3000 :]), "no group is there"
    whole = smartsplat.open(DATA).info
    assert reader.info == whole
    assert reader.info.version == "4.2"
    assert reader.info.bits_per_gaussian == whole.bits_per_gaussian
    assert reader.data == DATA
    assert np.array_equal(reader.gaussians().mean, smartsplat.open(DATA).gaussians().mean)


def test_a_preview_reads_less(path: Path) -> None:
    reader = smartsplat.open(path)
    counted = Counted(reader)
    preview = reader.read(scale=0.05, preview=True)
    assert counted.bytes < len(DATA)
    assert np.array_equal(preview, smartsplat.decode(DATA, scale=0.05, preview=True))


def test_metadata_longer_than_the_first_bytes(tmp_path: Path) -> None:
    xmp = np.random.default_rng(3).bytes(20000)
    path = tmp_path / "a.sspl"
    path.write_bytes(packed(xmp=xmp))
    reader = smartsplat.open(path)
    assert reader._on_demand is not None
    assert reader._on_demand.requests == 2
    assert reader.metadata.xmp == xmp
    assert np.array_equal(reader.read(scale=0.1), smartsplat.decode(DATA, scale=0.1))


def test_alpha_and_its_mask_are_read_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    path.write_bytes(VECTOR)
    for options in ({}, {"region": (100, 10, 40, 30)}, {"size": (30, 20)}, {"region": (0, 0, 150, 90), "scale": 2}):
        reader = smartsplat.open(path)
        assert reader._on_demand is not None
        assert np.array_equal(reader.read(**options), smartsplat.decode(VECTOR, **options))


def test_files_that_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sspl"
    for data in (packed(10**6), Path("tests/vectors/example.sspl").read_bytes()):
        path.write_bytes(data)
        reader = smartsplat.open(path)
        assert reader._on_demand is None
        assert reader.data == data
    monkeypatch.setattr(on_demand, "MIN_BYTES", len(DATA) + 1)
    path.write_bytes(DATA)
    assert smartsplat.open(path)._on_demand is None
    cut = smartsplat.open(DATA[:-9], partial=True)
    path.write_bytes(DATA[:-9])
    assert np.array_equal(smartsplat.open(path, partial=True).read(scale=0.1), cut.read(scale=0.1))


def test_an_index_is_written_where_there_are_many_groups() -> None:
    gaussians, quantizer = scene(640, 100, 100), Quantizer(90, 5, 100, 100, 3)
    for count, has_index in ((63, False), (64, True)):
        file = to_file(gaussians[: 10 * count], quantizer, group_size=10, min_layered_count=10**6)
        assert len(file.groups) == count
        assert (b"indx" in container.pack(file)[:60]) == has_index
        assert container.unpack(container.pack(file)) == file


def body_of(data: bytes, number: int) -> int:
    """Where a chunk's body begins."""
    count = int.from_bytes(data[32:36], "little")
    lengths = [int.from_bytes(data[40 + 16 * i : 44 + 16 * i], "little") for i in range(number)]
    return 36 + 16 * count + 4 + sum(lengths)


def resealed(data: bytearray, number: int) -> bytes:
    """With the right checksums again, after a change of a chunk or the table."""
    count = int.from_bytes(data[32:36], "little")
    begin = body_of(bytes(data), number)
    length = int.from_bytes(data[40 + 16 * number : 44 + 16 * number], "little")
    data[48 + 16 * number : 52 + 16 * number] = zlib.crc32(data[begin : begin + length]).to_bytes(4, "little")
    end = 36 + 16 * count
    data[end : end + 4] = zlib.crc32(data[:end]).to_bytes(4, "little")
    return bytes(data)


def test_a_damaged_group_is_found_when_it_is_needed(tmp_path: Path) -> None:
    data, path = bytearray(DATA), tmp_path / "a.sspl"
    data[-20] ^= 1  # of the last group, at the right
    path.write_bytes(data)
    reader = smartsplat.open(path)
    assert reader.read(region=(0, 0, 50, 50)).shape == (50, 50, 3)
    for _ in range(2):
        with pytest.raises(FormatError, match=r"^chunk \d+ is damaged: its checksum does not match$"):
            reader.read()
    with pytest.raises(FormatError, match="checksum does not match"):
        smartsplat.open(bytes(data))


@pytest.mark.parametrize("at", range(12))
def test_an_index_that_is_wrong(tmp_path: Path, at: int) -> None:
    """The checksum of the index is right, but it says something else than a group's header."""
    data, path = bytearray(DATA), tmp_path / "a.sspl"
    data[body_of(DATA, 0) + 12 * 3 + at] ^= 1
    path.write_bytes(resealed(data, 0))
    says = "another one in the index|claims|hold another number"
    with pytest.raises(FormatError, match=says):
        smartsplat.decode(path.read_bytes())
    with pytest.raises(FormatError, match=says):
        smartsplat.open(path).read()


def test_an_index_of_another_number_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    file = container.unpack(VECTOR)
    without = container.pack(file, 10**6)
    count = int.from_bytes(without[32:36], "little")
    table, bodies = without[36 : 36 + 16 * count], without[36 + 16 * count + 4 :]
    index = VECTOR[body_of(VECTOR, 0) : body_of(VECTOR, 1)]
    for body, says in (
        (index[:-12], "not in the index"),
        (index + index[:12], "index is of 8 groups, the file has 7"),
        (index[:-1], "no index"),
    ):
        entry = b"indx" + 2 * len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
        head = without[:32] + (count + 1).to_bytes(4, "little") + entry + table
        data = head + zlib.crc32(head).to_bytes(4, "little") + body + bodies
        path.write_bytes(data)
        for source in (data, path):
            with pytest.raises(FormatError, match=says):
                smartsplat.decode(source)


def test_any_byte_of_the_head_may_be_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    head = container.head_size(VECTOR, len(VECTOR))
    assert head is not None
    for at in range(head):
        data = bytearray(VECTOR)
        data[at] ^= 0x55
        path.write_bytes(data)
        with pytest.raises((FormatError, LimitError, UnsupportedError)):
            smartsplat.open(path).read()
    for end in range(0, len(VECTOR), 7):
        path.write_bytes(VECTOR[:end])
        with pytest.raises(FormatError):
            smartsplat.open(path).read()
    path.write_bytes(VECTOR + b"x")
    with pytest.raises(FormatError, match="1 bytes follow the last chunk"):
        smartsplat.open(path)


def test_a_file_that_is_shortened_while_it_is_open(path: Path) -> None:
    reader = smartsplat.open(path)
    path.write_bytes(DATA[:5000])
    with pytest.raises(FormatError, match=r"a\.sspl: cannot be read: \d+ bytes came of \d+"):
        reader.read()


def test_a_file_that_is_replaced_while_it_is_open(path: Path) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    reader = smartsplat.open(path)
    path.with_suffix(".new").write_bytes(VECTOR)
    path.with_suffix(".new").replace(path)
    assert np.array_equal(reader.read(scale=0.1), smartsplat.decode(DATA, scale=0.1)), "the one that was opened"
    assert smartsplat.open(path).width == 150
    path.write_bytes(DATA[:5000])
    with pytest.raises(FormatError):
        smartsplat.open(path)
    reader.close()
    gc.collect()
    if descriptors:
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


def test_limits(path: Path) -> None:
    with pytest.raises(LimitError, match="above the limit of 1000 bytes"):
        smartsplat.open(path, limits=Limits(file_bytes=1000))


def test_copies_and_threads(path: Path) -> None:
    reader = smartsplat.open(path, threads=1)
    region = REGIONS[2]
    expected = smartsplat.decode(DATA, region=region)
    dumped = pickle.dumps(reader)
    assert len(dumped) < 2000, "it is the path that is kept"
    for other in (pickle.loads(dumped), copy.copy(reader)):
        assert np.array_equal(other.read(region=region), expected)
    failures: list[bool] = []

    def read(index: int) -> None:
        own = (60 * index, 40 * index, 100, 100)
        failures.append(not np.array_equal(reader.read(region=own), smartsplat.decode(DATA, region=own)))

    threads = [threading.Thread(target=read, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [False] * 12
    reader.close()
    with pytest.raises(SettingsError, match="closed"):
        _ = reader.data


def test_ranges_are_merged_over_small_gaps() -> None:
    assert merged([(0, 10), (10, 5), (100, 20), (376, 1)]) == [(0, 377)]
    assert merged([(0, 10), (267, 5)]) == [(0, 10), (267, 5)]
    assert merged([(0, 300), (100, 20)]) == [(0, 300)]
    assert merged([]) == []


# ---- over HTTP -----------------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Knows ranges, as static hosts do; or not, as Python's own server."""

    knows_ranges = True
    asked: list[str | None]

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.asked.append(asked)
        file = Path(self.directory) / self.path.strip("/")
        if not file.exists():
            self.send_error(404)
            return
        data = file.read_bytes()
        if asked is None or not self.knows_ranges:
            self.send_response(200)
        else:
            begin, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
            data = data[begin : end + 1]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(path: Path) -> Iterator[tuple[str, type[Handler]]]:
    class Own(Handler):
        asked: list[str | None] = []  # noqa: RUF012

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Own, directory=str(path.parent)))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}", Own
    running.shutdown()
    running.server_close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_by_address(server: tuple[str, type[Handler]], knows_ranges: bool) -> None:
    base, handler = server
    handler.knows_ranges = knows_ranges
    reader = smartsplat.open(f"{base}/a.sspl")
    for region in REGIONS[:3]:
        assert np.array_equal(reader.read(region=region), smartsplat.decode(DATA, region=region))
    requests = [asked for asked in handler.asked if asked is not None]
    if knows_ranges:
        assert len(requests) <= 12
        read = sum(int(end) - int(begin) + 1 for begin, end in (each[6:].split("-") for each in requests))
        assert read < len(DATA) / 3
    else:
        assert len(requests) == 1, "what came was all of it"
    assert np.array_equal(smartsplat.decode(f"{base}/a.sspl", scale=0.1), smartsplat.decode(DATA, scale=0.1))
    assert pickle.loads(pickle.dumps(reader)).shape == reader.shape


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_addresses_that_cannot_be_read(server: tuple[str, type[Handler]]) -> None:
    base, _ = server
    with pytest.raises(FormatError, match=rf"^{base}/gone\.sspl: cannot be read: "):
        smartsplat.open(f"{base}/gone.sspl")
    with pytest.raises(FormatError, match=r"^http://127\.0\.0\.1:9/a\.sspl: cannot be read: "):
        smartsplat.open("http://127.0.0.1:9/a.sspl")
    with pytest.raises(SettingsError, match="nowhere://a: Protocol not known"):
        smartsplat.open("nowhere://a")


def test_an_empty_file(tmp_path: Path) -> None:
    assert not OnDemand("empty", 0, lambda ranges: [b"" for _ in ranges], Limits()).has_index
    with pytest.raises(LimitError, match=r"^a: the file is above the limit of 9 bytes$"):
        OnDemand("a", 10, lambda ranges: [], Limits(file_bytes=9))
