"""The small image of these tests."""

from __future__ import annotations

import numpy as np
import pytest

from smartsplat.arrays import ByteArray

HEIGHT, WIDTH = 119, 161


@pytest.fixture(scope="session")
def image() -> ByteArray:
    """Waves, an edge and noise; uint8 [119, 161, 3]."""
    row, column, channel = np.ogrid[:HEIGHT, :WIDTH, :3]
    waves = 120 + 80 * np.sin(row / (5 + channel)) * np.cos(column / 9) + 40 * (column > 2 * row)
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(waves + noise, 0, 255).astype(np.uint8)
