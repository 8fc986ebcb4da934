from __future__ import annotations

import numpy as np

from bench.paper import panels
from tests.samples import landscape

CROP = (10, 20, 40, 30)


def test_an_error_is_bright_where_it_is() -> None:
    pixels = landscape(64, 48)
    rendered = pixels.copy()
    rendered[5, 7] ^= 128
    error = np.asarray(panels.error_of(pixels, rendered))
    assert error[5, 7] == 255
    assert np.count_nonzero(error) == 1


def test_panels_side_by_side() -> None:
    pixels = landscape(64, 48)
    first = panels.panel("original", pixels, pixels, CROP)
    assert first.size == (panels.PANEL_WIDTH, 300 + panels.TITLE_HEIGHT)
    black = panels.panel("black", pixels, np.zeros_like(pixels), CROP)
    assert black.getpixel((5, panels.TITLE_HEIGHT + 5)) == (0, 0, 0)
    assert black.getpixel((panels.PANEL_WIDTH - 10, panels.TITLE_HEIGHT + 10)) != (0, 0, 0), "the inset"
    whole = panels.grid([first, black, first, black, first])
    assert whole.size == (4 * (panels.PANEL_WIDTH + 4), 2 * (first.height + 4))
