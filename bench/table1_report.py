"""Turn a table of bench.table1 into markdown.

python -m bench.table1_report results/v0.5/table1-small.tsv                           (to stdout)
python -m bench.table1_report results/v0.5/table1-small.tsv --into docs/baselines.md  (between the markers of its name)
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report import insert, markers, read
from smartsplat.baselines import METHODS

BASE = "smartsplat-paper"
"""The method that the others are compared with, picture by picture."""

COST_RATIO = 200.0
"""Nominal ratio of the table of seconds and megabytes, if there are rows of it."""


class Results:
    """The rows of a table by method and nominal ratio: of several pictures and seeds each."""

    def __init__(self, rows: Iterable[dict[str, str]]) -> None:
        self.rows = list(rows)
        self.methods = [name for name in METHODS if any(row["method"] == name for row in self.rows)]
        self.ratios = sorted({float(row["ratio_nominal"]) for row in self.rows})

    @staticmethod
    def read(path: Path) -> Results:
        return Results(read(path))

    def of(self, method: str, ratio: float) -> list[dict[str, str]]:
        return [row for row in self.rows if row["method"] == method and float(row["ratio_nominal"]) == ratio]

    def common(self, ratio: float) -> list[str]:
        """Pictures that every method of the table has at that ratio, in the order of the rows."""
        sets = [{row["picture"] for row in self.of(method, ratio)} for method in self.methods]
        return [name for name in dict.fromkeys(row["picture"] for row in self.rows) if all(name in s for s in sets)]

    def mean(self, method: str, ratio: float, column: str, pictures: Sequence[str]) -> float:
        """Over the pictures and their seeds; NaN if there is nothing."""
        values = [row[column] for row in self.of(method, ratio) if row["picture"] in pictures]
        numbers = [float(value) for value in values if value]
        return statistics.fmean(numbers) if numbers and len(numbers) == len(values) else math.nan

    def paired(self, method: str, ratio: float) -> list[float]:
        """PSNR less that of ``BASE`` in the same picture with the same seed."""
        keys = ("picture", "seed", "steps")
        base = {tuple(row[key] for key in keys): float(row["psnr"]) for row in self.of(BASE, ratio)}
        cells = ((tuple(row[key] for key in keys), float(row["psnr"])) for row in self.of(method, ratio))
        return [decibels - base[cell] for cell, decibels in cells if cell in base]

    def spread(self) -> float:
        """The largest standard deviation of the PSNR over the seeds of one cell; NaN with one seed each."""
        cells: dict[tuple[str, str, str], list[float]] = {}
        for row in self.rows:
            cells.setdefault((row["picture"], row["method"], row["ratio_nominal"]), []).append(float(row["psnr"]))
        return max((statistics.stdev(values) for values in cells.values() if len(values) > 1), default=math.nan)


def number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def quality(results: Results, columns: Sequence[tuple[str, int]]) -> list[str]:
    """A line a method, a column a nominal ratio, with the means of several columns in a cell."""
    lines = ["| method | " + " | ".join(f"{ratio:g} : 1" for ratio in results.ratios) + " |"]
    lines.append("| --- |" + " --- |" * len(results.ratios))
    for method in results.methods:
        cells = []
        for ratio in results.ratios:
            pictures = results.common(ratio)
            values = [number(results.mean(method, ratio, name, pictures), digits) for name, digits in columns]
            cells.append(" / ".join(values))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def differences(results: Results) -> list[str]:
    """A line a method other than ``BASE``: mean and standard deviation of the paired differences."""
    lines = ["| method | " + " | ".join(f"{ratio:g} : 1" for ratio in results.ratios) + " |"]
    lines.append("| --- |" + " --- |" * len(results.ratios))
    for method in results.methods:
        if method != BASE:
            found = [results.paired(method, ratio) for ratio in results.ratios]
            cells = [
                f"{statistics.fmean(values):+.2f} ± {statistics.stdev(values):.2f}" if len(values) > 1 else "-"
                for values in found
            ]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def costs(results: Results) -> list[str]:
    """What each method takes, at one ratio."""
    ratio = COST_RATIO if COST_RATIO in results.ratios else results.ratios[0]
    pictures = results.common(ratio)
    lines = [f"At a nominal {ratio:g} : 1:", ""]
    lines.append("| method | numbers, bytes of a Gaussian | fit, s | steps a second | peak, MB | decoding, MP/s |")
    lines.append("| --- |" + " --- |" * 5)
    for method in results.methods:
        names = ("values", "bytes", "gaussians", "seconds", "steps_per_second", "peak_mb", "decode_mp_s")
        values, size, count, *rest = (results.mean(method, ratio, name, pictures) for name in names)
        cells = [f"{number(values, 0)}, {number(size / count, 2)}"]
        cells += [number(value, digits) for value, digits in zip(rest, (1, 1, 0, 0), strict=True)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def tables(results: Results) -> str:
    """All of it."""
    first = results.rows[0]
    lines = ["PSNR, dB / MS-SSIM of what was fitted, by nominal ratio:", ""]
    lines += quality(results, (("psnr", 2), ("ms_ssim", 4)))
    if BASE in results.methods:
        lines += ["", f"PSNR less that of {BASE}, mean and standard deviation over pictures and seeds, dB:", ""]
        lines += differences(results)
    lines += ["", "The same rows as real files, true ratio / PSNR of the decoded pixels:", ""]
    lines += quality(results, (("ratio_true", 0), ("file_psnr", 2)))
    lines += ["", "SSIM / LPIPS of what was fitted:", ""]
    lines += quality(results, (("ssim", 4), ("lpips", 3)))
    lines += ["", *costs(results), ""]
    recipes = dict.fromkeys((row["picture"], row["width"], row["height"], row["recipe"]) for row in results.rows)
    lines.append("Pictures: " + "; ".join(f"{name} ({w}x{h}, {recipe})" for name, w, h, recipe in recipes) + ".")
    steps = ", ".join(dict.fromkeys(row["steps"] for row in results.rows))
    seeds = len({row["seed"] for row in results.rows})
    spread = results.spread()
    told = "" if math.isnan(spread) else f"; their PSNR has a standard deviation of at most {spread:.2f} dB"
    lines.append(f"Steps: {steps}. Seeds: {seeds}{told}.")
    lines += [f"Machine: {first['machine']}.", f"Versions: {first['versions']}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    options = parser.parse_args()
    markdown = tables(Results.read(options.table))
    if options.into:
        insert(markdown, options.into, *markers(options.table.stem))
    else:
        print(markdown)


if __name__ == "__main__":
    main()
