"""How the test images are made."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import images


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(images.flattened(image)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_an_image_is_prepared_once_with_rounded_sides(tmp_path: Path) -> None:
    original = images.original_path(images.PICOS, tmp_path)
    original.parent.mkdir(parents=True)
    Image.new("RGB", (11, 6), "red").save(original)
    images.prepare(images.PICOS, tmp_path)
    pixels = np.load(images.prepared(images.PICOS, tmp_path).path)
    assert pixels.shape == (3, 6, 3)
    with pytest.raises(ValueError, match="SHA-256"):
        images.fetch(tmp_path, (images.PICOS,))


def test_a_mosaic_has_the_middle_of_each_image(tmp_path: Path) -> None:
    tiles = (images.PICOS, images.GLOBE, images.KLEIBER, images.PATAK)
    for tile, color in zip(tiles, ("red", "lime", "blue", "white"), strict=True):
        original = images.original_path(tile, tmp_path)
        original.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (10, 8))
        image.paste(color, (4, 4, 6, 6))
        image.save(original.with_suffix(".png"))
    at_full_size = tuple(
        dataclasses.replace(tile, file=str(Path(tile.file).with_suffix(".png")), factor=Fraction(1)) for tile in tiles
    )
    mosaic = images.Mosaic("mosaic", at_full_size, 2, (2, 4))
    whole = mosaic.pixels(tmp_path)
    assert whole.shape == (8, 4, 3)
    assert whole[2].tolist() == [[255, 0, 0]] * 2 + [[0, 255, 0]] * 2
    assert whole[6].tolist() == [[0, 0, 255]] * 2 + [[255, 255, 255]] * 2
    assert not whole[[0, 1, 4, 5]].any()


def test_a_fractal_is_its_formula_at_each_pixel() -> None:
    fractal = images.Fractal("fractal", 40, 33, -0.5 + 0.25j, 2.0)
    pixels = fractal.pixels(Path())
    assert pixels.shape == (33, 40, 3)
    for row, column in ((0, 0), (16, 20), (32, 39), (17, 3)):
        start = fractal.center + fractal.span / 40 * complex(column - 19.5, row - 16)
        z, count = 0j, 0.0
        for iteration in range(fractal.iterations):
            z = z * z + start
            if abs(z) > 4:
                count = iteration + 1 - math.log2(math.log(abs(z)))
                break
        color = [127.5 + 127.5 * math.sin(rate * count + phase) for rate, phase in ((0.11, 0), (0.13, 2), (0.17, 4))]
        assert np.abs(pixels[row, column] - np.array(color)).max() <= 1
