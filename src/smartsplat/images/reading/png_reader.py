"""PNG: its chunks are read here, its pixels by libvips from the chunks that hold them and nothing else.

So neither damage in a text nor a profile of gigabytes, nor the frames of an animation, stands before the image.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from smartsplat.errors import ImageError
from smartsplat.images.color.color_profiles import built_profile
from smartsplat.images.png_chunks import SIGNATURE, png_chunk
from smartsplat.images.reading import vips_reader
from smartsplat.images.reading.exif import density, density_of, orientation_of, without_mark
from smartsplat.images.reading.photoshop import iptc_of
from smartsplat.images.reading.sources import SampleStrips, check_page, check_size, length_of, spliced
from smartsplat.images.reading.stored import StoredImage
from smartsplat.limits import Limits
from smartsplat.metadata import SRGB_PRIMARIES, SRGB_TRANSFER, Metadata, are_named

_BANDS = {0: "L", 2: "RGB", 3: "RGB", 4: "LA", 6: "RGBA"}  # color type -> samples
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # color type -> of a sample
_PALETTE = 3
_KEPT = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"acTL")
_SRGB_GAMMA = 45455  # 1 / 2.2 in units of 1e-5
_SRGB_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@dataclass(eq=False)
class _Chunks:
    """The header, and where the chunks of a PNG are."""

    width: int = 0
    height: int = 0
    bits: int = 0
    color_type: int = 0
    interlaced: bool = False
    bodies: dict[bytes, list[bytes]] = field(default_factory=dict)  # those that are looked at, by their names
    palette: bytes = b""
    clear: bytes | None = None  # tRNS
    pixels: list[tuple[int, int]] = field(default_factory=list)  # start and length of every IDAT, whole
    damaged: set[bytes] = field(default_factory=set)  # names of chunks with a wrong checksum, of those looked at
    still_moves: bool = False  # whether the image itself is a frame of the animation
    ended: bool = False

    def body(self, name: bytes) -> bytes | None:
        """Of the first chunk of that name."""
        return self.bodies[name][0] if name in self.bodies else None


def open_png(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage | None:
    """The image of a PNG; None if a later frame of an animation is asked for, which Pillow composes.

    Raises ImageError, LimitError.
    """
    chunks = _read_chunks(stream, name, limits)
    frames = chunks.body(b"acTL") or b""
    # A still that is not the first frame of its animation counts as a page before them.
    count = max(1, int.from_bytes(frames[:4], "big") + (not chunks.still_moves)) if len(frames) >= 8 else 1
    check_page(name, page, count, "frame" if frames else "page")
    if page is not None and page > 1:
        return None
    stored = _stored(stream, chunks, limits)
    if count > 1 and page is None:
        stored.notices.insert(0, f"frame 1 of {count} was read")
    return stored


def _read_chunks(stream: BinaryIO, name: str, limits: Limits) -> _Chunks:
    chunks, end, place = _Chunks(), length_of(stream), len(SIGNATURE)
    while place + 12 <= end:
        stream.seek(place)
        size, kind = struct.unpack(">I4s", stream.read(8))
        if kind == b"IDAT":
            chunks.pixels.append((place, min(size + 12, end - place)))
        elif kind == b"fcTL":
            chunks.still_moves |= not chunks.pixels
        elif kind == b"IEND":
            chunks.ended = True
            break
        elif kind in (b"IHDR", b"PLTE", b"tRNS", *_KEPT) and size <= limits.metadata_bytes:
            _read_chunk(chunks, kind, stream.read(size), stream.read(4), name)
            if kind == b"IHDR":
                check_size(name, chunks.width, chunks.height, limits)
        elif kind in (b"iCCP", b"eXIf", b"iTXt"):
            chunks.damaged.add(kind)
        place += size + 12
    if not chunks.width:
        raise ImageError(f"{name}: cannot be read as PNG: its header is damaged")
    if chunks.color_type == _PALETTE and not chunks.palette:
        raise ImageError(f"{name}: cannot be read as PNG: it has no palette")
    if not chunks.pixels:
        raise ImageError(f"{name}: cannot be read as PNG: it has no pixels")
    return chunks


def _read_chunk(chunks: _Chunks, kind: bytes, body: bytes, checksum: bytes, name: str) -> None:
    sound = zlib.crc32(kind + body).to_bytes(4, "big") == checksum
    if kind == b"IHDR":
        if len(body) != 13 or not sound or chunks.width:
            raise ImageError(f"{name}: cannot be read as PNG: its size is zero or its header is damaged")
        chunks.width, chunks.height, chunks.bits, chunks.color_type, *_, interlace = struct.unpack(">IIBBBBB", body)
        chunks.interlaced = interlace != 0
        if chunks.bits not in _BITS.get(chunks.color_type, ()) or min(chunks.width, chunks.height) == 0:
            raise ImageError(f"{name}: cannot be read as PNG: its size is zero or its header is damaged")
        return
    if not sound:
        chunks.damaged.add(kind)
    if kind == b"PLTE":
        chunks.palette = chunks.palette or body
    elif kind == b"tRNS":
        chunks.clear = body if chunks.clear is None else chunks.clear
    else:
        chunks.bodies.setdefault(kind, []).append(body)


def _stored(stream: BinaryIO, chunks: _Chunks, limits: Limits) -> StoredImage:
    header = struct.pack(
        ">IIBBBBB", chunks.width, chunks.height, chunks.bits, chunks.color_type, 0, 0, chunks.interlaced
    )
    pieces: list[bytes | tuple[int, int]] = [SIGNATURE + png_chunk(b"IHDR", header)]
    bands = _BANDS[chunks.color_type]
    if chunks.color_type == _PALETTE:  # entries that are missing become black, as in libpng
        size = 3 << chunks.bits
        pieces.append(png_chunk(b"PLTE", chunks.palette[:size].ljust(size, b"\0")))
        clear = (chunks.clear or b"")[: 1 << chunks.bits]
        if clear:
            pieces.append(png_chunk(b"tRNS", clear))
            bands = "RGBA"
    elif chunks.clear is not None and len(chunks.clear) == 2 * len(bands) and not bands.endswith("A"):
        pieces.append(png_chunk(b"tRNS", chunks.clear))
        bands += "A"
    pieces += [*chunks.pixels, png_chunk(b"IEND", b"")]
    metadata, notices = _metadata(chunks, limits)

    def strips(lenient: bool) -> SampleStrips:
        shape = chunks.height, chunks.width, len(bands)
        return vips_reader.strips(spliced(stream, pieces), "png", shape, "none" if lenient else "error")

    is_deep = chunks.bits == 16
    return StoredImage(
        chunks.width,
        chunks.height,
        bands,
        strips,
        bits=8 if chunks.color_type == _PALETTE else chunks.bits,
        white=65535 if is_deep else 255,  # libvips widens 1, 2 and 4 bits
        turn=orientation_of(metadata.exif),
        metadata=metadata,
        notices=notices,
    )


def _metadata(chunks: _Chunks, limits: Limits) -> tuple[Metadata, list[str]]:
    notices = [f"{kind.decode('ascii')} chunk is damaged" for kind in sorted(chunks.damaged)]
    texts = _texts(chunks, limits)
    exif = without_mark(chunks.body(b"eXIf")) or without_mark(
        _hexadecimal(texts.get(b"Raw profile type exif") or texts.get(b"Raw profile type APP1"))
    )
    icc, primaries, transfer = _color(chunks, limits, notices)
    pixels = chunks.body(b"pHYs")
    per_meter = None
    if pixels is not None and len(pixels) == 9 and pixels[8] == 1:
        per_meter = density(*struct.unpack(">II", pixels[:8]))
    xmp = texts.get(b"XML:com.adobe.xmp") or _hexadecimal(texts.get(b"Raw profile type xmp"))
    iptc = iptc_of(_hexadecimal(texts.get(b"Raw profile type iptc")))
    if not chunks.ended:
        notices.append("the end of the file is missing")
    return Metadata(icc, primaries, transfer, exif, xmp or None, iptc, per_meter or density_of(exif)), notices


def _color(chunks: _Chunks, limits: Limits, notices: list[str]) -> tuple[bytes | None, int, int]:
    """Profile, primaries and transfer, from the first of cICP, iCCP, sRGB, and gAMA with cHRM that is there."""
    srgb = SRGB_PRIMARIES, SRGB_TRANSFER
    codes = chunks.body(b"cICP")
    if codes is not None and len(codes) == 4 and codes[2] == 0 and are_named(codes[0], codes[1]):
        if codes[3] == 0:
            notices.append("samples of video range are kept as they are")
        return None, codes[0], codes[1]
    packed = chunks.body(b"iCCP")
    if packed is not None:
        _, _, stream = packed.partition(b"\0")
        icc = _inflated(stream[1:], limits.metadata_bytes)
        if icc:
            return icc, *srgb
        notices.append("colour profile dropped: it is damaged")
    if chunks.body(b"sRGB") is not None:
        return None, *srgb
    gamma, points = chunks.body(b"gAMA"), chunks.body(b"cHRM")
    value = int.from_bytes(gamma, "big") if gamma is not None and len(gamma) == 4 else 0
    numbers = struct.unpack(">8I", points) if points is not None and len(points) == 32 else None
    gray = _BANDS[chunks.color_type].startswith("L")
    is_usual = (
        numbers is None
        or gray
        or all(abs(number - usual) <= 100 for number, usual in zip(numbers, _SRGB_CHROMATICITIES, strict=True))
    )
    if is_usual and (value == 0 or abs(value - _SRGB_GAMMA) <= 100):
        return None, *srgb
    try:
        exact = None if is_usual or numbers is None else [number / 100000 for number in numbers]
        return built_profile(100000 / value if value else None, exact, gray), *srgb
    except (ValueError, struct.error):
        notices.append("gamma and primaries make no sense: taken for sRGB")
        return None, *srgb


def _inflated(data: bytes, most: int) -> bytes:
    """Unpacked; nothing if it is damaged or longer than ``most`` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, most)
    except zlib.error:
        return b""
    return unpacked if unpacker.eof else b""


def _texts(chunks: _Chunks, limits: Limits) -> dict[bytes, bytes]:
    """Keyword -> text, of those that hold metadata."""
    texts: dict[bytes, bytes] = {}
    for kind in (b"iTXt", b"zTXt", b"tEXt"):
        for body in chunks.bodies.get(kind, ()):
            keyword, _, text = body.partition(b"\0")
            if keyword in texts or not keyword.startswith((b"Raw profile type ", b"XML:com.adobe.xmp")):
                continue
            if kind == b"iTXt":
                packed, (_, _, text) = text[:1] == b"\1", (*text[2:].split(b"\0", 2), b"", b"", b"")[:3]
                text = _inflated(text, limits.metadata_bytes) if packed else text
            elif kind == b"zTXt":
                text = _inflated(text[1:], limits.metadata_bytes)
            texts[keyword] = text
    return texts


def _hexadecimal(text: bytes | None) -> bytes:
    """What ImageMagick writes: a name, a length, and the bytes in hexadecimal."""
    try:
        return bytes.fromhex(b"".join((text or b"").split()[2:]).decode("ascii"))
    except ValueError:
        return b""
