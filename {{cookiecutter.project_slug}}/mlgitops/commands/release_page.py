"""Makes the page that explains a version for all who see its release."""

from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

from mlgitops import lock, storage
from mlgitops.ledger import Ledger
from mlgitops.lock import Out
from mlgitops.release import assets
from mlgitops.release.eligibility import Candidate
from mlgitops.release.package import EXPLAINED
from mlgitops.release.registry import Version

TABLES = ("train.parquet", "holdout.parquet")
MOST_BYTES = 500_000_000  # of both tables, that a release waits for


def files(ledger: Ledger, version: Version, candidate: Candidate) -> dict[str, bytes]:
    """Return the page by its file's name; nothing, and print why, if there is none.

    No release waits for it, so that whatever goes wrong here is one printed line.
    """
    try:
        dvc_lock = lock.parse(candidate.lock)
        tables = [dvc_lock.out(name) for name in TABLES]
        if (size := sum(table.size for table in tables)) > MOST_BYTES:
            print(f"the release has no {EXPLAINED}: {size / 1e6:,.0f} MB of tables")
            return {}
        return {EXPLAINED: _page(ledger, version, candidate, tables)}
    except Exception as error:
        reason = storage.masked(" ".join(str(error).split()))
        print(f"the release has no {EXPLAINED}: {reason or type(error).__name__}")
        return {}


def _page(
    ledger: Ledger, version: Version, candidate: Candidate, tables: list[Out]
) -> bytes:
    """Return the page of a candidate's own files, tables and verdict."""
    from mlgitops.commands import explain  # it loads scikit-learn

    with TemporaryDirectory(prefix="explain-") as scratch:
        folder = Path(scratch)
        for name in assets.FILES:
            copy(candidate.folder / name, folder)
        storage.pull(tables, folder)
        facts = explain.public(ledger, version, folder)
    return facts.encode()
