"""The renderer on a GPU: the contract ``Renderer`` in Triton on torch tensors, for NVIDIA's and AMD's GPUs.

Only this package, ``smartsplat.encoder.gpu`` and ``smartsplat.torch`` import torch and Triton. Each stage is a module
with its kernels and the functions that launch them, under the names of ``native/render``: ``project``, ``bin``,
``tile``, ``loss``, ``ssim``, ``adam``. ``launcher.py`` is the device: launches, memory and errors. docs/gpu.md counts
the work.
"""

from smartsplat.render.gpu.launcher import title_of
from smartsplat.render.gpu.params import TensorAdamState, TensorGaussians
from smartsplat.render.gpu.renderer import GpuRenderer

__all__ = ["GpuRenderer", "TensorAdamState", "TensorGaussians", "title_of"]
