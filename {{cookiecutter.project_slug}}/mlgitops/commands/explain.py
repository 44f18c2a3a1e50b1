"""Writes a page that explains a version: `make explain VERSION=v1.0.0`.

    python -m mlgitops explain [--version v1.0.0] [--rows ID,ID] [--out FOLDER]
    python -m mlgitops explain --model build

Where it fails (a tree of slices), what would have to differ for another decision,
importance, partial dependence, fairness, the data, and drift since. Without a version
it is the one in production. Its files come by its tag from storage, verified; --model
takes what `make repro` wrote, which has no verdict yet. The page is one HTML file that
loads nothing; the page of a fleet links to it when --out is its folder `explain`.

The release of a version has such a page without single rows: `register` makes it.
"""

import argparse
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from mlgitops import git, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.explain import ExplainError, find, page
from mlgitops.explain.subject import Explained, Watched
from mlgitops.fleet.records import Verdict
from mlgitops.fleet.records import read as records_of
from mlgitops.judgement import Judgement
from mlgitops.ledger import Ledger, Record
from mlgitops.release import ReleaseError, eligibility, model_name, registry
from mlgitops.release.registry import Version
from mlgitops.serving.model import ModelError
from mlgitops.serving.rows import RowError
from mlgitops.serving.verify import VerifyError

FOLDER = Path("build", "explain")
FILES = (find.TRAIN, find.HOLDOUT)
ERRORS = (ExplainError, ModelError, RowError, VerifyError, OSError)


def main() -> None:
    """Write the page, and say where it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    version, rows = (os.environ.get(name, "") for name in ("VERSION", "ROWS"))
    parser.add_argument("--version", default=version, help="such as v1.0.0")
    parser.add_argument("--rows", default=rows, help="ids of the holdout, by commas")
    parser.add_argument("--model", type=Path, help="a folder instead of a version")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the page")
    options = parser.parse_args()
    ids = [each.strip() for each in options.rows.split(",") if each.strip()]
    with expected_errors("explain: ", *ERRORS):
        if options.model:
            about = of_folder(options.model, ids)
        else:
            about = of_version(options.version, ids)
        print(f"written: {write(about, options.out)}")


def write(about: Explained, folder: Path) -> Path:
    """Write the page; its name has the version and the start of the manifest's hash."""
    name = re.sub(r"[^\w.-]", "-", f"{about.name}-{about.version or 'build'}")
    file = folder / f"{name}-{about.manifest_sha256[:12]}.html"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(page.page(about), encoding="utf-8")
    return file


def of_folder(folder: Path, ids: list[str]) -> Explained:
    """Return the facts about what the stages wrote into a folder."""
    names = ("manifest.json", "model.onnx", *FILES)
    if lacking := [name for name in names if not (folder / name).is_file()]:
        raise ExplainError(f"{folder} lacks {', '.join(lacking)}: type make repro")
    with TemporaryDirectory(prefix="explain-") as scratch:
        for source in (*(folder / name for name in names), Path("contract.yaml")):
            shutil.copy(source, scratch)
        return find.explained(Path(scratch), ids, version="", runs=[])


def of_version(version_name: str, ids: list[str]) -> Explained:
    """Return the facts about a registered version, or that in production.

    Raises:
        ReleaseError: there is none, or its files are not the registered ones.
    """
    if version_name:
        registry.check_format(version_name)
    name = model_name()
    if git.has_remote():
        registry.fetch(name)
    ledger = Ledger()
    if not version_name:
        champion = ledger.champion()
        if champion is None:
            raise ReleaseError(
                "production has no version yet: type make explain "
                "ARGS='--model build', for what make repro wrote"
            )
        version_name = str(champion["version"])
    version = registry.get(name, version_name)
    eligibility.refuse_retired(ledger, version.manifest_sha256, version.tag)
    with TemporaryDirectory(prefix="explain-") as scratch:
        folder = Path(scratch)
        bring(version, folder)
        facts = known(ledger, version)
        return find.explained(folder, ids, version=version.version, **facts)


def bring(version: Version, folder: Path) -> None:
    """Put a version's files and both of its tables into a folder, verified.

    Raises:
        ReleaseError, StorageError: one is missing, or has other bytes.
    """
    git.bring(version.commit)
    eligibility.bring(version.commit, folder, version.manifest_sha256)
    locked = eligibility.locked(version.commit)
    storage.pull(map(locked.out, FILES), folder)


def known(ledger: Ledger, version: Version) -> dict[str, Any]:
    """Return what the ledger says of a version: its verdict, and the monitor's runs."""
    records = records_of(ledger)
    verdict = records.measured(version.manifest_sha256)
    runs = [
        Watched(
            time=run.time,
            decision=run.decision,
            sentence=run.sentence,
            rows=run.window.rows,
            labels=run.window.labels,
            measured=run.measured.get("performance"),
            drift=run.measured.get("drift"),
        )
        for run in records.runs
        if run.manifest_sha256 == version.manifest_sha256
    ]
    judged = _verdict(verdict, ledger.read(verdict.path) or {}) if verdict else {}
    return {"runs": runs, **judged}


def _verdict(verdict: Verdict, whole: Record) -> dict[str, Any]:
    """Return what the record of a verdict kept of the judge's findings."""
    names = {field.name for field in msgspec.structs.fields(Judgement)}
    kept = {n: v for n, v in whole.items() if n in names and v is not None}
    report = whole.get("report")
    try:
        judgement = msgspec.convert(kept, Judgement)
    except msgspec.ValidationError as error:
        raise ReleaseError(f"{verdict.path} cannot be read: {error}") from error
    path = str(report.get("path", "")) if isinstance(report, dict) else ""
    return {"judgement": judgement, "judged": verdict.time, "report": path}
