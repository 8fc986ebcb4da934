from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageCms

import smartsplat
from smartsplat.encoder import metadata_budget
from smartsplat.encoder.metadata_budget import within_budget
from smartsplat.encoder.target import Target
from smartsplat.images.image import SourceImage
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata
from tests.encoder.fits import quick_encode
from tests.samples import landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IMAGE = landscape(64, 48)
RANDOM = np.random.default_rng(0).bytes(4000)


def test_a_profile_that_a_target_can_pay_for_is_carried() -> None:
    image = SourceImage(IMAGE, metadata=Metadata(icc=SRGB))
    data = quick_encode(image, max_bytes=20_000, steps=5)
    assert smartsplat.open(data).icc == SRGB
    assert len(data) <= 20_000
    assert within_budget(image, Target(max_bytes=20_000)) is image
    assert within_budget(image, Target(min_psnr=30)) is image
    assert within_budget(image, Target(gaussians=1)) is image


def test_a_profile_that_takes_too_much_is_replaced_by_srgb() -> None:
    image = SourceImage(IMAGE, metadata=Metadata(icc=SRGB), notices=("older notice",))
    with pytest.warns(smartsplat.SmartSplatWarning, match="converted to sRGB"):
        data = quick_encode(image, max_bytes=1000)
    assert 950 < len(data) <= 1000
    assert smartsplat.open(data).icc is None
    changed = within_budget(image, Target(max_bytes=1000))
    assert changed.icc is None
    assert changed.notices[0] == "older notice"
    assert "sRGB" in changed.notices[1]
    assert np.abs(changed.pixels.astype(int) - IMAGE).max() <= 2, "from sRGB to sRGB"
    assert within_budget(changed, Target(max_bytes=1000)) is changed


def test_a_profile_larger_than_readers_accept_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_budget, "Limits", lambda: Limits(metadata_bytes=len(SRGB) - 1))
    assert within_budget(SourceImage(IMAGE, metadata=Metadata(icc=SRGB)), Target(gaussians=5)).icc is None


def test_metadata_that_a_target_can_pay_for_are_carried_and_counted() -> None:
    metadata = Metadata(exif=b"II*\0" + RANDOM[:90], xmp=b"<x/>", iptc=b"\x1c\x02", density=(11811, 11811))
    data = quick_encode(SourceImage(IMAGE, metadata=metadata), max_bytes=3000, steps=5)
    assert len(data) <= 3000
    assert smartsplat.open(data).metadata == metadata
    assert smartsplat.open(data).info.metadata_bytes == 94 + 4 + 2


def test_what_takes_too_much_is_left_out_with_a_notice() -> None:
    """The first have the first claim: density, EXIF, XMP, IPTC."""
    metadata = Metadata(exif=RANDOM, xmp=RANDOM[:100], iptc=RANDOM[:300], density=(2835, 2835))
    changed = within_budget(SourceImage(IMAGE, metadata=metadata), Target(max_bytes=2000))
    assert changed.metadata == Metadata(xmp=RANDOM[:100], density=(2835, 2835))
    first, second = changed.notices
    assert "EXIF block left out: 40" in first
    assert "IPTC block left out: 3" in second
    assert within_budget(changed, Target(max_bytes=2000)) is changed
    everything = SourceImage(IMAGE, metadata=metadata)
    assert within_budget(everything, Target(min_psnr=40)) is everything


def test_the_caller_is_warned_of_what_is_left_out() -> None:
    image = SourceImage(IMAGE, metadata=Metadata(exif=RANDOM), notices=("said before",))
    with pytest.warns(smartsplat.SmartSplatWarning, match="EXIF block left out") as caught:
        quick_encode(image, max_bytes=1000, steps=3)
    assert len(caught) == 1


def test_metadata_are_stripped_on_request() -> None:
    metadata = Metadata(icc=SRGB, primaries=9, exif=b"II", xmp=b"<x/>", iptc=b"i", density=(1, 1))
    data = quick_encode(SourceImage(IMAGE, metadata=metadata), max_bytes=9000, steps=3, strip=True)
    assert smartsplat.open(data).metadata == Metadata(icc=SRGB, primaries=9)
