"""Tables and plots of the baselines from invented rows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench.paper import table1, table1_report
from bench.rate_distortion import report


def test_differences_are_of_the_same_image_and_seed() -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"ratio_nominal": "200", "seed": "0"}
    rows = [
        made | {"picture": "one", "method": "smartsplat-paper", "psnr": "30"},
        made | {"picture": "two", "method": "smartsplat-paper", "psnr": "20"},
        made | {"picture": "one", "method": "lig", "psnr": "31"},
        made | {"picture": "two", "method": "lig", "psnr": "18"},
        made | {"picture": "three", "method": "lig", "psnr": "50"},
    ]
    assert table1_report.differences(table1_report.MethodResults(rows[:-1]))[2:] == ["| lig | -0.50 ± 2.12 |"]
    one = table1_report.MethodResults([rows[0], rows[2], rows[4]])  # three is no image of the paper's method
    assert table1_report.differences(one)[2:] == ["| lig | +1.00 |"]
    with pytest.raises(ValueError, match="1 and 2 steps"):
        table1_report.MethodResults([*rows, rows[0] | {"steps": "2"}])


def test_the_report_takes_means_over_what_all_have() -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"machine": "a machine", "recipe": "none", "ratio_nominal": "200"}
    made_rows = [
        made | {"picture": "one", "method": "lig", "psnr": "20", "seed": "0"},
        made | {"picture": "one", "method": "lig", "psnr": "22", "seed": "1"},
        made | {"picture": "two", "method": "lig", "psnr": "40", "seed": "0"},
        made | {"picture": "one", "method": "3dgs", "psnr": "30", "seed": "0", "bytes": "50", "gaussians": "10"},
        made | {"picture": "one", "method": "3dgs", "psnr": "", "seed": "0", "ratio_nominal": "20"},
    ]
    text = table1_report.tables(table1_report.MethodResults(made_rows[:-1]))
    assert "| images | 1 |" in text
    assert "| 3dgs | 30.00 / 1.0000 |" in text
    assert "| lig | 21.00 / 1.0000 |" in text  # two is not an image of 3dgs
    assert "| two | 200 | - | 40.00 |" in text
    assert "| 3dgs | 1, 5.00 |" in text
    assert "in 1 cells: 1.41 dB in the middle, 1.41 at most" in text
    assert math.isnan(table1_report.MethodResults(made_rows).mean("3dgs", 20, "psnr"))


def test_ablations_have_a_table_of_their_own() -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"machine": "a machine"}
    rows = [
        made | {"picture": image, "method": method, "psnr": psnr, "ratio_nominal": ratio, "seed": seed}
        for image, method, psnr, ratio, seed in (
            ("one", "smartsplat-paper", "30", "200", "0"),
            ("two", "smartsplat-paper", "20", "200", "0"),
            ("two", "smartsplat-paper", "40", "200", "1"),  # a seed that the ablation lacks
            ("two", "smartsplat-paper", "25", "100", "0"),
            ("two", "smartsplat-no-colors", "19", "200", "0"),
        )
    ]
    text = table1_report.tables(table1_report.MethodResults(rows))
    assert "| images | 1 | 2 |" in text  # the ablation has but one image
    assert "Ablations at a nominal 200 : 1, means over 1 of the images" in text
    assert "| smartsplat-no-colors | 19.00 / 1.0000 | -1.00 | 1.0000 / 1.000 | 1 |" in text
    assert text.count("smartsplat-no-colors") == 1
    alone = table1_report.tables(table1_report.MethodResults(rows[-1:]))
    assert alone.startswith("Ablations at a nominal 200 : 1")


def test_files_are_compared_and_plotted(tmp_path: Path) -> None:
    made = dict.fromkeys(table1.COLUMNS, "1") | {"picture": "one", "seed": "0", "machine": "a machine"}
    rows = []
    for method, fraction in (("lig", 1.0), ("smartsplat", 0.5)):
        for ratio in (50, 100, 200, 500):
            size = 1e6 * fraction / ratio
            columns = {"bytes": str(size), "bpp": str(size / 1e4), "file_psnr": str(10 * math.log10(1e6 / ratio))}
            rows.append(made | columns | {"method": method, "ratio_nominal": str(ratio)})
    results = table1_report.MethodResults(rows)
    assert table1_report.savings(results)[2:] == ["| lig | -50.0 | -50.0 (1) |"]
    assert "BD-rate of smartsplat" in table1_report.tables(results)
    codec_row = {"picture": "one", "codec": "jpeg", "ratio_target": "50", "bpp": "0.5", "psnr": "30"}
    table1_report.plot(results, report.CodecResults([codec_row]), tmp_path / "files.svg")
    plotted = (tmp_path / "files.svg").read_text()
    assert all(name in plotted for name in ("lig", "smartsplat", "jpeg", "bits per pixel"))
