"""Turn a table of bench.gpu into markdown.

python -m bench.gpu_report results/v0.5/gpu-NAME.tsv                    (to stdout)
python -m bench.gpu_report results/v0.5/gpu-NAME.tsv --into docs/gpu.md (between the markers of its name)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from bench.report import header, insert, markers, read, row

KERNEL = "kernel "
WITH_SSIM = ", l1 and ssim"
Row = dict[str, str]


def rounded(value: float) -> str:
    """To three digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def sizes(rows: Iterable[Row]) -> list[str]:
    """A line a picture and ratio."""
    lines = header("picture", "ratio", "Gaussians", "pairs each", "init, s", "steps/s", "memory, GB", "frames/s")
    cases: dict[tuple[str, str], dict[str, Row]] = {}
    for entry in rows:
        if entry["megapixels"]:
            cases.setdefault((entry["megapixels"], entry["ratio"]), {}).setdefault(entry["measure"], entry)
    for (_, ratio), found in sorted(cases.items(), key=lambda item: (float(item[0][0]), float(item[0][1]))):
        if "steps" not in found:
            continue
        step = found["steps"]
        values = [found[name]["value"] if name in found else "" for name in ("init", "steps", "peak_memory", "decode")]
        each = int(step["pairs"]) / int(step["gaussians"])
        cells = [f"{step['width']} x {step['height']}", f"{float(ratio):g}", step["gaussians"], f"{each:.1f}"]
        lines.append(row(*cells, *(rounded(float(value)) if value else "" for value in values)))
    return lines


def kernels(rows: Iterable[Row]) -> list[str]:
    """A line a kernel of the first case that has them: one launch without SSIM, all of a step's strips with it."""
    lines = header("kernel", "ms", "ms with SSIM", "operations", "bytes")
    found: dict[str, Row] = {}
    for entry in rows:
        if entry["measure"].startswith(KERNEL):
            found.setdefault(entry["measure"].removeprefix(KERNEL), entry)
    for name in dict.fromkeys(name.removesuffix(WITH_SSIM) for name in found):
        cells = [name]
        alone, with_ssim = found.get(name), found.get(name + WITH_SSIM)
        cells.append("" if alone is None else f"{float(alone['p50_ms']):.2f}")
        cells.append("" if with_ssim is None else f"{float(with_ssim['value']):.2f}")
        for share in ("flop_share", "bandwidth_share"):
            value = float(alone[share]) if alone is not None and alone[share] else 0.0
            cells.append(f"{100 * value:.0f} %" if value else "")
        lines.append(row(*cells))
    return lines


def fits(rows: Iterable[Row]) -> list[str]:
    """How long the paper's settings and the encoder's own take to one PSNR, and a whole encode."""
    lines = header("picture", "what", "seconds", "")
    reached = ""
    for found in rows:
        size = f"{found['width']} x {found['height']}"
        name, _, kind = found["measure"].partition(": ")
        if kind == "quality":
            reached = f"{float(found['value']):.2f} {found['unit']}"
        elif kind == "time":
            what = "the paper's settings" if name == "paper" else "the encoder's, at as many Gaussians"
            lines.append(row(size, what, f"{float(found['value']):.1f}", reached))
        elif name == "encode":
            lines.append(row(size, "`encode`", f"{float(found['value']):.1f}", found["unit"].removeprefix("s, ")))
    return lines


def tables(path: Path) -> str:
    """All of it."""
    rows = read(path)
    ceilings = {
        entry["measure"]: float(entry["value"]) for entry in rows if entry["measure"] in ("copy", "multiply_add")
    }
    said = f"{ceilings['copy'] / 1e3:.2f} TB/s copied, {ceilings['multiply_add'] / 1e3:.1f} TFLOP/s of multiply-adds"
    first = f"{rows[0]['device']}: {said}; {rows[0]['versions']}."
    return "\n".join([first, "", *sizes(rows), "", *kernels(rows), "", *fits(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    options = parser.parse_args()
    if options.into:
        insert(tables(options.table), options.into, *markers(options.table.stem))
    else:
        print(tables(options.table))


if __name__ == "__main__":
    main()
