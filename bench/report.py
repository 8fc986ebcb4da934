"""Turn rd.tsv into rate-distortion plots and markdown tables.

python -m bench.report results/v0.5/rd.tsv                         (tables to stdout)
python -m bench.report results/v0.5/rd.tsv --into docs/results.md  (tables between the two markers of the file)
python -m bench.report results/v0.5/rd.tsv --form means --into README.md
python -m bench.report results/v0.5/native.tsv --form pictures --into docs/results.md
python -m bench.report results/v0.5/effort.tsv --form efforts --into docs/effort.md
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.interpolate import PchipInterpolator

from smartsplat.settings import EFFORT_TRIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "smartsplat", "font.size": 8}
"""Text stays text and ids stay the same, so that a change of a plot is a small change of its file."""

LEAST_COMMON = 0.5
"""Decibels that two curves must both reach, lest a difference of rates rests on one point."""

METRICS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM"}

Curve = Sequence[tuple[float, float]]
"""Quality in decibels and bytes, both rising."""


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


class Results:
    """The rows of one table, by picture, codec and ratio; every order is that of first appearance."""

    def __init__(self, rows: Iterable[dict[str, str]]) -> None:
        self.rows = {(row["picture"], row["codec"], float(row["ratio_target"])): row for row in rows}
        self.pictures = list(dict.fromkeys(picture for picture, _, _ in self.rows))
        self.codecs = list(dict.fromkeys(codec for _, codec, _ in self.rows))
        self.own = [codec for codec in self.codecs if codec.startswith("smartsplat:")]
        self.peers = [codec for codec in self.codecs if codec not in self.own]
        self.ratios = sorted({ratio for _, _, ratio in self.rows})

    @staticmethod
    def read(path: Path) -> Results:
        return Results(read(path))

    def value(self, picture: str, codec: str, ratio: float, column: str) -> float:
        """A number of the table; NaN when the row is missing or the codec could not make so small a file."""
        text = self.rows.get((picture, codec, ratio), {}).get(column, "")
        return float(text) if text else math.nan

    def curve(self, picture: str, codec: str, metric: str) -> Curve:
        """What bd_rate compares."""
        points = []
        for ratio in self.ratios:
            value = self.value(picture, codec, ratio, metric)
            if not math.isnan(value):
                decibels = value if metric == "psnr" else -10 * math.log10(1 - value)
                points.append((self.value(picture, codec, ratio, "bytes"), decibels))
        return rising(points)

    def shared(self, ratio: float) -> list[str]:
        """The pictures of which every codec has a file at this ratio: only their means are comparable."""

        def complete(picture: str) -> bool:
            return not any(math.isnan(self.value(picture, codec, ratio, "psnr")) for codec in self.codecs)

        return [picture for picture in self.pictures if complete(picture)]

    def mean(self, codec: str, ratio: float, column: str) -> float:
        return mean(self.value(picture, codec, ratio, column) for picture in self.shared(ratio))


def means(results: Results) -> str:
    """One row a ratio: mean PSNR and MS-SSIM of every codec."""
    title = "Mean PSNR in dB / mean MS-SSIM over the pictures that every codec reaches at that ratio:"
    return "\n".join([title, "", *mean_rows(results, {"psnr": 2, "ms_ssim": 4})])


def perceptual_means(results: Results) -> list[str]:
    """The same of LPIPS and FLIP; nothing if they were not measured."""
    if not any(row.get("lpips") and row.get("flip") for row in results.rows.values()):
        return []
    title = "Mean LPIPS (AlexNet) / mean FLIP over the same pictures; less is better:"
    return [title, "", *mean_rows(results, {"lpips": 3, "flip": 3}), ""]


def mean_rows(results: Results, digits: dict[str, int]) -> list[str]:
    """One row a ratio, one column a codec, the means of the given columns in each cell."""
    lines = header("ratio", "pictures", *results.codecs)
    for ratio in results.ratios:
        cells = [
            " / ".join(cell(results.mean(codec, ratio, column), digits[column]) for column in digits)
            for codec in results.codecs
        ]
        lines.append(row(f"{ratio:g}", str(len(results.shared(ratio))), *cells))
    return lines


def rate_differences(results: Results, own: str) -> list[str]:
    """One row a picture, one column a peer: by how many percent SmartSplat's files are larger or smaller."""
    differences = {
        (picture, peer, metric): bd_rate(results.curve(picture, own, metric), results.curve(picture, peer, metric))
        for picture in results.pictures
        for peer in results.peers
        for metric in METRICS
    }
    lines = [
        f"BD-rate of {own} in percent, at equal PSNR / at equal MS-SSIM (negative: its files are smaller; "
        "-: fewer than four points, or less than half a decibel that both reach); the mean is over the pictures that "
        "have one:",
        "",
        *header("picture", *results.peers),
    ]
    for picture in results.pictures:
        cells = (" / ".join(signed(differences[picture, peer, metric]) for metric in METRICS) for peer in results.peers)
        lines.append(row(picture, *cells))
    cells = (
        " / ".join(
            signed(mean(differences[picture, peer, metric] for picture in results.pictures)) for metric in METRICS
        )
        for peer in results.peers
    )
    return [*lines, row("mean", *cells), ""]


def rising(points: Iterable[tuple[float, float]]) -> Curve:
    """Of (bytes, decibels) the curve, without files that a smaller one equals or beats."""
    kept: list[tuple[float, float]] = []
    for size, decibels in sorted(points):
        if not kept or decibels > kept[-1][0]:
            kept.append((decibels, size))
    return kept


def bd_rate(own: Curve, peer: Curve) -> float:
    """Bjontegaard's difference in rate of two curves of (quality, bytes), percent of the peer's bytes.

    The mean difference of log bytes over the qualities that both have, between points by a monotone piecewise cubic
    (PCHIP). NaN with fewer than four points on a curve or less than ``LEAST_COMMON`` of quality in common.
    """
    if min(len(own), len(peer)) < 4:
        return math.nan
    low, high = max(own[0][0], peer[0][0]), min(own[-1][0], peer[-1][0])
    if high - low < LEAST_COMMON:
        return math.nan
    areas = []
    for curve in (own, peer):
        qualities, sizes = zip(*curve, strict=True)
        areas.append(float(PchipInterpolator(qualities, [math.log(size) for size in sizes]).integrate(low, high)))
    return 100 * math.expm1((areas[0] - areas[1]) / (high - low))


def pictures_ahead(results: Results, own: str) -> list[str]:
    """One row a ratio, one column a peer: on how many pictures SmartSplat is above it."""
    lines = [f"Pictures on which {own} has the larger PSNR / MS-SSIM, of those that both reach:", ""]
    lines += header("ratio", *results.peers)
    for ratio in results.ratios:
        cells = []
        for peer in results.peers:
            counts = []
            for metric in METRICS:
                pairs = [
                    [results.value(picture, codec, ratio, metric) for codec in (own, peer)]
                    for picture in results.pictures
                ]
                pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
                counts.append(f"{sum(ours > theirs for ours, theirs in pairs)} of {len(pairs)}")
            cells.append(" / ".join(counts))
        lines.append(row(f"{ratio:g}", *cells))
    return [*lines, ""]


def efforts(results: Results) -> str:
    """One row an effort level: steps, seconds and PSNR, each a mean over the pictures, at every ratio measured."""
    lines = header("effort", "fits: steps (noise)", *(f"{ratio:g} : 1, dB (s)" for ratio in results.ratios))
    for codec in results.codecs:
        effort = int(codec.partition(":e")[2])
        cells = [
            f"{cell(results.mean(codec, ratio, 'psnr'), 2)} ({cell(results.mean(codec, ratio, 'encode_seconds'), 0)})"
            for ratio in results.ratios
        ]
        fits = ", ".join(f"{steps} ({noise:g})" for steps, noise in EFFORT_TRIES[effort])
        lines.append(row(str(effort), fits, *cells))
    return "\n".join([*lines, "", *provenance(results.rows.values())])


def table(results: Results) -> str:
    """All there is to say about a set: means, differences in rate, counts, PSNR of each picture; markdown."""
    lines = [means(results), "", *perceptual_means(results)]
    for own in results.own:
        lines += rate_differences(results, own) + pictures_ahead(results, own)
    return "\n".join([*lines, pictures(results)])


def pictures(results: Results) -> str:
    """PSNR of each picture, then what was measured on what."""

    def psnr(picture: str, ratio: float, codec: str) -> str:
        found = results.rows.get((picture, codec, ratio))
        unreached = found is not None and found["setting"] == "none"
        return "none" if unreached else cell(results.value(picture, codec, ratio, "psnr"), 2)

    lines = ["PSNR in dB of each picture (none: no setting makes a file so small; -: not measured):", ""]
    lines += each_picture(results.pictures, results.ratios, results.codecs, psnr)
    return "\n".join([*lines, "", *provenance(results.rows.values())])


def each_picture(
    names: Iterable[str], ratios: Sequence[float], titles: Sequence[str], text: Callable[[str, float, str], str]
) -> list[str]:
    """A line a picture and ratio, a column a title, with its ``text`` in each."""
    lines = header("picture", "ratio", *titles)
    for name in names:
        for ratio in ratios:
            lines.append(row(name, f"{ratio:g}", *(text(name, ratio, title) for title in titles)))
    return lines


def provenance(found: Iterable[dict[str, str]]) -> list[str]:
    """Pictures with their sizes and recipes, machines and versions, each once."""
    rows = list(found)
    pictures = (f"{row['picture']} ({row['width']}x{row['height']}, {row['recipe']})" for row in rows)
    return [f"Pictures: {'; '.join(dict.fromkeys(pictures))}.", *makers(rows)]


def makers(rows: Sequence[dict[str, str]]) -> list[str]:
    """The machines and the versions that made the rows."""
    numbers: dict[str, dict[str, None]] = {}  # of each package, in the order in which they are met
    for row in rows:
        for part in row["versions"].split(", "):
            name, _, number = part.partition(" ")
            numbers.setdefault(name, {})[number] = None
    versions = ", ".join(f"{name} {' and '.join(met)}" for name, met in numbers.items())
    return [f"Machine: {'; '.join(dict.fromkeys(row['machine'] for row in rows))}.", f"Versions: {versions}."]


def header(*titles: str) -> list[str]:
    return [row(*titles), row(*("---" for _ in titles))]


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def signed(percent: float) -> str:
    return "-" if math.isnan(percent) else f"{percent:+.1f}"


def mean(values: Iterable[float]) -> float:
    """Of the numbers among the values."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def markers(section: str) -> tuple[str, str]:
    return f"<!-- {section}:begin -->", f"<!-- {section}:end -->"


def insert(markdown: str, path: Path, begin: str, end: str) -> None:
    """Replace what stands between the two markers of a file."""
    text = path.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{path} must have {begin} and then {end}, each once")
    before, after = text.split(begin)[0], text.split(end)[1]
    path.write_text(f"{before}{begin}\n{markdown}\n{end}{after}", encoding="utf-8")


def draw(results: Results, folder: Path) -> list[Path]:
    """rd-mean.svg, the means, and rd-pictures.svg, PSNR of each picture."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("plots need matplotlib: pip install smartsplat[bench]") from error

    folder.mkdir(parents=True, exist_ok=True)
    columns = min(4, len(results.pictures))
    rows = math.ceil(len(results.pictures) / columns)
    with rc_context(PLOT_STYLE):
        overview = Figure(figsize=(8, 3.2), layout="constrained")
        for axes, metric in zip(overview.subplots(1, 2), METRICS, strict=True):
            for codec in results.codecs:
                values = [results.mean(codec, ratio, metric) for ratio in results.ratios]
                axes.plot([24 / ratio for ratio in results.ratios], values, marker=".", label=codec)
            label(axes, "mean", METRICS[metric])
        grid = Figure(figsize=(2.4 * columns, 2.2 * rows), layout="constrained")
        for axes, picture in zip(grid.subplots(rows, columns, squeeze=False).flat, results.pictures, strict=False):
            draw_picture(axes, results, picture, results.codecs, marker=".")
        for axes in grid.axes[len(results.pictures) :]:
            axes.remove()
        paths = [folder / "rd-mean.svg", folder / "rd-pictures.svg"]
        for figure, path in zip((overview, grid), paths, strict=True):
            save(figure, path)
    return paths


def draw_picture(axes: Axes, results: Results, picture: str, codecs: Sequence[str], **style: Any) -> None:
    for codec in codecs:
        points = [
            [results.value(picture, codec, ratio, column) for column in ("bpp", "psnr")] for ratio in results.ratios
        ]
        axes.plot(*zip(*points, strict=True), label=codec, **style)
    label(axes, picture, METRICS["psnr"])


def label(axes: Axes, title: str, vertical: str) -> None:
    from matplotlib.ticker import LogLocator

    axes.set(xscale="log", title=title, xlabel="bits per pixel", ylabel=vertical)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(visible=True, linewidth=0.3)


def save(figure: Figure, path: Path, columns: int | None = None) -> None:
    """With one legend for all panels, in one line or in some ``columns``."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns or len(labels))
    figure.savefig(path, metadata={"Date": None})


FORMS = {"full": (table, "rd"), "means": (means, "rd"), "efforts": (efforts, "rd"), "pictures": (pictures, "native")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, help="rd.tsv")
    parser.add_argument("--form", choices=FORMS, default="full", help="what to make of it; only full draws plots")
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="folder of the plots")
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    options = parser.parse_args(arguments)
    results = Results.read(options.table)
    if not results.rows:
        parser.error(f"{options.table} has no rows")
    form, section = FORMS[options.form]
    markdown = form(results)
    if options.into:
        insert(markdown, options.into, *markers(section))
    else:
        print(markdown)
    if options.form == "full":
        draw(results, options.figures)


if __name__ == "__main__":
    main()
