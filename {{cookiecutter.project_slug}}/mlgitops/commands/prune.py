"""Retires old versions by the rule in params.yaml, and deletes their objects.

    make prune            (says what would go; changes nothing)
    make prune APPLY=1

`retention: {versions: 20, days: 730}` keeps the newest 20 versions, and each that
served in the last 730 days. Beside them stays what an environment runs or would go
back to, what a branch names (here or on origin), and what lies here. A version that
retires is recorded on the ledger; its tag, verdicts and GitHub Release stay, its data
and model leave storage. Uploads that broke off more than a day ago leave it as well.
Killed at any point, the next run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlgitops import settings, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger, Record
from mlgitops.release import ReleaseError, model_name, registry
from mlgitops.retention import named, plan
from mlgitops.retention.plan import Free
from mlgitops.retention.rule import Kept
from mlgitops.storage import StorageError
from mlgitops.store import objects

ALONE = (
    "storage holds {count:,} objects that this repository never named: another one may "
    "keep its own there, so they stay; type `make prune ALONE=1` if nobody does"
)
YOUNG = (
    "{count:,} objects that this repository never named are less than a day old: they "
    "may be on their way, so they stay"
)


def main() -> None:
    """Print what goes, and delete it if that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    with expected_errors():
        for option, text in (
            ("apply", "retire and delete; without it, only say what would go"),
            ("alone", "also delete objects that this repository never named"),
        ):
            default = _asked(option.upper())
            parser.add_argument(
                f"--{option}", action="store_true", default=default, help=text
            )
        options = parser.parse_args()
        for line in prune(options.apply, options.alone):
            print(line)


def _asked(name: str) -> bool:
    """Tell whether a variable is 1; `APPLY=0` and `APPLY=no` delete nothing.

    Raises:
        StorageError: it is neither 1 nor 0.
    """
    text = os.environ.get(name, "").strip() or "0"
    if text not in ("0", "1"):
        raise StorageError(f"{name} is {text!r}: type {name}=1, or leave it out")
    return text == "1"


def prune(apply: bool = False, alone: bool = False) -> list[str]:
    """Return what went, or would go, as lines.

    Raises:
        SettingsError: params.yaml has no section `retention`.
        ReleaseError, LockError, StorageError: there is no ledger, as in a copy of
            another repository; or something cannot be read, so that
            nothing is known to be free; or what has to stay is missing afterwards.
    """
    rules = settings.retention(settings.load(Path("params.yaml").read_bytes()))
    remark = named.fetch()
    name, ledger = model_name(), Ledger()
    registry.fetch(name)
    if apply and ledger.commit is None:
        raise ReleaseError(
            "origin has no ledger, so that nothing is known of what runs: nothing was "
            "deleted; in a copy of a repository, storage is the original's"
        )
    gone = plan.retiring(ledger, name, rules)
    retired = {*ledger.retired(), *(version.manifest_sha256 for version in gone)}
    free = plan.free(ledger, name, retired, alone)
    lines = [f"{'retire' if not apply else 'retired'} {_said(v)}" for v in gone]
    lines += [remark] if remark else []
    if free.unnamed:
        lines.append((YOUNG if alone else ALONE).format(count=free.unnamed))
    if apply:
        _record(ledger, gone, rules, name)
        ledger.refresh()  # what was judged since stays
        free = plan.free(ledger, name, ledger.retired(), alone)
        _delete(free, ledger, name)
    verb = "deleted" if apply else "would delete"
    lines.append(f"{verb} {_counted(free.objects, 'object')}")
    if free.uploads:
        lines.append(f"{verb} {_counted(free.uploads, 'unfinished upload')}")
    if apply and free.objects and storage.branch_folder():
        lines.append("the branch `storage` keeps deleted objects in its history")
    if not apply and (gone or free.objects or free.uploads):
        lines.append("nothing was changed: type `make prune APPLY=1` to do it")
    return lines


def _record(
    ledger: Ledger, gone: Sequence[Kept], rules: settings.Retention, name: str
) -> None:
    """Write on the ledger which versions retire, before anything is deleted.

    Raises:
        ReleaseError: one of them was deployed or judged again since it was chosen.
    """
    if not gone:
        return

    def files(seq: int) -> dict[str, Record | bytes]:
        still = {v.manifest_sha256 for v in plan.retiring(ledger, name, rules)}
        for version in gone:
            if version.manifest_sha256 not in still:
                raise ReleaseError(
                    f"{version.name} is in use since a moment ago: nothing was "
                    "retired or deleted; type `make prune` again"
                )
        return {
            f"retired/{version.manifest_sha256}/{seq:08d}.json": {
                "schema": 1,
                "seq": seq,
                "manifest_sha256": version.manifest_sha256,
                "version": version.name,
                "rule": {"versions": rules.versions, "days": rules.days},
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            for version in gone
        }

    ledger.append(files, f"retire {len(gone)} versions")


def _delete(free: Free, ledger: Ledger, name: str) -> None:
    """Delete objects, then look whether all that has to stay is there."""
    if not (free.objects or free.uploads):
        return
    storage_here = objects.here()
    had = storage_here.listing().sizes.keys()
    storage_here.remove(free.objects, free.uploads)
    named.fetch()
    ledger.refresh()
    left = objects.here().listing().sizes.keys()
    if still := [md5 for md5 in free.objects if md5 in left]:
        raise StorageError(f"{len(still):,} objects are still there: run it again")
    keep = named.kept(ledger, registry.versions(name), ledger.retired())
    if lost := sorted(had & keep - left):
        raise StorageError(
            f"a proposal named {len(lost):,} objects while they were deleted, such as "
            f"md5 {lost[0]}: type `make push` where that data is, and run `validate` "
            "of that proposal again if it built them"
        )


def _counted(sizes: Mapping[str, int], noun: str) -> str:
    """Return how many files there are, and their size."""
    plural = "" if len(sizes) == 1 else "s"
    return f"{len(sizes):,} {noun}{plural}, {sum(sizes.values()) / 1e6:,.1f} MB"


def _said(version: Kept) -> str:
    """Return a version and its last day."""
    return (
        f"{version.name or version.manifest_sha256[:12]}, last {version.last:%Y-%m-%d}"
    )
