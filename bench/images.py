"""The test images: real ones that Debian ships, fetched by package name, checked, shrunk or enlarged.

small: eight of about two megapixels, for rate and distortion. native: two of these and a map, as large
as they are. 16k: four of 130 to 180 megapixels: twelve wallpapers side by side, a photograph enlarged, a drawing
as large as it is, and a computed fractal.

python -m bench.images --set small --corpus corpus
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from smartsplat.arrays import ByteArray, SampleArray


class BenchImage(Protocol):
    """A test image."""

    @property
    def id(self) -> str:
        """Its name in tables."""

    @property
    def recipe(self) -> str:
        """How it was made of its originals, for tables."""

    @property
    def originals(self) -> tuple[PackagedImage, ...]:
        """The images that have to be fetched for it."""

    def pixels(self, corpus: Path) -> SampleArray:
        """uint8 or uint16 [H, W, C], of the originals below the corpus folder."""


@dataclass(frozen=True)
class PackagedImage:
    """An image of a Debian package, scaled.

    The originals are mostly JPEGs, softer than their size says. Shrinking makes them as sharp as their pixels
    allow and removes the traces of their own compression.

    Args:
        file: path below the extracted package.
        factor: scales both sides exactly; the new sides are rounded to whole pixels.
    """

    id: str
    package: str
    file: str
    sha256: str
    factor: Fraction
    licence: str

    @property
    def recipe(self) -> str:
        return "as it is" if self.factor == 1 else f"Lanczos {self.factor}"

    @property
    def originals(self) -> tuple[PackagedImage, ...]:
        return (self,)

    def pixels(self, corpus: Path) -> ByteArray:
        """RGB over white, scaled."""
        with Image.open(original_path(self, corpus)) as image:
            opaque = flattened(image)
        sides = (round(opaque.width * self.factor), round(opaque.height * self.factor))
        return np.asarray(opaque.resize(sides, Image.Resampling.LANCZOS, reducing_gap=None))


@dataclass(frozen=True)
class Mosaic:
    """The middles of several images beside each other, row by row, none resampled."""

    id: str
    originals: tuple[PackagedImage, ...]
    columns: int
    tile: tuple[int, int]  # width, height

    @property
    def recipe(self) -> str:
        rows = len(self.originals) // self.columns
        return f"{self.columns} by {rows} middles of {self.tile[0]}x{self.tile[1]}: " + ", ".join(
            original.id for original in self.originals
        )

    def pixels(self, corpus: Path) -> ByteArray:
        width, height = self.tile
        whole = np.empty((len(self.originals) // self.columns * height, self.columns * width, 3), np.uint8)
        for index, original in enumerate(self.originals):
            row, column = divmod(index, self.columns)
            pixels = original.pixels(corpus)
            top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
            whole[row * height :, column * width :][:height, :width] = pixels[top:, left:][:height, :width]
        return whole


FRACTAL_STRIP_ROWS = 16
"""Of a fractal that are computed at once: what a cache holds."""


@dataclass(frozen=True)
class Fractal:
    """A view of Mandelbrot's set, coloured by how soon a point escapes: detail at every scale, and no original."""

    id: str
    width: int
    height: int
    center: complex
    span: float  # of the width
    iterations: int = 150
    originals: tuple[PackagedImage, ...] = ()

    @property
    def recipe(self) -> str:
        return f"Mandelbrot's set around {self.center}, {self.span} wide"

    def pixels(self, corpus: Path) -> ByteArray:
        step = self.span / self.width
        x = self.center.real + step * (np.arange(self.width) + 0.5 - self.width / 2)
        y = self.center.imag + step * (np.arange(self.height) + 0.5 - self.height / 2)
        strips = (y[top : top + FRACTAL_STRIP_ROWS, None] for top in range(0, self.height, FRACTAL_STRIP_ROWS))
        return np.concatenate([self._colors(x + 1j * strip) for strip in strips])

    def _colors(self, points: npt.NDArray[np.complex128]) -> ByteArray:
        """uint8 [h, w, 3]: each channel a sine of the number of iterations, made continuous, or of 0."""
        count = np.zeros(points.size, np.float32)
        start, remaining = points.ravel(), np.arange(points.size)
        z = np.zeros_like(start)
        for iteration in range(self.iterations):
            z = z * z + start
            escaped = np.abs(z) > 4
            count[remaining[escaped]] = iteration + 1 - np.log2(np.log(np.abs(z[escaped])))
            z, start, remaining = z[~escaped], start[~escaped], remaining[~escaped]
        waves = np.sin(count[:, None] * np.array([0.11, 0.13, 0.17]) + np.array([0, 2, 4]))
        return (127.5 + 127.5 * waves).astype(np.uint8).reshape(*points.shape, 3)


KLEIBER = PackagedImage(
    "kleiber",
    "lomiri-wallpapers-20.04",
    "usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg",
    "6572410c09f4492c74ccadde133565a14c0161617d5917d4c820c66d65a44ba7",
    Fraction(5, 16),
    "CC-BY-SA-3.0",
)
SEEDING = PackagedImage(
    "seeding",
    "lomiri-wallpapers-16.04",
    "usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg",
    "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
    Fraction(5, 14),
    "CC0-1.0",
)
PICOS = PackagedImage(
    "picos",
    "lomiri-wallpapers-16.04",
    "usr/share/backgrounds/picosdeeuropa_by_Aitzol_Berasategi.jpg",
    "414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a",
    Fraction(1, 2),
    "CC-BY-4.0",
)
ELEPHANTS = PackagedImage(
    "elephants",
    "mate-backgrounds",
    "usr/share/backgrounds/mate/abstract/Elephants_5640x3172.jpg",
    "7ab602cd55aedd107743973353e58771860d1a74a0cd0701e8351096535edde8",
    Fraction(1, 3),
    "GPL-2+",
)
PATAK = PackagedImage(
    "patak",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Patak/contents/images/5120x2880.png",
    "e8f6167bafea78c54e2b736c448ce22809cc0bd085fb3a371d71546e956e7391",
    Fraction(3, 8),
    "CC-BY-SA-4.0",
)
PIXELS = PackagedImage(
    "pixels",
    "gnome-backgrounds",
    "usr/share/backgrounds/gnome/pixels-l.webp",
    "1ee02e123d937bdcbc6ec848cda8b54f7acdddf5c0cec9f8aa6f4b2182835711",
    Fraction(11, 32),
    "CC-BY-SA-3.0",
)
ALTAI = PackagedImage(
    "altai",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Altai/contents/images/5120x2880.png",
    "f693f572875536b41935417f88d523bb0174b77c2dd7f00b71cd55436f93387d",
    Fraction(3, 8),
    "CC-BY-SA-4.0",
)
MILKYWAY = PackagedImage(
    "milkyway",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/MilkyWay/contents/images/5120x2880.png",
    "777b501b626c0e8417167229187a787bbaf2b59c83f8343c18d1b0486e754296",
    Fraction(3, 8),
    "CC-BY-SA-4.0",
)
GLOBE = PackagedImage(
    "globe",
    "flightgear-data-base",
    "usr/share/games/flightgear/Textures/Globe/globe_colors.jpg",
    "bbf05b64ef9617b2a329c77870ba40c81cd1eb78827a7005aa694b6aa463d99e",
    Fraction(1),
    "NASA EO free use / GPL-2+ package",
)
SALAD = PackagedImage(
    "salad",
    "openclipart-png",
    "usr/share/openclipart/png/food/vegetables/salad_mateya_01.png",
    "0995f6d0e30b538d475abf7d65cdee773102e5b1898178a3032f9913dc13ecba",
    Fraction(1),
    "public domain",
)
PAINTING = PackagedImage(
    "painting",
    "lomiri-wallpapers-20.04",
    "usr/share/backgrounds/Painting-Colors_by__herobrine7gamer.jpg",
    "dc688df829e177f23d5e2761a198d2e44e477e4b3b3c750661052c89f7abc46c",
    Fraction(1),
    "CC-BY-SA-3.0",
)
FLOW = PackagedImage(
    "flow",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Flow/contents/images/5120x2880.jpg",
    "b2f1fbe9ebf772fed224de83ee4159cc3735c633a88cc42f8f45d49ccd12efc3",
    Fraction(1),
    "CC-BY-SA-4.0",
)
SHELL = PackagedImage(
    "shell",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Shell/contents/images/5120x2880.jpg",
    "220d5fe725453dba2329b6733cb7094d8615f2e0bbbb8a150e9f113101c02213",
    Fraction(1),
    "CC-BY-SA-4.0",
)
ICECOLD = PackagedImage(
    "icecold",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/IceCold/contents/images/5120x2880.png",
    "4f000813086b839f4845e40bb51385e2e2afaf1df5bf55514d808f70611a63e6",
    Fraction(1),
    "CC-BY-SA-4.0",
)
HONEYWAVE = PackagedImage(
    "honeywave",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Honeywave/contents/images/5120x2880.jpg",
    "e75adbd953e9b7dc8946223e7f1f2c4a9378496e7597198f65b095356995c7ad",
    Fraction(1),
    "CC-BY-SA-4.0",
)
KAY = PackagedImage(
    "kay",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Kay/contents/images/5120x2880.png",
    "2b2fcfe33dbf701deb524f04231a3966e40f3239baf70469318c00c3961c2458",
    Fraction(1),
    "CC-BY-SA-4.0",
)
MOSAIC = Mosaic(
    "mosaic",
    tuple(
        replace(original, factor=Fraction(1))
        for original in (
            *(KLEIBER, SEEDING, ELEPHANTS, PATAK, PAINTING, FLOW),
            *(ALTAI, SHELL, ICECOLD, HONEYWAVE, MILKYWAY, KAY),
        )
    ),
    3,
    (5120, 2880),
)
FRACTAL = Fractal("fractal", 15360, 8640, -0.743643887037151 + 0.131825904205330j, 0.002)
SETS: dict[str, tuple[BenchImage, ...]] = {
    "small": (KLEIBER, SEEDING, PICOS, ELEPHANTS, PATAK, PIXELS, ALTAI, MILKYWAY),
    "native": (replace(KLEIBER, factor=Fraction(1)), replace(ELEPHANTS, factor=Fraction(1)), GLOBE),
    "16k": (MOSAIC, replace(SEEDING, factor=Fraction(3)), SALAD, FRACTAL),
}


@dataclass(frozen=True)
class PreparedImage:
    """An image ready to be measured: uint8 or uint16 [H, W, C] in an .npy file."""

    id: str
    recipe: str
    path: Path


def chosen(images: Iterable[BenchImage], ids: Sequence[str] | None) -> tuple[BenchImage, ...]:
    """The images with these ids, or all.

    Raises:
        ValueError: an id is none of theirs.
    """
    by_id = {image.id: image for image in images}
    check_ids(ids, list(by_id))
    return tuple(image for image in by_id.values() if image.id in (ids or by_id))


def check_ids(ids: Sequence[str] | None, known: Sequence[str]) -> None:
    """Refuse an id that is not known.

    Raises:
        ValueError: it says which are.
    """
    for name in ids or ():
        if name not in known:
            raise ValueError(f"no image {name!r}: there are {', '.join(known)}")


def provide(corpus: Path, images: Iterable[BenchImage]) -> list[PreparedImage]:
    """``fetch`` and ``prepare`` all of them."""
    listed = tuple(images)
    fetch(corpus, listed)
    return [prepare(image, corpus) for image in listed]


def fetch(corpus: Path, images: Iterable[BenchImage]) -> None:
    """Download the missing packages, each into a folder of its name below the corpus folder; check the originals.

    Raises:
        ValueError: an original is another file than it was.
    """
    corpus.mkdir(parents=True, exist_ok=True)
    originals = [original for image in images for original in image.originals]
    for package in sorted({each.package for each in originals if not original_path(each, corpus).exists()}):
        with tempfile.TemporaryDirectory() as downloads:
            subprocess.run(["apt-get", "download", "-q", package], cwd=downloads, check=True)
            (archive,) = Path(downloads).glob("*.deb")
            subprocess.run(["dpkg", "-x", archive, corpus / package], check=True)
    for original in originals:
        with original_path(original, corpus).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != original.sha256:
            raise ValueError(f"{original_path(original, corpus)}: SHA-256 is {actual}, not {original.sha256}")


def original_path(original: PackagedImage, corpus: Path) -> Path:
    """Where the original lies below the corpus folder."""
    return corpus / original.package / original.file


def flattened(image: Image.Image) -> Image.Image:
    """The image as RGB, its transparent parts on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def prepared(image: BenchImage, corpus: Path) -> PreparedImage:
    """What ``prepare`` leaves for the measuring processes; an image by another recipe has another path."""
    path = corpus / "prepared" / f"{image.id}-{_digest(repr(image).encode())}.npy"
    return PreparedImage(image.id, image.recipe, path)


def prepare(image: BenchImage, corpus: Path) -> PreparedImage:
    """Write the pixels once as .npy, so that measuring the image never holds the original in memory."""
    ready = prepared(image, corpus)
    if not ready.path.exists():
        _save(image.pixels(corpus), ready.path)
    return ready


def prepare_folder(folder: Path, corpus: Path) -> list[PreparedImage]:
    """Every image file of a folder, by the name that it has there.

    Raises:
        ValueError: two have the same name, one cannot be read, or there is none.
    """
    images: dict[str, PreparedImage] = {}
    for path in sorted(folder.iterdir()):
        if Image.registered_extensions().get(path.suffix.lower()) not in Image.OPEN:
            continue
        if path.stem in images:
            raise ValueError(f"{folder}: two images are called {path.stem}")
        target = corpus / "prepared" / f"{path.stem}-{_digest(path.read_bytes())}.npy"
        if not target.exists():
            try:
                with Image.open(path) as image:
                    _save(np.asarray(flattened(image)), target)
            except UnidentifiedImageError as error:
                raise ValueError(f"{path} is no image that can be read") from error
        images[path.stem] = PreparedImage(path.stem, f"{folder.name}, as it is", target)
    if not images:
        raise ValueError(f"{folder}: there is no image in it")
    return list(images.values())


def _digest(content: bytes) -> str:
    """A short name for what is in a prepared file."""
    return hashlib.sha256(content).hexdigest()[:12]


def _save(pixels: SampleArray, path: Path) -> None:
    """Write a .npy file, whole or not at all, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.npy")
    np.save(unfinished, pixels)
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="small")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # the large images are above it
    provide(options.corpus, SETS[options.set])


if __name__ == "__main__":
    main()
