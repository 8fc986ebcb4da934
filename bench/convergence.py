"""The paper's Table 2 and Figure 5: what a fit costs and how it goes, from what bench.table1 wrote with --traces.

python -m bench.convergence results/v0.5/table2.tsv results/v0.5/convergence.tsv                (to stdout)
python -m bench.convergence results/v0.5/table2.tsv results/v0.5/convergence.tsv --into docs/baselines.md \\
    --figure docs/figures/convergence.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from bench.report import PLOT_STYLE, header, insert, markers, provenance, read, row, save
from smartsplat.baselines import METHODS

Row = dict[str, str]
NAMES = list(METHODS)


def costs(rows: Iterable[Row]) -> str:
    """A line a method and number of steps."""
    ordered = sorted(rows, key=lambda found: (int(found["steps"]), NAMES.index(found["method"])))
    titles = ("method", "steps", "Gaussians", "PSNR, dB", "MS-SSIM", "fit, s", "steps/s", "peak, MB", "decoding, MP/s")
    lines = header(*titles, "true ratio")
    for found in ordered:
        lines.append(
            row(
                *(found[name] for name in ("method", "steps", "gaussians")),
                *(f"{float(found['psnr']):.2f}", f"{float(found['ms_ssim']):.4f}"),
                *(f"{float(found['seconds']):.0f}", f"{float(found['steps_per_second']):.0f}", found["peak_mb"]),
                *(f"{float(found['decode_mp_s']):.0f}", f"{float(found['ratio_true']):.0f}"),
            )
        )
    return "\n".join([*lines, "", f"A nominal {ordered[0]['ratio_nominal']} : 1.", *provenance(ordered)])


def curves(traces: Iterable[Row]) -> dict[str, list[tuple[int, float, float]]]:
    """Step, seconds and PSNR of each method's longest fit; the PSNR is of what the step saw.

    That is a smaller version of the picture in the first 70 % of ``smartsplat`` and the first half of ``lig``.
    """
    by_method: dict[str, dict[int, dict[int, tuple[float, float]]]] = {}
    for point in traces:
        fit = by_method.setdefault(point["method"], {}).setdefault(int(point["steps"]), {})
        if fit and int(point["step"]) <= max(fit):  # it was made again
            fit.clear()
        if point["psnr"]:
            fit[int(point["step"])] = float(point["seconds"]), float(point["psnr"])
    found = {}
    for name in sorted(by_method, key=NAMES.index):
        longest = by_method[name][max(by_method[name])]
        found[name] = [(step, *longest[step]) for step in sorted(longest)]
    return found


def draw(traces: Iterable[Row], path: Path) -> None:
    """PSNR over steps and over seconds."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = curves(traces)
    with rc_context(PLOT_STYLE):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        for axes, column, title in zip(figure.subplots(1, 2), (0, 1), ("step", "seconds"), strict=True):
            for name, points in lines.items():
                axes.plot([point[column] for point in points], [point[2] for point in points], label=name, linewidth=1)
            axes.set(xscale="log", xlabel=title, ylabel="PSNR, dB")
            axes.grid(visible=True, linewidth=0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path, columns=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    markdown = costs(read(options.table))
    if options.into:
        insert(markdown, options.into, *markers("table2"))
    else:
        print(markdown)
    if options.figure:
        draw(read(options.traces), options.figure)


if __name__ == "__main__":
    main()
