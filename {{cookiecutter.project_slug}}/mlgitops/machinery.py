"""Which machinery this is, and whether it is as released; standard library only."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SUMS = "SHA256SUMS"
CACHES = ("__pycache__", ".ruff_cache", ".mypy_cache")


@dataclass(frozen=True)
class Machinery:
    """A version of the machinery, and the files of it that were changed here."""

    version: str
    modified: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """Return what the ledger keeps."""
        return {"version": self.version, "modified": list(self.modified)}

    @property
    def state(self) -> str:
        """Return the version, and whether it is as released."""
        if not self.modified:
            return f"{self.version}, as released"
        files = "1 file" if len(self.modified) == 1 else f"{len(self.modified)} files"
        return f"{self.version}, modified here ({files})"

    def __str__(self) -> str:
        """Return what reports, the ledger, the audit and `/info` say."""
        return f"machinery {self.state}"


def files(folder: Path = FOLDER) -> list[str]:
    """Return the machinery's files by path, without the list of hashes itself."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name != SUMS
        and not set(CACHES) & set(path.relative_to(folder).parts)
    )


def sums(folder: Path = FOLDER) -> str:
    """Return the hash of each file, in the format of `sha256sum`."""
    lines = (f"{_sha256(folder / name)}  {name}\n" for name in files(folder))
    return "".join(lines)


def machinery(folder: Path = FOLDER, part: bool = False) -> Machinery:
    """Return which machinery a folder holds.

    With `part`, files may be absent: a server carries a part of the machinery only.
    """
    lines = (line.partition("  ") for line in _text(folder / SUMS).splitlines())
    listed = {name: digest for digest, _, name in lines}
    present = {name: _sha256(folder / name) for name in files(folder)}
    names = present if part else sorted({*present, *listed})
    modified = tuple(n for n in names if listed.get(n) != present.get(n))
    version = _text(folder / "VERSION").strip() or "unknown"
    return Machinery(version, modified)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _text(file: Path) -> str:
    """Return a file's text, whatever it holds: a server starts in any case."""
    return file.read_text("utf-8", "replace") if file.is_file() else ""
