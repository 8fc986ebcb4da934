"""What docs/viewer.md says of the tables viewer.tsv and tiles.tsv.

python -m bench.viewer.report --into docs/viewer.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.markdown import header, publish, row
from bench.provenance import machine_lines
from bench.tables import VIEWER_RESULTS, Row, Table
from bench.viewer.run import COLUMNS
from bench.viewer.tiles import COLUMNS as TILE_COLUMNS

RENDERERS = {"cpu": "the worker", "webgl": "Chromium's software WebGL"}


def page_lines(rows: Sequence[Row]) -> list[str]:
    """What does not depend on the renderer, then a column for each."""
    single = [each for each in rows if not each["renderer"]]
    lines = [*header("what", "value"), *(row(each["what"], f"{each['value']} {each['unit']}") for each in single), ""]
    lines += header("what", *RENDERERS.values())
    for what in dict.fromkeys(each["what"] for each in rows if each["renderer"]):
        of = {each["renderer"]: f"{each['value']} {each['unit']}" for each in rows if each["what"] == what}
        lines.append(row(what, *(of.get(name, "-") for name in RENDERERS)))
    return lines


def tile_lines(rows: Sequence[Row]) -> list[str]:
    """A line for each load."""
    titles = ("tiles a second", "seconds", "failed", "half within, ms", "95 % within, ms", "99 %, ms", "memory, MB")
    lines = header(*titles)
    for each in rows:
        memory = f"{each['memory_first_mb']}, at the end {each['memory_last_mb']}"
        times = (each[f"p{n}_ms"] for n in (50, 95, 99))
        lines.append(row(each["rate"], each["seconds"], each["failed"], *times, memory))
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--into", type=Path, help="page to write into; otherwise to stdout")
    options = parser.parse_args(arguments)
    page = Table(VIEWER_RESULTS / "viewer.tsv", COLUMNS).rows()
    tiles = Table(VIEWER_RESULTS / "tiles.tsv", TILE_COLUMNS).rows()
    text = [
        "In Chromium at 1280 x 720, without a GPU. The large file is a mosaic of 15360 x 11520 pixels at 200 : 1, the",
        "small one a photograph of 5312 x 2988 at 50 : 1. A page is opened with an empty cache; medians of seven.",
        "",
        *page_lines(page),
        "",
        "The image server with tiles of 512 x 512 pixels, of any level and place of the large file, on the same two",
        "cores as the client. They are asked for at a rate, whether those before have come or not.",
        "",
        *tile_lines(tiles),
        "",
        *machine_lines([*page, *tiles]),
    ]
    publish("\n".join(text), options.into, "viewer")


if __name__ == "__main__":
    main()
