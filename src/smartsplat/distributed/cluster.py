"""Clusters: one that is running, or one on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from smartsplat.errors import ClusterError, SettingsError
from smartsplat.threads import available_threads

MEMORY = "MEMORY"
"""The Dask resource of workers that says how many bytes of memory they may use; those without it take any image."""

USABLE_MEMORY = 0.8
"""Of a machine, what the workers on it share."""

DASHBOARD_PORT = 8787

CONNECT_SECONDS = 10
"""That a scheduler has to answer."""

GONE = "the scheduler is gone; what was finished stays, run again to go on"


@contextmanager
def opened_cluster(
    cluster: str | Client | None, workers: int | None, in_process: bool = False
) -> Iterator[tuple[Client, int | None]]:
    """A client, and the threads that each of its workers' fits should have, if that is known.

    Args:
        cluster: the address of a scheduler, or a client; None: a cluster on this machine.
        workers: of that on this machine; None: one for each processor, as long as each has two gigabytes.
        in_process: whether its one worker is a thread of this process.

    Raises:
        SettingsError: both are given. ClusterError: there is none at the address.
    """
    if cluster is not None and workers is not None:
        raise SettingsError("give a cluster or a number of workers, not both")
    if isinstance(cluster, Client):
        yield cluster, None
        return
    with ExitStack() as stack:
        if cluster is not None:
            try:
                client = stack.enter_context(Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False))
            except (OSError, ValueError, TimeoutError) as error:
                raise ClusterError(f"the cluster at {cluster} cannot be reached: {error}") from None
            yield client, None
            return
        processors = available_threads()
        count = workers or max(1, min(processors, int(USABLE_MEMORY * MEMORY_LIMIT / (2 << 30))))
        if in_process:
            count = 1
        # A process for each: an encode's notices are of its process, and so is what a lack of memory ends.
        local = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=not in_process,
            host=None if in_process else "127.0.0.1",
            dashboard_address=f"127.0.0.1:{_dashboard_port()}",
            resources={MEMORY: int(USABLE_MEMORY * MEMORY_LIMIT / count)},
            memory_limit=0,
            silence_logs=50,
        )
        stack.enter_context(local)
        yield stack.enter_context(Client(local, set_as_default=False)), max(1, processors // count)


def _dashboard_port() -> int:
    """The usual one, or any if another cluster has it."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            trial.bind(("127.0.0.1", DASHBOARD_PORT))
            return DASHBOARD_PORT
    return 0
