"""The table of promises in docs/reliability.md, from what was recorded.

python -m bench.reliability.report results/v0.9 --records FILE --into docs/reliability.md

FILE has lines of what was tried and how often, a tab between: they take the place of those of the same name in
reliability.tsv. soak.tsv is what bench.reliability.soak has written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.markdown import header, publish, row
from bench.provenance import provenance
from bench.reliability import soak
from bench.tables import REPOSITORY, Row, Table

COLUMNS = ("what", "number", "machine", "versions")
FUZZ_TARGETS = ("symbols", "mask", "grain", "render", "whole", "file", "request", "words")


@dataclass(frozen=True)
class Promise:
    """What is promised, the file that tests it, and what is recorded of it."""

    promise: str
    kept_by: str
    figures: tuple[str, ...] = ()


PROMISES = (
    Promise(
        "Bytes from strangers, checksums mended, end in an error of `smartsplat.errors`, within 1 s and 1 GB",
        "scripts/fuzz",
    ),
    Promise("What was found once is tried at every test", "tests/fuzz/test_crashers.py"),
    Promise(
        "Two decoders agree on every test vector, old versions' too", "tests/bitstream/test_format.py", ("vectors",)
    ),
    Promise(
        "And on files of any image, setting and Gaussians; an image comes back in its shape and type, within its "
        "target, whatever the number of threads",
        "tests/test_properties.py",
        ("examples of Hypothesis",),
    ),
    Promise(
        "No access outside of a buffer, no undefined behaviour",
        "scripts/sanitize",
        ("tests under the address sanitizer",),
    ),
    Promise("No data race", "scripts/sanitize", ("tests under the thread sanitizer",)),
    Promise(
        "Killed at any moment: the older file or the whole new one, and the work goes on",
        "tests/cli/test_resume.py",
        ("kills", "of them went on from a checkpoint"),
    ),
    Promise(
        "A system call fails: one line, exit code 1, no file half-written or lost",
        "tests/faults/test_system_calls.py",
        ("injected faults",),
    ),
    Promise(
        "Too little memory, too few open files, no home, no temporary folder, any locale: one line, or it works",
        "tests/faults/test_processes.py",
        ("limits",),
    ),
    Promise("Python may end while threads work", "tests/faults/test_processes.py", ("exits while threads worked",)),
)


def table(records: dict[str, str], soaked: list[Row]) -> str:
    """Markdown."""
    lines = header("promise", "kept by", "tried")
    for each in PROMISES:
        figures = [f"{int(float(records[name])):,} {name}" for name in each.figures if name in records]
        if each.kept_by == "scripts/fuzz":
            figures = fuzzed(records)
        otherwise = "at every test" if each.kept_by.startswith("tests/") else "not yet"
        lines.append(row(each.promise, f"`{each.kept_by}`", "; ".join(figures) or otherwise))
    for each_row in soaked:
        tried = (
            f"{float(each_row['minutes']):g} minutes, {int(each_row['answers']):,} answers, {each_row['wrong']} wrong; "
            f"{each_row['memory_begin_mb']} to {each_row['memory_end_mb']} MB, "
            f"{each_row['descriptors_begin']} to {each_row['descriptors_end']} descriptors, "
            f"{each_row['threads_begin']} to {each_row['threads_end']} threads"
        )
        promise = f"`{each_row['target']}` neither grows nor errs; same question, same answer"
        lines.append(row(promise, "`scripts/soak`", tried))
    return "\n".join(lines)


def fuzzed(records: dict[str, str]) -> list[str]:
    """Executions in all, and of each target."""
    counts = {name: int(float(records.get(f"executions of {name}", 0))) for name in FUZZ_TARGETS}
    found = sum(int(float(records.get(f"found in {name}", 0))) for name in FUZZ_TARGETS)
    if not any(counts.values()):
        return []
    each = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return [f"{sum(counts.values()):,} executions ({each}), {found} found"]


def read_records(path: Path) -> dict[str, str]:
    """What a run recorded; lines of the same name are added up."""
    totals: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        what, _, number = line.partition("\t")
        totals[what] += int(float(number))
    return {what: str(total) for what, total in totals.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    file = Table(options.results / "reliability.tsv", COLUMNS, ("what",))
    new = read_records(options.records)
    new["vectors"] = str(len(list((REPOSITORY / "tests/vectors").glob("*.sspl"))))
    file.replace({"what": what, "number": number} | provenance() for what, number in new.items())
    records = {each["what"]: each["number"] for each in file.rows()}
    soaked = Table(options.results / "soak.tsv", soak.COLUMNS).rows()
    publish(table(records, soaked), options.into, "reliability")


if __name__ == "__main__":
    main()
