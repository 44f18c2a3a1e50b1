"""Runs one function over many items: in this process, or on a cluster of Dask.

A task is a function of a module, what all tasks share, and one item; it carries its own
seed and rows, so that it gives the same bytes wherever, and however often, it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
Each = Callable[[Iterable[T]], Iterator[R]]  # results, in the order of the items


class ClusterError(Exception):
    """The cluster cannot compute it: one sentence."""


class Backend(Protocol):
    """Where tasks run."""

    def over(
        self, function: Callable[[S, T], R], shared: S, ahead: int | None = None
    ) -> Each[T, R]:
        """Return what gives function(shared, item) for each item, in their order.

        A cluster begins when it is called, with all items, or so many for each of its
        threads; this process begins an item when its result is asked for. An error of
        the function is raised where its result is asked for.

        Raises:
            ClusterError: the cluster is gone, or cannot run a task.
        """


class Local:
    """This process, one item after the other."""

    def over(
        self, function: Callable[[S, T], R], shared: S, ahead: int | None = None
    ) -> Each[T, R]:
        """Return what `Backend.over` does."""
        return partial(map, partial(function, shared))


@contextmanager
def opened(backend: str, packages: Sequence[str]) -> Iterator[Backend]:
    """Yield where tasks run; `packages` are those that workers must have alike.

    Raises:
        ClusterError: Dask is not installed, or no cluster answers.
    """
    if backend == "local":
        yield Local()
        return
    try:
        from mlgitops.cluster.scheduler import connected
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"compute.backend of params.yaml is {backend}, and the package "
            f"{error.name} is not installed: type make setup, or set backend: local"
        ) from None
    with connected(packages) as cluster:
        yield cluster
