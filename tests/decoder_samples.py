"""Files and views that every decoder beside Python's is tried with."""

from __future__ import annotations

from typing import Any

import numpy as np

from smartsplat.bitstream import container
from smartsplat.bitstream.container import Alpha, Extras
from smartsplat.bitstream.file import to_file, to_groups
from smartsplat.bitstream.grain import to_grain
from smartsplat.bitstream.mask import to_mask
from smartsplat.bitstream.quantize import Quantizer
from tests.compare import scene

WIDTH, HEIGHT = 300, 270


def made(channels: int = 3, depth: int = 8, alpha: bool = False, **extras: Any) -> bytes:
    """A file of several groups, with alpha of both kinds if there is any."""
    of_alpha = None
    if alpha:
        quantizer = Quantizer(100, 4, WIDTH, HEIGHT, 1)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        levels = np.clip(60 - np.hypot(x - 150, y - 90), 0, 15).astype(np.uint8)
        of_alpha = Alpha(
            quantizer, to_groups(scene(40, WIDTH, HEIGHT, 1, seed=5, max_scale=40), quantizer), to_mask(levels)
        )
    whole = Extras(depth=depth, alpha=of_alpha, **extras)
    gaussians = scene(400, WIDTH, HEIGHT, channels, max_scale=9)
    return container.pack(to_file(gaussians, Quantizer(90, 3, WIDTH, HEIGHT, channels), whole, group_size=50))


KINDS: dict[str, dict[str, Any]] = {
    "grey": {"channels": 1},
    "rgb": {},
    "grey with alpha": {"channels": 1, "alpha": True},
    "rgba": {"alpha": True},
    "rgba of 16 bits": {"alpha": True, "depth": 16},
    "grain": {"grain": to_grain(np.full((2, 5, 5), 9, np.uint8), 6)},
}
VIEWS: list[dict[str, Any]] = [
    {},
    {"region": (37, 21, 201, 157)},
    {"size": (77, 300)},
    {"region": (250, 200, 50, 70), "size": (9, 11)},
]
