"""The device of the GPU tests: a GPU where torch finds one, else Triton's interpreter, which the environment chooses.

Tests import this before anything of ``smartsplat.render.gpu``, since Triton reads the environment when it is imported.
Where torch or Triton is missing, the test file that imports this is skipped.
"""

import os

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: scripts/test gpu installs it")

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"

pytest.importorskip("triton", reason="Triton is not installed: scripts/test gpu installs it")

on_a_gpu = pytest.mark.skipif(not GPU, reason="torch finds no GPU here")
