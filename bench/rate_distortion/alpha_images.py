"""The test images with alpha: paintings and drawings that Debian ships, fetched and checked as bench/images.py says.

Four paintings of The Battle for Wesnoth have edges both soft and hard; four drawings of the Open Clip Art Library have
hard ones and a shadow.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from bench.images import PackagedImage, original_path
from bench.rate_distortion.codecs import resized
from smartsplat.arrays import SampleArray

WESNOTH = "usr/share/games/wesnoth/1.16/data/core/images"
OPENCLIPART = "usr/share/openclipart/png"


@dataclass(frozen=True)
class AlphaImage(PackagedImage):
    """An image of a Debian package with its alpha, scaled premultiplied."""

    def pixels(self, corpus: Path) -> SampleArray:
        """uint8 [H, W, 4], not multiplied with alpha."""
        with Image.open(original_path(self, corpus)) as image:
            pixels = np.asarray(image.convert("RGBA"))
        height, width = (round(side * self.factor) for side in pixels.shape[:2])
        return resized(pixels, width, height, Image.Resampling.LANCZOS)


def painting(name: str, file: str, sha256: str) -> AlphaImage:
    """One of the paintings."""
    return AlphaImage(name, "wesnoth-1.16-data", f"{WESNOTH}/{file}", sha256, Fraction(1), "GPL-2+")


def drawing(name: str, file: str, sha256: str, factor: Fraction = Fraction(1)) -> AlphaImage:
    """One of the drawings."""
    return AlphaImage(name, "openclipart-png", f"{OPENCLIPART}/{file}", sha256, factor, "public domain")


ALPHA_IMAGES = (
    painting(
        "isar",
        "terrain/map-specific/isar-background.png",
        "70cc667839b1598a079ad396b915f242c77e22f5b75e6a8941cb9b55bcc0695d",
    ),
    painting("lich", "portraits/undead/lich.png", "bf6992e80abb010882eaabb9ac0b438f3ad19d85fb8b504a9ec75d577f6d04cb"),
    painting(
        "clasher", "portraits/drakes/clasher.png", "f5c7d8a475edab286f88caaf252013b81372db01effbfd14be3e8473a6416136"
    ),
    painting("ghost", "portraits/undead/ghost.png", "5e2363128c58afb400065e714ab25aa2f695194b0cab5596a25f109fff681ae1"),
    drawing(
        "tiger",
        "animals/mammals/big_cats/tiger_graig_ryan_smith_-_01.png",
        "0281014524ce3224c6a895242e3e1b3719a8fb7f0a8cb740faa0ba907afc3f26",
    ),
    drawing(
        "head",
        "people/man_head_mikhail_a.medve_.png",
        "886642687c8ba2dc5e2d9f6dfa1e244d3a151118391d53a12849bdf7641273d9",
        Fraction(1, 4),
    ),
    drawing(
        "phone",
        "office/telephone/mobile_phone_01.png",
        "b4212455ef1bc521145052dac12d8e1935d5029209f974bcde7acca94ba2f770",
        Fraction(1, 2),
    ),
    drawing(
        "map",
        "geography/world_map_02.png",
        "a2b7a729e02b558dbfb75765242cd68ee3ba0628b3bc00563c492f40d31947f3",
    ),
)
