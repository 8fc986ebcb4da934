"""The table of rivals on a tiny picture: its rows, going on after an end, several processes, and its sets."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from bench import convergence, report, table1, table1_cell, table1_report
from PIL import Image

from smartsplat.baselines import METHODS, PAPER_METHODS
from tests.pictures import landscape

NO_WEIGHTS = Path("none")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """One picture of 72 x 48 pixels."""
    row, column, channel = np.ogrid[:48, :72, :3]
    pixels = (120 + 80 * np.sin(row / (5 + channel)) * np.cos(column / 9)).astype(np.uint8)
    np.save(tmp_path / "waves.npy", pixels)
    return {"waves": (tmp_path / "waves.npy", "synthetic")}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_whole_row(
    method: str, paths: dict[str, tuple[Path, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    cell = {"picture": "waves", "method": method, "ratio": 20, "seed": 0, "steps": 6}
    row = table1_cell.row_of(cell, paths["waves"][0], NO_WEIGHTS)
    assert set(row) <= set(table1.COLUMNS)
    assert set(table1.COLUMNS) - set(row) == {"picture", "recipe", "lpips", "machine", "versions"}
    assert float(str(row["ratio_true"])) == pytest.approx(72 * 48 * 3 / int(str(row["bytes"])), rel=1e-5)
    assert float(str(row["psnr"])) > 0
    if method != "smartsplat":
        assert row["gaussians"] == 74  # E5


def test_a_table_is_filled_and_goes_on(tmp_path: Path, paths: dict[str, tuple[Path, str]]) -> None:
    table = table1.Table(tmp_path / "table.tsv")
    cells = [table1.Cell("waves", method, 50.0, 0, 4) for method in ("gaussianimage-rs", "lig")]
    assert table1.fill(table, cells[:1], paths, NO_WEIGHTS) == 0
    (first,) = rows(table.path)
    assert first["recipe"] == "synthetic"
    assert first["machine"]
    with table.path.open("a") as file:
        file.write("waves\t72\t48")  # a run that was killed while it wrote
    assert table1.fill(table, cells, paths, NO_WEIGHTS) == 0
    both = rows(table.path)
    assert both[0] == first
    assert [row["method"] for row in both] == ["gaussianimage-rs", "lig"]


def test_how_the_fits_went_is_written_and_drawn(tmp_path: Path, paths: dict[str, tuple[Path, str]]) -> None:
    table = table1.Table(tmp_path / "table.tsv", tmp_path / "traces.tsv")
    cells = [
        table1.Cell("waves", method, 20.0, 0, steps) for steps in (3, 30) for method in ("lig", "smartsplat-paper")
    ]
    assert table1.fill(table, cells, paths, NO_WEIGHTS) == 0
    lines = convergence.curves(rows(tmp_path / "traces.tsv"))
    assert list(lines) == ["lig", "smartsplat-paper"]
    steps, seconds, decibels = zip(*lines["smartsplat-paper"], strict=True)
    assert steps[:3] == (1, 2, 3)
    assert steps[-1] > 26
    assert list(seconds) == sorted(seconds)
    assert decibels[-1] > decibels[0] + 1
    markdown = convergence.costs(rows(table.path)).splitlines()
    assert [line.split(" | ")[:2] for line in markdown[2:6]] == [
        ["| lig", "3"],
        ["| smartsplat-paper", "3"],
        ["| lig", "30"],
        ["| smartsplat-paper", "30"],
    ]
    pytest.importorskip("matplotlib")
    convergence.draw(rows(tmp_path / "traces.tsv"), tmp_path / "figure.svg")
    assert "smartsplat-paper" in (tmp_path / "figure.svg").read_text()


def test_cells_that_others_are_at_are_left_to_them(tmp_path: Path, paths: dict[str, tuple[Path, str]]) -> None:
    table, other = table1.Table(tmp_path / "table.tsv"), table1.Table(tmp_path / "table.tsv")
    cell = table1.Cell("waves", "lig", 50.0, 0, 4)
    with other.claimed(cell) as mine:
        assert mine
        assert table1.fill(table, [cell], paths, NO_WEIGHTS) == 0
        assert not table.path.exists()
    with table.claimed(cell) as mine:
        assert mine


def test_a_cell_that_fails_is_counted_and_missing(
    tmp_path: Path, paths: dict[str, tuple[Path, str]], capfd: pytest.CaptureFixture[str]
) -> None:
    table = table1.Table(tmp_path / "table.tsv")
    cells = [table1.Cell("waves", name, 50.0, 0, 4) for name in ("no such method", "lig")]
    assert table1.fill(table, cells, paths, NO_WEIGHTS) == 1
    assert "failed" in capfd.readouterr().err
    assert [row["method"] for row in rows(table.path)] == ["lig"]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(ValueError, match="columns"):
        table1.Table(path).finished()


def test_sets_and_methods() -> None:
    assert set(table1.SETS) == {"small", "all", "8k", "16k"}
    for chosen in table1.SETS.values():
        assert len({picture.id for picture in chosen.pictures}) == len(chosen.pictures)
    assert table1.methods_of(["paper"]) == list(PAPER_METHODS)
    assert table1.methods_of(["lig", "all"])[0] == "lig"
    assert set(table1.methods_of(["all"])) == set(METHODS)
    with pytest.raises(ValueError, match="no method"):
        table1.methods_of(["jpeg"])


@pytest.mark.parametrize("arguments", [["--methods", "jpeg"], ["--only", "nothing"]])
def test_wrong_arguments_are_a_usage_error(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        table1.main([*arguments, "--table", str(tmp_path / "table.tsv")])
    assert error.value.code == 2
    assert ("no method" if arguments[0] == "--methods" else "no picture") in capsys.readouterr().err


def test_a_folder_of_ones_own_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "DIV8K"
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")
    arguments = ["--folder", str(folder), "--corpus", str(tmp_path / "corpus"), "--methods", "gaussianimage-rs"]
    arguments += ["--ratios", "50", "--steps", "3", "--table", str(tmp_path / "table.tsv")]
    with pytest.raises(SystemExit):
        table1.main(arguments)
    assert "there is no picture in it" in capsys.readouterr().err
    for name in ("0801.png", "0802.jpg"):
        Image.fromarray(landscape(60, 44)).save(folder / name)
    assert table1.main(arguments) == 0
    assert [row["picture"] for row in rows(tmp_path / "table.tsv")] == ["0801", "0802"]
    assert rows(tmp_path / "table.tsv")[0]["recipe"] == "DIV8K, as it is"
    Image.fromarray(landscape(60, 44)).save(folder / "0801.webp")
    with pytest.raises(SystemExit):
        table1.main(arguments)
    assert "two pictures are called 0801" in capsys.readouterr().err


def test_differences_are_of_the_same_picture_and_seed() -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"ratio_nominal": "200", "seed": "0"}
    found = [
        made | {"picture": "one", "method": "smartsplat-paper", "psnr": "30"},
        made | {"picture": "two", "method": "smartsplat-paper", "psnr": "20"},
        made | {"picture": "one", "method": "lig", "psnr": "31"},
        made | {"picture": "two", "method": "lig", "psnr": "18"},
        made | {"picture": "three", "method": "lig", "psnr": "50"},
    ]
    assert table1_report.differences(table1_report.Results(found[:-1]))[2:] == ["| lig | -0.50 ± 2.12 |"]
    one = table1_report.Results([found[0], found[2], found[4]])  # three is no picture of the paper's method
    assert table1_report.differences(one)[2:] == ["| lig | +1.00 |"]
    with pytest.raises(ValueError, match="1 and 2 steps"):
        table1_report.Results([*found, found[0] | {"steps": "2"}])


def test_the_report_takes_means_over_what_all_have() -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"machine": "a machine", "recipe": "none", "ratio_nominal": "200"}
    made_rows = [
        made | {"picture": "one", "method": "lig", "psnr": "20", "seed": "0"},
        made | {"picture": "one", "method": "lig", "psnr": "22", "seed": "1"},
        made | {"picture": "two", "method": "lig", "psnr": "40", "seed": "0"},
        made | {"picture": "one", "method": "3dgs", "psnr": "30", "seed": "0", "bytes": "50", "gaussians": "10"},
        made | {"picture": "one", "method": "3dgs", "psnr": "", "seed": "0", "ratio_nominal": "20"},
    ]
    text = table1_report.tables(table1_report.Results(made_rows[:-1]))
    assert "| pictures | 1 |" in text
    assert "| 3dgs | 30.00 / 1.0000 |" in text
    assert "| lig | 21.00 / 1.0000 |" in text  # two is not a picture of 3dgs
    assert "| two | 200 | - | 40.00 |" in text
    assert "| 3dgs | 1, 5.00 |" in text
    assert "in 1 cells: 1.41 dB in the middle, 1.41 at most" in text
    assert math.isnan(table1_report.Results(made_rows).mean("3dgs", 20, "psnr"))


def test_controls_have_a_table_of_their_own() -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"machine": "a machine"}
    found = [
        made | {"picture": picture, "method": method, "psnr": psnr, "ratio_nominal": ratio, "seed": seed}
        for picture, method, psnr, ratio, seed in (
            ("one", "smartsplat-paper", "30", "200", "0"),
            ("two", "smartsplat-paper", "20", "200", "0"),
            ("two", "smartsplat-paper", "40", "200", "1"),  # a seed that the control lacks
            ("two", "smartsplat-paper", "25", "100", "0"),
            ("two", "smartsplat-no-colors", "19", "200", "0"),
        )
    ]
    text = table1_report.tables(table1_report.Results(found))
    assert "| pictures | 1 | 2 |" in text  # the control has but one picture
    assert "Controls at a nominal 200 : 1, means over 1 of the pictures" in text
    assert "| smartsplat-no-colors | 19.00 / 1.0000 | -1.00 | 1.0000 / 1.000 | 1 |" in text
    assert text.count("smartsplat-no-colors") == 1
    alone = table1_report.tables(table1_report.Results(found[-1:]))
    assert alone.startswith("Controls at a nominal 200 : 1")


def test_files_are_held_against_each_other_and_drawn(tmp_path: Path) -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"picture": "one", "seed": "0", "machine": "a machine"}
    found = []
    for method, share in (("lig", 1.0), ("smartsplat", 0.5)):
        for ratio in (50, 100, 200, 500):
            size = 1e6 * share / ratio
            told = {"bytes": str(size), "bpp": str(size / 1e4), "file_psnr": str(10 * math.log10(1e6 / ratio))}
            found.append(made | told | {"method": method, "ratio_nominal": str(ratio)})
    results = table1_report.Results(found)
    assert table1_report.savings(results)[2:] == ["| lig | -50.0 | -50.0 (1) |"]
    assert "BD-rate of smartsplat" in table1_report.tables(results)
    codec_row = {"picture": "one", "codec": "jpeg", "ratio_target": "50", "bpp": "0.5", "psnr": "30"}
    table1_report.draw(results, report.Results([codec_row]), tmp_path / "rivals.svg")
    drawn = (tmp_path / "rivals.svg").read_text()
    assert all(name in drawn for name in ("lig", "smartsplat", "jpeg", "bits per pixel"))
