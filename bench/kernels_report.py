"""Rows of kernels.tsv: reading, writing, tables and plots.

python -m bench.kernels_report results/v0.5/kernels.tsv                         (tables to stdout, plots)
python -m bench.kernels_report results/v0.5/kernels.tsv --into docs/results.md  (between the two markers of the file)
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import PLOT_STYLE, cell, header, insert, makers, row, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, str]

BEGIN, END = "<!-- kernels:begin -->", "<!-- kernels:end -->"
KEYS = ("kernel", "picture", "width", "height", "ratio", "variant", "threads")
COLUMNS = (
    *("kernel", "picture", "width", "height", "pixels_mp", "gaussians", "ratio", "variant", "threads"),
    *("p20_ms", "p50_ms", "p80_ms", "mp_per_s", "evaluations_per_s", "gflop_per_s", "gb_per_s"),
    *("fma_share", "bandwidth_share", "coded_bytes", "machine", "versions"),
)
DRAWING = ("render_bytes", "step_l2", "step_l1_ssim")  # kernels whose stages are known
STAGES = ("project", "bin", "forward", "loss", "backward", "store", "update", "rest")
PEERS = ("jpeg", "webp", "avif")


def read(path: Path) -> list[Row]:
    """The rows of a table, none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{path} has other columns than this version writes")
    return rows


def write(rows: Iterable[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def merged(before: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """All rows; of two that measure the same, the new one in the place of the old."""
    return list({tuple(each[key] for key in KEYS): each for rows in (before, new) for each in rows}.values())


def listing(rows: Sequence[Row]) -> str:
    """The rows of one case for reading in a terminal."""
    first = rows[0]
    title = "{picture} {width}x{height}, {gaussians} Gaussians, nominal ratio {ratio}".format(**first)
    columns = ("kernel", "variant", "threads", *COLUMNS[COLUMNS.index("p20_ms") : COLUMNS.index("machine")])
    lines = [columns, *(tuple(each[column] for column in columns) for each in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    texts = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([title, *(text.rstrip() for text in texts), ""])


class Results:
    """A table's rows by what they measure.

    Unless said otherwise on all threads, in the best variant, and at the size that was measured at most ratios: the
    ``usual`` size.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.threads = max(int(each["threads"]) for each in rows)
        drawn = [each for each in rows if each["kernel"] == "render_bytes"]
        self.variants = list(dict.fromkeys(each["variant"] for each in drawn))  # the best first
        self.sizes = sorted({float(each["pixels_mp"]) for each in drawn})
        self.usual = max(self.sizes, key=lambda size: (len(self.ratios(size)), size))
        shared = set.intersection(*(set(self.ratios(size)) for size in self.sizes))
        self.ratio = max(shared or self.ratios(self.usual))

    def ratios(self, size: float) -> list[float]:
        return sorted({float(each["ratio"]) for each in self.rows if float(each["pixels_mp"]) == size})

    def value(
        self,
        kernel: str,
        column: str,
        ratio: float | None = None,
        size: float | None = None,
        threads: int | None = None,
        variant: str | None = None,
    ) -> float:
        """A number of the table; NaN where there is none."""
        for each in self.rows:
            if (
                each["kernel"] == kernel
                and float(each["ratio"]) == (ratio or self.ratio)
                and float(each["pixels_mp"]) == (size or self.usual)
                and each["variant"] in ("-", variant or self.variants[0])
                and int(each["threads"]) == (threads or self.threads_of(kernel))
            ):
                return float(each[column]) if each[column] != "-" else math.nan
        return math.nan

    def ceiling(self, kernel: str, column: str, threads: int, variant: str | None = None) -> float:
        """The rate of the 20th percentile of the calls."""
        columns = (column, "p50_ms", "p20_ms")
        rate, middle, low = (self.value(kernel, each, threads=threads, variant=variant) for each in columns)
        return rate * middle / low

    def threads_of(self, kernel: str) -> int:
        """The most threads that a kernel was measured on."""
        return max((int(each["threads"]) for each in self.rows if each["kernel"] == kernel), default=0)

    def kernels(self) -> list[str]:
        """Without stages, ceilings and peers."""
        names = dict.fromkeys(each["kernel"] for each in self.rows)
        return [name for name in names if "/" not in name and name not in ("copy", "multiply_add", *peer_kernels())]


def peer_kernels() -> list[str]:
    return [f"pillow_{peer}" for peer in PEERS]


def tables(results: Results) -> str:
    """All of the section that is made from numbers."""
    return "\n\n".join([times(results), peers(results), scaling(results), entropy(results), provenance(results)])


def times(results: Results) -> str:
    ratios = results.ratios(results.usual)
    lines = [
        f"Milliseconds (p50) at {results.usual:g} MP on {results.threads} threads over the nominal ratio, and what "
        f"they come to at {results.ratio:g} : 1:",
        "",
        *header("kernel", *(f"{ratio:g} : 1" for ratio in ratios), "MP/s", "10^9 evaluations/s", "of FMA", "of memory"),
    ]
    for kernel in results.kernels():
        cells = [significant(results.value(kernel, "p50_ms", ratio)) for ratio in ratios]
        cells.append(significant(results.value(kernel, "mp_per_s")))
        cells.append(significant(results.value(kernel, "evaluations_per_s") / 1e9))
        cells += [percent(results.value(kernel, column)) for column in ("fma_share", "bandwidth_share")]
        lines.append(row(kernel, *cells))
    return "\n".join(lines)


def peers(results: Results) -> str:
    """A whole decode beside those of other codecs."""
    lines = ["`decode` takes this many times as long as Pillow's decoder takes for the same picture:", ""]
    lines += header("nominal ratio", *(f"{peer} ({cell(peer_rate(results, peer), 0)} MP/s)" for peer in PEERS))
    for ratio in results.ratios(results.usual):
        own = results.value("decode", "p50_ms", ratio)
        others = [results.value(kernel, "p50_ms", ratio) for kernel in peer_kernels()]
        lines.append(row(f"{ratio:g}", *(cell(own / other, 2) for other in others)))
    return "\n".join(lines)


def peer_rate(results: Results, peer: str) -> float:
    return results.value(f"pillow_{peer}", "mp_per_s")


def scaling(results: Results) -> str:
    """Over pixels, threads and instruction sets."""
    settings: list[tuple[str, dict[str, float | str]]] = [(f"{size:g} MP", {"size": size}) for size in results.sizes]
    settings += [(f"{count} thread" + "s" * (count > 1), {"threads": count}) for count in thread_counts(results)[:-1]]
    settings += [(variant, {"variant": variant}) for variant in results.variants[1:]]
    lines = [f"MP/s at {results.ratio:g} : 1; the last columns are of {results.usual:g} MP:", ""]
    lines += header("kernel", *(title for title, _ in settings))
    for kernel in DRAWING:
        values = (results.value(kernel, "mp_per_s", **setting) for _, setting in settings)
        lines.append(row(kernel, *map(significant, values)))
    return "\n".join(lines)


def thread_counts(results: Results) -> list[int]:
    """Of the usual case."""
    return sorted({int(each["threads"]) for each in results.rows if each["kernel"] == DRAWING[0]})


def entropy(results: Results) -> str:
    parts = []
    for kernel in ("encode_symbols", "decode_symbols"):
        seconds = results.value(kernel, "p50_ms") / 1e3
        count, size = (results.value(kernel, column) for column in ("gaussians", "coded_bytes"))
        parts.append(
            f"`{kernel}` {significant(count / seconds / 1e6)} million Gaussians and "
            f"{significant(size / seconds / 1e6)} MB of coded bytes a second"
        )
    return f"Entropy coding at {results.ratio:g} : 1: {', '.join(parts)}."


def provenance(results: Results) -> str:
    ceilings = [
        f"{significant(results.ceiling('multiply_add', 'gflop_per_s', count, variant))} GFLOP/s "
        f"({variant}, {count} thread{'s' * (count > 1)})"
        for variant in results.variants
        for count in (thread_counts(results) if variant == results.variants[0] else [results.threads])
    ]
    memory = max(results.ceiling("copy", "gb_per_s", count) for count in thread_counts(results))
    told = f"Ceilings: {', '.join(ceilings)}; memory {significant(memory)} GB/s, read and written."
    return "\n".join([told, *makers(results.rows)])


def significant(value: float) -> str:
    """Three digits."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def draw(results: Results, folder: Path) -> list[Path]:
    """kernels-stages.svg, kernels-scaling.svg and kernels-ceilings.svg."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("plots need matplotlib: pip install smartsplat[bench]") from error

    folder.mkdir(parents=True, exist_ok=True)
    plots: dict[str, tuple[Callable[[Results, Sequence[Axes]], None], int, tuple[float, float]]] = {
        "stages": (draw_stages, 3, (8, 3.2)),
        "scaling": (draw_scaling, 3, (8, 3.2)),
        "ceilings": (draw_ceilings, 2, (8, 4.2)),
    }
    paths = []
    with rc_context(PLOT_STYLE):
        for name, (fill, panels, size) in plots.items():
            figure = Figure(figsize=size, layout="constrained")
            fill(results, figure.subplots(1, panels))
            paths.append(folder / f"kernels-{name}.svg")
            save(figure, paths[-1])
    return paths


def draw_stages(results: Results, panels: Sequence[Axes]) -> None:
    """Stacked stages of each kernel over the ratio."""
    ratios = results.ratios(results.usual)
    for axes, kernel in zip(panels, DRAWING, strict=True):
        bottom = [0.0] * len(ratios)
        for index, stage in enumerate(STAGES):
            values = [results.value(f"{kernel}/{stage}", "p50_ms", ratio) for ratio in ratios]
            heights = [0.0 if math.isnan(value) else value for value in values]
            axes.bar([f"{ratio:g}" for ratio in ratios], heights, bottom=bottom, label=stage, color=f"C{index}")
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axes.set(title=f"{kernel}, {results.usual:g} MP", xlabel="nominal ratio", ylabel="ms")


def draw_scaling(results: Results, panels: Sequence[Axes]) -> None:
    """MP/s over pixels, threads and instruction sets."""
    pixels, threads, variants = panels
    counts = thread_counts(results)
    for kernel in DRAWING:
        values = [results.value(kernel, "mp_per_s", size=size) for size in results.sizes]
        pixels.plot(results.sizes, values, marker=".", label=kernel)
        values = [results.value(kernel, "mp_per_s", threads=count) for count in counts]
        threads.plot(counts, values, marker=".")
        values = [results.value(kernel, "mp_per_s", variant=variant) for variant in results.variants]
        variants.plot(results.variants[::-1], values[::-1], marker=".")
    pixels.set(xscale="log", xlabel="megapixels", xticks=results.sizes, xticklabels=[f"{x:g}" for x in results.sizes])
    pixels.minorticks_off()
    threads.set(xlabel="threads", xticks=counts)
    variants.set(xlabel="instruction set")
    for axes in panels:
        axes.set(ylabel="MP/s", ylim=(0, None))
        axes.grid(visible=True, linewidth=0.3)


def draw_ceilings(results: Results, panels: Sequence[Axes]) -> None:
    """Share of the FMA peak and of the memory bandwidth, a bar a ratio."""
    names = dict.fromkeys(each["kernel"] for each in results.rows)
    ratios = results.ratios(results.usual)
    for axes, (column, title) in zip(
        panels, {"fma_share": "FMA peak", "bandwidth_share": "memory bandwidth"}.items(), strict=True
    ):
        kernels = [name for name in names if not math.isnan(results.value(name, column)) and name in shown(names)]
        for index, ratio in enumerate(ratios):
            places = [place + 0.8 * (index / len(ratios) - 0.4) for place in range(len(kernels))]
            shares = [100 * results.value(kernel, column, ratio) for kernel in kernels]
            axes.barh(places, shares, 0.8 / len(ratios), label=f"nominal ratio {ratio:g}")
        axes.set(yticks=range(len(kernels)), yticklabels=kernels, xlabel=f"% of the {title}")
        axes.invert_yaxis()
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis="x", linewidth=0.3)


def shown(names: Iterable[str]) -> list[str]:
    """Of kernels with stages the stages, of the others the whole; no ceilings."""
    return [name for name in names if name not in (*DRAWING, "copy", "multiply_add")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, help="kernels.tsv")
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="folder of the plots")
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    options = parser.parse_args(arguments)
    rows = read(options.table)
    if not rows:
        parser.error(f"{options.table} has no rows")
    results = Results(rows)
    if options.into:
        insert(tables(results), options.into, BEGIN, END)
    else:
        print(BEGIN, tables(results), END, sep="\n")
    draw(results, options.figures)


if __name__ == "__main__":
    main()
