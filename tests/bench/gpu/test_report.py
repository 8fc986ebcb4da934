from __future__ import annotations

from pathlib import Path

from bench.gpu.report import tables

COLUMNS = (
    "measure megapixels width height ratio gaussians pairs value unit p50_ms flop_share bandwidth_share device versions"
)
CARD = {"device": "Card", "versions": "torch 3"}
CASE = {"megapixels": "2", "width": "1920", "height": "1080", "ratio": "200", "gaussians": "4000", "pairs": "90000"}


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    names = COLUMNS.split()
    lines = ["\t".join(names)] + ["\t".join((CARD | row).get(name, "") for name in names) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_was_measured_comes_in_tables(tmp_path: Path) -> None:
    measured = {"init": "0.01234", "steps": "1234.5", "peak_memory": "0.5", "decode": "99.96"}
    rows = [{"measure": "copy", "value": "4000"}, {"measure": "multiply_add", "value": "50000"}]
    rows += [CASE | {"measure": name, "value": value} for name, value in measured.items()]
    rows.append(CASE | {"measure": "steps", "value": "1"})  # measured again: the first counts
    rows.append(CASE | {"measure": "kernel fit", "p50_ms": "4.05", "value": "4.1", "flop_share": "0.5"})
    rows.append(CASE | {"measure": "kernel slopes, l1 and ssim", "p50_ms": "0.3", "value": "6.4"})
    rows.append(CASE | {"measure": "paper: quality", "value": "35.8", "unit": "dB"})
    rows.append(CASE | {"measure": "paper: time", "value": "27.5", "unit": "s"})
    rows.append(CASE | {"measure": "encode", "value": "21.6", "unit": "s, effort 5"})
    lines = tables(written(tmp_path / "gpu.tsv", rows)).splitlines()
    assert lines[0] == "Card: 4.00 TB/s copied, 50.0 TFLOP/s of multiply-adds; torch 3."
    assert "| 1920 x 1080 | 200 | 4000 | 22.5 | 0.0123 | 1234 | 0.5 | 100 |" in lines
    assert "| fit | 4.05 |  | 50 % |  |" in lines
    assert "| slopes |  | 6.40 |  |  |" in lines
    assert "| 1920 x 1080 | the paper's settings | 27.5 | 35.80 dB |" in lines
    assert "| 1920 x 1080 | `encode` | 21.6 | effort 5 |" in lines


def test_a_run_that_ended_early_has_the_tables_of_what_is_there(tmp_path: Path) -> None:
    rows = [{"measure": "copy", "value": "4000"}, {"measure": "multiply_add", "value": "50000"}]
    rows.append(CASE | {"measure": "init", "value": "1"})
    assert "1920" not in tables(written(tmp_path / "gpu.tsv", rows))
    rows.append(CASE | {"measure": "steps", "value": "5"})
    assert "| 1920 x 1080 | 200 | 4000 | 22.5 | 1 | 5 |  |  |" in tables(written(tmp_path / "gpu.tsv", rows))
