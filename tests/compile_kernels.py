"""Compiles every Triton kernel for GPUs that need not be there; prints one JSON object for each.

python -m tests.compile_kernels [cuda:80 cuda:90 hip:gfx942]

Registers and bytes of local memory (stack: spills) are those that the CUDA tools which come with Triton report; null
for AMD, or without the tools.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from smartsplat.raster.gpu import bins, cells, pixels, seeds, ssim, update
from smartsplat.raster.gpu.backend import BLOCK, LISTS, SAMPLES, TOGETHER

TARGETS = ("cuda:80", "cuda:90", "hip:gfx942")
POINTERS = {  # by the name of an argument
    **dict.fromkeys(("first_rows", "owners", "tiles", "span_owners", "span_tiles", "arrivals", "arrived"), "*i32"),
    **dict.fromkeys(("slots", "gaussians", "age"), "*i32"),
    **dict.fromkeys(("counts", "offsets", "chunk_offsets", "starts", "keys", "entries"), "*i64"),
    **dict.fromkeys(("view", "settings", "sizes"), "*fp64"),
    "tile_counts": "*i32",
    **dict.fromkeys(("target", "picture", "levels"), "*u8"),
}
FLOATS = ("l1", "l2", "ssim", "share")
NUMBERS = (
    *("count", "width", "height", "total", "columns", "first", "first_row", "end_row"),
    *("down", "across", "apart", "rows", "pitch", "groups", "begin", "end", "blocks", "span", "spans", "above"),
)
ONE_WARP = {"draw", "fit", "backward", "residual", "collapse"}
ARRAYS = {  # of another type elsewhere
    "update": {"first": "*fp32", "second": "*fp32"},
    "span": {"counts": "*i32"},
    "collapse": {"owners": "*i64"},
}

CASES: list[tuple[Any, dict[str, Any]]] = [
    *((bins.project, {"channels": channels, "block": BLOCK}) for channels in (1, 3)),
    (bins.span, {"block": BLOCK // TOGETHER[0], "together": TOGETHER[0]}),
    (bins.pair, {"block": BLOCK // TOGETHER[1], "together": TOGETHER[1]}),
    (bins.scatter, {"block": BLOCK}),
    (bins.order, {"tiles": LISTS, "block": 32}),
    *((pixels.draw, {"channels": channels, "as_bytes": flag}) for channels in (1, 3) for flag in (False, True)),
    *((pixels.fit, {"channels": channels}) for channels in (1, 3)),
    *((pixels.backward, {"channels": channels}) for channels in (1, 3)),
    *((cells.residual, {"channels": channels, "cell": cell}) for channels, cell in ((1, 1), (3, 4), (3, 16))),
    *((kernel, {"channels": 3, "block": SAMPLES}) for kernel in (ssim.levels, ssim.slopes, ssim.gradient)),
    (update.collapse, {}),
    *((update.gradients, {"channels": channels, "block": BLOCK}) for channels in (1, 3)),
    *((update.update, {"channels": 3, "relative": flag, "block": BLOCK}) for flag in (False, True)),
    (update.update, {"channels": 1, "relative": True, "block": BLOCK}),
    *((kernel, {"channels": 3, "window": 5, "block": seeds.PLACES}) for kernel in (seeds.peaks, seeds.race)),
    *((seeds.medians, {"channels": channels, "side": side}) for channels, side in ((1, 16), (3, 64))),
]


def signature(kernel: Any, constants: dict[str, Any]) -> dict[str, str]:
    """Type of each argument."""
    own = ARRAYS.get(kernel.__name__, {})

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in own:
            return own[name]
        if name in NUMBERS:
            return "i32"
        if name in FLOATS:
            return "fp32"
        if name == "out" and constants.get("as_bytes"):
            return "*u8"
        return POINTERS.get(name, "*fp32")

    return {name: kind(name) for name in kernel.arg_names}


def compiled(kernel: Any, constants: dict[str, Any], target: str) -> dict[str, Any]:
    backend, architecture = target.split(":")
    gpu = GPUTarget("cuda", int(architecture), 32) if backend == "cuda" else GPUTarget("hip", architecture, 64)
    types = signature(kernel, constants)
    aligned = {
        (position,): [["tt.divisibility", 16]] for position, kind in enumerate(types.values()) if kind.startswith("*")
    }
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    warps = 1 if kernel.__name__ in ONE_WARP else seeds.warps_for(constants["side"]) if "side" in constants else 4
    found = triton.compile(source, target=gpu, options={"num_warps": warps, "enable_fp_fusion": True})
    binary = found.asm["cubin" if backend == "cuda" else "hsaco"]
    row = {
        "kernel": kernel.__name__,
        "target": target,
        **constants,
        "bytes": len(binary),
        "warps": warps,
        "shared": found.metadata.shared,
    }
    return row | (resources(binary) if backend == "cuda" else {"registers": None, "stack": None})


def resources(binary: bytes) -> dict[str, int | None]:
    """Registers of a thread and bytes of its local memory."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return {"registers": None, "stack": None}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK):(\d+)", said)}
    return {"registers": found["REG"], "stack": found["STACK"]}


def main() -> None:
    for target in sys.argv[1:] or TARGETS:
        for kernel, constants in CASES:
            print(json.dumps(compiled(kernel, constants, target)), flush=True)


if __name__ == "__main__":
    main()
