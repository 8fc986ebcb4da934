"""Turn a table of bench.gpu.run into markdown.

python -m bench.gpu.report gpu-NAME.tsv                    (to stdout)
python -m bench.gpu.report gpu-NAME.tsv --into docs/gpu.md (between the marks of its name)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from bench.markdown import header, percent, publish, row, significant
from bench.tables import Row, read_rows

KERNEL_PREFIX = "kernel "
SSIM_SUFFIX = ", l1 and ssim"


def sizes(rows: Iterable[Row]) -> list[str]:
    """A line for each image and ratio."""
    lines = header("image", "ratio", "Gaussians", "intersections each", "init, s", "steps/s", "memory, GB", "frames/s")
    cases: dict[tuple[str, str], dict[str, Row]] = {}
    for entry in rows:
        if entry["megapixels"]:
            cases.setdefault((entry["megapixels"], entry["ratio"]), {}).setdefault(entry["measure"], entry)
    measures = ("init", "steps", "peak_memory", "decode")
    for (_, ratio), measured in sorted(cases.items(), key=lambda item: (float(item[0][0]), float(item[0][1]))):
        if "steps" not in measured:
            continue
        step = measured["steps"]
        values = [measured[name]["value"] if name in measured else "" for name in measures]
        intersections = int(step["pairs"]) / int(step["gaussians"])
        cells = [f"{step['width']} x {step['height']}", f"{float(ratio):g}", step["gaussians"], f"{intersections:.1f}"]
        lines.append(row(*cells, *(significant(float(value)) if value else "" for value in values)))
    return lines


def kernels(rows: Iterable[Row]) -> list[str]:
    """A line a kernel of the first case that has them: one launch without SSIM, all of a step's strips with it."""
    lines = header("kernel", "ms", "ms with SSIM", "operations", "bytes")
    measured: dict[str, Row] = {}
    for entry in rows:
        if entry["measure"].startswith(KERNEL_PREFIX):
            measured.setdefault(entry["measure"].removeprefix(KERNEL_PREFIX), entry)
    for name in dict.fromkeys(name.removesuffix(SSIM_SUFFIX) for name in measured):
        cells = [name]
        alone, with_ssim = measured.get(name), measured.get(name + SSIM_SUFFIX)
        cells.append("" if alone is None else f"{float(alone['p50_ms']):.2f}")
        cells.append("" if with_ssim is None else f"{float(with_ssim['value']):.2f}")
        for column in ("flop_share", "bandwidth_share"):
            fraction = float(alone[column]) if alone is not None and alone[column] else 0.0
            cells.append(percent(fraction) if fraction else "")
        lines.append(row(*cells))
    return lines


def fits(rows: Iterable[Row]) -> list[str]:
    """How long the paper's settings and the encoder's own take to one PSNR, and a whole encode."""
    lines = header("image", "what", "seconds", "")
    reached = ""
    for entry in rows:
        size = f"{entry['width']} x {entry['height']}"
        name, _, kind = entry["measure"].partition(": ")
        if kind == "quality":
            reached = f"{float(entry['value']):.2f} {entry['unit']}"
        elif kind == "time":
            what = "the paper's settings" if name == "paper" else "the encoder's, at as many Gaussians"
            lines.append(row(size, what, f"{float(entry['value']):.1f}", reached))
        elif name == "encode":
            lines.append(row(size, "`encode`", f"{float(entry['value']):.1f}", entry["unit"].removeprefix("s, ")))
    return lines


def tables(path: Path) -> str:
    """All of it."""
    rows = read_rows(path)
    ceilings = {
        entry["measure"]: float(entry["value"]) for entry in rows if entry["measure"] in ("copy", "multiply_add")
    }
    rates = f"{ceilings['copy'] / 1e3:.2f} TB/s copied, {ceilings['multiply_add'] / 1e3:.1f} TFLOP/s of multiply-adds"
    first = f"{rows[0]['device']}: {rates}; {rows[0]['versions']}."
    return "\n".join([first, "", *sizes(rows), "", *kernels(rows), "", *fits(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    options = parser.parse_args()
    publish(tables(options.table), options.into, options.table.stem)


if __name__ == "__main__":
    main()
