"""Builds the wheels of a release and tries them where nothing else is installed: scripts/wheels.

Each is compiled by zig, with the oldest C library that it is to run with, in a minimal Debian that has the Python it is
for: 12 for CPython 3.11, 13 for the stable ABI of 3.12. The user's cache keeps these systems, and what pip downloads.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "smartsplat/wheels"
MAX_BYTES = 3_000_000
"""Of a wheel."""
SOURCE_ONLY = {"pyvips": ("pyvips-binary", "cffi", "pkgconfig", "setuptools")}
"""What the package needs and pip has no wheel of -> what it and pip's build of it need."""
TOOLS = ("cmake", "ninja", "ziglang", "scikit-build-core", "nanobind", "packaging", "pathspec")


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""A processor -> Debian's name of it."""


@dataclass(frozen=True)
class Platform:
    """What a wheel is for: its tag, zig's and CMake's names of it, and the suffix of CPython 3.11's modules there."""

    tag: str
    target: str
    system: str
    processor: str
    suffix: str

    @property
    def debian(self) -> str | None:
        """Debian's name of the architecture, if a Debian can run the wheel."""
        return ARCHITECTURES[self.processor] if "manylinux" in self.tag else None


@dataclass(frozen=True)
class Debian:
    name: str
    python: str


PLATFORMS = tuple(
    Platform(*names)
    for names in (
        ("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "Linux", "x86_64", "x86_64-linux-gnu.so"),
        ("manylinux_2_17_aarch64", "aarch64-linux-gnu.2.17", "Linux", "aarch64", "aarch64-linux-gnu.so"),
        ("musllinux_1_2_x86_64", "x86_64-linux-musl", "Linux", "x86_64", "x86_64-linux-musl.so"),
        ("musllinux_1_2_aarch64", "aarch64-linux-musl", "Linux", "aarch64", "aarch64-linux-musl.so"),
        ("macosx_11_0_arm64", "aarch64-macos.11.0", "Darwin", "arm64", "darwin.so"),
        ("macosx_11_0_x86_64", "x86_64-macos.11.0", "Darwin", "x86_64", "darwin.so"),
    )
)
DEBIANS = (Debian("bookworm", "3.11"), Debian("trixie", "3.13"))


def run(*command: str | Path) -> str:
    """What a command says. SystemExit: it has failed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}wheels: {command[0]}: exit code {done.returncode}")
    return done.stdout


def system_of(debian: Debian, architecture: str = "amd64") -> Path:
    """The folder of a minimal Debian with its Python and its headers, made by debootstrap if it is not there."""
    root = CACHE / f"{debian.name}-{architecture}"
    if not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        packages = "python3,python3-venv,libpython3-dev"
        log = CACHE / f"{root.name}.log"
        with log.open("w") as file:
            command = ["debootstrap", f"--arch={architecture}", "--variant=minbase", f"--include={packages}"]
            subprocess.run([*command, debian.name, root], stdout=file, stderr=file, check=True)
        (root / "made").touch()
    return root


def inside(root: Path, *command: str, **options: str) -> str:
    """What a command says in the system, which sees no file of this one."""
    script = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'
    plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"} | options
    words = [f"{name}={value}" for name, value in plain.items()]
    return run("unshare", "--mount", "sh", "-c", script, root, "env", "-i", *words, *command)


def make_venv(root: Path, venv: str, wheelhouse: str, *requirements: str) -> None:
    """A venv in the system with what its folder of wheels has."""
    inside(root, "python3", "-m", "venv", "--clear", venv)
    inside(root, f"{venv}/bin/pip", "install", "--quiet", "--no-index", "--find-links", wheelhouse, *requirements)


def download(folder: Path, python: str, tags: Iterable[str], *requirements: str | Path) -> None:
    """Wheels of the requirements and of what they need."""
    platforms = [word for tag in tags for word in ("--platform", tag)]
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", folder),
        *("--python-version", python, *platforms, *requirements),
    )


def download_needs(wheel: Path, folder: Path, python: str, tags: Iterable[str]) -> None:
    """The wheel, and what pip needs to install it without a network."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    needs = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    for need in [need for need in needs if "extra ==" not in need]:
        name = re.split(r"[^\w.-]", need)[0]
        if name in SOURCE_ONLY:
            source = ("download", "--quiet", "--no-deps", "--no-binary", name, "--dest", folder, name)
            run(sys.executable, "-m", "pip", *source)
        download(folder, python, tags, *SOURCE_ONLY.get(name, (need,)))
    shutil.copy(wheel, folder)


def glibc_tags(architecture: str) -> list[str]:
    """Tags of wheels that both Debians run."""
    return [f"manylinux_2_{minor}_{architecture}" for minor in range(36, 16, -1)] + [f"manylinux2014_{architecture}"]


def add_tools(root: Path, debian: Debian) -> None:
    """What compiles and the headers of Python, into /opt of the system, if they are not there."""
    done, headers = root / "opt/prepared", root / "opt/headers"
    if done.exists():
        return
    download(root / "opt/wheelhouse", debian.python, glibc_tags("x86_64"), *TOOLS)
    make_venv(root, "/opt/tools", "/opt/wheelhouse", *TOOLS)
    # Debian's pyconfig.h chooses one by the platform. All of these have the sizes and the order of bytes of this.
    shutil.copytree(root / f"usr/include/python{debian.python}", headers, dirs_exist_ok=True)
    shutil.copy(root / f"usr/include/x86_64-linux-gnu/python{debian.python}/pyconfig.h", headers)
    done.touch()


def build(platform: Platform, debian: Debian, sdist: Path, out: Path) -> Path:
    """The wheel of a platform for the Python of a Debian."""
    root = system_of(debian)
    folder = root / "opt/build"
    add_tools(root, debian)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "release/zig", folder / "zig")
    shutil.copy(sdist, folder)
    cmake = [
        "-DCMAKE_TOOLCHAIN_FILE=/opt/build/zig/toolchain.cmake",
        *(f"-DPython_{name}=/opt/headers" for name in ("INCLUDE_DIR", "SABI_INCLUDE_DIR")),
    ]
    host = {"Linux": f"linux-{platform.processor}", "Darwin": f"macosx-11.0-{platform.processor}"}[platform.system]
    inside(
        *(root, "/opt/tools/bin/pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", "/opt/build/out", f"/opt/build/{sdist.name}"),
        PATH="/opt/tools/bin:/usr/bin:/bin",
        CMAKE_ARGS=" ".join(cmake),
        CXXFLAGS="-include cstdio",  # which nanobind leaves to Python.h, where the stable ABI has it no longer
        SETUPTOOLS_EXT_SUFFIX=f".cpython-311-{platform.suffix}" if debian.python == "3.11" else ".abi3.so",
        ZIG_TARGET=platform.target,
        ZIG_SYSTEM=platform.system,
        ZIG_PROCESSOR=platform.processor,
        ZIG_GLOBAL_CACHE_DIR="/opt/zig-cache",
        _PYTHON_HOST_PLATFORM=host,
    )
    (built,) = (folder / "out").glob("*.whl")
    return tagged(built, platform, out)


def libraries_of(wheel: Path) -> set[str]:
    """Shared libraries that the module in a wheel for Linux names."""
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (name for name in archive.namelist() if name.endswith(".so"))
        dynamic = ELFFile(io.BytesIO(archive.read(module))).get_section_by_name(".dynamic")
        return {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}


def check_viewer(wheel: Path) -> None:
    """SystemExit: the viewer's decoder is not there."""
    with zipfile.ZipFile(wheel) as archive:
        if "smartsplat/viewer/sspl.wasm" not in archive.namelist():
            raise SystemExit(f"wheels: {wheel.name} has no sspl.wasm, which scripts/wasm builds")


def tagged(built: Path, platform: Platform, out: Path) -> Path:
    """A wheel checked and given its platform's tag, in the folder."""
    check_viewer(built)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "manylinux" in platform.tag:  # gives the tag that the libraries and symbols that it needs allow
            run("auditwheel", "repair", "--plat", "auto", "--wheel-dir", folder, built)
        else:
            if platform.system == "Linux" and libraries_of(built) != {"libc.so"}:  # auditwheel checks on musl alone
                raise SystemExit(f"wheels: {built.name} needs {libraries_of(built)}")
            shutil.copy(built, folder)
            run(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", platform.tag, folder / built.name)
        (wheel,) = folder.glob("*.whl")
        if platform.tag not in wheel.name:
            raise SystemExit(f"wheels: {wheel.name} is not for {platform.tag}")
        if "abi3" in wheel.name:
            run(sys.executable, "-m", "abi3audit", "--strict", wheel)
        if wheel.stat().st_size > MAX_BYTES:
            raise SystemExit(f"wheels: {wheel.name} has {wheel.stat().st_size} bytes, more than {MAX_BYTES}")
        out.mkdir(exist_ok=True)
        return Path(shutil.move(wheel, out / wheel.name))


def tried(wheel: Path, debian: Debian, processor: str) -> dict[str, Any]:
    """What try_wheel.py says of a wheel that is installed, with what it needs, where there is no compiler."""
    root = system_of(debian, ARCHITECTURES[processor])
    if (root / "usr/bin/cc").exists():
        raise SystemExit(f"wheels: {root} has a compiler")
    folder, wheelhouse = root / "opt/try", root / "opt/try_wheelhouse"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "tests/vectors", folder / "vectors")
    for file in (ROOT / "examples/seeding.jpg", ROOT / "release/try_wheel.py"):
        shutil.copy(file, folder)
    for older in wheelhouse.glob("smartsplat-*.whl"):
        older.unlink()
    download_needs(wheel, wheelhouse, debian.python, glibc_tags(processor))
    make_venv(root, "/opt/try/venv", "/opt/try_wheelhouse", "smartsplat")
    command = ("/opt/try/venv/bin/python", "/opt/try/try_wheel.py", "/opt/try/vectors", "/opt/try/seeding.jpg")
    return dict(json.loads(inside(root, *command)))


def here() -> dict[str, Any]:
    """The same of what is compiled on this machine by its own compiler, in .venv."""
    command = (ROOT / ".venv/bin/python", ROOT / "release/try_wheel.py", ROOT / "tests/vectors")
    return dict(json.loads(run(*command, ROOT / "examples/seeding.jpg")))


def can_run(architecture: str) -> bool:
    return architecture == "amd64" or Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()


def try_all(wheels: dict[tuple[Platform, Debian], Path]) -> int:
    """Prints what each wheel does, and returns how many do not what they should.

    On x86-64 a wheel has to write the bytes and pixels that the build on this machine writes; on Arm, with other
    vectors, those of the other wheel, and the test vectors to a code value.
    """
    reports = {"amd64": here()}
    wrong = 0
    for (platform, debian), wheel in wheels.items():
        architecture = platform.debian
        if architecture is None or not can_run(architecture):
            print(f"not run here: {wheel.name}")
            continue
        report = tried(wheel, debian, platform.processor)
        same = report == reports.setdefault(architecture, report)
        print(f"{'as expected' if same else 'DIFFERS'}: {wheel.name} on {debian.name}, {report['bytes']} bytes")
        wrong += not same
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="wheels", description=__doc__.partition("\n")[0])
    parser.add_argument("--platforms", nargs="+", choices=[each.tag for each in PLATFORMS], help="only these")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the wheels and the source archive")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    out = options.out.resolve()
    run(sys.executable, "-m", "build", "--sdist", "--outdir", out, ROOT)
    sdist = max(out.glob("smartsplat-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    wheels = {}
    for debian in DEBIANS:
        for platform in PLATFORMS:
            if options.platforms is None or platform.tag in options.platforms:
                wheels[platform, debian] = wheel = build(platform, debian, sdist, out)
                print(f"{wheel.stat().st_size / 1e6:.2f} MB: {wheel.name}", flush=True)
    sys.exit(try_all(wheels) > 0)


if __name__ == "__main__":
    main()
