"""The table kernels.tsv: its columns, and what markdown and plots show of it.

python -m bench.kernels.report kernels.tsv                         (tables to stdout, plots)
python -m bench.kernels.report kernels.tsv --into docs/results.md  (between the marks of the page)
python -m bench.kernels.report kernels.tsv other.tsv               (instruction sets beside those of another machine)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import plots
from bench.markdown import fixed, header, percent, publish, row, significant
from bench.provenance import machine_lines
from bench.tables import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEYS = ("kernel", "picture", "width", "height", "ratio", "variant", "threads")
COLUMNS = (
    *("kernel", "picture", "width", "height", "pixels_mp", "gaussians", "ratio", "variant", "threads"),
    *("p20_ms", "p50_ms", "p80_ms", "mp_per_s", "evaluations_per_s", "gflop_per_s", "gb_per_s"),
    *("fma_share", "bandwidth_share", "coded_bytes", "machine", "versions"),
)
STAGED = ("render_bytes", "step_l2", "step_l1_ssim")  # kernels whose stages are measured
STAGES = ("project", "bin", "forward", "loss", "backward", "store", "update", "rest")
CEILINGS = ("copy", "multiply_add")
ANCHORS = ("jpeg", "webp", "avif")  # codecs whose decoders are measured, too


def kernel_table(path: Path) -> Table:
    """The table at ``path``, which need not exist."""
    return Table(path, COLUMNS, KEYS)


def listing(rows: Sequence[Row]) -> str:
    """The rows of one case for reading in a terminal."""
    first = rows[0]
    title = "{picture} {width}x{height}, {gaussians} Gaussians, nominal ratio {ratio}".format(**first)
    columns = ("kernel", "variant", "threads", *COLUMNS[COLUMNS.index("p20_ms") : COLUMNS.index("machine")])
    lines = [columns, *(tuple(each[column] for column in columns) for each in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    texts = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([title, *(text.rstrip() for text in texts), ""])


class KernelResults:
    """A table's rows by what they measure.

    Unless said otherwise on all threads, in the best variant, and at the ``usual`` size: that of the most ratios.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.threads = max(int(each["threads"]) for each in rows)
        rendered = [each for each in rows if each["kernel"] == "render_bytes"]
        self.variants = list(dict.fromkeys(each["variant"] for each in rendered))  # the best first
        self.sizes = sorted({float(each["pixels_mp"]) for each in rendered})  # megapixels
        self.usual = max(self.sizes, key=lambda size: (len(self.ratios(size)), size))
        shared = set.intersection(*(set(self.ratios(size)) for size in self.sizes))
        self.ratio = max(shared or self.ratios(self.usual))

    def ratios(self, size: float) -> list[float]:
        """Nominal ratios that were measured at a size."""
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
        """The maximum of the numbers of threads that a kernel was measured on."""
        return max((int(each["threads"]) for each in self.rows if each["kernel"] == kernel), default=0)

    def kernels(self) -> list[str]:
        """Without stages, ceilings and other codecs."""
        names = dict.fromkeys(each["kernel"] for each in self.rows)
        return [name for name in names if "/" not in name and name not in (*CEILINGS, *anchor_kernels())]


def anchor_kernels() -> list[str]:
    """Names of the rows of the other codecs' decoders."""
    return [f"pillow_{anchor}" for anchor in ANCHORS]


def tables(results: KernelResults, others: Sequence[KernelResults] = ()) -> str:
    """All of the section that is made from numbers; ``others`` are of other machines."""
    parts = [times(results), anchors(results), instruction_sets([results, *others])]
    return "\n\n".join([*parts, scaling(results), entropy(results), ceilings(results)])


def times(results: KernelResults) -> str:
    """A line a kernel."""
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


def anchors(results: KernelResults) -> str:
    """A whole decode beside those of other codecs."""
    rates = [results.value(kernel, "mp_per_s") for kernel in anchor_kernels()]
    lines = ["`decode` takes this many times as long as Pillow's decoder takes for the same image:", ""]
    titles = (f"{anchor} ({fixed(rate, 0)} MP/s)" for anchor, rate in zip(ANCHORS, rates, strict=True))
    lines += header("nominal ratio", *titles)
    for ratio in results.ratios(results.usual):
        decode = results.value("decode", "p50_ms", ratio)
        times = [results.value(kernel, "p50_ms", ratio) for kernel in anchor_kernels()]
        lines.append(row(f"{ratio:g}", *(fixed(decode / time, 2) for time in times)))
    return "\n".join(lines)


def instruction_sets(machines: Sequence[KernelResults]) -> str:
    """What each machine does with each instruction set that its processor has."""
    names = {"v2": "SSE4.2", "v3": "AVX2", "v4": "AVX-512", "base": "NEON"}
    lines = [
        "By instruction set, at the usual size and ratio: MP/s of kernels and of a whole decode, and its ceilings:",
        "",
        *header("instruction set", "machine", "version", *STAGED, "decode", "GFLOP/s", "memory, GB/s"),
    ]
    for results in machines:
        first = results.rows[0]
        version = first["versions"].rpartition("smartsplat ")[2]
        for variant in results.variants:
            rates = [results.value(kernel, "mp_per_s", variant=variant) for kernel in STAGED]
            best = variant == results.variants[0]  # the one that a decode uses
            decode = results.value("decode", "mp_per_s") if best else math.nan
            flops = results.ceiling("multiply_add", "gflop_per_s", results.threads, variant)
            memory = max(results.ceiling("copy", "gb_per_s", count) for count in thread_counts(results))
            cells = [significant(each) for each in (*rates, decode, flops, memory)]
            lines.append(row(f"{variant} ({names[variant]})", first["machine"], version, *cells))
    return "\n".join(lines)


def scaling(results: KernelResults) -> str:
    """Over pixels, threads and instruction sets."""
    settings: list[tuple[str, dict[str, float | str]]] = [(f"{size:g} MP", {"size": size}) for size in results.sizes]
    settings += [(f"{count} thread" + "s" * (count > 1), {"threads": count}) for count in thread_counts(results)[:-1]]
    settings += [(variant, {"variant": variant}) for variant in results.variants[1:]]
    lines = [f"MP/s at {results.ratio:g} : 1; the last columns are of {results.usual:g} MP:", ""]
    lines += header("kernel", *(title for title, _ in settings))
    for kernel in STAGED:
        values = (results.value(kernel, "mp_per_s", **setting) for _, setting in settings)
        lines.append(row(kernel, *map(significant, values)))
    return "\n".join(lines)


def thread_counts(results: KernelResults) -> list[int]:
    """Of the usual case."""
    return sorted({int(each["threads"]) for each in results.rows if each["kernel"] == STAGED[0]})


def entropy(results: KernelResults) -> str:
    """How fast symbols are coded."""
    parts = []
    for kernel in ("encode_symbols", "decode_symbols"):
        seconds = results.value(kernel, "p50_ms") / 1e3
        count, size = (results.value(kernel, column) for column in ("gaussians", "coded_bytes"))
        parts.append(
            f"`{kernel}` {significant(count / seconds / 1e6)} million Gaussians and "
            f"{significant(size / seconds / 1e6)} MB of coded bytes a second"
        )
    return f"Entropy coding at {results.ratio:g} : 1: {', '.join(parts)}."


def ceilings(results: KernelResults) -> str:
    """What the machine can do, and which it is."""
    texts = [
        f"{significant(results.ceiling('multiply_add', 'gflop_per_s', count, variant))} GFLOP/s "
        f"({variant}, {count} thread{'s' * (count > 1)})"
        for variant in results.variants
        for count in (thread_counts(results) if variant == results.variants[0] else [results.threads])
    ]
    memory = max(results.ceiling("copy", "gb_per_s", count) for count in thread_counts(results))
    sentence = f"Ceilings: {', '.join(texts)}; memory {significant(memory)} GB/s, read and written."
    return "\n".join([sentence, *machine_lines(results.rows)])


def plot(results: KernelResults, folder: Path) -> list[Path]:
    """kernels-stages.svg, kernels-scaling.svg and kernels-ceilings.svg."""
    figures: dict[str, tuple[Callable[[KernelResults, Sequence[Axes]], None], int, tuple[float, float]]] = {
        "stages": (plot_stages, 3, (8, 3.2)),
        "scaling": (plot_scaling, 3, (8, 3.2)),
        "ceilings": (plot_ceilings, 2, (8, 4.2)),
    }
    paths = []
    with plots.styled() as new_figure:
        for name, (fill, columns, size) in figures.items():
            figure = new_figure(figsize=size, layout="constrained")
            fill(results, figure.subplots(1, columns))
            paths.append(folder / f"kernels-{name}.svg")
            plots.save_with_legend(figure, paths[-1])
    return paths


def plot_stages(results: KernelResults, subplots: Sequence[Axes]) -> None:
    """Stacked stages of each kernel over the ratio."""
    ratios = results.ratios(results.usual)
    for axes, kernel in zip(subplots, STAGED, strict=True):
        bottom = [0.0] * len(ratios)
        for index, stage in enumerate(STAGES):
            values = [results.value(f"{kernel}/{stage}", "p50_ms", ratio) for ratio in ratios]
            heights = [0.0 if math.isnan(value) else value for value in values]
            axes.bar([f"{ratio:g}" for ratio in ratios], heights, bottom=bottom, label=stage, color=f"C{index}")
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axes.set(title=f"{kernel}, {results.usual:g} MP", xlabel="nominal ratio", ylabel="ms")


def plot_scaling(results: KernelResults, subplots: Sequence[Axes]) -> None:
    """MP/s over pixels, threads and instruction sets."""
    pixels, threads, variants = subplots
    counts = thread_counts(results)
    for kernel in STAGED:
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
    for axes in subplots:
        axes.set(ylabel="MP/s", ylim=(0, None))
        axes.grid(visible=True, linewidth=0.3)


def plot_ceilings(results: KernelResults, subplots: Sequence[Axes]) -> None:
    """Fraction of the FMA peak and of the memory bandwidth, a bar a ratio."""
    names = dict.fromkeys(each["kernel"] for each in results.rows)
    ratios = results.ratios(results.usual)
    for axes, (column, title) in zip(
        subplots, {"fma_share": "FMA peak", "bandwidth_share": "memory bandwidth"}.items(), strict=True
    ):
        kernels = [name for name in names if not math.isnan(results.value(name, column)) and name in shown(names)]
        for index, ratio in enumerate(ratios):
            heights = [number + 0.8 * (index / len(ratios) - 0.4) for number in range(len(kernels))]
            percents = [100 * results.value(kernel, column, ratio) for kernel in kernels]
            axes.barh(heights, percents, 0.8 / len(ratios), label=f"nominal ratio {ratio:g}")
        axes.set(yticks=range(len(kernels)), yticklabels=kernels, xlabel=f"% of the {title}")
        axes.invert_yaxis()
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis="x", linewidth=0.3)


def shown(names: Iterable[str]) -> list[str]:
    """Of kernels with stages the stages, of the others the whole; no ceilings."""
    return [name for name in names if name not in (*STAGED, *CEILINGS)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path, help="kernels.tsv")
    parser.add_argument("others", type=Path, nargs="*", help="those of other machines")
    parser.add_argument("--figures", type=Path, default=Path("docs/figures"), help="folder of the plots")
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    options = parser.parse_args(arguments)
    rows = kernel_table(options.table).rows()
    if not rows:
        parser.error(f"{options.table} has no rows")
    results = KernelResults(rows)
    others = [KernelResults(kernel_table(path).rows()) for path in options.others]
    publish(tables(results, others), options.into, "kernels")
    plot(results, options.figures)


if __name__ == "__main__":
    main()
