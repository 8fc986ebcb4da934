from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from smartsplat.cli.files import NamedBytes, Overwriting, check_output, has_content, head_of, named, open_input
from smartsplat.errors import FormatError, ImageError, SettingsError

ANY = Overwriting(False, False, lambda head: True, "")


def test_a_pipe_is_read_once_and_keeps_its_name(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"0123456789abcdefghi"))
    writer.start()
    content = open_input(str(pipe))
    writer.join()
    assert isinstance(content, NamedBytes)
    assert content.name == str(pipe)
    assert head_of(content) == b"0123456789abcdef"
    assert content.read() == b"0123456789abcdefghi"


def test_a_file_stays_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789abcdefghi")
    assert open_input(str(path)) == str(path)
    assert head_of(str(path)) == b"0123456789abcdef"


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 300])
def test_no_inputs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        open_input(str(tmp_path / name))
    if name != "missing":
        with pytest.raises(ImageError, match="cannot be written"):
            check_output(str(tmp_path / name), [], ANY)


def test_names_stand_once() -> None:
    assert str(named(FormatError("damaged"), "a")) == "a: damaged"
    assert str(named(FormatError("a: damaged"), "a")) == "a: damaged"
    assert isinstance(named(SettingsError("no"), "a"), SettingsError)
    assert str(named(FormatError("truncated"), "t")) == "t: truncated", "a name that the message happens to begin with"


def test_what_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    check_output(str(path), [], ANY)
    picky = Overwriting(False, False, lambda head: head != b"content", "is precious")
    with pytest.raises(ImageError, match="is precious; --force replaces it"):
        check_output(str(path), [], picky)
    check_output(str(path), [], Overwriting(True, False, picky.replaceable, ""))
    with pytest.raises(ImageError, match="--no-overwrite"):
        check_output(str(path), [], Overwriting(False, True, ANY.replaceable, ""))
    with pytest.raises(ImageError, match="is an input"):
        check_output(str(path), ["missing", str(path)], Overwriting(True, False, ANY.replaceable, ""))
    with pytest.raises(SettingsError, match="exclude"):
        Overwriting(True, True, ANY.replaceable, "")
    check_output(os.devnull, [os.devnull], ANY)  # a device is no file to lose
    assert path.read_bytes() == b"content"


def test_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert not has_content(str(path))
    path.touch()
    assert not has_content(str(path))
    path.write_bytes(b"x")
    assert has_content(str(path))
    assert not has_content(os.devnull)
    assert not has_content("-")
