"""Encodes images of 34, 177 and 1074 megapixels in blocks and whole; measures transfers to workers.

python -m bench.scale.run --corpus corpus

Rows that are in the table are kept, so an interrupted run goes on where it ended.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.images import fetch
from bench.processes import json_lines
from bench.provenance import provenance
from bench.scale.encode import EFFORT, RATIO
from bench.scale.images import IMAGES, LargeImage
from bench.tables import SCALE_RESULTS, Table

TABLE, TASKS, TRANSFERS = "scale.tsv", "scale-tasks.tsv", "scale-transfers.tsv"
BLOCK = 4096
KEYS = ("picture", "block")
COLUMNS = (
    *("picture", "recipe", "width", "height", "block", "ratio", "effort", "bytes", "seconds", "read_seconds"),
    *("survey_seconds", "coarse_seconds", "rounds_seconds", "between_seconds", "coding_seconds"),
    *("grain_seconds", "peak_mb", "psnr", "seam_error", "other_error", "machine", "versions"),
)
TASK_COLUMNS = ("picture", "stage", "made_seconds", "seconds", "pixel_bytes", "task_bytes", "result_bytes")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--folder", type=Path, default=SCALE_RESULTS, help="of the tables")
    options = parser.parse_args(arguments)
    corpus = options.corpus.resolve()
    fetch(corpus, (image.of for image in IMAGES))
    options.folder.mkdir(parents=True, exist_ok=True)
    Table(options.folder / TRANSFERS, ("bytes", "there", "back")).write(json_lines("bench.scale.transfers"))
    table = Table(options.folder / TABLE, COLUMNS, KEYS)
    tasks = Table(options.folder / TASKS, TASK_COLUMNS)
    for image in IMAGES:
        list(json_lines("bench.scale.images", image.id, "--corpus", str(corpus)))
        for block in (BLOCK, 0):
            with table.claimed((image.id, str(block))) as claimed:
                if claimed:
                    row, found = measured(image, block, corpus)
                    tasks.append(*found)
                    table.append(row)


def measured(image: LargeImage, block: int, corpus: Path) -> tuple[dict[str, object], list[dict[str, object]]]:
    """A row, and those of its tasks."""
    source = image.path(corpus)
    file = source.with_suffix(f".{block}.sspl")
    (found,) = json_lines("bench.scale.encode", str(source), str(file), "--block", str(block))
    (errors,) = json_lines("bench.scale.errors", str(source), str(file), "--block", str(BLOCK))
    tasks = [{"picture": image.id} | task for task in found.pop("tasks", ())]
    constants = {"picture": image.id, "recipe": image.recipe, "block": block, "ratio": RATIO, "effort": EFFORT}
    return constants | found | errors | provenance(), tasks


if __name__ == "__main__":
    main()
