"""Counts the devices of an environment from their reports.

Each look of a device writes or sends one small report (`update.py`). Which device was
silent for long is told by the time at which its report arrived here, the file's own:
a device's clock may be wrong.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

MAX_REPORT_BYTES = 10_000
SILENT_DAYS = 7.0  # without a report, before a device counts as silent
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Device:
    """One device's newest report."""

    name: str
    environment: str
    state: str
    reason: str
    version: str
    manifest_sha256: str
    silent_days: float

    def problem(self, expected: str, silent: float = SILENT_DAYS) -> str:
        """Return why it is not known to run the expected version; "" if it does."""
        if self.silent_days > silent:
            return f"no report for {self.silent_days:.0f} days"
        if self.manifest_sha256 == expected or not (expected or self.reason):
            return ""
        return self.reason or "it has not looked since"


def load(folder: Path) -> tuple[list[Device], list[str]]:
    """Return the devices that reported to a folder, and the files that are no report.

    Raises:
        OSError: the folder cannot be read.
    """
    devices, broken = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix != ".json" or not path.is_file():
            continue
        try:
            devices.append(_device(path))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            broken.append(path.name)
    return devices, broken


def _device(path: Path) -> Device:
    """Return one report; ValueError, KeyError or TypeError if it is not one."""
    with path.open("rb") as file:
        data = file.read(MAX_REPORT_BYTES + 1)
        age = time.time() - path.stat().st_mtime
    if len(data) > MAX_REPORT_BYTES:
        raise ValueError("it is too long")
    report = json.loads(data)
    names = ("device", "environment", "state", "reason", "version", "manifest_sha256")
    values = [report[name] for name in names]
    if report["schema"] != 1 or not all(isinstance(v or "", str) for v in values):
        raise ValueError("it is not a report")
    if report["device"] != path.stem:
        raise ValueError("it is another device's")
    name, environment, state, reason, version, manifest = (
        "".join(filter(str.isprintable, value or "")) for value in values
    )
    days = max(0.0, age) / DAY_SECONDS
    return Device(name, environment, state, reason, version, manifest, days)


def summary(devices: list[Device], broken: list[str], expected: str = "") -> list[str]:
    """Return how many devices run what, and each one that does not run what it should.

    `expected` is the sha256 of the manifest that they should run, if it is known.
    """
    running = Counter(device.version or "nothing" for device in devices)
    problems = {d.name: d.problem(expected) for d in devices}
    right = sum(not problem for problem in problems.values())
    lines = [f"{len(devices)} devices, {right} of them run what they should"]
    lines += [f"  {version}: {n}" for version, n in sorted(running.items())]
    lines += [
        f"{d.name} ({d.state}, runs {d.version or 'nothing'}): {problems[d.name]}"
        for d in devices
        if problems[d.name]
    ]
    return lines + [f"{name} is not a device's report" for name in broken]
