"""What a fit computes with."""

from __future__ import annotations

from dataclasses import dataclass

from smartsplat.encoder.cpu_sampler import CpuSampler
from smartsplat.encoder.sampler import Sampler
from smartsplat.render import Renderer
from smartsplat.render.cpu import CpuRenderer
from smartsplat.render.device import open_renderer


@dataclass(frozen=True)
class Compute:
    """A renderer, the sampler that works on the same device, and the processor's threads for all else."""

    renderer: Renderer
    sampler: Sampler
    threads: int


def open_compute(device: str, threads: int) -> Compute:
    """The renderer and the sampler of a device, "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        SettingsError: no such device. DeviceError: it is not there.
    """
    renderer = open_renderer(device, threads)
    return Compute(renderer, sampler_of(renderer), threads)


def sampler_of(renderer: Renderer) -> Sampler:
    """The sampler on the renderer's device."""
    if isinstance(renderer, CpuRenderer):
        return CpuSampler(renderer)
    from smartsplat.encoder.gpu import GpuSampler  # imports torch
    from smartsplat.render.gpu import GpuRenderer

    if isinstance(renderer, GpuRenderer):
        return GpuSampler(renderer)
    raise TypeError(f"no sampler works on the device of a {type(renderer).__name__}")
