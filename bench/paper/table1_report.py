"""Turn a table of bench.paper.table1 into markdown.

python -m bench.paper.table1_report table1-small.tsv                           (to stdout)
python -m bench.paper.table1_report table1-small.tsv --into docs/baselines.md  (between the marks of its name)
python -m bench.paper.table1_report table1-small.tsv --codecs rd.tsv --figure baselines-rd.svg  (plots)
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from bench.figures import plots
from bench.markdown import fixed, header, mean, publish, row, rows_by_image, signed
from bench.provenance import image_lines
from bench.rate_distortion import report
from bench.rate_distortion.report import MIN_CURVE_POINTS, bd_rate, rising
from bench.tables import Row, read_rows
from smartsplat_baselines import ABLATIONS, METHODS

REFERENCE_METHOD = "smartsplat-paper"
"""The method that the others are compared with, image by image, at equal numbers of Gaussians."""

CODEC_METHOD = "smartsplat"
"""The codec, whose files the others' are compared with."""

COST_RATIO = 200.0
"""Nominal ratio of the table of seconds and megabytes, if there are rows of it."""

BEST_OF_SEEDS = {"seconds": min, "steps_per_second": max, "decode_mp_s": max}
"""Columns in which seeds differ only by what else the machine did, and how the best one is found."""

DECIBELS_BELOW_ANCHORS = 4.0
"""That a plot shows."""

COMPARED = METHODS.keys() - ABLATIONS.keys()
"""The methods in the tables and plots of all nominal ratios."""


class MethodResults:
    """The rows of a table by method, nominal ratio and image, of several seeds each and of one number of steps.

    Raises:
        ValueError: there are rows of several numbers of steps.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        steps = list(dict.fromkeys(row["steps"] for row in self.rows))
        if len(steps) > 1:
            raise ValueError(f"rows of {' and '.join(steps)} steps cannot be averaged; choose some by --steps")
        self.methods = [name for name in METHODS if any(row["method"] == name for row in self.rows)]
        self.ratios = sorted({float(row["ratio_nominal"]) for row in self.rows})
        self.images = list(dict.fromkeys(row["picture"] for row in self.rows))
        self.cells: dict[tuple[str, float, str], list[Row]] = {}  # the seeds of each
        for entry in self.rows:
            self.cells.setdefault((entry["method"], float(entry["ratio_nominal"]), entry["picture"]), []).append(entry)

    def of(self, methods: Container[str]) -> MethodResults:
        """The rows of these methods."""
        return MethodResults(row for row in self.rows if row["method"] in methods)

    def value(self, method: str, ratio: float, column: str, image: str) -> float:
        """The mean over seeds, or the best one of ``BEST_OF_SEEDS``; NaN if there is nothing."""
        texts = [row[column] for row in self.cells.get((method, ratio, image), ())]
        return BEST_OF_SEEDS.get(column, statistics.fmean)(map(float, texts)) if texts and all(texts) else math.nan

    def common(self, ratio: float) -> list[str]:
        """Images of all methods that there are at that ratio: only over these are means comparable."""
        methods = {method for method, measured, _ in self.cells if measured == ratio}
        return [name for name in self.images if all((method, ratio, name) in self.cells for method in methods)]

    def values(self, method: str, ratio: float, column: str) -> list[float]:
        """One of each common image."""
        return [self.value(method, ratio, column, image) for image in self.common(ratio)]

    def mean(self, method: str, ratio: float, column: str) -> float:
        """Over the common images."""
        values = self.values(method, ratio, column)
        return statistics.fmean(values) if values else math.nan

    def spreads(self) -> list[float]:
        """Standard deviations of the PSNR over the seeds of a cell, of every cell with several, rising."""
        several = (seeds for seeds in self.cells.values() if len(seeds) > 1)
        return sorted(statistics.stdev(float(row["psnr"]) for row in seeds) for seeds in several)

    def files(self, method: str, image: str) -> list[tuple[float, float, float]]:
        """Bits a pixel, bytes and PSNR of a method's files of an image, means over seeds, by falling nominal ratio."""
        points = []
        for ratio in reversed(self.ratios):
            bpp, size, decibels = (self.value(method, ratio, name, image) for name in ("bpp", "bytes", "file_psnr"))
            if not any(map(math.isnan, (bpp, size, decibels))):
                points.append((bpp, size, decibels))
        return points

    def curve(self, method: str, image: str) -> report.Curve:
        """What bd_rate compares."""
        return rising((size, decibels) for _, size, decibels in self.files(method, image))


def quality(results: MethodResults, columns: Sequence[tuple[str, int]]) -> list[str]:
    """A line a method, a column a nominal ratio, with the means of several columns in a cell."""
    lines = header("method", *(f"{ratio:g} : 1" for ratio in results.ratios))
    for method in results.methods:
        cells = (
            " / ".join(fixed(results.mean(method, ratio, name), digits) for name, digits in columns)
            for ratio in results.ratios
        )
        lines.append(row(method, *cells))
    return lines


def difference(results: MethodResults, method: str, ratio: float) -> str:
    """Mean and standard deviation over the images of a method's PSNR less that of ``REFERENCE_METHOD``."""
    values, references = (results.values(name, ratio, "psnr") for name in (method, REFERENCE_METHOD))
    differences = [value - reference for value, reference in zip(values, references, strict=True)]
    differences = [value for value in differences if not math.isnan(value)]
    spread = f" ± {statistics.stdev(differences):.2f}" if len(differences) > 1 else ""
    return f"{statistics.fmean(differences):+.2f}{spread}" if differences else "-"


def differences(results: MethodResults) -> list[str]:
    """A line for each method other than ``REFERENCE_METHOD``."""
    lines = header("method", *(f"{ratio:g} : 1" for ratio in results.ratios))
    for method in results.methods:
        if method != REFERENCE_METHOD:
            lines.append(row(method, *(difference(results, method, ratio) for ratio in results.ratios)))
    return lines


def by_image(results: MethodResults) -> list[str]:
    """A line for each image and nominal ratio, a column a method, also what the means leave out."""

    def psnr(image: str, ratio: float, method: str) -> str:
        return fixed(results.value(method, ratio, "psnr", image), 2)

    return rows_by_image(results.images, results.ratios, results.methods, psnr)


def ablations(results: MethodResults) -> list[str]:
    """A table for each nominal ratio, with a line for each ablation and ``REFERENCE_METHOD``."""
    lines = []
    for ratio in results.ratios:
        number = len(results.common(ratio))
        lines += [f"Ablations at a nominal {ratio:g} : 1, means over {number} of the images:", ""]
        lines += header(
            "method", "PSNR, dB / MS-SSIM", f"PSNR less that of {REFERENCE_METHOD}", "SSIM / LPIPS", "true ratio"
        )
        for method in results.methods:
            psnr, ms_ssim, ssim, lpips, true = (
                fixed(results.mean(method, ratio, name), digits)
                for name, digits in (("psnr", 2), ("ms_ssim", 4), ("ssim", 4), ("lpips", 3), ("ratio_true", 0))
            )
            less = "" if method == REFERENCE_METHOD else difference(results, method, ratio)
            lines.append(row(method, f"{psnr} / {ms_ssim}", less, f"{ssim} / {lpips}", true))
        lines.append("")
    return lines


def savings(results: MethodResults) -> list[str]:
    """A line for each method other than ``CODEC_METHOD``: how many bytes fewer the codec takes for the same PSNR."""
    lines = header("method", *results.images, "mean")
    for method in results.methods:
        if method != CODEC_METHOD:
            curves = ((results.curve(CODEC_METHOD, name), results.curve(method, name)) for name in results.images)
            rates = [bd_rate(codec, other) for codec, other in curves]
            number = sum(not math.isnan(rate) for rate in rates)
            lines.append(row(method, *map(signed, rates), f"{signed(mean(rates))} ({number})"))
    return lines


def costs(results: MethodResults) -> list[str]:
    """What each method takes, at one ratio."""
    ratio = COST_RATIO if COST_RATIO in results.ratios else results.ratios[0]
    lines = [f"At a nominal {ratio:g} : 1:", ""]
    titles = ("numbers, bytes of a Gaussian", "fit, s", "steps a second", "peak, MB", "decoding, MP/s")
    lines += header("method", *titles)
    for method in results.methods:
        names = ("values", "bytes", "gaussians", "seconds", "steps_per_second", "peak_mb", "decode_mp_s")
        values, size, count, *rest = (results.mean(method, ratio, name) for name in names)
        cells = (fixed(value, digits) for value, digits in zip(rest, (1, 1, 0, 0), strict=True))
        lines.append(row(method, f"{fixed(values, 0)}, {fixed(size / count, 2)}", *cells))
    return lines


def comparison(results: MethodResults) -> list[str]:
    """The methods' quality, files and costs."""
    lines = ["PSNR, dB / MS-SSIM of what was fitted, by nominal ratio:", ""]
    lines += quality(results, (("psnr", 2), ("ms_ssim", 4)))
    lines.append(row("images", *(str(len(results.common(ratio))) for ratio in results.ratios)))
    if REFERENCE_METHOD in results.methods:
        lines += ["", f"PSNR less that of {REFERENCE_METHOD}, mean and standard deviation over these images, dB:", ""]
        lines += differences(results)
    lines += ["", "The same rows as real files, true ratio / PSNR of the decoded pixels:", ""]
    lines += quality(results, (("ratio_true", 0), ("file_psnr", 2)))
    if CODEC_METHOD in results.methods and len(results.ratios) >= MIN_CURVE_POINTS:
        lines += [
            "",
            f"BD-rate of {CODEC_METHOD} against each, percent of the method's bytes at equal PSNR of the files (-: "
            "fewer",
            "than four files of rising PSNR, or less than half a dB that both reach); beside the mean, of how many:",
            "",
        ]
        lines += savings(results)
    lines += ["", "SSIM / LPIPS of what was fitted:", ""]
    lines += quality(results, (("ssim", 4), ("lpips", 3)))
    lines += ["", "PSNR of what was fitted of each image, dB (-: was not run):", ""]
    lines += by_image(results)
    return [*lines, "", *costs(results), ""]


def tables(results: MethodResults) -> str:
    """All of it. Ablations have tables of their own, so that the others' means are not limited to their images."""
    compared, ablated = results.of(COMPARED), results.of(ABLATIONS)
    lines = comparison(compared) if compared.rows else []
    if ablated.rows:
        fits = {(row["ratio_nominal"], row["seed"]) for row in ablated.rows}
        references = (row for row in results.of({REFERENCE_METHOD}).rows if (row["ratio_nominal"], row["seed"]) in fits)
        lines += ablations(MethodResults([*ablated.rows, *references]))
    seeds = len({row["seed"] for row in results.rows})
    spreads = results.spreads()
    spread = (
        f"; standard deviation of their PSNR in {len(spreads)} cells: {statistics.median(spreads):.2f} dB in the "
        f"middle, {spreads[-1]:.2f} at most"
        if spreads
        else ""
    )
    lines.append(f"Steps: {results.rows[0]['steps']}. Seeds: {seeds}{spread}.")
    return "\n".join([*lines, *image_lines(results.rows)])


def plot(results: MethodResults, codecs: report.CodecResults, path: Path) -> None:
    """PSNR of every method's and every anchor's files over their bits a pixel, a panel for each image.

    It ends ``DECIBELS_BELOW_ANCHORS``, lest a method that fails flattens all others.
    """
    results = results.of(COMPARED)
    rows = math.ceil(len(results.images) / 2)
    with plots.styled() as new_figure:
        figure = new_figure(figsize=(8, 3.2 * rows), layout="constrained")
        for axes, image in zip(figure.subplots(rows, 2, squeeze=False).flat, results.images, strict=False):
            for method in results.methods:
                points = results.files(method, image)
                bits, decibels = [point[0] for point in points], [point[2] for point in points]
                style = {"color": "black", "linewidth": 2} if method == CODEC_METHOD else {}
                axes.plot(bits, decibels, label=method, **style)
            report.plot_image(axes, codecs, image, codecs.anchors, linewidth=0.8, linestyle="--")
            values = [codecs.value(image, codec, ratio, "psnr") for codec in codecs.anchors for ratio in codecs.ratios]
            reached = [value for value in values if not math.isnan(value)]
            if reached:
                axes.set_ylim(bottom=min(reached) - DECIBELS_BELOW_ANCHORS)
        plots.save_with_legend(figure, path, columns=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    parser.add_argument("--steps", type=int, help="only rows of so many")
    parser.add_argument("--figure", type=Path, help="file of a plot of the methods' files")
    parser.add_argument("--codecs", type=Path, help="rd.tsv, whose codecs the plot has, too")
    options = parser.parse_args()
    try:
        results = MethodResults(row for row in read_rows(options.table) if options.steps in (None, int(row["steps"])))
    except ValueError as error:
        parser.error(f"{options.table}: {error}")
    if not results.rows:
        parser.error(f"{options.table} has no rows")
    publish(tables(results), options.into, options.table.stem)
    if options.figure:
        plot(results, report.CodecResults(read_rows(options.codecs) if options.codecs else ()), options.figure)


if __name__ == "__main__":
    main()
