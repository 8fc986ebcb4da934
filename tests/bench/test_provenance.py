from __future__ import annotations

from bench.provenance import image_lines


def test_where_rows_come_from_is_said_once() -> None:
    made = {"picture": "a", "width": "8", "height": "6", "recipe": "as it is", "machine": "a machine"}
    rows = [made | {"versions": f"python 3.11.7, pillow-jxl-plugin not installed, smartsplat {n}"} for n in "122"]
    assert image_lines(rows) == [
        "Images: a (8x6, as it is).",
        "Machine: a machine.",
        "Versions: python 3.11.7, pillow-jxl-plugin not installed, smartsplat 1 and 2.",
    ]
