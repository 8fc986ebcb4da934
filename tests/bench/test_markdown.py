from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench import markdown


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (99.96, "100"), (12.345, "12.3"), (0.01234, "0.0123"), (math.nan, "-")]
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert markdown.significant(value) == text


def test_numbers_that_are_missing_are_dashes() -> None:
    assert [round_(math.nan) for round_ in (markdown.signed, markdown.percent)] == ["-", "-"]
    assert markdown.fixed(math.nan, 2) == "-"
    assert (markdown.signed(1.25), markdown.percent(0.5), markdown.fixed(1, 2)) == ("+1.2", "50 %", "1.00")
    assert markdown.mean([1, math.nan, 3]) == 2
    assert math.isnan(markdown.mean([math.nan]))


def test_a_page_needs_both_marks_once(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = markdown.marks("speed")
    for text in ("", begin, f"{end} {begin}", f"{begin} {end} {begin} {end}"):
        page.write_text(text)
        with pytest.raises(ValueError, match="each once"):
            markdown.insert("new", page, "speed")
    page.write_text(f"{begin}old{end} end")
    markdown.publish("new", page, "speed")
    assert page.read_text() == f"{begin}\nnew\n{end} end"
