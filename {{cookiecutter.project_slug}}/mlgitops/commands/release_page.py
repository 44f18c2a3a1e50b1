"""Makes the page that explains a version for all who see its release.

It asks the model's file about the rows of its tables: somebody proposed the one, and
code of a proposal wrote the others. `register` has the right to tag and to sign, so
that a child does it, confined as the judge's are, which knows no login.
"""

import sys
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

import msgspec

from mlgitops import lock, storage
from mlgitops.judge import sandbox
from mlgitops.judgement import Judgement
from mlgitops.ledger import Ledger
from mlgitops.lock import Out
from mlgitops.release import assets
from mlgitops.release.eligibility import Candidate
from mlgitops.release.package import EXPLAINED
from mlgitops.release.registry import Version

TABLES = ("train.parquet", "holdout.parquet")
FACTS = "facts.json"
MOST_BYTES = 500_000_000  # of both tables, that a release waits for
SECONDS = 300  # that a release waits; its job is ended after 900


class Known(msgspec.Struct, kw_only=True):
    """What the ledger says of a version: nothing where it has no verdict."""

    version: str
    judgement: Judgement = msgspec.field(default_factory=Judgement)
    judged: str = ""
    report: str = ""


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

    facts = explain.known(ledger, version)
    del facts["runs"]
    known = Known(version=version.version, **facts)
    with TemporaryDirectory(prefix="explain-") as scratch:
        folder = Path(scratch)
        for name in assets.FILES:
            copy(candidate.folder / name, folder)
        (folder / FACTS).write_bytes(msgspec.json.encode(known))
        storage.pull(tables, folder)
        sandbox.run("judge", __name__, folder, seconds=SECONDS, folder=folder)
        return (folder / EXPLAINED).read_bytes()


def main() -> None:
    """Confine this process, then write the page of a folder into it."""
    sandbox.confine(seconds=SECONDS)
    from mlgitops.explain import find, page  # they load scikit-learn

    folder = Path(sys.argv[1])
    known = msgspec.json.decode((folder / FACTS).read_bytes(), type=Known)
    facts = {name: getattr(known, name) for name in Known.__struct_fields__}
    about = find.explained(folder, public=True, runs=[], **facts)
    (folder / EXPLAINED).write_text(page.page(about), encoding="utf-8")
    sandbox.leave()


if __name__ == "__main__":
    main()
