"""Error sampling: cells sampled at random by the squared error of a rendering."""

import numpy as np
import torch
from torch import Tensor

from smartsplat.encoder.sampler import BLUR_RADIUS, MIN_WEIGHT, CellRequest, SampledCells


def sample_cells(cells: Tensor, request: CellRequest, generator: np.random.Generator) -> SampledCells:
    """``Sampler.sample_cells``: the first of an exponential race between all cells.

    Args:
        cells: [rows, columns, C + 1]: mean of target - rendering, and mean square error.
    """
    rows, columns, _ = cells.shape
    count = request.count
    if count > rows * columns:
        place = torch.tensor(np.sort(generator.integers(rows * columns, size=count)), device=cells.device)
    else:
        random = torch.Generator(cells.device)
        random.manual_seed(int(generator.integers(1 << 63)))
        error = blurred(blurred(cells[..., -1], request.blur).T, request.blur).T.contiguous()
        time = torch.empty_like(error).exponential_(generator=random) / error.clamp_min(MIN_WEIGHT)
        place = torch.topk(time.ravel(), count, largest=False).indices.sort().values
    row, column = place // columns, place % columns
    residual = torch.zeros((count, cells.shape[2] - 1), dtype=torch.float64, device=cells.device)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            neighbor = cells[(row + dy).clamp(0, rows - 1), (column + dx).clamp(0, columns - 1)]
            residual += neighbor[:, :-1]
    return SampledCells(row.cpu().numpy(), column.cpu().numpy(), (residual / 9).cpu().numpy())


def blurred(values: Tensor, blur: float) -> Tensor:
    """The blur along the first axis that SciPy's ``gaussian_filter`` gives the CPU's, with a deviation of ``blur``."""
    size, radius = len(values), int(BLUR_RADIUS * blur + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(blur, 1e-9)) ** 2)
    total = torch.zeros_like(values)
    for shift, tap in zip(range(-radius, radius + 1), taps / taps.sum(), strict=True):
        index = torch.arange(size, device=values.device) + shift
        index = index.remainder(2 * size)  # mirrored at the edges, which are repeated
        total += float(tap) * values[torch.minimum(index, 2 * size - 1 - index)]
    return total
