"""Importing this module registers .sspl with Pillow: ``Image.open("a.sspl")`` and ``image.save("a.sspl")``.

``save`` takes the options of ``smartsplat.encode``, as in ``image.save("a.sspl", ratio=200, effort=3)``, and
``icc_profile``, ``exif``, ``xmp`` and ``dpi`` as Pillow has them. Any other option is a SettingsError.

Pillow empties the file before it calls a format's writer, and has no way to ask the writer first. So this module puts a
function of its own in front of ``Image.save``: a file named .sspl is encoded first, then written whole or not at all.
Every other call goes through untouched.
"""

from __future__ import annotations

import functools
import inspect
import io
import math
import os
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from smartsplat.bitstream.container import MEDIA_TYPE, SIGNATURE
from smartsplat.decoder import Reader
from smartsplat.errors import SettingsError, SmartSplatError
from smartsplat.images.writing.atomic import check_writable, write_atomically
from smartsplat.metadata import Metadata

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's mode."""

EXIF_MARK = b"Exif\0\0"
"""What stands in front of EXIF data in JPEG files, and in Pillow's ``info``."""

METERS_PER_INCH = 0.0254

INFO_OPTIONS = ("icc_profile", "exif", "xmp", "dpi")
"""Options of every ``save`` of Pillow's that are kept: they take the place of what the image's ``info`` says."""

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class SmartSplatImageFile(ImageFile.ImageFile):
    """A .sspl file as Pillow sees it: size and mode at once, pixels on ``load``."""

    format = "SSPL"
    format_description = "SmartSplat"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            self._reader = Reader(self.fp.read(), partial=ImageFile.LOAD_TRUNCATED_IMAGES)
        except SmartSplatError as error:
            raise SyntaxError(str(error)) from error
        self._size = (self._reader.width, self._reader.height)
        # Pillow has 16 bits for grey without alpha alone
        self._deep = self._reader.depth > 8 and self._reader.channels == 1
        self._mode = "I;16" if self._deep else MODES[self._reader.channels]
        self._is_draft = False
        self.info.update(_info_of(self._reader.metadata))

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Load a smaller image, in less time, as ``thumbnail`` does: one that covers ``size``, in its own mode."""
        if self._im is not None or size is None:
            return None
        width, height = self._reader.width, self._reader.height
        scale = max(size[0] / width, size[1] / height)
        if not 0 < scale < 1:
            return None
        self._size = math.ceil(width * scale), math.ceil(height * scale)
        self._is_draft = True
        return self.mode, (0, 0, float(self._size[0]), float(self._size[1]))

    def load(self) -> Any:
        if self._im is None:
            kind = np.uint16 if self._deep else np.uint8
            pixels = self._reader.read(dtype=kind, size=self._size, preview=self._is_draft)
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.im = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).im
        return Image.Image.load(self)


def _info_of(metadata: Metadata) -> dict[str, Any]:
    """As Pillow's own readers put it into ``Image.info``; there is no place for code points of colour."""
    found = {
        "icc_profile": metadata.icc,
        "exif": EXIF_MARK + metadata.exif if metadata.exif else None,
        "xmp": metadata.xmp,
        "dpi": tuple(density * METERS_PER_INCH for density in metadata.density) if metadata.density else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from smartsplat.encoder.encode import encode  # only here: opening a file does without the encoder

    known = [*(set(inspect.signature(encode).parameters) - {"image"}), *INFO_OPTIONS]
    chosen: dict[str, Any] = dict(image.encoderinfo)
    if unknown := sorted(set(chosen) - set(known)):
        raise SettingsError(f"{', '.join(unknown)}: no options of the format; those are {', '.join(sorted(known))}")
    try:
        file.write(b"")
    except TypeError:
        raise SettingsError("the stream takes text and no bytes: give a binary one") from None
    info = {name: chosen.pop(name) for name in INFO_OPTIONS if name in chosen}
    if info:
        image = image.copy()
        image.info |= {
            name: value.tobytes() if isinstance(value, Image.Exif) else value for name, value in info.items()
        }
    file.write(encode(image, **chosen))


_save_with_pillow = Image.Image.save


@functools.wraps(_save_with_pillow)
def _save_safely(image: Image.Image, fp: Path | IO[bytes], format: str | None = None, **options: Any) -> None:
    if not isinstance(fp, str | bytes | os.PathLike):
        return _save_with_pillow(image, fp, format, **options)
    path = os.fsdecode(fp)
    named = format or Image.EXTENSION.get(os.path.splitext(path)[1].lower(), "")
    if named.upper() != SmartSplatImageFile.format:
        return _save_with_pillow(image, fp, format, **options)
    check_writable(path)
    encoded = io.BytesIO()
    _save_with_pillow(image, encoded, SmartSplatImageFile.format, **options)
    write_atomically(path, lambda file: file.write(encoded.getbuffer()))


Image.Image.save = _save_safely  # type: ignore[method-assign, assignment]
Image.register_open(SmartSplatImageFile.format, SmartSplatImageFile, lambda prefix: prefix.startswith(SIGNATURE))
Image.register_save(SmartSplatImageFile.format, _save)
Image.register_extension(SmartSplatImageFile.format, ".sspl")
Image.register_mime(SmartSplatImageFile.format, MEDIA_TYPE)
