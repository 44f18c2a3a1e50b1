"""Scores the rows of a file with a version: `make score IN=rows.csv OUT=scores.csv`.

    python -m mlgitops score --in rows.parquet --out scores.parquet --log log

IN is CSV, Parquet, or a folder with files of one of these kinds, of any size. Each row
passes the server's own checks; one that a request would be refused goes to
OUT.refused.jsonl with the reason, or ends the run (--bad stop). Columns that the
contract does not have are left out. A killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mlgitops.batch.job import ERRORS, Job
from mlgitops.commands.expected import expected_errors


def main() -> None:
    """Score a file; a mistake is one sentence, exit 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--in", dest="source", help="the rows")
    parser.add_argument("--out", help="the predictions: .parquet or .csv")
    parser.add_argument("--model", default="build", help="the folder of the version")
    parser.add_argument("--log", help="folder of the prediction log, for the monitor")
    parser.add_argument("--bad", default="keep", choices=("keep", "stop"))
    parser.add_argument("--version", help="such as v1.2.0, for the log")
    given = parser.parse_args()
    if not given.source or not given.out:
        raise SystemExit("score: type make score IN=rows.parquet OUT=scores.parquet")
    source, out, folder = map(Path, (given.source, given.out, given.model))
    log = Path(given.log) if given.log else None
    with expected_errors("score: ", *ERRORS):
        print(Job(source, out, folder, log, given.bad, given.version).run())
