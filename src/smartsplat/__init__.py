"""SmartSplat: a codec for ultra-high-resolution pictures. A picture becomes 2D Gaussians in a real file."""

from importlib.metadata import version

from smartsplat.codec import Info, Reader, decode, encode, open
from smartsplat.errors import (
    FormatError,
    LimitError,
    PictureError,
    SettingsError,
    SmartSplatError,
    UnsupportedError,
)
from smartsplat.gaussians import Gaussians

__version__ = version("smartsplat")

__all__ = [
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
