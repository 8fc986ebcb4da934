from __future__ import annotations

import struct

from smartsplat.images.reading.photoshop import iptc_of

RECORDS = b"\x1c\x02\x05\0\x01T"


def resource(kind: int, body: bytes, name: bytes = b"") -> bytes:
    named = bytes([len(name)]) + name
    named += bytes(len(named) % 2)
    return b"8BIM" + struct.pack(">H", kind) + named + struct.pack(">I", len(body)) + body + bytes(len(body) % 2)


def test_records_among_resources() -> None:
    assert iptc_of(resource(0x0404, RECORDS)) == RECORDS
    assert iptc_of(resource(0x03ED, b"odd") + resource(1, b"", b"name") + resource(0x0404, RECORDS)) == RECORDS
    assert iptc_of(resource(0x03ED, b"odd")) is None
    assert iptc_of(RECORDS) == RECORDS
    assert iptc_of(None) is None
    assert iptc_of(b"") is None


def test_damaged_resources() -> None:
    whole = resource(0x03ED, b"odd") + resource(0x0404, RECORDS)
    for length in range(len(whole)):
        found = iptc_of(whole[:length])
        assert found is None or RECORDS.startswith(found) or length < 4
    assert iptc_of(b"8BIM\x04\x04\0\0\xff\xff\xff\xff") is None
