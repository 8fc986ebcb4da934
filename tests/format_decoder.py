"""A second decoder, written from docs/format.md alone: it shares no code with the package and needs only Python.

Slow on purpose, and in the order of the page. ``python -m tests.format_decoder FILE`` writes what it decodes as
a PGM or PPM picture to standard output.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

EXP2 = [math.floor(16384 * 2 ** (i / 8) + 0.5) for i in range(8)]
SHAPE = [-1000] + [math.floor(8 * math.log2(2 ** (i / 16) - 2 ** (-i / 16)) + 0.5) for i in range(1, 97)]
SQUARED = [math.floor(4096 * 2 ** (-i / 8) + 0.5) for i in range(97)]
COSINE2 = [math.floor(4096 * math.cos(math.pi * i / 256) ** 2 + 0.5) for i in range(256)]
RECIPROCAL = [65536 // (2 * i + 3) for i in range(161)]
TABLES = {"exp2": EXP2, "shape": SHAPE, "squared": SQUARED, "cosine2": COSINE2, "reciprocal": RECIPROCAL}

FILTER_VARIANCE = 0.1
AXES = [
    [1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)],
    [1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)],
    [1 / math.sqrt(6), -2 / math.sqrt(6), 1 / math.sqrt(6)],
]


class Refused(Exception):
    """The file is damaged, unsupported or too large."""


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise Refused(problem)


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


# ---- Container ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    channels: int
    quality: int
    cell_log2: int

    @property
    def columns(self) -> int:
        return ((self.width - 1) >> self.cell_log2) + 1

    @property
    def rows(self) -> int:
        return ((self.height - 1) >> self.cell_log2) + 1


@dataclass(frozen=True)
class Group:
    count: int
    reach: tuple[int, int, int, int]
    coded: bytes


@dataclass(frozen=True)
class Content:
    header: Header
    groups: list[Group]
    profile: bytes | None


def read_container(data: bytes) -> Content:
    require(len(data) <= 1 << 31, "too large")
    require(data[:8] == bytes.fromhex("895353500D0A1A0A"), "no signature")
    require(len(data) >= 36, "no header")
    require(data[8] == 1, "another major version")
    flags, width, height, channels, quality, cell_log2, reserved, count, chunks = struct.unpack_from(
        "<HIIBBBBII", data, 10
    )
    require(chunks <= 65536, "too many chunks")
    end = 32 + 16 * chunks
    require(end + 4 <= len(data), "the table ends early")
    require(zlib.crc32(data[:end]) == int.from_bytes(data[end : end + 4], "little"), "the header's CRC")
    require(flags == 0 and reserved == 0, "reserved bits")
    require(1 <= width <= 65536 and 1 <= height <= 65536 and width * height <= 1 << 30, "the picture's size")
    require(channels in (1, 3) and quality <= 191 and cell_log2 <= 12 and count <= 1 << 26, "a header field")
    groups: list[Group] = []
    profile = None
    start = end + 4
    for entry in range(chunks):
        kind, stored, unpacked, crc = struct.unpack_from("<4sIII", data, 32 + 16 * entry)
        require(stored <= len(data) - start, "a chunk ends early")
        body = data[start : start + stored]
        start += stored
        require(zlib.crc32(body) == crc, "a chunk's CRC")
        if kind == b"GAUS":
            groups.append(_read_group(body))
        elif kind == b"iccp":
            profile = _read_profile(body, unpacked)
        else:
            require(kind[0] & 0x20 != 0, "an unknown critical chunk")
    require(start == len(data), "bytes at the end")
    require(sum(group.count for group in groups) == count, "the groups do not add up")
    return Content(Header(width, height, channels, quality, cell_log2), groups, profile)


def _read_group(body: bytes) -> Group:
    require(len(body) >= 12, "a short group")
    count, *reach = struct.unpack_from("<I4H", body)
    require(count <= len(body) - 12, "more Gaussians than bytes")
    return Group(count, (reach[0], reach[1], reach[2], reach[3]), body[12:])


def _read_profile(body: bytes, unpacked: int) -> bytes:
    require(unpacked <= 1 << 24, "a large profile")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(body, unpacked + 1)
    except zlib.error:
        raise Refused("a damaged profile") from None
    require(inflater.eof and len(profile) == unpacked, "the profile's length")
    return profile


# ---- Symbols --------------------------------------------------------------------------------------------------------

Symbols = tuple[int, int, int, int, int, int, int, int, int, int, int]


@dataclass(frozen=True)
class Steps:
    """What follows from energy class, mean scale, ratio and angle; each is called once its symbols are known."""

    header: Header
    energy: int

    @property
    def eighths(self) -> int:
        """L - 8 E."""
        return 64 - self.header.quality - 8 * self.energy

    @property
    def mean(self) -> int:
        return _step(self.eighths + 82)

    @property
    def ratio(self) -> int:
        return _step(self.eighths + 90)

    def angle_bits(self, ratio_units: int) -> int:
        return clamp((SHAPE[_sixteenths(ratio_units)] + 9 - self.eighths) >> 3, 0, 10)

    def color(self, mean_units: int) -> int:
        return 64 - self.header.quality - 7 - ((mean_units + 64) >> 7)

    def position_bits(self, mean_units: int, ratio_units: int, angle: int) -> tuple[int, int]:
        c = COSINE2[(angle << 8) >> self.angle_bits(ratio_units)]
        s = 4096 - c
        flat = SQUARED[_sixteenths(ratio_units)]
        short = (mean_units - (ratio_units >> 1) + 64) >> 7

        def bits(along: int) -> int:
            return clamp((8 * self.header.cell_log2 - short + _half(max(1, along)) - self.eighths) >> 3, 0, 14)

        return bits(((c * flat) >> 12) + s), bits(((s * flat) >> 12) + c)


def _step(eighths: int) -> int:
    e = clamp(eighths, 24, 80)
    return EXP2[e % 8] >> (14 - (e >> 3))


def _sixteenths(ratio_units: int) -> int:
    return clamp((ratio_units + 32) >> 6, 0, 96)


def _half(along: int) -> int:
    n = along.bit_length() - 1
    k = sum(entry <= along << (14 - n) for entry in EXP2[1:])
    return -((8 * (12 - n) - k) >> 1)


# ---- Entropy coding -------------------------------------------------------------------------------------------------


@dataclass
class Bit:
    fast: int = 32768
    slow: int = 32768
    seen: int = 0

    @property
    def probability(self) -> int:
        return clamp((self.fast + self.slow) >> 5, 1, 4095)

    def learn(self, bit: int) -> None:
        goal = 65535 if bit else 0
        self.fast += (goal - self.fast) * RECIPROCAL[min(self.seen, 20)] // 32768
        self.slow += (goal - self.slow) * RECIPROCAL[self.seen] // 32768
        self.seen = min(self.seen + 1, 160)


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.next = 0
        self.range = 0xFFFFFFFF
        self.code = 0
        for _ in range(4):
            self.code = self.code * 256 + self._byte()

    def _byte(self) -> int:
        self.next += 1
        return self.data[self.next - 1] if self.next <= len(self.data) else 0

    def _normalize(self) -> None:
        while self.range < 1 << 24:
            self.range *= 256
            self.code = (self.code * 256 + self._byte()) % (1 << 32)

    def bit(self, model: Bit) -> int:
        bound = (self.range >> 12) * model.probability
        bit = int(self.code < bound)
        if bit:
            self.range = bound
        else:
            self.range -= bound
            self.code = (self.code - bound) % (1 << 32)
        model.learn(bit)
        self._normalize()
        return bit

    def raw(self, bits: int) -> int:
        if bits == 0:
            return 0
        self.range >>= bits
        value = min(self.code // self.range, (1 << bits) - 1)
        self.code = (self.code - value * self.range) % (1 << 32)
        self._normalize()
        return value


Coder = RangeDecoder
Context = tuple[str | int, ...]


class Model:
    """The adaptive bits of a group, each made when it is first met, and the running state."""

    def __init__(self) -> None:
        self.bits: defaultdict[Context, Bit] = defaultdict(Bit)
        self.cell = self.gap1 = self.gap2 = 0
        self.energy16 = 16
        self.scale_units = 1024

    def magnitude(self, coder: Coder, *context: str | int) -> int:
        k = 1
        while k < 47 and coder.bit(self.bits[*context, "longer", k]):
            k += 1
        v = 1
        last = -1  # the first adaptive digit has place 0, the second 1 or 2
        for _ in range(min(k - 1, 2)):
            last = coder.bit(self.bits[*context, "digit", k, 1 + last])
            v = 2 * v + last
        left = max(k - 3, 0)
        while left:
            n = min(left, 8)
            v = (v << n) + coder.raw(n)
            left -= n
        return v - 1

    def signed(self, coder: Coder, *context: str | int) -> int:
        if not coder.bit(self.bits[*context, "nonzero"]):
            return 0
        negative = coder.bit(self.bits[*context, "negative"])
        size = min(self.magnitude(coder, *context) + 1, 1 << 30)
        return -size if negative else size


def _gaussian(coder: Coder, model: Model, header: Header) -> Symbols:
    gap = model.magnitude(coder, "gap", min(((model.gap1 + model.gap2) >> 1).bit_length(), 7))
    model.cell += gap
    model.gap2, model.gap1 = model.gap1, gap
    x = sum((model.cell >> (2 * i) & 1) << i for i in range(24))
    y = sum((model.cell >> (2 * i + 1) & 1) << i for i in range(24))
    require(gap < 1 << 32 and x < header.columns and y < header.rows, "a cell outside the picture")

    expected = (model.energy16 + 8) >> 4
    energy = clamp(expected + model.signed(coder, "energy", min(gap.bit_length(), 7)), -8, 17)
    steps = Steps(header, energy)
    fineness = steps.mean.bit_length() - 4
    surprise = 16 * energy - model.energy16
    guess = (model.scale_units + surprise * 40 + (steps.mean >> 1)) // steps.mean
    mean = guess + model.signed(coder, "scale", fineness)
    mean = clamp(mean, -(2048 // steps.mean), 16384 // steps.mean)
    mean_units = mean * steps.mean
    model.scale_units += (mean_units - model.scale_units) >> 4
    model.energy16 += surprise >> 4

    ratio = min(model.magnitude(coder, "ratio", fineness), 6144 // steps.ratio)
    ratio_units = ratio * steps.ratio
    angle = coder.raw(steps.angle_bits(ratio_units))
    size = clamp(energy + ((header.quality - 64) >> 3) + 2, 0, 13)
    color = [0, 0, 0]
    for c in range(header.channels):
        color[c] = model.signed(coder, "color", c, size)
        require(abs(color[c]) <= 1048575, "a colour out of range")
    bits_x, bits_y = steps.position_bits(mean_units, ratio_units, angle)
    offset_x, offset_y = coder.raw(bits_x), coder.raw(bits_y)
    return x, y, energy, mean, ratio, angle, color[0], color[1], color[2], offset_x, offset_y


def decode_group(group: Group, header: Header) -> list[Symbols]:
    coder, model = RangeDecoder(group.coded), Model()
    symbols = []
    for _ in range(group.count):
        symbols.append(_gaussian(coder, model, header))
        require(coder.next <= len(group.coded) + 4, "the group ends early")
    require(not any(group.coded[coder.next :]), "bytes after the last Gaussian")
    return symbols


# ---- Dequantisation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian:
    mean: tuple[float, float]
    scale: tuple[float, float]
    rotation: float
    color: tuple[float, ...]


def _single(value: float) -> float:
    """The nearest binary32."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def dequantize(symbols: Symbols, header: Header) -> Gaussian:
    x, y, energy, mean, ratio, angle, c0, c1, c2, offset_x, offset_y = symbols
    steps = Steps(header, energy)
    mean_units, ratio_units = mean * steps.mean, ratio * steps.ratio
    scale = [2 ** ((mean_units + sign * ratio_units / 2) / 1024) for sign in (1, -1)]
    rotation = math.pi * angle / 2 ** steps.angle_bits(ratio_units)
    step = 2 ** (steps.color(mean_units) / 8)
    color = [c0 * step]
    if header.channels == 3:
        color = [(AXES[0][c] * c0 + AXES[1][c] * c1 + AXES[2][c] * c2) * step for c in range(3)]
    bits_x, bits_y = steps.position_bits(mean_units, ratio_units, angle)
    place = [
        (cell + (offset + 0.5) / 2**bits) * 2**header.cell_log2
        for cell, offset, bits in ((x, offset_x, bits_x), (y, offset_y, bits_y))
    ]
    return Gaussian(
        (_single(place[0]), _single(place[1])),
        (_single(scale[0]), _single(scale[1])),
        _single(rotation),
        tuple(_single(value) for value in color),
    )


# ---- Rendering ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    x: float
    y: float
    width: float
    height: float
    columns: int
    rows: int


def _filter(scale: float) -> float:
    return FILTER_VARIANCE * (1 / scale**2 - 1) if scale < 1 else 0.0


def _window(g: Gaussian, variance_x: float, variance_y: float) -> tuple[Callable[[float, float], float], float, float]:
    """w times the amplitude as a function of p - mean, and how far from the mean it reaches along x and y."""
    cosine, sine = math.cos(g.rotation), math.sin(g.rotation)
    u2, v2 = g.scale[0] ** 2, g.scale[1] ** 2
    xx = cosine**2 * u2 + sine**2 * v2 + variance_x
    yy = sine**2 * u2 + cosine**2 * v2 + variance_y
    xy = cosine * sine * (u2 - v2)
    determinant = xx * yy - xy * xy
    amplitude = math.sqrt(u2 * v2 / determinant)
    edge = math.exp(-9 / 2)

    def weight(dx: float, dy: float) -> float:
        q = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / determinant
        return amplitude * (math.exp(-q / 2) - edge) / (1 - edge) if q < 9 else 0.0

    return weight, 3 * math.sqrt(xx), 3 * math.sqrt(yy)


def render(gaussians: list[Gaussian], channels: int, view: View) -> bytes:
    """Bytes of the rows from top to bottom, channels interleaved."""
    scale_x, scale_y = view.columns / view.width, view.rows / view.height
    image = [0.0] * (view.rows * view.columns * channels)
    for g in gaussians:
        weight, reach_x, reach_y = _window(g, _filter(scale_x), _filter(scale_y))
        x, y = g.mean[0] - view.x, g.mean[1] - view.y
        for j in range(
            clamp(math.floor((y - reach_y) * scale_y) - 1, 0, view.rows),
            clamp(math.ceil((y + reach_y) * scale_y) + 1, 0, view.rows),
        ):
            for i in range(
                clamp(math.floor((x - reach_x) * scale_x) - 1, 0, view.columns),
                clamp(math.ceil((x + reach_x) * scale_x) + 1, 0, view.columns),
            ):
                w = weight((i + 0.5) / scale_x - x, (j + 0.5) / scale_y - y)
                at = (j * view.columns + i) * channels
                for c in range(channels):
                    image[at + c] += g.color[c] * w
    return bytes(math.floor(255 * min(max(value, 0.0), 1.0) + 0.5) for value in image)


# ---- A whole file ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoded:
    header: Header
    groups: list[Group]
    symbols: list[Symbols]
    profile: bytes | None

    def render(self, view: View | None = None) -> bytes:
        h = self.header
        whole = View(0, 0, h.width, h.height, h.width, h.height)
        return render([dequantize(symbols, h) for symbols in self.symbols], h.channels, view or whole)


def decode(data: bytes) -> Decoded:
    content = read_container(data)
    symbols = [each for group in content.groups for each in decode_group(group, content.header)]
    return Decoded(content.header, content.groups, symbols, content.profile)


def netpbm(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """A PGM or PPM file."""
    return b"P%d\n%d %d\n255\n" % (5 if channels == 1 else 6, width, height) + pixels


if __name__ == "__main__":
    decoded = decode(Path(sys.argv[1]).read_bytes())
    size = decoded.header.width, decoded.header.height
    sys.stdout.buffer.write(netpbm(decoded.render(), *size, decoded.header.channels))
