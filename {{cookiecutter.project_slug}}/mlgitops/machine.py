"""This machine: its processor, and its environment without credentials."""

import os
import platform
import re
from pathlib import Path

SECRET = re.compile(
    r"TOKEN|SECRET|PASSWORD|CREDENTIAL|LOGIN|_KEY|^ACTIONS_|^AWS_|^AZURE_"
)


def cpu() -> str:
    """Return the type of the processor; floating-point results may depend on it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(errors="replace") if info.is_file() else ""
    match = re.search(r"^(?:model name|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    name = match[1] if match else platform.processor()
    return re.sub(r"\s+", " ", f"{platform.machine()} {name}").strip()[:100]


def environment(**more: str) -> dict[str, str]:
    """Return the environment without secrets, to run a proposal's code in."""
    kept = {k: v for k, v in os.environ.items() if not SECRET.search(k)}
    return {"OMP_NUM_THREADS": "1", **kept, "DVC_NO_ANALYTICS": "1", **more}
