"""Scores the rows of a file with a version: `make score IN=rows.csv OUT=scores.csv`.

    python -m mlgitops score --in rows.parquet --out scores.parquet --log log
    python -m mlgitops score --environment production      (the workflow score)

IN is CSV, Parquet, or a folder with files of one of these kinds, of any size; IN, OUT
and LOG may be addresses such as s3://bucket/rows, and `{date}` in them is the day in
UTC. Each row passes the server's own checks; one that a request would be refused goes
to OUT.refused.jsonl with the reason, or ends the run (--bad stop). Columns that the
contract does not have are left out. A killed run goes on where it stopped.

The version is that in `build/`, or what an environment has by the ledger: its bytes
are those of its verdict, and where main has a key, it is signed. There the variables
SCORE_IN, SCORE_OUT and PREDICTION_LOG stand for --in, --out and --log.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github, settings, storage
from mlgitops.batch.job import ERRORS, Job
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError, eligibility, signature

UNSET = (
    "Scoring files is not configured: set SCORE_IN to the address of the rows and "
    "SCORE_OUT to that of the predictions."
)


def main() -> None:
    """Score a file; a mistake is one sentence, exit 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--in", dest="source", help="the rows")
    parser.add_argument("--out", help="the predictions: .parquet or .csv")
    parser.add_argument("--model", default="build", help="the folder of the version")
    parser.add_argument("--environment", help="take the version that it has")
    parser.add_argument("--log", help="folder of the prediction log, for the monitor")
    parser.add_argument("--bad", default="keep", choices=("keep", "stop"))
    parser.add_argument("--version", help="such as v1.2.0, for the log")
    given = parser.parse_args()
    if given.environment:
        return scheduled(given)
    if not given.source or not given.out:
        raise SystemExit("score: type make score IN=rows.parquet OUT=scores.parquet")
    with expected_errors("score: ", *ERRORS):
        print(storage.masked(job(given, Path(given.model), given.version).run()))


def scheduled(given: argparse.Namespace) -> None:
    """Score the configured rows with what an environment has."""
    variables = {"source": "SCORE_IN", "out": "SCORE_OUT", "log": "PREDICTION_LOG"}
    for name, variable in variables.items():
        setattr(given, name, getattr(given, name) or os.environ.get(variable))
    if not given.source and not given.out:
        return github.tell(UNSET)
    with expected_errors("score: ", *ERRORS), TemporaryDirectory() as folder:
        if not given.source or not given.out:
            raise ReleaseError("SCORE_IN and SCORE_OUT have to be set, both")
        version = bring(given.environment, Path(folder))
        if version is None:
            return github.tell(f"{given.environment} has no version yet.")
        run = job(given, Path(folder), version)
        sentence = storage.masked(run.run())
        github.tell(sentence)
        if not run.scored and os.environ.get(
            "GITHUB_ACTIONS"
        ):  # green, and nothing done
            print(f"::warning::{sentence}")


def job(given: argparse.Namespace, folder: Path, version: str | None) -> Job:
    """Return the run that was asked for, with a version in a folder."""
    day = datetime.now(UTC).date().isoformat()
    source, out, log = (
        name and name.replace("{date}", day)
        for name in (given.source, given.out, given.log)
    )
    params = Path("params.yaml")
    backend = "local"
    if params.is_file():
        backend = settings.backend(settings.load(params.read_bytes()))
    return Job(source, out, folder, log, given.bad, version, backend)


def bring(environment: str, folder: Path) -> str | None:
    """Put what an environment has into a folder; return the version, None without one.

    Raises:
        ReleaseError: its bytes are not those of its verdict, or it is not signed.
    """
    release = Ledger().champion(environment)
    if release is None:
        return None
    if not signature.trusted(release):
        raise ReleaseError(
            f"{release['tag']} in {environment} is not signed with main's key: find "
            "out who wrote it, or deploy it again"
        )
    commit, version = str(release["commit"]), str(release["version"])
    git.bring(commit)
    eligibility.bring(commit, folder, str(release["manifest_sha256"]))
    return version


if __name__ == "__main__":
    main()
