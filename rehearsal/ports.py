"""A port of loopback that nobody else takes before it is used.

Linux gives a connection, and who binds port 0, a port of `ip_local_port_range`, whose
own a free port may be a moment later; a port below it has only who asks for it here.
"""

import random
import socket
import sys
from pathlib import Path

LOWEST = 10_000  # below are those of services
MANY = 1_000  # ports that are tried
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
NAMED = sys.platform == "linux"  # which has names of sockets that are no files
_held = list[socket.socket]()  # names of ports that this process has, until it ends


def free() -> int:
    """Return a port that nothing listens on, once in all processes of this machine.

    Raises:
        OSError: there is none.
    """
    below = int(RANGE.read_text().split()[0]) if RANGE.is_file() else 0
    if below < LOWEST + MANY:  # connections may have all, or this is not Linux
        below = 65_536
    for port in random.SystemRandom().sample(range(LOWEST, below), MANY):
        with socket.socket() as probe:
            name = socket.socket(socket.AF_UNIX)
            try:
                if NAMED:
                    name.bind(f"\0a test's port {port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                name.close()
                continue
        _held.append(name)
        return port
    raise OSError(f"no port is free from {LOWEST} to {below}")
