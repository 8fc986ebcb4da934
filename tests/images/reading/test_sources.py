from __future__ import annotations

import io
import os
import warnings

import pytest

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.reading.sources import (
    check_page,
    check_size,
    explained,
    length_of,
    name_of,
    plural,
    reason,
    spliced,
    stream_of,
)
from smartsplat.limits import Limits


def test_a_stream_of_pieces() -> None:
    base = io.BytesIO(b"0123456789")
    stream = spliced(base, [b"ab", (2, 3), b"", (8, 1), b"cd", (9, 0)])
    whole = b"ab2348cd"
    assert stream.read() == whole
    assert stream.read(1) == b""
    for start in range(len(whole) + 1):
        for size in range(len(whole) + 2):
            stream.seek(start)
            assert stream.read(size) == whole[start : start + size]
            assert stream.tell() == min(start + size, len(whole)) if start < len(whole) else True
    assert stream.seek(-2, os.SEEK_END) == 6
    assert stream.read() == b"cd"
    stream.seek(1)
    assert stream.seek(2, os.SEEK_CUR) == 3
    assert stream.seekable()
    assert stream.readable()
    assert length_of(stream) == len(whole)


def test_a_stream_whose_pieces_are_cut_off() -> None:
    stream = spliced(io.BytesIO(b"012"), [(1, 9), b"x"])
    assert stream.read() == b"12"
    assert stream.read() == b""


def test_streams() -> None:
    stream = io.BytesIO(b"abc")
    stream.seek(2)
    with stream_of(stream) as opened:
        assert opened.read() == b"abc"
    assert not stream.closed
    with pytest.raises(TypeError, match="not int"), stream_of(3):  # type: ignore[arg-type]
        pass


def test_sizes() -> None:
    check_size("a", 4, 5, Limits(side=5, pixels=20))
    with pytest.raises(ImageError, match=r"a: has no pixels \(0 x 5\)"):
        check_size("a", 0, 5, Limits())
    with pytest.raises(LimitError, match="a: 4 x 5 pixels, the limit is 4 a side"):
        check_size("a", 4, 5, Limits(side=4))
    with pytest.raises(LimitError, match="a: 4 x 5 pixels, the limit is 19 in all"):
        check_size("a", 4, 5, Limits(pixels=19))


def test_pages() -> None:
    assert check_page("a", None, 3) == 1
    assert check_page("a", 3, 3) == 3
    for page in (0, -1, 4):
        with pytest.raises(ImageError, match=f"a: has 3 frames, there is no frame {page}"):
            check_page("a", page, 3, "frame")
    assert plural(1, "page") == "1 page"


def test_whatever_is_raised_becomes_one_line() -> None:
    for error, text in (
        (ValueError("two\nlines"), "a: cannot be read: two lines"),
        (MemoryError(), "a: cannot be read: not enough memory"),
        (OSError(5, "Input/output error"), "a: cannot be read: Input/output error"),
        (KeyError(), "a: cannot be read: KeyError"),
    ):
        with pytest.raises(ImageError) as caught, explained("a"):
            raise error
        assert str(caught.value) == text
    with pytest.raises(LimitError, match=r"^mine$"), explained("a"):
        raise LimitError("mine")


def test_warnings_become_notices() -> None:
    with explained("a") as notices:
        warnings.warn("some\nthing", stacklevel=1)
        warnings.warn("some\nthing", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert notices == ["Pillow: some thing"]


def test_names() -> None:
    assert name_of(b"x") == name_of(memoryview(b"x")) == "<bytes>"
    assert name_of("a\nb.png") == "a b.png"
    assert name_of(io.BytesIO()) == "<stream>"
    assert reason(SyntaxError("not identified by this driver")) == "its size is zero or its header is damaged"
