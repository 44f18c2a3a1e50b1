"""Hands tasks to a scheduler of Dask and takes their results in order.

The code of a run goes to the workers as bytes, named by its hash, as does what all
tasks share: both are tasks themselves, so that the scheduler can make them again when
the worker that has them dies. A task's key is a hash of all that it depends on.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import runpy
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import Client, Future, LocalCluster
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from mlgitops.cluster.backend import ClusterError, Each
from mlgitops.cluster.shipment import Shipment, shipment
from mlgitops.cluster.worker import BUSY, KEPT, end

ADDRESS = "DASK_SCHEDULER_ADDRESS"
RETRIES = 3  # of a task whose process died, or had too little memory
ALONE = 60.0  # seconds without any worker, after which a run ends
POLL = 2.0  # seconds between two looks whether the scheduler still answers
GONE = 20.0  # seconds that it may take to answer
ENDS = 5.0  # seconds in which tasks that nobody waits for have to end
LARGE = "100MB"  # of what all tasks share, above which Dask warns
NOISY = ("distributed", "distributed.client", "distributed.worker", "tornado")
WORKER = Path(__file__).with_name("worker.py")
S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def connected(packages: Sequence[str]) -> Iterator[Cluster]:
    """Yield the cluster at the address, or one that ends with this run.

    Raises:
        ClusterError: nothing answers there, or it has no worker.
    """
    address = os.environ.get(ADDRESS, "").strip()
    for name in NOISY:  # what they say, we say in one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = {
        "distributed.admin.large-graph-warning-threshold": LARGE,
        "distributed.comm.timeouts.connect": f"{GONE:g}s",
    }
    with dask.config.set(config):
        with _client(address) as client:
            cluster = Cluster(client, shipment(packages), address or "in this job")
            cluster.demand_workers()
            yield cluster


@contextmanager
def _client(address: str) -> Iterator[Client]:
    """Yield a client of the scheduler at an address, or of one that is started here."""
    if not address:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else None
        with LocalCluster(  # its tasks run in children, so that threads are enough
            n_workers=cores or os.cpu_count() or 1,
            threads_per_worker=1,
            processes=False,
            memory_limit=None,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as started:
            try:
                with Client(started, set_as_default=False) as client:
                    yield client
            finally:
                _end_children(started)
        return
    try:
        client = Client(address, timeout=f"{GONE:g}s", set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:  # TypeError: of TLS
        raise ClusterError(
            f"no scheduler of Dask answers at {ADDRESS}={address}: start one (dask "
            f"scheduler), or remove the variable to start one in this job ({error})"
        ) from None
    try:
        yield client
    finally:
        with suppress(OSError, TimeoutError, CommClosedError):
            client.close(timeout=1)


def _end_children(started: LocalCluster) -> None:
    """End the processes of workers that are threads of this one, busy ones too."""
    workers = [worker.__dict__ for worker in started.workers.values()]
    until = time.monotonic() + ENDS
    while busy := [child for kept in workers for child in kept.get(BUSY, ())]:
        for child in busy:
            child.process.kill()
        if time.monotonic() > until:
            break
        time.sleep(0.05)  # the next task of a worker may begin until it is told
    for kept in workers:
        for idle in kept.get(KEPT, {}).values():
            end(idle)


class Cluster:
    """A client, and the code that its tasks run."""

    def __init__(self, client: Client, shipped: Shipment, address: str) -> None:
        self.client, self.shipped, self.address = client, shipped, address
        # By its path it is a module that no worker can import: it travels by value.
        self.run = runpy.run_path(str(WORKER))["run"]
        self.code = self._kept(shipped.code)

    def over(
        self, function: Callable[[S, T], R], shared: S, ahead: int | None = None
    ) -> Each[T, R]:
        """Return what `Backend.over` does."""
        payload = pickle.dumps(shared, 5)
        facts = json.dumps(
            {
                "code": self.shipped.sha256,
                "packages": self.shipped.packages,
                "python": ".".join(map(str, sys.version_info[:2])),
                "function": f"{function.__module__}:{function.__qualname__}",
                "shared": sha256(payload).hexdigest(),
            },
            sort_keys=True,
        )
        kept = self._kept(payload)
        first = None if ahead is None else ahead * max(1, self._threads())

        def each(items: Iterable[T]) -> Iterator[R]:
            rest = (self._submitted(facts, kept, item) for item in items)
            begun = deque(islice(rest, first))
            return self._results(begun, rest)

        return each

    def _kept(self, data: bytes) -> Future:
        """Return bytes that any worker can have, as long as this is referred to."""
        key = f"mlgitops-bytes-{sha256(data).hexdigest()}"
        with self._answers():
            return self.client.submit(bytes, data, key=key)

    def _submitted(self, facts: str, shared: Future, item: object) -> Future:
        """Return a task that has begun, or waits for a worker."""
        data = pickle.dumps(item, 5)
        key = f"mlgitops-{sha256(facts.encode() + data).hexdigest()}"
        with self._answers():
            return self.client.submit(
                self.run, facts, data, self.code, shared, key=key, retries=RETRIES
            )

    def _results(self, begun: deque[Future], rest: Iterator[Future]) -> Iterator[Any]:
        """Yield results in order; for each one that is taken another task begins."""
        while begun:
            result = self._result(begun.popleft())
            begun.extend(islice(rest, 1))
            yield result

    def _result(self, future: Future) -> Any:
        """Return what a task gives.

        Raises:
            ClusterError: it cannot be computed there.
        """
        kind, data = self._ended(future)
        if kind == "refused":
            raise ClusterError(
                f"{data.decode()}: install the same there, as "
                "requirements/pipeline.txt or mlgitops/requirements/ pins it"
            )
        found = pickle.loads(data)
        if kind == "raised":
            raise found
        return found

    def _ended(self, future: Future) -> tuple[str, bytes]:
        """Return how a task ended, and with what; look meanwhile who is still there.

        Raises:
            ClusterError: there is no scheduler, or none of its workers is left.
        """
        alone = time.monotonic()
        while True:
            with self._answers(), suppress(TimeoutError):
                kind, data = future.result(timeout=POLL)
                return str(kind), bytes(data)
            if self._threads():
                alone = time.monotonic()
            elif time.monotonic() - alone > ALONE:
                raise ClusterError(self._without_workers())

    def demand_workers(self) -> None:
        """Wait for a worker.

        Raises:
            ClusterError: none comes.
        """
        try:
            self.client.wait_for_workers(1, timeout=ALONE)
        except TimeoutError:
            raise ClusterError(self._without_workers()) from None

    def _without_workers(self) -> str:
        """Return the sentence about a cluster without workers."""
        return (
            f"the cluster {self.address} has no worker for {ALONE:g} seconds: they "
            "ended, or none was started (dask worker ADDRESS); look into their logs"
        )

    def _threads(self) -> int:
        """Return how many tasks the workers run at once.

        Raises:
            ClusterError: the scheduler is gone.
        """
        with self._answers():
            asked = self.client.scheduler.ncores
            return sum(self.client.sync(asked, callback_timeout=GONE).values())

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what Dask raises into one sentence.

        Raises:
            ClusterError: always, where it raises.
        """
        try:
            yield
        except KilledWorker as error:
            raise ClusterError(
                f"{error.allowed_failures + 1} workers ended, one after the other, "
                "while they had the same task, mostly for lack of memory: give them "
                "more (dask worker --memory-limit), and look into their logs"
            ) from None
        except (ChildProcessError, MemoryError) as error:
            raise ClusterError(
                f"{error}: give the workers more memory (dask worker --memory-limit), "
                "or make the data smaller"
            ) from None
        except Exception as error:
            gone = (CancelledError, CommClosedError, OSError)
            if self.client.status == "running" and not isinstance(error, gone):
                raise
            raise ClusterError(
                f"the scheduler {self.address} is gone or does not answer; what was "
                f"finished is kept, type the command again ({type(error).__name__})"
            ) from None
