"""Chunks, which PNG files are made of after their signature."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, *parts: bytes) -> bytes:
    """A chunk of a type: the length of its content, type, content (the parts, one after the other) and CRC."""
    body = b"".join((kind, *parts))
    return struct.pack(">I", len(body) - len(kind)) + body + struct.pack(">I", zlib.crc32(body))
