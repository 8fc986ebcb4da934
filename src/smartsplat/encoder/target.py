"""What an encode is asked for: a ratio, bits per pixel, bytes, a PSNR or a number of Gaussians -> one Target."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smartsplat.errors import SettingsError
from smartsplat.limits import Limits

DEFAULT_RATIO = 100


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
        """The target that the caller's arguments name for an image of so many pixels; a ratio of 100 if they name none.

        Raises:
            SettingsError: more than one target, or one that is no positive number or more than readers accept.
        """
        given = {"ratio": ratio, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "gaussians": gaussians}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) > 1:
            raise SettingsError(f"{' and '.join(named)} exclude each other: give one target")
        for name, value in named.items():
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} must be a positive number, not {value}")
        if psnr is not None:
            return Target(min_psnr=psnr)
        limits = Limits()
        if gaussians is not None:
            if gaussians > limits.gaussians:
                raise SettingsError(f"{gaussians} Gaussians are more than the {limits.gaussians} that readers accept")
            return Target(gaussians=gaussians)
        pixels = width * height
        budget = pixels * bpp / 8 if bpp is not None else 3 * pixels / (ratio or DEFAULT_RATIO)
        return Target(max_bytes=int(min(budget if max_bytes is None else max_bytes, limits.file_bytes)))
