"""The benchmark of the kernels: its table, and one small case from the clock to the page."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import smartsplat
from bench.kernels import report, run, work
from bench.markdown import significant
from bench.tables import Row
from smartsplat.render.cpu import CpuRenderer, runs_here


def test_rates_and_shares_belong_to_the_median() -> None:
    rendering = work.Work(pixels=10**6, evaluations=10**7, flop=8e7, traffic=3e6)
    row = run.measured([0.3, 0.1, 0.2, 0.4, 0.5], rendering, peak=1e9, bandwidth=1e8)
    assert {name: float(text) for name, text in row.items() if text != "-"} == pytest.approx(
        {
            "p20_ms": 180,
            "p50_ms": 300,
            "p80_ms": 420,
            "mp_per_s": 1 / 0.3,
            "evaluations_per_s": 1e7 / 0.3,
            "gflop_per_s": 0.08 / 0.3,
            "gb_per_s": 0.003 / 0.3,
            "fma_share": 0.08 / 0.3,
            "bandwidth_share": 0.1,
        },
        rel=1e-3,
    )
    assert row["coded_bytes"] == "-"


class Clocks:
    """A renderer of two threads that worked for 0.2 and 0.4 seconds."""

    def reset_clocks(self) -> None: ...

    def stage_seconds(self) -> dict[str, float]:
        return {"bin": 0.1, "forward": 0.6}


def test_stages_are_divided_by_the_threads_but_for_binning() -> None:
    stages = {"bin": work.Work(), "forward": work.Work()}
    timed = run.TimedCall("render", lambda: None, work.Work(), 2, Clocks(), stages)  # type: ignore[arg-type]
    timed.call()
    assert timed.seconds["bin"] == [0.1]
    assert timed.seconds["forward"] == [0.3]
    assert timed.seconds["rest"] == [0.0]


def test_everything_is_called_in_turn() -> None:
    names: list[str] = []
    timed = [run.TimedCall(name, partial(names.append, name), work.Work(), 1) for name in "ab"]
    run.time_in_turn(timed, 0.0)
    assert "".join(names) == "ab" * (1 + run.MIN_CALLS)


def test_cases() -> None:
    def chosen(**options: object) -> dict[tuple[int, float], bool]:
        requested = {"quick": False, "large": False, "megapixels": None, "ratios": None} | options
        return run.cases(run.argparse.Namespace(**requested))

    assert chosen(quick=True) == {(2, 200): True}
    usual = {(34, 20): False, (34, 50): False, (34, 200): True, (34, 1000): False, (2, 200): False, (8, 200): False}
    assert chosen() == usual
    assert chosen(large=True) == usual | {(177, 200): False}
    assert chosen(megapixels=[8, 34], ratios=[50]) == {(8, 50): False, (34, 50): False}


@pytest.mark.parametrize("variant", [name for name in ("v4", "v3", "v2", "base") if runs_here(name)])
def test_multiply_adds_are_counted(variant: str) -> None:
    one, two = CpuRenderer(1, variant), CpuRenderer(2, variant)
    lanes = {"v4": 16, "v3": 8}.get(variant, 4)
    assert one.multiply_add(1) > 0
    assert one.multiply_add(1) % (2 * lanes) == 0
    assert one.multiply_add(30) == 30 * one.multiply_add(1)
    assert two.multiply_add(30) == 2 * one.multiply_add(30)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """A case of 70 x 80 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    data = smartsplat.encode(pixels, gaussians=20, steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "MULTIPLY_ADD_ROUNDS", 1000)
        patch.setattr(run, "COPY_BYTES", 1 << 16)
        case = run.KernelCase("noise", pixels, 200.0, data)
        anchors = {name: run.encoded(pixels, name) for name in run.ANCHORS}
        calls = list(run.calls_of(case, anchors, scaling=True))
        run.time_in_turn(calls, 0.0)
        return run.rows_of(calls, case, 20)


def test_a_case_fills_the_table(rows: list[Row]) -> None:
    assert all(tuple(sorted(row)) == tuple(sorted(report.COLUMNS)) for row in rows)
    keys = [tuple(row[key] for key in report.KEYS) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {row["kernel"] for row in rows if "/" not in row["kernel"]} == {
        *(set(work.COSTS) - set(report.STAGES)),
        *("copy", "multiply_add", "pillow_jpeg", "pillow_webp", "pillow_avif"),
    }
    assert all(float(row["p20_ms"]) <= float(row["p50_ms"]) <= float(row["p80_ms"]) for row in rows)


def test_a_table_is_read_as_it_was_written(rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "results/kernels.tsv"
    table = report.kernel_table(path)
    assert table.rows() == []
    table.replace(rows)
    assert table.rows() == rows
    path.write_text("kernel\tp50_ms\n")
    with pytest.raises(ValueError, match="other columns"):
        table.rows()


def test_new_rows_replace_those_of_the_same_case(rows: list[Row], tmp_path: Path) -> None:
    faster = rows[1] | {"p50_ms": "0"}
    other = rows[1] | {"ratio": "50"}
    table = report.kernel_table(tmp_path / "kernels.tsv")
    table.write(rows)
    table.replace([faster, other])
    assert table.rows() == [rows[0], faster, *rows[2:], other]


def test_the_page_and_the_terminal_show_the_numbers(rows: list[Row]) -> None:
    results = report.KernelResults(rows)
    assert results.ratio == 200
    text = report.tables(results)
    rendering = next(row for row in rows if row["kernel"] == "render_bytes")
    for number in (rendering["p50_ms"], rendering["mp_per_s"]):
        assert f"| {significant(float(number))} " in text
    assert "| decode_preview |" in text
    assert "multiply_add" not in text
    assert math.isnan(results.value("render_bytes", "p50_ms", ratio=20))
    assert report.listing(rows).count("\n") == len(rows) + 2


def test_the_plots_are_the_same_bytes_every_time(rows: list[Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the bench extra")
    results = report.KernelResults([*rows, *(row | {"ratio": "50"} for row in rows)])
    first, second = ([path.read_bytes() for path in report.plot(results, tmp_path / name)] for name in ("one", "two"))
    assert first == second
    assert all(name in svg for name, svg in zip((b"backward", b"step_l2", b"decode_region"), first, strict=True))
