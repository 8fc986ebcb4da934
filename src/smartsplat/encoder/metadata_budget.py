"""Metadata in the bytes of a small file: what takes too much of them is left out, with a notice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smartsplat.bitstream.container import NAMES, Extras
from smartsplat.encoder.target import Target
from smartsplat.images.image import SourceImage, without_profile
from smartsplat.limits import Limits
from smartsplat.metadata import NO_METADATA, Metadata

MAX_METADATA_FRACTION = 1 / 8
"""Of a target in bytes, that a colour profile may take, and all metadata with it."""

OPTIONAL = ("density", "geo", "exif", "xmp", "iptc")
"""Fields of ``Metadata`` that a file can do without; the first have the first claim to its bytes."""


def within_budget(source: SourceImage, target: Target) -> SourceImage:
    """The image without metadata that take too much of a target in bytes, or that readers do not accept.

    Instead of losing its profile the image is converted to sRGB.
    """
    room = target.max_bytes * MAX_METADATA_FRACTION if target.max_bytes is not None else float("inf")
    metadata = source.metadata
    if metadata.icc is not None:
        profile_bytes = _stored_bytes(Metadata(icc=metadata.icc))
        if profile_bytes > room or len(metadata.icc) > Limits().metadata_bytes:
            source = without_profile(source)
        else:
            room -= profile_bytes
    left_out = []
    for field in OPTIONAL:
        value = getattr(metadata, field)
        if value is None:
            continue
        only: dict[str, Any] = {field: value}
        size = _stored_bytes(replace(NO_METADATA, **only))
        if size > room or (field != "density" and len(value) > Limits().metadata_bytes):
            left_out.append((field, size))
        else:
            room -= size
    if not left_out:
        return source
    nothing: dict[str, Any] = dict.fromkeys(field for field, _ in left_out)
    kept = replace(source.metadata, **nothing)
    notices = (f"{NAMES[field]} left out: {size} bytes are too much of the file" for field, size in left_out)
    return replace(source, metadata=kept, notices=(*source.notices, *notices))


def _stored_bytes(metadata: Metadata) -> int:
    """What metadata take in a file."""
    return Extras(metadata=metadata).size
