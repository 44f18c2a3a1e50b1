"""Child processes: a clean environment to start in, and an end for each of them."""

import os
import signal
import time
from pathlib import Path

MARK = "FORGE_RUN"
LONGEST = 60  # seconds that a busy machine may take to end what was killed
# What a machine needs to reach its package registries; everything else stays out.
PASSED = ("UV_", "PIP_", "SSL_CERT", "CURL_CA", "REQUESTS_CA", "NODE_EXTRA", "GIT_SSL")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
# act gives steps a terminal, GitHub does not: keep pagers, colours, questions away.
NO_TERMINAL = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GH_PAGER": "cat",
    "GH_PROMPT_DISABLED": "1",
}
SETTINGS = {
    "PIP_CONFIG_FILE": (".config/pip/pip.conf", ".pip/pip.conf"),
    "UV_CONFIG_FILE": (".config/uv/uv.toml",),
}


def environment(*tools: Path) -> dict[str, str]:
    """Return the environment of a runner: tools first, nothing of the caller's own."""
    environ = os.environ
    passed = {k: v for k, v in environ.items() if k.startswith(PASSED)}
    passed |= {k: v for k, v in environ.items() if k.lower() in PROXIES}
    for key, names in SETTINGS.items():
        for name in names:
            if key not in environ and (Path.home() / name).is_file():
                passed[key] = str(Path.home() / name)
    local = ",".join(filter(None, [environ.get("no_proxy"), "127.0.0.1"]))
    return passed | {
        "PATH": ":".join([*map(str, tools), environ.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        "CI": "true",
        "OMP_NUM_THREADS": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        **NO_TERMINAL,
        "GIT_TERMINAL_PROMPT": "0",
        "no_proxy": local,
    }


def end(mark: str) -> int:
    """Kill every process that carries a mark in its environment; return how many.

    A runner's children start process groups of their own, so the mark, which is
    inherited, finds more of them than a group would.
    """
    entry, ended = f"{MARK}={mark}".encode(), 0
    until = time.monotonic() + LONGEST
    while pids := [pid for pid in _pids() if _marked(pid, entry)]:
        for pid in pids:
            ended += _kill(pid)
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    return ended


def _pids() -> list[int]:
    """Return the ids of all processes but this one."""
    return [
        int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()
    ]


def _marked(pid: int, mark: bytes) -> bool:
    """Return whether a process has the mark (any run of it, when it ends in ``-``)."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    if mark.endswith(b"-"):
        return any(entry.startswith(mark) for entry in entries)
    return mark in entries


def _kill(pid: int) -> int:
    """Kill one process, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1
