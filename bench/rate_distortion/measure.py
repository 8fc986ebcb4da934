"""The rows of one image and codec, in a process of its own; prints one JSON object a ratio.

python -m bench.rate_distortion.measure IMAGE.npy CODEC RATIO [RATIO ...]

All files are made before the first is decoded, so that neither decoding nor a metric counts in the peak memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.processes import max_resident_megabytes
from bench.rate_distortion.codecs import codec
from bench.rate_distortion.perceptual import PerceptualMetrics, weights_path
from smartsplat.metrics import compare

DECODES = 5
"""Of each file, for the median of their seconds."""


def measure(
    path: Path, codec_name: str, ratios: Sequence[float], weights: Path, vgg: bool = True
) -> Iterator[dict[str, object]]:
    """The columns of each row that depend on the image's pixels.

    Args:
        path: of the pixels, uint8 [H, W, 3].
        weights: folder of the networks' weights, which need not be there.
        vgg: also DISTS and the Wasserstein distortion.
    """
    pixels = np.load(path)
    height, width = pixels.shape[:2]
    byte_budgets = [int(pixels.size / ratio) for ratio in ratios]
    tool = codec(codec_name)
    files = tool.encode(pixels, byte_budgets)
    encode_peak = max_resident_megabytes()
    perceptual = PerceptualMetrics(pixels, weights, with_vgg=vgg)

    for byte_budget, file in zip(byte_budgets, files, strict=True):
        row: dict[str, object] = {"width": width, "height": height}
        if file is None:
            yield row | {"setting": "none"}
            continue
        if len(file.data) > byte_budget:
            raise RuntimeError(f"{codec_name} made {len(file.data)} bytes for a budget of {byte_budget}")
        seconds = []
        for _ in range(DECODES):
            start = time.perf_counter()
            decoded = tool.decode(file.data, width, height)
            seconds.append(time.perf_counter() - start)
        values = compare(pixels, decoded) | perceptual.compare(decoded)
        yield (
            row
            | {name: format(value, ".6g") for name, value in values.items()}
            | {
                "setting": file.setting,
                "bytes": len(file.data),
                "ratio": format(pixels.size / len(file.data), ".6g"),
                "bpp": format(8 * len(file.data) / (width * height), ".6g"),
                "encode_seconds": format(file.seconds, ".4g"),
                "decode_seconds": format(statistics.median(seconds), ".4g"),
                "encode_peak_mb": round(encode_peak),
            }
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("codec")
    parser.add_argument("ratios", nargs="+", type=float)
    parser.add_argument("--weights", type=Path, default=weights_path(Path("corpus")))
    parser.add_argument("--without-vgg", action="store_true")
    options = parser.parse_args()
    for row in measure(options.image, options.codec, options.ratios, options.weights, not options.without_vgg):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
