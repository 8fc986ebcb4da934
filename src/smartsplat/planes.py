"""The planes of a file, colours and opacity, rendered for a view: groups that touch it -> Gaussians -> samples."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.bitstream import entropy
from smartsplat.bitstream.container import TILE, Alpha, Group
from smartsplat.bitstream.mask import MAX_LEVEL, PART_SIDE, mask_levels
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import LimitError
from smartsplat.gaussians import CUTOFF, Gaussians
from smartsplat.limits import Limits
from smartsplat.render import Grain, Renderer, View, filter_variance
from smartsplat.render.device import open_renderer
from smartsplat.render.mask import BoxFilter, box_means

STRIP_PIXELS = 1 << 24
"""Pixels of a strip, about."""

PIECE_PIXELS = 1 << 22
"""Pixels of a mask that are averaged at once, about: bounds the floats of a view that is much smaller."""


class GaussianPlane:
    """Groups of Gaussians with one quantiser: decoded once, when a view touches them."""

    def __init__(
        self, groups: Sequence[Group], quantizer: Quantizer, device: str, threads: int, limits: Limits
    ) -> None:
        self._groups = groups
        self._quantizer = quantizer
        self._device = device
        self._threads = threads
        self._limits = limits
        self._decoded: dict[int, Gaussians] = {}
        self._rendering = threading.Lock()
        _planes.add(self)

    def start_anew(self) -> None:
        """In a forked process: another thread may hold the lock and be in the middle of drawing, and is not there.

        The renderer is left as it is, and never destroyed.
        """
        self._rendering = threading.Lock()
        self._abandoned = self.__dict__.pop("_renderer", None)

    def gaussians(self) -> Gaussians:
        """All of them, in the order of the file."""
        return self._gaussians(range(len(self._groups)))

    def render(self, view: View, dtype: np.dtype[Any], grain: Grain | None = None) -> SampleArray:
        """Samples [rows, columns, C] of a view, with grain; decodes only the groups that touch it.

        Raises:
            FormatError, LimitError, DeviceError: as ``smartsplat.decode``.
        """
        with self._rendering, self._limit_errors(view):  # the renderer owns the buffers that it works in
            params = self._renderer.upload(self._gaussians(self._touching(view)))
            return self._renderer.render_samples(params, view, dtype, self._limits.overlap, grain)

    def strips(self, view: View, dtype: np.dtype[Any], grain: Grain | None = None) -> Iterator[SampleArray]:
        """The same in strips of about 16 megapixels, each rendered when it is asked for; errors come at once."""
        with self._rendering:
            gaussians = self._gaussians(self._touching(view))
        with self._limit_errors(view):
            renderer = open_renderer(self._device, self._threads)
            params = renderer.upload(gaussians)
            return renderer.render_strips(params, view, STRIP_PIXELS, dtype, self._limits.overlap, grain)

    @contextmanager
    def _limit_errors(self, view: View) -> Iterator[None]:
        try:
            yield
        except OverflowError:  # a small file could keep a reader busy for hours
            raise LimitError(
                f"more than {self._limits.overlap} Gaussians lie over each of {view.columns} x {view.rows} pixels"
            ) from None

    @cached_property
    def _renderer(self) -> Renderer:
        return open_renderer(self._device, self._threads)

    def _touching(self, view: View) -> list[int]:
        """Indices of the groups with Gaussians that may touch a view; the pixel filter widens them."""
        margin_x = CUTOFF * math.sqrt(filter_variance(view.scale_x))
        margin_y = CUTOFF * math.sqrt(filter_variance(view.scale_y))

        def touches(group: Group) -> bool:
            x0, y0, x1, y1 = (TILE * edge for edge in group.extent)
            return (
                x0 < view.x + view.width + margin_x
                and x1 > view.x - margin_x
                and y0 < view.y + view.height + margin_y
                and y1 > view.y - margin_y
            )

        return [index for index, group in enumerate(self._groups) if touches(group)]

    def _gaussians(self, indices: Sequence[int]) -> Gaussians:
        missing = [index for index in indices if index not in self._decoded]
        if missing:
            groups = [(self._groups[index].data, self._groups[index].count) for index in missing]
            whole = entropy.decode_gaussians(groups, self._quantizer, self._threads)
            end = 0
            for index, (_, count) in zip(missing, groups, strict=True):
                self._decoded[index] = whole[end : end + count]
                end += count
            if len(missing) == len(indices):
                return whole
        if len(indices) == 1:
            return self._decoded[indices[0]]
        return Gaussians.concatenated([self._decoded[index] for index in indices], self._quantizer.channels)


_planes: weakref.WeakSet[GaussianPlane] = weakref.WeakSet()


def _start_anew() -> None:
    for plane in _planes:
        plane.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


class AlphaPlane:
    """Opacity: the sum of its Gaussians and its mask, at most 1."""

    def __init__(self, alpha: Alpha, device: str, threads: int, limits: Limits) -> None:
        self._alpha = alpha
        self._threads = threads
        self._gaussians = GaussianPlane(alpha.groups, alpha.quantizer, device, threads, limits)
        self._band: tuple[tuple[int, int, int, int], ByteArray] | None = None

    def render(self, view: View, dtype: np.dtype[Any]) -> SampleArray:
        """Samples [rows, columns] of a view."""
        rendered = self._gaussians.render(view, dtype)[..., 0] if self._alpha.groups else None
        return self._with_mask(rendered, view, slice(0, view.rows), dtype)

    def beside(
        self, strips: Iterator[SampleArray], view: View, dtype: np.dtype[Any]
    ) -> Iterator[tuple[SampleArray, SampleArray]]:
        """Each of the colours' strips with the opacity of its rows."""
        own = self._gaussians.strips(view, dtype) if self._alpha.groups else None
        return self._beside(strips, own, view, dtype)

    def _beside(
        self, strips: Iterator[SampleArray], own: Iterator[SampleArray] | None, view: View, dtype: np.dtype[Any]
    ) -> Iterator[tuple[SampleArray, SampleArray]]:
        top = 0
        for strip in strips:
            rendered = next(own)[..., 0] if own is not None else None  # strips of one view are of the same rows
            yield strip, self._with_mask(rendered, view, slice(top, top + len(strip)), dtype)
            top += len(strip)

    def _with_mask(self, rendered: SampleArray | None, view: View, rows: slice, dtype: np.dtype[Any]) -> SampleArray:
        """The sum of some rows of the Gaussians' rendering and of the mask."""
        if not self._alpha.mask:
            return np.zeros((rows.stop - rows.start, view.columns), dtype) if rendered is None else rendered
        mask = self._mask(view, rows, dtype)
        if rendered is None:
            return mask
        return np.minimum(rendered, np.iinfo(dtype).max - mask) + mask

    def _mask(self, view: View, rows: slice, dtype: np.dtype[Any]) -> SampleArray:
        """The mask's samples [h, columns]."""
        quantizer = self._alpha.quantizer
        along_y = BoxFilter.of(view.y, view.height, view.rows, quantizer.height)
        along_x = BoxFilter.of(view.x, view.width, view.columns, quantizer.width)
        left, right = along_x.support
        source_rows = max(1.0, 1 / view.scale_y)
        piece = max(1, int(PIECE_PIXELS / (source_rows * (right - left))))
        result: SampleArray = np.empty((rows.stop - rows.start, view.columns), dtype)
        white = np.iinfo(dtype).max
        for begin in range(rows.start, rows.stop, piece):
            part = along_y[begin : min(begin + piece, rows.stop)]
            top, bottom = part.support
            if not self._is_masked(left, right, top, bottom):
                result[begin - rows.start :][: len(part.low)] = 0
                continue
            opacity = box_means(self._levels(left, right, top, bottom), part, along_x, MAX_LEVEL)
            result[begin - rows.start :][: len(part.low)] = np.floor(opacity * np.float32(white) + np.float32(0.5))
        return result

    def _is_masked(self, left: int, right: int, top: int, bottom: int) -> bool:
        """Whether any part of the mask reaches into a rectangle."""
        extents = ([TILE * edge for edge in part.extent] for part in self._alpha.mask)
        return any(x0 < right and x1 > left and y0 < bottom and y1 > top for x0, y0, x1, y1 in extents)

    def _levels(self, left: int, right: int, top: int, bottom: int) -> ByteArray:
        """The mask's levels [bottom - top, right - left]; whole parts are kept for the rows that follow."""
        first = top // PART_SIDE * PART_SIDE
        last = min(-(-bottom // PART_SIDE) * PART_SIDE, self._alpha.quantizer.height)
        band = left, right, first, last
        if self._band is None or self._band[0] != band:
            size = self._alpha.quantizer.width, self._alpha.quantizer.height
            box = left, first, right - left, last - first
            self._band = band, mask_levels(self._alpha.mask, box, size, self._threads)
        return self._band[1][top - first : bottom - first]


def with_alpha(color: SampleArray, alpha: SampleArray) -> SampleArray:
    """Colours [h, w, C] and opacity [h, w] in one array, [h, w, C + 1]."""
    joined: SampleArray = np.empty((*alpha.shape, color.shape[2] + 1), color.dtype)
    joined[..., :-1], joined[..., -1] = color, alpha
    return joined
