"""One of the targets in Python, under Atheris: ``python -m tests.fuzz.run TARGET [LIBFUZZER'S ARGUMENT...]``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["smartsplat"]):
    from tests.fuzz.targets import TARGETS

from tests.bitstream.test_container import mended


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """A change behind the checksums, most of the time, which are the door that nothing else would come through."""
    changed = bytes(atheris.Mutate(data, max_size))
    try:
        return mended(changed) if seed % 8 else changed
    except Exception:  # no table of contents
        return changed


def main() -> None:
    name, *arguments = sys.argv[1:]
    mutator = {"custom_mutator": mutated} if name == "file" else {}
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name], **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
