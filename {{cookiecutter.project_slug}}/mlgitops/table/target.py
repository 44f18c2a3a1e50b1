"""What is predicted: the task, the classes, and how the table holds the target."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from mlgitops.pipeline.schema import near, one_line
from mlgitops.table.alike import alike, escaped
from mlgitops.table.columns import Facts
from mlgitops.table.engine import Table, filled, quoted
from mlgitops.table.formats import are_plain
from mlgitops.table.guess import FALSE, TRUE
from mlgitops.table.options import Options, written
from mlgitops.table.problem import Problem

CLASSES = 50  # of a multiclass target; more are refused
GRADES = 10  # whole numbers with at most so many values are classes
FEWEST = 10  # rows of a class: with fewer, no holdout can judge it
POSITIVE = TRUE | {"positive", "bad", "churned", "churn", "default", "fraud", "failed"}
POSITIVE |= {"cancelled", "lost", "sick", "dead", "died", "spam", "late", "returned"}


@dataclass(frozen=True)
class Target:
    """The target, as the contract and the table have it."""

    name: str
    task: str
    sql: str  # of the value, from the column's text
    why: str
    line: str = ""  # what to type if the guess is wrong
    classes: tuple[str, ...] = ()  # of multiclass
    positive: str = ""  # the text that became 1
    negative: str = ""
    counts: tuple[tuple[str, int], ...] = ()  # rows of each class, 1 before 0

    @property
    def threshold(self) -> float:
        """The probability from which a binary target is decided 1: the share of 1."""
        share = self.counts[0][1] / sum(count for _, count in self.counts)
        return float(f"{min(0.99, max(share, 1e-5)):.2g}")

    @property
    def rarest(self) -> int:
        """How many rows the rarest class has; 0 in a regression."""
        return min((count for _, count in self.counts), default=0)


def target(
    table: Table, facts: Facts, options: Options
) -> tuple[Target | None, list[Problem]]:
    """Return the target, or what is wrong with it."""
    column, problems = table.column(facts.name), []
    if facts.missing and options.unlabelled != "drop":
        share = facts.missing / facts.rows
        count = "1 row" if facts.missing == 1 else f"{facts.missing:,} rows"
        sentence = f"the target is missing in {count} ({share:.1%})"
        line = "UNLABELLED=drop leaves these rows out"
        problems.append(Problem(facts.name, sentence, line, facts.missing))
    counted = table.run(
        "Counting the target",
        f"select {filled(column)}, count(*) from {table.relation} where "
        f"{filled(column)} is not null group by 1 order by 2 desc, 1 "
        f"limit {CLASSES + 1}",
    )
    values = [(str(value), int(count)) for value, count in counted]
    if len(values) < 2:
        value = f", {one_line(values[0][0])}" if values else ""
        sentence = f"the target has one value in all rows{value}"
        advice = "a model needs rows of two kinds: bring more, or name another TARGET="
        return None, [*problems, Problem(facts.name, sentence, advice)]
    number = facts.style.kind == "number" and facts.good == facts.filled
    task = options.task or _task(values, facts, number)
    if task != "regression" and (wrong := _twins(facts, values)):
        return None, problems + wrong
    if task == "regression":
        found, wrong = _regression(facts, column, number, bool(options.task))
    elif task == "binary":
        found, wrong = _binary(facts, column, values, options)
    else:
        found, wrong = _multiclass(facts, column, values, bool(options.task))
    if found:
        wrong += [
            Problem(
                facts.name,
                f"{count:,} rows have the value {one_line(value)}, and {FEWEST} are "
                "the fewest that can be learnt and judged",
                "bring more of them, or take these rows out of the file",
                count,
            )
            for value, count in found.counts
            if count < FEWEST
        ]
    return found, problems + wrong


def _twins(facts: Facts, values: Sequence[tuple[str, int]]) -> list[Problem]:
    """Return the problem of classes that are one to a reader, such as 1 and 1.0."""
    texts = [value for value, _ in values]
    by_number: dict[Decimal, list[str]] = {}
    for text in texts:
        if (number := facts.style.exact(text)) is not None:
            by_number.setdefault(number, []).append(text)
    line = "write them alike in the file: as they are, each is a class of its own"
    if twins := alike(texts):
        sentence = f"values of the target look alike: {escaped(twins)}"
        return [Problem(facts.name, sentence, line)]
    for twins in by_number.values():
        if len(twins) > 1:
            sentence = f"values of the target are one number: {escaped(twins)}"
            return [Problem(facts.name, sentence, line)]
    return []


def _task(values: Sequence[tuple[str, int]], facts: Facts, number: bool) -> str:
    """Return the task that a target's values suggest."""
    if len(values) == 2:
        return "binary"
    fractions = number and facts.whole < facts.good
    if fractions or (facts.style.kind == "number" and len(values) > GRADES):
        return "regression"  # of numbers, and perhaps some mistakes among them
    return "multiclass"


def _regression(
    facts: Facts, column: str, number: bool, given: bool
) -> tuple[Target | None, list[Problem]]:
    if not number:
        odd = (
            facts.filled - facts.good if facts.style.kind == "number" else facts.filled
        )
        sentence = f"{odd:,} of {facts.filled:,} values of the target are not numbers"
        example = ", ".join(one_line(v) for v in (facts.odd or facts.first)[:3])
        advice = "correct them, or TASK=multiclass"
        if facts.sign and not facts.style.sign:
            advice = _as_numbers(facts)
        return None, [Problem(facts.name, sentence, advice, odd, example)]
    why = "TASK says so" if given else "numbers, of more values than classes have"
    sql = facts.sql(column)
    return Target(facts.name, "regression", sql, why, "TASK=multiclass"), []


def _binary(
    facts: Facts, column: str, values: Sequence[tuple[str, int]], options: Options
) -> tuple[Target | None, list[Problem]]:
    texts = [value for value, _ in values]
    if len(texts) != 2:
        shown = ", ".join(map(one_line, texts[:4]))
        sentence = "a binary target has two values, and this one has more"
        advice = "TASK=multiclass, or correct them"
        return None, [Problem(facts.name, sentence, advice, len(texts), shown)]
    if options.positive and options.positive not in texts:
        sentence = f"no row has the value {one_line(options.positive)} of POSITIVE="
        return None, [Problem(facts.name, sentence, near(options.positive, texts))]
    usual = [t for t in texts if t.lower() in POSITIVE]
    clear = usual and {t.lower() for t in texts} <= TRUE | FALSE
    positive = options.positive or (usual[0] if len(usual) == 1 else texts[-1])
    negative = next(t for t in texts if t != positive)
    reason = (
        "POSITIVE says so"
        if options.positive
        else "by its word"
        if usual
        else ("as the rarer value")
    )
    why = f"two values: 1 is {one_line(positive)} ({reason}), 0 is {one_line(negative)}"
    if (positive, negative) == ("1", "0"):
        why = "two values, 1 and 0"
    ones = f"when {quoted(positive)} then 1 when {quoted(negative)} then 0"
    sql = f"cast(case {filled(column)} {ones} end as tinyint)"
    line = "" if clear else f"POSITIVE='{negative}'"
    found = Target(facts.name, "binary", sql, why, line)
    counts = dict(values)
    order = tuple((text, counts[text]) for text in (positive, negative))
    return replace(found, positive=positive, negative=negative, counts=order), []


def _multiclass(
    facts: Facts, column: str, values: Sequence[tuple[str, int]], given: bool
) -> tuple[Target | None, list[Problem]]:
    texts = [value for value, _ in values]
    if len(texts) > CLASSES:
        sentence = f"the target has more than {CLASSES} different values"
        shown = ", ".join(map(one_line, texts[:3]))
        advice = "put rare ones together in the file, or TASK=regression for numbers"
        if facts.sign:
            advice = _as_numbers(facts)
        return None, [Problem(facts.name, sentence, advice, len(texts), shown)]
    if len(texts) == 2:
        sentence, advice = "a target with two values is binary", "leave TASK= out"
        return None, [Problem(facts.name, sentence, advice)]
    number = facts.style.kind == "number" and facts.good == facts.filled
    classes = tuple(sorted(texts, key=float if are_plain(texts) else str))
    why = f"{len(texts)} values" if not given else "TASK says so"
    line = "TASK=regression" if number else ""
    sql = filled(column)
    found = Target(facts.name, "multiclass", sql, why, line, classes)
    return replace(found, counts=tuple(values)), []


def _as_numbers(facts: Facts) -> str:
    """Return what to type for numbers with a sign."""
    return f"TYPES={shlex.quote(written({facts.name: 'number'}))} reads them as numbers"
