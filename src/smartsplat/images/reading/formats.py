"""Which format a file has, by its first bytes, and who reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from PIL import Image

from smartsplat.errors import ImageError
from smartsplat.images import png_chunks
from smartsplat.images.reading import netpbm_reader, png_reader, tiff_reader, vips_reader
from smartsplat.images.reading.box_headers import avif_bits
from smartsplat.images.reading.extra_reader import open_heic, open_jpeg2000, open_jxl
from smartsplat.images.reading.gif_reader import open_gif
from smartsplat.images.reading.jpeg_reader import open_jpeg
from smartsplat.images.reading.pillow_reader import frame_notices, open_with_pillow, opened, stored_page
from smartsplat.images.reading.sources import HEAD, SampleStrips, check_page
from smartsplat.images.reading.stored import StoredImage
from smartsplat.limits import Limits

READABLE = ("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "PPM", "PAM", "PFM", "JPEG2000", "QOI", "TGA",
            "HEIC", "JPEG XL")  # fmt: skip

_BY_PILLOW = ("GIF", "BMP", "PPM", "WEBP", "AVIF", "JPEG2000", "QOI")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW_MARKS = (
    b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"\0\0\0\x18ftypcrx ",
)  # fmt: skip
"""Of camera raw files that are no TIFF: Olympus, Panasonic, Fujifilm, Sigma, Minolta, Canon."""

_TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")


def open_stored(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    """The image in a stream, its header read and its size checked, but not its pixels.

    Raises ImageError, LimitError.
    """
    head = stream.read(HEAD)
    if not head:
        raise ImageError(f"{name}: is empty")
    if head.startswith(_RAW_MARKS):
        raise ImageError(f"{name}: is a camera raw file; develop it first")
    if head.startswith(png_chunks.SIGNATURE):
        stored = png_reader.open_png(stream, name, page, limits)
        return stored or open_with_pillow(stream, "PNG", name, page, limits)
    if head.startswith(tiff_reader.MARKS):
        return tiff_reader.open_tiff(stream, name, page, limits)
    if head.startswith(b"\xff\xd8"):
        return _open_jpeg(stream, name, page, limits)
    if head.startswith(netpbm_reader.BINARY_MARKS) or _is_deep_text(head):
        check_page(name, page, 1)
        return netpbm_reader.open_netpbm(stream, name, limits)
    if head[:2] == b"\xff\x0a" or head[4:12] == b"JXL \r\n\x87\n":
        return open_jxl(stream, name, page, limits)
    kind = _pillow_kind(stream, head, name)
    if kind == "JPEG2000":
        return open_jpeg2000(stream, name, page, limits)
    if kind == "HEIC":
        return open_heic(stream, name, page, limits)
    if kind == "GIF":
        return open_gif(stream, name, page, limits)
    stored = open_with_pillow(stream, kind, name, page, limits)
    bits = avif_bits(head) if kind == "AVIF" else 8
    return stored if bits == 8 else _deep_avif(stored, stream, bits, page)


def _is_deep_text(head: bytes) -> bool:
    """Whether this is a plain PGM or PPM; Pillow reads them with 8 bits."""
    return head.startswith(netpbm_reader.PLAIN_MARKS) and head[2:3].isspace()


def _open_jpeg(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    image = opened(stream, "JPEG", name, limits)
    if page is not None and page > 1:
        return stored_page(image, name, page, limits)
    notices = frame_notices(image, name, page)
    stored = open_jpeg(image, stream, name)
    stored.notices[:0] = notices
    return stored


def _pillow_kind(stream: BinaryIO, head: bytes, name: str) -> str:
    """Pillow's name of the format, or HEIC."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and b"avif" not in head[8:64]:
        return "HEIC"
    Image.preinit()
    for kind in _BY_PILLOW:
        if kind not in Image.OPEN:  # only then, as loading every plugin takes a while
            Image.init()
        accept = Image.OPEN[kind][1]
        if accept is not None and accept(head[:16]):
            return kind
    stream.seek(max(0, stream.seek(0, 2) - 26))
    if b"TRUEVISION-XFILE" in stream.read(26) or name.lower().endswith(_TGA_SUFFIXES):
        return "TGA"
    raise ImageError(f"{name}: is not an image in a known format ({', '.join(READABLE)})")


def _deep_avif(stored: StoredImage, stream: BinaryIO, bits: int, page: int | None) -> StoredImage:
    """The same image with all its bits, which Pillow does not keep."""
    width, height = stored.width, stored.height
    if stored.turn >= 5:  # libheif turns images itself
        width, height = height, width
    shape = height, width, len(stored.bands)

    def strips(lenient: bool) -> SampleStrips:
        return vips_reader.strips(stream, "heif", shape, "none" if lenient else "error", page=(page or 1) - 1)

    white = ((1 << bits) - 1) << (16 - bits)  # libvips shifts samples up to the most significant bits
    notices = [notice for notice in stored.notices if "reduced" not in notice]
    return replace(stored, width=width, height=height, strips=strips, bits=bits, white=white, turn=1, notices=notices)
