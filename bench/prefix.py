"""What the first part of a file shows: PSNR over how much of it is there.

python -m bench.prefix --ratio 50 --table results/v0.5/prefix.tsv --figure docs/figures/prefix.svg

Every picture of the set is encoded once; its file is then cut off behind each group and decoded with ``partial``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

import smartsplat
from bench.images import SETS, prepared, provide
from bench.report import PLOT_STYLE, read
from smartsplat import container
from smartsplat.metrics import psnr

COLUMNS = ("picture", "ratio", "bytes", "share", "gaussians", "psnr")


def prefixes(data: bytes) -> Iterator[int]:
    """The lengths at which a file has one more group."""
    groups = container.parse(data).groups
    bodies = [container.GROUP_HEADER + len(group.data) for group in groups]
    end = len(data) - sum(bodies)
    for body in bodies:
        end += body
        yield end


def rows(picture: str, pixels: npt.NDArray[np.uint8], ratio: float, effort: int) -> Iterator[dict[str, object]]:
    """One row for each group: the PSNR, dB, of what its file shows up to there."""
    data = smartsplat.encode(pixels, ratio=ratio, effort=effort)
    for end in prefixes(data):
        reader = smartsplat.open(data[:end], partial=True)
        yield {
            "picture": picture,
            "ratio": format(ratio, "g"),
            "bytes": end,
            "share": format(end / len(data), ".4f"),
            "gaussians": reader.info.gaussians,
            "psnr": format(psnr(pixels, reader.read()), ".4f"),
        }


def draw(table: Path, figure: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(PLOT_STYLE):
        plot = Figure(figsize=(6, 3.2), layout="constrained")
        axes = plot.subplots()
        for picture, points in groupby(read(table), key=lambda row: row["picture"]):
            shares, values = zip(*((100 * float(row["share"]), float(row["psnr"])) for row in points), strict=True)
            axes.plot(shares, values, marker=".", label=picture)
        axes.set(xlabel="per cent of the file", ylabel="PSNR, dB")
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(fontsize=7)
        figure.parent.mkdir(parents=True, exist_ok=True)
        plot.savefig(figure, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="small")
    parser.add_argument("--pictures", nargs="+", help="only these of the set")
    parser.add_argument("--ratio", type=float, default=50)
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, required=True, help="file of tab-separated values to write")
    parser.add_argument("--figure", type=Path, required=True, help="SVG file to write")
    options = parser.parse_args(arguments)
    pictures = [picture for picture in SETS[options.set] if picture.id in (options.pictures or [picture.id])]
    provide(options.corpus, tuple(pictures))
    options.table.parent.mkdir(parents=True, exist_ok=True)
    with options.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for picture in pictures:
            pixels = np.load(prepared(picture, options.corpus))
            writer.writerows(rows(picture.id, pixels, options.ratio, options.effort))
    draw(options.table, options.figure)


if __name__ == "__main__":
    main()
