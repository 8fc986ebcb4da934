"""Turn a table of bench.gpu into markdown.

python -m bench.gpu_report results/v0.5/gpu-NAME.tsv                    (to stdout)
python -m bench.gpu_report results/v0.5/gpu-NAME.tsv --into docs/gpu.md (between the markers of its name)
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path

from bench.report import insert

KERNEL = "kernel "
WITH_SSIM = ", l1 and ssim"
Row = dict[str, str]


def rounded(value: float) -> str:
    """To three digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def sizes(rows: Iterable[Row]) -> list[str]:
    """A line a picture and ratio."""
    lines = ["| picture | ratio | Gaussians | pairs each | init, s | steps/s | memory, GB | frames/s |"]
    lines.append("|" + " --- |" * 8)
    cases: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["megapixels"]:
            cases.setdefault((row["megapixels"], row["ratio"]), {}).setdefault(row["measure"], row)
    for (_, ratio), found in sorted(cases.items(), key=lambda item: (float(item[0][0]), float(item[0][1]))):
        if "steps" not in found:
            continue
        step = found["steps"]
        values = [found[name]["value"] if name in found else "" for name in ("init", "steps", "peak_memory", "decode")]
        each = int(step["pairs"]) / int(step["gaussians"])
        cells = [f"{step['width']} x {step['height']}", f"{float(ratio):g}", step["gaussians"], f"{each:.1f}"]
        lines.append("| " + " | ".join(cells + [rounded(float(value)) if value else "" for value in values]) + " |")
    return lines


def kernels(rows: Iterable[Row]) -> list[str]:
    """A line a kernel of the first case that has them: one launch without SSIM, all of a step's strips with it."""
    lines = ["| kernel | ms | ms with SSIM | operations | bytes |", "|" + " --- |" * 5]
    found: dict[str, Row] = {}
    for row in rows:
        if row["measure"].startswith(KERNEL):
            found.setdefault(row["measure"].removeprefix(KERNEL), row)
    for name in dict.fromkeys(name.removesuffix(WITH_SSIM) for name in found):
        cells = [name]
        alone, with_ssim = found.get(name), found.get(name + WITH_SSIM)
        cells.append("" if alone is None else f"{float(alone['p50_ms']):.2f}")
        cells.append("" if with_ssim is None else f"{float(with_ssim['value']):.2f}")
        for share in ("flop_share", "bandwidth_share"):
            value = float(alone[share]) if alone is not None and alone[share] else 0.0
            cells.append(f"{100 * value:.0f} %" if value else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def fits(rows: Iterable[Row]) -> list[str]:
    """How long the paper's settings and the encoder's own take to one PSNR, and a whole encode."""
    lines = ["| picture | what | seconds | |", "| --- | --- | --- | --- |"]
    reached = ""
    for row in rows:
        size = f"{row['width']} x {row['height']}"
        name, _, kind = row["measure"].partition(": ")
        if kind == "quality":
            reached = f"{float(row['value']):.2f} {row['unit']}"
        elif kind == "time":
            what = "the paper's settings" if name == "paper" else "the encoder's, at as many Gaussians"
            lines.append(f"| {size} | {what} | {float(row['value']):.1f} | {reached} |")
        elif name == "encode":
            lines.append(f"| {size} | `encode` | {float(row['value']):.1f} | {row['unit'].removeprefix('s, ')} |")
    return lines


def tables(path: Path) -> str:
    """All of it."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    ceilings = {row["measure"]: float(row["value"]) for row in rows if row["measure"] in ("copy", "multiply_add")}
    said = f"{ceilings['copy'] / 1e3:.2f} TB/s copied, {ceilings['multiply_add'] / 1e3:.1f} TFLOP/s of multiply-adds"
    first = f"{rows[0]['device']}: {said}; {rows[0]['versions']}."
    return "\n".join([first, "", *sizes(rows), "", *kernels(rows), "", *fits(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    options = parser.parse_args()
    if options.into:
        name = options.table.stem
        insert(tables(options.table), options.into, f"<!-- {name}:begin -->", f"<!-- {name}:end -->")
    else:
        print(tables(options.table))


if __name__ == "__main__":
    main()
