from __future__ import annotations

from pathlib import Path

import pytest

import smartsplat
from bench.rate_distortion import prefix
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from tests.samples import landscape

PIXELS = landscape(96, 64)


@pytest.fixture(scope="module")
def data() -> bytes:
    """A file of layers and small groups."""
    encoded = smartsplat.encode(PIXELS, ratio=20, effort=1)
    quantizer = container.unpack(encoded).quantizer
    gaussians = smartsplat.open(encoded).gaussians()
    return container.pack(to_file(gaussians, quantizer, group_size=20, min_layered_count=50))


def test_rows_go_up_to_the_whole_file(data: bytes) -> None:
    rows = list(prefix.rows("landscape", PIXELS, 20, data))
    assert len(rows) > 4
    assert rows[-1]["share"] == "1.0000"
    gaussians = [int(str(row["gaussians"])) for row in rows]
    assert gaussians == sorted(set(gaussians))
    values = [float(str(row["psnr"])) for row in rows]
    assert values[-1] == max(values)


def test_prefixes_end_with_groups(data: bytes) -> None:
    for count, end in enumerate(prefix.prefixes(data), 1):
        assert smartsplat.open(data[:end], partial=True).info.groups == count


def test_the_plot_is_made(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, figure = tmp_path / "prefix.tsv", tmp_path / "prefix.svg"
    table.write_text("picture\tshare\tpsnr\na\t0.5\t20\na\t1\t30\nb\t1\t25\n")
    prefix.plot(table, figure)
    assert "per cent of the file" in figure.read_text()
