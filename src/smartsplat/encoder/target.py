"""What an encode is asked for: a ratio, bits per pixel, bytes, a PSNR or a number of Gaussians -> one Target."""

from __future__ import annotations

from dataclasses import dataclass

from smartsplat.arguments import positive_number, whole_number
from smartsplat.errors import SettingsError
from smartsplat.limits import Limits

DEFAULT_RATIO = 100
MIN_DEFAULT_BYTES = 200
"""What a file may have if nothing is asked for, however tiny the image is."""


@dataclass(frozen=True)
class Target:
    """What an encode is to meet: exactly one of the three."""

    max_bytes: int | None = None
    min_psnr: float | None = None  # decibels
    gaussians: int | None = None

    @staticmethod
    def of(
        width: int,
        height: int,
        *,
        ratio: float | None = None,
        bpp: float | None = None,
        max_bytes: float | None = None,
        psnr: float | None = None,
        gaussians: int | None = None,
    ) -> Target:
        """The target that the caller's arguments name for an image of so many pixels.

        If they name none it is a ratio of 100, but what a tiny image needs.

        Raises:
            SettingsError: more than one target, or one that is no positive number or more than readers accept.
        """
        given = {"ratio": ratio, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "gaussians": gaussians}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) > 1:
            raise SettingsError(f"{' and '.join(named)} exclude each other: give one target")
        for name, value in named.items():
            if name == "gaussians":
                whole_number(name, value, 1)
            else:
                positive_number(name, value)
        if psnr is not None:
            return Target(min_psnr=psnr)
        limits = Limits()
        if gaussians is not None:
            if gaussians > limits.gaussians:
                raise SettingsError(f"{gaussians} Gaussians are more than the {limits.gaussians} that readers accept")
            return Target(gaussians=gaussians)
        raw_bytes = 3 * width * height
        if max_bytes is not None:
            budget = max_bytes
        elif bpp is not None:
            budget = width * height * bpp / 8
        elif ratio is not None:
            budget = raw_bytes / ratio
        else:  # of a tiny image a hundredth would hold nothing
            budget = max(raw_bytes / DEFAULT_RATIO, MIN_DEFAULT_BYTES)
        return Target(max_bytes=int(min(budget, limits.file_bytes)))
