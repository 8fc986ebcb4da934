"""The benchmark of the kernels: what it counts, its table, and one small case from the clock to the page."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bench import kernels, kernels_report, work

import smartsplat
from smartsplat.raster import CUTOFF, View, reference
from smartsplat.raster.native import Backend
from tests.compare import scene

VIEWS = {
    "whole": View.whole(41, 67),
    "small": View.whole(41, 67, 9, 17),
    "region, enlarged": View(10, 20, 20, 13, 47, 29),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_evaluations_are_the_pixels_of_the_rectangles(view: View) -> None:
    gaussians = scene(50, 41, 67, largest=3)
    params = reference.upload(gaussians)
    inside = 0
    for i in range(len(gaussians)):
        mean, covariance, _, _ = reference._projected(params, view, i)
        distance = np.abs(reference._distances(mean, view))
        inside += np.count_nonzero((distance <= CUTOFF * np.sqrt(np.diag(covariance))).all(axis=-1))
    assert work.evaluations(gaussians, view) == inside
    assert inside > 0


def test_wide_gaussians_have_fewer_evaluations() -> None:
    view = View.whole(600, 600)
    round_ones = scene(5, 600, 600)
    round_ones.mean[:], round_ones.color[:] = 300, 0.2
    round_ones.scale[:] = np.array([[7.9], [8.1], [15.9], [33], [80]], np.float32)
    assert work.levels(round_ones, view).tolist() == [0, 1, 1, 3, 4]
    assert work.levels(round_ones, View.whole(600, 600, 300, 300)).tolist() == [0, 0, 0, 2, 3]
    one = round_ones[3:4]
    assert work.evaluations(one, view) == pytest.approx((6 * 33) ** 2 / 64, rel=0.02)


def test_the_work_of_a_kernel() -> None:
    step = work.work_of("step_l2", 1000, 10, 5000)
    assert step == work.Work(pixels=1000, evaluations=5000, flop=28 * 5000, traffic=3 * 1000 + 200 * 10)
    coded = work.work_of("decode_symbols", 1000, 10, 5000, 44)
    assert coded == work.Work(coded=44)


def test_rates_and_shares_belong_to_the_median() -> None:
    drawn = work.Work(pixels=10**6, evaluations=10**7, flop=8e7, traffic=3e6)
    row = kernels.measured([0.3, 0.1, 0.2, 0.4, 0.5], drawn, peak=1e9, bandwidth=1e8)
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
    """A backend of two threads that worked for 0.2 and 0.4 seconds."""

    def reset_clocks(self) -> None: ...

    def stage_seconds(self) -> dict[str, float]:
        return {"bin": 0.1, "forward": 0.6}


def test_stages_are_divided_by_the_threads_but_for_binning() -> None:
    stages = {"bin": work.Work(), "forward": work.Work()}
    subject = kernels.Subject("render", lambda: None, work.Work(), 2, Clocks(), stages)  # type: ignore[arg-type]
    subject.call()
    assert subject.seconds["bin"] == [0.1]
    assert subject.seconds["forward"] == [0.3]
    assert subject.seconds["rest"] == [0.0]


def test_everything_is_called_in_turn() -> None:
    calls: list[str] = []
    subjects = [kernels.Subject(name, partial(calls.append, name), work.Work(), 1) for name in "ab"]
    kernels.sample(subjects, 0.0)
    assert "".join(calls) == "ab" * (1 + kernels.FEWEST_CALLS)


def test_cases() -> None:
    def chosen(**options: object) -> dict[tuple[int, float], bool]:
        asked = {"quick": False, "large": False, "megapixels": None, "ratios": None} | options
        return kernels.cases(kernels.argparse.Namespace(**asked))

    assert chosen(quick=True) == {(2, 200): True}
    usual = {(34, 20): False, (34, 50): False, (34, 200): True, (34, 1000): False, (2, 200): False, (8, 200): False}
    assert chosen() == usual
    assert chosen(large=True) == usual | {(177, 200): False}
    assert chosen(megapixels=[8, 34], ratios=[50]) == {(8, 50): False, (34, 50): False}


@pytest.mark.parametrize("variant", [name for name in ("v4", "v3", "v2", "base") if kernels.runs_here(name)])
def test_multiply_adds_are_counted(variant: str) -> None:
    one, two = Backend(1, variant), Backend(2, variant)
    lanes = {"v4": 16, "v3": 8}.get(variant, 4)
    assert one.multiply_add(1) > 0
    assert one.multiply_add(1) % (2 * lanes) == 0
    assert one.multiply_add(30) == 30 * one.multiply_add(1)
    assert two.multiply_add(30) == 2 * one.multiply_add(30)


@pytest.fixture(scope="module")
def rows() -> list[kernels_report.Row]:
    """A case of 70 x 80 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    data = smartsplat.encode(pixels, gaussians=20, steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "ROUNDS", 1000)
        patch.setattr(kernels, "COPIED", 1 << 16)
        case = kernels.Case("noise", pixels, 200.0, data)
        peers = {kind: kernels.encoded(pixels, kind) for kind in kernels.PEERS}
        subjects = list(kernels.subjects_of(case, peers, scaling=True))
        kernels.sample(subjects, 0.0)
        return kernels.rows_of(subjects, case, 20)


def test_a_case_fills_the_table(rows: list[kernels_report.Row]) -> None:
    assert all(tuple(sorted(row)) == tuple(sorted(kernels_report.COLUMNS)) for row in rows)
    keys = [tuple(row[key] for key in kernels_report.KEYS) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {row["kernel"] for row in rows if "/" not in row["kernel"]} == {
        *(set(work.COSTS) - set(kernels_report.STAGES)),
        *("copy", "multiply_add", "pillow_jpeg", "pillow_webp", "pillow_avif"),
    }
    assert all(float(row["p20_ms"]) <= float(row["p50_ms"]) <= float(row["p80_ms"]) for row in rows)


def test_a_table_is_read_as_it_was_written(rows: list[kernels_report.Row], tmp_path: Path) -> None:
    path = tmp_path / "results/kernels.tsv"
    assert kernels_report.read(path) == []
    kernels_report.write(rows, path)
    assert kernels_report.read(path) == rows
    path.write_text("kernel\tp50_ms\n")
    with pytest.raises(ValueError, match="other columns"):
        kernels_report.read(path)


def test_new_rows_replace_those_of_the_same_case(rows: list[kernels_report.Row]) -> None:
    faster = rows[1] | {"p50_ms": "0"}
    other = rows[1] | {"ratio": "50"}
    assert kernels_report.merged(rows, [faster, other]) == [rows[0], faster, *rows[2:], other]


def test_the_page_and_the_terminal_show_the_numbers(rows: list[kernels_report.Row]) -> None:
    results = kernels_report.Results(rows)
    assert results.ratio == 200
    text = kernels_report.tables(results)
    draw = next(row for row in rows if row["kernel"] == "render_bytes")
    for number in (draw["p50_ms"], draw["mp_per_s"]):
        assert f"| {kernels_report.significant(float(number))} " in text
    assert "| decode_preview |" in text
    assert "multiply_add" not in text
    assert math.isnan(results.value("render_bytes", "p50_ms", ratio=20))
    assert kernels_report.listing(rows).count("\n") == len(rows) + 2


def test_the_plots_are_the_same_bytes_every_time(rows: list[kernels_report.Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the bench extra")
    results = kernels_report.Results([*rows, *(row | {"ratio": "50"} for row in rows)])
    first, second = (
        [path.read_bytes() for path in kernels_report.draw(results, tmp_path / name)] for name in ("one", "two")
    )
    assert first == second
    assert all(name in svg for name, svg in zip((b"backward", b"step_l2", b"decode_region"), first, strict=True))
