"""What the first part of a file shows: PSNR over how much of it is there.

python -m bench.rate_distortion.prefix --ratio 50 --table prefix.tsv --figure docs/figures/prefix.svg

Every image of the set is encoded once; its file is then cut off behind each group and decoded with ``partial``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

import smartsplat
from bench import images
from bench.figures import plots
from bench.tables import Table, read_rows
from smartsplat.arrays import ByteArray
from smartsplat.bitstream import container
from smartsplat.metrics import psnr

COLUMNS = ("picture", "ratio", "bytes", "share", "gaussians", "psnr")


def prefixes(data: bytes) -> Iterator[int]:
    """The lengths at which a file has one more group, bytes."""
    groups = container.unpack(data).groups
    bodies = [container.GROUP_HEADER + len(group.data) for group in groups]
    end = len(data) - sum(bodies)
    for body in bodies:
        end += body
        yield end


def rows(image: str, pixels: ByteArray, ratio: float, data: bytes) -> Iterator[dict[str, object]]:
    """One row for each group of an image's file: the PSNR, dB, of what the file shows up to there."""
    for end in prefixes(data):
        reader = smartsplat.open(data[:end], partial=True)
        yield {
            "picture": image,
            "ratio": format(ratio, "g"),
            "bytes": end,
            "share": format(end / len(data), ".4f"),
            "gaussians": reader.info.gaussians,
            "psnr": format(psnr(pixels, reader.read()), ".4f"),
        }


def plot(table: Path, path: Path) -> None:
    """PSNR over the fraction of the file, a line for each image."""
    with plots.styled() as new_figure:
        figure = new_figure(figsize=(6, 3.2), layout="constrained")
        axes = figure.subplots()
        for image, points in groupby(read_rows(table), key=lambda row: row["picture"]):
            percents, values = zip(*((100 * float(row["share"]), float(row["psnr"])) for row in points), strict=True)
            axes.plot(percents, values, marker=".", label=image)
        axes.set(xlabel="per cent of the file", ylabel="PSNR, dB")
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(fontsize=7)
        plots.save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=images.SETS, default="small")
    parser.add_argument("--images", nargs="+", help="only these of the set")
    parser.add_argument("--ratio", type=float, default=50)
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, required=True, help="file of tab-separated values to write")
    parser.add_argument("--figure", type=Path, required=True, help="SVG file to write")
    options = parser.parse_args(arguments)
    try:
        chosen = images.chosen(images.SETS[options.set], options.images)
    except ValueError as error:
        parser.error(str(error))
    table = Table(options.table, COLUMNS)
    table.write()
    for subject in images.provide(options.corpus, chosen):
        pixels = np.load(subject.path)
        data = smartsplat.encode(pixels, ratio=options.ratio, effort=options.effort, tune="psnr")
        table.append(*rows(subject.id, pixels, options.ratio, data))
    plot(options.table, options.figure)


if __name__ == "__main__":
    main()
