"""The picture sets: real pictures that Debian ships, fetched by package name, checked, shrunk or enlarged.

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
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

ByteArray = npt.NDArray[np.uint8]


class Picture(Protocol):
    """What a set is made of."""

    @property
    def id(self) -> str:
        """What tables call it."""

    @property
    def recipe(self) -> str:
        """How it was made of its originals, for tables."""

    @property
    def originals(self) -> tuple[BenchPicture, ...]:
        """What has to be fetched for it."""

    def pixels(self, folder: Path) -> ByteArray:
        """uint8 [H, W, 3], of the originals below the corpus folder."""


@dataclass(frozen=True)
class BenchPicture:
    """One picture; ``factor`` scales both sides exactly, and the new sides are rounded to whole pixels.

    The originals are mostly JPEGs, softer than their size says. Shrinking makes them as sharp as their pixels
    allow and removes the traces of their own compression.
    """

    id: str
    package: str
    file: str  # path below the extracted package
    sha256: str
    factor: Fraction
    licence: str

    @property
    def recipe(self) -> str:
        return "as it is" if self.factor == 1 else f"Lanczos {self.factor}"

    @property
    def originals(self) -> tuple[BenchPicture, ...]:
        return (self,)

    def pixels(self, folder: Path) -> ByteArray:
        """RGB over white, scaled."""
        with Image.open(source(self, folder)) as image:
            opaque = flattened(image)
        sides = (round(opaque.width * self.factor), round(opaque.height * self.factor))
        return np.asarray(opaque.resize(sides, Image.Resampling.LANCZOS, reducing_gap=None))


@dataclass(frozen=True)
class Mosaic:
    """The middles of several pictures beside each other, row by row, none resampled."""

    id: str
    originals: tuple[BenchPicture, ...]
    across: int
    tile: tuple[int, int]  # width, height

    @property
    def recipe(self) -> str:
        down = len(self.originals) // self.across
        return f"{self.across} by {down} middles of {self.tile[0]}x{self.tile[1]}: " + ", ".join(
            picture.id for picture in self.originals
        )

    def pixels(self, folder: Path) -> ByteArray:
        width, height = self.tile
        whole = np.empty((len(self.originals) // self.across * height, self.across * width, 3), np.uint8)
        for index, picture in enumerate(self.originals):
            row, column = divmod(index, self.across)
            tile = picture.pixels(folder)
            top, left = (tile.shape[0] - height) // 2, (tile.shape[1] - width) // 2
            whole[row * height :, column * width :][:height, :width] = tile[top:, left:][:height, :width]
        return whole


@dataclass(frozen=True)
class Fractal:
    """A view of Mandelbrot's set, coloured by how soon a point escapes: detail at every scale, and no original."""

    id: str
    width: int
    height: int
    center: complex
    span: float  # of the width
    iterations: int = 150
    originals: tuple[BenchPicture, ...] = ()

    @property
    def recipe(self) -> str:
        return f"Mandelbrot's set around {self.center}, {self.span} wide"

    def pixels(self, folder: Path) -> ByteArray:
        step = self.span / self.width
        x = self.center.real + step * (np.arange(self.width) + 0.5 - self.width / 2)
        y = self.center.imag + step * (np.arange(self.height) + 0.5 - self.height / 2)
        rows = 16  # what a cache holds
        return np.concatenate([self._colors(x + 1j * y[top : top + rows, None]) for top in range(0, self.height, rows)])

    def _colors(self, points: npt.NDArray[np.complex128]) -> ByteArray:
        """uint8 [h, w, 3]: each channel a sine of the number of iterations, made continuous, or of 0."""
        count = np.zeros(points.size, np.float32)
        start, left = points.ravel(), np.arange(points.size)
        place = np.zeros_like(start)
        for iteration in range(self.iterations):
            place = place * place + start
            escaped = np.abs(place) > 4
            count[left[escaped]] = iteration + 1 - np.log2(np.log(np.abs(place[escaped])))
            place, start, left = place[~escaped], start[~escaped], left[~escaped]
        waves = np.sin(count[:, None] * np.array([0.11, 0.13, 0.17]) + np.array([0, 2, 4]))
        return (127.5 + 127.5 * waves).astype(np.uint8).reshape(*points.shape, 3)


KLEIBER = BenchPicture(
    "kleiber",
    "lomiri-wallpapers-20.04",
    "usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg",
    "6572410c09f4492c74ccadde133565a14c0161617d5917d4c820c66d65a44ba7",
    Fraction(5, 16),
    "CC-BY-SA-3.0",
)
SEEDING = BenchPicture(
    "seeding",
    "lomiri-wallpapers-16.04",
    "usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg",
    "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
    Fraction(5, 14),
    "CC0-1.0",
)
PICOS = BenchPicture(
    "picos",
    "lomiri-wallpapers-16.04",
    "usr/share/backgrounds/picosdeeuropa_by_Aitzol_Berasategi.jpg",
    "414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a",
    Fraction(1, 2),
    "CC-BY-4.0",
)
ELEPHANTS = BenchPicture(
    "elephants",
    "mate-backgrounds",
    "usr/share/backgrounds/mate/abstract/Elephants_5640x3172.jpg",
    "7ab602cd55aedd107743973353e58771860d1a74a0cd0701e8351096535edde8",
    Fraction(1, 3),
    "GPL-2+",
)
PATAK = BenchPicture(
    "patak",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Patak/contents/images/5120x2880.png",
    "e8f6167bafea78c54e2b736c448ce22809cc0bd085fb3a371d71546e956e7391",
    Fraction(3, 8),
    "CC-BY-SA-4.0",
)
PIXELS = BenchPicture(
    "pixels",
    "gnome-backgrounds",
    "usr/share/backgrounds/gnome/pixels-l.webp",
    "1ee02e123d937bdcbc6ec848cda8b54f7acdddf5c0cec9f8aa6f4b2182835711",
    Fraction(11, 32),
    "CC-BY-SA-3.0",
)
ALTAI = BenchPicture(
    "altai",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Altai/contents/images/5120x2880.png",
    "f693f572875536b41935417f88d523bb0174b77c2dd7f00b71cd55436f93387d",
    Fraction(3, 8),
    "CC-BY-SA-4.0",
)
MILKYWAY = BenchPicture(
    "milkyway",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/MilkyWay/contents/images/5120x2880.png",
    "777b501b626c0e8417167229187a787bbaf2b59c83f8343c18d1b0486e754296",
    Fraction(3, 8),
    "CC-BY-SA-4.0",
)
GLOBE = BenchPicture(
    "globe",
    "flightgear-data-base",
    "usr/share/games/flightgear/Textures/Globe/globe_colors.jpg",
    "bbf05b64ef9617b2a329c77870ba40c81cd1eb78827a7005aa694b6aa463d99e",
    Fraction(1),
    "NASA EO free use / GPL-2+ package",
)
SALAD = BenchPicture(
    "salad",
    "openclipart-png",
    "usr/share/openclipart/png/food/vegetables/salad_mateya_01.png",
    "0995f6d0e30b538d475abf7d65cdee773102e5b1898178a3032f9913dc13ecba",
    Fraction(1),
    "public domain",
)
PAINTING = BenchPicture(
    "painting",
    "lomiri-wallpapers-20.04",
    "usr/share/backgrounds/Painting-Colors_by__herobrine7gamer.jpg",
    "dc688df829e177f23d5e2761a198d2e44e477e4b3b3c750661052c89f7abc46c",
    Fraction(1),
    "CC-BY-SA-3.0",
)
FLOW = BenchPicture(
    "flow",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Flow/contents/images/5120x2880.jpg",
    "b2f1fbe9ebf772fed224de83ee4159cc3735c633a88cc42f8f45d49ccd12efc3",
    Fraction(1),
    "CC-BY-SA-4.0",
)
SHELL = BenchPicture(
    "shell",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Shell/contents/images/5120x2880.jpg",
    "220d5fe725453dba2329b6733cb7094d8615f2e0bbbb8a150e9f113101c02213",
    Fraction(1),
    "CC-BY-SA-4.0",
)
ICECOLD = BenchPicture(
    "icecold",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/IceCold/contents/images/5120x2880.png",
    "4f000813086b839f4845e40bb51385e2e2afaf1df5bf55514d808f70611a63e6",
    Fraction(1),
    "CC-BY-SA-4.0",
)
HONEYWAVE = BenchPicture(
    "honeywave",
    "plasma-workspace-wallpapers",
    "usr/share/wallpapers/Honeywave/contents/images/5120x2880.jpg",
    "e75adbd953e9b7dc8946223e7f1f2c4a9378496e7597198f65b095356995c7ad",
    Fraction(1),
    "CC-BY-SA-4.0",
)
KAY = BenchPicture(
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
        replace(picture, factor=Fraction(1))
        for picture in (
            *(KLEIBER, SEEDING, ELEPHANTS, PATAK, PAINTING, FLOW),
            *(ALTAI, SHELL, ICECOLD, HONEYWAVE, MILKYWAY, KAY),
        )
    ),
    3,
    (5120, 2880),
)
FRACTAL = Fractal("fractal", 15360, 8640, -0.743643887037151 + 0.131825904205330j, 0.002)
SETS: dict[str, tuple[Picture, ...]] = {
    "small": (KLEIBER, SEEDING, PICOS, ELEPHANTS, PATAK, PIXELS, ALTAI, MILKYWAY),
    "native": (replace(KLEIBER, factor=Fraction(1)), replace(ELEPHANTS, factor=Fraction(1)), GLOBE),
    "16k": (MOSAIC, replace(SEEDING, factor=Fraction(3)), SALAD, FRACTAL),
}


def fetch(folder: Path, pictures: tuple[Picture, ...]) -> None:
    """Download the missing packages, each into a folder of its name below ``folder``; check the originals."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = [original for picture in pictures for original in picture.originals]
    for package in sorted({original.package for original in originals if not source(original, folder).exists()}):
        with tempfile.TemporaryDirectory() as downloads:
            subprocess.run(["apt-get", "download", "-q", package], cwd=downloads, check=True)
            (archive,) = Path(downloads).glob("*.deb")
            subprocess.run(["dpkg", "-x", archive, folder / package], check=True)
    for original in originals:
        with source(original, folder).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != original.sha256:
            raise ValueError(f"{source(original, folder)}: SHA-256 is {found}, not {original.sha256}")


def source(original: BenchPicture, folder: Path) -> Path:
    """Where the original lies below the corpus folder."""
    return folder / original.package / original.file


def flattened(image: Image.Image) -> Image.Image:
    """The image as RGB, its transparent parts on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def prepared(picture: Picture, folder: Path) -> Path:
    """Where ``prepare`` leaves the picture for the measuring processes; another recipe lies elsewhere."""
    return folder / "prepared" / f"{picture.id}-{digest(repr(picture).encode())}.npy"


def prepare(picture: Picture, folder: Path) -> None:
    """Write the pixels once as .npy, so that measuring it never holds the original in memory."""
    path = prepared(picture, folder)
    if not path.exists():
        save(picture.pixels(folder), path)


def provide(folder: Path, pictures: tuple[Picture, ...]) -> None:
    """``fetch`` and ``prepare`` all of them."""
    fetch(folder, pictures)
    for picture in pictures:
        prepare(picture, folder)


def digest(content: bytes) -> str:
    """A short name for what is in a prepared file."""
    return hashlib.sha256(content).hexdigest()[:12]


def save(pixels: ByteArray, path: Path) -> None:
    """Write a .npy file, whole or not at all, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.npy")
    np.save(unfinished, pixels)
    unfinished.replace(path)


def of_folder(pictures: Path, folder: Path) -> dict[str, tuple[Path, str]]:
    """Each picture file of a folder by the name that it has there: where it now lies prepared, and its recipe.

    ValueError if two are called the same, or none can be read.
    """
    found: dict[str, tuple[Path, str]] = {}
    for path in sorted(pictures.iterdir()):
        if Image.registered_extensions().get(path.suffix.lower()) not in Image.OPEN:
            continue
        if path.stem in found:
            raise ValueError(f"{pictures}: two pictures are called {path.stem}")
        goal = folder / "prepared" / f"{path.stem}-{digest(path.read_bytes())}.npy"
        if not goal.exists():
            try:
                with Image.open(path) as image:
                    save(np.asarray(flattened(image)), goal)
            except UnidentifiedImageError as error:
                raise ValueError(f"{path} is no picture that can be read") from error
        found[path.stem] = goal, f"{pictures.name}, as it is"
    if not found:
        raise ValueError(f"{pictures}: there is no picture in it")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="small")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # the large pictures are above it
    provide(options.corpus, SETS[options.set])


if __name__ == "__main__":
    main()
