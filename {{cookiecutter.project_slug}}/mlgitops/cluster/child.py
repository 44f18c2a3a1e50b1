"""Runs tasks that a worker of Dask hands over, one after the other, until it is gone.

A request is (function, hash of what is shared, it or None, item, bytes of memory); a
reply is "value" or "raised" with a pickle, or "memory" with a sentence. All of them
are messages between processes of one run, with the same code; none is a file.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Any, BinaryIO

LEAST = 16_000_000  # bytes that a task may take, whatever the packages took


def main() -> None:
    """Answer each request; a task reads none of them, and prints into no reply."""
    stream, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    requests: Queue[Any] = Queue()
    threading.Thread(target=_read, args=(stream, requests), daemon=True).start()
    kept: tuple[str, Any] = ("", None)
    while True:
        name, digest, shared, item, memory = requests.get()
        try:
            module, _, attribute = name.partition(":")
            function = getattr(import_module(module), attribute)
            if memory:
                limit(memory)
            if shared is not None:
                kept = ("", None)
                kept = (digest, pickle.loads(shared))
            reply = ("value", pickle.dumps(function(kept[1], pickle.loads(item)), 5))
        except MemoryError as error:
            reply = ("memory", (str(error) or "out of memory").encode())
        except (Exception, SystemExit) as error:
            reply = ("raised", _dumped(error))
        pickle.dump(reply, replies)
        replies.flush()


def _read(stream: BinaryIO, requests: Queue[Any]) -> None:
    """Read requests; end this process at once when the worker has ended."""
    while True:
        try:
            requests.put(pickle.load(stream))
        except BaseException:
            os._exit(0)


def _dumped(error: Exception | SystemExit) -> bytes:
    """Return an error as a pickle; one that cannot be read back as its text."""
    try:
        data = pickle.dumps(error, 5)
        pickle.loads(data)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"), 5)
    return data


def limit(memory: int) -> None:
    """Let this process take no more than what is left of so many bytes."""
    if sys.platform != "linux":
        return
    import resource

    pages = Path("/proc/self/statm").read_text().split()
    resident, data = (int(pages[n]) * resource.getpagesize() for n in (1, 5))
    bound = data + max(memory - resident, LEAST)  # of what is written, not of libraries
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


if __name__ == "__main__":
    main()
