"""Code points of ITU-T H.273: primaries and transfer characteristics as matrices and curves, in float64.

Light is relative to white. Of HDR (PQ, HLG) white is 203 cd/m2, as ITU-R BT.2408 has it.
"""

from __future__ import annotations

import numpy as np

from smartsplat.arrays import DoubleArray
from smartsplat.errors import ImageError
from smartsplat.metadata import SRGB_TRANSFER

PQ, HLG = 16, 18
HDR_WHITE = 203.0  # cd/m2
PQ_PEAK = 10000.0  # cd/m2
HLG_PEAK = 1000.0  # cd/m2 of the display that HLG is graded on, for which its exponent is 1.2
HLG_EXPONENT = 1.2

_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
_CHROMATICITIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),  # BT.709
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), _C),  # BT.470, system M
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),  # BT.601, 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),  # BT.601, 525 lines
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),  # SMPTE ST 240
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),  # film
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),  # BT.2020
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),  # CIE 1931 XYZ
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),  # P3 of the cinema
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),  # EBU Tech 3213
}
"""Code point of primaries -> x, y of red, green, blue and white."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def light(transfer: int, values: DoubleArray) -> DoubleArray:
    """Light for values of 0 to 1, by transfer characteristics; of HLG the light of the scene, else of the display.

    ImageError: they are not known.
    """
    if transfer in (1, 6, 14, 15):  # BT.709, BT.601, BT.2020
        a, b = 1.09929682680944, 0.018053968510807  # with which the two parts meet
        return np.where(values < 4.5 * b, values / 4.5, ((values + a - 1) / a) ** (1 / 0.45))
    if transfer == 7:  # SMPTE ST 240
        a, b = 1.111572195921731, 0.022821585529445
        return np.where(values < 4 * b, values / 4, ((values + a - 1) / a) ** (1 / 0.45))
    if transfer in (4, 5):
        return np.asarray(values ** (2.2 if transfer == 4 else 2.8))
    if transfer == 8:
        return values
    if transfer == SRGB_TRANSFER:
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    if transfer == PQ:  # SMPTE ST 2084
        root = values ** (32 / 2523)
        fraction = (root - 107 / 128).clip(0) / (2413 / 128 - 2392 / 128 * root)
        return np.asarray(PQ_PEAK / HDR_WHITE * fraction ** (8192 / 1305))
    if transfer == HLG:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    raise ImageError(f"colours with transfer characteristics {transfer} of H.273 cannot be brought into sRGB")


def display_light(scene: DoubleArray, luminance: DoubleArray) -> DoubleArray:
    """What a display makes of HLG's light of a scene, [h, W, C] with its luminance [h, W]."""
    return np.asarray(HLG_PEAK / HDR_WHITE * scene * (luminance ** (HLG_EXPONENT - 1))[:, :, None])


def to_xyz(primaries: int) -> DoubleArray:
    """From linear RGB to XYZ, [3, 3]; white has the luminance 1. ImageError: the primaries are not known."""
    if primaries not in _CHROMATICITIES:
        raise ImageError(f"colours with primaries {primaries} of H.273 cannot be brought into sRGB")
    columns = np.array([_xyz(*point) for point in _CHROMATICITIES[primaries]]).T
    return np.asarray(columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3]))


def white(primaries: int) -> DoubleArray:
    """XYZ of white, which has the luminance 1."""
    return np.array(_xyz(*_CHROMATICITIES[primaries][3]))


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    """XYZ of a chromaticity, at the luminance 1 unless it has none."""
    scale = y or 1.0
    return x / scale, y / scale, (1 - x - y) / scale


def adaptation(source: DoubleArray, target: DoubleArray) -> DoubleArray:
    """From colours under one white, XYZ [3], to colours under another, [3, 3], after Bradford."""
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ target / (_BRADFORD @ source)) @ _BRADFORD)
