"""Markdown that reports write: rows of tables, rounded numbers, and sections between marks in a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def header(*titles: str) -> list[str]:
    """The two lines that begin a table."""
    return [row(*titles), row(*("---" for _ in titles))]


def row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def rows_by_image(
    images: Iterable[str], ratios: Sequence[float], titles: Sequence[str], text: Callable[[str, float, str], str]
) -> list[str]:
    """A table with a line for each image and ratio, and a column for each title.

    Args:
        text: of a cell, by image, ratio and title.
    """
    lines = header("image", "ratio", *titles)
    for image in images:
        lines += (row(image, f"{ratio:g}", *(text(image, ratio, title) for title in titles)) for ratio in ratios)
    return lines


def fixed(value: float, digits: int) -> str:
    """So many digits behind the point; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def significant(value: float) -> str:
    """Three significant digits, or all before the point; no exponent unless the value is tiny; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def signed(value: float) -> str:
    """One digit behind the point, with the sign; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:+.1f}"


def percent(fraction: float) -> str:
    """A fraction in whole percent; "-" for NaN."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.0f} %"


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN if there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def marks(section: str) -> tuple[str, str]:
    """What begins and ends a section of a page."""
    return f"<!-- {section}:begin -->", f"<!-- {section}:end -->"


def insert(markdown: str, page: Path, section: str) -> None:
    """Replace what a page has between the marks of a section.

    Raises:
        ValueError: the page does not have both marks, each once.
    """
    begin, end = marks(section)
    text = page.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{page} must have {begin} and then {end}, each once")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n{markdown}\n{end}{after}", encoding="utf-8")


def publish(markdown: str, page: Path | None, section: str) -> None:
    """``insert``, or print it if there is no page."""
    if page is None:
        print(markdown)
    else:
        insert(markdown, page, section)
