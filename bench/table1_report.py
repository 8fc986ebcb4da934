"""Turn a table of bench.table1 into markdown.

python -m bench.table1_report results/v0.5/table1-small.tsv                           (to stdout)
python -m bench.table1_report results/v0.5/table1-small.tsv --into docs/baselines.md  (between the markers of its name)
python -m bench.table1_report results/v0.5/table1-small.tsv --codecs results/v0.5/rd.tsv --figure rivals.svg  (plots)
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from bench import report
from bench.report import bd_rate, cell, each_picture, header, mean, rising, row, signed
from smartsplat.baselines import CONTROLS, METHODS

BASE = "smartsplat-paper"
"""The method that the others are compared with, picture by picture, at equal numbers of Gaussians."""

OWN = "smartsplat"
"""The codec, whose files the others' are compared with."""

COST_RATIO = 200.0
"""Nominal ratio of the table of seconds and megabytes, if there are rows of it."""

QUICKEST = {"seconds": min, "steps_per_second": max, "decode_mp_s": max}
"""Columns in which seeds differ only by what else the machine did."""

BELOW = 4.0  # dB

COMPARED = METHODS.keys() - CONTROLS.keys()
"""What the tables and plots of all nominal ratios have."""


class Results:
    """The rows of a table by method, nominal ratio and picture, of several seeds each and of one number of steps."""

    def __init__(self, rows: Iterable[dict[str, str]]) -> None:
        self.rows = list(rows)
        steps = list(dict.fromkeys(row["steps"] for row in self.rows))
        if len(steps) > 1:
            raise ValueError(f"rows of {' and '.join(steps)} steps cannot be averaged; choose some by --steps")
        self.methods = [name for name in METHODS if any(row["method"] == name for row in self.rows)]
        self.ratios = sorted({float(row["ratio_nominal"]) for row in self.rows})
        self.pictures = list(dict.fromkeys(row["picture"] for row in self.rows))
        self.cells: dict[tuple[str, float, str], list[dict[str, str]]] = {}  # the seeds of each
        for found in self.rows:
            self.cells.setdefault((found["method"], float(found["ratio_nominal"]), found["picture"]), []).append(found)

    def of(self, methods: Container[str]) -> Results:
        """What there is of these."""
        return Results(row for row in self.rows if row["method"] in methods)

    def value(self, method: str, ratio: float, column: str, picture: str) -> float:
        """The mean over seeds, of ``QUICKEST`` the best one; NaN if there is nothing."""
        texts = [row[column] for row in self.cells.get((method, ratio, picture), ())]
        return QUICKEST.get(column, statistics.fmean)(map(float, texts)) if texts and all(texts) else math.nan

    def common(self, ratio: float) -> list[str]:
        """Pictures of all methods that there are at that ratio: only over these are means comparable."""
        methods = {method for method, found, _ in self.cells if found == ratio}
        return [name for name in self.pictures if all((method, ratio, name) in self.cells for method in methods)]

    def values(self, method: str, ratio: float, column: str) -> list[float]:
        """One of each common picture."""
        return [self.value(method, ratio, column, picture) for picture in self.common(ratio)]

    def mean(self, method: str, ratio: float, column: str) -> float:
        values = self.values(method, ratio, column)
        return statistics.fmean(values) if values else math.nan

    def spreads(self) -> list[float]:
        """Standard deviations of the PSNR over the seeds of a cell, of every cell with several, upwards."""
        several = (found for found in self.cells.values() if len(found) > 1)
        return sorted(statistics.stdev(float(row["psnr"]) for row in found) for found in several)

    def files(self, method: str, picture: str) -> list[tuple[float, float, float]]:
        """Bits a pixel, bytes and PSNR of a method's files of a picture, means over seeds, by falling nominal ratio."""
        found = []
        for ratio in reversed(self.ratios):
            point = [self.value(method, ratio, name, picture) for name in ("bpp", "bytes", "file_psnr")]
            if not any(map(math.isnan, point)):
                found.append((point[0], point[1], point[2]))
        return found

    def curve(self, method: str, picture: str) -> report.Curve:
        """What bd_rate compares."""
        return rising((size, decibels) for _, size, decibels in self.files(method, picture))


def quality(results: Results, columns: Sequence[tuple[str, int]]) -> list[str]:
    """A line a method, a column a nominal ratio, with the means of several columns in a cell."""
    lines = header("method", *(f"{ratio:g} : 1" for ratio in results.ratios))
    for method in results.methods:
        cells = (
            " / ".join(cell(results.mean(method, ratio, name), digits) for name, digits in columns)
            for ratio in results.ratios
        )
        lines.append(row(method, *cells))
    return lines


def difference(results: Results, method: str, ratio: float) -> str:
    """Mean and standard deviation of what a method's PSNR has more than that of ``BASE`` on each picture."""
    pairs = zip(results.values(method, ratio, "psnr"), results.values(BASE, ratio, "psnr"), strict=True)
    found = [own - base for own, base in pairs if not math.isnan(own - base)]
    spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):+.2f}{spread}" if found else "-"


def differences(results: Results) -> list[str]:
    """A line a method other than ``BASE``."""
    lines = header("method", *(f"{ratio:g} : 1" for ratio in results.ratios))
    for method in results.methods:
        if method != BASE:
            lines.append(row(method, *(difference(results, method, ratio) for ratio in results.ratios)))
    return lines


def pictures(results: Results) -> list[str]:
    """A line a picture and nominal ratio, a column a method, also what the means leave out."""

    def psnr(picture: str, ratio: float, method: str) -> str:
        return cell(results.value(method, ratio, "psnr", picture), 2)

    return each_picture(results.pictures, results.ratios, results.methods, psnr)


def controls(results: Results) -> list[str]:
    """A table a nominal ratio, a line a control and ``BASE``."""
    lines = []
    for ratio in results.ratios:
        number = len(results.common(ratio))
        lines += [f"Controls at a nominal {ratio:g} : 1, means over {number} of the pictures:", ""]
        lines += header("method", "PSNR, dB / MS-SSIM", f"PSNR less that of {BASE}", "SSIM / LPIPS", "true ratio")
        for method in results.methods:
            psnr, ms_ssim, ssim, lpips, true = (
                cell(results.mean(method, ratio, name), digits)
                for name, digits in (("psnr", 2), ("ms_ssim", 4), ("ssim", 4), ("lpips", 3), ("ratio_true", 0))
            )
            apart = "" if method == BASE else difference(results, method, ratio)
            lines.append(row(method, f"{psnr} / {ms_ssim}", apart, f"{ssim} / {lpips}", true))
        lines.append("")
    return lines


def savings(results: Results) -> list[str]:
    """A line a method other than ``OWN``: how many bytes fewer the codec takes for the same PSNR."""
    lines = header("method", *results.pictures, "mean")
    for method in results.methods:
        if method != OWN:
            rates = [bd_rate(results.curve(OWN, name), results.curve(method, name)) for name in results.pictures]
            number = sum(not math.isnan(rate) for rate in rates)
            lines.append(row(method, *map(signed, rates), f"{signed(mean(rates))} ({number})"))
    return lines


def costs(results: Results) -> list[str]:
    """What each method takes, at one ratio."""
    ratio = COST_RATIO if COST_RATIO in results.ratios else results.ratios[0]
    lines = [f"At a nominal {ratio:g} : 1:", ""]
    titles = ("numbers, bytes of a Gaussian", "fit, s", "steps a second", "peak, MB", "decoding, MP/s")
    lines += header("method", *titles)
    for method in results.methods:
        names = ("values", "bytes", "gaussians", "seconds", "steps_per_second", "peak_mb", "decode_mp_s")
        values, size, count, *rest = (results.mean(method, ratio, name) for name in names)
        cells = (cell(value, digits) for value, digits in zip(rest, (1, 1, 0, 0), strict=True))
        lines.append(row(method, f"{cell(values, 0)}, {cell(size / count, 2)}", *cells))
    return lines


def comparison(results: Results) -> list[str]:
    """The methods' quality, files and costs."""
    lines = ["PSNR, dB / MS-SSIM of what was fitted, by nominal ratio:", ""]
    lines += quality(results, (("psnr", 2), ("ms_ssim", 4)))
    lines.append(row("pictures", *(str(len(results.common(ratio))) for ratio in results.ratios)))
    if BASE in results.methods:
        lines += ["", f"PSNR less that of {BASE}, mean and standard deviation over these pictures, dB:", ""]
        lines += differences(results)
    lines += ["", "The same rows as real files, true ratio / PSNR of the decoded pixels:", ""]
    lines += quality(results, (("ratio_true", 0), ("file_psnr", 2)))
    if OWN in results.methods and len(results.ratios) > 3:
        lines += [
            "",
            f"BD-rate of {OWN} against each, percent of the method's bytes at equal PSNR of the files (-: fewer",
            "than four files of rising PSNR, or less than half a dB that both reach); beside the mean, of how many:",
            "",
        ]
        lines += savings(results)
    lines += ["", "SSIM / LPIPS of what was fitted:", ""]
    lines += quality(results, (("ssim", 4), ("lpips", 3)))
    lines += ["", "PSNR of what was fitted of each picture, dB (-: was not run):", ""]
    lines += pictures(results)
    return [*lines, "", *costs(results), ""]


def tables(results: Results) -> str:
    """All of it. Controls have tables of their own, and do not keep others from pictures that they lack."""
    compared, aside = results.of(COMPARED), results.of(CONTROLS)
    lines = comparison(compared) if compared.rows else []
    if aside.rows:
        seen = {(row["ratio_nominal"], row["seed"]) for row in aside.rows}
        held_against = (row for row in results.of({BASE}).rows if (row["ratio_nominal"], row["seed"]) in seen)
        lines += controls(Results([*aside.rows, *held_against]))
    seeds = len({found["seed"] for found in results.rows})
    spreads = results.spreads()
    told = (
        f"; standard deviation of their PSNR in {len(spreads)} cells: {statistics.median(spreads):.2f} dB in the "
        f"middle, {spreads[-1]:.2f} at most"
        if spreads
        else ""
    )
    lines.append(f"Steps: {results.rows[0]['steps']}. Seeds: {seeds}{told}.")
    return "\n".join([*lines, *report.provenance(results.rows)])


def draw(results: Results, codecs: report.Results, path: Path) -> None:
    """PSNR of every method's and every other codec's files over their bits a pixel, a panel for each picture.

    It ends ``BELOW`` below the codecs, lest a method that fails flattens all others.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    results = results.of(COMPARED)
    rows = math.ceil(len(results.pictures) / 2)
    with rc_context(report.PLOT_STYLE):
        figure = Figure(figsize=(8, 3.2 * rows), layout="constrained")
        for axes, picture in zip(figure.subplots(rows, 2, squeeze=False).flat, results.pictures, strict=False):
            for method in results.methods:
                points = results.files(method, picture)
                bits, decibels = [point[0] for point in points], [point[2] for point in points]
                style = {"color": "black", "linewidth": 2} if method == OWN else {}
                axes.plot(bits, decibels, label=method, **style)
            report.draw_picture(axes, codecs, picture, codecs.peers, linewidth=0.8, linestyle="--")
            seen = [codecs.value(picture, codec, ratio, "psnr") for codec in codecs.peers for ratio in codecs.ratios]
            if not all(map(math.isnan, seen)):
                axes.set_ylim(bottom=min(value for value in seen if not math.isnan(value)) - BELOW)
        path.parent.mkdir(parents=True, exist_ok=True)
        report.save(figure, path, columns=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    parser.add_argument("--steps", type=int, help="only rows of so many")
    parser.add_argument("--figure", type=Path, help="file of a plot of the methods' files")
    parser.add_argument("--codecs", type=Path, help="rd.tsv, whose codecs the plot has, too")
    options = parser.parse_args()
    try:
        results = Results(found for found in report.read(options.table) if options.steps in (None, int(found["steps"])))
    except ValueError as error:
        parser.error(f"{options.table}: {error}")
    if not results.rows:
        parser.error(f"{options.table} has no rows")
    markdown = tables(results)
    if options.into:
        report.insert(markdown, options.into, *report.markers(options.table.stem))
    else:
        print(markdown)
    if options.figure:
        draw(results, report.Results(report.read(options.codecs) if options.codecs else ()), options.figure)


if __name__ == "__main__":
    main()
