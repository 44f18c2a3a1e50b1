"""Where the rows of the table came from: data/source.json, committed beside it.

It is written for rows that were no single file of one's own: a folder, a database, or
what `dvc import-url` brought. A later run compares with it and says which files are
new, changed or gone. `make audit` shows it for a version whose data it describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from mlgitops.pipeline.schema import ContractError, Location, convert, one_line
from mlgitops.table.problem import TableError

RECORD = Path("data", "source.json")
SHOWN = 5  # folders or files that a change names


@dataclass(frozen=True)
class Origin:
    """What was read, when, and from where."""

    kind: Literal["file", "folder", "query"]
    address: str  # of a file, a folder or a database, without a login
    sha256: str  # of what was read
    read: str = ""  # when, in UTC
    rows: int = 0
    imported: str = ""  # from where `dvc import-url` brought it
    query: str = ""  # the file that holds it, or its text
    query_sha256: str = ""
    snapshot: str = ""  # what the server calls the state that was read
    columns: dict[str, str] = field(default_factory=dict)  # their types in the database
    files: dict[str, str] = field(default_factory=dict)  # the sha256 of each
    table: str = ""  # the file that was made of it
    table_sha256: str = ""

    @property
    def is_recorded(self) -> bool:
        """Whether it is more than one file that lies here."""
        return self.kind != "file" or bool(self.imported)


def parse(text: str | bytes, name: str = RECORD.as_posix()) -> Origin:
    """Return what a record says.

    Raises:
        ContractError: it is not as a run writes it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{name} is not valid JSON") from error
    return convert(Origin, document, Location(name))


def record() -> Origin | None:
    """Return where the table's rows came from in the last run; None if not recorded.

    Raises:
        TableError: the record is not as a run writes it.
    """
    if not RECORD.exists():
        return None
    try:
        return parse(RECORD.read_bytes())
    except ContractError as error:
        advice = f"type `git checkout HEAD -- {RECORD}`, or delete it"
        raise TableError(f"{error}: {advice}") from error


def write(origin: Origin, table: Path) -> bool:
    """Write the record, or remove that of another source; tell whether it is new.

    The same rows read again leave it as it is.
    """
    if not origin.is_recorded:
        RECORD.unlink(missing_ok=True)
        return False
    with table.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    now = replace(origin, table=table.as_posix(), table_sha256=digest)
    before = record()
    if before and replace(before, read=now.read, snapshot=now.snapshot) == now:
        return False
    document = {name: value for name, value in asdict(now).items() if value}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    RECORD.write_text(text, encoding="utf-8")
    return True


def facts(origin: Origin) -> dict[str, str]:
    """Return what an auditor asks of it, each on one line without a backtick."""
    named = {
        "from": origin.address,
        "imported from": origin.imported,
        "query": origin.query,
        "sha256 of the query": origin.query_sha256,
        "snapshot": origin.snapshot,
        "read at": origin.read,
        "count": f"{origin.rows:,}",
        "files": f"{len(origin.files):,}" if origin.files else "",
    }
    return {name: one_line(v).replace("`", "'") for name, v in named.items() if v}


def changes(before: Origin | None, now: Origin) -> list[str]:
    """Return how the source differs from that of the last run, a sentence for each."""
    if before is None:
        return []
    result = []
    if before.address != now.address:
        result.append(f"source: {before.address} → {now.address}")
    if before.query_sha256 != now.query_sha256:
        result.append(f"query: {now.query or 'none'} is another than the last run read")
    for name, kind in now.columns.items():
        if before.columns.get(name, kind) != kind:
            result.append(f"{name}: {before.columns[name]} → {kind} in the database")
    if before.files and now.files:
        result += _files(before.files, now.files)
    return result


def _files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return which files are new, changed or gone, by the folders that hold them."""
    both = before.keys() & now.keys()
    kinds = {
        "new": now.keys() - before.keys(),
        "changed": {name for name in both if before[name] != now[name]},
        "gone": before.keys() - now.keys(),
    }
    return [f"files: {_named(names)} {kind}" for kind, names in kinds.items() if names]


def _named(names: set[str]) -> str:
    """Return a number of files, and the folders of a few; a file of none is named."""
    folders = {str(PurePosixPath(name).parent) for name in names}
    shown = sorted(names if folders == {"."} else folders)
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    noun = "file" if len(names) == 1 else "files"
    return f"{len(names):,} {noun} ({', '.join(shown[:SHOWN])}{more})"
