"""Groups of processes that a test kills."""

import os
import time
from contextlib import suppress

SECONDS = 60


def gone(group: int) -> None:
    """Wait until the system has forgotten a killed group: DVC's lock names a process.

    Those that nobody waits for are collected by the first process, when it can.
    """
    end = time.monotonic() + SECONDS
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.05)
