"""SmartSplat: a codec for ultra-high-resolution pictures. A picture becomes 2D Gaussians in a real file."""

from typing import Any

from smartsplat.codec import Info, Reader, decode, encode, open
from smartsplat.errors import (
    DeviceError,
    FormatError,
    LimitError,
    PictureError,
    SettingsError,
    SmartSplatError,
    UnsupportedError,
)
from smartsplat.gaussians import Gaussians

__all__ = [
    "DeviceError",
    "FormatError",
    "Gaussians",
    "Info",
    "LimitError",
    "PictureError",
    "Reader",
    "SettingsError",
    "SmartSplatError",
    "UnsupportedError",
    "__version__",
    "decode",
    "encode",
    "open",
]


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # 30 ms, which few commands need

    return version("smartsplat")
