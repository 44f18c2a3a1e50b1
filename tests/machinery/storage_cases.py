"""Which faults of storage are played, and with which operation; docs/storage.md too.

`faulty.py` plays them; what starts a server for that needs no package for this table.
"""

CASES = {  # whatever the kind
    "interrupted": ("push", "pull", "move", "ship"),
    "killed": ("push", "pull", "move", "ship"),
    "altered": ("pull", "move", "scan"),
    "missing": ("pull", "move", "prune"),
    "read-only": ("push", "move", "prune", "ship"),
    "full": ("push", "move", "ship"),
    "slow": ("push", "pull", "move", "prune", "ship"),
    "down": ("push", "pull", "move", "prune", "ship"),
}
Case = tuple[str, str]  # a fault, an operation


def impossible(kind: str, fault: str, operation: str) -> str:
    """Say why a kind has not this fault; nothing where it has."""
    if kind in ("local", "branch") and fault == "killed":
        return "test_storage, test_moving and test_shipping kill what works on a disk"
    if kind == "local" and fault in ("slow", "interrupted"):
        return "a folder is read and written by this machine itself"
    if kind == "branch" and operation in ("ship", "scan"):
        return "a log is not shipped to a branch"
    if kind == "branch" and operation == "move" and fault not in ("altered", "missing"):
        return "storage does not move to a branch"
    return ""


def cases(kind: str | None = None) -> list[Case]:
    """Return each fault with each operation, or only what a kind can have."""
    every = [(fault, name) for fault, names in CASES.items() for name in names]
    return [case for case in every if kind is None or not impossible(kind, *case)]
