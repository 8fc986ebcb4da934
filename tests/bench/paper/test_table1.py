"""The table of baselines on a tiny image: its rows, going on after an end, several processes, and its sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.images import PreparedImage
from bench.paper import convergence, table1, table1_cell
from bench.tables import Table, read_rows
from smartsplat_baselines import METHODS, PAPER_METHODS
from tests.samples import landscape

NO_WEIGHTS = Path("none")


@pytest.fixture
def waves(tmp_path: Path) -> PreparedImage:
    """An image of 72 x 48 pixels."""
    row, column, channel = np.ogrid[:48, :72, :3]
    pixels = (120 + 80 * np.sin(row / (5 + channel)) * np.cos(column / 9)).astype(np.uint8)
    np.save(tmp_path / "waves.npy", pixels)
    return PreparedImage("waves", "synthetic", tmp_path / "waves.npy")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the table."""
    return tmp_path / "table.tsv"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_whole_row(method: str, waves: PreparedImage) -> None:
    cell = {"image": "waves", "method": method, "ratio": 20, "seed": 0, "steps": 6}
    row = table1_cell.row_of(cell, waves.path, NO_WEIGHTS)
    assert set(row) <= set(table1.COLUMNS)
    assert set(table1.COLUMNS) - set(row) == {"picture", "recipe", "lpips", "machine", "versions"}
    assert float(str(row["ratio_true"])) == pytest.approx(72 * 48 * 3 / int(str(row["bytes"])), rel=1e-5)
    assert float(str(row["psnr"])) > 0
    if method != "smartsplat":
        assert row["gaussians"] == 74  # E5


def test_a_table_is_filled_and_goes_on(path: Path, waves: PreparedImage) -> None:
    cells = [table1.Cell("waves", method, 50.0, 0, 4) for method in ("gaussianimage-rs", "lig")]
    assert table1.fill(path, cells[:1], [waves], NO_WEIGHTS) == 0
    (first,) = read_rows(path)
    assert first["recipe"] == "synthetic"
    assert first["machine"]
    with path.open("a") as file:
        file.write("waves\t72\t48")  # a run that was killed while it wrote
    assert table1.fill(path, cells, [waves], NO_WEIGHTS) == 0
    both = read_rows(path)
    assert both[0] == first
    assert [row["method"] for row in both] == ["gaussianimage-rs", "lig"]


def test_how_the_fits_went_is_written_and_plotted(tmp_path: Path, path: Path, waves: PreparedImage) -> None:
    traces = tmp_path / "traces.tsv"
    cells = [
        table1.Cell("waves", method, 20.0, 0, steps) for steps in (3, 30) for method in ("lig", "smartsplat-paper")
    ]
    assert table1.fill(path, cells, [waves], NO_WEIGHTS, traces) == 0
    lines = convergence.curves(read_rows(traces))
    assert list(lines) == ["lig", "smartsplat-paper"]
    steps, seconds, decibels = zip(*lines["smartsplat-paper"], strict=True)
    assert steps[:3] == (1, 2, 3)
    assert steps[-1] > 26
    assert list(seconds) == sorted(seconds)
    assert decibels[-1] > decibels[0] + 1
    markdown = convergence.costs(read_rows(path)).splitlines()
    assert [line.split(" | ")[:2] for line in markdown[2:6]] == [
        ["| lig", "3"],
        ["| smartsplat-paper", "3"],
        ["| lig", "30"],
        ["| smartsplat-paper", "30"],
    ]
    pytest.importorskip("matplotlib")
    convergence.plot(read_rows(traces), tmp_path / "figure.svg")
    assert "smartsplat-paper" in (tmp_path / "figure.svg").read_text()


def test_cells_that_others_are_at_are_left_to_them(path: Path, waves: PreparedImage) -> None:
    cell = table1.Cell("waves", "lig", 50.0, 0, 4)
    with Table(path, table1.COLUMNS, table1.KEYS).claimed(cell.key) as claimed:
        assert claimed
        assert table1.fill(path, [cell], [waves], NO_WEIGHTS) == 0
        assert not path.exists()
    with Table(path, table1.COLUMNS, table1.KEYS).claimed(cell.key) as claimed:
        assert claimed


def test_a_cell_that_fails_is_counted_and_missing(
    path: Path, waves: PreparedImage, capfd: pytest.CaptureFixture[str]
) -> None:
    cells = [table1.Cell("waves", name, 50.0, 0, 4) for name in ("no such method", "lig")]
    assert table1.fill(path, cells, [waves], NO_WEIGHTS) == 1
    assert "failed" in capfd.readouterr().err
    assert [row["method"] for row in read_rows(path)] == ["lig"]


def test_other_columns_are_refused(path: Path, waves: PreparedImage) -> None:
    path.write_text("a\tb\n1\t2\n")
    with pytest.raises(ValueError, match="columns"):
        table1.fill(path, [], [waves], NO_WEIGHTS)


def test_sets_and_methods() -> None:
    assert set(table1.SETS) == {"small", "all", "8k", "16k"}
    for chosen in table1.SETS.values():
        assert len({image.id for image in chosen.images}) == len(chosen.images)
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
    assert ("no method" if arguments[0] == "--methods" else "no image") in capsys.readouterr().err


def test_a_folder_of_ones_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "DIV8K"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    arguments = ["--folder", str(folder), "--corpus", str(tmp_path / "corpus"), "--methods", "gaussianimage-rs"]
    arguments += ["--ratios", "50", "--steps", "3", "--table", str(tmp_path / "table.tsv")]
    with pytest.raises(SystemExit):
        table1.main(arguments)
    assert "there is no image in it" in capsys.readouterr().err
    for name in ("0801.png", "0802.jpg"):
        Image.fromarray(landscape(60, 44)).save(folder / name)
    assert table1.main(arguments) == 0
    assert [row["picture"] for row in read_rows(tmp_path / "table.tsv")] == ["0801", "0802"]
    assert read_rows(tmp_path / "table.tsv")[0]["recipe"] == "DIV8K, as it is"
    Image.fromarray(landscape(60, 44)).save(folder / "0801.webp")
    with pytest.raises(SystemExit):
        table1.main(arguments)
    assert "two images are called 0801" in capsys.readouterr().err
