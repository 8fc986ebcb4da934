"""Whether an image is fitted in blocks, and what goes with that."""

from __future__ import annotations

from smartsplat.arguments import whole_number
from smartsplat.errors import SettingsError

MAX_WHOLE_PIXELS = 1 << 28
"""Pixels of an image that is fitted whole unless asked otherwise: that takes 2.5 GB."""

DEFAULT_SIDE = 4096
"""Of a block, pixels: margins are an eighth of the work, and its fit takes half a gigabyte."""

MIN_SIDE = 512
"""Below, there is more margin than block."""


def block_side(side: int | None, width: int, height: int) -> int:
    """The side of the blocks of an image, pixels; 0: it is fitted whole.

    Args:
        side: what was asked for; None: whatever is best.

    Raises:
        SettingsError: no such blocks.
    """
    if side is None:
        return DEFAULT_SIDE if width * height > MAX_WHOLE_PIXELS else 0
    side = whole_number("block", side, 0)
    if side and side < MIN_SIDE:
        raise SettingsError(f"block must be 0 or at least {MIN_SIDE} pixels, not {side}")
    return side


def check_for_blocks(has_alpha: bool, has_weights: bool, preset: str | None, min_psnr: float | None) -> None:
    """SettingsError for what only an image that is fitted whole can have."""
    problem = None
    if has_alpha:
        problem = "keeps no alpha: give a background"
    elif has_weights:
        problem = "takes no weights"
    elif preset:
        problem = f"takes no preset {preset!r}"
    elif min_psnr is not None:
        problem = "has no target PSNR: give a ratio, or bytes"
    if problem:
        raise SettingsError(f"an image that is fitted in blocks {problem}; block=0 (--block 0) fits it whole")
