from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.rate_distortion import sheet
from smartsplat.arrays import ByteArray


def test_the_place_is_where_the_texture_is() -> None:
    pixels = np.full((640, 960, 3), 90, np.uint8)
    pixels[128:384, 512:768] = np.random.default_rng(0).integers(0, 255, (256, 256, 3))
    pixels[500] = 255  # an edge is no texture
    assert sheet.busiest(pixels, 256) == (512, 128)
    assert sheet.busiest(pixels[:40, :40], 256) == (0, 0)


def test_a_sheet(image: ByteArray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "image.png", tmp_path / "sheet.png"
    Image.fromarray(image).save(path)
    sheet.main([str(path), str(out), "--ratio", "20", "--codecs", "jpeg", "webp", "--at", "10,20"])
    titles = capsys.readouterr().out.splitlines()
    assert [title.split(",")[0] for title in titles] == ["1 jpeg", "2 webp"]
    with Image.open(out) as made:
        assert made.size == (3 * sheet.SIDE + 2 * sheet.GAP, sheet.TITLE_HEIGHT + 2 * sheet.SIDE + sheet.GAP)
        original = np.asarray(made.crop((0, sheet.TITLE_HEIGHT, 60, sheet.TITLE_HEIGHT + 50)))
        assert np.array_equal(original, image[20:70, 10:70])
        titled = np.asarray(made)
    sheet.main([str(path), str(out), "--ratio", "20", "--codecs", "jpeg", "webp", "--at", "10,20", "--blind", "1"])
    key = [title.split()[1] for title in capsys.readouterr().out.splitlines()]
    assert sorted(key) == ["jpeg,", "webp,"]
    with Image.open(out) as made:
        blind = np.asarray(made)
    places = slice(sheet.TITLE_HEIGHT, None)
    columns = [slice(at * (sheet.SIDE + sheet.GAP), at * (sheet.SIDE + sheet.GAP) + sheet.SIDE) for at in (1, 2)]
    for own, name in zip(columns, key, strict=True):
        assert np.array_equal(blind[places, own], titled[places, columns[0 if name == "jpeg," else 1]])


def test_what_cannot_be_shown(tmp_path: Path, image: ByteArray) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    for arguments in (["nothing"], [str(tmp_path / "none.png")], [str(path), "--ratio", "60000"]):
        with pytest.raises(SystemExit):
            sheet.main([arguments[0], str(tmp_path / "out.png"), *arguments[1:], "--codecs", "jpeg"])
    assert not (tmp_path / "out.png").exists()
