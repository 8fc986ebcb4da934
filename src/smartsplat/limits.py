"""What an image or a file may claim before anything is allocated for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Upper bounds; a file or an image above one of them raises LimitError.

    Args:
        side: pixels of the longer side.
        pixels: pixels of the whole image.
        gaussians: Gaussians of a file.
        file_bytes: bytes of a file.
        metadata_bytes: bytes of an ICC profile, of EXIF, XMP or IPTC data, unpacked.
        overlap: Gaussians over an output pixel, on average; fits have 10 to 20. A small file could keep a reader busy
            for hours without this limit.
        output_pixels: pixels of what is rendered at once; never more than ``pixels``.
    """

    side: int = 1 << 22
    pixels: int = 1 << 32
    gaussians: int = 1 << 26
    file_bytes: int = 1 << 31
    metadata_bytes: int = 1 << 24
    overlap: int = 1024
    output_pixels: int = 1 << 30
