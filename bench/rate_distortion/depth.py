"""Measure codecs on images of 16 bits and extend a table of results; rows that are there already are skipped.

python -m bench.rate_distortion.depth --ratios 50 200 --codecs avif:12 smartsplat:16
python -m bench.rate_distortion.depth --codecs --into docs/alpha_and_depth.md    (only the tables between its marks)

The budget of a row is floor(H W 3 / ratio) bytes. PSNR is against the samples of 16 bits. Of a gradient there are three
more columns: step_rms, the root mean square error in steps of 8 bits; row_values, how many values the middle row has;
row_run, the mean length of a run of equal values in it, pixels. The last two are means over the channels.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import smartsplat
from bench.figures import plots
from bench.images import chosen, provide
from bench.markdown import fixed, publish, rows_by_image
from bench.provenance import image_lines, provenance
from bench.rate_distortion.codecs import SHRINKS, Avif, Codec, Encoded, SmartSplat, resized
from bench.rate_distortion.depth_images import GRADIENTS, PHOTOGRAPHS, DarkSky
from bench.rate_distortion.report import CodecResults, mean_rows
from bench.tables import ALPHA_AND_DEPTH_RESULTS, Table, read_rows
from smartsplat.arrays import SampleArray
from smartsplat.images.strips import rounded_to_8_bits
from smartsplat.metrics import psnr

EFFORT = 5
FIGURE_RATIO = 200
FIGURE_COLUMNS = slice(300, 700)
"""Of the middle row of the dark sky: few enough that steps show."""

CODECS = ("avif:10", "avif:12", "smartsplat:8", "smartsplat:16")
COLUMNS = (
    *("picture", "width", "height", "recipe", "codec", "setting", "ratio_target", "bytes"),
    *("psnr", "step_rms", "row_values", "row_run", "machine", "versions"),
)
KEYS = ("picture", "codec", "ratio_target")


class DeepAvif(Avif):
    """AVIF of 10 or 12 bits, tuned for PSNR. libvips shifts samples; here they are rounded, and white stays white."""

    def __init__(self, bits: int, speed: int, shrinks: tuple[int, ...] = SHRINKS) -> None:
        super().__init__(shrinks, speed, aim=":psnr")
        self.bits = bits
        self.name = f"avif:{bits}"

    def file(self, pixels: SampleArray, sampling: str, quality: int) -> bytes:
        peak = (1 << self.bits) - 1
        levels = (pixels.astype(np.uint32) * peak + 32767) // 65535
        return super().file((levels << 16 - self.bits).astype(np.uint16), sampling, quality)

    def decode(self, data: bytes, width: int, height: int) -> SampleArray:
        import pyvips

        peak = (1 << self.bits) - 1
        levels = pyvips.Image.new_from_buffer(data, "").numpy().astype(np.uint32) >> 16 - self.bits
        pixels = ((levels * 65535 + peak // 2) // peak).astype(np.uint16)
        return resized(pixels, width, height, Image.Resampling.BICUBIC)


class DeepSmartSplat(SmartSplat):
    """This project's codec, of the image as it is or of one rounded to 8 bits."""

    def __init__(self, bits: int) -> None:
        super().__init__(EFFORT)
        self.bits = bits
        self.name = f"smartsplat:{bits}"

    def encode(self, pixels: SampleArray, byte_budgets: Sequence[int]) -> list[Encoded | None]:
        return super().encode(rounded_to_8_bits(pixels) if self.bits == 8 else pixels, byte_budgets)


def deep_codec(name: str, speed: int) -> DeepAvif | DeepSmartSplat:
    """The codec that a name of the command line means.

    Raises:
        ValueError: there is no such codec.
    """
    if avif := re.fullmatch("avif:(10|12)", name):
        return DeepAvif(int(avif[1]), speed)
    if own := re.fullmatch("smartsplat:(8|16)", name):
        return DeepSmartSplat(int(own[1]))
    raise ValueError(f"unknown codec {name!r}: use avif:10, avif:12, smartsplat:8 or smartsplat:16")


def decodings(tool: Codec, data: bytes, width: int, height: int) -> dict[str, SampleArray]:
    """The image as the file can be had, by the names of rows: those of this project's to 16 and to 8 bits."""
    if not isinstance(tool, DeepSmartSplat):
        return {tool.name: tool.decode(data, width, height)}
    types: Mapping[int, type] = {16: np.uint16, 8: np.uint8}
    return {f"{tool.name}to{bits}": smartsplat.decode(data, dtype=kind) for bits, kind in types.items()}


def smoothness(pixels: SampleArray, decoded: SampleArray) -> dict[str, str]:
    """The columns of a gradient, uint16 [H, W, C]; decoded may be uint8."""
    widened = decoded.astype(np.int64) * (257 if decoded.dtype == np.uint8 else 1)
    rms = np.sqrt(np.mean(np.square((widened - pixels) / 257)))
    row = widened[len(widened) // 2]
    values = np.mean([len(np.unique(channel)) for channel in row.T])
    runs = np.mean([1 + np.count_nonzero(np.diff(channel)) for channel in row.T])
    return {
        "step_rms": format(rms, ".4g"),
        "row_values": format(values, ".4g"),
        "row_run": format(len(row) / runs, ".4g"),
    }


def rows(image: str, pixels: SampleArray, tool: Codec, ratios: Sequence[float]) -> Iterator[dict[str, object]]:
    """The rows of one image, uint16 [H, W, 3], and codec."""
    height, width = pixels.shape[:2]
    gradient = image in {each.id for each in GRADIENTS}
    files = tool.encode(pixels, [int(pixels.size / ratio) for ratio in ratios])
    for ratio, file in zip(ratios, files, strict=True):
        keys: dict[str, object] = {
            "picture": image,
            "width": width,
            "height": height,
            "ratio_target": format(ratio, "g"),
        }
        if file is None:
            yield keys | {"codec": tool.name, "setting": "none"}
            continue
        for name, decoded in decodings(tool, file.data, width, height).items():
            measured = {"psnr": format(psnr(pixels, decoded), ".6g")}
            coded = {"codec": name, "setting": file.setting, "bytes": len(file.data)}
            yield keys | coded | measured | (smoothness(pixels, decoded) if gradient else {})


def report(rows: Sequence[dict[str, str]]) -> str:
    """Means over the images, what the gradients look like, and what was measured on what; markdown."""
    ids = {each.id for each in GRADIENTS}
    photographs = CodecResults(row for row in rows if row["picture"] not in ids)
    gradients = CodecResults(row for row in rows if row["picture"] in ids)

    def text(image: str, ratio: float, name: str) -> str:
        digits = {"psnr": 1, "step_rms": 2, "row_values": 0, "row_run": 1}
        return " / ".join(fixed(gradients.value(image, name, ratio, column), digits[column]) for column in digits)

    lines = ["Mean PSNR in dB over the eight averaged images:", "", *mean_rows(photographs, {"psnr": 2}), ""]
    titles = (
        "PSNR in dB",
        "RMS error in steps of 8 bits",
        "values in the middle row",
        "mean run of equal ones, pixels",
    )
    lines += [f"Gradients: {' / '.join(titles)}:", ""]
    lines += rows_by_image(gradients.images, gradients.ratios, gradients.codecs, text)
    return "\n".join([*lines, "", *image_lines(rows)])


def plot(path: Path) -> None:
    """A part of the middle row of the dark sky: as it is, and decoded to 16 and to 8 bits."""
    sky = DarkSky().pixels(Path())
    data = smartsplat.encode(sky, ratio=FIGURE_RATIO, effort=EFFORT, tune="psnr")
    coarse = smartsplat.decode(
        smartsplat.encode(rounded_to_8_bits(sky), ratio=FIGURE_RATIO, effort=EFFORT, tune="psnr")
    )
    lines = {"original": sky / 257, "16 bits": smartsplat.decode(data) / 257, "8 bits": coarse}
    columns = np.arange(sky.shape[1])[FIGURE_COLUMNS]
    with plots.styled() as new_figure:
        figure = new_figure(figsize=(6, 2.6), layout="constrained")
        axes = figure.subplots()
        for (name, image), width in zip(lines.items(), (2.5, 1, 1), strict=True):
            axes.plot(columns, image[len(image) // 2, FIGURE_COLUMNS, 1], label=name, linewidth=width)
        axes.set(xlabel="column, pixels", ylabel="green, steps of 8 bits")
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(fontsize=7)
        plots.save(figure, path)


def measure_all(options: argparse.Namespace, table: Table) -> None:
    """Append every missing row to the table as it is made."""
    finished, constants = table.finished(), provenance()
    tools = {name: deep_codec(name, options.speed) for name in options.codecs}
    subjects = provide(options.corpus, chosen((*PHOTOGRAPHS, *GRADIENTS), options.images)) if tools else []
    for name, tool in tools.items():
        finals = (f"{name}to8", name)  # the last row of a file, by kind of codec
        for subject in subjects:
            texts = {ratio: format(ratio, "g") for ratio in options.ratios}
            missing = [
                ratio
                for ratio, text in texts.items()
                if not any((subject.id, each, text) in finished for each in finals)
            ]
            for measured in rows(subject.id, np.load(subject.path), tool, missing) if missing else ():
                table.append({"recipe": subject.recipe} | measured | constants)
                print(*(measured.get(column, "") for column in (*KEYS, "psnr")), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", nargs="+", help="only these")
    parser.add_argument("--ratios", nargs="+", type=float, default=[50, 200, 1000])
    parser.add_argument("--codecs", nargs="*", default=CODECS)
    parser.add_argument("--speed", type=int, default=6, help="of AVIF")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, default=ALPHA_AND_DEPTH_RESULTS / "depth.tsv")
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    parser.add_argument("--figure", type=Path, help="SVG file to write")
    options = parser.parse_args(arguments)
    try:
        measure_all(options, Table(options.table, COLUMNS, KEYS))
    except ValueError as error:
        parser.error(str(error))
    publish(report(read_rows(options.table)), options.into, "depth")
    if options.figure is not None:
        plot(options.figure)


if __name__ == "__main__":
    main()
