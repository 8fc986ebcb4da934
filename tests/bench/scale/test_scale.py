from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import smartsplat
from bench import images
from bench.markdown import marks
from bench.scale import encode, errors, report, run
from bench.scale.images import LargeImage
from bench.scale.simulation import Link, MeasuredTask, seconds_of_encode, seconds_of_stage
from bench.scale.tasks import Stopwatch
from bench.tables import Table
from smartsplat.arrays import ByteArray
from smartsplat.encoder.blocks.boxes import Box, blocks_of
from smartsplat.images.image import read_image
from smartsplat.images.writing.writer import write
from tests.samples import landscape

FREE = Link(0, 0, 0)
SETTINGS = {"ratio": 100, "effort": 1, "steps": 20, "threads": 2}


@dataclass(frozen=True)
class Small:
    id: str = "small"
    recipe: str = "a sample"
    originals: tuple[images.PackagedImage, ...] = ()

    def pixels(self, corpus: Path) -> ByteArray:
        return np.random.default_rng(1).integers(0, 256, (128, 100, 3), np.uint8)


def test_copies_are_mirrored_in_turn(tmp_path: Path) -> None:
    pixels = Small().pixels(tmp_path)
    found = np.concatenate(list(LargeImage("many", Small(), 250, 300).rows(tmp_path)))
    mirrored = pixels[:, ::-1]
    first, second = np.hstack([pixels, mirrored, pixels]), np.hstack([mirrored, pixels, mirrored])[::-1]
    assert np.array_equal(found, np.vstack([first, second, first])[:300, :250])
    assert np.array_equal(np.concatenate(list(LargeImage("small", Small(), 100, 128).rows(tmp_path))), pixels)


def test_near_seams() -> None:
    blocks = blocks_of(1024, 600, 512)
    found = errors.near_seams(Box(384, 0, 256, 600), blocks)
    assert {block.x for block in blocks} == {0, 512}
    assert {block.y for block in blocks} == {0}
    assert found.all(axis=0).nonzero()[0].tolist() == list(range(64, 192))
    assert not found[:, :64].any()


def test_errors_of_a_file(tmp_path: Path) -> None:
    pixels = landscape(1100, 600)
    data = smartsplat.encode(pixels, **SETTINGS)
    (tmp_path / "a.sspl").write_bytes(data)
    found = errors.errors(pixels, tmp_path / "a.sspl", 512)
    squares = (smartsplat.decode(data, grain=False).astype(float) - pixels) ** 2
    near = errors.near_seams(Box(0, 0, 1100, 600), blocks_of(1100, 600, 512))
    assert found["seam_error"] == pytest.approx(squares[near].mean(), abs=0.01)
    assert found["other_error"] == pytest.approx(squares[~near].mean(), abs=0.01)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / squares.mean()), abs=0.01)


def test_measured_tasks_make_the_same_file() -> None:
    pixels = landscape(1100, 600)
    stopwatch = Stopwatch()
    data = smartsplat.encode(pixels, block=512, runner=stopwatch.runner, **SETTINGS)
    assert data == smartsplat.encode(pixels, block=512, **SETTINGS)
    assert len(stopwatch.stages) == 11
    assert len(stopwatch.tasks) == 11 * len(blocks_of(1100, 600, 512))
    assert all(task["pixel_bytes"] >= 512 * 512 * 3 and task["result_bytes"] > 1000 for task in stopwatch.tasks)


def test_a_stage_by_hand() -> None:
    tasks = [MeasuredTask(0, seconds, 8, 2, 100) for seconds in (3, 1, 2, 2)]
    assert seconds_of_stage(tasks, 1, FREE, {}) == 8
    assert seconds_of_stage(tasks, 2, FREE, {}) == 5, "3 and 2 on one, 1 and 2 on the other"
    assert seconds_of_stage(tasks, 4, FREE, {}) == seconds_of_stage(tasks, 1000, FREE, {}) == 3
    assert seconds_of_stage(tasks[:1], 1, Link(0.5, 0.1, 0.01), {}) == pytest.approx(0.5 + 1 + 3 + 1)
    assert seconds_of_stage([MeasuredTask(1, 2, 0, 0, 0)] * 4, 4, FREE, {}) == 6, "the last is made after four seconds"
    slow, homes = Link(0, 1, 0), dict[int, int]()
    assert seconds_of_stage(tasks, 1000, slow, homes) == 42, "ten seconds each on the way, and two at work for the last"
    assert sorted(homes) == [0, 1, 2, 3]
    assert seconds_of_stage(tasks, 1000, slow, {0: 0, 1: 1, 2: 2}) == 18
    assert seconds_of_stage(tasks, 2, FREE, dict.fromkeys(range(4), 1)) == 8, "all at home with one"
    assert seconds_of_stage([MeasuredTask(0, 1, 1 << 29, 0, 0)] * 4, 1, Link(0, 2**-29, 0), homes := {}) == 5
    assert homes == {0: 0, 1: 0}, "there is room for two"
    assert seconds_of_encode([tasks, tasks], 7, 4, FREE) == 13
    assert seconds_of_encode([tasks, tasks], 7, 1000, slow) == 7 + 42 + 10


def test_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = LargeImage("small", Small(), 1100, 600)
    monkeypatch.setattr(Small, "pixels", lambda self, corpus: landscape(1100, 600))
    write(tmp_path / "a.tif", np.concatenate(list(image.rows(tmp_path))))
    assert read_image(tmp_path / "a.tif").pixels.shape == (600, 1100, 3)
    table, tasks = Table(tmp_path / run.TABLE, run.COLUMNS), Table(tmp_path / run.TASKS, run.TASK_COLUMNS)
    for block in (512, 0):
        found = json.loads(json.dumps(encode.measured(tmp_path / "a.tif", tmp_path / "a.sspl", block)))
        tasks.append(*({"picture": image.id} | task for task in found.pop("tasks", ())))
        measured = errors.errors(read_image(tmp_path / "a.tif").pixels, tmp_path / "a.sspl", 512)
        constants = {
            "picture": image.id,
            "block": block,
            "ratio": 200,
            "effort": 1,
            "machine": "one",
            "versions": "a 1",
        }
        table.append(constants | found | measured)
    transfers = [{"bytes": size, "there": 0.01 + size * 1e-9, "back": 0.01 + size * 1e-9} for size in (0, 1 << 20)]
    Table(tmp_path / run.TRANSFERS, ("bytes", "there", "back")).write(transfers)
    page = tmp_path / "page.md"
    page.write_text("".join(f"{begin}\n{end}\n" for begin, end in map(marks, ("scale", "stages"))))
    arguments = [str(tmp_path), "--guide", str(page), "--into", str(page), "--figure", str(tmp_path / "a.svg")]
    monkeypatch.setattr("sys.argv", ["report", *arguments])
    report.main()
    text = page.read_text()
    assert "| 1100 x 600 | in blocks of 512 |" in text
    assert "| 1100 x 600 | whole |" in text
    assert "1000 MB/s" in text
    assert "SIMULATED" in (tmp_path / "a.svg").read_text()
