"""Whether an image is fitted in blocks, and what goes with that."""

from __future__ import annotations

from smartsplat.arguments import whole_number
from smartsplat.errors import SettingsError

MAX_WHOLE_PIXELS = 1 << 28
"""Pixels of an image that is fitted whole unless asked otherwise: that takes 2.5 GB."""

MAX_EVER_WHOLE_PIXELS = 1 << 30
"""Pixels up to which what blocks have an obstacle to is fitted whole: that takes 10 GB."""

DEFAULT_SIDE = 4096
"""Of a block, pixels: margins are an eighth to a half of the work, and its fit takes half a gigabyte."""

MIN_SIDE = 512
"""Below, there is more margin than block."""


def block_side(side: int | None, width: int, height: int, obstacle: str | None = None) -> int:
    """The side of the blocks of an image, pixels; 0: it is fitted whole.

    Args:
        side: what was asked for; None: whatever is best.
        obstacle: to blocks, as ``obstacle_to_blocks`` has it.

    Raises:
        SettingsError: no such blocks, or there must be blocks and cannot.
    """
    pixels = width * height
    if side is None:
        is_whole = pixels <= MAX_WHOLE_PIXELS or (obstacle is not None and pixels <= MAX_EVER_WHOLE_PIXELS)
        side = 0 if is_whole else DEFAULT_SIDE
    side = whole_number("block", side, 0)
    if side and side < MIN_SIDE:
        raise SettingsError(f"block must be 0 or at least {MIN_SIDE} pixels, not {side}")
    if side and obstacle is not None:
        raise SettingsError(f"an image that is fitted in blocks {obstacle}; block=0 (--block 0) fits it whole")
    return side


def obstacle_to_blocks(has_alpha: bool, has_weights: bool, preset: str | None, min_psnr: float | None) -> str | None:
    """What only an image that is fitted whole can have, in words; None: there is nothing of it."""
    if has_alpha:
        return "keeps no alpha: give a background"
    if has_weights:
        return "takes no weights"
    if preset:
        return f"takes no preset {preset!r}"
    if min_psnr is not None:
        return "has no target PSNR: give a ratio, or bytes"
    return None
