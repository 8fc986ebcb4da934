from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

import smartsplat
from bench.reliability import report, soak
from bench.tables import REPOSITORY, Table


def test_every_promise_names_a_test_that_is_there() -> None:
    for promise in report.PROMISES:
        assert (REPOSITORY / promise.kept_by).exists()


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, page = tmp_path / "records", tmp_path / "page.md"
    page.write_text("<!-- reliability:begin -->\n<!-- reliability:end -->\n")
    command = ["report", str(tmp_path), "--records", str(records), "--into", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    records.write_text("kills\t150\nkills\t51\nexecutions of mask\t1000\nexecutions of words\t200\nfound in mask\t1\n")
    report.main()
    records.write_text("injected faults\t812\n")  # what was recorded before stays
    report.main()
    text = page.read_text()
    assert "| 201 kills |" in text
    of_each = "symbols 0, mask 1,000, grain 0, render 0, whole 0, file 0, request 0, words 200"
    assert f"1,200 executions ({of_each}), 1 found |" in text
    assert "| 812 injected faults |" in text
    assert "| `scripts/sanitize` | not yet |" in text
    assert "serve" not in text
    watch = soak.Watch(answers=9, memory=[1.0] * 10, descriptors=[3] * 10, threads=[2] * 10)
    row = {"target": "serve", "minutes": "30", "machine": "", "versions": ""} | watch.row()
    Table(tmp_path / "soak.tsv", soak.COLUMNS).write([row])
    report.main()
    assert "30 minutes, 9 answers, 0 wrong; 1.0 to 1.0 MB, 3 to 3 descriptors, 2 to 2 threads |" in page.read_text()


def test_what_does_not_hold() -> None:
    flat = {"memory": [100.0] * 50, "descriptors": [3] * 50, "threads": [4] * 50}
    assert soak.Watch(answers=1, **flat).holds()
    assert not soak.Watch(answers=1, wrong=1, **flat).holds()
    assert not soak.Watch(**flat).holds()
    assert not soak.Watch(answers=1, **flat | {"memory": [100 + 0.2 * i for i in range(50)]}).holds()
    for name in ("descriptors", "threads"):
        assert soak.Watch(answers=1, **flat | {name: [3, 5] * 25}).holds(), "now and then more are open"
        assert not soak.Watch(answers=1, **flat | {name: list(range(50))}).holds()
    watch = soak.Watch()
    watch.look(os.getpid())
    assert watch.memory[0] > 10
    assert watch.descriptors[0] >= 3
    assert watch.threads[0] >= 1


def test_answers_repeat(tmp_path: Path) -> None:
    (tmp_path / "a.sspl").write_bytes(smartsplat.encode(soak.image(800, 600, 3), gaussians=300, steps=2))
    answers = list(itertools.islice(soak.decodes(tmp_path), 18))
    assert answers[:9] == answers[9:]
    assert len(dict(answers)) == 9
    first, second = (list(itertools.islice(soak.encodes(tmp_path), 3)) for _ in range(2))
    assert first == second
