"""Removes a person's rows from the prediction log, the labels and the next data.

    make erase ID=a-17,a-18 LOG=/var/log/model LABELS=labels.csv
    make erase ENTITY=customer-4 LOG=s3://bucket/log LABELS=s3://bucket/labels

ID are ids of rows; ENTITY is a value of the column that contract.yaml names under
`entity`, whose rows all go. The data is written anew here and its pointer changes:
commit it and propose it as other data. On the ledger stays that it was done and how
many rows went, not whose. Run it again until it finds nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mlgitops import git, lock, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger
from mlgitops.lock import Out
from mlgitops.pipeline.contract import Contract
from mlgitops.release import registry
from mlgitops.retention import erase as remove
from mlgitops.retention.erase import EraseError
from mlgitops.retention.person import Person


def main() -> None:
    """Remove the rows, and say how many."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in ("id", "entity", "log", "labels"):
        default = os.environ.get(option.upper(), "")  # make erase ID=a-17
        parser.add_argument(f"--{option}", default=default)
    options = parser.parse_args()
    with expected_errors("", EraseError, OSError):
        for line in erase(options.id, options.entity, options.log, options.labels):
            print(line)


def erase(ids: str, entity: str, log: str, labels: str) -> list[str]:
    """Remove rows; return what went as lines.

    Raises:
        EraseError: nobody was named, or a file could not be read or written.
    """
    contract = Contract.read(Path("contract.yaml").read_bytes())
    person = _person(ids, entity, contract)
    tables = {out.path: out for out in lock.inputs() if lock.is_table(out.path)}
    for path in tables:
        if not Path(path).is_file():
            raise EraseError(f"{path} is not here: type `make pull`")
        remove.check_table(Path(path), contract, person)
    person = _known(person, contract, [*tables], log, labels)
    counts = {"log": 0, "labels": 0, "data": 0}
    try:
        changed = _remove(person, contract, tables, log, labels, counts)
    finally:  # what went is recorded, whatever could not go after it
        _record(counts)
    lines = [
        f"{path}: {count:,} rows removed; commit {path}.dvc and `make push`"
        for path, count in changed.items()
    ]
    for name, source in (("log", log), ("labels", labels)):
        text = f"{counts[name]:,} lines removed" if source else "not looked at: name it"
        lines.append(f"{name}: {text}")
    return [*lines, *_left(contract, counts["data"])]


def _remove(
    person: Person,
    contract: Contract,
    tables: Mapping[str, Out],
    log: str,
    labels: str,
    counts: dict[str, int],
) -> dict[str, int]:
    """Remove the rows and count them; return the tables that changed, with how many."""
    # The file that names the owner of a row goes last, so that a broken-off run can
    # begin again.
    log_first = contract.entity in contract.labelled_only
    for name in ("log", "labels") if log_first else ("labels", "log"):

        def done(count: int, name: str = name) -> None:
            counts[name] += count

        if name == "log" and log:
            remove.log(log, person, done)
        elif name == "labels" and labels:
            remove.labels(labels, contract, person, done)
    changed = {}
    for path, out in tables.items():
        count = remove.table(Path(path), contract, person)
        counts["data"] += count
        if count or not storage.unchanged(out):  # a run before may have broken off
            storage.add(path)
            changed[path] = count
    return changed


def _known(
    person: Person, contract: Contract, tables: list[str], log: str, labels: str
) -> Person:
    """Return the person with the ids that data, log and labels know it by.

    All are read before anything goes: a line of the log may have the id only, and the
    labels its owner, or the other way round.
    """
    if not person.names:
        return person
    ids = set(person.ids)
    for path in tables:
        ids |= remove.ids_of(Path(path), contract, person)
    if log:
        ids |= remove.log_ids(log, person)
    if labels:
        ids |= remove.label_ids(labels, contract, person)
    return replace(person, ids=frozenset(ids))


def _person(ids: str, entity: str, contract: Contract) -> Person:
    """Return whose rows go.

    Raises:
        EraseError: nobody is named, or contract.yaml has no entity.
    """
    named = frozenset(part.strip() for part in ids.split(",") if part.strip())
    names = frozenset([entity.strip()] if entity.strip() else [])
    if not named and not names:
        raise EraseError(
            "nobody was named: type `make erase ID=...`, or ENTITY= with a value of "
            "the entity's column"
        )
    if names and not contract.entity:
        raise EraseError(
            "contract.yaml has no `entity`, so that rows have no owner: name their "
            "ids with ID="
        )
    return Person(named, names, contract.entity if names else "")


def _record(counts: dict[str, int]) -> None:
    """Write on the ledger that rows went, and how many; never whose."""
    if not any(counts.values()) or not git.has_remote():
        return
    ledger = Ledger()
    by = git.run("config", "user.name", check=False)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    ledger.append(
        lambda seq: {
            f"erasures/{seq:08d}.json": {
                "schema": 1,
                "seq": seq,
                "time": time,
                "by": by,
                "rows": counts,
            }
        },
        "erase rows",
    )


def _left(contract: Contract, count: int) -> list[str]:
    """Say which versions were trained on data that had the rows."""
    if not count:
        return []
    tags = [version.tag for version in registry.versions(contract.name)]
    if not tags:
        return []
    return [
        f"{len(tags)} versions up to {tags[-1]} may have been trained on them, and "
        "storage keeps their data until they retire: `make prune`"
    ]
