"""Images of 34 to 1074 megapixels as TIFF files: a map, a mosaic of photographs, and copies of that, some mirrored."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.images import GLOBE, MOSAIC, BenchImage, prepare
from smartsplat.arrays import ByteArray
from smartsplat.images.strips import ROW_MULTIPLE, Strips
from smartsplat.images.writing.writer import write


@dataclass(frozen=True)
class LargeImage:
    """An image, or copies of it in rows and columns, every other one mirrored, cut to ``width`` x ``height`` pixels."""

    id: str
    of: BenchImage
    width: int
    height: int

    @property
    def recipe(self) -> str:
        return self.of.recipe if self.id == self.of.id else f"copies of {self.of.id}, every other one mirrored"

    def path(self, corpus: Path) -> Path:
        """Of the file below the corpus folder."""
        return corpus / "prepared" / f"{self.id}-{self.width}x{self.height}.tif"

    def rows(self, corpus: Path) -> Iterator[ByteArray]:
        """Strips [h, width, 3] of it, from top to bottom, from the prepared image that it is made of."""
        source = np.load(prepare(self.of, corpus).path, mmap_mode="r")
        height, width, _ = source.shape
        for top in range(0, self.height, ROW_MULTIPLE):
            places = np.arange(top, min(top + ROW_MULTIPLE, self.height))
            copy, row = np.divmod(places, height)
            strip = source[np.where(copy % 2, height - 1 - row, row)]
            odd = bool(copy[0] % 2)
            copies = [strip[:, ::-1] if (number + odd) % 2 else strip for number in range(-(-self.width // width))]
            yield np.ascontiguousarray(np.concatenate(copies, axis=1)[:, : self.width])


IMAGES = (
    LargeImage("globe", GLOBE, 8192, 4096),
    LargeImage("mosaic", MOSAIC, 15360, 11520),
    LargeImage("mosaics", MOSAIC, 32768, 32768),
)


def main() -> None:
    """Writes the file of one image, unless it is there; in a process of its own, as it takes memory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("id", choices=[image.id for image in IMAGES])
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    options = parser.parse_args()
    image = next(image for image in IMAGES if image.id == options.id)
    path = image.path(options.corpus)
    if not path.exists():
        write(path, Strips((image.height, image.width, 3), image.rows(options.corpus)), threads=2)


if __name__ == "__main__":
    main()
