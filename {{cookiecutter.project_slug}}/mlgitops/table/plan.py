"""From a file to all that would be written, or every reason why not; writes nothing
but the typed table in a scratch folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgitops.table import (
    contract_text,
    findings,
    groups_text,
    params_text,
    source,
    target,
    typed,
)
from mlgitops.table.baseline import Baseline, baseline
from mlgitops.table.columns import MOST, facts
from mlgitops.table.engine import Table, read, rejected
from mlgitops.table.gates_text import Entry
from mlgitops.table.guess import Guess, guesses, mistakes
from mlgitops.table.options import Options
from mlgitops.table.problem import Problem, Refused, Warned
from mlgitops.table.roles import ROW, Roles, check_options, roles
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


def plan(options: Options, scratch: Path) -> Plan:
    """Return what would be written.

    Raises:
        TableError: the file cannot be read.
        Refused: with all reasons at once.
    """
    found = source.find(Path(options.file))
    table = read(found, scratch)
    problems = check_options(options, table.names)
    if len(table.names) > MOST:
        sentence = f"{len(table.names):,} columns, and {MOST:,} are the most"
        problems.append(Problem("", sentence, "leave some out of the file"))
    if problems:
        sheets = [said for said in table.sentences if ": the sheet " in said]
        if sheets:  # what was looked for may be in another one
            line = f"{problems[0].line}; read was {sheets[0]}"
            problems[0] = replace(problems[0], line=line)
        raise Refused(problems)
    texts = (options.target, options.id, options.group, options.part)
    table, every = facts(table, dict(options.types), scratch / "read.parquet", texts)
    problems = rejected(table)
    if not every[0].rows:
        raise Refused([*problems, Problem("", "the file has no rows", "bring rows")])
    guessed = guesses(every, options.types, options.drop)
    by_name = {guess.name: guess for guess in guessed}
    aim, wrong = target.target(table, by_name[options.target].facts, options)
    problems += wrong
    chosen, wrong = roles(table, options, guessed)
    problems += wrong
    for name in options.sensitive:
        if name in (chosen.id, chosen.time):
            role = "id" if name == chosen.id else "time"
            sentence = f"SENSITIVE= names it, and it is the {role}, which the log holds"
            line = "name another column, or DROP= it" if role == "id" else "DROP= it"
            problems.append(Problem(name, sentence, line))
    taken = {options.target, chosen.id, chosen.time, chosen.group, chosen.part}
    inputs = [g for g in guessed if g.kept and g.name not in taken]
    for guess in inputs:
        problems += mistakes(guess, guess.name in options.types)
    if chosen.time and not options.time:
        problems += mistakes(by_name[chosen.time], False)
    if not inputs:
        sentence = "no column is left that a model could use"
        line = "the page says why each is left out; TYPES=name=category keeps one"
        problems.append(Problem("", sentence, line))
    if not chosen.id and ROW in by_name:
        sentence = f"rows are numbered in a column {ROW}, and the file has one"
        problems.append(Problem(ROW, sentence, f"ID={ROW}, or rename it in the file"))
    if not (problems or aim is None):
        return _complete(table, options, guessed, inputs, chosen, aim, scratch)
    if every[0].rows < findings.ROWS:
        sentence = f"{every[0].rows:,} rows, and {findings.ROWS} are the fewest"
        problems.append(Problem("", sentence, "bring more rows", every[0].rows))
    raise Refused(problems)


def _complete(
    table: Table,
    options: Options,
    guessed: list[Guess],
    inputs: list[Guess],
    chosen: Roles,
    aim: Target,
    scratch: Path,
) -> Plan:
    """Write the typed table, look at it, and return the plan."""
    path = scratch / "table.parquet"
    time = next((g for g in guessed if g.name == chosen.time), None)
    names = typed.write(table, chosen, time, inputs, aim, path)
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
    stem = Path(file).name.split(".")[0].casefold()
    # An accent is dropped, not the letter: Gewässer is gewasser.
    stem = re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", stem))
    name = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    name = name if re.match(r"[a-z]", name) else f"model-{name}".strip("-")
    return name if len(name) > 1 else f"{name}-model"
