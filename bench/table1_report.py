"""Turn a table of bench.table1 into markdown.

python -m bench.table1_report results/v0.5/table1-small.tsv                           (to stdout)
python -m bench.table1_report results/v0.5/table1-small.tsv --into docs/baselines.md  (between the markers of its name)
python -m bench.table1_report results/v0.5/table1-small.tsv --codecs results/v0.5/rd.tsv --figure rivals.svg  (plots)
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report import METRICS, PLOT_STYLE, Curve, bd_rate, insert, label, markers, mean, read, rising, save, signed
from bench.report import Results as CodecResults
from smartsplat.baselines import METHODS

BASE = "smartsplat-paper"
"""The method that the others are compared with, picture by picture, at equal numbers of Gaussians."""

OWN = "smartsplat"
"""The codec, whose files the others' are compared with."""

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

    def spreads(self) -> list[float]:
        """Standard deviations of the PSNR over the seeds of a cell, of every cell with several, upwards."""
        cells: dict[tuple[str, str, str], list[float]] = {}
        for row in self.rows:
            cells.setdefault((row["picture"], row["method"], row["ratio_nominal"]), []).append(float(row["psnr"]))
        return sorted(statistics.stdev(values) for values in cells.values() if len(values) > 1)

    def files(self, method: str, picture: str) -> list[tuple[float, float, float]]:
        """Bits a pixel, bytes and PSNR of a method's files of a picture, means over seeds, by falling nominal ratio."""
        found = []
        for ratio in reversed(self.ratios):
            point = [self.mean(method, ratio, name, [picture]) for name in ("bpp", "bytes", "file_psnr")]
            if not any(map(math.isnan, point)):
                found.append((point[0], point[1], point[2]))
        return found

    def curve(self, method: str, picture: str) -> Curve:
        """What bd_rate compares."""
        return rising((size, decibels) for _, size, decibels in self.files(method, picture))


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


def savings(results: Results) -> list[str]:
    """A line a method other than ``OWN``: how many bytes fewer the codec takes for the same PSNR."""
    pictures = list(dict.fromkeys(row["picture"] for row in results.rows))
    lines = ["| method | " + " | ".join(pictures) + " | mean |", "| --- |" + " --- |" * (len(pictures) + 1)]
    for method in results.methods:
        if method != OWN:
            rates = [bd_rate(results.curve(OWN, name), results.curve(method, name)) for name in pictures]
            lines.append(f"| {method} | " + " | ".join(map(signed, [*rates, mean(rates)])) + " |")
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
    lines = ["PSNR, dB / MS-SSIM of what was fitted, by nominal ratio:", ""]
    lines += quality(results, (("psnr", 2), ("ms_ssim", 4)))
    if BASE in results.methods:
        lines += ["", f"PSNR less that of {BASE}, mean and standard deviation over pictures and seeds, dB:", ""]
        lines += differences(results)
    lines += ["", "The same rows as real files, true ratio / PSNR of the decoded pixels:", ""]
    lines += quality(results, (("ratio_true", 0), ("file_psnr", 2)))
    if OWN in results.methods and len(results.ratios) > 3:
        lines += ["", f"BD-rate of {OWN} against each, percent of the method's bytes at equal PSNR of the files:", ""]
        lines += savings(results)
    lines += ["", "SSIM / LPIPS of what was fitted:", ""]
    lines += quality(results, (("ssim", 4), ("lpips", 3)))
    lines += ["", *costs(results), ""]
    recipes = dict.fromkeys((row["picture"], row["width"], row["height"], row["recipe"]) for row in results.rows)
    lines.append("Pictures: " + "; ".join(f"{name} ({w}x{h}, {recipe})" for name, w, h, recipe in recipes) + ".")
    steps = ", ".join(dict.fromkeys(row["steps"] for row in results.rows))
    seeds = len({row["seed"] for row in results.rows})
    spreads = results.spreads()
    told = (
        f"; standard deviation of their PSNR in {len(spreads)} cells: {statistics.median(spreads):.2f} dB in the "
        f"middle, {spreads[-1]:.2f} at most"
        if spreads
        else ""
    )
    lines.append(f"Steps: {steps}. Seeds: {seeds}{told}.")
    for name in ("machine", "versions"):
        lines.append(f"{name.capitalize()}: {'; '.join(dict.fromkeys(row[name] for row in results.rows))}.")
    return "\n".join(lines)


def draw(results: Results, codecs: CodecResults, path: Path) -> None:
    """PSNR of every method's and every other codec's files over their bits a pixel, a panel for each picture."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    pictures = list(dict.fromkeys(row["picture"] for row in results.rows))
    rows = math.ceil(len(pictures) / 2)
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(8, 3.2 * rows), layout="constrained")
        for axes, picture in zip(figure.subplots(rows, 2, squeeze=False).flat, pictures, strict=False):
            for method in results.methods:
                points = results.files(method, picture)
                axes.plot([bits for bits, _, _ in points], [decibels for _, _, decibels in points], label=method)
            for codec in codecs.peers:
                bits, decibels = (
                    [codecs.value(picture, codec, ratio, name) for ratio in codecs.ratios] for name in ("bpp", "psnr")
                )
                axes.plot(bits, decibels, label=codec, linewidth=0.8, linestyle="--")
            label(axes, picture, METRICS["psnr"])
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path, columns=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    parser.add_argument("--figure", type=Path, help="file of a plot of the methods' files")
    parser.add_argument("--codecs", type=Path, help="rd.tsv, whose codecs the plot has, too")
    options = parser.parse_args()
    results = Results.read(options.table)
    markdown = tables(results)
    if options.into:
        insert(markdown, options.into, *markers(options.table.stem))
    else:
        print(markdown)
    if options.figure:
        draw(results, CodecResults(read(options.codecs) if options.codecs else ()), options.figure)


if __name__ == "__main__":
    main()
