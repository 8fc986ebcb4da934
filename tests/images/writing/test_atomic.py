from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from smartsplat.images.writing import atomic
from smartsplat.images.writing.atomic import check_writable, discard_unfinished, write_atomically

ROOT = Path(__file__).resolve().parents[3]


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
        write_atomically(f"{tmp_path}/missing/", lambda file: file.write(b"x"))
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


# files that can be written, but not be replaced


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EPERM])
def test_a_file_that_cannot_be_replaced_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "a.bin"
    monkeypatch.setattr(os, "replace", refuse)
    for content in (b"a longer content", b"short", b""):
        path.write_bytes(b"older one")
        before = path.stat().st_ino
        write_atomically(path, lambda file: file.write(content))  # noqa: B023
        assert path.read_bytes() == content
        assert path.stat().st_ino == before
        assert os.listdir(tmp_path) == ["a.bin"]
    with pytest.raises(OSError, match=os.strerror(code)):  # there is nothing to overwrite
        write_atomically(tmp_path / "b.bin", lambda file: file.write(b"x"))
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_folder_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    monkeypatch.setattr(atomic, "_temporary_name", lambda _: "/proc/nothing/here")
    monkeypatch.setattr(atomic, "_REFUSED", (*atomic._REFUSED, errno.ENOENT))
    write_atomically(path, lambda file: file.write(b"newer"))
    assert path.read_bytes() == b"newer"
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "b.bin", lambda file: file.write(b"x"))


def test_no_room_to_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old content survives: room is made before the first byte of it goes."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def fill(file: BinaryIO) -> None:
        file.write(bytes(20_000))
        file.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))

    path = tmp_path / "a.bin"
    path.write_bytes(b"older")
    monkeypatch.setattr(os, "replace", refuse)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(path, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["a.bin"]


MOUNTED = """
set -e
touch outside inside
mount --bind outside inside
exec "$@"
"""


def test_a_file_that_is_a_mount(tmp_path: Path) -> None:
    """As containers have them. Only a user who may mount can test it."""
    mounting = ["unshare", "--mount", "sh", "-c", MOUNTED, "sh"]
    try:
        allowed = subprocess.run([*mounting, "true"], cwd=tmp_path, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this user may not mount")
    program = (
        "from smartsplat.images.writing.atomic import write_atomically as w; w('inside', lambda f: f.write(b'through'))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([*mounting, sys.executable, "-c", program], cwd=tmp_path, check=True, env=environment)
    assert (tmp_path / "outside").read_bytes() == b"through"
    assert sorted(os.listdir(tmp_path)) == ["inside", "outside"]


# before and after


def test_a_check_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    check_writable(path)
    assert os.listdir(tmp_path) == []
    path.write_bytes(b"older")
    check_writable(path)
    assert path.read_bytes() == b"older"
    check_writable(os.devnull)


def test_a_check_fails_as_writing_would(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    for name, kind in (
        ("", IsADirectoryError),
        ("missing/", IsADirectoryError),
        ("missing/a.bin", FileNotFoundError),
        ("file/a.bin", NotADirectoryError),
        ("n" * 300, OSError),
        ("loop", OSError),
    ):
        path = f"{tmp_path}/{name}"
        with pytest.raises(kind):
            check_writable(path)
        with pytest.raises(kind):
            write_atomically(path, lambda file: file.write(b"x"))
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def test_no_name() -> None:
    with pytest.raises(FileNotFoundError):
        check_writable("")
    with pytest.raises(FileNotFoundError):
        write_atomically("", lambda file: file.write(b"x"))


def test_a_check_of_write_protected_places(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(PermissionError):
        check_writable(path)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            check_writable(tmp_path / "b.bin")
    finally:
        tmp_path.chmod(0o755)


def test_what_is_unfinished_can_be_discarded(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"x")
        assert len(os.listdir(tmp_path)) == 1
        discard_unfinished()
        assert os.listdir(tmp_path) == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", write)
    assert os.listdir(tmp_path) == []
    assert atomic._unfinished == set()
