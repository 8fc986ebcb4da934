from __future__ import annotations

import pytest

from smartsplat.cli.options import color, given, reading_options, whole_numbers
from smartsplat.errors import SettingsError


def test_what_is_given() -> None:
    assert given({"a": None, "b": False, "c": 0, "d": True, "e": ""}) == {"c": 0, "d": True, "e": ""}
    assert reading_options(None, None, False) == {}
    assert reading_options(2, "-1,1e3", True) == {"page": 2, "float_range": (-1.0, 1000.0), "accept_damaged": True}


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "2,1", "1,1", "nan,1", "0,inf"])
def test_no_range(text: str) -> None:
    with pytest.raises(SettingsError, match="--float-range wants LO,HI"):
        reading_options(None, text, False)


def test_colors() -> None:
    assert color(None) is None
    assert color("white") == (255, 255, 255)
    assert color("#f80") == color("#ff8800") == color("rgb(255, 136, 0)") == color("#ff8800ff") == (255, 136, 0)


@pytest.mark.parametrize("text", ["", "300", "1,2,3", "rgb(300,0,0)", "rgb(-1,0,0)", "#ff000080", "hsl(0)"])
def test_no_colors(text: str) -> None:
    with pytest.raises(SettingsError, match="is not a colour"):
        color(text)


def test_whole_numbers() -> None:
    assert whole_numbers(None, "x", 2, "--size", "WxH") is None
    assert whole_numbers("3X4", "x", 2, "--size", "WxH") == (3, 4)
    for text in ("", "3", "3x4x5", "1.5x2", "axb"):
        with pytest.raises(SettingsError, match="--size wants WxH in whole pixels"):
            whole_numbers(text, "x", 2, "--size", "WxH")
