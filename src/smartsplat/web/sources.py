"""What an image server renders: files of the codec, and other images for comparison. All in sRGB with 8 bits."""

from __future__ import annotations

from functools import cached_property
from typing import cast

import numpy as np
from PIL import Image, ImageFilter

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.decoder import Reader
from smartsplat.images.color.color_spaces import in_srgb
from smartsplat.images.strips import rounded_to_8_bits
from smartsplat.metadata import Metadata

GRID = 65
"""Values of a channel at which colours are converted exactly. Others are interpolated: seven times as fast, and right
but for shadows at the edge of sRGB's gamut, which are off by up to ten code values."""


class Screen:
    """Converts colours for browsers, which know few colour spaces, and none in all formats.

    Args:
        channels: 1 or 3.
        metadata: says what the colours are.
    """

    def __init__(self, channels: int, metadata: Metadata) -> None:
        self._channels = channels
        self._metadata = metadata

    def convert(self, pixels: SampleArray) -> ByteArray:
        """Pixels [H, W, 1 to 4], alpha last, in sRGB with 8 bits. ImageError: the profile cannot be used."""
        result = rounded_to_8_bits(pixels)
        if self._metadata.is_srgb:
            return result
        colors, alpha = result[:, :, : self._channels], result[:, :, self._channels :]
        if self._channels == 1:
            converted = self._grays[colors]
        else:
            converted = np.asarray(Image.fromarray(np.ascontiguousarray(colors)).filter(self._colors))
        return np.concatenate([converted, alpha], axis=2)

    @cached_property
    def _grays(self) -> ByteArray:
        every = np.arange(256, dtype=np.uint8)[None, :, None]
        return cast(ByteArray, in_srgb(every, self._metadata)[0, :, 0])

    @cached_property
    def _colors(self) -> ImageFilter.Color3DLUT:
        values = np.linspace(0, 65535, GRID).round().astype(np.uint16)
        blue, green, red = np.meshgrid(values, values, values, indexing="ij")
        converted = in_srgb(np.stack([red, green, blue], axis=-1).reshape(GRID * GRID, GRID, 3), self._metadata)
        return ImageFilter.Color3DLUT(GRID, (converted.astype(np.float32) / 65535).ravel())


class FileSource:
    """A .sspl file; only what a request touches is decoded."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._screen = Screen(reader.info.channels, reader.metadata)
        self.width, self.height = reader.width, reader.height

    def read(self, region: tuple[int, int, int, int], size: tuple[int, int]) -> ByteArray:
        """As ``iiif.Source`` has it."""
        return self._screen.convert(self._reader.read(region=region, size=size, dtype=np.uint8))


class ArraySource:
    """Pixels in memory.

    Args:
        colors: [H, W, 1 or 3] uint8 or uint16.
        alpha: [H, W] of the same type, or None.
    """

    def __init__(self, colors: SampleArray, alpha: SampleArray | None, metadata: Metadata) -> None:
        self._planes = [colors] if alpha is None else [colors, alpha[:, :, None]]
        self._screen = Screen(colors.shape[2], metadata)
        self.height, self.width = colors.shape[:2]

    def read(self, region: tuple[int, int, int, int], size: tuple[int, int]) -> ByteArray:
        """As ``iiif.Source`` has it; smaller by means of pixels, larger by their nearest."""
        x, y, width, height = region
        cut = [plane[y : y + height, x : x + width] for plane in self._planes]
        part = self._screen.convert(cut[0] if len(cut) == 1 else np.concatenate(cut, axis=2))
        if (width, height) == size:
            return part
        method = Image.Resampling.BOX if size[0] <= width and size[1] <= height else Image.Resampling.NEAREST
        planes = [Image.fromarray(part[:, :, channel]).resize(size, method) for channel in range(part.shape[2])]
        return np.stack([np.asarray(plane) for plane in planes], axis=2)
