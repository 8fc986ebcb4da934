"""What made the numbers of a table: rows have the machine and the versions, and reports say each once."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import features

from bench.tables import Row


def provenance() -> Row:
    """The columns machine and versions of every row that this process makes."""
    return {"machine": machine(), "versions": versions()}


def machine() -> str:
    """Processor model and number of cores."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else model}, {os.cpu_count()} cores"


def versions() -> str:
    """Versions of everything that shapes the numbers, the other codecs' libraries included."""
    parts = {"python": platform.python_version()}
    parts |= {name: _package_version(name) for name in ("numpy", "pillow")}
    parts |= {name: str(features.version(name)) for name in ("libjpeg_turbo", "webp", "avif", "jpg_2000")}
    packages = ("pyvips-binary", "pillow-jxl-plugin", "flip-evaluator", "smartsplat")
    parts |= {name: _package_version(name) for name in packages}
    return ", ".join(f"{name} {number}" for name, number in parts.items())


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def image_lines(rows: Iterable[Row]) -> list[str]:
    """Images with their sizes and recipes, machines and versions, each once."""
    listed = list(rows)
    images = (f"{row['picture']} ({row['width']}x{row['height']}, {row['recipe']})" for row in listed)
    return [f"Images: {'; '.join(dict.fromkeys(images))}.", *machine_lines(listed)]


def machine_lines(rows: Sequence[Row]) -> list[str]:
    """The machines and the versions that made the rows."""
    numbers: dict[str, dict[str, None]] = {}  # of each package, in the order of the rows
    for row in rows:
        for part in row["versions"].split(", "):
            name, _, number = part.partition(" ")
            numbers.setdefault(name, {})[number] = None
    versions = ", ".join(f"{name} {' and '.join(each)}" for name, each in numbers.items())
    return [f"Machine: {'; '.join(dict.fromkeys(row['machine'] for row in rows))}.", f"Versions: {versions}."]
