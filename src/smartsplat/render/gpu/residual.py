"""The residual: errors of a rendering by square cells."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import MAX_ERROR_CELL_LOG2, View
from smartsplat.render.gpu.bin import TileLists
from smartsplat.render.gpu.constants import TILE
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.loss import errors
from smartsplat.render.gpu.tile import TILE_PIXELS, blended, pixels_of, tile_of

MAX_ERROR_CELL = 1 << MAX_ERROR_CELL_LOG2
"""Pixels: the sides of cells divide it."""


@triton.jit(do_not_specialize=["columns", "width", "height", "cell_columns", "cell_rows"])
def residual(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    splats,  # [N, SPLAT_FLOATS] float32
    target,  # [H, W, C] uint8
    out,  # [rows, columns, C + 1] float32: sums over cells of target - rendering, and of its mean square
    columns,  # of tiles
    width,  # pixels
    height,
    cell_columns,
    cell_rows,
    channels: tl.constexpr,
    cell: tl.constexpr,
):
    """One tile a program, of whole cells."""
    tile = tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    color0, color1, color2 = blended(gaussians, begin, end, splats, x, y, channels)
    column, row = pixels_of(tile, columns)
    error0, error1, error2 = errors(color0, color1, color2, target, column, row, width, height, channels)
    square = error0 * error0
    number = tl.arange(0, TILE // cell)
    column, row = tile % columns * (TILE // cell) + number, tile // columns * (TILE // cell) + number
    valid = (row < cell_rows)[:, None] & (column < cell_columns)[None, :]
    place = out + (row.to(tl.int64)[:, None] * cell_columns + column[None, :]) * (channels + 1)
    tl.store(place, _by_cell(-error0, cell), valid)
    if channels == 3:
        square = (square + error1 * error1 + error2 * error2) * (1 / 3)
        tl.store(place + 1, _by_cell(-error1, cell), valid)
        tl.store(place + 2, _by_cell(-error2, cell), valid)
    tl.store(place + channels, _by_cell(square, cell), valid)


@triton.jit
def _by_cell(values, cell: tl.constexpr):
    """Sums of a tile's pixels [TILE_PIXELS] over its cells, [TILE / cell, TILE / cell]."""
    by_column = tl.sum(tl.reshape(values, [TILE_PIXELS // cell, cell]), axis=1)
    return tl.sum(tl.reshape(by_column, [TILE // cell, cell, TILE // cell]), axis=1)


def residual_cells(launcher: Launcher, lists: TileLists, target: Tensor, view: View, cell: int) -> Tensor:
    """``Renderer.residual``: float32 [rows, columns, C + 1].

    Args:
        target: [H, W, C] uint8.
        cell: side, output pixels.
    """
    if cell < 1 or MAX_ERROR_CELL % cell:
        raise ValueError(f"a cell of {cell} pixels does not divide {MAX_ERROR_CELL}")
    part, channels = min(cell, TILE.value), target.shape[2]
    rows, columns = -(-view.rows // part), -(-view.columns // part)
    sums = launcher.empty((rows, columns, channels + 1))
    arrays = (lists.starts, lists.gaussians, lists.splats, target, sums)
    sizes = (lists.columns, view.columns, view.rows, columns, rows)
    launcher.launch(residual, lists.tiles, *arrays, *sizes, channels, part, warps=1)
    return means(sums, cell, view.rows, view.columns)


def means(sums: Tensor, cell: int, rows: int, columns: int) -> Tensor:
    """Means over the pixels of each cell, [h, w, C + 1], of the sums that ``residual`` found.

    Args:
        sums: by cells, or by tiles, of which several make a larger cell.
        cell: side, pixels.
        rows: of pixels.
        columns: of pixels.
    """
    parts = max(1, cell // TILE.value)
    if parts > 1:
        part_rows, part_columns, values = sums.shape
        sums = torch.nn.functional.pad(sums, (0, 0, 0, -part_columns % parts, 0, -part_rows % parts))
        sums = sums.reshape(-(-part_rows // parts), parts, -(-part_columns // parts), parts, values).sum(dim=(1, 3))
    heights, widths = (
        torch.clamp(side - cell * torch.arange(-(-side // cell), device=sums.device), max=cell)
        for side in (rows, columns)
    )
    return sums.div_((heights[:, None] * widths[None, :])[..., None])
