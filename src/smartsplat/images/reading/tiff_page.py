"""How a page of a TIFF stores its samples, and which library decodes them."""

from __future__ import annotations

from dataclasses import dataclass

from smartsplat.errors import ImageError
from smartsplat.images.reading.tiff_directory import Directory, TiffFile

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 254, 256, 257, 258, 259, 262, 277
_PLANES, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 284, 322, 323, 338, 339
_REDUCED, _MASK = 1, 4  # bits of the subfile type

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
SIGNED, FLOAT, COMPLEX_INTEGER, COMPLEX = 2, 3, 5, 6  # formats of samples

COLORS = {WHITE_IS_ZERO: "L", BLACK_IS_ZERO: "L", RGB: "RGB", PALETTE: "RGB", SEPARATED: "CMYK", YCBCR: "RGB",
           LAB: "RGB"}  # fmt: skip
_PHOTOMETRICS = {
    4: "a transparency mask", 9: "Lab of ICC", 10: "Lab of ITU", 32844: "LogL", 32845: "LogLuv", 51177: "depth",
}  # fmt: skip

_LIBVIPS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 50001)
_PILLOW = (34925, 50000)  # LZMA and Zstandard, which the wheels of libvips lack
_TIFFFILE = (33003, 33004, 33005, 34712)  # JPEG 2000; LERC and JPEG XL state sizes that nothing checks
_COMPRESSIONS = {
    6: "JPEG of the old style", 9: "JBIG", 10: "JBIG for colour", 32766: "NeXT", 32767: "Sony's raw format",
    32809: "ThunderScan", 32895: "RasterPadding", 32908: "Pixar film", 32909: "Pixar log", 32947: "Kodak DCS",
    33003: "JPEG 2000 of Aperio", 33004: "JPEG 2000", 33005: "JPEG 2000 of Aperio", 34661: "JBIG", 34676: "SGI log",
    34677: "SGI log", 34712: "JPEG 2000", 34713: "Nikon's raw format", 34887: "LERC", 34892: "lossy JPEG of DNG",
    50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 65000: "Kodak's raw format", 65535: "Pentax' raw format",
    34925: "LZMA", 50000: "Zstandard",
}  # fmt: skip

MAX_SAMPLES = 32
"""Samples of a pixel. libvips decodes all of them, whatever is left out afterwards."""


@dataclass(frozen=True)
class TiffPage:
    """The tags of a directory that say how its samples are stored."""

    width: int
    height: int
    bits: int
    compression: int
    photometric: int
    samples: int
    extra: tuple[int, ...]  # kinds of the samples behind the colours
    formats: tuple[int, ...]
    is_separate: bool  # a plane for each sample
    tile: tuple[int, int] | None  # width and height, pixels
    is_full: bool


def page_of(file: TiffFile, directory: Directory) -> TiffPage:
    def numbers(tag: int, otherwise: int) -> tuple[int, ...]:
        return tuple(int(value) for value in file.values(directory, tag)) or (otherwise,)

    kind = numbers(_SUBFILE, 0)[0]
    photometric = numbers(_PHOTOMETRIC, BLACK_IS_ZERO)[0]
    return TiffPage(
        width=numbers(_WIDTH, 0)[0],
        height=numbers(_HEIGHT, 0)[0],
        bits=max(numbers(_BITS, 1)),
        compression=numbers(_COMPRESSION, 1)[0],
        photometric=photometric,
        samples=numbers(_SAMPLES, 1)[0],
        extra=tuple(int(value) for value in file.values(directory, _EXTRA_SAMPLES)),
        formats=numbers(_SAMPLE_FORMAT, 1),
        is_separate=numbers(_PLANES, 1)[0] == 2,
        tile=(numbers(_TILE_WIDTH, 0)[0], numbers(_TILE_HEIGHT, 0)[0]) if _TILE_WIDTH in directory.entries else None,
        is_full=not kind & (_REDUCED | _MASK) and photometric != 4,
    )


def decoder_of(page: TiffPage, name: str) -> tuple[str, str]:
    """The library that decodes a page, ``libvips``, ``Pillow`` or ``tifffile``, and what of it is unusual, in words.

    Raises ImageError if none does.
    """
    compression, photometric = page.compression, page.photometric
    named = _COMPRESSIONS.get(compression, f"number {compression}")
    if compression not in (*_LIBVIPS, *_PILLOW, *_TIFFFILE):
        raise ImageError(f"{name}: is compressed as {named} inside TIFF, which is not supported")
    if photometric not in COLORS:
        named = _PHOTOMETRICS.get(photometric, f"number {photometric}")
        raise ImageError(f"{name}: a TIFF of the colour model {named} is not supported")
    if COMPLEX in page.formats or COMPLEX_INTEGER in page.formats:
        raise ImageError(f"{name}: complex samples are not supported")
    if SIGNED in page.formats and page.bits != 32:
        raise ImageError(f"{name}: samples with a sign are not supported")
    if page.samples > MAX_SAMPLES:
        raise ImageError(f"{name}: has {page.samples} samples a pixel, at most {MAX_SAMPLES} are supported")
    is_float, is_grey = FLOAT in page.formats, COLORS[photometric] == "L"
    is_plain_grey = photometric == BLACK_IS_ZERO and page.samples == 1
    words = ""
    if compression in _TIFFFILE or (compression in _PILLOW and page.bits > 8 and not is_plain_grey):
        words = f"compressed as {named}"
    elif page.bits not in ((16, 32) if is_float else (1, 2, 4, 8, 12, 16, 32)):
        words = f"of {'floating-point ' if is_float else ''}samples of {page.bits} bits"
    elif (page.bits == 12 and not is_plain_grey) or (page.bits < 8 and page.samples > 1):
        words = f"of colours of {page.bits} bits"
    elif page.is_separate and (page.tile is not None or (is_grey and page.samples > 1)):
        words = f"of {'tiles' if page.tile is not None else 'grey and alpha'} in separate planes"
    if words:
        if not is_grey and photometric not in (RGB, SEPARATED):
            raise ImageError(f"{name}: a TIFF {words} is not supported")
        return "tifffile", words
    is_pillows = compression in _PILLOW or page.bits == 12 or (photometric == LAB and page.bits == 8)
    return "Pillow" if is_pillows or (photometric == YCBCR and compression != 7) else "libvips", words
