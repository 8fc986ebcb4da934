"""SmartSplat: a codec for ultra-high-resolution images. An image becomes 2D Gaussians in a real file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smartsplat.errors import (
    ClusterError,
    DeviceError,
    FormatError,
    ImageError,
    LimitError,
    SettingsError,
    SmartSplatError,
    SmartSplatWarning,
    UnsupportedError,
)
from smartsplat.limits import Limits

if TYPE_CHECKING:
    from smartsplat.decoder import Info, Reader, decode, open
    from smartsplat.distributed.batch import batch
    from smartsplat.encoder.encode import encode
    from smartsplat.encoder.fit import Progress
    from smartsplat.gaussians import Gaussians
    from smartsplat.images.image import SourceImage, read_image

__all__ = [
    "ClusterError",
    "DeviceError",
    "FormatError",
    "Gaussians",
    "ImageError",
    "Info",
    "LimitError",
    "Limits",
    "Progress",
    "Reader",
    "SettingsError",
    "SmartSplatError",
    "SmartSplatWarning",
    "SourceImage",
    "UnsupportedError",
    "__version__",
    "batch",
    "decode",
    "encode",
    "open",
    "read_image",
]

ON_FIRST_USE = {
    "Gaussians": "smartsplat.gaussians",
    "Info": "smartsplat.decoder",
    "Progress": "smartsplat.encoder.fit",
    "Reader": "smartsplat.decoder",
    "SourceImage": "smartsplat.images.image",
    "batch": "smartsplat.distributed.batch",
    "decode": "smartsplat.decoder",
    "encode": "smartsplat.encoder.encode",
    "open": "smartsplat.decoder",
    "read_image": "smartsplat.images.image",
}
"""Name -> the module that has it, which is imported when the name is first used: the encoder takes 200 ms, with SciPy,
and decoding does without; rendering on a GPU does without the compiled module, which both need."""


def __getattr__(name: str) -> Any:
    if name in ON_FIRST_USE:
        return getattr(import_module(ON_FIRST_USE[name]), name)
    if name == "__version__":
        from importlib.metadata import version  # 30 ms, which few commands need

        return version("smartsplat")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
