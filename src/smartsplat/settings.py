"""The old place of ``smartsplat.Limits``, until version 0.7."""

import warnings

from smartsplat.limits import Limits

__all__ = ["Limits"]

warnings.warn("smartsplat.settings.Limits is now smartsplat.Limits", DeprecationWarning, stacklevel=2)
