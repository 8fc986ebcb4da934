"""The table of a run on a small image: whole rows, resuming, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.images import PreparedImage
from bench.rate_distortion import run
from bench.tables import read_rows
from smartsplat.arrays import ByteArray
from tests.bench.rate_distortion.conftest import HEIGHT, WIDTH

NO_WEIGHTS = Path("none")


@pytest.fixture
def subject(image: ByteArray, tmp_path: Path) -> PreparedImage:
    path = tmp_path / "waves.npy"
    np.save(path, image)
    return PreparedImage("waves", "synthetic", path)


def test_rows_are_measured_and_impossible_ones_say_none(subject: PreparedImage, tmp_path: Path) -> None:
    assert run.measure_all([subject], ["jpeg"], [10, 5000], tmp_path / "rd.tsv", NO_WEIGHTS) == 0
    measured, impossible = rows_of(tmp_path)
    size = HEIGHT * WIDTH * 3
    assert int(measured["bytes"]) <= size // 10
    assert float(measured["ratio"]) == pytest.approx(size / int(measured["bytes"]), rel=1e-5)
    assert float(measured["bpp"]) == pytest.approx(24 / float(measured["ratio"]), rel=1e-5)
    optional = {"ssimulacra2", "lpips", "dists", "wasserstein", "flip"}
    assert {name for name, value in measured.items() if not value} <= optional
    assert measured["lpips"] == ""
    assert impossible["setting"] == "none"
    assert impossible["psnr"] == impossible["bytes"] == ""
    assert impossible["width"] == "161"


def test_a_codec_that_fails_leaves_no_row(subject: PreparedImage, tmp_path: Path) -> None:
    assert run.measure_all([subject], ["jpog"], [10, 20], tmp_path / "rd.tsv", NO_WEIGHTS) == 2
    assert rows_of(tmp_path) == []


def test_a_second_run_adds_only_what_is_missing(
    subject: PreparedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measured_rows(
        path: Path, name: str, ratios: list[float], weights: Path, vgg: bool
    ) -> Iterator[dict[str, object]]:
        for ratio in ratios:
            measured.append((name, ratio))
            yield {"setting": "none"}

    monkeypatch.setattr(run, "measured_rows", measured_rows)
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
    subject: PreparedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = []

    def measured_rows(
        path: Path, name: str, ratios: list[float], weights: Path, vgg: bool
    ) -> Iterator[dict[str, object]]:
        groups.append(ratios)
        yield {"setting": "none"}

    monkeypatch.setattr(run, "measured_rows", measured_rows)
    codec_names = ["jpeg", "smartsplat:e5"]
    assert run.measure_all([subject], codec_names, [10, 20, 50], tmp_path / "rd.tsv", NO_WEIGHTS) == 2
    assert groups == [[10, 20, 50], [10], [20], [50]]  # a process of its own for each of SmartSplat's
    assert [row["ratio_target"] for row in rows_of(tmp_path)] == ["10", "10", "20", "50"]
    groups.clear()
    table = tmp_path / "together.tsv"
    run.measure_all([subject], ["smartsplat:e5"], [10, 20], table, NO_WEIGHTS, together=True)
    assert groups == [[10, 20]]


def test_a_table_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rd.tsv").write_text("picture\tbytes\n")
    with pytest.raises(ValueError, match="other columns"):
        run.measure_all([], [], [], tmp_path / "rd.tsv", NO_WEIGHTS)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return read_rows(folder / "rd.tsv")


def test_the_images_of_a_folder(tmp_path: Path, image: ByteArray) -> None:
    for name in ("waves", "ripples"):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    common = ["--folder", str(tmp_path), "--corpus", str(tmp_path / "corpus"), "--ratios", "20", "--codecs", "jpeg"]
    assert run.main([*common, "--images", "ripples", "--table", str(tmp_path / "rd.tsv")]) == 0
    (row,) = rows_of(tmp_path)
    assert (row["picture"], row["recipe"], row["codec"]) == ("ripples", f"{tmp_path.name}, as it is", "jpeg")
    for wrong in (["--images", "surf"], ["--folder", str(tmp_path / "none")]):
        with pytest.raises(SystemExit):
            run.main([*common, *wrong, "--table", str(tmp_path / "rd.tsv")])
