"""Names that have changed in 0.6 work until 0.7, and say what they are called now."""

from __future__ import annotations

import importlib
import io
import sys

import numpy as np
import pytest
from PIL import Image

import smartsplat
import smartsplat.pillow
from smartsplat.errors import SettingsError

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_size_is_max_bytes() -> None:
    with pytest.warns(DeprecationWarning, match=r"encode\(size=\) is now encode\(max_bytes=\)"):
        old = smartsplat.encode(IMAGE, size=300, steps=3)
    assert old == smartsplat.encode(IMAGE, max_bytes=300, steps=3)
    with pytest.warns(DeprecationWarning, match="max_bytes"), pytest.raises(SettingsError, match="old name"):
        smartsplat.encode(IMAGE, size=300, max_bytes=300)
    file = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="max_bytes"):
        Image.fromarray(IMAGE).save(file, "SSPL", size=300, steps=3)
    assert file.getvalue() == old


def test_a_picture_error_is_an_image_error() -> None:
    with pytest.warns(DeprecationWarning, match=r"smartsplat\.PictureError is now smartsplat\.ImageError"):
        old = smartsplat.PictureError
    assert old is smartsplat.ImageError
    with pytest.raises(AttributeError, match="Nonsense"):
        smartsplat.Nonsense  # noqa: B018


@pytest.mark.parametrize(("module", "name"), [("settings", "Limits"), ("fit", "Progress")])
def test_old_places(module: str, name: str) -> None:
    sys.modules.pop(f"smartsplat.{module}", None)
    with pytest.warns(DeprecationWarning, match=rf"smartsplat\.{module}\.{name} is now smartsplat\.{name}"):
        old = importlib.import_module(f"smartsplat.{module}")
    assert getattr(old, name) is getattr(smartsplat, name)
