"""A second decoder, written from docs/format.md alone: it shares no code with the package and needs only Python.

Slow on purpose, and in the order of the page. ``python -m tests.bitstream.format_decoder FILE`` writes what it decodes
as a PGM, PPM or PAM image to standard output.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bitstream.format_container import Content, Group, Header, read_container, require
from tests.bitstream.format_entropy import EXP2, PRIORS, Coder, Distribution, clamp
from tests.bitstream.format_grain import Levels, add_grain, decode_grain, render_grain

SHAPE = [-1000] + [math.floor(8 * math.log2(2 ** (i / 16) - 2 ** (-i / 16)) + 0.5) for i in range(1, 129)]
SQUARED = [math.floor(4096 * 2 ** (-i / 8) + 0.5) for i in range(97)]
COSINE2 = [math.floor(4096 * math.cos(math.pi * i / 256) ** 2 + 0.5) for i in range(256)]
TABLES = {"exp2": EXP2, "shape": SHAPE, "squared": SQUARED, "cosine2": COSINE2}

FILTER_VARIANCE = 0.1
AXES = [
    [1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)],
    [1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)],
    [1 / math.sqrt(6), -2 / math.sqrt(6), 1 / math.sqrt(6)],
]


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
        return clamp((SHAPE[_sixteenths(ratio_units)] + 9 - self.eighths) >> 3, 0, 12)

    def color(self, mean_units: int) -> int:
        return 64 - self.header.quality - 7 - ((mean_units + 64) >> 7)

    def position_bits(self, mean_units: int, ratio_units: int, angle: int) -> tuple[int, int]:
        c = COSINE2[(angle << 8) >> self.angle_bits(ratio_units)]
        s = 4096 - c
        flat = SQUARED[min(_sixteenths(ratio_units), 96)]
        short = (mean_units - (ratio_units >> 1) + 64) >> 7

        def bits(along: int) -> int:
            return clamp((8 * self.header.cell_log2 - short + _half(max(1, along)) - self.eighths) >> 3, 0, 14)

        return bits(((c * flat) >> 12) + s), bits(((s * flat) >> 12) + c)


def _step(eighths: int) -> int:
    e = clamp(eighths, 24, 80)
    return EXP2[e % 8] >> (14 - (e >> 3))


def _sixteenths(ratio_units: int) -> int:
    return clamp((ratio_units + 32) >> 6, 0, 128)


def _half(along: int) -> int:
    n = along.bit_length() - 1
    k = sum(entry <= along << (14 - n) for entry in EXP2[1:])
    return -((8 * (12 - n) - k) >> 1)


# ---- Gaussians ------------------------------------------------------------------------------------------------------


class Model:
    """The distributions of a group and its running state."""

    def __init__(self, coder: Coder) -> None:
        self.coder = coder
        self.of = {context: Distribution(list(below)) for context, below in PRIORS.items()}
        self.cell = self.gap1 = self.gap2 = 0
        self.energy16 = 16
        self.scale_units = 1024
        self.direction = self.elongated = 0
        self.second_by_first = self.third_by_first = self.third_by_second = 0

    def token(self, number: str, context: int) -> int:
        return self.coder.token(self.of[number, context])

    def magnitude(self, number: str, context: int) -> int:
        t = self.token(number, context)
        if t < 4:
            return t
        if t < 15:
            n = (t >> 1) - 1
            return (2 + t % 2 << n) + self.coder.bypass(n)
        n = self.coder.bypass(5)
        return 191 + 2**n + self.coder.bypass(n)

    def bucketed(self, number: str, context: int, escape: int, digits: int, middle: int = 0) -> int:
        t = self.token(number, context)
        b = t - middle
        if t == 15 or (t == 0 and middle):
            b += self.magnitude("escape", escape) * (1 if t else -1)
        return b * 2**digits + self.coder.bypass(digits)

    def colors(self, channels: int, size: int) -> tuple[int, int, int]:
        coder = self.coder
        first = coder.signed(self.bucketed("first", min(size, 6), 3, max(size - 5, 0)))
        if channels == 1:
            return first, 0, 0
        context = 6 * min(size, 7) + clamp(size - abs(first).bit_length(), 0, 5)
        n = max(size - 7, 0)
        error1 = coder.signed(self.magnitude("second", context) * 2**n + coder.bypass(n))
        second = (self.second_by_first * first + 2048 >> 12) + error1
        self.second_by_first = _learned(self.second_by_first, error1, first, size)
        error2 = coder.signed(self.magnitude("third", context) * 2**n + coder.bypass(n))
        third = (self.third_by_first * first + self.third_by_second * second + 2048 >> 12) + error2
        self.third_by_first = _learned(self.third_by_first, error2, first, size)
        self.third_by_second = _learned(self.third_by_second, error2, second, size)
        return first, second, third


def _learned(factor: int, error: int, by: int, size: int) -> int:
    most = 4 * 2**size
    product = clamp(error, -most, most) * clamp(by, -most, most)
    return clamp(factor + (product * 4096 + 4**size >> 2 * size + 1), -65536, 65536)


def _gaussian(model: Model, header: Header) -> Symbols:
    coder = model.coder
    gap = model.magnitude("gap", min(((model.gap1 + model.gap2) >> 1).bit_length(), 7))
    model.cell += gap
    model.gap2, model.gap1 = model.gap1, gap
    x, y = (sum((model.cell >> (2 * i + odd) & 1) << i for i in range(32)) for odd in (0, 1))
    require(x < header.columns and y < header.rows, "a cell outside the image")

    expected = (model.energy16 + 8) >> 4
    energy = clamp(expected + model.bucketed("energy", min(gap.bit_length(), 7), 0, 0, middle=8), -8, 17)
    steps = Steps(header, energy)
    fineness = steps.mean.bit_length() - 4
    digits = max(5 - fineness, 0)
    surprise = 16 * energy - model.energy16
    guess = (model.scale_units + surprise * 40 + (steps.mean >> 1)) // steps.mean
    mean = guess + model.bucketed("scale", fineness, 1, digits, middle=8)
    mean = clamp(mean, -(2048 // steps.mean), 16384 // steps.mean)
    mean_units = mean * steps.mean
    model.scale_units += (mean_units - model.scale_units) >> 4
    model.energy16 += surprise >> 4

    shape = 10 * max(fineness - 4, 0) + clamp((mean_units >> 9) + 2, 0, 9)
    ratio = min(model.bucketed("ratio", shape, 2, digits), 8192 // steps.ratio)
    ratio_units = ratio * steps.ratio
    bits = steps.angle_bits(ratio_units)
    lead = min(bits, 4)
    turn = 0
    if bits:
        token = model.token("turn", 2 * (lead - 1) + model.elongated)
        turn = token * 2 ** (bits - lead) + coder.bypass(bits - lead)
    angle = (turn + (model.direction >> (12 - bits)) - (2**bits >> (lead + 1))) % 2**bits
    model.direction = angle * 2 ** (12 - bits)
    model.elongated = int(ratio_units > 1024)

    size = clamp(energy + ((header.quality - 64) >> 3) + 2, 0, 13)
    color = model.colors(header.channels, size)
    require(all(abs(value) <= 1048575 for value in color), "a colour out of range")
    bits_x, bits_y = steps.position_bits(mean_units, ratio_units, angle)
    offset_x, offset_y = coder.bypass(bits_x), coder.bypass(bits_y)
    return x, y, energy, mean, ratio, angle, *color, offset_x, offset_y


def decode_group(group: Group, header: Header) -> list[Symbols]:
    coder = Coder(group.coded)
    model = Model(coder)
    symbols = []
    for _ in range(group.count):
        symbols.append(_gaussian(model, header))
        coder.between()
    require(coder.state == 65536 and not any(coder.between()), "more than the last Gaussian")
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


def render(gaussians: list[Gaussian], channels: int, view: View) -> list[float]:
    """C of the rows from top to bottom, channels interleaved."""
    scale_x, scale_y = view.columns / view.width, view.rows / view.height
    image = [0.0] * (view.rows * view.columns * channels)
    for g in gaussians:
        weight, half_x, half_y = _window(g, _filter(scale_x), _filter(scale_y))
        x, y = g.mean[0] - view.x, g.mean[1] - view.y
        for j in range(
            clamp(math.floor((y - half_y) * scale_y) - 1, 0, view.rows),
            clamp(math.ceil((y + half_y) * scale_y) + 1, 0, view.rows),
        ):
            for i in range(
                clamp(math.floor((x - half_x) * scale_x) - 1, 0, view.columns),
                clamp(math.ceil((x + half_x) * scale_x) + 1, 0, view.columns),
            ):
                w = weight((i + 0.5) / scale_x - x, (j + 0.5) / scale_y - y)
                at = (j * view.columns + i) * channels
                for c in range(channels):
                    image[at + c] += g.color[c] * w
    return image


def samples(values: list[float], depth: int) -> bytes:
    """Code values of 8 or 16 bits, the latter big-endian as Netpbm has them."""
    white = 255 if depth <= 8 else 65535
    codes = (math.floor(white * min(max(value, 0.0), 1.0) + 0.5) for value in values)
    return bytes(codes) if depth <= 8 else b"".join(struct.pack(">H", code) for code in codes)


# ---- Masks ----------------------------------------------------------------------------------------------------------


def decode_mask(part: Group, header: Header) -> dict[tuple[int, int], int]:
    """Pixel (x, y) of the image -> level, of a part of the mask."""
    x0, y0, x1, y1 = (64 * tile for tile in part.extent)
    width, height = min(x1, header.width) - x0, min(y1, header.height) - y0
    coder = Coder(part.coded)
    kinds: dict[tuple[int, int], int] = {}
    of_kind = [Distribution(list(PRIORS["kind", 0])) for _ in range(27)]
    for y in range((height + 7) // 8):
        for x in range((width + 7) // 8):
            left, above, right = (kinds.get(at, 0) for at in ((x - 1, y), (x, y - 1), (x + 1, y - 1)))
            kinds[x, y] = coder.token(of_kind[9 * left + 3 * above + right])
            require(kinds[x, y] <= 2, "a kind")
            coder.between()
    require(list(kinds.values()).count(2) == part.count, "mixed blocks")
    of_level = [Distribution(list(PRIORS["level", 0])) for _ in range(81)]
    levels: dict[tuple[int, int], int] = {}

    def state(x: int, y: int) -> int:
        level = levels.get((x, y), 0)
        return 0 if level == 0 else 2 if level == 15 else 1

    for y in range(height):
        for x in range(width):
            levels[x, y] = 15 * kinds[x // 8, y // 8]
            if levels[x, y] == 30:
                context = 27 * state(x - 1, y) + 9 * state(x - 1, y - 1) + 3 * state(x, y - 1) + state(x + 1, y - 1)
                levels[x, y] = coder.token(of_level[context])
                coder.between()
    require(coder.state == 65536 and not any(coder.between()), "more than the last level")
    return {(x0 + x, y0 + y): level for (x, y), level in levels.items()}


def _overlap(begin: float, end: float, length: int) -> list[tuple[int, float]]:
    """Pixels that a box sees along an axis, with how much of it each fills."""
    pixels: dict[int, float] = {}
    for pixel in range(math.floor(begin), math.ceil(end)):
        inside = clamp(pixel, 0, length - 1)
        pixels[inside] = pixels.get(inside, 0) + (min(end, pixel + 1) - max(begin, pixel)) / (end - begin)
    return list(pixels.items())


def render_mask(levels: dict[tuple[int, int], int], header: Header, view: View) -> list[float]:
    """L at every sample."""
    step_x, step_y = view.width / view.columns, view.height / view.rows
    half_x, half_y = max(1, step_x) / 2, max(1, step_y) / 2
    image = []
    for j in range(view.rows):
        y = view.y + (j + 0.5) * step_y
        rows = _overlap(y - half_y, y + half_y, header.height)
        for i in range(view.columns):
            x = view.x + (i + 0.5) * step_x
            columns = _overlap(x - half_x, x + half_x, header.width)
            image.append(sum(levels.get((a, b), 0) / 15 * p * q for a, p in columns for b, q in rows))
    return image


# ---- A whole file ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoded:
    content: Content
    symbols: list[Symbols]
    alpha_symbols: list[Symbols]
    levels: dict[tuple[int, int], int]
    grain: Levels | None

    @property
    def channels(self) -> int:
        return self.content.header.channels + (self.content.alpha is not None)

    def render(self, view: View | None = None, depth: int | None = None, with_grain: bool = True) -> bytes:
        """Samples of a view with interleaved channels, alpha last."""
        header, alpha = self.content.header, self.content.alpha
        view = view or View(0, 0, header.width, header.height, header.width, header.height)
        colors = render([dequantize(symbols, header) for symbols in self.symbols], header.channels, view)
        if self.grain is not None and self.content.grain is not None and with_grain:
            across, down = (view.x, view.width, view.columns), (view.y, view.height, view.rows)
            colors = add_grain(colors, header.channels, render_grain(self.grain, self.content.grain[0], across, down))
        values = colors
        if alpha is not None:
            spots = render([dequantize(symbols, alpha) for symbols in self.alpha_symbols], 1, view)
            opacity = [
                min(max(spot, 0.0) + level, 1)
                for spot, level in zip(spots, render_mask(self.levels, alpha, view), strict=True)
            ]
            count = header.channels
            values = [value for at, a in enumerate(opacity) for value in (*colors[at * count : (at + 1) * count], a)]
        return samples(values, self.content.depth if depth is None else depth)


def decode(data: bytes) -> Decoded:
    content = read_container(data)
    symbols = [each for group in content.groups[b"GAUS"] for each in decode_group(group, content.header)]
    grain = None if content.grain is None else decode_grain(content.grain, content.header)
    if content.alpha is None:
        return Decoded(content, symbols, [], {}, grain)
    alpha = [each for group in content.groups[b"ALPH"] for each in decode_group(group, content.alpha)]
    levels: dict[tuple[int, int], int] = {}
    for part in content.groups[b"MASK"]:
        levels |= decode_mask(part, content.alpha)
    return Decoded(content, symbols, alpha, levels, grain)


def netpbm(pixels: bytes, width: int, height: int, channels: int, depth: int = 8) -> bytes:
    """A PGM or PPM file, or with alpha a PAM file, of samples of 8 or 16 bits."""
    white = 255 if depth <= 8 else 65535
    if channels in (1, 3):
        return b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, white) + pixels
    kind = b"GRAYSCALE_ALPHA" if channels == 2 else b"RGB_ALPHA"
    head = b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH %d\nMAXVAL %d\nTUPLTYPE %s\nENDHDR\n"
    return head % (width, height, channels, white, kind) + pixels


if __name__ == "__main__":
    decoded = decode(Path(sys.argv[1]).read_bytes())
    size = decoded.content.header.width, decoded.content.header.height
    sys.stdout.buffer.write(netpbm(decoded.render(), *size, decoded.channels, decoded.content.depth))
