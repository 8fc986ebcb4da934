"""What scale.tsv says: a table for docs/guides/huge_images.md, one of stages for docs/scale.md, and a plot.

python -m bench.scale.report results/v0.10 --guide docs/guides/huge_images.md --into docs/scale.md \\
    --figure docs/figures/scale.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from bench.figures import plots
from bench.markdown import fixed, header, publish, row, significant
from bench.provenance import machine_lines
from bench.scale.run import TABLE, TASKS, TRANSFERS
from bench.scale.simulation import Link, MeasuredTask, seconds_of_encode
from bench.tables import Row, read_rows

ALONE = ("read_seconds", "coarse_seconds", "between_seconds", "coding_seconds")
STAGES = (*ALONE[:1], "survey_seconds", "coarse_seconds", "rounds_seconds", *ALONE[2:], "grain_seconds")
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


def megapixels(found: Row) -> float:
    return int(found["width"]) * int(found["height"]) / 1e6


def guide(rows: Sequence[Row]) -> str:
    """Time, memory and quality, in blocks and whole."""
    lines = header("pixels", "fitted", "seconds", "ms / megapixel", "most memory, GB", "PSNR, dB", "error at seams")
    for found in rows:
        seconds, in_blocks = float(found["seconds"]), found["block"] != "0"
        lines.append(
            row(
                f"{found['width']} x {found['height']}",
                f"in blocks of {found['block']}" if in_blocks else "whole",
                f"{seconds:.0f}",
                f"{1000 * seconds / megapixels(found):.0f}",
                fixed(float(found["peak_mb"]) / 1000, 2),
                fixed(float(found["psnr"]), 2),
                fixed(float(found["seam_error"]) / float(found["other_error"]), 3),
            )
        )
    first = rows[0]
    lines += [
        "",
        f"`--ratio {first['ratio']} --effort {first['effort']}`, from TIFF files of a map, of a mosaic of twelve "
        "photographs, and of copies of that; grain is no part of PSNR. The last column is the squared error within 64 "
        "pixels of a seam, or of where it would be, by that elsewhere: an image has its own.",
        "",
        *machine_lines(rows),
    ]
    return "\n".join(lines)


def stages(rows: Sequence[Row], tasks: Sequence[Row], link: Link) -> str:
    """Where the time goes, and what workers would make of it."""
    lines = header(
        "pixels", "read", "survey", "coarse fit", "rounds", "between", "coding", "grain",
        "tasks", "s / task", "MB of pixels", "MB / task",
    )  # fmt: skip
    for found in rows:
        own = [task for task in tasks if task["picture"] == found["picture"]]
        pixels, *sizes = (sum(int(task[f"{kind}_bytes"]) for task in own) for kind in ("pixel", "task", "result"))
        seconds = sum(float(task["seconds"]) for task in own)
        means = (significant(total / len(own)) for total in (seconds, 1e-6 * pixels, 1e-6 * sum(sizes)))
        parts = (f"{float(found[name]):.1f}" for name in STAGES)
        lines.append(row(f"{found['width']} x {found['height']}", *parts, str(len(own)), *means))
    lines += [
        "",
        f"Seconds. A task of no bytes takes {1000 * link.per_task:.1f} ms; {1e-6 / link.per_byte_there:.0f} MB/s go "
        f"to a worker and {1e-6 / link.per_byte_back:.0f} MB/s come back, over TCP on this machine.",
        "",
        *machine_lines(rows),
    ]
    return "\n".join(lines)


def link_of(transfers: Sequence[Row]) -> Link:
    """From tasks of no bytes and of most."""
    (least, *_, most) = sorted(transfers, key=lambda found: int(found["bytes"]))
    there, back = ((float(most[way]) - float(least[way])) / int(most["bytes"]) for way in ("there", "back"))
    return Link(float(least["there"]), there, back)


def stages_of(tasks: Sequence[Row], picture: str) -> list[list[MeasuredTask]]:
    """The survey, the rounds, and grain."""
    own = [task for task in tasks if task["picture"] == picture]
    return [[_measured(task) for task in stage] for _, stage in groupby(own, key=lambda task: task["stage"])]


def _measured(task: Row) -> MeasuredTask:
    seconds = (float(task[name]) for name in ("made_seconds", "seconds"))
    return MeasuredTask(*seconds, *(int(task[name]) for name in ("pixel_bytes", "task_bytes", "result_bytes")))


def plot(rows: Sequence[Row], tasks: Sequence[Row], link: Link, path: Path) -> None:
    """Seconds over megapixels, and the simulated speed-up over workers."""
    with plots.styled() as new_figure:
        figure = new_figure(figsize=(7, 3), layout="constrained")
        time, speed = figure.subplots(1, 2)
        for label, marker, chosen in (
            ("in blocks", "o-", [found for found in rows if found["block"] != "0"]),
            ("whole", "s--", [found for found in rows if found["block"] == "0"]),
        ):
            time.plot(
                [megapixels(found) for found in chosen],
                [float(found["seconds"]) for found in chosen],
                marker,
                label=label,
            )
        in_blocks = [found for found in rows if found["block"] != "0"]
        sizes = [megapixels(in_blocks[0]), megapixels(in_blocks[-1])]
        slope = float(in_blocks[0]["seconds"]) / sizes[0]
        time.plot(sizes, [slope * size for size in sizes], ":", color="grey", label="as much for every pixel")
        time.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds", title="measured, two cores")
        for found in in_blocks:
            alone, work = sum(float(found[name]) for name in ALONE), stages_of(tasks, found["picture"])
            whole = alone + sum(task.made + task.seconds for stage in work for task in stage)
            gains = [whole / seconds_of_encode(work, alone, workers, link) for workers in WORKERS]
            speed.plot(WORKERS, gains, "o-", markersize=3, label=f"{megapixels(found):.0f} megapixels")
        speed.set(xscale="log", yscale="log", xlabel="workers of two cores", ylabel="times as fast", title="SIMULATED")
        for axes in (time, speed):
            axes.legend()
            axes.grid(visible=True, linewidth=0.3)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        speed.set_yticks([1, 2, 5, 10, 20])
        plots.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the tables")
    parser.add_argument("--guide", type=Path, help="page with the section scale")
    parser.add_argument("--into", type=Path, help="page with the section stages")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows, tasks = read_rows(options.folder / TABLE), read_rows(options.folder / TASKS)
    link = link_of(read_rows(options.folder / TRANSFERS))
    publish(guide(rows), options.guide, "scale")
    publish(stages([found for found in rows if found["block"] != "0"], tasks, link), options.into, "stages")
    if options.figure is not None:
        plot(rows, tasks, link, options.figure)


if __name__ == "__main__":
    main()
