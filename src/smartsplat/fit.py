"""The old place of ``smartsplat.Progress``, until version 0.7."""

import warnings

from smartsplat.encoder.fit import Progress

__all__ = ["Progress"]

warnings.warn("smartsplat.fit.Progress is now smartsplat.Progress", DeprecationWarning, stacklevel=2)
