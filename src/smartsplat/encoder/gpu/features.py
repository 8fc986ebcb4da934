"""Features of pixels (E9), and the largest in each tile. A thread has two pixels, and reads the window around each from
the first-level cache."""

import triton
import triton.language as tl


@triton.jit
def upper_bits(code_value):
    """The upper 8 bits of samples of 8 or 16, int32."""
    return code_value.to(tl.int32) >> (code_value.dtype.primitive_bitwidth - 8)


@triton.jit
def _code_value(image, x, y, c, width, height, channels: tl.constexpr):
    """A sample's upper 8 bits, int32; the image's edge repeats outwards."""
    column, row = tl.minimum(tl.maximum(x, 0), width - 1), tl.minimum(tl.maximum(y, 0), height - 1)
    return upper_bits(tl.load(image + (row.to(tl.int64) * width + column) * channels + c))


@triton.jit
def features(image, x, y, width, height, channels: tl.constexpr, window: tl.constexpr, block: tl.constexpr):
    """E9 for some pixels: gradient and variance, [block] each."""
    gradient = tl.zeros([block], tl.float32)
    spread = tl.zeros([block], tl.int32)  # n sum x^2 - (sum x)^2, which may wrap around on the way
    for c in tl.static_range(channels):
        along_x, along_y = tl.zeros([block], tl.int32), tl.zeros([block], tl.int32)
        for side in range(-1, 2):
            weight = 2 - side * side
            along_x += weight * _code_value(image, x + 1, y + side, c, width, height, channels)
            along_x -= weight * _code_value(image, x - 1, y + side, c, width, height, channels)
            along_y += weight * _code_value(image, x + side, y + 1, c, width, height, channels)
            along_y -= weight * _code_value(image, x + side, y - 1, c, width, height, channels)
        gradient += tl.sqrt_rn((along_x * along_x + along_y * along_y).to(tl.float32)) * 0.125
        total, squares = tl.zeros([block], tl.int32), tl.zeros([block], tl.int32)
        for i in range(window * window):
            column, row = x + i % window - window // 2, y + i // window - window // 2
            value = _code_value(image, column, row, c, width, height, channels)
            total += value
            squares += value * value
        spread += window * window * squares - total * total
    samples = window * window * window * window * channels
    return tl.div_rn(gradient, channels * 1.0), tl.div_rn(spread.to(tl.float32), samples * 1.0)


@triton.jit
def tile_pixels(tiles, blocks, block: tl.constexpr):
    """Tile of a program; place in it, column and row in the image, and whether it has such a place, [block] each."""
    tile = tl.program_id(0) // blocks
    place = tl.program_id(0) % blocks * block + tl.arange(0, block)
    box = tiles + 4 * tile
    columns = tl.load(box + 2)
    x, y = tl.load(box) + place % columns, tl.load(box + 1) + place // columns
    return tile, place, x, y, place < columns * tl.load(box + 3)


@triton.jit(do_not_specialize=["width", "height", "blocks"])
def peaks(
    image,  # [H, W, C] uint8 or uint16
    tiles,  # [T, 4] int32: column, row, columns, rows
    maxima,  # out [T, blocks, 2] float32: largest gradient and variance
    width,
    height,
    blocks,  # programs of a tile
    channels: tl.constexpr,
    window: tl.constexpr,
    block: tl.constexpr,
):
    _, _, x, y, valid = tile_pixels(tiles, blocks, block)
    gradient, variance = features(image, x, y, width, height, channels, window, block)
    out = maxima + 2 * tl.program_id(0)
    tl.store(out, tl.max(tl.where(valid, gradient, 0.0)))
    tl.store(out + 1, tl.max(tl.where(valid, variance, 0.0)))
