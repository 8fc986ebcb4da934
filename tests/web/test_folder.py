from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import smartsplat
from smartsplat.web import folder as folder_module
from smartsplat.web.folder import Folder
from smartsplat.web.iiif import RequestError
from tests.samples import landscape

DATA = smartsplat.encode(landscape(96, 64), ratio=30, steps=5, threads=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with three files, and a file beside it that nobody may see."""
    (tmp_path / "secret.sspl").write_bytes(DATA)
    root = tmp_path / "images"
    (root / "below/deeper").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("b.sspl", "a b%.sspl", "below/deeper/c.sspl", ".hidden/d.sspl", ".e.sspl"):
        (root / name).write_bytes(DATA)
    (root / "f.txt").write_text("no image")
    (root / "g.sspl").mkdir()
    (root / "out.sspl").symlink_to(tmp_path / "secret.sspl")
    (root / "in.sspl").symlink_to(root / "b.sspl")
    return root


def test_files_are_found(root: Path) -> None:
    folder = Folder(root, 1)
    assert [entry.identifier for entry in folder] == ["a b%.sspl", "b.sspl", "in.sspl", "below/deeper/c.sspl"]
    entry = folder.find("below/deeper/c.sspl")
    assert entry.size == len(DATA)
    assert folder.open(entry).read((0, 0, 96, 64), (48, 32)).shape == (32, 48, 3)


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        ".",
        "..",
        "../secret.sspl",
        "below/../../secret.sspl",
        "below/../b.sspl",
        "./b.sspl",
        "/b.sspl",
        "//b.sspl",
        "below//deeper/c.sspl",
        "b.sspl/",
        "..\\secret.sspl",
        "C:\\secret.sspl",
        "C:secret.sspl",
        "b.sspl\0.sspl",
        "\0.sspl",
        "f.txt",
        "g.sspl",
        "out.sspl",
        ".hidden/d.sspl",
        ".e.sspl",
        "missing.sspl",
        "b.SSPL",
        "x" * 5000 + ".sspl",
        "/".join(["x"] * 3000) + ".sspl",
    ],
)
def test_nothing_else_is_found(root: Path, identifier: str) -> None:
    with pytest.raises(RequestError) as caught:
        Folder(root, 1).find(identifier)
    assert caught.value.status == 404
    assert len(str(caught.value)) < 1000


def test_absolute_paths_are_none_of_the_folder(root: Path) -> None:
    with pytest.raises(RequestError, match="no image"):
        Folder(root, 1).find(str(root / "b.sspl"))


def test_a_file_is_opened_once_until_it_changes(root: Path) -> None:
    folder = Folder(root, 1)
    entry = folder.find("b.sspl")
    assert folder.opened(entry) is None
    first = folder.open(entry)
    assert folder.open(folder.find("b.sspl")) is first
    assert folder.opened(entry) is first
    other = smartsplat.encode(landscape(50, 40), ratio=30, steps=5, threads=1)
    (root / "b.sspl").write_bytes(other)
    os.utime(root / "b.sspl", ns=(1, 1))
    changed = folder.find("b.sspl")
    assert changed.version != entry.version
    assert folder.opened(changed) is None
    assert folder.open(changed).width == 50
    (root / "b.sspl").unlink()
    with pytest.raises(RequestError, match="no image"):
        folder.find("b.sspl")


def test_a_damaged_file(root: Path) -> None:
    (root / "b.sspl").write_bytes(DATA[:-5])
    folder = Folder(root, 1)
    with pytest.raises(RequestError, match=r"^b\.sspl: truncated") as caught:
        folder.open(folder.find("b.sspl"))
    assert caught.value.status == 500
    assert str(root) not in str(caught.value)


def test_few_files_stay_open(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(DATA) + 32 * smartsplat.open(DATA).info.gaussians
    monkeypatch.setattr(folder_module, "CACHE_BYTES", 2 * size)
    folder = Folder(root, 1)
    entries = list(folder)
    for entry in entries[:3]:
        folder.open(entry)
    assert [folder.opened(entry) is not None for entry in entries[:3]] == [False, True, True]
    monkeypatch.setattr(folder_module, "CACHE_BYTES", 1)
    folder.open(entries[3])
    assert [folder.opened(entry) is not None for entry in entries] == [False, False, False, True]


def test_the_list_ends(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_LISTED", 2)
    assert len(list(Folder(root, 1))) == 2


def test_colours_are_those_of_the_file(root: Path) -> None:
    folder = Folder(root, 1)
    pixels = folder.open(folder.find("b.sspl")).read((0, 0, 96, 64), (96, 64))
    assert np.array_equal(pixels, smartsplat.decode(DATA))
