"""What a file says about an image beside its pixels: the colour space, and what cameras and editors wrote into it."""

from __future__ import annotations

from dataclasses import dataclass

SRGB_PRIMARIES, SRGB_TRANSFER = 1, 13
"""Code points of ITU-T H.273: those of BT.709, and the curve of sRGB."""

UNSPECIFIED = 2
"""The code point that says nothing."""


def are_named(primaries: int, transfer: int) -> bool:
    """Whether two code points, of primaries and of transfer characteristics, say what colours are."""
    return all(0 < code < 256 and code != UNSPECIFIED for code in (primaries, transfer))


@dataclass(frozen=True)
class Metadata:
    """Everything that is carried along unchanged. The pixels are upright: EXIF and XMP say so, too.

    Args:
        icc: profile of the colour channels (grey or RGB); where there is one, it outranks the code points.
        primaries: code point of the colour primaries in ITU-T H.273 (CICP), 1 to 255.
        transfer: code point of the transfer characteristics.
        exif: a TIFF structure, without the ``Exif`` mark that JPEG puts in front.
        xmp: an XMP packet.
        iptc: IPTC-IIM records.
        density: pixels per metre, across and down.
        geo: GeoTIFF tags, which say where the pixels of a map are on the earth: a little-endian TIFF structure.
    """

    icc: bytes | None = None
    primaries: int = SRGB_PRIMARIES
    transfer: int = SRGB_TRANSFER
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    density: tuple[int, int] | None = None
    geo: bytes | None = None

    @property
    def is_srgb(self) -> bool:
        """Whether the colours are those of a file that says nothing."""
        return self.icc is None and (self.primaries, self.transfer) == (SRGB_PRIMARIES, SRGB_TRANSFER)


NO_METADATA = Metadata()
"""Of an image that is nothing but pixels in sRGB."""
