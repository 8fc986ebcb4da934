"""ICC profiles that are curves and a matrix, evaluated in float64.

These are the profiles of cameras, editors and screens. LittleCMS evaluates them in 8 bits, or in 16 with tables that
are off by up to 2 % in the shadows; both are too coarse to compare images of 16 bits.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from smartsplat.arrays import DoubleArray

_TABLES = (b"A2B", b"B2A", b"D2B")
"""How tags of tables begin; where there are some, they outrank the matrix."""

_PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
"""Kind of a parametric curve -> how many it has."""


@dataclass(frozen=True)
class MatrixProfile:
    """Curves and a matrix.

    Args:
        curves: [C, n] light, 0 to 1, for each of n values, C = 1 or 3.
        to_xyz: [3, 3] from light to XYZ under D50, of RGB; None of grey.
    """

    curves: DoubleArray
    to_xyz: DoubleArray | None


def matrix_profile(icc: bytes, values: DoubleArray) -> MatrixProfile | None:
    """What a profile says, with its curves at ``values``, [n] from 0 to 1; None if it is damaged or of another kind."""
    try:
        tags = _tags(icc)
        if icc[20:24] != b"XYZ " or any(tag.startswith(_TABLES) for tag in tags):
            return None
        if icc[16:20] == b"GRAY":
            return MatrixProfile(_curve(tags[b"kTRC"], values)[None], None)
        curves = [_curve(tags[tag], values) for tag in (b"rTRC", b"gTRC", b"bTRC")]
        columns = [struct.unpack_from(">3i", tags[tag], 8) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]
        return MatrixProfile(np.stack(curves), np.array(columns).T / 65536)
    except (KeyError, ValueError, ArithmeticError, struct.error):
        return None


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The tags of a profile; struct.error: they end early."""
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(min(count, len(icc))))
    return {tag: icc[start : start + size] for tag, start, size in entries}


def _curve(tag: bytes, values: DoubleArray) -> DoubleArray:
    """A tone curve at values of 0 to 1."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return values
        if count == 1:
            (exponent,) = struct.unpack_from(">H", tag, 12)
            return np.asarray(values ** (exponent / 256))
        table = np.frombuffer(tag, ">u2", count, 12) / 65535
        return np.interp(values, np.linspace(0, 1, count), table)
    if tag[:4] != b"para":
        raise ValueError("neither a table nor a parametric curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    numbers = [number / 65536 for number in struct.unpack_from(f">{_PARAMETERS[kind]}i", tag, 12)]
    numbers += (1.0, 0.0, 0.0, -math.inf, 0.0, 0.0)[len(numbers) - 1 :]
    exponent, a, b, c, d, e, f = numbers
    if kind in (1, 2):  # the straight part is a constant
        c, d, e, f = 0, -b / a, c, c
    with np.errstate(all="ignore"):  # of exponents that make no sense
        power = np.maximum(a * values + b, 0) ** exponent + e
    curve = np.where(values >= d, power, c * values + f)
    if not np.isfinite(curve).all():
        raise ValueError("a tone curve without end")
    return np.asarray(curve.clip(0, 1))
