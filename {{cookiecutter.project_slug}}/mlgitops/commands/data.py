"""Turns a table of yours into this repository's data, contract and settings.

    make data FILE=customers.csv TARGET=churned

Reads CSV of any common shape, Parquet, Feather, JSON lines, gz, a sheet of Excel, a
folder of one kind, or a query of a database (FILE=postgresql://host/name QUERY=a.sql).
It says what it saw (here and in build/data.html), with the line that changes each
guess, and writes data/NAME.parquet, contract.yaml, and the lines of params.yaml that
follow. A table is refused for all its problems at once, and then nothing is written.
What you wrote since is not overwritten unless FORCE=1 says so.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from mlgitops.commands.expected import expected_errors
from mlgitops.pipeline.schema import one_line
from mlgitops.table.options import Options
from mlgitops.table.problem import Refused, TableError

SCRATCH = Path("build", "table")
PAGE = Path("build", "data.html")
HELP = {
    "file": "a file, a folder of files of one kind, or a database",
    "target": "the column to predict",
    "name": "of the model (default: the file's)",
    "id": "what identifies a row (default: a column by its name, or the row's number)",
    "time": "when a row happened (default: the one column of dates)",
    "group": "what rows belong to, such as a customer",
    "part": "the column that says which rows are held out, such as train and test",
    "holdout": "values of that column, as a,b (default: test, or what means the same)",
    "sensitive": "columns that no report or log may show, as a,b",
    "positive": "the value of a binary target that is 1",
    "task": "binary, multiclass or regression",
    "drop": "columns to leave out, as a,b",
    "split": "time, random, group or column (with part)",
    "types": "types of columns, as zip=category,seen=unix,day=%%d/%%m/%%Y",
    "unlabelled": "drop: leave rows without a target out",
    "query": "of a database: a file with one SELECT, such as data/query.sql",
}


def main() -> None:
    """Read, guess, say it, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, what in HELP.items():
        parser.add_argument(f"--{name}", f"--{name.upper()}", default="", help=what)
    parser.add_argument(
        "--force",
        "--FORCE",
        nargs="?",
        const="1",
        default="",
        help=("overwrite what was written by hand, and take a newer table"),
    )
    given = vars(parser.parse_args())
    force = given.pop("force") not in ("", "0")
    try:
        import duckdb  # locked in a group of its own
    except ImportError:
        raise SystemExit(
            "make data needs the packages of the group `data`: type `make setup`."
        ) from None
    full = (OSError, duckdb.IOException, duckdb.OutOfMemoryException)
    try:
        with expected_errors("make data: ", TableError, *full):
            run(given, force)
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)


def run(given: dict[str, str], force: bool) -> None:
    """Do it with these options.

    Raises:
        TableError: an option or the file cannot be used.
    """
    from mlgitops.table import bring, database, files, origin, page, propose, words
    from mlgitops.table.plan import plan

    noted = files.record()
    if noted.options:
        asked = {
            **given,
            "file": given["file"] or "-",
            "target": given["target"] or "-",
        }
        own = Options.parse(asked)
        own = replace(own, file=given["file"], target=given["target"])
        given = own.over(noted.options)
        if own.file and not database.is_one(own.file):
            given["query"] = own.query  # an earlier one was of a database
    options = Options.parse(given)
    options = replace(options, types={**files.own_types(noted), **options.types})
    named, options = options.file, replace(options, file=bring.address(options))
    try:
        found, origin_of = bring.bring(options, named, SCRATCH)
        made = plan(files.own_roles(noted, options), SCRATCH, found)
        made = replace(made, options=options)
    except Refused as refused:
        PAGE.parent.mkdir(exist_ok=True)
        text = page.refusal(refused.problems, options.file)
        PAGE.write_text(text, encoding="utf-8")
        _ignored(options.file)
        raise SystemExit(words.problems(refused.problems, options.file)) from None
    came_from = origin_of()
    mark = came_from.sha256
    made, decision = files.decide(made, noted, mark, force)
    moved = origin.changes(origin.record(), came_from)
    decision = replace(decision, changes=(*moved, *decision.changes))
    PAGE.write_text(page.page(made), encoding="utf-8")
    print(words.terminal(made))
    if decision.changes:
        print("\nWhat changes since the last run:")
        print("\n".join(f"  {change}" for change in decision.changes))
    if decision.judged and not made.params:
        print(
            "params.yaml stays as it is: main's gates and main's split judge newer "
            "rows, too."
        )
    if decision.gone:
        gone = ", ".join(map(one_line, decision.gone))
        print(f"params.yaml: train.columns no longer names {gone}, as no row has it.")
    for path in decision.kept:
        print(f"params.yaml: {path} stays as you wrote it.")
    if not decision.write:
        reason = "the table is newer"
        if decision.edited:
            reason = f"{', '.join(decision.edited)} was written by hand"
        print(f"\nNothing was written, as {reason}: FORCE=1 writes it.")
        _ignored(options.file)
        print(f"With plots: {PAGE}")
        return
    done = files.write(made, noted, mark, decision)
    came_from = replace(came_from, rows=made.rows)
    if origin.write(came_from, files.table_path(made)):
        done.append(f"{origin.RECORD}: where the rows came from")
    print("\nWritten: " + "; ".join(done))
    commands = ("repro", "check", "test", "validate")
    steps = " && ".join(f"make {command}" for command in commands)
    print(f"With plots: {PAGE}. Next: {steps}")
    if decision.judged and decision.changes:
        grown = ""
        if decision.first:
            grown = propose.branch(decision.first, decision.gone)
        print(propose.steps(grown, decision.first))


def _ignored(file: str) -> None:
    """Keep the file out of git, where nothing else is written."""
    from mlgitops.table import files

    if sentence := files.keep_out(Path(file)):
        print(f"Only .gitignore has a new line: {sentence}.")
