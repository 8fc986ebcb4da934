"""The renderers that this machine has, for tests of the contract."""

from __future__ import annotations

import importlib.util
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from smartsplat.render import Renderer
from smartsplat.render.cpu import CpuRenderer, runs_here

HAS_TRITON = all(importlib.util.find_spec(module) for module in ("torch", "triton"))
if HAS_TRITON:
    from tests.render.gpu_device import GPU as HAS_GPU  # and chooses between compiler and interpreter
else:
    HAS_GPU = False


@dataclass(frozen=True)
class Subject:
    """A renderer under test."""

    name: str  # an instruction set, or "gpu"
    value_error: float  # largest of a rendered value, for colours of about 1
    gradient_error: float  # relative, as a vector over all Gaussians

    def open(self, threads: int = 2, exact: bool = True) -> Renderer:
        """A new renderer; skips the test where there is none."""
        if self.name != "gpu":
            return CpuRenderer(threads, self.name, exact=exact)
        from smartsplat.render.gpu import GpuRenderer

        return GpuRenderer("cuda" if HAS_GPU else "cpu")

    @property
    def is_interpreted(self) -> bool:
        """Whether it runs in an interpreter, which only small scenes are for."""
        return self.name == "gpu" and not HAS_GPU


def numpy_of(array: Any) -> np.ndarray:
    """An array of Adam's state, wherever it lies."""
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


VARIANTS = ("v2", "v3", "v4") if not runs_here("base") else ("base",)
SUBJECTS = {
    # The CPU's exponentials are computed anew only every so many rows.
    **{variant: Subject(variant, 5e-5, 1e-4) for variant in VARIANTS},
    "gpu": Subject("gpu", 2e-6, 1e-5),
}


def subject_param(name: str) -> Any:
    """A parameter of a test; one that cannot run here is skipped and says why."""
    runs = HAS_TRITON if name == "gpu" else runs_here(name)
    missing = "torch and Triton are not installed: scripts/test gpu installs them"
    reason = missing if name == "gpu" else f"this processor cannot run the {name} kernels"
    return pytest.param(SUBJECTS[name], id=name, marks=[] if runs else pytest.mark.skip(reason=reason))


CPU_SUBJECTS = [subject_param(name) for name in VARIANTS]
ALL_SUBJECTS = [*CPU_SUBJECTS, subject_param("gpu")]


def each_subject_with(cases: Iterable[Any], small: Container[Any], compiled: Container[Any] = ()) -> list[Any]:
    """Parameters (subject, case) of a test.

    A GPU gets the ``small`` cases, which an interpreter can run, and where its code is compiled the others in
    ``compiled``.
    """
    return [
        pytest.param(*param.values, case, id=f"{param.id}-{case}", marks=param.marks)
        for param in ALL_SUBJECTS
        for case in dict.fromkeys(cases)
        if param.values[0].name != "gpu" or case in small or (HAS_GPU and case in compiled)
    ]
