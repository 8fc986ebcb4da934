"""What is fitted, on a device: the parameters of Gaussians and the optimiser's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartsplat.render import LUMA

Index = slice | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]


@dataclass
class TensorGaussians:
    """The arrays of Gaussians as float32 tensors on one device, C-contiguous; ``step`` changes them in place."""

    mean: Tensor  # [N, 2]
    scale: Tensor  # [N, 2]
    rotation: Tensor  # [N]
    color: Tensor  # [N, C]

    def __len__(self) -> int:
        return int(self.mean.shape[0])

    @property
    def channels(self) -> int:
        return int(self.color.shape[1])

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean, scale, rotation and color: the arguments of the constructor."""
        return self.mean, self.scale, self.rotation, self.color

    def __getitem__(self, index: Index) -> TensorGaussians:
        """The Gaussians that a slice, an index array or a mask selects, in its order."""
        return TensorGaussians(*(_selected(tensor, index) for tensor in self.tensors()))

    def grey(self) -> TensorGaussians:
        """The same with ``LUMA`` as their only colour."""
        if self.channels == 1:
            return self
        luma = self.color @ self.color.new_tensor(LUMA)[:, None]
        return TensorGaussians(self.mean, self.scale, self.rotation, luma)

    def joined(self, other: TensorGaussians) -> TensorGaussians:
        """These Gaussians followed by ``other``."""
        return TensorGaussians(*map(_joined, self.tensors(), other.tensors()))


@dataclass
class TensorAdamState:
    """Adam's moments, float32 [N, 5 + C], and each Gaussian's age in steps, int32 [N]."""

    first: Tensor
    second: Tensor
    age: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Both moments and the age: the arguments of the constructor."""
        return self.first, self.second, self.age

    def __getitem__(self, index: Index) -> TensorAdamState:
        """The state of the Gaussians that a slice, an index array or a mask selects, in its order."""
        return TensorAdamState(*(_selected(tensor, index) for tensor in self.tensors()))

    def joined(self, other: TensorAdamState) -> TensorAdamState:
        """The state of these Gaussians followed by ``other``."""
        return TensorAdamState(*map(_joined, self.tensors(), other.tensors()))


def _selected(tensor: Tensor, index: Index) -> Tensor:
    if not isinstance(index, slice):
        return tensor[torch.from_numpy(np.ascontiguousarray(index)).to(tensor.device)].contiguous()
    return tensor[index].contiguous()


def _joined(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second])
