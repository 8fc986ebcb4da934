"""Names of devices; that they work is for test_gpu.py."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import pytest

import smartsplat
from smartsplat.errors import DeviceError, SettingsError
from smartsplat.render import cpu, device
from smartsplat.render.device import CPU, find, open_renderer
from tests.samples import landscape


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in device.REQUIRED_MODULES else there(name)
    )


def test_the_processor_is_always_there() -> None:
    assert find("cpu") == CPU
    renderer = open_renderer("cpu", 1)
    assert isinstance(renderer, cpu.CpuRenderer)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1234", "CUDA", "xpu"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(SettingsError, match="there is no device"):
        find(name)


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_what_to_install_is_said_in_one_sentence(name: str) -> None:
    with pytest.raises(DeviceError, match=rf"^{name} needs torch and triton: pip install 'smartsplat\[gpu\]'$"):
        smartsplat.encode(landscape(20, 20), device=name, steps=1)
    data = smartsplat.encode(landscape(20, 20), steps=1, gaussians=3)
    with pytest.raises(DeviceError, match="needs torch"):
        smartsplat.decode(data, device=name)


@pytest.mark.usefixtures("no_torch")
def test_auto_is_the_processor_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "DRIVERS", (os.devnull,))
    assert find("auto") == CPU


def test_auto_is_the_processor_without_a_driver() -> None:
    """And torch is not imported to find that out."""
    program = (
        "import sys\n"
        "from smartsplat.render import device\n"
        "device.DRIVERS = ()\n"
        "print(device.find('auto').name, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["cpu", "False"]


@pytest.mark.parametrize("works", [True, False])
def test_auto_is_the_first_gpu_that_can_be_used(monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    gpu = pytest.importorskip("smartsplat.render.gpu", reason="torch is not installed: scripts/test gpu installs it")

    def title(name: str) -> str:
        if not works:
            raise DeviceError("none")
        return f"a card, {name}"

    monkeypatch.setattr(gpu, "title_of", title)
    monkeypatch.setattr(device, "DRIVERS", (os.devnull,))
    device_found: Any = find("auto")
    assert device_found == (device.Device("cuda:0", "a card, cuda:0") if works else CPU)
    if works:
        assert find("cuda:1") == device.Device("cuda:1", "a card, cuda:1")
