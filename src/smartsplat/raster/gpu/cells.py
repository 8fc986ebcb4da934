"""Where a rendering is worst: the residual by cells, and cells drawn at random by it."""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.raster import DrawnCells
from smartsplat.raster.cells import BLUR_REACH
from smartsplat.raster.gpu.bins import TILE
from smartsplat.raster.gpu.pixels import PIXELS, blended, errors, tile_of

NEVER = 1e-30
"""Stands in for an error of zero in the race: behind all that have one, at random among its like."""


@triton.jit(do_not_specialize=["columns", "width", "height", "across", "down"])
def residual(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    splats,  # [N, SPLAT] float32
    target,  # [H, W, C] uint8
    out,  # [down, across, C + 1] float32: sums over cells of target - rendering, and of its mean square
    columns,  # of tiles
    width,  # pixels
    height,
    across,  # cells
    down,
    channels: tl.constexpr,
    cell: tl.constexpr,
):
    """One tile a program, of whole cells."""
    tile = tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    color0, color1, color2 = blended(gaussians, begin, end, splats, x, y, channels)
    error0, error1, error2 = errors(color0, color1, color2, target, tile, columns, width, height, channels)
    square = error0 * error0
    beside = tl.arange(0, TILE // cell)
    first, rows = tile % columns * (TILE // cell) + beside, tile // columns * (TILE // cell) + beside
    there = (rows < down)[:, None] & (first < across)[None, :]
    place = out + (rows.to(tl.int64)[:, None] * across + first[None, :]) * (channels + 1)
    tl.store(place, _by_cell(-error0, cell), there)
    if channels == 3:
        square = (square + error1 * error1 + error2 * error2) * (1 / 3)
        tl.store(place + 1, _by_cell(-error1, cell), there)
        tl.store(place + 2, _by_cell(-error2, cell), there)
    tl.store(place + channels, _by_cell(square, cell), there)


@triton.jit
def _by_cell(values, cell: tl.constexpr):
    """Sums of a tile's pixels [PIXELS] over its cells, [TILE / cell, TILE / cell]."""
    by_column = tl.sum(tl.reshape(values, [PIXELS // cell, cell]), axis=1)
    return tl.sum(tl.reshape(by_column, [TILE // cell, cell, TILE // cell]), axis=1)


def means(sums: Tensor, cell: int, rows: int, columns: int) -> Tensor:
    """What ``residual`` found over the pixels of each cell of ``cell`` pixels a side, of which a tile is a part of the
    larger ones; [h, w, C + 1]."""
    parts = max(1, cell // TILE.value)
    if parts > 1:
        down, across, values = sums.shape
        sums = torch.nn.functional.pad(sums, (0, 0, 0, -across % parts, 0, -down % parts))
        sums = sums.reshape(-(-down // parts), parts, -(-across // parts), parts, values).sum(dim=(1, 3))
    high, wide = (
        torch.clamp(side - cell * torch.arange(-(-side // cell), device=sums.device), max=cell)
        for side in (rows, columns)
    )
    return sums.div_((high[:, None] * wide[None, :])[..., None])


def drawn(cells: Tensor, count: int, blur: float, generator: np.random.Generator) -> DrawnCells:
    """See ``smartsplat.raster``: the first of an exponential race between all cells [h, w, C + 1]."""
    rows, columns, _ = cells.shape
    if count > rows * columns:
        place = torch.tensor(np.sort(generator.integers(rows * columns, size=count)), device=cells.device)
    else:
        race = torch.Generator(cells.device)
        race.manual_seed(int(generator.integers(1 << 63)))
        error = _blurred(_blurred(cells[..., -1], blur).T, blur).T.contiguous()
        time = torch.empty_like(error).exponential_(generator=race) / error.clamp_min(NEVER)
        place = torch.topk(time.ravel(), count, largest=False).indices.sort().values
    row, column = place // columns, place % columns
    color = torch.zeros((count, cells.shape[2] - 1), dtype=torch.float64, device=cells.device)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            beside = cells[(row + down).clamp(0, rows - 1), (column + right).clamp(0, columns - 1)]
            color += beside[:, :-1]
    return row.cpu().numpy(), column.cpu().numpy(), (color / 9).cpu().numpy()


def _blurred(values: Tensor, blur: float) -> Tensor:
    """The blur along the first axis that SciPy's ``gaussian_filter`` gives the CPU's."""
    size, reach = len(values), int(BLUR_REACH * blur + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(blur, 1e-9)) ** 2)
    total = torch.zeros_like(values)
    for shift, tap in zip(range(-reach, reach + 1), taps / taps.sum(), strict=True):
        at = torch.arange(size, device=values.device) + shift
        at = at.remainder(2 * size)  # mirrored at the edges, which are repeated
        total += float(tap) * values[torch.minimum(at, 2 * size - 1 - at)]
    return total
