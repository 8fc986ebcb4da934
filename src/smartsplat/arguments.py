"""Checks of arguments that several functions take: each error says which one, what it was, and what it may be."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.errors import SettingsError
from smartsplat.threads import available_threads

Background = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


def whole_number(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer in a range, bool excluded; SettingsError for anything else."""
    kind = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"
    try:
        number = operator.index(value)
    except TypeError:
        raise SettingsError(f"{name} must be {kind}, not {value!r}") from None
    if isinstance(value, bool) or number < low or (high is not None and number > high):
        raise SettingsError(f"{name} must be {kind}, not {value!r}")
    return number


def whole_numbers(name: str, value: Any, words: Sequence[str]) -> tuple[int, ...]:
    """As many integers as there are words, which name them."""
    expected = f"{name} must be {len(words)} whole numbers, {', '.join(words)}, not {value!r}"
    if isinstance(value, str | bytes):
        raise SettingsError(expected)
    try:
        numbers = tuple(operator.index(number) for number in value)
    except TypeError:
        raise SettingsError(expected) from None
    if len(numbers) != len(words):
        raise SettingsError(expected)
    return numbers


def positive_number(name: str, value: Any) -> float:
    """A finite number above 0."""
    if isinstance(value, bool | str | bytes) or not isinstance(value, int | float | np.number):
        raise SettingsError(f"{name} must be a positive number, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(f"{name} must be a positive number, not {value}")
    return float(value)


def thread_count(threads: Any) -> int:
    """``threads``, or all there are for None."""
    return available_threads() if threads is None else whole_number("threads", threads, 1)


def background_color(value: Any) -> Background:
    """Three integers of 0 to 255."""
    red, green, blue = whole_numbers("background", value, ("red", "green", "blue"))
    if not all(0 <= number <= 255 for number in (red, green, blue)):
        raise SettingsError(f"background must be three numbers from 0 to 255, not {value!r}")
    return red, green, blue


def sample_type(dtype: npt.DTypeLike | None, depth: int) -> np.dtype[Any]:
    """uint8 or uint16; for None what holds so many bits."""
    if dtype is None:
        return np.dtype(np.uint8 if depth <= 8 else np.uint16)
    try:
        chosen = np.dtype(dtype)
    except TypeError:
        raise SettingsError(f"dtype must be uint8 or uint16, not {dtype!r}") from None
    if chosen not in (np.uint8, np.uint16):
        raise SettingsError(f"dtype must be uint8 or uint16, not {chosen}")
    return chosen
