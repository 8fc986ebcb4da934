"""Turn rd.tsv into rate-distortion plots and markdown tables.

python -m bench.rate_distortion.report rd.tsv                         (tables to stdout)
python -m bench.rate_distortion.report rd.tsv --into docs/results.md  (tables between the marks of the page)
python -m bench.rate_distortion.report rd.tsv --form means --into README.md
python -m bench.rate_distortion.report native.tsv --form images --into docs/results.md
python -m bench.rate_distortion.report effort.tsv --form efforts --into docs/effort.md
python -m bench.rate_distortion.report eye.tsv --form eye --into docs/for_the_eye.md
python -m bench.rate_distortion.report kodak.tsv --form folder --published NAME points.tsv --into docs/for_the_eye.md
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.interpolate import PchipInterpolator

from bench.figures import plots
from bench.markdown import fixed, header, mean, publish, row, rows_by_image, signed
from bench.provenance import image_lines
from bench.tables import Row, read_rows
from smartsplat.encoder.settings import EFFORT_TRIALS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_COMMON_DECIBELS = 0.5
"""Of quality that two curves must both reach, lest a difference of rates rests on one point."""

MIN_CURVE_POINTS = 4
"""Of a curve that is compared."""

METRICS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM"}

Curve = Sequence[tuple[float, float]]
"""Quality in decibels and bytes, both rising."""


class CodecResults:
    """The rows of one table, by image, codec and ratio; every order is that of first appearance.

    Args:
        published: of codecs that were not measured here, PSNR at rates of their own: rows of seq_name, n_pixels,
            psnr_db and rate_bpp.
    """

    def __init__(self, rows: Iterable[Row], published: Mapping[str, Iterable[Row]] | None = None) -> None:
        self.published = {name: list(points) for name, points in (published or {}).items()}
        self.rows = {(row["picture"], row["codec"], float(row["ratio_target"])): row for row in rows}
        self.images = list(dict.fromkeys(image for image, _, _ in self.rows))
        self.codecs = list(dict.fromkeys(codec for _, codec, _ in self.rows))
        self.smartsplats = [codec for codec in self.codecs if codec.startswith("smartsplat:")]
        self.anchors = [codec for codec in self.codecs if codec not in self.smartsplats]
        self.ratios = sorted({ratio for _, _, ratio in self.rows})

    def value(self, image: str, codec: str, ratio: float, column: str) -> float:
        """A number of the table; NaN when the row is missing or the codec could not make so small a file."""
        text = self.rows.get((image, codec, ratio), {}).get(column, "")
        return float(text) if text else math.nan

    def curve(self, image: str, codec: str, metric: str) -> Curve:
        """What bd_rate compares."""
        points = []
        for point in self.published.get(codec, ()):
            if point["seq_name"] == image and metric == "psnr":
                size = float(point["rate_bpp"]) * float(point["n_pixels"]) / 8
                points.append((size, float(point["psnr_db"])))
        for ratio in self.ratios:
            value = self.value(image, codec, ratio, metric)
            if not math.isnan(value):
                decibels = value if metric == "psnr" else -10 * math.log10(1 - value)
                points.append((self.value(image, codec, ratio, "bytes"), decibels))
        return rising(points)

    def shared(self, ratio: float) -> list[str]:
        """The images of which every codec has a file at this ratio: only over these are means comparable."""

        def complete(image: str) -> bool:
            return not any(math.isnan(self.value(image, codec, ratio, "psnr")) for codec in self.codecs)

        return [image for image in self.images if complete(image)]

    def mean(self, codec: str, ratio: float, column: str) -> float:
        """Over the ``shared`` images; NaN if one of them has not been measured, as the others' mean would mislead."""
        values = [self.value(image, codec, ratio, column) for image in self.shared(ratio)]
        return math.nan if any(map(math.isnan, values)) else mean(values)


def means(results: CodecResults) -> str:
    """One row a ratio: mean PSNR and MS-SSIM of every codec."""
    title = "Mean PSNR in dB / mean MS-SSIM over the images that every codec reaches at that ratio:"
    return "\n".join([title, "", *mean_rows(results, {"psnr": 2, "ms_ssim": 4})])


def perceptual_means(results: CodecResults) -> list[str]:
    """The same of LPIPS and FLIP; nothing if they were not measured."""
    if not any(row.get("lpips") and row.get("flip") for row in results.rows.values()):
        return []
    title = "Mean LPIPS (AlexNet) / mean FLIP over the same images; less is better:"
    return [title, "", *mean_rows(results, {"lpips": 3, "flip": 3}), ""]


def mean_rows(results: CodecResults, digits: dict[str, int]) -> list[str]:
    """One row a ratio, one column a codec, the means of the given columns in each cell."""
    lines = header("ratio", "images", *results.codecs)
    for ratio in results.ratios:
        cells = [
            " / ".join(fixed(results.mean(codec, ratio, column), digits[column]) for column in digits)
            for codec in results.codecs
        ]
        lines.append(row(f"{ratio:g}", str(len(results.shared(ratio))), *cells))
    return lines


def rate_differences(results: CodecResults, codec: str) -> list[str]:
    """One row an image, one column an anchor: by how many percent the codec's files are larger or smaller."""
    anchors = [*results.anchors, *results.published]
    rates = {
        (image, anchor, metric): bd_rate(results.curve(image, codec, metric), results.curve(image, anchor, metric))
        for image in results.images
        for anchor in anchors
        for metric in METRICS
    }
    lines = [
        f"BD-rate of {codec} in percent, at equal PSNR / at equal MS-SSIM (negative: its files are smaller; "
        "-: fewer than four points, or less than half a decibel that both reach); the mean is over the images that "
        "have one:",
        "",
        *header("image", *anchors),
    ]
    for image in results.images:
        cells = (" / ".join(signed(rates[image, anchor, metric]) for metric in METRICS) for anchor in anchors)
        lines.append(row(image, *cells))
    cells = (
        " / ".join(signed(mean(rates[image, anchor, metric] for image in results.images)) for metric in METRICS)
        for anchor in anchors
    )
    return [*lines, row("mean", *cells), ""]


def rising(points: Iterable[tuple[float, float]]) -> Curve:
    """Of (bytes, decibels) the curve, without files that a smaller one equals or beats."""
    kept: list[tuple[float, float]] = []
    for size, decibels in sorted(points):
        if not kept or decibels > kept[-1][0]:
            kept.append((decibels, size))
    return kept


def bd_rate(curve: Curve, anchor: Curve) -> float:
    """Bjontegaard's difference in rate of two curves, percent of the anchor's bytes.

    The mean difference of log bytes over the qualities that both have, between points by a monotone piecewise cubic
    (PCHIP). NaN with fewer than ``MIN_CURVE_POINTS`` or less than ``MIN_COMMON_DECIBELS`` in common.
    """
    if min(len(curve), len(anchor)) < MIN_CURVE_POINTS:
        return math.nan
    low, high = max(curve[0][0], anchor[0][0]), min(curve[-1][0], anchor[-1][0])
    if high - low < MIN_COMMON_DECIBELS:
        return math.nan
    areas = []
    for each in (curve, anchor):
        qualities, sizes = zip(*each, strict=True)
        areas.append(float(PchipInterpolator(qualities, [math.log(size) for size in sizes]).integrate(low, high)))
    return 100 * math.expm1((areas[0] - areas[1]) / (high - low))


def images_ahead(results: CodecResults, codec: str, metrics: Mapping[str, str]) -> list[str]:
    """One row a ratio, one column an anchor: on how many images the codec has the higher quality.

    Args:
        metrics: columns, and what each is called.
    """

    def count(anchor: str, ratio: float, metric: str) -> str:
        values = ([results.value(image, each, ratio, metric) for each in (codec, anchor)] for image in results.images)
        both = [pair for pair in values if not any(map(math.isnan, pair))]
        return f"{sum(value > anchor_value for value, anchor_value in both)} of {len(both)}"

    lines = [f"Images on which {codec} has the larger {' / '.join(metrics.values())}, of those that both reach:", ""]
    lines += header("ratio", *results.anchors)
    for ratio in results.ratios:
        cells = (" / ".join(count(anchor, ratio, metric) for metric in metrics) for anchor in results.anchors)
        lines.append(row(f"{ratio:g}", *cells))
    return [*lines, ""]


def eye_means(results: CodecResults) -> list[str]:
    """Means of what judges looks, with PSNR."""
    digits = {"ssimulacra2": 1, "ms_ssim": 4, "dists": 3, "wasserstein": 1, "lpips": 3, "psnr": 2}
    title = "Mean SSIMULACRA2 / MS-SSIM / DISTS / Wasserstein distortion / LPIPS / PSNR in dB"
    return [f"{title} over the images that every codec reaches at that ratio:", "", *mean_rows(results, digits)]


def for_the_eye(results: CodecResults) -> str:
    """Means of what judges looks, where SmartSplat is ahead, SSIMULACRA2 of each image; markdown."""
    lines = [*eye_means(results), ""]
    for codec in results.smartsplats:
        lines += images_ahead(results, codec, {"ssimulacra2": "SSIMULACRA2", "ms_ssim": "MS-SSIM"})

    def score(image: str, ratio: float, codec: str) -> str:
        return fixed(results.value(image, codec, ratio, "ssimulacra2"), 1)

    lines += ["SSIMULACRA2 of each image:", ""]
    lines += rows_by_image(results.images, results.ratios, results.codecs, score)
    return "\n".join([*lines, "", *image_lines(results.rows.values())])


def of_folder(results: CodecResults) -> str:
    """Means, and the differences in rate on each image; markdown."""
    lines = [*eye_means(results), ""]
    for codec in results.smartsplats:
        lines += rate_differences(results, codec)
    return "\n".join([*lines, *image_lines(results.rows.values())])


def efforts(results: CodecResults) -> str:
    """One row an effort: steps, seconds and PSNR, each a mean over the images, at every ratio measured."""
    lines = header(
        "effort", "fits: steps (quantisation noise)", *(f"{ratio:g} : 1, dB (s)" for ratio in results.ratios)
    )
    for codec in results.codecs:
        effort = int(codec.partition(":e")[2])
        cells = [
            f"{fixed(results.mean(codec, ratio, 'psnr'), 2)} ({fixed(results.mean(codec, ratio, 'encode_seconds'), 0)})"
            for ratio in results.ratios
        ]
        fits = ", ".join(f"{steps} ({noise:g})" for steps, noise in EFFORT_TRIALS[effort])
        lines.append(row(str(effort), fits, *cells))
    return "\n".join([*lines, "", *image_lines(results.rows.values())])


def table(results: CodecResults) -> str:
    """All there is to say about a set: means, differences in rate, counts, PSNR of each image; markdown."""
    lines = [means(results), "", *perceptual_means(results)]
    for codec in results.smartsplats:
        lines += rate_differences(results, codec) + images_ahead(results, codec, {"psnr": "PSNR", "ms_ssim": "MS-SSIM"})
    return "\n".join([*lines, by_image(results)])


def by_image(results: CodecResults) -> str:
    """PSNR of each image, then what was measured on what."""

    def psnr(image: str, ratio: float, codec: str) -> str:
        measured = results.rows.get((image, codec, ratio))
        unreached = measured is not None and measured["setting"] == "none"
        return "none" if unreached else fixed(results.value(image, codec, ratio, "psnr"), 2)

    lines = ["PSNR in dB of each image (none: no setting makes a file so small; -: not measured):", ""]
    lines += rows_by_image(results.images, results.ratios, results.codecs, psnr)
    return "\n".join([*lines, "", *image_lines(results.rows.values())])


def plot(results: CodecResults, folder: Path) -> list[Path]:
    """rd-mean.svg, the means, and rd-images.svg, PSNR of each image."""
    columns = min(4, len(results.images))
    rows = math.ceil(len(results.images) / columns)
    with plots.styled() as new_figure:
        overview = new_figure(figsize=(8, 3.2), layout="constrained")
        for axes, metric in zip(overview.subplots(1, 2), METRICS, strict=True):
            for codec in results.codecs:
                values = [results.mean(codec, ratio, metric) for ratio in results.ratios]
                axes.plot([24 / ratio for ratio in results.ratios], values, marker=".", label=codec)
            plots.label_rate_axes(axes, "mean", METRICS[metric])
        grid = new_figure(figsize=(2.4 * columns, 2.2 * rows), layout="constrained")
        for axes, image in zip(grid.subplots(rows, columns, squeeze=False).flat, results.images, strict=False):
            plot_image(axes, results, image, results.codecs, marker=".")
        for axes in grid.axes[len(results.images) :]:
            axes.remove()
        paths = [folder / "rd-mean.svg", folder / "rd-images.svg"]
        for figure, path in zip((overview, grid), paths, strict=True):
            plots.save_with_legend(figure, path)
    return paths


def plot_image(axes: Axes, results: CodecResults, image: str, codecs: Sequence[str], **style: Any) -> None:
    """PSNR over bits per pixel of the codecs' files of one image."""
    for codec in codecs:
        points = [
            [results.value(image, codec, ratio, column) for column in ("bpp", "psnr")] for ratio in results.ratios
        ]
        axes.plot(*zip(*points, strict=True), label=codec, **style)
    plots.label_rate_axes(axes, image, METRICS["psnr"])


FORMS = {
    "full": (table, "rd"),
    "means": (means, "rd"),
    "efforts": (efforts, "rd"),
    "images": (by_image, "native"),
    "eye": (for_the_eye, "eye"),
    "folder": (of_folder, "kodak"),
}
"""What to make of a table, and the section of the page that it goes into."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, help="rd.tsv")
    parser.add_argument("--form", choices=FORMS, default="full", help="what to make of it; only full makes plots")
    parser.add_argument(
        "--published", nargs=2, metavar=("NAME", "FILE"), help="PSNR and rates of a codec that is not in the table"
    )
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="folder of the plots")
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    options = parser.parse_args(arguments)
    published = {options.published[0]: read_rows(Path(options.published[1]))} if options.published else None
    results = CodecResults(read_rows(options.table), published)
    if not results.rows:
        parser.error(f"{options.table} has no rows")
    form, section = FORMS[options.form]
    publish(form(results), options.into, section)
    if options.form == "full":
        plot(results, options.figures)


if __name__ == "__main__":
    main()
