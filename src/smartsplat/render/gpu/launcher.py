"""One GPU as the renderer and the sampler use it: launches, tensors, the target and its weights, errors of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.errors import DeviceError
from smartsplat.render import View
from smartsplat.render.gpu.constants import TILE

INTERSECTION_BYTES = 40
"""Of device memory that a step takes for each Gaussian and tile that it touches: lists and partial sums."""

USUAL_INTERSECTIONS_PER_TILE = 20
GAUSSIAN_BYTES = 300
PIXEL_BYTES = 3  # of a target of 8 bits

ERROR_CELL_BYTES_PER_PIXEL = 8
"""Of a densify step, with cells of two pixels a side."""


class Launcher:
    """Launches kernels on one GPU and owns what lies in its memory. Not to be shared between Python threads.

    Args:
        device: "cuda" or "cuda:N", also for AMD's GPUs; "cpu" is Triton's interpreter.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._image: tuple[SampleArray, Tensor] | None = None
        self._weights: tuple[ByteArray, Tensor] | None = None
        self._pixel_bytes = PIXEL_BYTES

    def launch(self, kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
        """Launch a Triton kernel on this device, unless there is nothing to do for it.

        Args:
            programs: size of the grid, which has one dimension.
            arguments: of the kernel, by position, compile-time constants included.
            warps: of a program.
        """
        if not programs:
            return
        # Newer versions of Triton fuse multiplications and additions only when they are asked to.
        options = {"num_warps": warps, "enable_fp_fusion": True}
        if self.device.type == "cpu":
            kernel[(programs,)](*arguments, **options)
            return
        with torch.cuda.device(self.device):  # Triton launches on the current one
            kernel[(programs,)](*arguments, **options)

    def upload(self, array: npt.NDArray[Any]) -> Tensor:
        """A copy of a numpy array on the device."""
        return torch.tensor(np.ascontiguousarray(array), device=self.device)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor whose values are still to be written."""
        return torch.empty(shape, dtype=dtype, device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def offsets(self, counts: Tensor) -> Tensor:
        """Where each of n runs of ``counts`` [n] elements begins, one behind the other, and the end: int64 [n + 1]."""
        offsets = self.zeros((len(counts) + 1,), torch.int64)
        torch.cumsum(counts, dim=0, dtype=torch.int64, out=offsets[1:])
        return offsets

    def resident(self, image: SampleArray) -> Tensor:
        """An image on the device. It is uploaded when it is first asked for, and must not change afterwards."""
        self._pixel_bytes = image.itemsize * image.shape[2]
        if self._image is None or self._image[0] is not image:
            self._image = None
            self._image = image, self.upload(image)
        return self._image[1]

    def resident_weights(self, weights: ByteArray | None) -> Tensor | None:
        """The weights of an image's errors on the device, which are kept beside it in the same way."""
        if weights is None:
            self._weights = None
            return None
        if self._weights is None or self._weights[0] is not weights:
            self._weights = None
            self._weights = weights, self.upload(weights)
        return self._weights[1]

    @contextmanager
    def memory_errors(self, count: int, view: View) -> Iterator[None]:
        """Turns torch's lack of memory into a DeviceError that says how large an image would fit.

        Args:
            count: Gaussians that are worked on.
            view: the image that is worked on.
        """
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            self._image = self._weights = None
            free, memory = torch.cuda.mem_get_info(self.device)
            # What others have is neither free nor torch's to give again.
            room = free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            needed = f"{view.columns} x {view.rows} pixels and {count} Gaussians do not fit into {self.device}"
            memory_left = f"{room / 1e9:.1f} of {memory / 1e9:.1f} GB"
            advice = _fitting_size(view, count, room, self._pixel_bytes)
            raise DeviceError(f"{needed}, which has {memory_left} to spare: {advice}") from error


def _fitting_size(view: View, count: int, room: float, pixel_bytes: int) -> str:
    """The size that fits into ``room`` bytes with as many Gaussians a pixel, by what a step or a densify step takes.

    Args:
        pixel_bytes: of a target.
    """
    lists = USUAL_INTERSECTIONS_PER_TILE * INTERSECTION_BYTES / TILE.value**2
    pixel = pixel_bytes + max(lists, ERROR_CELL_BYTES_PER_PIXEL) + GAUSSIAN_BYTES * count / (view.columns * view.rows)
    return f"about {room / pixel / 1e6:.0f} megapixels would; use a higher ratio, a smaller image or --device cpu"


def title_of(device: str) -> str:
    """The name of a GPU, such as "NVIDIA H100 80GB HBM3".

    Raises:
        DeviceError: torch cannot use it.
    """
    if not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} finds no NVIDIA or AMD GPU here: use --device cpu")
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise DeviceError(f"there is no {device}: this machine has {torch.cuda.device_count()}, counted from 0")
    return str(torch.cuda.get_device_name(index))
