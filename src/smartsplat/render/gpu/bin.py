"""Bin: from splats to the list of Gaussians of every tile of ``TILE`` x ``TILE`` output pixels.

An intersection is a Gaussian and a tile that its ellipse (E8) touches. Of the tiles in its rectangle these are a third
fewer in fits, and far fewer for thin ones that lie across. In each row of tiles they are neighbours, a "span", so that
two sums over counts number everything: spans by Gaussian, and intersections by span. The number of an intersection is
its "slot": where the backward pass leaves the tile's sums for the Gaussian. The slots of one Gaussian are consecutive,
and are summed in that order.

The order inside a tile's list is free, and is that of the slots only so that sums have a fixed order. No sort of all
intersections is needed: a histogram counts them by tile, each is dropped behind its tile's start in whatever order the
atomics give, and each tile then ranks its own short list.

Bytes an intersection: 24 in ``intersect``, its fraction of a span included, 20 in ``scatter``, 20 in ``order``. Counts
and offsets have 64 bits.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.errors import DeviceError
from smartsplat.render import View, max_covered_pixels, max_intersections
from smartsplat.render.gpu.constants import BLOCK, CHUNK_SLOTS, CUTOFF, HALF_LOG2_E, SPLAT_FLOATS, TILE
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.params import TensorGaussians
from smartsplat.render.gpu.project import ProjectedSplats, projected, within

SPANS_PER_ROUND = 4
"""Spans of one Gaussian that are found at once, a thread each."""

INTERSECTIONS_PER_ROUND = 8
"""Intersections of one span that are found at once, a thread each."""

TILES_PER_PROGRAM = 4
"""Whose lists a program of ``order`` ranks."""

ENTRIES_PER_ROUND = 32
"""Of each of these lists that are ranked at once."""

MAX_SORTED_LIST = tl.constexpr(4096)
"""Entries of the longest list of a tile that is put in order. A longer one, which no fit makes, is summed in the order
of arrival: equal up to float32's rounding, not to the last bit."""

MAX_SLOT = tl.constexpr(2147483647)

MAX_INTERSECTIONS = MAX_SLOT.value
"""Slots have 32 bits; the lists of as many would take 120 GB."""

MAX_EXPONENT = tl.constexpr(CUTOFF.value**2 * HALF_LOG2_E.value)
"""white_x^2 + white_y^2 where the window ends."""

OVERLAP_MESSAGE = "too many Gaussians lie over each other"


@triton.jit(do_not_specialize=["count", "width", "columns"])
def span(
    offsets,  # [N + 1] int64: a Gaussian's first span
    first_rows,  # [N] int32
    splats,  # [N, SPLAT_FLOATS] float32
    owners,  # out [spans] int32: Gaussian of a span
    tiles,  # out [spans] int32: its first tile
    widths,  # out [spans] int32: its tiles
    count,
    width,  # of the output, pixels
    columns,  # of tiles
    block: tl.constexpr,
    spans_per_round: tl.constexpr,
):
    """Some spans of each of ``block`` Gaussians at once. In float64, of the splat that will be rendered."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    valid = i < count
    begin = tl.load(offsets + i, valid, 0)
    rows = (tl.load(offsets + i + 1, valid, 0) - begin).to(tl.int32)
    splat = splats + i * SPLAT_FLOATS
    x, y = tl.load(splat, valid, 0.0).to(tl.float64), tl.load(splat + 1, valid, 0.0).to(tl.float64)
    factor_x, factor_y = tl.load(splat + 2, valid, 1.0).to(tl.float64), tl.load(splat + 3, valid, 1.0).to(tl.float64)
    shear = tl.load(splat + 4, valid, 0.0).to(tl.float64)
    square = factor_x * factor_x + shear * shear
    half_height = tl.sqrt(square * MAX_EXPONENT) / (factor_x * factor_y)
    half_width = tl.sqrt(tl.zeros_like(factor_x) + MAX_EXPONENT) / factor_x
    lean = -factor_y * shear / square  # dx in the middle of the ellipse, a dy
    tip = shear / factor_y * half_width  # dy of the leftmost point; the rightmost is opposite
    first_row = tl.load(first_rows + i, valid, 0)
    for done in range(0, tl.max(rows), spans_per_round):
        number = done + tl.arange(0, spans_per_round)[None, :]
        row = first_row[:, None] + number
        top = (row * TILE).to(tl.float64) + 0.5 - y[:, None]
        ellipse = (half_width[:, None], half_height[:, None], lean[:, None], tip[:, None], square[:, None])
        left, right, touched = _row_extent(top, ellipse, (factor_x * factor_y)[:, None])
        first = within(tl.ceil(x[:, None] + left - 0.5), width)
        end = within(tl.floor(x[:, None] + right + 0.5), width)
        visible = touched & (first < end)
        mask, place = number < rows[:, None], begin[:, None] + number
        tl.store(owners + place, i.to(tl.int32)[:, None] + 0 * number, mask)
        tl.store(tiles + place, row * columns + first // TILE, mask)
        tl.store(widths + place, tl.where(visible, (end - 1) // TILE + 1 - first // TILE, 0), mask)


@triton.jit
def _row_extent(top, ellipse, steepness):
    """From which dx to which one the ellipse factor_x^2 dx^2 + (factor_y dy + shear dx)^2 = MAX_EXPONENT is as wide as
    it gets between the first and the last pixel centres of a row of tiles; and whether it gets there at all.

    ``top`` is the dy of the first centres.
    """
    half_width, half_height, lean, tip, square = ellipse
    top, bottom = tl.maximum(top, -half_height), tl.minimum(top + (TILE - 1), half_height)
    left_top, right_top = _ends(top, lean, square, steepness)
    left_bottom, right_bottom = _ends(bottom, lean, square, steepness)
    left, right = tl.minimum(left_top, left_bottom), tl.maximum(right_top, right_bottom)
    left = tl.where((top <= tip) & (tip <= bottom), -half_width, left)
    right = tl.where((top <= -tip) & (-tip <= bottom), half_width, right)
    return left, right, top <= bottom


@triton.jit
def _ends(dy, lean, square, steepness):
    """The dx where a row meets the ellipse."""
    half = tl.sqrt(tl.maximum(square * MAX_EXPONENT - steepness * steepness * dy * dy, 0.0)) / square
    return lean * dy - half, lean * dy + half


@triton.jit(do_not_specialize=["spans"])
def intersect(
    offsets,  # [spans + 1] int64: a span's first slot
    span_owners,  # [spans] int32
    span_tiles,  # [spans] int32
    tile_counts,  # in and out [tiles] int32, at first 0
    owners,  # out [intersections] int32: Gaussian of a slot
    tiles,  # out [intersections] int32
    arrivals,  # out [intersections] int32: how many came to the tile before
    spans,
    block: tl.constexpr,
    intersections_per_round: tl.constexpr,
):
    """Some intersections of each of ``block`` spans at once."""
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    valid = i < spans
    begin = tl.load(offsets + i, valid, 0)
    count = (tl.load(offsets + i + 1, valid, 0) - begin).to(tl.int32)
    owner, first = tl.load(span_owners + i, valid, 0)[:, None], tl.load(span_tiles + i, valid, 0)[:, None]
    for done in range(0, tl.max(count), intersections_per_round):
        number = done + tl.arange(0, intersections_per_round)[None, :]
        mask, slot, tile = number < count[:, None], begin[:, None] + number, first + number
        tl.store(owners + slot, owner + 0 * number, mask)
        tl.store(tiles + slot, tile, mask)
        tl.store(arrivals + slot, tl.atomic_add(tile_counts + tile, 1, mask), mask)


@triton.jit(do_not_specialize=["total"])
def scatter(
    starts,  # [tiles + 1] int64
    tiles,  # [total] int32
    arrivals,  # [total] int32
    arrived,  # out [total] int32: the slots of each tile, in any order
    total,
    block: tl.constexpr,
):
    """One intersection a thread."""
    slot = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    valid = slot < total
    start = tl.load(starts + tl.load(tiles + slot, valid, 0), valid, 0)
    tl.store(arrived + start + tl.load(arrivals + slot, valid, 0), slot.to(tl.int32), valid)


@triton.jit(do_not_specialize=["count"])
def order(
    starts,  # [tiles + 1] int64
    arrived,  # [total] int32
    owners,  # [total] int32
    slots,  # out [total] int32: the slots of each tile, rising
    gaussians,  # out [total] int32: their Gaussians
    count,  # of tiles
    tiles: tl.constexpr,
    block: tl.constexpr,
):
    """Some tiles a program: an entry's place is the number of smaller ones, which is cheap for a few dozen."""
    tile = tl.program_id(0) * tiles + tl.arange(0, tiles)
    begin, end = tl.load(starts + tile, tile < count, 0), tl.load(starts + tile + 1, tile < count, 0)
    length = (end - begin).to(tl.int32)
    sorted_length = tl.where(length <= MAX_SORTED_LIST, length, 0)
    for first in range(0, tl.max(length), block):
        place = first + tl.arange(0, block)[None, :]
        mask = place < length[:, None]
        slot = tl.load(arrived + begin[:, None] + place, mask, 0)
        smaller = tl.zeros([tiles, block], tl.int32)
        for other in range(tl.max(sorted_length)):
            other_slot = tl.load(arrived + begin + other, other < sorted_length, MAX_SLOT)
            smaller += (other_slot[:, None] < slot).to(tl.int32)
        entry = begin[:, None] + tl.where((length <= MAX_SORTED_LIST)[:, None], smaller, place)
        tl.store(slots + entry, slot, mask)
        tl.store(gaussians + entry, tl.load(owners + slot, mask, 0), mask)


@dataclass(frozen=True)
class TileLists:
    """The Gaussians of a view by tile; T tiles, M intersections."""

    view: Tensor  # [6] float64: project.VIEW_NAMES
    splats: Tensor  # [N, SPLAT_FLOATS] float32
    offsets: Tensor  # [N + 1] int64: a Gaussian's first slot
    chunk_offsets: Tensor  # [N + 1] int64: and its first chunk of CHUNK_SLOTS slots, if it has more than one
    starts: Tensor  # [T + 1] int64: where a tile's list begins
    slots: Tensor  # [M] int32: of each list, rising
    gaussians: Tensor  # [M] int32: and the Gaussians
    intersections: int
    chunks: int
    columns: int  # of tiles
    rows: int

    @property
    def tiles(self) -> int:
        return self.columns * self.rows


def tile_lists(launcher: Launcher, params: TensorGaussians, view: View, overlap: float = math.inf) -> TileLists:
    """Project the Gaussians and list those of every tile.

    Raises:
        OverflowError: more than ``overlap`` Gaussians lie over a pixel on average; before anything large is allocated.
        DeviceError: there are more than MAX_INTERSECTIONS.
    """
    columns, rows = -(-view.columns // TILE.value), -(-view.rows // TILE.value)
    projection = projected(launcher, params, view)
    span_offsets = launcher.offsets(projection.heights)
    spans = int(span_offsets[-1])
    _check_listed(view, overlap, len(params), spans, columns * rows)
    _check_covered(view, overlap, projection.areas)
    owners, tiles, widths = _spans(launcher, projection, span_offsets, spans, view)
    slot_offsets = launcher.offsets(widths)
    offsets = slot_offsets[span_offsets]  # by Gaussian
    chunk = CHUNK_SLOTS.value
    slot_counts = offsets.diff()
    chunk_offsets = launcher.offsets(torch.where(slot_counts > chunk, (slot_counts + (chunk - 1)) // chunk, 0))
    total, chunks = torch.stack([offsets[-1], chunk_offsets[-1]]).tolist()
    _check_listed(view, overlap, len(params), total, columns * rows)
    lists = _ordered(launcher, slot_offsets, owners, tiles, columns * rows, total)
    return TileLists(projection.view, projection.splats, offsets, chunk_offsets, *lists, total, chunks, columns, rows)


def _spans(
    launcher: Launcher, projection: ProjectedSplats, offsets: Tensor, spans: int, view: View
) -> tuple[Tensor, Tensor, Tensor]:
    """Owner, first tile and number of tiles of every span."""
    count, columns = len(projection.splats), -(-view.columns // TILE.value)
    owners, tiles, widths = (launcher.empty((spans,), torch.int32) for _ in range(3))
    arrays = (offsets, projection.first_rows, projection.splats, owners, tiles, widths)
    form = (BLOCK // SPANS_PER_ROUND, SPANS_PER_ROUND)
    launcher.launch(span, -(-count * SPANS_PER_ROUND // BLOCK), *arrays, count, view.columns, columns, *form)
    return owners, tiles, widths


def _ordered(
    launcher: Launcher, slot_offsets: Tensor, span_owners: Tensor, span_tiles: Tensor, tile_count: int, total: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Starts, slots and Gaussians of the tiles' lists, from the spans."""
    spans = len(span_owners)
    owners, tiles, arrivals, arrived = (launcher.empty((total,), torch.int32) for _ in range(4))
    tile_counts = launcher.zeros((tile_count,), torch.int32)
    arrays = (slot_offsets, span_owners, span_tiles, tile_counts, owners, tiles, arrivals)
    form = (BLOCK // INTERSECTIONS_PER_ROUND, INTERSECTIONS_PER_ROUND)
    launcher.launch(intersect, -(-spans * INTERSECTIONS_PER_ROUND // BLOCK), *arrays, spans, *form)
    starts = launcher.offsets(tile_counts)
    launcher.launch(scatter, -(-total // BLOCK), starts, tiles, arrivals, arrived, total, BLOCK)
    slots, gaussians = tiles, arrivals  # whose memory is free again
    lists, form = (starts, arrived, owners, slots, gaussians), (TILES_PER_PROGRAM, ENTRIES_PER_ROUND)
    launcher.launch(order, -(-tile_count // TILES_PER_PROGRAM), *lists, tile_count, *form)
    return starts, slots, gaussians


def _check_listed(view: View, overlap: float, count: int, listed: int, tiles: int) -> None:
    """Of spans or intersections, before anything is allocated for them."""
    if listed > MAX_INTERSECTIONS:
        raise DeviceError(
            f"{count} Gaussians touch {listed} tiles of {view.columns} x {view.rows} pixels, more than a GPU is "
            "asked to list: use a smaller image or --device cpu"
        )
    if listed > max_intersections(overlap, tiles, count):
        raise OverflowError(OVERLAP_MESSAGE)


def _check_covered(view: View, overlap: float, areas: Tensor) -> None:
    if math.isfinite(overlap):
        covered = float(areas.sum(dtype=torch.float64))
        if covered > max_covered_pixels(overlap, view.columns * view.rows, len(areas)):
            raise OverflowError(OVERLAP_MESSAGE)
