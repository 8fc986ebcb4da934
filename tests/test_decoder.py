from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import smartsplat
from smartsplat import metrics, planes
from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.container import Extras
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import FormatError, LimitError, SettingsError
from smartsplat.gaussians import Gaussians
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.samples import landscape, sources

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDTH, HEIGHT = 300, 200
IMAGE = landscape(96, 64)


def packed(
    count: int = 600, channels: int = 3, max_scale: float = 12, icc: bytes | None = None, **groups: int
) -> bytes:
    """A file of random Gaussians, which needs no fit."""
    gaussians = scene(count, WIDTH, HEIGHT, channels, max_scale=max_scale)
    extras = Extras(metadata=Metadata(icc=icc))
    return container.pack(to_file(gaussians, Quantizer(90, 3, WIDTH, HEIGHT, channels), extras, **groups))


FILE = packed()


def difference(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Differences of two images of one shape, code values; never more than one.

    float32 is rounded near ties, and the coarser grids of wide Gaussians start at the region.
    """
    assert actual.shape == expected.shape
    differences = np.abs(actual.astype(int) - expected)
    assert differences.max() <= 1
    return differences


def smooth_file() -> bytes:
    """Large Gaussians, no clipping: minified, they must equal the average of the pixels."""
    gaussians = scene(80, WIDTH, HEIGHT, min_scale=6, max_scale=40)
    gaussians.color[:] = np.abs(gaussians.color) * 0.3 + 0.03
    return container.pack(to_file(gaussians, Quantizer(110, 5, WIDTH, HEIGHT, 3)))


def box_average(pixels: np.ndarray, columns: int, rows: int) -> np.ndarray:
    image = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "region", [(0, 0, 1, 1), (0, 0, 64, 64), (37, 21, 101, 77), (299, 199, 1, 1), (64, 0, 236, 200)]
)
def test_a_region_is_the_crop_of_the_whole(region: tuple[int, int, int, int], channels: int) -> None:
    data = packed(channels=channels)
    whole = smartsplat.decode(data)
    assert whole.shape == (HEIGHT, WIDTH, channels)
    assert whole.std() > 20
    x, y, width, height = region
    part = smartsplat.decode(data, region=region)
    assert difference(part, whole[y : y + height, x : x + width]).mean() < 5e-3


def test_regions_of_several_groups_are_crops_of_the_whole() -> None:
    data = packed(group_size=40)
    whole = smartsplat.decode(data)
    assert np.array_equal(whole, smartsplat.decode(FILE))
    random = np.random.default_rng(0)
    differences: list[np.ndarray] = []
    for _ in range(30):
        x, y = int(random.integers(WIDTH)), int(random.integers(HEIGHT))
        width, height = int(random.integers(1, WIDTH - x + 1)), int(random.integers(1, HEIGHT - y + 1))
        part = smartsplat.decode(data, region=(x, y, width, height))
        differences.append(difference(part, whole[y : y + height, x : x + width]).ravel())
    assert np.concatenate(differences).mean() < 5e-3


def test_a_region_decodes_only_the_groups_that_touch_it() -> None:
    data = packed(max_scale=3, group_size=25)
    reader = smartsplat.open(data)

    def decoded() -> int:
        assert isinstance(reader._planes, planes.CpuPlanes)
        return reader._planes._decoder.decoded_groups

    assert (reader.info.groups, decoded()) == (24, 0)
    corner = reader.read(region=(0, 0, 20, 20))
    first = decoded()
    assert 1 <= first <= 8
    assert np.array_equal(reader.read(region=(0, 0, 20, 20)), corner)
    assert decoded() == first, "nothing is decoded twice"
    reader.read(region=(280, 180, 20, 20))
    assert first + 1 <= decoded() <= first + 8
    whole = reader.read()
    assert decoded() == 24
    assert np.array_equal(whole[:20, :20], corner)


def test_what_there_is_of_a_partial_file_is_rendered() -> None:
    data = packed(icc=SRGB, group_size=25, min_layered_count=100)
    whole = smartsplat.decode(data)
    groups = container.unpack(data).groups
    end, errors = len(data) - sum(len(group.data) + 12 for group in groups), []
    for index, group in enumerate(groups):
        with pytest.raises(FormatError, match="bytes"):
            smartsplat.decode(data[: end + 12])
        end += len(group.data) + 12
        reader = smartsplat.open(data[:end], partial=True)
        assert reader.info.groups == index + 1
        assert reader.icc == SRGB
        errors.append(float(np.abs(reader.read().astype(int) - whole).mean()))
        if index + 1 < len(groups):
            longer = data[: end + 12 + len(groups[index + 1].data) - 1]
            assert np.array_equal(smartsplat.decode(longer, partial=True), reader.read())
    assert errors[-1] == 0
    assert errors[len(errors) // 4] < errors[0] / 2, "the Gaussians with the most energy come first"
    for size in (0, 20, end - sum(len(group.data) + 12 for group in groups) + 12):
        with pytest.raises(FormatError):
            smartsplat.open(data[:size], partial=True)
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        smartsplat.open(bytes(damaged), partial=True)


MACROTILE = 256  # rows that strips are cut at

VIEWS: list[dict[str, Any]] = [
    {"scale": 3},
    {"scale": 1.7},
    {"size": (150, 777)},
    {"region": (37, 21, 201, 157), "scale": 3.3},
    {"region": (10, 20, 55, 44), "size": (101, 2 * MACROTILE)},
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", VIEWS)
def test_strips_are_the_rows_of_the_whole(
    options: dict[str, Any], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = smartsplat.open(packed(channels=channels, group_size=100))
    whole = reader.read(**options)
    monkeypatch.setattr(planes, "STRIP_PIXELS", 1)
    strips = reader.strips(**options)
    parts = list(strips.parts)
    assert [len(part) for part in parts[:-1]] == [MACROTILE] * (len(parts) - 1)
    assert 2 <= len(parts) <= 4
    assert strips.shape == whole.shape
    assert np.array_equal(np.concatenate(parts), whole)


def test_strips_of_an_image_are_rendered_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []
    rows = planes.CpuPlanes._rows

    def counting(self: planes.CpuPlanes, rendering: Any, view: View, top: int, *rest: Any) -> Any:
        rendered.append(top)
        return rows(self, rendering, view, top, *rest)

    monkeypatch.setattr(planes.CpuPlanes, "_rows", counting)
    monkeypatch.setattr(planes, "STRIP_PIXELS", 1)
    parts = iter(smartsplat.open(FILE).strips(scale=3).parts)
    assert rendered == []
    next(parts)
    assert rendered == [0]
    assert [len(part) for part in parts] == [256, 88]


def test_strips_complain_before_the_first_one() -> None:
    damaged = bytearray(FILE)
    damaged[-40:] = bytes(40)
    table = struct.calcsize("<8sBBBBIIBBBBBBBBII")
    kind, stored, unpacked, _ = struct.unpack_from("<4sIII", FILE, table)
    struct.pack_into("<4sIII", damaged, table, kind, stored, unpacked, zlib.crc32(damaged[-stored:]))
    struct.pack_into("<I", damaged, table + 16, zlib.crc32(damaged[: table + 16]))
    with pytest.raises(FormatError, match="damaged Gaussians"):
        smartsplat.open(bytes(damaged)).strips()
    with pytest.raises(SettingsError):
        smartsplat.open(FILE).strips(scale=0)
    with pytest.raises(LimitError):
        smartsplat.open(FILE).strips(scale=1e4)


def test_minified_regions_include_gaussians_outside_their_edge() -> None:
    """The pixel filter is wider than a pixel: groups that do not touch the region itself may matter."""
    whole = smartsplat.open(FILE)
    split = smartsplat.open(packed(group_size=10))
    for region in ((64, 64, 64, 64), (0, 128, 128, 72), (130, 60, 40, 40)):
        for scale in (0.5, 0.1, 0.05):
            assert np.array_equal(split.read(region=region, scale=scale), whole.read(region=region, scale=scale))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (200, 300)),
        ({"scale": 1}, (200, 300)),
        ({"scale": 0.5}, (100, 150)),
        ({"scale": 2.5}, (500, 750)),
        ({"scale": 1e-9}, (1, 1)),
        ({"size": (7, 11)}, (11, 7)),
        ({"size": [7, 11]}, (11, 7)),
        ({"region": (10, 20, 30, 40)}, (40, 30)),
        ({"region": (10, 20, 30, 40), "scale": 0.1}, (4, 3)),
        ({"region": (10, 20, 30, 40), "size": (60, 20)}, (20, 60)),
    ],
)
def test_first_the_region_then_the_size(options: dict[str, Any], shape: tuple[int, int]) -> None:
    assert smartsplat.decode(FILE, **options).shape == (*shape, 3)


def test_a_scale_is_a_size() -> None:
    assert np.array_equal(smartsplat.decode(FILE, scale=0.5), smartsplat.decode(FILE, size=(150, 100)))
    assert np.array_equal(smartsplat.decode(FILE, scale=1), smartsplat.decode(FILE))


@pytest.mark.parametrize("factor", [2, 3, 5, 10])
def test_a_minified_image_is_the_average_of_the_pixels(factor: int) -> None:
    data = smooth_file()
    whole = smartsplat.decode(data)
    assert whole.mean() > 40
    assert whole.max() < 255, "nothing is clipped"
    columns, rows = WIDTH // factor, HEIGHT // factor
    small = smartsplat.decode(data, size=(columns, rows))
    average = box_average(whole[: rows * factor, : columns * factor], columns, rows)
    # A side that the factor does not divide moves the pixels of the two a little.
    if WIDTH % factor == 0 and HEIGHT % factor == 0:
        assert metrics.psnr(average, small) > 35
    assert abs(small.mean() - whole.mean()) < 2


def test_a_minified_encode_looks_like_its_average() -> None:
    data = smartsplat.encode(IMAGE, ratio=15, steps=60, threads=1)
    small = smartsplat.decode(data, scale=0.25)
    assert metrics.psnr(box_average(smartsplat.decode(data), 24, 16), small) > 30


@pytest.mark.parametrize("factor", [2, 3])
def test_a_magnified_image_goes_through_the_pixels(factor: int) -> None:
    data = smooth_file()
    whole = smartsplat.decode(data)
    large = smartsplat.decode(data, scale=factor)
    assert metrics.psnr(whole, box_average(large, WIDTH, HEIGHT)) > 40
    if factor == 3:  # the middle one of three lies where the pixel was
        assert np.abs(large[1::3, 1::3].astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"region": (-1, 0, 5, 5)},
        {"region": (0, 0, 0, 5)},
        {"region": (0, 0, 5, -5)},
        {"region": (0, 0, 301, 5)},
        {"region": (299, 199, 2, 1)},
        {"size": (0, 5)},
        {"size": (5, -1)},
        {"size": (5, 5), "scale": 1},
        {"scale": 0},
        {"scale": -1},
        {"scale": float("nan")},
        {"scale": float("inf")},
    ],
)
def test_views_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        smartsplat.decode(FILE, **options)


@pytest.mark.parametrize(
    "options", [{"size": ((1 << 22) + 1, 1)}, {"size": (60_000, 60_000)}, {"scale": 1e4}, {"scale": 1e307}]
)
def test_outputs_above_the_limits(options: dict[str, Any]) -> None:
    with pytest.raises(LimitError, match="limit"):
        smartsplat.decode(FILE, **options)


def test_own_limits() -> None:
    limits = Limits(pixels=WIDTH * HEIGHT)
    assert smartsplat.decode(FILE, limits=limits).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(LimitError):
        smartsplat.decode(FILE, scale=1.1, limits=limits)
    limits = Limits(output_pixels=WIDTH * HEIGHT - 1)
    with pytest.raises(LimitError, match=f"and {WIDTH * HEIGHT - 1} in all"):
        smartsplat.decode(FILE, limits=limits)
    assert sum(map(len, smartsplat.open(FILE, limits=limits).strips().parts)) == HEIGHT, "that is not at once"
    with pytest.raises(LimitError):
        smartsplat.open(FILE, limits=Limits(file_bytes=len(FILE) - 1))


def test_a_preview_of_very_many_gaussians_is_not_refused() -> None:
    """All of them lie over a few pixels: what counts as too much work must allow for that."""
    data = packed(30_000, max_scale=2)
    assert smartsplat.decode(data, size=(3, 2)).shape == (2, 3, 3)
    assert smartsplat.decode(data, size=(1, 1)).shape == (1, 1, 3)


def test_files_come_from_anywhere(tmp_path: Path) -> None:
    whole = smartsplat.decode(FILE)
    for source in (*sources(tmp_path, FILE).values(), io.BytesIO(FILE)):
        assert np.array_equal(smartsplat.decode(source), whole)
    with sources(tmp_path, FILE)["path"].open("rb") as file:
        assert np.array_equal(smartsplat.open(file).read(), whole)
        assert not file.closed


def test_a_file_comes_through_a_pipe() -> None:
    reading, writing = os.pipe()
    feeder = threading.Thread(target=lambda: (os.write(writing, FILE), os.close(writing)))
    feeder.start()
    with open(reading, "rb") as file:
        assert smartsplat.open(file).width == WIDTH
    feeder.join()


@pytest.mark.parametrize("name", ["missing.sspl", ".", "missing/a.sspl", "x" * 300])
def test_files_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        smartsplat.open(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(str(tmp_path))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.sspl"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitError, match=r"huge\.sspl"):
        smartsplat.open(path)


def test_the_reader_tells_what_the_file_holds() -> None:
    data = packed(icc=SRGB, group_size=250)
    reader = smartsplat.open(data)
    info = reader.info
    assert (reader.width, reader.height, reader.channels) == (WIDTH, HEIGHT, 3)
    assert (info.width, info.height, info.channels) == (WIDTH, HEIGHT, 3)
    assert (info.gaussians, info.groups, info.quality, info.version) == (600, 3, 90, "4.0")
    assert info.bytes == len(data)
    assert info.ratio == pytest.approx(3 * WIDTH * HEIGHT / len(data))
    assert info.bpp == pytest.approx(8 * len(data) / (WIDTH * HEIGHT))
    assert info.icc_bytes == len(SRGB)
    assert reader.icc == SRGB
    assert len(reader.gaussians()) == 600


@pytest.mark.parametrize("group", [100, 8192])
def test_every_byte_is_accounted_for(group: int) -> None:
    data = packed(icc=SRGB, group_size=group)
    info = smartsplat.open(data).info
    assert info.container_bytes == container.overhead(info.groups, Extras(metadata=Metadata(icc=SRGB)))
    assert tuple(info.bits_per_gaussian) == entropy.ATTRIBUTES
    coded = sum(info.bits_per_gaussian.values()) * info.gaussians / 8
    assert abs(info.container_bytes + coded - len(data)) < 6 * info.groups


def test_info_of_an_empty_file() -> None:
    data = container.pack(to_file(Gaussians.empty(1), Quantizer(80, 3, 5, 4, 1)))
    info = smartsplat.open(data).info
    assert (info.gaussians, info.groups, info.bytes, info.container_bytes) == (0, 0, len(data), len(data))
    assert not any(info.bits_per_gaussian.values())
    assert np.array_equal(smartsplat.decode(data), np.zeros((4, 5, 1)))
    assert np.array_equal(smartsplat.decode(data, scale=3), np.zeros((12, 15, 1)))


@pytest.mark.parametrize("variant", ["v2", "v3", "v4"])
def test_every_instruction_set_decodes_the_same_pixels(variant: str) -> None:
    try:
        renderer = CpuRenderer(1, variant)
    except ValueError:
        pytest.skip(f"this processor does not run {variant}")
    reader = smartsplat.open(FILE, threads=1)
    for view in (View.whole(WIDTH, HEIGHT), View(20, 30, 100, 90, 40, 33), View(20, 30, 50, 50, 190, 170)):
        region = (int(view.x), int(view.y), int(view.width), int(view.height))
        expected = reader.read(region=region, size=(view.columns, view.rows)).astype(int)
        assert np.abs(renderer.render_samples(reader.gaussians(), view) - expected).max() <= 1


def test_threads_do_not_change_the_pixels() -> None:
    data = packed(group_size=50)
    one, four = (smartsplat.decode(data, threads=threads) for threads in (1, 4))
    assert np.array_equal(one, four)


def test_readers_can_be_used_by_several_threads() -> None:
    reader = smartsplat.open(packed(group_size=50))
    regions = [(0, 0, 300, 200), (10, 20, 90, 80), (150, 50, 120, 100), (0, 100, 300, 100)]
    results: dict[tuple[int, int, int, int], np.ndarray] = {}

    def read(region: tuple[int, int, int, int]) -> None:
        results[region] = reader.read(region=region)

    threads = [threading.Thread(target=read, args=(region,)) for region in regions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    whole = smartsplat.decode(FILE)
    for (x, y, width, height), pixels in results.items():
        difference(pixels, whole[y : y + height, x : x + width])


# ---- arguments, closing, copying ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"region": (1, 2, 3)}, "region must be 4 whole numbers"),
        ({"region": "0,0,9,9"}, "region must be 4 whole numbers"),
        ({"region": (0, 0, 1.5, 2)}, "region must be 4 whole numbers"),
        ({"size": 5}, "size must be 2 whole numbers"),
        ({"size": (0, 5)}, "0 x 5 pixels is empty"),
        ({"scale": "2"}, "scale must be a positive number"),
        ({"scale": float("nan")}, "scale must be a positive number"),
        ({"dtype": np.float32}, "dtype must be uint8 or uint16, not float32"),
        ({"dtype": "no"}, "dtype must be uint8 or uint16"),
        ({"background": (300, 0, 0)}, "background must be three numbers from 0 to 255"),
        ({"background": "white"}, "background must be 3 whole numbers"),
        ({"threads": -3}, "threads must be a whole number of at least 1, not -3"),
        ({"threads": 1.5}, "threads must be a whole number"),
    ],
)
def test_every_argument_is_checked_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        smartsplat.decode(FILE, **options)


def test_text_streams_and_other_things_are_refused() -> None:
    for source in (io.StringIO("words"), 5, None):
        with pytest.raises(SettingsError, match="bytes, a path or an open binary file"):
            smartsplat.open(source)  # type: ignore[arg-type]


def test_a_stream_is_read_from_its_beginning_if_it_has_one() -> None:
    written = io.BytesIO()
    written.write(FILE)
    assert np.array_equal(smartsplat.decode(written), smartsplat.decode(FILE))

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation

    assert np.array_equal(smartsplat.decode(Pipe(FILE)), smartsplat.decode(FILE))


def test_a_reader_closes() -> None:
    with smartsplat.open(FILE) as reader:
        whole = reader.read()
    assert whole.shape == reader.shape
    for call in (reader.read, reader.strips, reader.gaussians):
        with pytest.raises(SettingsError, match="closed"):
            call()
    with pytest.raises(SettingsError, match="closed"):
        copy.copy(reader)
    reader.close()


def test_readers_are_copied_and_pickled() -> None:
    reader = smartsplat.open(FILE, threads=1)
    expected = reader.read(scale=0.5)
    for other in (copy.copy(reader), copy.deepcopy(reader), pickle.loads(pickle.dumps(reader))):
        assert np.array_equal(other.read(scale=0.5), expected)
