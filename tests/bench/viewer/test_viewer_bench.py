from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

import smartsplat
from bench.tables import Table
from bench.viewer import report, run, tiles
from smartsplat.web import iiif
from tests.samples import landscape
from tests.web.serving import serving


def test_tiles_are_requests_of_the_image() -> None:
    generator = random.Random(0)
    for _ in range(300):
        words = tiles.tile(generator).removeprefix("/iiif/mosaic.sspl/")
        wanted = iiif.parse(words, tiles.WIDTH, tiles.HEIGHT, 1 << 24)
        assert max(wanted.size) <= tiles.TILE


def test_a_load_counts_what_is_answered_and_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "WIDTH", 640)
    monkeypatch.setattr(tiles, "HEIGHT", 480)
    (tmp_path / "mosaic.sspl").write_bytes(smartsplat.encode(landscape(640, 480), ratio=100, steps=5, threads=1))
    with serving(tmp_path) as port:
        good = asyncio.run(tiles.attack(port, 100, 0.3, 0))
        (tmp_path / "mosaic.sspl").unlink()
        bad = asyncio.run(tiles.attack(port, 100, 0.1, 0))
    assert (len(good.milliseconds), good.failed) == (30, 0)
    assert (len(bad.milliseconds), bad.failed) == (10, 10)
    assert min(good.milliseconds) > 0


def test_sizes_are_those_of_the_files() -> None:
    sizes = {each["what"]: each["value"] for each in run.sizes()}
    assert sizes["all modules, page and style, with comments"] > sizes["an exported page without its file"]
    assert sizes["an exported page without its file"] > sizes["that by gzip"] > 10000
    assert sizes["what `<sspl-image>` loads, with comments"] > sizes["the same by gzip"] > 10000


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(report, "VIEWER_RESULTS", tmp_path)
    known = {"machine": "m", "versions": "python 3"}
    rows = [
        {"what": "decoded", "renderer": "", "value": "2.1", "unit": "MG/s"},
        {"what": "panning", "renderer": "cpu", "value": "60", "unit": "frames a second"},
        {"what": "panning", "renderer": "webgl", "value": "59", "unit": "frames a second"},
    ]
    Table(tmp_path / "viewer.tsv", run.COLUMNS).write(row | known for row in rows)
    load = dict.fromkeys(tiles.COLUMNS, "7") | known
    Table(tmp_path / "tiles.tsv", tiles.COLUMNS).write([load])
    report.main([])
    shown = capsys.readouterr().out
    assert "| decoded | 2.1 MG/s |" in shown
    assert "| panning | 60 frames a second | 59 frames a second |" in shown
    assert "| 7 | 7 | 7 | 7 | 7 | 7 | 7, at the end 7 |" in shown
