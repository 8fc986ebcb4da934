"""One measurement in a process of its own, so that its peak memory is its own; prints one JSON object.

python -m bench.measure PICTURE.npy CODEC BYTE_BUDGET_RATIO
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from bench.codecs import BudgetError, codec
from smartsplat.metrics import compare

DECODES = 5


def measure(path: Path, codec_name: str, ratio: float) -> dict[str, object]:
    """The columns of one row that depend on the picture's pixels."""
    pixels = np.load(path)  # uint8 [H, W, 3]
    height, width = pixels.shape[:2]
    byte_budget = int(pixels.size / ratio)
    row: dict[str, object] = {"width": width, "height": height}
    tool = codec(codec_name)

    start = time.perf_counter()
    try:
        data, setting = tool.encode(pixels, byte_budget)
    except BudgetError:
        return row | {"setting": "none"}
    encode_seconds = time.perf_counter() - start
    encode_peak = peak_megabytes()  # before decoding and the metrics can raise it
    if len(data) > byte_budget:
        raise RuntimeError(f"{codec_name} made {len(data)} bytes for a budget of {byte_budget}")

    seconds = []
    for _ in range(DECODES):
        start = time.perf_counter()
        decoded = tool.decode(data, width, height)
        seconds.append(time.perf_counter() - start)
    values = {name: format(value, ".6g") for name, value in compare(pixels, decoded).items()}
    return (
        row
        | values
        | {
            "setting": setting,
            "bytes": len(data),
            "ratio": format(pixels.size / len(data), ".6g"),
            "bpp": format(8 * len(data) / (width * height), ".6g"),
            "encode_seconds": format(encode_seconds, ".4g"),
            "decode_seconds": format(statistics.median(seconds), ".4g"),
            "encode_peak_mb": round(encode_peak),
        }
    )


def peak_megabytes() -> float:
    """The largest resident memory so far of this process or of one that it started, interpreter included."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit / 1e6


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
