"""EXIF and XMP of images that are turned upright: the orientation that they state becomes the usual one."""

from __future__ import annotations

import io
import re
import struct

from smartsplat.images.reading.tiff_directory import DamagedDirectoryError, Directory, TiffFile
from smartsplat.images.tiff_packing import ORIENTATION

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_EXIF_MARK = b"Exif\0\0"

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8](?=\s*[\"'<])")


def without_mark(exif: bytes | None) -> bytes | None:
    """A TIFF structure, without the mark that JPEG puts in front."""
    return (exif or b"").removeprefix(_EXIF_MARK) or None


def _first_directory(exif: bytes) -> tuple[TiffFile, Directory] | None:
    """None where the structure is damaged."""
    try:
        file = TiffFile(io.BytesIO(exif))
        return file, next(file.directories())
    except (DamagedDirectoryError, StopIteration):
        return None


def _orientation(file: TiffFile, directory: Directory) -> int:
    value = (file.values(directory, ORIENTATION) or (1,))[0]
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orientation_of(exif: bytes | None) -> int:
    """From 1, upright, to 8; 1 where EXIF does not say, or says nonsense."""
    found = _first_directory(exif) if exif else None
    if found is None:
        return 1
    return _orientation(*found)


def upright_exif(exif: bytes | None) -> bytes | None:
    """The same bytes with an orientation of 1 where they have one; None where they are damaged."""
    found = _first_directory(exif) if exif else None
    if exif is None or found is None:
        return None
    file, directory = found
    if _orientation(file, directory) == 1:
        return exif
    entry = directory.entries[ORIENTATION]
    changed = struct.pack(f"{file.order}{entry.letter}", 1)
    return exif[: entry.place] + changed + exif[entry.place + len(changed) :]


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """The same packet, every tiff:Orientation 1."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp) if xmp else None


def density_of(exif: bytes | None) -> tuple[int, int] | None:
    """Pixels per metre, across and down; None where EXIF does not say."""
    found = _first_directory(exif) if exif else None
    return None if found is None else directory_density(*found)


def directory_density(file: TiffFile, directory: Directory) -> tuple[int, int] | None:
    """Pixels per metre that a TIFF directory states, across and down."""
    unit = (file.values(directory, _RESOLUTION_UNIT) or (2,))[0]
    per_unit = {2: 1 / 0.0254, 3: 100.0}.get(int(unit))
    across, down = (file.values(directory, tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    if per_unit is None or not across or not down:
        return None
    return density(across[0] * per_unit, down[0] * per_unit)


def density(across: float, down: float) -> tuple[int, int] | None:
    """Pixels per metre as whole numbers; None for what is no density."""
    if not (0.5 <= across < 1 << 31 and 0.5 <= down < 1 << 31):  # in this form also true of NaN
        return None
    return round(across), round(down)
