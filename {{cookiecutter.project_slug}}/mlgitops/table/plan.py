"""From a file to all that would be written, or every reason why not; writes nothing
but the typed table in a scratch folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgitops.pipeline.schema import one_line
from mlgitops.table import (
    contract_text,
    findings,
    groups_text,
    params_text,
    source,
    typed,
)
from mlgitops.table.alike import alike, escaped
from mlgitops.table.baseline import Baseline, baseline
from mlgitops.table.columns import MOST, Facts, facts, of_head
from mlgitops.table.engine import Table, read, rejected
from mlgitops.table.gates_text import Entry
from mlgitops.table.guess import Guess, mistakes
from mlgitops.table.layout import Layout, layout
from mlgitops.table.look import look
from mlgitops.table.options import Options
from mlgitops.table.problem import Problem, Refused, TableError, Warned
from mlgitops.table.roles import ROW, Roles, check_options
from mlgitops.table.target import Target
from mlgitops.table.typed import Measured


@dataclass(frozen=True)
class Plan:
    """What a table says, and what follows from it."""

    options: Options
    name: str
    sentences: tuple[str, ...]
    rows: int  # of the file
    guesses: tuple[Guess, ...]  # of all columns
    inputs: tuple[Guess, ...]
    roles: Roles
    target: Target
    measured: Measured
    baseline: Baseline
    warned: tuple[Warned, ...]
    columns: Mapping[str, dict[str, Any]]  # of contract.yaml
    sensitive: tuple[str, ...]
    params: tuple[Entry, ...]
    table: Path  # the typed file, in the scratch folder

    @property
    def contract(self) -> str:
        """The text of contract.yaml."""
        return contract_text.text(
            self.name, self.target, self.roles, self.sensitive, self.columns
        )


def plan(
    options: Options, scratch: Path, found_files: source.Source | None = None
) -> Plan:
    """Return what would be written, of these files or those that FILE= names.

    Raises:
        TableError: the file cannot be read.
        Refused: with all reasons at once.
    """
    found_files = found_files or source.find(Path(options.file))
    table = read(replace(found_files, column=options.target), scratch)
    problems = check_options(options, table.names)
    if len(table.names) > MOST:
        sentence = f"{len(table.names):,} columns, and {MOST:,} are the most"
        problems.append(Problem("", sentence, "leave some out of the file"))
    if twins := alike(table.names):
        sentence = f"columns have names that look alike: {escaped(twins)}"
        problems.append(Problem("", sentence, "rename them in the file"))
    if problems:
        sheets = [said for said in table.sentences if ": the sheet " in said]
        if sheets:  # what was looked for may be in another one
            line = f"{problems[0].line}; read was {sheets[0]}"
            problems[0] = replace(problems[0], line=line)
        raise Refused(problems)
    table, every = _facts(table, options, scratch / "read.parquet")
    problems = rejected(table)
    if not every[0].rows:
        raise Refused([*problems, Problem("", "the file has no rows", "bring rows")])
    found = layout(table, every, options)
    problems += found.problems
    chosen, inputs = found.roles, found.inputs
    for name in options.sensitive:
        if name in (chosen.id, chosen.time):
            role = "id" if name == chosen.id else "time"
            sentence = f"SENSITIVE= names it, and it is the {role}, which the log holds"
            line = "name another column, or DROP= it" if role == "id" else "DROP= it"
            problems.append(Problem(name, sentence, line))
    for guess in inputs:
        problems += mistakes(guess, guess.name in options.types)
    if chosen.time and not options.time:
        problems += mistakes(found.guess(chosen.time), False)
    if not inputs:
        sentence = "no column is left that a model could use"
        line = "the page says why each is left out; TYPES=name=category keeps one"
        problems.append(Problem("", sentence, line))
    if not chosen.id and ROW in table.names:
        sentence = f"rows are numbered in a column {ROW}, and the file has one"
        problems.append(Problem(ROW, sentence, f"ID={ROW}, or rename it in the file"))
    if not problems and found.target:
        return _complete(table, options, found, found.target, scratch)
    if every[0].rows < findings.ROWS:
        sentence = f"{every[0].rows:,} rows, and {findings.ROWS} are the fewest"
        problems.append(Problem("", sentence, "bring more rows", every[0].rows))
    raise Refused(problems)


def _facts(table: Table, options: Options, path: Path) -> tuple[Table, list[Facts]]:
    """Return the table as values in a file, and its facts; with the file's draft.

    What is wrong with the first rows is told once all of them are read.

    Raises:
        TableError: the reader of CSV stops in the middle of the file.
    """
    import duckdb

    texts = (options.target, options.id, options.group, options.part)
    try:
        seen = look(table, options.types, texts)
        head, first = of_head(table, seen)
        return facts(table, seen, path, layout(head, first, options).pairs)
    except duckdb.InvalidInputException as error:
        sentence = "a line end inside a value, a bare CR too, has to stand in quotes"
        said = f"DuckDB: {one_line(str(error).splitlines()[0])}"
        sentence = f"{options.file} cannot be read: {sentence} ({said})"
        raise TableError(sentence) from error


def _complete(
    table: Table, options: Options, found: Layout, aim: Target, scratch: Path
) -> Plan:
    """Write the typed table, look at it, and return the plan."""
    path, guessed = scratch / "table.parquet", found.guesses
    chosen, inputs = found.roles, found.inputs
    unlabelled = found.guess(aim.name).facts.missing
    table = typed.write(table, found.pairs, unlabelled, path)
    names = [name for name, _ in found.pairs]
    measured = typed.measure(table, path, names, chosen, inputs, aim)
    if problems := findings.problems(measured, chosen, aim):
        raise Refused(problems)
    quick = baseline(measured.sample, inputs, aim, chosen.group)
    inputs_of = {guess.name for guess in inputs} | {chosen.group}
    sensitive = tuple(name for name in options.sensitive if name in inputs_of)
    compared = groups_text.groups(measured, aim, inputs, sensitive, chosen.group)
    return Plan(
        options=options,
        name=options.name or slug(options.file),
        sentences=table.sentences,
        rows=guessed[0].facts.rows,
        guesses=tuple(guessed),
        inputs=tuple(inputs),
        roles=chosen,
        target=aim,
        measured=measured,
        baseline=quick,
        warned=(
            *findings.warned(measured, chosen, aim, guessed, inputs, options, quick),
            *compared.warned,
        ),
        columns={g.name: contract_text.column(g, measured) for g in inputs},
        sensitive=sensitive,
        params=tuple(
            params_text.entries(
                measured, chosen, aim, inputs, sensitive, quick, compared.entry
            )
        ),
        table=path,
    )


def slug(file: str) -> str:
    """Return a model's name for a file: lower-case letters, digits and hyphens."""
    path = file.partition("?")[0] if "://" in file else file
    stem = Path(path).name.split(".")[0].casefold()
    # An accent is dropped, not the letter: Gewässer is gewasser.
    stem = re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", stem))
    name = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    name = name if re.match(r"[a-z]", name) else f"model-{name}".strip("-")
    return name if len(name) > 1 else f"{name}-model"
