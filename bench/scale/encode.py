"""Encodes one image and says what that took, as a line of JSON: in a process of its own, for its peak memory.

python -m bench.scale.encode IMAGE.tif OUT.sspl --block 4096
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import smartsplat
from bench.processes import max_resident_megabytes
from bench.scale.tasks import Stopwatch
from smartsplat.images.image import read_image

RATIO, EFFORT = 200, 1


def measured(image: Path, out: Path, block: int) -> dict[str, object]:
    """Seconds of the stages of an encode, peak memory, and the tasks of its blocks if it is fitted in blocks."""
    begin = time.perf_counter()
    source = read_image(image)
    read = time.perf_counter()
    stopwatch = Stopwatch()
    data = smartsplat.encode(source, ratio=RATIO, effort=EFFORT, block=block, runner=stopwatch.runner)
    end = time.perf_counter()
    out.write_bytes(data)
    found: dict[str, object] = {
        "width": source.width,
        "height": source.height,
        "bytes": len(data),
        "seconds": round(end - begin, 2),
        "read_seconds": round(read - begin, 2),
        "peak_mb": round(max_resident_megabytes()),
    }
    if block:
        (survey, *rounds, grain) = stopwatch.stages
        found |= {
            "survey_seconds": _length(survey),
            "coarse_seconds": round(rounds[0][0] - survey[1], 2),
            "rounds_seconds": round(sum(map(_length, rounds)), 2),
            "between_seconds": round(sum(later[0] - earlier[1] for earlier, later in itertools.pairwise(rounds)), 2),
            "coding_seconds": round(end - read - (grain[1] - survey[0]) + grain[0] - rounds[-1][1], 2),
            "grain_seconds": _length(grain),
            "tasks": stopwatch.tasks,
        }
    return found


def _length(stage: tuple[float, float]) -> float:
    """Seconds."""
    return round(stage[1] - stage[0], 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--block", type=int, required=True, help="pixels; 0: whole")
    options = parser.parse_args()
    print(json.dumps(measured(options.image, options.out, options.block)))


if __name__ == "__main__":
    main()
