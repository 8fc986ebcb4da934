"""Every error that SmartSplat raises on purpose; each message is one line that says what is wrong and where.

What is no error but should be known, a notice, is a warning for callers in Python: ``warn_of``.
"""

import warnings
from collections.abc import Iterable


class SmartSplatError(Exception):
    """Base of all errors below. The command line prints it as one line and exits with 1, or 2 for a SettingsError."""


class ImageError(SmartSplatError):
    """An image cannot be read, has an unusable shape or type, or cannot be written."""


class SettingsError(SmartSplatError, ValueError):
    """The caller asked for something that contradicts itself or cannot be met, such as a target of 3 bytes."""


class FormatError(SmartSplatError):
    """The bytes are not a SmartSplat file, or are damaged."""


class UnsupportedError(SmartSplatError):
    """The file is valid but needs a newer reader."""


class LimitError(SmartSplatError):
    """An image or a file claims more pixels, Gaussians or bytes than the limits in force allow."""


class DeviceError(SmartSplatError):
    """The device asked for is not there, or its memory does not suffice."""


class ClusterError(SmartSplatError):
    """The cluster asked for cannot be reached, or is gone."""


class SmartSplatWarning(UserWarning):
    """Something of an image was changed or left out on its way in or out. The command line prints it as a notice."""


def reason_of(error: Exception) -> str:
    """What the system says went wrong, without number and file."""
    return getattr(error, "strerror", None) or str(error)


def one_line_of(error: Exception) -> str:
    """What went wrong, in one line; of libraries that say nothing, the kind of error."""
    return " ".join(reason_of(error).split()) or type(error).__name__


def warn_of(notices: Iterable[str]) -> None:
    """Each notice as a SmartSplatWarning, of the line that called the caller of this function.

    Args:
        notices: one line each.
    """
    for notice in notices:
        warnings.warn(notice, SmartSplatWarning, stacklevel=3)
