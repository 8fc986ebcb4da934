"""What is fitted, on a device: the parameters of Gaussians and the optimiser's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass
class Params:
    """The fields of Gaussians, float32 tensors on one device, C-contiguous; ``step`` changes them in place."""

    mean: Tensor  # [N, 2]
    scale: Tensor  # [N, 2]
    rotation: Tensor  # [N]
    color: Tensor  # [N, C]

    def __len__(self) -> int:
        return int(self.mean.shape[0])

    @property
    def channels(self) -> int:
        return int(self.color.shape[1])

    def __getitem__(self, index: slice | npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Params:
        return Params(*(_picked(field, index) for field in vars(self).values()))

    def joined(self, other: Params) -> Params:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Params(*(torch.cat(pair) for pair in pairs))


@dataclass
class State:
    """Adam's moments, float32 [N, 5 + C], and each Gaussian's age in steps, int32 [N]."""

    first: Tensor
    second: Tensor
    age: Tensor

    def __getitem__(self, index: slice | npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> State:
        return State(*(_picked(field, index) for field in vars(self).values()))

    def joined(self, other: State) -> State:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return State(*(torch.cat(pair) for pair in pairs))


def _picked(field: Tensor, index: slice | npt.NDArray[Any]) -> Tensor:
    wanted = index if isinstance(index, slice) else torch.from_numpy(np.ascontiguousarray(index)).to(field.device)
    return field[wanted].contiguous()
