"""Tables and plots from invented rows."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from bench import markdown
from bench.rate_distortion import report

CODEC = "smartsplat:e5"


def example_row(image: str, codec: str, ratio: float, quality: float | None) -> dict[str, str]:
    constants = {
        "width": "161",
        "height": "119",
        "recipe": "synthetic",
        "machine": "abacus",
        "versions": "one",
    }
    row = {"picture": image, "codec": codec, "ratio_target": f"{ratio:g}", **constants}
    if quality is None:
        return row | dict.fromkeys(("psnr", "ms_ssim", "lpips", "flip", "bytes", "bpp"), "") | {"setting": "none"}
    return row | {
        "setting": "x",
        "psnr": str(quality),
        "ms_ssim": str(quality / 100),
        "ssimulacra2": str(2 * quality),
        "lpips": str(1 - quality / 100),
        "dists": str(1 - quality / 50),
        "wasserstein": str(100 - quality),
        "flip": "0.25",
        "bytes": str(round(1e6 / ratio)),
        "bpp": str(24 / ratio),
    }


EXAMPLE = [
    *(example_row("a", "jpeg", 50, 30), example_row("a", "webp", 50, 33)),
    *(example_row("b", "jpeg", 50, 40), example_row("b", "webp", 50, 41)),
    *(example_row("a", "jpeg", 200, None), example_row("a", "webp", 200, 25)),
    *(example_row("b", "jpeg", 200, 36), example_row("b", "webp", 200, 38)),
]


def test_the_table_has_means_over_the_shared_images() -> None:
    text = report.table(report.CodecResults(EXAMPLE))
    assert "| 50 | 2 | 35.00 / 0.3500 | 37.00 / 0.3700 |" in text
    assert "| 200 | 1 | 36.00 / 0.3600 | 38.00 / 0.3800 |" in text  # image a has no JPEG file
    assert "| 50 | 2 | 0.650 / 0.250 | 0.630 / 0.250 |" in text
    assert "| a | 200 | none | 25.00 |" in text
    assert "a (161x119, synthetic)" in text
    assert "abacus" in text
    assert "BD-rate" not in text  # nothing to compare with
    missing = report.table(report.CodecResults(EXAMPLE[:-1]))
    assert "| b | 200 | 36.00 | - |" in missing


def test_there_is_no_mean_over_some_of_the_images() -> None:
    rows = [dict(each) for each in EXAMPLE]
    rows[0]["dists"] = ""
    text = report.for_the_eye(report.CodecResults(rows))
    assert (
        "| 50 | 2 | 70.0 / 0.3500 / - / 65.0 / 0.650 / 35.00 | 74.0 / 0.3700 / 0.260 / 63.0 / 0.630 / 37.00 |" in text
    )


def test_the_table_for_the_eye() -> None:
    own = [example_row(image, CODEC, 50, quality) for image, quality in (("a", 31), ("b", 42))]
    text = report.for_the_eye(report.CodecResults([*EXAMPLE, *own]))
    jpeg, webp = "70.0 / 0.3500 / 0.300 / 65.0 / 0.650 / 35.00", "74.0 / 0.3700 / 0.260 / 63.0 / 0.630 / 37.00"
    assert f"| 50 | 2 | {jpeg} | {webp} | " in text
    assert f"Images on which {CODEC} has the larger SSIMULACRA2 / MS-SSIM, of those that both reach:" in text
    assert "| 50 | 2 of 2 / 2 of 2 | 1 of 2 / 1 of 2 |" in text
    assert "| b | 200 | 72.0 | 76.0 | - |" in text


def test_differences_from_published_points() -> None:
    own = [example_row("a", CODEC, ratio, 40 - math.log2(ratio)) for ratio in (25, 50, 100, 200)]
    jpeg = [example_row("a", "jpeg", ratio, 38 - math.log2(ratio)) for ratio in (25, 50, 100, 200)]
    points = [
        {"seq_name": name, "n_pixels": "1000", "psnr_db": str(40 - math.log2(ratio)), "rate_bpp": str(2 * 8e3 / ratio)}
        for ratio in (25, 50, 100, 200)
        for name in ("a", "b")
    ]
    text = report.of_folder(report.CodecResults([*jpeg, *own], {"other": points}))
    assert "| image | jpeg | other |" in text
    assert "| a | -75.0 / " in text
    assert "| mean | -75.0 / " in text
    assert text.count("-50.0 / -") == 2


def test_perceptual_means_stay_away_where_they_were_not_measured() -> None:
    assert report.perceptual_means(report.CodecResults([row | {"lpips": ""} for row in EXAMPLE])) == []


def test_equal_curves_at_half_the_bytes_save_half() -> None:
    anchor = [(30.0, 1000.0), (33.0, 1900.0), (35.0, 4100.0), (38.0, 8000.0)]
    half = [(quality, size / 2) for quality, size in anchor]
    assert report.bd_rate(half, anchor) == pytest.approx(-50)
    assert report.bd_rate(anchor, half) == pytest.approx(100)
    assert report.bd_rate(anchor, anchor) == 0


def test_bd_rate_of_straight_lines_over_their_overlap() -> None:
    """log2 bytes is q and 1.5 q - 15, which differ by 15 - q / 2: by 0.5 in the mean from 26 to 32."""
    curve = [(quality, 2.0**quality) for quality in (20, 24, 28, 32)]
    anchor = [(quality, 2.0 ** (1.5 * quality - 15)) for quality in (26, 29, 34, 40)]
    assert report.bd_rate(curve, anchor) == pytest.approx(100 * (2.0**0.5 - 1))


def test_bd_rate_needs_four_points_and_an_overlap() -> None:
    curve = [(float(quality), 2.0**quality) for quality in range(20, 26)]
    above = [(quality + 5, size) for quality, size in curve]
    assert math.isnan(report.bd_rate(curve[:3], curve))
    assert math.isnan(report.bd_rate(curve, curve[:3]))
    assert math.isnan(report.bd_rate(curve, above))


def test_a_curve_leaves_out_files_that_a_smaller_one_beats() -> None:
    rows = [example_row("a", CODEC, ratio, quality) for ratio, quality in ((50, 33), (100, 33), (200, 34), (500, 30))]
    results = report.CodecResults([*rows, example_row("a", CODEC, 1000, None)])
    assert results.curve("a", CODEC, "psnr") == [(30, 2000), (34, 5000)]
    decibels = [quality for quality, _ in results.curve("a", CODEC, "ms_ssim")]
    assert decibels == pytest.approx([-10 * math.log10(0.7), -10 * math.log10(0.66)])


def test_smartsplat_is_compared_with_each_anchor() -> None:
    ratios = (50, 100, 200, 400)
    rows = [
        *(example_row(image, "jpeg", ratio, 40 - 5 * math.log2(ratio / 50)) for image in "ab" for ratio in ratios),
        *(example_row("a", CODEC, ratio, 45 - 5 * math.log2(ratio / 50)) for ratio in ratios),
        *(example_row("b", CODEC, ratio, 38) for ratio in ratios[:2]),
    ]
    results = report.CodecResults(rows)
    text = report.table(results)
    assert results.anchors == ["jpeg"]
    (line,) = [line for line in text.splitlines() if line.startswith("| a | -")]
    assert line.split("|")[2].split("/")[0].strip() == "-50.0"  # 5 dB more is what half the bytes cost
    assert "| b | - / - |" in text
    assert line.replace("| a |", "| mean |") in text
    assert "| 50 | 1 of 2 / 1 of 2 |" in text
    assert "| 100 | 2 of 2 / 2 of 2 |" in text
    assert "| 200 | 1 of 1 / 1 of 1 |" in text


def test_the_report_replaces_the_table_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "results.md"
    begin, end = markdown.marks("rd")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    write_table(tmp_path / "rd.tsv")
    monkeypatch.setattr(report, "plot", lambda results, folder: [])
    for _ in range(2):
        report.main([str(tmp_path / "rd.tsv"), "--into", str(page)])
        text = page.read_text()
        assert text.startswith(f"before\n{begin}\nMean PSNR")
        assert text.endswith(f"\n{end}\nafter\n")
        assert "old" not in text
    with pytest.raises(ValueError, match="each once"):
        report.main([str(tmp_path / "rd.tsv"), "--form", "images", "--into", str(page)])  # has its own marks


def test_the_plots_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the bench extra")
    results = report.CodecResults(EXAMPLE)
    first, second = ([path.read_bytes() for path in report.plot(results, tmp_path / name)] for name in ("one", "two"))
    assert first == second
    assert all(b"webp" in svg for svg in first)


def write_table(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, EXAMPLE[0].keys(), delimiter="\t")
        writer.writeheader()
        writer.writerows(EXAMPLE)
