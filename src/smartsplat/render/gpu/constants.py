"""Constants that several stages share. Kernels read a module's constants only where they are ``tl.constexpr``."""

import triton.language as tl

from smartsplat import gaussians

BLOCK = 128
"""Gaussians, spans or intersections of a program, one a thread."""

TILE = tl.constexpr(16)
"""Side of a tile, output pixels."""

SPLAT_FLOATS = tl.constexpr(8)
"""Of a splat (project.py), and of what the backward pass leaves in a slot (tile.py): one 32-byte sector."""

CHUNK_SLOTS = tl.constexpr(64)
"""Slots of one Gaussian that ``adam.collapse`` sums in one program; ``adam.update`` sums fewer by itself."""

CUTOFF = tl.constexpr(gaussians.CUTOFF)
EDGE = tl.constexpr(gaussians.EDGE)
WINDOW_NORM = tl.constexpr(1 / (1 - gaussians.EDGE))

HALF_LOG2_E = tl.constexpr(0.72134752044448170368)
"""exp(-q / 2) = 2^-(q HALF_LOG2_E)."""
