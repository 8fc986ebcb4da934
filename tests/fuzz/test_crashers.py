"""Inputs that fuzzing has found, and those that it starts from: none may do harm again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

CRASHERS = Path(__file__).parents[1] / "crashers"


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target: str) -> None:
    inputs = seeds()[target]
    assert inputs
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("path", sorted(CRASHERS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_crashers(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_seeds() -> None:
    assert all(seeds().values())
    assert set(TARGETS) < set(seeds())
