from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import ImageCms

from smartsplat.images.color.matrix_profile import matrix_profile
from tests.samples import cmyk_profile, gamma_profile
from tests.samples import matrix_profile as made

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLUMNS = ((0.6, 0.3, 0.02), (0.2, 0.6, 0.06), (0.15, 0.1, 0.7))
VALUES = np.linspace(0, 1, 101)


def parametric(kind: int, *numbers: float) -> bytes:
    fixed = (round(65536 * number) for number in numbers)
    return b"para" + bytes(4) + struct.pack(f">Hxx{len(numbers)}i", kind, *fixed)


def table(*numbers: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(numbers)}H", len(numbers), *numbers)


def test_a_profile_of_srgb() -> None:
    found = matrix_profile(SRGB, VALUES)
    assert found is not None
    assert found.to_xyz is not None
    expected = np.where(VALUES <= 0.04045, VALUES / 12.92, ((VALUES + 0.055) / 1.055) ** 2.4)
    assert found.curves == pytest.approx(np.stack([expected] * 3), abs=1e-4)
    assert found.to_xyz @ np.ones(3) == pytest.approx([0.9642, 1, 0.8249], abs=1e-3), "white is D50"


def test_a_profile_of_grey() -> None:
    found = matrix_profile(gamma_profile(1.8), VALUES)
    assert found is not None
    assert found.to_xyz is None
    assert found.curves == pytest.approx(VALUES[None] ** (round(1.8 * 256) / 256))


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (table(), VALUES),
        (table(512), VALUES**2),
        (table(0, 65535, 0), 1 - np.abs(2 * VALUES - 1)),
        (parametric(0, 3), VALUES**3),
        (parametric(1, 2, 2, -0.5), np.maximum(2 * VALUES - 0.5, 0) ** 2),
        (parametric(2, 2, 1, -0.5, 0.25), np.maximum(VALUES - 0.5, 0) ** 2 + 0.25),
        (parametric(3, 2, 1, 0, 0.5, 0.25), np.where(VALUES < 0.25, VALUES / 2, VALUES**2)),
        (parametric(4, 2, 1, 0, 0.5, 0.25, 0.1, 0.05), np.where(VALUES < 0.25, VALUES / 2 + 0.05, VALUES**2 + 0.1)),
    ],
)
def test_curves(curve: bytes, expected: np.ndarray) -> None:
    found = matrix_profile(made(curve, table(), table(256), columns=COLUMNS), VALUES)
    assert found is not None
    assert found.curves == pytest.approx(np.stack([expected.clip(0, 1), VALUES, VALUES]), abs=1e-4)
    assert found.to_xyz == pytest.approx(np.array(COLUMNS).T, abs=1e-4)


def test_profiles_of_another_kind() -> None:
    assert matrix_profile(cmyk_profile(), VALUES) is None
    plain = [table()] * 3
    assert matrix_profile(made(*plain, columns=COLUMNS), VALUES) is not None
    assert matrix_profile(made(*plain, columns=COLUMNS, A2B0=b"mft2" + bytes(60)), VALUES) is None


@pytest.mark.parametrize(
    "curve",
    [
        b"",
        b"what" + bytes(20),
        b"curv" + bytes(4) + b"\xff\xff\xff\xff",
        parametric(7, 1),
        parametric(3, 1),
        parametric(1, 2, 0, 1),
        parametric(0, -2),
    ],
)
def test_damaged_curves(curve: bytes) -> None:
    assert matrix_profile(made(curve, table(), table(), columns=COLUMNS), VALUES) is None


def test_damaged_profiles() -> None:
    for size in range(0, len(SRGB), 7):
        matrix_profile(SRGB[:size], VALUES)
    assert matrix_profile(b"", VALUES) is None
    assert matrix_profile(SRGB[:128] + b"\xff" * 400, VALUES) is None
