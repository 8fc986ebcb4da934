"""The benchmark's own promises on a small synthetic picture: budgets, the peers' search, resuming."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from bench import codecs, images, run
from PIL import Image

import smartsplat
from smartsplat.errors import SettingsError
from smartsplat.metrics import psnr

ByteArray = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 119, 161
PEERS = [codecs.Jpeg, codecs.WebP, codecs.Avif, codecs.JpegXl, codecs.Jpeg2000]
NO_WEIGHTS = Path("none")


@pytest.fixture(scope="module")
def picture() -> ByteArray:
    """Waves, an edge and noise; uint8 [119, 161, 3]."""
    row, column, channel = np.ogrid[:HEIGHT, :WIDTH, :3]
    waves = 120 + 80 * np.sin(row / (5 + channel)) * np.cos(column / 9) + 40 * (column > 2 * row)
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(waves + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def subject(picture: ByteArray, tmp_path: Path) -> run.Subject:
    path = tmp_path / "waves.npy"
    np.save(path, picture)
    return run.Subject("waves", "synthetic", path)


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> type[codecs.ShrinkingCodec]:
    if request.param is codecs.JpegXl:
        pytest.importorskip("pillow_jxl", reason="JPEG XL needs the bench extra")
    if request.param is codecs.Avif:
        pytest.importorskip("pyvips", reason="AVIF needs the bench extra")
    kind: type[codecs.ShrinkingCodec] = request.param
    return kind


def test_a_peer_keeps_the_budget_and_shrinking_never_hurts(
    peer: type[codecs.ShrinkingCodec], picture: ByteArray
) -> None:
    byte_budgets = [4000, 1200]
    values = []
    for shrinks in (codecs.SHRINKS, (1,)):
        tool = peer(shrinks)
        for file, byte_budget in zip(tool.encode(picture, byte_budgets), byte_budgets, strict=True):
            if file is None:
                values.append(-np.inf)
                continue
            assert len(file.data) <= byte_budget
            decoded = tool.decode(file.data, WIDTH, HEIGHT)
            assert decoded.shape == picture.shape
            assert decoded.dtype == np.uint8
            values.append(psnr(picture, decoded))
    with_shrinking, without = values[:2], values[2:]
    assert min(with_shrinking) > 15  # dB, by far more than a wrong picture has
    assert all(best >= plain for best, plain in zip(with_shrinking, without, strict=True))


def test_shrinking_pays_at_a_small_budget(picture: ByteArray) -> None:
    (file,) = codecs.Jpeg().encode(picture, [1000])
    assert file is not None
    with Image.open(io.BytesIO(file.data)) as image:
        assert image.width < WIDTH
    assert ":s1:" not in file.setting


def test_the_quality_is_the_largest_that_fits(peer: type[codecs.ShrinkingCodec], picture: ByteArray) -> None:
    tool = peer((1,))
    (file,) = tool.encode(picture, [4000])
    assert file is not None
    name, _, chroma = file.setting.partition(":s1")
    sampling = next(each for each in tool.samplings if each.replace(":", "") == chroma.removeprefix(":"))
    quality = next(each for each in tool.qualities if tool.quality_name(each) == name)
    image = Image.fromarray(picture)
    assert tool.file(image, sampling, quality) == file.data
    assert len(tool.file(image, sampling, quality + 1)) > 4000


def test_budgets_share_files_without_changing_the_result(picture: ByteArray, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = codecs.Jpeg.file

    def file(self: codecs.Jpeg, image: Image.Image, sampling: str, quality: int) -> bytes:
        made.append((image.width, sampling, quality))
        return original(self, image, sampling, quality)

    monkeypatch.setattr(codecs.Jpeg, "file", file)
    byte_budgets = [3000, 2000, 2900]
    together = codecs.Jpeg().encode(picture, byte_budgets)
    assert len(made) == len(set(made))
    apart = [codecs.Jpeg().encode(picture, [byte_budget])[0] for byte_budget in byte_budgets]
    assert [file and (file.data, file.setting) for file in together] == [
        file and (file.data, file.setting) for file in apart
    ]


def test_a_hopeless_budget_has_no_file(peer: type[codecs.ShrinkingCodec], picture: ByteArray) -> None:
    hopeless, possible = peer().encode(picture, [20, 5000])
    assert hopeless is None
    assert possible is not None


def test_avif_has_the_colours_of_the_picture(picture: ByteArray) -> None:
    """Colours converted as Pillow's encoder does it stay below 49 dB whatever the quality."""
    pytest.importorskip("pyvips", reason="AVIF needs the bench extra")
    tool = codecs.Avif((1,))
    assert psnr(picture, tool.decode(tool.file(Image.fromarray(picture), "4:4:4", 100), WIDTH, HEIGHT)) > 50


def test_codec_names() -> None:
    pytest.importorskip("pyvips", reason="AVIF needs the bench extra")
    names = ["jpeg", "jpeg2000", "avif:s9", "avif:s4:psnr", "smartsplat:e7"]
    assert [codecs.codec(name).name for name in names] == names
    for name in ("gif", "avif", "avif:s10", "avif:s4:ssim", "smartsplat", "smartsplat:e0", "smartsplat:e10"):
        with pytest.raises(ValueError, match="unknown codec"):
            codecs.codec(name)


def test_smartsplat_is_given_its_byte_target(picture: ByteArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(pixels: ByteArray, *, size: int, effort: int) -> bytes:
        if size < 100:
            raise SettingsError("too small")
        return bytes([effort]) * size

    monkeypatch.setattr(smartsplat, "encode", encode, raising=False)
    file, none = codecs.codec("smartsplat:e3").encode(picture, [100, 99])
    assert file is not None
    assert (file.data, file.setting) == (bytes([3]) * 100, "e3")
    assert none is None


def test_rows_are_measured_and_impossible_ones_say_none(subject: run.Subject, tmp_path: Path) -> None:
    assert run.measure_all([subject], ["jpeg"], [10, 5000], tmp_path / "rd.tsv", NO_WEIGHTS) == 0
    measured, impossible = rows_of(tmp_path)
    size = HEIGHT * WIDTH * 3
    assert int(measured["bytes"]) <= size // 10
    assert float(measured["ratio"]) == pytest.approx(size / int(measured["bytes"]), rel=1e-5)
    assert float(measured["bpp"]) == pytest.approx(24 / float(measured["ratio"]), rel=1e-5)
    assert {name for name, value in measured.items() if not value} <= {"lpips", "flip"}
    assert measured["lpips"] == ""
    assert impossible["setting"] == "none"
    assert impossible["psnr"] == impossible["bytes"] == ""
    assert impossible["width"] == "161"


def test_a_codec_that_fails_leaves_no_row(subject: run.Subject, tmp_path: Path) -> None:
    assert run.measure_all([subject], ["jpog"], [10, 20], tmp_path / "rd.tsv", NO_WEIGHTS) == 2
    assert rows_of(tmp_path) == []


def test_a_second_run_adds_only_what_is_missing(
    subject: run.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measured_apart(path: Path, name: str, ratios: list[float], weights: Path) -> Iterator[dict[str, object]]:
        for ratio in ratios:
            measured.append((name, ratio))
            yield {"setting": "none"}

    monkeypatch.setattr(run, "measured_apart", measured_apart)
    table = tmp_path / "rd.tsv"
    run.measure_all([subject], ["jpeg"], [10, 20], table, NO_WEIGHTS)
    with table.open("a") as file:
        file.write("waves\t161\t119\tsynth")  # as if the machine had stopped here
    assert run.measure_all([subject], ["jpeg", "smartsplat:e5"], [20.0, 30.5], table, NO_WEIGHTS) == 0
    own = [("smartsplat:e5", 20), ("smartsplat:e5", 30.5)]
    assert measured == [("jpeg", 10), ("jpeg", 20), ("jpeg", 30.5), *own]
    keys = [(row["picture"], row["codec"], float(row["ratio_target"])) for row in rows_of(tmp_path)]
    assert keys == [("waves", *row) for row in measured]


def test_a_process_that_breaks_off_keeps_its_finished_rows(
    subject: run.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = []

    def measured_apart(path: Path, name: str, ratios: list[float], weights: Path) -> Iterator[dict[str, object]]:
        groups.append(ratios)
        yield {"setting": "none"}

    monkeypatch.setattr(run, "measured_apart", measured_apart)
    codec_names = ["jpeg", "smartsplat:e5"]
    assert run.measure_all([subject], codec_names, [10, 20, 50], tmp_path / "rd.tsv", NO_WEIGHTS) == 2
    assert groups == [[10, 20, 50], [10], [20], [50]]  # a process of its own for each of SmartSplat's
    assert [row["ratio_target"] for row in rows_of(tmp_path)] == ["10", "10", "20", "50"]


def test_a_table_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rd.tsv").write_text("picture\tbytes\n")
    with pytest.raises(ValueError, match="other columns"):
        run.measure_all([], [], [], tmp_path / "rd.tsv", NO_WEIGHTS)


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(images.flattened(image)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_picture_is_prepared_once_with_rounded_sides(tmp_path: Path) -> None:
    original = images.source(images.PICOS, tmp_path)
    original.parent.mkdir(parents=True)
    Image.new("RGB", (11, 6), "red").save(original)
    images.prepare(images.PICOS, tmp_path)
    pixels = np.load(images.prepared(images.PICOS, tmp_path))
    assert pixels.shape == (3, 6, 3)
    with pytest.raises(ValueError, match="SHA-256"):
        images.fetch(tmp_path, (images.PICOS,))


def test_a_mosaic_has_the_middle_of_each_picture(tmp_path: Path) -> None:
    tiles = (images.PICOS, images.GLOBE, images.KLEIBER, images.PATAK)
    for tile, color in zip(tiles, ("red", "lime", "blue", "white"), strict=True):
        original = images.source(tile, tmp_path)
        original.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (10, 8))
        image.paste(color, (4, 4, 6, 6))
        image.save(original.with_suffix(".png"))
    at_full_size = tuple(
        dataclasses.replace(tile, file=str(Path(tile.file).with_suffix(".png")), factor=Fraction(1)) for tile in tiles
    )
    mosaic = images.Mosaic("mosaic", at_full_size, 2, (2, 4))
    whole = mosaic.pixels(tmp_path)
    assert whole.shape == (8, 4, 3)
    assert whole[2].tolist() == [[255, 0, 0]] * 2 + [[0, 255, 0]] * 2
    assert whole[6].tolist() == [[0, 0, 255]] * 2 + [[255, 255, 255]] * 2
    assert not whole[[0, 1, 4, 5]].any()


def test_a_fractal_is_its_formula_at_each_pixel() -> None:
    fractal = images.Fractal("fractal", 40, 33, -0.5 + 0.25j, 2.0)
    pixels = fractal.pixels(Path())
    assert pixels.shape == (33, 40, 3)
    for row, column in ((0, 0), (16, 20), (32, 39), (17, 3)):
        start = fractal.center + fractal.span / 40 * complex(column - 19.5, row - 16)
        place, count = 0j, 0.0
        for iteration in range(fractal.iterations):
            place = place * place + start
            if abs(place) > 4:
                count = iteration + 1 - math.log2(math.log(abs(place)))
                break
        color = [127.5 + 127.5 * math.sin(rate * count + phase) for rate, phase in ((0.11, 0), (0.13, 2), (0.17, 4))]
        assert np.abs(pixels[row, column] - np.array(color)).max() <= 1


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "rd.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
