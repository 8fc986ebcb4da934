"""The paper's Table 2 and Figure 5: what a fit costs and how it goes, from what bench.paper.table1 wrote with --traces.

python -m bench.paper.convergence table2.tsv convergence.tsv                (to stdout)
python -m bench.paper.convergence table2.tsv convergence.tsv --into docs/baselines.md \\
    --figure docs/figures/convergence.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from bench.figures import plots
from bench.markdown import header, publish, row
from bench.provenance import image_lines
from bench.tables import Row, read_rows
from smartsplat_baselines import METHODS

METHOD_NAMES = list(METHODS)


def costs(rows: Iterable[Row]) -> str:
    """A line a method and number of steps."""
    ordered = sorted(rows, key=lambda fit: (int(fit["steps"]), METHOD_NAMES.index(fit["method"])))
    titles = ("method", "steps", "Gaussians", "PSNR, dB", "MS-SSIM", "fit, s", "steps/s", "peak, MB", "decoding, MP/s")
    lines = header(*titles, "true ratio")
    for fit in ordered:
        lines.append(
            row(
                *(fit[name] for name in ("method", "steps", "gaussians")),
                *(f"{float(fit['psnr']):.2f}", f"{float(fit['ms_ssim']):.4f}"),
                *(f"{float(fit['seconds']):.0f}", f"{float(fit['steps_per_second']):.0f}", fit["peak_mb"]),
                *(f"{float(fit['decode_mp_s']):.0f}", f"{float(fit['ratio_true']):.0f}"),
            )
        )
    return "\n".join([*lines, "", f"A nominal {ordered[0]['ratio_nominal']} : 1.", *image_lines(ordered)])


def curves(traces: Iterable[Row]) -> dict[str, list[tuple[int, float, float]]]:
    """Step, seconds and PSNR of the fit with the most steps of each method; the PSNR is of what the step saw.

    That is a smaller version of the image in the first 70 % of ``smartsplat`` and the first half of ``lig``.
    """
    by_method: dict[str, dict[int, dict[int, tuple[float, float]]]] = {}
    for point in traces:
        fit = by_method.setdefault(point["method"], {}).setdefault(int(point["steps"]), {})
        if fit and int(point["step"]) <= max(fit):  # the fit was made again
            fit.clear()
        if point["psnr"]:
            fit[int(point["step"])] = float(point["seconds"]), float(point["psnr"])
    lines = {}
    for name in sorted(by_method, key=METHOD_NAMES.index):
        last = by_method[name][max(by_method[name])]
        lines[name] = [(step, *last[step]) for step in sorted(last)]
    return lines


def plot(traces: Iterable[Row], path: Path) -> None:
    """PSNR over steps and over seconds."""
    lines = curves(traces)
    with plots.styled() as new_figure:
        figure = new_figure(figsize=(8, 3.6), layout="constrained")
        for axes, column, title in zip(figure.subplots(1, 2), (0, 1), ("step", "seconds"), strict=True):
            for name, points in lines.items():
                axes.plot([point[column] for point in points], [point[2] for point in points], label=name, linewidth=1)
            axes.set(xscale="log", xlabel=title, ylabel="PSNR, dB")
            axes.grid(visible=True, linewidth=0.3)
        plots.save_with_legend(figure, path, columns=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    publish(costs(read_rows(options.table)), options.into, "table2")
    if options.figure:
        plot(read_rows(options.traces), options.figure)


if __name__ == "__main__":
    main()
