"""The differentiable function: gradients by finite differences in float64, and the renderers against each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartsplat.render import View, reference
from tests.compare import relative_error, scene

torch = pytest.importorskip("torch", reason="torch is not installed: scripts/test gpu installs it")

from smartsplat.torch import render  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SIZE = (13, 9)  # width, height
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def leaves(count: int, channels: int = 3, dtype: Any = torch.float64, device: str = "cpu") -> list[Any]:
    """Means, log scales, rotations and colors of a scene over SIZE."""
    g = scene(count, *SIZE, channels, min_scale=1.5)
    fields = (g.mean, np.log(g.scale), g.rotation, g.color)
    return [torch.tensor(field, dtype=dtype, device=device, requires_grad=True) for field in fields]


@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(channels: int) -> None:
    assert torch.autograd.gradcheck(lambda *fields: render(*fields, SIZE), leaves(4, channels))


@pytest.mark.parametrize("device", DEVICES)
def test_single_precision_is_the_reference(device: str) -> None:
    exact, single = leaves(6), leaves(6, dtype=torch.float32, device=device)
    image, single_image = render(*exact, SIZE), render(*single, SIZE)
    assert single_image.dtype == torch.float32
    assert single_image.shape == (9, 13, 3)
    assert relative_error(single_image.detach().cpu(), image.detach()) < 1e-5
    weights = torch.linspace(-1, 1, image.numel(), dtype=torch.float64).reshape(image.shape)
    (image * weights).sum().backward()
    (single_image * weights.to(single_image)).sum().backward()
    for expected, actual in zip(exact, single, strict=True):
        assert relative_error(actual.grad.cpu(), expected.grad) < 1e-4


def test_the_image_is_the_references() -> None:
    g = scene(5, *SIZE)
    fields = (torch.tensor(field) for field in (g.mean, np.log(g.scale), g.rotation, g.color))
    expected = reference.render(reference.upload(g), View.whole(*SIZE))
    assert relative_error(render(*fields, SIZE), expected) < 1e-5


def test_only_a_first_derivative() -> None:
    fields = leaves(2)
    (slope,) = torch.autograd.grad(render(*fields, SIZE).square().sum(), fields[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, torch.zeros(3, 2)),
        (1, torch.zeros(4)),
        (2, torch.zeros(4, 1)),
        (3, torch.zeros(4, 2)),
        (2, torch.zeros(4, dtype=torch.float64)),
    ],
)
def test_fields_that_do_not_fit(place: int, value: Any) -> None:
    fields = leaves(4, dtype=torch.float32)
    fields[place] = value
    with pytest.raises(ValueError, match=r"must be|means torch"):
        render(*fields, SIZE)


def test_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        render(*leaves(4, dtype=torch.float16), SIZE)


def test_the_example_fits(tmp_path: Path) -> None:
    """Three steps of it run, reach 10 dB and write the image."""
    example = ROOT / "examples/torch_fit.py"
    program = (
        f"import sys; sys.path.insert(0, {str(example.parent)!r}); import torch_fit; print(torch_fit.main(steps=3))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.split()[-1]) > 10
    assert (tmp_path / "torch_fit.png").exists()
