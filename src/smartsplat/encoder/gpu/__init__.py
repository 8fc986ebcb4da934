"""The sampler on a GPU: like ``smartsplat.render.gpu`` imported only where a GPU is asked for."""

from smartsplat.encoder.gpu.sampler import GpuSampler

__all__ = ["GpuSampler"]
