"""How the settings of a step reach the kernels."""

from __future__ import annotations

import math
from dataclasses import fields

from tests.render import gpu_device  # noqa: F401

# isort: split
from smartsplat.render import StepSettings
from smartsplat.render.gpu import adam


def test_kernels_find_each_setting_by_its_name() -> None:
    values = {field.name: number + 1.5 for number, field in enumerate(fields(StepSettings))}
    values |= {"beta1": 0.8, "beta2": 0.0}
    packed = adam.pack_settings(StepSettings(**values))
    assert dict(zip(adam.SETTING_NAMES, packed, strict=True)) == {
        **values,
        "log_beta1": math.log(0.8),
        "log_beta2": -math.inf,
    }
    for name in ("rate_weight", "lr_mean_y", "epsilon", "min_scale", "height", "log_beta2"):
        assert packed[getattr(adam, name.upper()).value] == packed[adam.SETTING_NAMES.index(name)]
