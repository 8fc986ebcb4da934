from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smartsplat.errors import ImageError
from smartsplat.images.image import read_image


def saved(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "GIF", **options)
    return buffer.getvalue()


def test_transparent_pixels() -> None:
    array = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.fromarray(array, "P")
    image.putpalette([9, 9, 9, 200, 100, 50, 1, 2, 3])
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=1)
    result = read_image(buffer.getvalue())
    assert result.alpha is not None
    assert np.array_equal(result.alpha, np.where(array == 1, 0, 255))
    assert result.pixels[0, 0].tolist() == [9, 9, 9]


def test_a_gif_that_is_smaller_than_its_canvas() -> None:
    frame = saved(np.full((4, 5), 9, np.uint8))
    canvas = bytearray(frame)
    canvas[6:10] = (8).to_bytes(2, "little") + (6).to_bytes(2, "little")
    start = frame.index(b",\0\0\0\0\x05\0\x04\0")
    canvas[start + 1 : start + 5] = (2).to_bytes(2, "little") + (1).to_bytes(2, "little")
    result = read_image(bytes(canvas))
    assert result.pixels.shape == (6, 8, 3)
    assert result.alpha is not None
    expected = np.zeros((6, 8), np.uint8)
    expected[1:5, 2:7] = 255
    assert np.array_equal(result.alpha, expected)
    assert (result.pixels[1:5, 2:7] == 9).all()


def test_frames_of_a_gif() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    for page, color in ((1, [255, 0, 0]), (2, [0, 128, 0]), (3, [0, 0, 255])):
        assert read_image(buffer.getvalue(), page=page).pixels[0, 0].tolist() == color


def test_what_is_left_of_a_gif() -> None:
    data = saved(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8), interlace=0)
    cut = data[: len(data) // 2]
    with pytest.raises(ImageError, match="--accept-damaged"):
        read_image(cut)
    result = read_image(cut, accept_damaged=True)
    assert result.notices[0].startswith("DAMAGED: ")
    assert np.array_equal(result.pixels[:20], read_image(data).pixels[:20])


def test_damaged_headers() -> None:
    data = saved(np.zeros((9, 8), np.uint8))
    for length in range(6, len(data) - 2):
        with pytest.raises(ImageError):
            read_image(data[:length])
