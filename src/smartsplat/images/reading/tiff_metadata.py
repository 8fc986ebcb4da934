"""What a TIFF says beside its pixels: profile, XMP, IPTC, density, and EXIF made of its directories."""

from __future__ import annotations

import struct

from smartsplat.images.reading.exif import directory_density
from smartsplat.images.reading.photoshop import iptc_of
from smartsplat.images.reading.tiff_directory import DamagedDirectoryError, Directory, TiffFile
from smartsplat.images.tiff_packing import (
    EXIF,
    GEO_KINDS,
    GEO_TAGS,
    GPS,
    INTEROPERABILITY,
    ORIENTATION,
    Bytes,
    packed_directory,
    packed_geo,
)
from smartsplat.metadata import Metadata

_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
GEO_KEYS = 34735  # without them the others say nothing
_CAMERA = (271, 272, 306)  # maker, model and time
_MAKER_NOTE = 37500  # holds places in the file, as directories do
_IPTC_MARK = b"\x1c"

_DESCRIBING = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)
"""Tags of a page that EXIF has, too: what it shows, camera, resolution, program, time, artist, copyright."""


def metadata_of(file: TiffFile, directory: Directory) -> tuple[Metadata, int]:
    """The metadata of a page, and its orientation from 1 to 8."""
    turn = int((file.values(directory, ORIENTATION) or (1,))[0])
    iptc = file.raw(directory, _IPTC)
    if iptc and iptc[:1] != _IPTC_MARK and iptc[3:4] == _IPTC_MARK:
        # Some writers say that these bytes are numbers of 32 bits, and turn them with the byte order.
        iptc = b"".join(iptc[start : start + 4][::-1] for start in range(0, len(iptc), 4))
    metadata = Metadata(
        icc=file.raw(directory, _ICC),
        exif=_exif(file, directory),
        xmp=file.raw(directory, _XMP),
        iptc=iptc or iptc_of(file.raw(directory, _PHOTOSHOP)),
        density=directory_density(file, directory),
        geo=_geo(file, directory),
    )
    return metadata, turn if 1 <= turn <= 8 else 1


def _geo(file: TiffFile, page: Directory) -> bytes | None:
    """GeoTIFF tags of a page; None where it has none."""
    own = Directory({tag: page.entries[tag] for tag in GEO_TAGS if tag in page.entries})
    found = {tag: value for tag, value in _values(file, own).items() if value[0] in GEO_KINDS and value[1]}
    return packed_geo(found, file.order) if GEO_KEYS in found else None


def _exif(file: TiffFile, page: Directory) -> bytes | None:
    """EXIF data of a page, as a TIFF structure of their own; None where it has none.

    Only values are taken that mean the same at another place: the maker note does not.
    """
    if not page.entries.keys() & {EXIF, GPS, *_CAMERA}:
        return None
    parts: list[tuple[int, dict[int, Bytes]]] = []
    for tag in (EXIF, GPS):
        for place in file.values(page, tag)[:1]:
            try:
                parts.append((tag, _values(file, file.directory_at(int(place)))))
            except DamagedDirectoryError:
                continue
    main = _values(file, Directory({tag: page.entries[tag] for tag in _DESCRIBING if tag in page.entries}))
    for tag, _ in parts:
        main[tag] = (4, 1, bytes(4))
    start = 8
    place = start + len(packed_directory(main, {}, file.order, 0))
    for tag, values in parts:
        main[tag] = (4, 1, struct.pack(f"{file.order}I", place))
        place += len(packed_directory(values, {}, file.order, 0))
    result = (b"II*\0" if file.order == "<" else b"MM\0*") + struct.pack(f"{file.order}I", start)
    for values in (main, *(values for _, values in parts)):
        result += packed_directory(dict(sorted(values.items())), {}, file.order, len(result))
    return result


def _values(file: TiffFile, directory: Directory) -> dict[int, Bytes]:
    """Tag -> type, count and bytes, of those that a classic TIFF can hold and that name no place in the file."""
    result = {}
    for tag, entry in directory.entries.items():
        data = file.raw(directory, tag)
        if data is not None and entry.kind <= 12 and tag not in (_MAKER_NOTE, INTEROPERABILITY) and len(data) < 1 << 16:
            result[tag] = (entry.kind, entry.count, data)
    return result
