"""How much a test tried, for the table of promises that scripts/reliability makes."""

from __future__ import annotations

import os
from pathlib import Path


def thorough() -> bool:
    """Whether tests may take minutes to try everything: scripts/reliability says so."""
    return "SMARTSPLAT_RELIABILITY" in os.environ


def record(what: str, number: float) -> None:
    """Adds a line to the file that scripts/reliability reads, if it runs the test."""
    path = os.environ.get("SMARTSPLAT_RELIABILITY")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{what}\t{number:g}\n")
