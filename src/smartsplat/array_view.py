"""A file as an array that is rendered where it is indexed: for numpy, Dask, xarray and napari."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import SampleArray
from smartsplat.render import View

MIN_LEVEL_SIDE = 256
"""Pixels that the longer side of the smallest level of an image has at least, unless the image has fewer."""


class ArrayView:
    """The pixels of a file, or of a smaller image of it, [rows, columns, C]; made by ``Reader.as_array``.

    Indexed by integers and slices, as an array of numpy's, it renders what is asked for and gives an array of its own.
    Nothing is kept but what the reader has decoded; several threads may use it. ``numpy.asarray`` renders all of it.
    """

    ndim = 3

    def __init__(
        self,
        render: Callable[[View], SampleArray],
        image_size: tuple[int, int],
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
    ) -> None:
        """Of an image of ``image_size``, width and height in pixels, which ``render`` renders views of."""
        self._render, self._image_size, self.shape, self.dtype = render, image_size, shape, dtype

    @property
    def size(self) -> int:
        """Samples."""
        rows, columns, channels = self.shape
        return rows * columns * channels

    @property
    def nbytes(self) -> int:
        """Bytes of all samples, if they were rendered."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<ArrayView {self.shape} {self.dtype}>"

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("what is rendered is a new array, never a part of this one")
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> Any:
        """What numpy gives for an array of all samples.

        Args:
            key: integers, slices and an ellipsis.

        Raises:
            IndexError: the key is something else, or outside.
            FormatError, LimitError, DeviceError, SettingsError: as ``Reader.read``.
        """
        rows, columns, channels = self._of_each_axis(key)
        (top, bottom, by_row), (left, right, by_column) = _span(rows, self.shape[0]), _span(columns, self.shape[1])
        by_channel = channels if isinstance(channels, slice) else range(self.shape[2])[_whole(channels)]
        if top == bottom or left == right:
            found: SampleArray = np.empty((bottom - top, right - left, self.shape[2]), self.dtype)
        else:
            found = self._render(self._view(top, bottom, left, right))
        return found[by_row, by_column, by_channel]

    def _of_each_axis(self, key: Any) -> list[Any]:
        parts = list(key) if isinstance(key, tuple) else [key]
        ellipses = [index for index, part in enumerate(parts) if part is Ellipsis]
        if len(ellipses) > 1 or len(parts) - len(ellipses) > self.ndim:
            raise IndexError(f"an array of three axes takes no key {key!r}")
        at = ellipses[0] if ellipses else len(parts)
        missing = self.ndim - len(parts) + len(ellipses)
        return [*parts[:at], *[slice(None)] * missing, *parts[at + 1 :]]

    def _view(self, top: int, bottom: int, left: int, right: int) -> View:
        width, height = self._image_size
        across, down = width / self.shape[1], height / self.shape[0]  # image pixels in one of this array
        columns, rows = right - left, bottom - top
        return View(left * across, top * down, columns * across, rows * down, columns, rows)


def _span(part: Any, side: int) -> tuple[int, int, Any]:
    """Where what is asked for of an axis begins and ends, and the key for it inside of that."""
    if not isinstance(part, slice):
        place = range(side)[_whole(part)]
        return place, place + 1, 0
    places = range(side)[part]
    if not places:
        return 0, 0, slice(None)
    first, last = sorted((places[0], places[-1]))
    return first, last + 1, slice(None, None, places.step)


def _whole(part: Any) -> int:
    try:
        if isinstance(part, bool | np.bool_):
            raise TypeError
        return operator.index(part)
    except TypeError:
        raise IndexError(f"only integers, slices and an ellipsis are keys, not {part!r}") from None
