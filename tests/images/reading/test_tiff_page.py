from __future__ import annotations

import sys

import numpy as np
import pytest

from smartsplat.errors import ImageError
from smartsplat.images.image import read_image
from tests.images.reading.tiff_files import Page, tiff


def random(*shape: int, kind: str = "u1") -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, shape).astype(kind)


def message(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data)
    return str(caught.value)


def test_what_cannot_be_read_is_named() -> None:
    grey = random(4, 5, 1)
    for page, words in (
        (Page(grey, tags={259: (3, [34661])}), "compressed as JBIG inside TIFF, which is not supported"),
        (Page(grey, tags={259: (3, [777])}), "compressed as number 777 inside TIFF, which is not supported"),
        (Page(grey, 32845), "colour model LogLuv is not supported"),
        (Page(grey.astype("i2")), "samples with a sign are not supported"),
        (Page(grey.astype("c8")), "complex samples are not supported"),
        (Page(grey, tags={277: (3, [9000])}), "has 9000 samples a pixel, at most 32 are supported"),
        (Page(random(4, 5, 3), 2, tags={277: (3, [2])}), "has 2 samples a pixel, RGB needs 3"),
        (Page(grey, tags={259: (3, [34887])}), "compressed as LERC inside TIFF, which is not supported"),
        (Page(grey, 3, tags={259: (3, [34712])}), "a TIFF compressed as JPEG 2000 is not supported"),
    ):
        assert words in message(tiff(page))


def test_what_needs_an_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    grey, deep = random(4, 5, 1), random(4, 5, 3, kind="u2")
    for page, words in (
        (Page(grey, tags={259: (3, [34712])}), "compressed as JPEG 2000"),
        (Page(deep, 2, tags={259: (3, [50000])}), "compressed as Zstandard"),
        (Page(deep[:, :, :1], 0, tags={259: (3, [34925])}), "compressed as LZMA"),
        (Page(grey.astype("f8")), "of floating-point samples of 64 bits"),
        (Page(deep, 2, tags={258: (3, [10, 10, 10])}), "of samples of 10 bits"),
        (Page(deep, 2, tags={258: (3, [12, 12, 12])}), "of colours of 12 bits"),
        (Page(deep, 2, tags={258: (3, [4, 4, 4])}), "of colours of 4 bits"),
        (Page(random(4, 5, 2), 1, extra=(2,), separate=True), "of grey and alpha in separate planes"),
        (Page(deep, 2, separate=True, tags={322: (3, [16]), 323: (3, [16])}), "of tiles in separate planes"),
    ):
        expected = f"<bytes>: is a TIFF {words}, which needs an extra: pip install 'smartsplat[formats]'"
        assert message(tiff(page)) == expected
