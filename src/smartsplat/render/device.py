"""Which renderer a device's name stands for: "cpu", "cuda", "cuda:N" (also what torch calls AMD's GPUs) or "auto".

Torch takes a second or two to import, so nothing here imports it unless a GPU is wanted and has a driver.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass

from smartsplat.errors import DeviceError, SettingsError
from smartsplat.render import Renderer

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What a driver for NVIDIA's or AMD's GPUs, or Windows below Linux, has made: without one "auto" looks no further."""

REQUIRED_MODULES = ("torch", "triton")


@dataclass(frozen=True)
class Device:
    """A device that is there."""

    name: str  # "cpu" or "cuda:N"
    title: str  # what to call it when talking


CPU = Device("cpu", "the processor")


def find(name: str) -> Device:
    """The device; "auto" is the first GPU if it can be used, else the processor. DeviceError if there is none such."""
    if name == "cpu":
        return CPU
    if name == "auto":
        if not any(map(os.path.exists, DRIVERS)) or _missing():
            return CPU
        try:
            return find("cuda")
        except DeviceError:
            return CPU
    number = re.fullmatch(r"cuda(?::(\d{1,3}))?", name) if isinstance(name, str) else None
    if number is None:
        raise SettingsError(f"there is no device {name!r}: give auto, cpu, cuda or cuda:N")
    if _missing():
        raise DeviceError(f"{name} needs {' and '.join(_missing())}: pip install 'smartsplat[gpu]'")
    from smartsplat.render import gpu

    full_name = f"cuda:{int(number[1] or 0)}"
    return Device(full_name, gpu.title_of(full_name))


def _missing() -> list[str]:
    return [module for module in REQUIRED_MODULES if importlib.util.find_spec(module) is None]


def open_renderer(name: str, threads: int) -> Renderer:
    """A renderer on the device, of ``threads`` threads where it is the processor."""
    device = find(name)
    if device == CPU:
        from smartsplat.render.cpu import CpuRenderer

        return CpuRenderer(threads)
    from smartsplat.render import gpu

    return gpu.GpuRenderer(device.name)
