"""Image resources of Photoshop, as PNG and TIFF carry them: IPTC is one of them."""

from __future__ import annotations

import struct

IPTC_RESOURCE = 0x0404
_MARK = b"8BIM"


def iptc_of(resources: bytes | None) -> bytes | None:
    """The IPTC records among resources, or all of it where it is records and no resources; None: there are none."""
    if resources is None or not resources.startswith(_MARK):
        return resources or None
    place = 0
    while place + 12 <= len(resources) and resources[place : place + 4] == _MARK:
        kind = struct.unpack_from(">H", resources, place + 4)[0]
        name = resources[place + 6] + 1  # bytes, with its length
        start = place + 6 + name + name % 2
        if start + 4 > len(resources):
            return None
        size = struct.unpack_from(">I", resources, start)[0]
        if kind == IPTC_RESOURCE:
            return resources[start + 4 : start + 4 + size] or None
        place = start + 4 + size + size % 2
    return None
