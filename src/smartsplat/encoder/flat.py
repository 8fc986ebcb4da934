"""Images of one colour: one Gaussian far wider than the image, or none if that is black, and no fit."""

from __future__ import annotations

import numpy as np

from smartsplat.arrays import SampleArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import NO_EXTRAS, Extras, File
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import MAX_QUALITY, Quantizer, position_cell_log2
from smartsplat.decoder import Reader
from smartsplat.gaussians import Gaussians

MAX_SCALE = 65536.0
"""Pixels: the widest Gaussian of the format."""

QUALITY_STEP = 8
"""Between the qualities that are tried."""


def flat_file(pixels: SampleArray, extras: Extras = NO_EXTRAS) -> File | None:
    """The smallest file of an image [H, W, C] that decodes to its one colour exactly; None if it has more colours."""
    if not _is_flat(pixels):
        return None
    height, width, channels = pixels.shape
    if not pixels[0, 0].any():  # where there is no Gaussian it is black
        return File(Quantizer(0, 0, width, height, channels), (), extras)
    color = pixels[0, 0] / np.float32(np.iinfo(pixels.dtype).max)
    one = Gaussians(
        np.array([[width / 2, height / 2]], np.float32),
        np.full((1, 2), MAX_SCALE, np.float32),
        np.zeros(1, np.float32),
        np.ascontiguousarray(color[None], np.float32),
    )
    for quality in range(0, MAX_QUALITY + 1, QUALITY_STEP):
        quantizer = Quantizer(quality, position_cell_log2(width, height, 1), width, height, channels)
        file = to_file(one, quantizer)
        corners = Reader(container.pack(file)).read(size=(min(width, 3), min(height, 3)), dtype=pixels.dtype)
        if (corners == pixels[0, 0]).all():
            return File(quantizer, file.groups, extras)
    return None


def _is_flat(pixels: SampleArray) -> bool:
    """Row by row: the first that differs is enough."""
    return all(bool((row == pixels[0, 0]).all()) for row in pixels)
