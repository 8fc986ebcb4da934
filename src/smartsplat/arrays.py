"""The array types that signatures name. Shapes stand where an argument is declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
SampleArray = npt.NDArray[np.unsignedinteger[Any]]
"""Code values over the full range of their type, uint8 or uint16."""
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
