from __future__ import annotations

import numpy as np
import pytest

from smartsplat.errors import ImageError
from smartsplat.images.color import code_points
from smartsplat.images.color.code_points import adaptation, display_light, light, to_xyz, white

TRANSFERS = (1, 4, 5, 6, 7, 8, 13, 14, 15, 16, 18)
PRIMARIES = (1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_curves_begin_at_black_rise_and_have_no_step(transfer: int) -> None:
    values = np.linspace(0, 1, 10001)
    curve = light(transfer, values)
    assert curve[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(curve) > 0).all()
    if transfer not in (16, 18):
        assert curve[-1] == pytest.approx(1)
        assert np.diff(curve).max() < 4e-4


@pytest.mark.parametrize(
    ("transfer", "value", "expected"),
    [
        (1, 0.5, 0.259589),  # ((0.5 + 0.099) / 1.099) ** (1 / 0.45)
        (4, 0.5, 0.5**2.2),
        (5, 0.5, 0.5**2.8),
        (8, 0.3, 0.3),
        (13, 0.5, 0.214041),
        (16, 0.5081, 100 / 203),  # SMPTE ST 2084: code value 0.5081 is 100 cd/m2
        (16, 0.5807, 1),  # and BT.2408 has 203 cd/m2 at 58 %
        (16, 1, 10000 / 203),
        (18, 0.5, 1 / 12),
        (18, 1, 1),
    ],
)
def test_known_values(transfer: int, value: float, expected: float) -> None:
    assert light(transfer, np.array([value]))[0] == pytest.approx(expected, rel=1e-3)


def test_white_of_hlg() -> None:
    """BT.2408 has white at 75 %."""
    scene = light(code_points.HLG, np.full((1, 1, 3), 0.75))
    assert display_light(scene, scene[:, :, 0]) == pytest.approx(1, abs=2e-3)
    peak = np.ones((1, 1, 1))
    assert display_light(peak, peak[:, :, 0]) == pytest.approx(1000 / 203)


@pytest.mark.parametrize("primaries", PRIMARIES)
def test_white_has_the_luminance_one(primaries: int) -> None:
    assert to_xyz(primaries) @ np.ones(3) == pytest.approx(white(primaries))
    assert white(primaries)[1] == 1


def test_known_matrices() -> None:
    assert to_xyz(1)[1] == pytest.approx([0.2126, 0.7152, 0.0722], abs=1e-4)
    assert to_xyz(9)[1] == pytest.approx([0.2627, 0.6780, 0.0593], abs=1e-4)
    assert to_xyz(10) == pytest.approx(np.eye(3))
    bt2020_to_bt709 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]  # BT.2087
    assert np.linalg.inv(to_xyz(1)) @ to_xyz(9) == pytest.approx(np.array(bt2020_to_bt709), abs=1e-4)


def test_adaptation_turns_one_white_into_the_other() -> None:
    assert adaptation(white(11), white(1)) @ white(11) == pytest.approx(white(1))
    assert adaptation(white(1), white(1)) == pytest.approx(np.eye(3))


def test_code_points_that_are_not_known() -> None:
    for transfer in (0, 3, 9, 255):
        with pytest.raises(ImageError, match=rf"transfer characteristics {transfer} of H\.273"):
            light(transfer, np.zeros(1))
    with pytest.raises(ImageError, match=r"primaries 23 of H\.273"):
        to_xyz(23)
