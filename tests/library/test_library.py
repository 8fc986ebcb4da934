"""libsspl, the C library: what it gives is what Python gives, and what is wrong is said in a line."""

from __future__ import annotations

import ctypes
import math
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import smartsplat
from smartsplat.images.flatten import flattened
from smartsplat.metadata import Metadata
from tests.bitstream.test_container import build, chunks_of, mended
from tests.decoder_samples import HEIGHT, KINDS, VIEWS, WIDTH, made

ROOT = Path(__file__).resolve().parents[2]
ROWS_STEP = 256
FORMAT, UNSUPPORTED, LIMIT, ARGUMENT, READ = range(1, 6)  # sspl_status
NEEDED = {"cmake": "cmake", "c++": "g++", "pkg-config": "pkg-config", "gdk-pixbuf-thumbnailer": "libgdk-pixbuf2.0-bin"}


@pytest.fixture(scope="session")
def prefix() -> Path:
    """Where the library is installed."""
    if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: scripts/library packages")
    ran = subprocess.run([ROOT / "scripts/library"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stderr, ran.stderr
    return Path(ran.stdout.strip())


class Error(ctypes.Structure):
    _fields_ = (("status", ctypes.c_int), ("message", ctypes.c_char * 240))


class Limits(ctypes.Structure):
    _names = ("side", "pixels", "gaussians", "file_bytes", "metadata_bytes", "overlap", "output_pixels")
    _fields_ = tuple(zip(_names, [ctypes.c_uint64] * len(_names), strict=True))


class Options(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("threads", ctypes.c_uint32),
        ("partial", ctypes.c_uint32),
        ("limits", Limits),
    )


class Info(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_uint32) for name in ("width", "height", "channels", "depth", "primaries", "transfer")),
        *((name, ctypes.c_uint32) for name in ("density_across", "density_down")),
        ("gaussians", ctypes.c_uint64),
    )


class Request(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_double) for name in ("x", "y", "width", "height")),
        *((name, ctypes.c_uint32) for name in ("columns", "rows", "channels", "bits", "no_grain")),
        ("background", ctypes.c_uint8 * 4),
        ("preview", ctypes.c_uint32),
    )


ReadFunction = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Library:
    """The functions of sspl.h, with errors as exceptions: (status, line)."""

    def __init__(self, prefix: Path) -> None:
        self.c = ctypes.CDLL(str(prefix / "lib/libsspl.so.0"))
        for name in ("sspl_open_memory", "sspl_open_file", "sspl_open_callback", "sspl_get_metadata"):
            getattr(self.c, name).restype = ctypes.c_void_p
        self.c.sspl_close.argtypes = [ctypes.c_void_p]

    def open(self, data: bytes, **options: Any) -> Opened:
        given = Options()
        self.c.sspl_options_init(ctypes.byref(given), ctypes.c_size_t(ctypes.sizeof(given)))
        for name, value in options.items():
            setattr(given.limits if hasattr(given.limits, name) else given, name, value)
        error = Error()
        size = ctypes.c_size_t(len(data))
        handle = self.c.sspl_open_memory(data, size, ctypes.byref(given), ctypes.byref(error))
        return Opened(self, handle, error, data)


class Opened:
    """An image of the library."""

    def __init__(self, library: Library, handle: int | None, error: Error, data: object = None) -> None:
        self.c, self.handle, self.kept = library.c, ctypes.c_void_p(handle), data
        assert (handle is None) == (error.status != 0)
        check(error.status, error)

    def __del__(self) -> None:
        self.c.sspl_close(self.handle)

    @property
    def info(self) -> Info:
        found = Info()
        self.c.sspl_get_info(self.handle, ctypes.byref(found), ctypes.c_size_t(ctypes.sizeof(found)))
        return found

    def request(self, **fields: Any) -> Request:
        request = Request()
        self.c.sspl_request_init(ctypes.byref(request), ctypes.c_size_t(ctypes.sizeof(request)))
        for name, value in fields.items():
            setattr(request, name, (ctypes.c_uint8 * 4)(*value, 0) if name == "background" else value)
        return request

    def out(self, request: Request) -> np.ndarray:
        """What the request fills, with a number that nothing of it is."""
        info = self.info
        columns = request.columns or int(request.width) or info.width
        rows = request.rows or int(request.height) or info.height
        wide = request.bits == 16 or (request.bits == 0 and info.depth > 8)
        shape = (rows, columns, request.channels or info.channels)
        return np.full(shape, 77, np.uint16 if wide else np.uint8)

    def read(self, **fields: Any) -> np.ndarray:
        request, error = self.request(**fields), Error()
        out = self.out(request)
        pixels, stride = out.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(0)
        status = self.c.sspl_read(self.handle, ctypes.byref(request), pixels, stride, ctypes.byref(error))
        check(status, error)
        return out

    def read_in_parts(self, **fields: Any) -> np.ndarray:
        request, error = self.request(**fields), Error()
        out = self.out(request)
        check(self.c.sspl_begin(self.handle, ctypes.byref(request), ctypes.byref(error)), error)
        for top in range(0, len(out), ROWS_STEP):
            part = out[top : top + ROWS_STEP]
            pixels, stride = part.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(part.strides[0])
            check(self.c.sspl_read_rows(self.handle, top, len(part), pixels, stride, ctypes.byref(error)), error)
        return out

    def metadata(self, kind: int) -> bytes | None:
        size, error = ctypes.c_size_t(), Error()
        found = self.c.sspl_get_metadata(self.handle, kind, ctypes.byref(size), ctypes.byref(error))
        check(error.status, error)
        return None if found is None else ctypes.string_at(found, size.value)


def check(status: int, error: Error) -> None:
    assert status == error.status
    if status:
        (line,) = error.message.decode().splitlines()
        raise RuntimeError(status, line)


@pytest.fixture(scope="session")
def library(prefix: Path) -> Library:
    return Library(prefix)


def fields_of(view: dict[str, Any]) -> dict[str, int]:
    names = dict(zip(("x", "y", "width", "height"), view.get("region", ()), strict=False))
    return names | dict(zip(("columns", "rows"), view.get("size", ()), strict=False))


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_python(library: Library, kind: str, view: dict[str, Any]) -> None:
    data = made(**KINDS[kind])
    image = library.open(data, threads=2)
    expected = smartsplat.decode(data, **view)
    assert np.array_equal(image.read(**fields_of(view)), expected)
    assert np.array_equal(image.read_in_parts(**fields_of(view)), expected)
    assert np.array_equal(image.read(bits=16, **fields_of(view)), smartsplat.decode(data, dtype=np.uint16, **view))
    without = smartsplat.decode(data, grain=False, **view)
    assert np.array_equal(image.read(no_grain=1, **fields_of(view)), without)
    assert np.array_equal(image.read(preview=1, **fields_of(view)), smartsplat.decode(data, preview=True, **view))
    if kind == "grain" and "size" not in view:  # at a fifth of the size nothing of it is left
        assert not np.array_equal(without, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_regions_between_pixels(library: Library, kind: str) -> None:
    """They are windows of one image that is enlarged, up to the rounding of a coordinate, also beyond its edge."""
    image = library.open(made(**KINDS[kind]))
    enlarged = image.read(columns=2 * WIDTH, rows=2 * HEIGHT, bits=8).astype(int)
    window = image.read(x=10.5, y=20.5, width=101, height=50.5, columns=202, rows=101, bits=8)
    assert np.abs(window - enlarged[41:142, 21:223]).max() <= 1
    corner = image.read(x=-0.5, y=HEIGHT - 9.5, width=20, height=10, columns=40, rows=20, bits=8)
    assert np.abs(corner[:-1, 1:] - enlarged[-19:, :39]).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_as_textures_want_them(library: Library, kind: str, bits: int) -> None:
    data = made(**KINDS[kind])
    pixels = smartsplat.decode(data, dtype=f"uint{bits}")
    has_alpha = pixels.shape[2] % 2 == 0
    color = np.broadcast_to(pixels[..., :-1] if has_alpha else pixels, (HEIGHT, WIDTH, 3 if pixels.shape[2] > 2 else 1))
    color = np.ascontiguousarray(np.broadcast_to(color, (HEIGHT, WIDTH, 3)))
    alpha = pixels[..., -1] if has_alpha else np.full((HEIGHT, WIDTH), (1 << bits) - 1, pixels.dtype)
    image = library.open(data)
    assert np.array_equal(image.read(channels=4, bits=bits), np.dstack([color, alpha]))
    for ground in ((0, 0, 0), (10, 200, 30)):
        assert np.array_equal(image.read(channels=3, bits=bits, background=ground), flattened(color, alpha, ground))


def test_info_and_metadata(library: Library) -> None:
    icc, exif = bytes(range(256)) * 3, b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    data = made(
        alpha=True, depth=10, metadata=Metadata(icc=icc, exif=exif, primaries=9, transfer=16, density=(3937, 4000))
    )
    image = library.open(data)
    info, reader = image.info, smartsplat.open(data)
    assert (info.width, info.height, info.channels, info.depth) == (WIDTH, HEIGHT, 4, 10)
    assert (info.primaries, info.transfer, info.density_across, info.density_down) == (9, 16, 3937, 4000)
    assert info.gaussians == reader.info.gaussians
    assert [image.metadata(kind) for kind in range(5)] == [icc, exif, None, None, None]
    with pytest.raises(RuntimeError, match="no such metadata"):
        image.metadata(5)


def test_metadata_that_is_damaged(library: Library) -> None:
    parts = chunks_of(made(metadata=Metadata(icc=bytes(1000))))
    for body, size in ((zlib.compress(bytes(999)), 1000), (zlib.compress(bytes(1001)), 1000), (b"no", 1000), (b"", 5)):
        data = build([(b"iccp", body, size), *parts[1:]], count=400, width=WIDTH, height=HEIGHT, quality=90)
        image = library.open(data)
        with pytest.raises(RuntimeError, match="chunk 0 is damaged") as caught:
            image.metadata(0)
        assert caught.value.args[0] == FORMAT
    with pytest.raises(RuntimeError) as caught:
        library.open(data, metadata_bytes=4)
    assert caught.value.args[0] == LIMIT


def test_structs_of_other_versions(library: Library) -> None:
    """A program that knows less, or more, than the library."""
    image = library.open(made())
    short = Info()
    short.transfer = 99
    library.c.sspl_get_info(image.handle, ctypes.byref(short), ctypes.c_size_t(Info.primaries.offset))
    assert (short.width, short.depth, short.primaries, short.transfer) == (WIDTH, 8, 0, 99)

    class Later(ctypes.Structure):
        _fields_ = (("now", Info), ("more", ctypes.c_uint64))

    later = Later(more=5)
    library.c.sspl_get_info(image.handle, ctypes.byref(later), ctypes.c_size_t(ctypes.sizeof(later)))
    assert (later.now.width, later.now.gaussians, later.more) == (WIDTH, 400, 0)
    request = image.request(columns=20, rows=10, channels=4)
    request.struct_size = Request.channels.offset  # an older program does not know of channels
    out, error = np.empty((10, 20, 3), np.uint8), Error()
    pixels = out.ctypes.data_as(ctypes.c_void_p)
    assert library.c.sspl_read(image.handle, ctypes.byref(request), pixels, ctypes.c_size_t(0), None) == 0
    assert np.array_equal(out, image.read(columns=20, rows=10))
    assert library.c.sspl_read(image.handle, None, None, ctypes.c_size_t(1), ctypes.byref(error)) == ARGUMENT


def test_rows_may_lie_apart(library: Library) -> None:
    data = made(alpha=True)
    image, request = library.open(data), None
    for channels in (0, 3):
        request = image.request(channels=channels)
        whole = image.read(channels=channels)
        out = np.full((HEIGHT, WIDTH * whole.shape[2] + 13), 77, np.uint8)
        pixels, stride = out.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(out.shape[1])
        assert library.c.sspl_read(image.handle, ctypes.byref(request), pixels, stride, None) == 0
        assert np.array_equal(out[:, :-13].reshape(whole.shape), whole)
        assert np.all(out[:, -13:] == 77)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"x": 1}, ARGUMENT),
        ({"x": 299, "width": 3, "height": 1}, ARGUMENT),
        *(({"x": x, "width": 2, "height": 1}, ARGUMENT) for x in (1e300, math.nan, math.inf)),
        *(({"width": width, "height": 1}, ARGUMENT) for width in (math.nan, 1e300, -5, 1.5)),
        ({"x": -1.5, "width": 9, "height": 9}, ARGUMENT),
        ({"width": WIDTH, "height": HEIGHT + 3, "columns": WIDTH, "rows": HEIGHT}, ARGUMENT),
        ({"width": 1e-3, "height": 1, "columns": 100, "rows": 1}, ARGUMENT),
        ({"columns": 5}, ARGUMENT),
        ({"channels": 2}, ARGUMENT),
        ({"bits": 9}, ARGUMENT),
        ({"columns": (1 << 22) + 1, "rows": 1}, LIMIT),
        ({"columns": 60_000, "rows": 60_000}, LIMIT),
        ({"columns": (1 << 32) - 1, "rows": (1 << 32) - 1}, LIMIT),
    ],
)
def test_requests_that_make_no_sense(library: Library, fields: dict[str, float], status: int) -> None:
    image = library.open(made())
    request, error = image.request(**fields), Error()
    for call in (image.c.sspl_read, image.c.sspl_begin):
        more = (None, ctypes.c_size_t(0)) if call is image.c.sspl_read else ()
        assert call(image.handle, ctypes.byref(request), *more, ctypes.byref(error)) == status
        with pytest.raises(RuntimeError):
            check(status, error)
    nothing_begun = image.c.sspl_read_rows(image.handle, 0, 256, None, ctypes.c_size_t(0), ctypes.byref(error))
    assert nothing_begun == ARGUMENT
    for top, rows in ((0, 100), (1, 256), (256, 15), (512, 1), (0, 0), (256, (1 << 32) - 1)):
        check(image.c.sspl_begin(image.handle, None, ctypes.byref(error)), error)
        assert image.c.sspl_read_rows(image.handle, top, rows, None, ctypes.c_size_t(0), None) == ARGUMENT


def test_files_that_are_refused(library: Library) -> None:
    data = made()
    cases = [
        (b"", {}, FORMAT),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), {}, FORMAT),
        (data[:-1], {}, FORMAT),
        (build(chunks_of(data), count=400, major=9), {}, UNSUPPORTED),
        (data, {"side": 299}, LIMIT),
        (data, {"file_bytes": len(data) - 1}, LIMIT),
        (data, {"gaussians": 399}, LIMIT),
    ]
    for bytes_given, options, status in cases:
        with pytest.raises(RuntimeError) as caught:
            library.open(bytes_given, **options)
        assert caught.value.args[0] == status
    part = library.open(data[:-1], partial=1).read()
    assert np.array_equal(part, smartsplat.decode(data[:-1], partial=True))


def test_damaged_files_are_refused_or_decoded(library: Library) -> None:
    """What Python refuses is refused with the same line, behind checksums that are right."""
    data, random = made(alpha=True), np.random.default_rng(0)
    decoded = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(8, len(data))] = random.integers(256)
        hostile = mended(bytes(damaged))
        found: list[object] = []
        for decode in (
            lambda data: smartsplat.decode(data, size=(50, 40), dtype=np.uint8).tolist(),
            lambda data: library.open(data).read(columns=50, rows=40, bits=8).tolist(),
        ):
            try:
                found.append(decode(hostile))
            except (smartsplat.SmartSplatError, RuntimeError) as error:
                found.append(str(error.args[-1]))
        assert found[0] == found[1]
        decoded += isinstance(found[0], list)
    assert 10 < decoded < 140, "both outcomes are tested"


def test_files_and_callbacks(library: Library, tmp_path: Path) -> None:
    data = made()
    path = tmp_path / "a.sspl"
    path.write_bytes(data)
    expected = smartsplat.decode(data)
    error = Error()
    handle = library.c.sspl_open_file(os.fsencode(path), None, ctypes.byref(error))
    assert np.array_equal(Opened(library, handle, error).read(), expected)
    handle = library.c.sspl_open_file(os.fsencode(tmp_path / "missing"), None, ctypes.byref(error))
    assert (handle, error.status) == (None, READ)
    assert b"missing: No such file" in error.message
    left = [data[i : i + 1000] for i in range(0, len(data), 1000)]

    def read(_: int, buffer: int, size: int) -> int:
        piece = left.pop(0) if left else b""
        assert len(piece) <= size
        ctypes.memmove(buffer, piece, len(piece))
        return len(piece)

    handle = library.c.sspl_open_callback(ReadFunction(read), None, None, ctypes.byref(error))
    assert np.array_equal(Opened(library, handle, error).read(), expected)
    for bad in (lambda *_: -1, lambda *_: 1 << 40):
        handle = library.c.sspl_open_callback(ReadFunction(bad), None, None, ctypes.byref(error))
        assert (handle, error.status) == (None, READ)


def test_only_the_interface_is_exported(prefix: Path) -> None:
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", prefix / "lib/libsspl.so"], capture_output=True, text=True, check=True
    ).stdout
    strong = {line.split()[2] for line in listed.splitlines() if line.split()[1] == "T"}
    header = (prefix / "include/sspl.h").read_text()
    declared = set(re.findall(r"^SSPL_API .*?(sspl_\w+)\(", header, re.MULTILINE))
    assert strong == declared


def test_the_example_builds_against_what_is_installed(prefix: Path, tmp_path: Path) -> None:
    source = ROOT / "native/library/example.c"
    assert len(source.read_text().splitlines()) <= 40
    environment = os.environ | {
        "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig"),
        "LD_LIBRARY_PATH": str(prefix / "lib"),
    }
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "sspl"], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    program = tmp_path / "sspl-to-pam"
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", source, *flags, "-o", program], check=True)
    path = tmp_path / "a.sspl"
    path.write_bytes(made())
    ran = subprocess.run([program, path, "40", "600"], capture_output=True, check=True, env=environment)
    head, _, body = ran.stdout.partition(b"ENDHDR\n")
    assert head.startswith(b"P7\nWIDTH 40\nHEIGHT 600\n")
    pixels = np.frombuffer(body, np.uint8).reshape(600, 40, 4)
    assert np.array_equal(pixels[..., :3], smartsplat.decode(path, size=(40, 600)))
    path.write_bytes(b"no")
    ran = subprocess.run([program, path], capture_output=True, check=False, env=environment)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == f"{path}: not a SmartSplat file: the signature is missing\n"


def test_thumbnails_by_gdk_pixbuf(prefix: Path, tmp_path: Path) -> None:
    (loader,) = prefix.glob("lib/gdk-pixbuf-2.0/*/loaders/libpixbufloader-sspl.so")
    subprocess.run(["update-mime-database", prefix / "share/mime"], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(prefix / "lib"), "XDG_DATA_HOME": str(prefix / "share")}
    (query,) = Path("/usr/lib").glob("*/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders")
    cache = tmp_path / "loaders.cache"
    cache.write_bytes(subprocess.run([query, loader], capture_output=True, check=True, env=environment).stdout)
    environment["GDK_PIXBUF_MODULE_FILE"] = str(cache)
    source, thumbnail = tmp_path / "a.sspl", tmp_path / "a.png"
    for options, mode in (({}, "RGB"), ({"alpha": True}, "RGBA"), ({"channels": 1}, "RGB")):
        data = made(**options)
        source.write_bytes(data)
        subprocess.run(["gdk-pixbuf-thumbnailer", "-s", "100", source, thumbnail], check=True, env=environment)
        with Image.open(thumbnail) as image:
            assert (image.size, image.mode) == ((100, 90), mode)
            expected = smartsplat.decode(data, size=(100, 90), preview=True)
            assert np.array_equal(np.asarray(image), np.broadcast_to(expected, (90, 100, len(mode))))
    source.write_bytes(b"\x89SSP\r\n\x1a\n damaged")
    ran = subprocess.run(
        ["gdk-pixbuf-thumbnailer", "-s", "100", source, tmp_path / "b.png"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ran.returncode != 0
    assert "format version" in ran.stderr


def test_a_program_of_cmake_finds_it(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(p C)\nfind_package(sspl 0.1 REQUIRED)\n"
        "add_executable(p p.c)\ntarget_link_libraries(p PRIVATE sspl::sspl)\n"
    )
    (tmp_path / "p.c").write_text(
        '#include <sspl.h>\n#include <stdio.h>\nint main(void) { printf("%u", sspl_version()); }\n'
    )
    quiet = {"check": True, "stdout": sys.stderr}
    build_folder = tmp_path / "build"
    subprocess.run(["cmake", "-S", tmp_path, "-B", build_folder, f"-DCMAKE_PREFIX_PATH={prefix}"], **quiet)  # type: ignore[call-overload]
    subprocess.run(["cmake", "--build", build_folder], **quiet)  # type: ignore[call-overload]
    assert subprocess.run([build_folder / "p"], capture_output=True, check=True).stdout == b"1"
