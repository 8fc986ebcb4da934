"""Measure codecs on images with alpha and extend a table of results; rows that are there already are skipped.

python -m bench.rate_distortion.alpha --ratios 50 200 --codecs webp smartsplat:e5
python -m bench.rate_distortion.alpha --codecs --into docs/alpha_and_depth.md    (only the tables between its marks)

The budget of a row is floor(H W 3 / ratio) bytes, alpha included. psnr and ms_ssim are those of smartsplat.metrics,
over white and over black together. psnr_checkerboard is over squares of 8 pixels of two greys, as editors show them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import smartsplat
from bench.images import chosen, provide
from bench.markdown import fixed, header, percent, publish, row
from bench.provenance import image_lines, provenance
from bench.rate_distortion.alpha_images import ALPHA_IMAGES
from bench.rate_distortion.codecs import codec
from bench.rate_distortion.report import CodecResults, means
from bench.tables import ALPHA_AND_DEPTH_RESULTS, Table, read_rows
from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.bitstream import container
from smartsplat.metrics import ms_ssim, psnr

SHRINKS = (1, 2, 4)
"""What the sides are divided by before an anchor encodes: 8 was never best in a trial at these ratios."""

CODECS = ("webp", "avif:s6", "avif:s4:psnr", "smartsplat:e5")
SQUARE, DARK, LIGHT = 8, 102, 153
"""Of the checkerboard: side, pixels, and the two greys."""

COLUMNS = (
    *("picture", "width", "height", "recipe", "codec", "setting", "ratio_target", "bytes", "alpha_bytes", "alpha_kind"),
    *("psnr", "psnr_white", "psnr_black", "psnr_checkerboard", "ms_ssim", "machine", "versions"),
)
KEYS = ("picture", "codec", "ratio_target")


def checkerboard(height: int, width: int) -> ByteArray:
    """uint8 [height, width]."""
    rows, columns = np.ogrid[:height, :width]
    return np.where((rows // SQUARE + columns // SQUARE) % 2, LIGHT, DARK).astype(np.uint8)


def over(pixels: SampleArray, ground: ByteArray) -> ByteArray:
    """The image uint8 [H, W, 3 or 4] over a grey ground [H, W], rounded; [H, W, 3]."""
    if pixels.shape[2] == 3:
        return pixels.astype(np.uint8)
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + ground[..., None] * (255 - alpha) + 127) // 255).astype(np.uint8)


def grounds(height: int, width: int) -> dict[str, ByteArray]:
    """What images are shown over, [height, width] each, by the names of their columns."""
    plain = {name: np.full((height, width), level, np.uint8) for name, level in (("white", 255), ("black", 0))}
    return plain | {"checkerboard": checkerboard(height, width)}


def qualities(pixels: SampleArray, decoded: SampleArray) -> dict[str, str]:
    """The columns of how close two images uint8 [H, W, 3 or 4] are."""
    values = {"psnr": psnr(pixels, decoded), "ms_ssim": ms_ssim(pixels, decoded)}
    for name, ground in grounds(*pixels.shape[:2]).items():
        values[f"psnr_{name}"] = psnr(over(pixels, ground), over(decoded, ground))
    return {name: format(value, ".6g") for name, value in values.items()}


def alpha_columns(name: str, data: bytes) -> dict[str, object]:
    """Of a file of this project: the bytes of its opacity, and what that is stored as."""
    if not name.startswith("smartsplat:"):
        return {}
    alpha = container.unpack(data).extras.alpha
    if alpha is None:
        return {"alpha_bytes": 0, "alpha_kind": "none"}
    return {"alpha_bytes": smartsplat.open(data).info.alpha_bytes, "alpha_kind": "mask" if alpha.mask else "Gaussians"}


def rows(
    pixels: SampleArray, name: str, ratios: Sequence[float], composites: Path | None
) -> Iterator[dict[str, object]]:
    """The columns of one image, uint8 [H, W, 4], and codec that depend on the pixels, a row a ratio.

    Args:
        composites: where the decoded images are written over each ground, as PNG; its name begins theirs.
    """
    height, width = pixels.shape[:2]
    tool = codec(name, SHRINKS)
    files = tool.encode(pixels, [int(3 * height * width / ratio) for ratio in ratios])
    for ratio, file in zip(ratios, files, strict=True):
        measured: dict[str, object] = {"width": width, "height": height, "ratio_target": format(ratio, "g")}
        if file is None:
            yield measured | {"setting": "none"}
            continue
        decoded = tool.decode(file.data, width, height)
        if composites is not None:
            for ground, levels in grounds(height, width).items():
                path = composites.with_name(f"{composites.name}-{name.replace(':', '')}-{ratio:g}-{ground}.png")
                Image.fromarray(over(decoded, levels)).save(path)
        coded = {"setting": file.setting, "bytes": len(file.data), **alpha_columns(name, file.data)}
        yield measured | coded | qualities(pixels, decoded)


def fringes(results: CodecResults) -> list[str]:
    """One row a ratio, one column a codec: how much better an image is over one ground than over the other."""

    def worst(name: str, ratio: float) -> float:
        over_white, over_black = (
            np.array([results.value(image, name, ratio, f"psnr_{ground}") for image in results.shared(ratio)])
            for ground in ("white", "black")
        )
        return float(np.abs(over_white - over_black).max(initial=0))

    lines = ["Largest difference of the PSNR over white and over black, dB, of the same images:", ""]
    lines += header("ratio", *results.codecs)
    return [
        *lines,
        *(row(f"{ratio:g}", *(fixed(worst(name, ratio), 1) for name in results.codecs)) for ratio in results.ratios),
    ]


def image_rows(results: CodecResults) -> list[str]:
    """One row an image, one column a ratio: the best anchor's PSNR, this codec's, and how that stores opacity."""
    if not results.smartsplats:
        return []
    name = results.smartsplats[0]

    def text(image: str, ratio: float) -> str:
        anchors = [results.value(image, anchor, ratio, "psnr") for anchor in results.anchors]
        best = max((value for value in anchors if not math.isnan(value)), default=math.nan)
        values = fixed(best, 1), fixed(results.value(image, name, ratio, "psnr"), 1)
        measured = results.rows.get((image, name, ratio), {})
        if not measured.get("alpha_kind"):
            return " / ".join(values)
        share = int(measured["alpha_bytes"]) / int(measured["bytes"])
        return f"{' / '.join(values)}, {measured['alpha_kind']} {percent(share)}"

    lines = [f"PSNR in dB of the best anchor / of {name}, what that stores opacity as, and its share of the file:", ""]
    lines += header("image", *(f"{ratio:g}" for ratio in results.ratios))
    return [*lines, *(row(image, *(text(image, ratio) for ratio in results.ratios)) for image in results.images)]


def report(results: CodecResults) -> str:
    """All there is to say; markdown."""
    parts = [[means(results)], fringes(results), image_rows(results), image_lines(results.rows.values())]
    return "\n".join(line for part in parts for line in (*part, "")).rstrip()


def measure_all(options: argparse.Namespace, table: Table) -> None:
    """Append every missing row to the table as it is made."""
    finished, constants = table.finished(), provenance()
    subjects = provide(options.corpus, chosen(ALPHA_IMAGES, options.images)) if options.codecs else []
    for name in options.codecs:
        for subject in subjects:
            missing = [ratio for ratio in options.ratios if (subject.id, name, format(ratio, "g")) not in finished]
            composites = options.composites / subject.id if options.composites else None
            for measured in rows(np.load(subject.path), name, missing, composites) if missing else ():
                table.append({"picture": subject.id, "recipe": subject.recipe, "codec": name} | measured | constants)
                print(subject.id, name, measured["ratio_target"], measured.get("psnr", "none"), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", nargs="+", help="only these")
    parser.add_argument("--ratios", nargs="+", type=float, default=[50, 100, 200, 500])
    parser.add_argument("--codecs", nargs="*", default=CODECS)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, default=ALPHA_AND_DEPTH_RESULTS / "alpha.tsv")
    parser.add_argument("--composites", type=Path, help="folder for the decoded images over each ground")
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    options = parser.parse_args(arguments)
    try:
        for name in options.codecs:
            codec(name)
        measure_all(options, Table(options.table, COLUMNS, KEYS))
    except ValueError as error:
        parser.error(str(error))
    publish(report(CodecResults(read_rows(options.table))), options.into, "alpha")


if __name__ == "__main__":
    main()
