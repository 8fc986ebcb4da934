"""The one table of results: what several processes and a run that was ended leave of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.tables import Table, read_rows


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "new" / "table.tsv", ("image", "codec", "psnr"), ("image", "codec"))


def test_rows_are_added_and_read(table: Table) -> None:
    assert table.rows() == []
    assert table.finished() == set()
    table.append({"image": "a", "codec": "jpeg", "psnr": 30})
    table.append({"image": "b", "codec": "jpeg"}, {"image": "b", "codec": "webp", "psnr": "31"})
    assert table.path.read_text() == "image\tcodec\tpsnr\na\tjpeg\t30\nb\tjpeg\t\nb\twebp\t31\n"
    assert table.finished() == {("a", "jpeg"), ("b", "jpeg"), ("b", "webp")}
    assert table.rows() == read_rows(table.path)


def test_a_line_that_was_cut_short_is_removed(table: Table) -> None:
    table.append({"image": "a", "codec": "jpeg", "psnr": 30})
    whole = table.path.read_bytes()
    with table.path.open("a") as file:
        file.write("b\tjp")
    assert table.finished() == {("a", "jpeg")}
    assert table.path.read_bytes() == whole


def test_other_columns_are_refused(table: Table) -> None:
    table.append({"image": "a", "codec": "jpeg", "psnr": 30})
    other = Table(table.path, ("image", "psnr"))
    for read in (other.rows, other.finished):
        with pytest.raises(ValueError, match="other columns than this version writes; use another --table"):
            read()
    with pytest.raises(ValueError, match="seconds"):
        table.append({"image": "a", "seconds": 1})


def test_a_row_is_claimed_once(table: Table) -> None:
    other = Table(table.path, table.columns, table.keys)
    with table.claimed(("a", "jpeg")) as claimed, other.claimed(("a", "jpeg")) as again:
        assert claimed
        assert not again
        with other.claimed(("a", "webp")) as different:
            assert different
        table.append({"image": "a", "codec": "jpeg"})
    with other.claimed(("a", "jpeg")) as finished:
        assert not finished


def test_a_new_row_takes_the_place_of_the_old(table: Table) -> None:
    table.append(*({"image": name, "codec": "jpeg", "psnr": "30"} for name in "ab"))
    table.replace([{"image": "c", "codec": "jpeg", "psnr": "32"}, {"image": "a", "codec": "jpeg", "psnr": "31"}])
    assert [(row["image"], row["psnr"]) for row in table.rows()] == [("a", "31"), ("b", "30"), ("c", "32")]
    assert [path.name for path in table.path.parent.iterdir() if path.is_file()] == ["table.tsv"]
