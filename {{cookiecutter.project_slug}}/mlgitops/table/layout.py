"""What each column of a table is for, by its facts; and the typed file's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgitops.table import target, typed
from mlgitops.table.columns import Facts
from mlgitops.table.engine import Table
from mlgitops.table.guess import Guess, guesses
from mlgitops.table.options import Options
from mlgitops.table.problem import Problem
from mlgitops.table.roles import Roles, roles
from mlgitops.table.target import Target


@dataclass(frozen=True)
class Layout:
    """The guesses of all columns, and what follows from them."""

    guesses: tuple[Guess, ...]
    inputs: tuple[Guess, ...]
    roles: Roles
    target: Target | None  # None where something is wrong with it
    problems: tuple[Problem, ...]
    pairs: tuple[tuple[str, str], ...]  # name and SQL of each column to write

    def guess(self, name: str) -> Guess:
        """Return the guess of a column."""
        return next(guess for guess in self.guesses if guess.name == name)


def layout(table: Table, every: Sequence[Facts], options: Options) -> Layout:
    """Return what each column is for, and what is wrong with the target and the roles.

    Of the first rows alone, this is what the whole table probably asks for.
    """
    guessed = guesses([*every], options.types, options.drop)
    by_name = {guess.name: guess for guess in guessed}
    aim, problems = target.target(table, by_name[options.target].facts, options)
    chosen, wrong = roles(table, options, guessed)
    taken = {options.target, chosen.id, chosen.time, chosen.group, chosen.part}
    inputs = tuple(g for g in guessed if g.kept and g.name not in taken)
    pairs: list[tuple[str, str]] = []
    if aim:
        pairs = typed.pairs(table, chosen, by_name.get(chosen.time), inputs, aim)
    found = (*problems, *wrong)
    return Layout(tuple(guessed), inputs, chosen, aim, found, tuple(pairs))
