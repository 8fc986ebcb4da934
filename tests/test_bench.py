"""The benchmark's own promises on a small synthetic picture: budgets, the peers' search, resuming, tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from bench import codecs, images, report, run
from PIL import Image

import smartsplat
from smartsplat.errors import SettingsError
from smartsplat.metrics import psnr

ByteArray = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 119, 161
PEERS = [codecs.Jpeg, codecs.WebP, codecs.Avif]


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


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("byte_budget", [4000, 1200])
def test_a_peer_keeps_the_budget_and_shrinking_never_hurts(
    peer: type[codecs.ShrinkingCodec], byte_budget: int, picture: ByteArray
) -> None:
    values = []
    for shrinks in (codecs.SHRINKS, (1,)):
        tool = peer(shrinks)
        try:
            data, _ = tool.encode(picture, byte_budget)
        except codecs.BudgetError:
            values.append(-np.inf)
            continue
        assert len(data) <= byte_budget
        decoded = tool.decode(data, WIDTH, HEIGHT)
        assert decoded.shape == picture.shape
        assert decoded.dtype == np.uint8
        values.append(psnr(picture, decoded))
    assert values[0] > 15  # dB, by far more than a wrong picture has
    assert values[0] >= values[1]


def test_shrinking_pays_at_a_small_budget(picture: ByteArray) -> None:
    data, setting = codecs.Jpeg().encode(picture, 1000)
    with Image.open(io.BytesIO(data)) as image:
        assert image.width < WIDTH
    assert not setting.endswith(":s1")


@pytest.mark.parametrize("peer", PEERS)
def test_the_quality_is_the_largest_that_fits(peer: type[codecs.ShrinkingCodec], picture: ByteArray) -> None:
    tool = peer((1,))
    data, setting = tool.encode(picture, 4000)
    quality, _, chroma = setting.removeprefix("q").partition(":s1")
    sampling = next(each for each in tool.samplings if each.replace(":", "") == chroma.removeprefix(":"))
    image = Image.fromarray(picture)
    assert tool._file(image, int(quality), sampling) == data
    assert len(tool._file(image, int(quality) + 1, sampling)) > 4000


@pytest.mark.parametrize("peer", PEERS)
def test_a_hopeless_budget_is_refused(peer: type[codecs.ShrinkingCodec], picture: ByteArray) -> None:
    with pytest.raises(codecs.BudgetError, match="161x119 has 20 bytes"):
        peer().encode(picture, 20)


def test_codec_names() -> None:
    assert [codecs.codec(name).name for name in ("jpeg", "smartsplat:e7")] == ["jpeg", "smartsplat:e7"]
    for name in ("gif", "smartsplat", "smartsplat:e0", "smartsplat:e10"):
        with pytest.raises(ValueError, match="unknown codec"):
            codecs.codec(name)


def test_smartsplat_is_given_its_byte_target(picture: ByteArray, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(pixels: ByteArray, *, size: int, effort: int) -> bytes:
        if size < 100:
            raise SettingsError("too small")
        return bytes([effort]) * size

    monkeypatch.setattr(smartsplat, "encode", encode, raising=False)
    tool = codecs.codec("smartsplat:e3")
    assert tool.encode(picture, 100) == (bytes([3]) * 100, "e3")
    with pytest.raises(codecs.BudgetError, match="too small"):
        tool.encode(picture, 99)


def test_rows_are_measured_and_impossible_ones_say_none(subject: run.Subject, tmp_path: Path) -> None:
    assert run.measure_all([subject], ["jpeg"], [10, 5000], tmp_path / "rd.tsv") == 0
    measured, impossible = rows_of(tmp_path)
    size = HEIGHT * WIDTH * 3
    assert int(measured["bytes"]) <= size // 10
    assert float(measured["ratio"]) == pytest.approx(size / int(measured["bytes"]), rel=1e-5)
    assert float(measured["bpp"]) == pytest.approx(24 / float(measured["ratio"]), rel=1e-5)
    assert all(measured.values())
    assert impossible["setting"] == "none"
    assert impossible["psnr"] == impossible["bytes"] == ""
    assert impossible["width"] == "161"


def test_a_codec_that_fails_leaves_no_row(subject: run.Subject, tmp_path: Path) -> None:
    assert run.measure_all([subject], ["jpog"], [10], tmp_path / "rd.tsv") == 1
    assert rows_of(tmp_path) == []


def test_a_second_run_adds_only_what_is_missing(
    subject: run.Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measured_apart(path: Path, name: str, ratio: float) -> dict[str, object]:
        measured.append((name, ratio))
        return {"setting": "none"}

    monkeypatch.setattr(run, "measured_apart", measured_apart)
    run.measure_all([subject], ["jpeg"], [10, 20], tmp_path / "rd.tsv")
    with (tmp_path / "rd.tsv").open("a") as file:
        file.write("waves\t161\t119\tsynth")  # as if the machine had stopped here
    run.measure_all([subject], ["jpeg", "webp"], [20.0, 30.5], tmp_path / "rd.tsv")
    assert measured == [("jpeg", 10), ("jpeg", 20), ("webp", 20), ("jpeg", 30.5), ("webp", 30.5)]
    keys = [(row["picture"], row["codec"], float(row["ratio_target"])) for row in rows_of(tmp_path)]
    assert keys == [("waves", *row) for row in measured]


def test_a_table_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rd.tsv").write_text("picture\tbytes\n")
    with pytest.raises(ValueError, match="other columns"):
        run.measure_all([], [], [], tmp_path / "rd.tsv")


def example_row(picture: str, codec: str, ratio: int, quality: float | None) -> dict[str, str]:
    constants = {
        "width": "161",
        "height": "119",
        "recipe": "synthetic",
        "machine": "abacus",
        "versions": "one",
    }
    row = {"picture": picture, "codec": codec, "ratio_target": str(ratio), **constants}
    if quality is None:
        return row | {"setting": "none", "psnr": "", "ms_ssim": "", "bpp": ""}
    return row | {"setting": "x", "psnr": str(quality), "ms_ssim": str(quality / 100), "bpp": str(24 / ratio)}


EXAMPLE = [
    *(example_row("a", "jpeg", 50, 30), example_row("a", "webp", 50, 33)),
    *(example_row("b", "jpeg", 50, 40), example_row("b", "webp", 50, 41)),
    *(example_row("a", "jpeg", 200, None), example_row("a", "webp", 200, 25)),
    *(example_row("b", "jpeg", 200, 36), example_row("b", "webp", 200, 38)),
]


def test_the_table_has_means_over_the_shared_pictures() -> None:
    text = report.table(report.Results(EXAMPLE))
    assert "| 50 | 2 | 35.00 / 0.3500 | 37.00 / 0.3700 |" in text
    assert "| 200 | 1 | 36.00 / 0.3600 | 38.00 / 0.3800 |" in text  # picture a has no JPEG file
    assert "| a | 200 | none | 25.00 |" in text
    assert "a (161x119, synthetic)" in text
    assert "abacus" in text
    missing = report.table(report.Results(EXAMPLE[:-1]))
    assert "| b | 200 | 36.00 | - |" in missing


def test_the_report_replaces_the_table_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "results.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    write_table(tmp_path / "rd.tsv")
    monkeypatch.setattr(report, "draw", lambda results, folder: [])
    for _ in range(2):
        report.main([str(tmp_path / "rd.tsv"), "--into", str(page)])
        text = page.read_text()
        assert text.startswith(f"before\n{report.BEGIN}\nMean PSNR")
        assert text.endswith(f"\n{report.END}\nafter\n")
        assert "old" not in text
    page.write_text("no markers")
    with pytest.raises(ValueError, match="each once"):
        report.insert("x", page)


def test_the_plots_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the bench extra")
    results = report.Results(EXAMPLE)
    first, second = ([path.read_bytes() for path in report.draw(results, tmp_path / name)] for name in ("one", "two"))
    assert first == second
    assert all(b"webp" in svg for svg in first)


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


def write_table(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, EXAMPLE[0].keys(), delimiter="\t")
        writer.writeheader()
        writer.writerows(EXAMPLE)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "rd.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
