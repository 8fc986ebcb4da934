"""What a file shows, rendered for a view, on the processor or a GPU."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from smartsplat import _native
from smartsplat.arrays import SampleArray
from smartsplat.errors import LimitError
from smartsplat.gaussians import Gaussians
from smartsplat.limits import Limits
from smartsplat.render import Grain, Renderer, View, strip_rows
from smartsplat.render.device import CPU, find, open_renderer

STRIP_PIXELS = 1 << 24
"""Pixels of a strip, about."""


class Planes(Protocol):
    """Colours and opacity of a file, for several threads. Groups are decoded once, when a view touches them."""

    def gaussians(self) -> Gaussians:
        """Those of the colours, in the order of the file."""

    def render(self, view: View, dtype: np.dtype[Any], grain: bool, preview: bool = False) -> SampleArray:
        """Samples [rows, columns, C] of a view, the last channel being opacity if the file has any.

        Args:
            preview: without Gaussians that hardly show at the size of the view.

        Raises:
            FormatError, LimitError, DeviceError: as ``smartsplat.decode``.
        """

    def strips(self, view: View, dtype: np.dtype[Any], grain: bool) -> Iterator[SampleArray]:
        """The same in strips of about 16 megapixels, each rendered when it is asked for; errors come at once."""


Fetch = Callable[[list[tuple[int, int]]], None]
"""Reads parts of a file that is read on demand: where each begins, and how many bytes it has."""


def open_planes(
    container: _native.Container, device: str, threads: int, limits: Limits, fetch: Fetch | None = None
) -> Planes:
    """The planes of a file that has been read, or is by ``fetch``, for a device as ``open_renderer`` takes it."""
    kind = CpuPlanes if find(device) == CPU else GpuPlanes
    return kind(container, device, threads, limits, fetch)


class CpuPlanes:
    """On the processor: all of it is compiled (``native/decoder``)."""

    def __init__(
        self, container: _native.Container, device: str, threads: int, limits: Limits, fetch: Fetch | None
    ) -> None:
        self._container = container
        self._fetch = fetch
        self._device = device
        self._threads = threads
        self._limits = limits
        self.start_anew()
        _planes.add(self)

    def start_anew(self) -> None:
        """In a forked process: another thread may hold the lock and be in the middle of drawing, and is not there.

        What it was drawing with is left as it is, and never destroyed.
        """
        self._abandoned = self.__dict__.pop("_rendering", None), self.__dict__.get("_decoder")
        self._lock = threading.Lock()  # for what decodes, and for the rendering that all share
        self._decoder = _native.Decoder(self._container, self._limits)

    @cached_property
    def _rendering(self) -> _native.Rendering:
        """Threads start at its first use, with the lock."""
        return _native.Rendering(self._decoder, self._threads)

    def gaussians(self) -> Gaussians:
        return self._gaussians(None)

    def render(self, view: View, dtype: np.dtype[Any], grain: bool, preview: bool = False) -> SampleArray:
        with self._lock:
            self._await(view, preview)
            self._rendering.begin(self._decoder, view, dtype == np.uint16, grain, preview)
            return self._rows(self._rendering, view, 0, view.rows, dtype)

    def strips(self, view: View, dtype: np.dtype[Any], grain: bool) -> Iterator[SampleArray]:
        rendering = _native.Rendering(self._decoder, self._threads)
        with self._lock:
            self._await(view)
            rendering.begin(self._decoder, view, dtype == np.uint16, grain)
        rows = strip_rows(view, STRIP_PIXELS, _native.MACROTILE)
        tops = range(0, view.rows, rows)
        return (self._rows(rendering, view, top, min(top + rows, view.rows), dtype) for top in tops)

    def _rows(
        self, rendering: _native.Rendering, view: View, top: int, bottom: int, dtype: np.dtype[Any]
    ) -> SampleArray:
        image: SampleArray = np.empty((bottom - top, view.columns, rendering.channels), dtype)
        rendering.render_rows(top, image)
        return image

    def _gaussians(self, view: View | None, alpha: bool = False, preview: bool = False) -> Gaussians:
        with self._lock:
            self._await(view, preview)
            return Gaussians(*self._rendering.gaussians(self._decoder, view, alpha, preview))

    def _await(self, view: View | None, preview: bool = False) -> None:
        """Have what a view needs, or all, read; with the lock."""
        if self._fetch is not None:
            self._fetch(self._decoder.awaited(view, preview))


_planes: weakref.WeakSet[CpuPlanes] = weakref.WeakSet()


def _start_anew() -> None:
    for planes in _planes:
        planes.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


class GpuPlanes(CpuPlanes):
    """On a GPU: what is decoded, and the mask, come from the processor."""

    def render(self, view: View, dtype: np.dtype[Any], grain: bool, preview: bool = False) -> SampleArray:
        with self._drawing, self._limit_errors(view):  # the renderer owns the buffers that it works in
            color = self._rendered(self._gaussians(view, preview=preview), view, dtype, self._grain if grain else None)
            if not self._container.has_alpha:
                return color
            alpha = self._rendered(self._gaussians(view, alpha=True, preview=preview), view, dtype)
        return self._with_alpha(color, alpha, view, 0)

    def strips(self, view: View, dtype: np.dtype[Any], grain: bool) -> Iterator[SampleArray]:
        with self._limit_errors(view):
            color = self._rendered_strips(view, dtype, self._grain if grain else None)
            if not self._container.has_alpha:
                return color
            return self._beside(color, self._rendered_strips(view, dtype, alpha=True), view)

    def start_anew(self) -> None:
        super().start_anew()
        self._abandoned_renderer = self.__dict__.pop("_renderer", None)
        self._drawing = threading.Lock()

    @cached_property
    def _renderer(self) -> Renderer:
        return open_renderer(self._device, self._threads)

    @cached_property
    def _grain(self) -> Grain | None:
        if self._container.grain is None:
            return None
        return Grain(self._decoder.grain_strengths(), 1 << self._container.grain[0])

    def _rendered(
        self, gaussians: Gaussians, view: View, dtype: np.dtype[Any], grain: Grain | None = None
    ) -> SampleArray:
        params = self._renderer.upload(gaussians)
        return self._renderer.render_samples(params, view, dtype, self._limits.overlap, grain)

    def _rendered_strips(
        self, view: View, dtype: np.dtype[Any], grain: Grain | None = None, alpha: bool = False
    ) -> Iterator[SampleArray]:
        renderer = open_renderer(self._device, self._threads)
        params = renderer.upload(self._gaussians(view, alpha))
        return renderer.render_strips(params, view, STRIP_PIXELS, dtype, self._limits.overlap, grain)

    def _beside(
        self, colors: Iterator[SampleArray], alphas: Iterator[SampleArray], view: View
    ) -> Iterator[SampleArray]:
        top = 0
        for color, alpha in zip(colors, alphas, strict=True):  # strips of one view are of the same rows
            yield self._with_alpha(color, alpha, view, top)
            top += len(color)

    def _with_alpha(self, color: SampleArray, alpha: SampleArray, view: View, top: int) -> SampleArray:
        """Colours [h, w, C] and opacity [h, w, 1], with the mask's part of it, in one array."""
        mask = np.empty(alpha.shape[:2], alpha.dtype)
        with self._lock:
            self._rendering.render_mask(view, top, mask)
        opacity = np.minimum(alpha[..., 0], np.iinfo(alpha.dtype).max - mask) + mask
        return np.concatenate([color, opacity[..., None]], axis=2)

    @contextmanager
    def _limit_errors(self, view: View) -> Iterator[None]:
        try:
            yield
        except OverflowError:  # a small file could keep a reader busy for hours
            raise LimitError(
                f"more than {self._limits.overlap} Gaussians lie over each of {view.columns} x {view.rows} pixels"
            ) from None
