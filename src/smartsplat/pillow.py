"""Importing this module registers .sspl with Pillow: ``Image.open("a.sspl")`` and ``image.save("a.sspl")``.

``save`` takes the targets of ``smartsplat.encode`` as options: ``image.save("a.sspl", ratio=200, effort=3)``.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from smartsplat.bitstream.container import SIGNATURE
from smartsplat.decoder import Reader
from smartsplat.errors import SmartSplatError

OPTIONS = ("ratio", "bpp", "max_bytes", "size", "psnr", "gaussians", "effort", "preset", "steps", "seed", "threads")


class SmartSplatImageFile(ImageFile.ImageFile):
    """A .sspl file as Pillow sees it: size and mode at once, pixels on ``load``."""

    format = "SSPL"
    format_description = "SmartSplat"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            self._reader = Reader(self.fp.read())
        except SmartSplatError as error:
            raise SyntaxError(str(error)) from error
        self._size = (self._reader.width, self._reader.height)
        self._mode = "L" if self._reader.channels == 1 else "RGB"
        if self._reader.icc:
            self.info["icc_profile"] = self._reader.icc

    def load(self) -> Any:
        if self._im is None:
            pixels = self._reader.read()
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.im = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).im
        return Image.Image.load(self)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from smartsplat.encoder.encode import encode  # only here: opening a file does without the encoder

    chosen: dict[str, Any] = {name: image.encoderinfo[name] for name in OPTIONS if name in image.encoderinfo}
    file.write(encode(image, **chosen))


Image.register_open(SmartSplatImageFile.format, SmartSplatImageFile, lambda prefix: prefix.startswith(SIGNATURE))
Image.register_save(SmartSplatImageFile.format, _save)
Image.register_extension(SmartSplatImageFile.format, ".sspl")
Image.register_mime(SmartSplatImageFile.format, "image/x-sspl")
