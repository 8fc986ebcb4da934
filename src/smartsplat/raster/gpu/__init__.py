"""The GPU backend: the contract of ``smartsplat.raster`` in Triton on torch tensors, for NVIDIA and AMD GPUs.

Together with ``smartsplat.torch`` the only place where torch and Triton are imported. ``backend.py`` is what the rest
of the package sees, ``params.py`` what it works on; the kernels are in ``bins.py`` (Gaussians to tiles), ``pixels.py``
(drawing, loss and backward pass of a tile), ``ssim.py``, ``update.py`` (sums over tiles, chain rule and Adam),
``cells.py`` (where new Gaussians go) and ``seeds.py`` (what of seeding reads every pixel). docs/gpu.md counts their
work.
"""

from smartsplat.raster.gpu.backend import Backend, title_of
from smartsplat.raster.gpu.params import Params, State

__all__ = ["Backend", "Params", "State", "title_of"]
