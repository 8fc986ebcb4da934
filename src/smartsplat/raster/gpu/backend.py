"""The contract of ``smartsplat.raster`` with its arrays on a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartsplat.errors import DeviceError
from smartsplat.gaussians import FloatArray, Gaussians
from smartsplat.raster import DrawnCells, StepResult, StepSettings, View, filter_variance
from smartsplat.raster.gpu import bins, cells, pixels, seeds, ssim, update
from smartsplat.raster.gpu.params import Params, State

Bytes = npt.NDArray[np.uint8]

TILE, SPLAT, CHUNK = bins.TILE.value, bins.SPLAT.value, bins.CHUNK.value
BLOCK = 128  # Gaussians or pairs of a program
TOGETHER = (4, 8)  # spans of a Gaussian, pairs of a span that a thread each finds at once
LISTS = 4  # of tiles, that a program puts in order
SAMPLES = 128  # columns of a program of the SSIM kernels: one a thread, so that loads of any offset are whole lines
STRIP = 1 << 23
"""Pixels of a strip with SSIM, about: its buffers take 72 bytes each."""

LARGEST_CELL = 64
"""Pixels: the sides of the residual's cells divide it."""

PAIR_BYTES = 40
"""Of device memory that a Gaussian takes for each tile that it touches, in a step."""

OVERLAP = "too many Gaussians lie over each other"

MOST_PAIRS = 2**31 - 1
"""Slots have 32 bits; the lists of as many would take 120 GB."""


@dataclass(frozen=True)
class Binned:
    """The Gaussians of a view by tile; shapes and types are in ``bins.py``."""

    view: Tensor
    splats: Tensor
    offsets: Tensor
    chunk_offsets: Tensor
    starts: Tensor
    slots: Tensor
    gaussians: Tensor
    pairs: int
    chunks: int
    columns: int  # of tiles
    rows: int

    def partials(self) -> Tensor:
        """Room for what the backward pass leaves in the slots."""
        return torch.empty((self.pairs, SPLAT), dtype=torch.float32, device=self.splats.device)


class Backend:
    """The contract of ``smartsplat.raster`` on one GPU, "cuda" or "cuda:N" (also the name of AMD's).

    A target is uploaded when it is first seen and must not change afterwards. Sums have a fixed order: the same device
    and the same versions of torch and Triton give the same results, except for tiles that more than ``bins.LONGEST``
    Gaussians touch. Not to be shared between Python threads. DeviceError if the memory does not suffice.
    """

    def __init__(self, device: str = "cuda") -> None:
        self.device = torch.device(device)
        self._target: tuple[Bytes, Tensor] | None = None

    # ---- the contract ----------------------------------------------------------------------------------------------

    def upload(self, gaussians: Gaussians) -> Params:
        fields = (gaussians.mean, gaussians.scale, gaussians.rotation, gaussians.color)
        return Params(*(self._uploaded(field) for field in fields))

    def download(self, params: Params) -> Gaussians:
        return Gaussians(*(field.cpu().numpy().copy() for field in vars(params).values()))

    def render(self, params: Params, view: View) -> FloatArray:
        image: FloatArray = self.draw(params, view).cpu().numpy()
        return image

    def render_bytes(self, params: Params, view: View, overlap: float = math.inf) -> Bytes:
        """OverflowError, before anything large is allocated, if more than ``overlap`` lie over a pixel on average."""
        image: Bytes = self.draw_bytes(params, view, overlap).cpu().numpy()
        return image

    def render_strips(self, params: Params, view: View, pixels: int, overlap: float = math.inf) -> Iterator[Bytes]:
        """What ``render_bytes`` draws, in strips of whole rows with about so many ``pixels``."""
        with self._memory_named(len(params), view):
            binned = self._bin(params, view, overlap)
        return (
            self._drawn(binned, params.channels, view, top, bottom, torch.uint8).cpu().numpy()
            for top, bottom in _strips(view, pixels)
        )

    def render_gradient(self, params: Params, view: View, d_image: FloatArray) -> Gaussians:
        return self.download(self.gradient(params, view, self._uploaded(d_image)))

    def start(self, params: Params) -> State:
        shape = (len(params), 5 + params.channels)
        first, second = (torch.zeros(shape, dtype=torch.float32, device=self.device) for _ in range(2))
        return State(first, second, torch.zeros(len(params), dtype=torch.int32, device=self.device))

    def step(self, params: Params, state: State, target: Bytes, view: View, settings: StepSettings) -> StepResult:
        if state.first.shape != (len(params), 5 + params.channels):
            raise ValueError(f"moments of {tuple(state.first.shape)} for {len(params)} Gaussians")
        goal = self._goal(params, target, view)
        with self._memory_named(len(params), view):
            binned = self._bin(params, view, math.inf)
            partials = binned.partials()
            find = self._ssim_pass if settings.ssim else self._pixel_pass
            sums = find(binned, params.channels, goal, partials, settings)
            sizes = self._update(params, state, binned, partials, settings)
            absolute, square, similarity, size = torch.cat([sums, sizes.sum().reshape(1)]).tolist()
        samples = view.rows * view.columns * params.channels
        loss = (settings.l1 * absolute + settings.l2 * square) / samples + size
        if settings.ssim:
            loss += settings.ssim * (1 - similarity / samples)
        return StepResult(loss, square / samples)

    def residual(self, params: Params, target: Bytes, view: View, cell: int) -> FloatArray:
        with self._memory_named(len(params), view):
            found: FloatArray = self._residual(params, target, view, cell).cpu().numpy()
        return found

    def draw_cells(
        self,
        params: Params,
        target: Bytes,
        view: View,
        cell: int,
        count: int,
        blur: float,
        generator: np.random.Generator,
    ) -> DrawnCells:
        with self._memory_named(len(params), view):
            return cells.drawn(self._residual(params, target, view, cell), count, blur, generator)

    def draw_weighted(
        self,
        target: Bytes,
        boxes: npt.NDArray[np.int64],
        budgets: npt.NDArray[np.int64],
        keys: npt.NDArray[np.uint64],
        window: int,
        share: float,
    ) -> tuple[FloatArray, FloatArray]:
        with self._memory_named(int(budgets.sum()), View.whole(target.shape[1], target.shape[0])):
            return seeds.draw_weighted(self._launch, self._resident(target), boxes, budgets, keys, window, share)

    def median_color(self, target: Bytes, mean: FloatArray, scale: FloatArray) -> FloatArray:
        with self._memory_named(len(mean), View.whole(target.shape[1], target.shape[0])):
            places = self._uploaded(mean), self._uploaded(scale)
            levels = seeds.median_color(self._launch, self._resident(target), *places)
        return levels.astype(np.float32) / np.float32(255)  # here, because torch multiplies by 1 / 255 instead

    # ---- the same on tensors ---------------------------------------------------------------------------------------

    def draw(self, params: Params, view: View) -> Tensor:
        """The rendering, float32 [rows, columns, C], not clamped."""
        with self._memory_named(len(params), view):
            binned = self._bin(params, view, math.inf)
            return self._drawn(binned, params.channels, view, 0, view.rows)

    def draw_bytes(self, params: Params, view: View, overlap: float = math.inf) -> Tensor:
        """The rendering, uint8 [rows, columns, C]."""
        with self._memory_named(len(params), view):
            binned = self._bin(params, view, overlap)
            return self._drawn(binned, params.channels, view, 0, view.rows, torch.uint8)

    def gradient(self, params: Params, view: View, d_image: Tensor) -> Params:
        """dL/d(parameter) for dL/d(image) [rows, columns, C]."""
        if d_image.shape != (view.rows, view.columns, params.channels):
            raise ValueError(f"a gradient of {tuple(d_image.shape)} for {view}")
        d_image = d_image.to(torch.float32).contiguous()
        found = Params(*(torch.empty_like(field) for field in vars(params).values()))
        with self._memory_named(len(params), view):
            binned = self._bin(params, view, math.inf)
            partials = binned.partials()
            layout = (view.columns * params.channels, params.channels, 1)
            self._backward(d_image, binned, partials, params.channels, view.columns, (0, view.rows), 0, layout)
            self._collapse(binned, partials)
            self._launch(
                *(update.gradients, -(-len(params) // BLOCK)),
                *(params.scale, params.rotation, params.color, binned.view, binned.offsets, partials),
                *(found.mean, found.scale, found.rotation, found.color, len(params), params.channels, BLOCK),
            )
        return found

    # ---- the stages of a step --------------------------------------------------------------------------------------

    def _bin(self, params: Params, view: View, overlap: float) -> Binned:
        """Project the Gaussians and list those of every tile."""
        count, columns, rows = len(params), -(-view.columns // TILE), -(-view.rows // TILE)
        values = (view.x, view.y, view.scale_x, view.scale_y)
        filters = (filter_variance(view.scale_x), filter_variance(view.scale_y))
        area = self._uploaded(np.array([*values, *filters], np.float64))
        splats, first_rows = self._empty((count, SPLAT)), self._empty((count,), torch.int32)
        heights, areas = self._empty((count,), torch.int64), self._empty((count,))
        self._launch(
            *(bins.project, -(-count // BLOCK)),
            *(params.mean, params.scale, params.rotation, params.color, area, splats, first_rows, heights, areas),
            *(count, view.columns, view.rows, params.channels, BLOCK),
        )
        span_offsets = self._offsets(heights)
        spans = int(span_offsets[-1])
        _check_listed(view, overlap, count, spans, columns * rows)
        _check_covered(view, overlap, count, areas)
        span_owners, span_tiles, widths = (self._empty((spans,), torch.int32) for _ in range(3))
        self._launch(
            *(bins.span, -(-count * TOGETHER[0] // BLOCK), span_offsets, first_rows, splats),
            *(span_owners, span_tiles, widths),
            *(count, view.columns, columns, BLOCK // TOGETHER[0], TOGETHER[0]),
        )
        slot_offsets = self._offsets(widths)
        offsets = slot_offsets[span_offsets]  # by Gaussian
        slots_each = offsets.diff()
        chunk_offsets = self._offsets(torch.where(slots_each > CHUNK, (slots_each + (CHUNK - 1)) // CHUNK, 0))
        pairs, chunks = torch.stack([offsets[-1], chunk_offsets[-1]]).tolist()
        _check_listed(view, overlap, count, pairs, columns * rows)
        owners, tiles, arrivals, arrived = (self._empty((pairs,), torch.int32) for _ in range(4))
        tile_counts = torch.zeros(columns * rows, dtype=torch.int32, device=self.device)
        self._launch(
            *(bins.pair, -(-spans * TOGETHER[1] // BLOCK), slot_offsets, span_owners, span_tiles, tile_counts),
            *(owners, tiles, arrivals, spans, BLOCK // TOGETHER[1], TOGETHER[1]),
        )
        starts = self._offsets(tile_counts)
        self._launch(bins.scatter, -(-pairs // BLOCK), starts, tiles, arrivals, arrived, pairs, BLOCK)
        slots, gaussians = tiles, arrivals  # which are done with
        self._launch(
            *(bins.order, -(-columns * rows // LISTS), starts, arrived, owners, slots, gaussians),
            *(columns * rows, LISTS, 32),
        )
        lists = (offsets, chunk_offsets, starts, slots, gaussians)
        return Binned(area, splats, *lists, pairs, chunks, columns, rows)

    def _offsets(self, counts: Tensor) -> Tensor:
        """Where each begins if they lie one behind the other, and where the last ends, int64 [n + 1]."""
        offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=self.device)
        torch.cumsum(counts, dim=0, dtype=torch.int64, out=offsets[1:])
        return offsets

    def _drawn(
        self, binned: Binned, channels: int, view: View, top: int, bottom: int, kind: torch.dtype = torch.float32
    ) -> Tensor:
        """The rows from ``top``, which begins a tile, to ``bottom`` of a rendering, [bottom - top, columns, C]."""
        out = self._empty((bottom - top, view.columns, channels), kind)
        self._draw_into(out, binned, channels, view.columns, top, bottom, (view.columns * channels, channels, 1))
        return out

    def _draw_into(
        self, out: Tensor, binned: Binned, channels: int, width: int, top: int, bottom: int, layout: tuple[int, ...]
    ) -> None:
        first, last = top // TILE, -(-bottom // TILE)
        self._launch(
            *(pixels.draw, (last - first) * binned.columns, binned.starts, binned.gaussians, binned.splats, out),
            *(first * binned.columns, binned.columns, width, top, bottom, *layout),
            *(channels, out.dtype == torch.uint8),
            warps=1,
        )

    def _backward(
        self,
        d_image: Tensor,
        binned: Binned,
        partials: Tensor,
        channels: int,
        width: int,
        rows: tuple[int, int],
        first_row: int,
        layout: tuple[int, ...],
    ) -> None:
        """The backward pass of the rows begin to end, of which ``d_image`` holds all from ``first_row`` on."""
        first, last = rows[0] // TILE, -(-rows[1] // TILE)
        self._launch(
            *(pixels.backward, (last - first) * binned.columns),
            *(binned.starts, binned.gaussians, binned.slots, binned.splats, d_image, partials),
            *(first * binned.columns, binned.columns, width, first_row, rows[1], *layout, channels),
            warps=1,
        )

    def _pixel_pass(
        self, binned: Binned, channels: int, goal: Tensor, partials: Tensor, settings: StepSettings
    ) -> Tensor:
        """Drawing, loss and backward pass in one kernel; sums of |e|, e^2 and, here 0, of SSIM."""
        tiles = binned.columns * binned.rows
        losses = self._empty((tiles, 2))
        self._launch(
            *(pixels.fit, tiles, binned.starts, binned.gaussians, binned.slots, binned.splats, goal, partials, losses),
            *(binned.columns, goal.shape[1], goal.shape[0]),
            *(settings.l1 / goal.numel(), 2 * settings.l2 / goal.numel(), channels),
            warps=1,
        )
        return torch.nn.functional.pad(losses.sum(dim=0, dtype=torch.float64), (0, 1))

    def _ssim_pass(
        self, binned: Binned, channels: int, goal: Tensor, partials: Tensor, settings: StepSettings
    ) -> Tensor:
        """The same with SSIM: drawing, three kernels and the backward pass for one strip after the other."""
        height, width, _ = goal.shape
        tall = max(1, STRIP // width // TILE) * TILE
        pitch = -(-width // ssim.MARGIN) * ssim.MARGIN + ssim.MARGIN
        most = channels * min(height, tall + 2 * TILE) * pitch
        before, behind = pitch + ssim.MARGIN, SAMPLES + ssim.MARGIN
        planes = torch.zeros(before + 6 * most + behind, dtype=torch.float32, device=self.device)[before:]
        weights = (settings.l1 / goal.numel(), 2 * settings.l2 / goal.numel(), settings.ssim / goal.numel())
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for top in range(0, height, tall):
            bottom = min(top + tall, height)
            first_row, end_row = max(0, top - TILE), min(height, bottom + TILE)  # with what SSIM sees around it
            rows = end_row - first_row
            layout = (pitch, 1, rows * pitch)
            self._draw_into(planes, binned, channels, width, first_row, end_row, layout)
            own = (top - first_row, bottom - first_row)
            sums += self._ssim_gradient(planes, goal, (rows, width, pitch), first_row, own, weights)
            self._backward(planes, binned, partials, channels, width, (top, bottom), first_row, layout)
        return sums

    def _ssim_gradient(
        self,
        planes: Tensor,
        goal: Tensor,
        shape: tuple[int, int, int],
        first_row: int,
        own: tuple[int, int],
        weights: tuple[float, float, float],
    ) -> Tensor:
        """Replaces a rendered strip by the loss's gradient; sums of |e|, e^2 and SSIM over its ``own`` rows.

        The strip is the first of the ``planes``, each [C, rows, pitch]; see ``ssim`` for the others.
        """
        rows, width, _ = shape
        channels, blocks, groups = goal.shape[2], -(-width // SAMPLES), -(-rows // ssim.DEEP.value)
        programs = channels * groups * blocks
        lines, form = (*shape, blocks, groups), (channels, SAMPLES)
        similarities, losses = self._empty((programs,)), self._empty((programs, 2))
        self._launch(ssim.levels, programs, planes, goal, *lines, first_row, *form)
        self._launch(ssim.slopes, programs, planes, similarities, *lines, *own, *form)
        self._launch(ssim.gradient, programs, planes, goal, losses, *lines, first_row, *own, *weights, *form)
        pixelwise = losses.sum(dim=0, dtype=torch.float64)
        return torch.cat([pixelwise, similarities.sum(dtype=torch.float64).reshape(1)])

    def _collapse(self, binned: Binned, partials: Tensor) -> None:
        counts = binned.chunk_offsets.diff()
        owners = torch.arange(len(counts), device=self.device).repeat_interleave(counts, output_size=binned.chunks)
        lists = (binned.offsets, binned.chunk_offsets, owners, partials)
        self._launch(update.collapse, binned.chunks, *lists, warps=1)

    def _update(self, params: Params, state: State, binned: Binned, partials: Tensor, settings: StepSettings) -> Tensor:
        """Gradient and Adam; the size term of each program's Gaussians."""
        count = len(params)
        sizes = torch.zeros(-(-count // BLOCK), dtype=torch.float64, device=self.device)
        self._collapse(binned, partials)
        self._launch(
            *(update.update, len(sizes)),
            *(params.mean, params.scale, params.rotation, params.color, state.first, state.second, state.age),
            *(binned.view, self._uploaded(settings_of(settings)), binned.offsets, partials, sizes),
            *(count, params.channels, settings.relative, BLOCK),
        )
        return sizes

    def _residual(self, params: Params, target: Bytes, view: View, cell: int) -> Tensor:
        if cell < 1 or LARGEST_CELL % cell:
            raise ValueError(f"a cell of {cell} pixels does not divide {LARGEST_CELL}")
        goal = self._goal(params, target, view)
        binned = self._bin(params, view, math.inf)
        part = min(cell, TILE)
        down, across = -(-view.rows // part), -(-view.columns // part)
        sums = self._empty((down, across, params.channels + 1))
        self._launch(
            *(cells.residual, binned.columns * binned.rows, binned.starts, binned.gaussians, binned.splats, goal, sums),
            *(binned.columns, view.columns, view.rows, across, down, params.channels, part),
            warps=1,
        )
        return cells.means(sums, cell, view.rows, view.columns)

    # ---- memory and devices ----------------------------------------------------------------------------------------

    def _goal(self, params: Params, target: Bytes, view: View) -> Tensor:
        if target.shape != (view.rows, view.columns, params.channels) or target.dtype != np.uint8:
            raise ValueError(f"a target of {target.dtype} {target.shape} for {view}")
        with self._memory_named(len(params), view):
            return self._resident(target)

    def _resident(self, target: Bytes) -> Tensor:
        """The target on the device: uploaded once."""
        if self._target is None or self._target[0] is not target:
            self._target = None
            self._target = target, self._uploaded(target)
        return self._target[1]

    def _uploaded(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.tensor(np.ascontiguousarray(array), device=self.device)

    def _empty(self, shape: tuple[int, ...], kind: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=kind, device=self.device)

    def _launch(self, kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
        """Triton launches on the current device, and only where there is something to do."""
        if not programs:
            return
        # Newer versions of Triton fuse multiplications and additions only when they are asked to.
        options = {"num_warps": warps, "enable_fp_fusion": True}
        if self.device.type == "cpu":  # Triton's interpreter
            kernel[(programs,)](*arguments, **options)
            return
        with torch.cuda.device(self.device):
            kernel[(programs,)](*arguments, **options)

    @contextmanager
    def _memory_named(self, count: int, view: View) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            self._target = None
            free, memory = torch.cuda.mem_get_info(self.device)
            # What others have is neither free nor torch's to give again.
            room = free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            needed = f"{view.columns} x {view.rows} pixels and {count} Gaussians do not fit into {self.device}"
            memory_left = f"{room / 1e9:.1f} of {memory / 1e9:.1f} GB"
            fitting = _fitting(view, count, room)
            raise DeviceError(f"{needed}, which has {memory_left} to spare: {fitting}") from error


def _fitting(view: View, count: int, room: float) -> str:
    """The size that fits, by the usual 20 pairs of a tile, or, at growth events, the cells of two pixels a side."""
    pixel = 3 + max(20 * PAIR_BYTES / TILE**2, 8) + 300 * count / (view.columns * view.rows)
    return f"about {room / pixel / 1e6:.0f} megapixels would; use a higher ratio, a smaller picture or --device cpu"


def _check_listed(view: View, overlap: float, count: int, listed: int, tiles: int) -> None:
    """Spans or pairs, before anything is allocated for them."""
    if listed > MOST_PAIRS:
        raise DeviceError(
            f"{count} Gaussians touch {listed} tiles of {view.columns} x {view.rows} pixels, more than a GPU is "
            "asked to list: use a smaller picture or --device cpu"
        )
    if listed > overlap * tiles + 4.0 * count:
        raise OverflowError(OVERLAP)


def _check_covered(view: View, overlap: float, count: int, areas: Tensor) -> None:
    if math.isfinite(overlap):
        covered = float(areas.sum(dtype=torch.float64))
        if covered > overlap * view.columns * view.rows + 64.0 * count:
            raise OverflowError(OVERLAP)


def _strips(view: View, pixels: int) -> list[tuple[int, int]]:
    """First row and the one behind the last of strips with about so many ``pixels``, or of all rows."""
    whole = pixels >= view.rows * view.columns
    rows = view.rows if whole else max(1, pixels // view.columns // TILE) * TILE
    return [(top, min(top + rows, view.rows)) for top in range(0, view.rows, rows)]


def settings_of(settings: StepSettings) -> npt.NDArray[np.float64]:
    """In the order in which ``update.update`` reads them."""
    s = settings
    logs = (math.log(beta) if beta > 0 else -math.inf for beta in (s.beta1, s.beta2))
    rates = (s.rate_mean_x, s.rate_mean_y, s.rate_scale, s.rate_rotation, s.rate_color)
    bounds = (s.smallest_scale, s.largest_scale, s.largest_aspect, s.width, s.height)
    return np.array([s.size, s.size_floor, *rates, s.beta1, s.beta2, s.epsilon, *logs, *bounds], np.float64)


def title_of(device: str) -> str:
    """The name of a GPU, such as "NVIDIA H100 80GB HBM3". DeviceError if torch cannot use it."""
    if not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} finds no NVIDIA or AMD GPU here: use --device cpu")
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise DeviceError(f"there is no {device}: this machine has {torch.cuda.device_count()}, counted from 0")
    return str(torch.cuda.get_device_name(index))
