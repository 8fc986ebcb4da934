from __future__ import annotations

from pathlib import Path

import pytest
from bench import prefix

import smartsplat
from smartsplat import entropy
from tests.pictures import landscape


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy, "GROUP", 20)
    monkeypatch.setattr(entropy, "LAYERED", 50)


def test_rows_go_up_to_the_whole_file() -> None:
    pixels = landscape(96, 64)
    found = list(prefix.rows("landscape", pixels, 20, 1))
    assert len(found) > 4
    assert found[-1]["share"] == "1.0000"
    gaussians = [int(str(row["gaussians"])) for row in found]
    assert gaussians == sorted(set(gaussians))
    values = [float(str(row["psnr"])) for row in found]
    assert values[-1] == max(values)


def test_prefixes_end_with_groups() -> None:
    data = smartsplat.encode(landscape(96, 64), ratio=20, effort=1)
    for count, end in enumerate(prefix.prefixes(data), 1):
        assert smartsplat.open(data[:end], partial=True).info.groups == count


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, figure = tmp_path / "prefix.tsv", tmp_path / "prefix.svg"
    table.write_text("picture\tshare\tpsnr\na\t0.5\t20\na\t1\t30\nb\t1\t25\n")
    prefix.draw(table, figure)
    assert "per cent of the file" in figure.read_text()
