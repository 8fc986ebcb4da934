from __future__ import annotations

import os
import resource
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from smartsplat.images.atomic import write_atomically


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, lambda file: file.write(b"first"))
    write_atomically(str(path), lambda file: file.write(b"2nd"))
    assert path.read_bytes() == b"2nd"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("a.bin", lambda file: file.write(b"x"))
    assert os.listdir(tmp_path) == ["a.bin"]


def test_destination_is_untouched_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("existing", [None, b"old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_everything_as_it_was(
    tmp_path: Path, existing: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    if existing is not None:
        path.write_bytes(existing)

    def write(file: BinaryIO) -> None:
        file.write(b"x" * 100_000)
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert os.listdir(tmp_path) == ([] if existing is None else ["a.bin"])
    assert existing is None or path.read_bytes() == existing


def test_ctrl_c_in_the_middle(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"x")
        signal.raise_signal(signal.SIGINT)
        file.write(b"y")

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", write)
    assert os.listdir(tmp_path) == []


def test_no_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(tmp_path / "a.bin", lambda file: file.write(bytes(10_001)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    for mask in (0o022, 0o027, 0o002):
        path = tmp_path / f"{mask:o}"
        with umask(mask):
            write_atomically(path, lambda file: file.write(b"x"))
        assert mode_of(path) == 0o666 & ~mask


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with umask(0o022):
        write_atomically(path, lambda file: file.write(b"new"))
    assert mode_of(path) == 0o640


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "a.bin", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomically(path, lambda file: file.write(b"x"))
    assert path.read_bytes() == b"x"


def test_device_and_pipe_are_written_directly(tmp_path: Path) -> None:
    write_atomically(os.devnull, lambda file: file.write(b"x"))
    assert not os.path.isfile(os.devnull)
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, lambda file: file.write(b"through"))
    reader.join()
    assert received == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_full_device() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_atomically("/dev/full", lambda file: file.write(b"x"))


def test_impossible_destinations(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        write_atomically(tmp_path / "file" / "a.bin", lambda file: file.write(b"x"))
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "a.bin", lambda file: file.write(b"x"))
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, lambda file: file.write(b"x"))
    assert os.listdir(tmp_path) == ["file"]


def test_write_protected_folder_and_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError):
        write_atomically(path, lambda file: file.write(b"x"))
    assert path.read_bytes() == b"old"
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            write_atomically(tmp_path / "b.bin", lambda file: file.write(b"x"))
    finally:
        tmp_path.chmod(0o755)
