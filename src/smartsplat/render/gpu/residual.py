"""The residual: errors of a rendering by square cells."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import MAX_ERROR_CELL_LOG2, View
from smartsplat.render.gpu.bin import TileLists
from smartsplat.render.gpu.constants import TILE
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.loss import errors, weights_of
from smartsplat.render.gpu.tile import TILE_PIXELS, blended, pixels_of, tile_of

MAX_ERROR_CELL = 1 << MAX_ERROR_CELL_LOG2
"""Pixels: the sides of cells divide it."""


@triton.jit(do_not_specialize=["columns", "width", "height", "cell_columns", "cell_rows"])
def residual(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    splats,  # [N, SPLAT_FLOATS] float32
    target,  # [H, W, C] uint8 or uint16
    weights,  # [H, W] uint8, of the errors; None: all are 1
    out,  # [rows, columns, C + 1] float32: sums over cells of target - rendering, and of its mean square
    weight_sums,  # out [rows, columns] float32: of the weights, if there are any
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
    counted0, counted1, counted2 = error0, error1, error2
    if weights is not None:
        weight = weights_of(weights, column, row, width, height)
        counted0, counted1, counted2 = weight * error0, weight * error1, weight * error2
    square = counted0 * error0
    number = tl.arange(0, TILE // cell)
    column, row = tile % columns * (TILE // cell) + number, tile // columns * (TILE // cell) + number
    valid = (row < cell_rows)[:, None] & (column < cell_columns)[None, :]
    index = row.to(tl.int64)[:, None] * cell_columns + column[None, :]
    if weights is not None:
        tl.store(weight_sums + index, _by_cell(weight, cell), valid)
    place = out + index * (channels + 1)
    tl.store(place, _by_cell(-counted0, cell), valid)
    if channels == 3:
        square = (square + counted1 * error1 + counted2 * error2) * (1 / 3)
        tl.store(place + 1, _by_cell(-counted1, cell), valid)
        tl.store(place + 2, _by_cell(-counted2, cell), valid)
    tl.store(place + channels, _by_cell(square, cell), valid)


@triton.jit
def _by_cell(values, cell: tl.constexpr):
    """Sums of a tile's pixels [TILE_PIXELS] over its cells, [TILE / cell, TILE / cell]."""
    by_column = tl.sum(tl.reshape(values, [TILE_PIXELS // cell, cell]), axis=1)
    return tl.sum(tl.reshape(by_column, [TILE // cell, cell, TILE // cell]), axis=1)


def residual_cells(
    launcher: Launcher, lists: TileLists, target: Tensor, weights: Tensor | None, view: View, cell: int
) -> Tensor:
    """``Renderer.residual``: float32 [rows, columns, C + 1].

    Args:
        target: [H, W, C] uint8 or uint16.
        weights: [H, W] uint8, of the errors; None: all are 1.
        cell: side, output pixels.
    """
    if cell < 1 or MAX_ERROR_CELL % cell:
        raise ValueError(f"a cell of {cell} pixels does not divide {MAX_ERROR_CELL}")
    part, channels = min(cell, TILE.value), target.shape[2]
    rows, columns = -(-view.rows // part), -(-view.columns // part)
    sums = launcher.empty((rows, columns, channels + 1))
    weight_sums = None if weights is None else launcher.empty((rows, columns, 1))
    arrays = (lists.starts, lists.gaussians, lists.splats, target, weights, sums, weight_sums)
    sizes = (lists.columns, view.columns, view.rows, columns, rows)
    launcher.launch(residual, lists.tiles, *arrays, *sizes, channels, part, warps=1)
    return means(sums, weight_sums, cell, view.rows, view.columns)


def means(sums: Tensor, weight_sums: Tensor | None, cell: int, rows: int, columns: int) -> Tensor:
    """Means over the pixels of each cell, [h, w, C + 1], of the sums that ``residual`` found.

    Args:
        sums: by cells, or by tiles, of which several make a larger cell.
        weight_sums: the sums of the weights, [..., 1], which residuals are divided by, but not squares; None: all
            weights are 1.
        cell: side, pixels.
        rows: of pixels.
        columns: of pixels.
    """
    sums = _joined(sums, cell)
    heights, widths = (
        torch.clamp(side - cell * torch.arange(-(-side // cell), device=sums.device), max=cell)
        for side in (rows, columns)
    )
    pixels = (heights[:, None] * widths[None, :])[..., None]
    if weight_sums is None:
        return sums.div_(pixels)
    weight = _joined(weight_sums, cell)
    sums[..., :-1] /= torch.where(weight > 0, weight, 1)
    sums[..., -1:] /= pixels
    return sums


def _joined(sums: Tensor, cell: int) -> Tensor:
    """Sums over cells of sums over tiles, if several tiles make a cell."""
    parts = max(1, cell // TILE.value)
    if parts == 1:
        return sums
    part_rows, part_columns, values = sums.shape
    padded = torch.nn.functional.pad(sums, (0, 0, 0, -part_columns % parts, 0, -part_rows % parts))
    return padded.reshape(-(-part_rows // parts), parts, -(-part_columns // parts), parts, values).sum(dim=(1, 3))
