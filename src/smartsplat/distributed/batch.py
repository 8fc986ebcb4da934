"""Many images, encoded by the workers of a Dask cluster: on this machine, or any that is running."""

from __future__ import annotations

import inspect
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from distributed import Client, Future, as_completed, get_worker
from distributed.scheduler import KilledWorker

from smartsplat.arguments import background_color, whole_number
from smartsplat.distributed.cluster import GONE, MEMORY, opened_cluster
from smartsplat.distributed.manifest import Manifest, Record
from smartsplat.distributed.sources import images_of
from smartsplat.distributed.worker import PREPARING, READING, TARGETS, EncodeTask, encode_image, needed_memory
from smartsplat.encoder.encode import check_settings, encode
from smartsplat.errors import ClusterError, SettingsError, one_line_of
from smartsplat.images.image import check_float_range
from smartsplat.stores import opened_store

TRIES = 2
"""Of an image, the second on another worker if there is one."""

SUBMITTED_PER_WORKER = 3
"""Images that are with the scheduler at once: enough that no worker waits, few enough that Ctrl-C leaves little."""

LOOK_SECONDS = 5
"""Between two looks at which workers there are: of a thousand the scheduler has much to tell."""

SAVE_SECONDS = 30
"""Between two writes of a manifest to a store to which nothing can be appended."""

FIT = ("effort", "preset", "steps", "tune", "grain", "seed", "block")


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch is.

    Args:
        done: images that are done, failures and those that were there already included.
        total: images in all.
        failed: those that failed.
        seconds_left: about; None: nothing was encoded yet.
        record: of the image that was done last; None: none of this run.
    """

    done: int
    total: int
    failed: int
    seconds_left: float | None
    record: Record | None


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch.

    Args:
        encoded: images that were encoded.
        kept: images whose files were there already, made from the same input by the same settings.
        failed: records of those that failed, whose ``error`` says why.
        bytes: of all files.
        records: of every image, in the order of the sources.
    """

    encoded: int
    kept: int
    failed: tuple[Record, ...]
    bytes: int
    records: tuple[Record, ...] = field(repr=False)


def batch(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    cluster: str | Client | None = None,
    workers: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    progress: Callable[[BatchProgress], None] | None = None,
    started: Callable[[Client], None] | None = None,
    **settings: Any,
) -> BatchResult:
    """Encode many images into a folder, on this machine or a cluster.

    Run again, it encodes only what is missing or was made from another input or by other settings. An image that fails
    does not stop the others; it is tried again on another worker. ``OUT/manifest.jsonl`` has a line for each image.

    Args:
        sources: files, folders (with all images below), globs, ``@`` and the name of a list with a source a line; paths
            or fsspec URLs: ``s3://``, ``gs://``, ``https://``, ``memory://``.
        out: the folder of outputs, a path or URL. The file of ``a/b.png`` in a folder is ``OUT/a/b.sspl``.
        cluster: the address of a Dask scheduler, or a client of one; the default is a cluster on this machine. A worker
            with the resource MEMORY, bytes, gets no image that needs more.
        workers: processes of the cluster on this machine; the default is one for each processor, as long as each has
            two gigabytes.
        threads: of each encode; the default is this machine's processors, shared by its workers, or all of a worker's.
        device: as ``encode`` takes it.
        progress: called whenever an image is done.
        started: called with the client once the workers are there.
        settings: other arguments of ``encode`` but ``weights``, ``progress`` and ``checkpoint``; and ``page``,
            ``float_range`` and ``accept_damaged`` of ``read_image``.

    Returns:
        What became of it. Failures are no exceptions.

    Raises:
        SettingsError: an argument makes no sense, there are no images, or two would have one output.
        ImageError: the manifest cannot be read or written.
        ClusterError: the cluster cannot be reached, or is gone; what was finished stays.
    """
    if cluster is not None and workers is not None:
        raise SettingsError("give a cluster or a number of workers, not both")
    settings = _checked(settings)
    folder = _folder(out)
    images = images_of(sources)
    if not images:
        raise SettingsError("there is nothing to encode")
    manifest = Manifest(folder)
    todo = []
    for image in images:
        made = manifest.made(image, settings)
        if made is None or made.fingerprint is None or made.fingerprint != image.fingerprint:
            todo.append((image, made))
    tracker = _Tracker(manifest, len(images), len(images) - len(todo), progress)
    if todo:
        in_process = any(_is_in_memory(url) for url in (folder, *(image.source for image in images)))
        try:
            with opened_cluster(cluster, workers, in_process) as (client, threads_each):
                if started is not None:
                    started(client)
                running = {"threads": threads or threads_each, "device": device}
                try:
                    _run(client, [EncodeTask(image, folder, settings, running, made) for image, made in todo], tracker)
                except OSError:  # of Dask's connections
                    raise ClusterError(GONE) from None
        finally:
            manifest.save()
    records = manifest.records(image.output for image in images)
    return BatchResult(
        encoded=tracker.encoded,
        kept=len(images) - tracker.encoded - tracker.failed,
        failed=tuple(record for record in records if record.error is not None),
        bytes=sum(record.bytes or 0 for record in records),
        records=tuple(records),
    )


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """As a manifest has them. SettingsError: one is unknown or makes no sense."""
    known = (*TARGETS, *FIT, *PREPARING, *READING)
    if unknown := sorted(set(settings) - set(known)):
        raise SettingsError(f"{', '.join(unknown)}: no settings of a batch; those are {', '.join(known)}")
    given = {name: value for name, value in settings.items() if value is not None}
    defaults = {name: each.default for name, each in inspect.signature(encode).parameters.items()}
    check_settings({name: given.get(name) for name in TARGETS}, defaults | given)
    whole_number("seed", given.get("seed", 0), 0)
    if "background" in given:
        background_color(given["background"])
    check_float_range(given.get("float_range", (0.0, 1.0)))
    plain: dict[str, Any] = json.loads(json.dumps(given))
    return plain


def _folder(out: str | os.PathLike[str]) -> str:
    """The folder of outputs as workers can name it."""
    if not os.fspath(out):
        raise SettingsError("the name of the folder is empty")
    store, path = opened_store(os.fspath(out))
    if "http" in str(store.protocol):
        raise SettingsError(f"{out}: files cannot be written there")
    return os.path.abspath(path) if "file" in store.protocol else str(store.unstrip_protocol(path)).rstrip("/")


def _is_in_memory(url: str) -> bool:
    return url.startswith("memory://")


class _Tracker:
    """Puts records into the manifest, and says where the batch is."""

    def __init__(
        self, manifest: Manifest, total: int, done: int, progress: Callable[[BatchProgress], None] | None
    ) -> None:
        self._manifest, self._total, self._done, self._progress = manifest, total, done, progress
        self.encoded = self.failed = 0
        self._begin = self._saved = time.monotonic()
        self._tell(None)

    def add(self, record: Record, was_made: bool) -> None:
        """An image is done; ``was_made`` if its file was there."""
        self._manifest.add(record)
        self._done += 1
        self.failed += record.error is not None
        self.encoded += record.error is None and not was_made
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._manifest.save_if_due()
            self._saved = time.monotonic()
        self._tell(record)

    def _tell(self, record: Record | None) -> None:
        if self._progress is None:
            return
        here = self.encoded + self.failed
        each = (time.monotonic() - self._begin) / here if here else None
        left = None if each is None else each * (self._total - self._done)
        self._progress(BatchProgress(self._done, self._total, self.failed, left, record))


class _Workers:
    """The workers of a cluster, which come and go."""

    def __init__(self, client: Client) -> None:
        self._client, self._seen = client, -math.inf
        self._found: dict[str, dict[str, Any]] = {}

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """Address -> what the scheduler says of it; a few seconds old at most."""
        now = time.monotonic()
        if now - self._seen > LOOK_SECONDS or not self._found:
            self._found = dict(self._client.scheduler_info(n_workers=-1)["workers"])
            self._seen = now
        return self._found

    def other_than(self, address: str | None) -> list[str]:
        """All but one; none if that is the only one, or no one is meant."""
        return [worker for worker in self.found if worker != address] if address else []

    def resources(self, memory: int | None) -> tuple[dict[str, int] | None, str | None]:
        """What a task that needs so many bytes asks of its worker; or why no worker can do it."""
        limits = [worker["resources"].get(MEMORY) for worker in self.found.values()]
        known = [limit for limit in limits if limit is not None]
        if memory is None or not known:
            return None, None
        most = int(max(known))
        if len(known) == len(limits) and memory > most:
            return None, f"takes about {memory / 1e9:.1f} GB of memory, and no worker has more than {most / 1e9:.1f}"
        return {MEMORY: min(memory, most)}, None


def _run(client: Client, tasks: list[EncodeTask], tracker: _Tracker) -> None:
    """Every task, tried again where it failed. ClusterError: the cluster is gone."""
    running, workers = as_completed(loop=client.loop), _Workers(client)
    submitted: dict[Future, tuple[EncodeTask, int | None, int]] = {}  # with its memory, and which try it is

    def submit(task: EncodeTask, memory: int | None, attempt: int = 1, avoid: str | None = None) -> None:
        resources, problem = workers.resources(memory)
        if problem is not None:
            tracker.add(_failure(task, problem), False)
            return
        others = workers.other_than(avoid)
        chosen = {"workers": others, "allow_other_workers": True} if others else {}
        future = client.submit(_encode_here, task, resources=resources, pure=False, **chosen)
        submitted[future] = task, memory, attempt
        running.add(future)

    with ThreadPoolExecutor(8) as pool:
        waiting = _ahead(pool, tasks)
        while True:
            while len(submitted) < SUBMITTED_PER_WORKER * max(1, len(workers.found)):
                following = next(waiting, None)
                if following is None:
                    break
                submit(*following)
            if not submitted:
                return
            future = next(running)
            task, memory, attempt = submitted.pop(future)
            record, worker = _result(client, future, task)
            if record.error is not None and attempt < TRIES:
                submit(task, memory, attempt + 1, worker)
                continue
            made = task.made
            tracker.add(record, made is not None and record == replace(made, fingerprint=record.fingerprint))


def _ahead(
    pool: ThreadPoolExecutor, tasks: list[EncodeTask], depth: int = 32
) -> Iterator[tuple[EncodeTask, int | None]]:
    """Each task and the memory that it needs, which is looked up for the following ones meanwhile."""
    looked: list[Any] = []
    for index, task in enumerate(tasks):
        while len(looked) < min(index + depth, len(tasks)):
            looked.append(pool.submit(needed_memory, tasks[len(looked)].image))
        memory, looked[index] = looked[index].result(), None
        yield task, memory


def _encode_here(task: EncodeTask) -> tuple[Record, str]:
    """On a worker: the record of an image, and the worker's address."""
    return encode_image(task), get_worker().address


def _result(client: Client, future: Future, task: EncodeTask) -> tuple[Record, str | None]:
    """The record of a task that has ended, and the worker that it was on. ClusterError: the cluster is gone."""
    try:
        record, worker = future.result(timeout=60)
    except KilledWorker as error:
        return _failure(task, "a worker died of it: not enough memory?"), error.last_worker.address
    except (CancelledError, TimeoutError, OSError) as error:
        if client.status != "running" or isinstance(error, CancelledError):
            raise ClusterError(GONE) from None
        return _failure(task, f"its result was lost: {error}"), None
    except Exception as error:
        return _failure(task, f"{type(error).__name__}: {one_line_of(error)}"), None
    return record, worker


def _failure(task: EncodeTask, problem: str) -> Record:
    return task.record(error=f"{task.image.source}: {problem}")
