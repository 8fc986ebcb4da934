"""The array types that signatures of this package name, beside those of ``smartsplat.arrays``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

RealArray = npt.NDArray[np.floating[Any]]
"""Any floating-point type: float32 in a fit, float64 where gradients are checked."""

ParameterArrays = dict[str, RealArray]
"""Parameters, or gradients by them, by name: [N, k] each."""
