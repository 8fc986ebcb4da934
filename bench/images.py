"""The picture sets: real pictures that Debian ships, fetched by package name, checked, shrunk.

small: eight of about two megapixels, for rate and distortion. native: two of these and a map, as large
as they are. 8k: the map alone, for speed.

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

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

ByteArray = npt.NDArray[np.uint8]


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
SETS = {
    "small": (KLEIBER, SEEDING, PICOS, ELEPHANTS, PATAK, PIXELS, ALTAI, MILKYWAY),
    "native": (replace(KLEIBER, factor=Fraction(1)), replace(ELEPHANTS, factor=Fraction(1)), GLOBE),
    "8k": (GLOBE,),
}


def fetch(folder: Path, pictures: tuple[BenchPicture, ...] = SETS["small"]) -> None:
    """Download the missing packages, each into a folder of its name below ``folder``; check the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in sorted({picture.package for picture in pictures if not source(picture, folder).exists()}):
        with tempfile.TemporaryDirectory() as downloads:
            subprocess.run(["apt-get", "download", "-q", package], cwd=downloads, check=True)
            (archive,) = Path(downloads).glob("*.deb")
            subprocess.run(["dpkg", "-x", archive, folder / package], check=True)
    for picture in pictures:
        with source(picture, folder).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != picture.sha256:
            raise ValueError(f"{source(picture, folder)}: SHA-256 is {digest}, not {picture.sha256}")


def source(picture: BenchPicture, folder: Path) -> Path:
    """Where the original lies below the corpus folder."""
    return folder / picture.package / picture.file


def load(picture: BenchPicture, folder: Path) -> ByteArray:
    """The picture as the benchmark uses it: RGB over white, shrunk; uint8 [H, W, 3]."""
    with Image.open(source(picture, folder)) as image:
        opaque = flattened(image)
    sides = (round(opaque.width * picture.factor), round(opaque.height * picture.factor))
    return np.asarray(opaque.resize(sides, Image.Resampling.LANCZOS, reducing_gap=None))


def flattened(image: Image.Image) -> Image.Image:
    """The image as RGB, its transparent parts on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def prepared(picture: BenchPicture, folder: Path) -> Path:
    """Where ``prepare`` leaves the picture for the measuring processes."""
    return folder / "prepared" / f"{picture.id}-{picture.factor.numerator}-{picture.factor.denominator}.npy"


def prepare(picture: BenchPicture, folder: Path) -> None:
    """Write the shrunk picture once as .npy, so that measuring it never holds the original in memory."""
    path = prepared(picture, folder)
    if not path.exists():
        save(load(picture, folder), path)


def provide(folder: Path, pictures: tuple[BenchPicture, ...]) -> None:
    """``fetch`` and ``prepare`` all of them."""
    fetch(folder, pictures)
    for picture in pictures:
        prepare(picture, folder)


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
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        goal = folder / "prepared" / f"{path.stem}-{digest}.npy"
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
    provide(options.corpus, SETS[options.set])


if __name__ == "__main__":
    main()
