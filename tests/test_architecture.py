"""The layers of docs/architecture.md: which module may import which, in Python and in C++, and no cycle."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE, NATIVE = ROOT / "src", ROOT / "native"

FLOOR = {"arguments", "arrays", "errors", "gaussians", "limits", "metadata", "threads", "_native"}
"""What everything may import."""

MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(FLOOR, FLOOR),
    "bitstream": FLOOR,
    "render": FLOOR,
    "images": FLOOR,
    "metrics": FLOOR,
    "planes": FLOOR | {"render"},
    "stores": FLOOR | {"images"},
    "on_demand": FLOOR | {"bitstream", "stores"},
    "array_view": FLOOR | {"render"},
    "decoder": FLOOR | {"bitstream", "render", "images", "planes", "on_demand", "array_view", "web"},
    "encoder": FLOOR | {"bitstream", "render", "images", "metrics", "decoder"},
    "torch": FLOOR | {"render"},
    "web": FLOOR | {"bitstream", "images", "decoder", ""},
    "pillow": FLOOR | {"bitstream", "images", "decoder", "encoder"},
    "distributed": FLOOR | {"stores", "images", "metrics", "decoder", "encoder"},
    "cli": FLOOR | {"bitstream", "render", "images", "metrics", "decoder", "encoder", "distributed", "web", ""},
    "__main__": {"cli"},
    "": FLOOR | {"decoder", "encoder", "distributed"},
}
"""Folder or module of src/smartsplat ("" is the package itself) -> what it may import beside its own folder."""

MAY_INCLUDE: dict[str, set[str]] = {
    "core": set(),
    "bitstream": {"core"},
    "encoder": {"core"},
    "render": {"core"},
    "decoder": {"core", "bitstream", "render"},
    "library": {"core", "bitstream", "render", "decoder"},
    "bindings": {"core", "bitstream", "encoder", "render", "decoder"},
    "fuzz": {"core", "bitstream", "render", "library"},
}
"""The same for the folders of native/."""

NOT_FOR_THE_DECODER = ("smartsplat.encoder", "torch", "triton", "scipy")


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in (SOURCE / "smartsplat").rglob("*.py")}


def imports_of(path: Path, known: dict[str, Path] = MODULES) -> Iterator[str]:
    """The modules of this package that a file imports, wherever in it; not those for type checkers alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in known or whole == "smartsplat._native" else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def layer(module: str) -> str:
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    own = layer(module)
    imported = {layer(name) for name in imports_of(MODULES[module]) if name.split(".")[0] == "smartsplat"}
    assert imported - {own} <= MAY_IMPORT[own]


def modules_on_cycles(arrows: dict[str, set[str]]) -> list[str]:
    """The nodes that lie on a cycle or lead to one: what remains when nodes without targets are removed repeatedly."""
    remaining = {name: set(targets) for name, targets in arrows.items()}
    while leaves := {name for name, targets in remaining.items() if not targets & set(remaining)}:
        remaining = {name: targets for name, targets in remaining.items() if name not in leaves}
    return sorted(remaining)


def test_cycles_are_found() -> None:
    assert modules_on_cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert modules_on_cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_no_cycle_of_imports() -> None:
    """Imports inside of functions count, too: none hides a cycle."""
    assert modules_on_cycles({module: set(imports_of(path)) & set(MODULES) for module, path in MODULES.items()}) == []


DECODER = [name for name in MODULES if layer(name) in FLOOR | {"bitstream", "render", "images", "planes", "decoder"}]


@pytest.mark.parametrize("module", sorted(name for name in DECODER if ".gpu" not in name))
def test_the_decoder_loads_no_encoder(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    loaded = ran.stdout.split()
    assert module in loaded
    assert [name for name in loaded if name.startswith(NOT_FOR_THE_DECODER)] == []


def test_a_decode_loads_no_encoder() -> None:
    """Nor torch, where there is one, unless the device asks for it."""
    program = (
        "import sys, smartsplat\n"
        "smartsplat.decode('tests/vectors/example.sspl')\n"
        "smartsplat.open('tests/vectors/example.sspl').strips().joined()\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [name for name in ran.stdout.split() if name.startswith(NOT_FOR_THE_DECODER)] == []


def test_only_the_gpu_folders_import_torch_and_only_the_encoder_scipy() -> None:
    """At their top: nothing imports those folders before a function asks for them."""
    allowed = {name for name in MODULES if ".gpu" in name} | {"smartsplat.torch"}
    for module, path in MODULES.items():
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {name.name for node in top if isinstance(node, ast.Import) for name in node.names}
        names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
        heavy = {name for name in names if name.split(".")[0] in ("torch", "triton") or ".gpu" in name}
        assert not heavy or module in allowed, module
        has_scipy = any(name.split(".")[0] == "scipy" for name in names)
        assert not has_scipy or layer(module) in ("encoder", "metrics"), module
    assert "torch" in MODULES["smartsplat.render.gpu.renderer"].read_text()


# ---- C++ ------------------------------------------------------------------------------------------------------------

NATIVE_FILES = sorted([*NATIVE.glob("*/*.h"), *NATIVE.glob("*/*.cpp")])


def includes_of(path: Path) -> list[str]:
    return re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", NATIVE_FILES, ids=lambda path: path.relative_to(NATIVE).as_posix())
def test_a_source_includes_only_what_its_folder_may(path: Path) -> None:
    own = path.parent.name
    included = includes_of(path)
    assert [name for name in included if not (NATIVE / name).exists()] == []
    assert {name.split("/")[0] for name in included} - {own} <= MAY_INCLUDE[own]


def test_no_cycle_of_includes() -> None:
    assert (
        modules_on_cycles({path.relative_to(NATIVE).as_posix(): set(includes_of(path)) for path in NATIVE_FILES}) == []
    )


COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

DECODE_EXAMPLE = """
#include <cstdio>
#include <vector>
#include "bitstream/entropy.h"
using namespace smartsplat;
int main() {
  const QuantizerSettings q{QUALITY, CELL_LOG2, WIDTH, HEIGHT, CHANNELS};
  const std::vector<uint8_t> bytes{BYTES};
  std::vector<Symbols> symbols(COUNT);
  const char* problem = decode_group(q, bytes.data(), bytes.size(), COUNT, symbols.data(), nullptr);
  if (problem) return 1;
  std::printf("%d %d %d", symbols[0].cell_x, symbols[0].cell_y, symbols[0].energy);
}
"""


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
def test_the_bitstream_compiles_alone(tmp_path: Path) -> None:
    """With core/ and without the renderer and the encoder it decodes the example of docs/format.md."""
    from smartsplat.bitstream import container, entropy

    file = container.unpack((ROOT / "tests/vectors/example.sspl").read_bytes())
    group, values = file.groups[0], vars(file.quantizer)
    program = DECODE_EXAMPLE.replace("BYTES", ", ".join(map(str, group.data))).replace("COUNT", str(group.count))
    for name, value in values.items():
        program = program.replace(name.upper(), str(value))
    for folder in ("core", "bitstream"):
        shutil.copytree(NATIVE / folder, tmp_path / folder)
    (tmp_path / "main.cpp").write_text(program)
    sources = [*(tmp_path / "core").glob("*.cpp"), *(tmp_path / "bitstream").glob("*.cpp"), tmp_path / "main.cpp"]
    command = [str(COMPILER), "-std=c++17", "-O0", "-pthread", f"-I{tmp_path}", "-o", str(tmp_path / "decode")]
    subprocess.run([*command, *map(str, sources)], check=True)
    shown = subprocess.run([str(tmp_path / "decode")], capture_output=True, text=True, check=True).stdout
    (symbols,) = entropy.decode([(group.data, group.count)], file.quantizer)
    assert [int(number) for number in shown.split()] == symbols[0, :3].tolist()


def test_no_two_classes_of_one_name() -> None:
    """In the codec, the baselines and the benchmarks; a leading underscore makes a name private to its file."""
    homes: dict[str, list[str]] = {}
    for folder in (SOURCE, ROOT / "baselines/src", ROOT / "bench"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert len(homes) > 60
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}
