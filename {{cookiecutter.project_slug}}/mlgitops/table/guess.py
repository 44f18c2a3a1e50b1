"""Which type a column has, by its facts; each guess with its reason; pure."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.words import words
from mlgitops.table.columns import Facts
from mlgitops.table.engine import filled
from mlgitops.table.formats import TOKENS, signed_otherwise
from mlgitops.table.look import IDLIKE
from mlgitops.table.options import written
from mlgitops.table.problem import Problem

EXACT = 2**24  # float32 holds every whole number up to here
LARGEST = 3.4e38  # of float32
FEW, MANY = 20, 500  # categories: always, and never more
EACH = 5  # rows for each category, where there are more than FEW
MANY_ROWS = 50  # with fewer, different values say little
TRUE = {"true", "yes", "y", "t", "1", "1.0", "on"}
FALSE = {"false", "no", "n", "f", "0", "0.0", "off"}
UNIX = {"seconds": (6e8, 4.2e9), "milliseconds": (6e11, 4.2e12)}  # 1989 to 2103
TIMELIKE = re.compile(r"time|date|_at$|^ts$|stamp|epoch|created|updated|seen", re.I)
READ = 100  # different texts whose words are looked at
FEWEST = 3  # words of a free text, in the mean
REPEATED = 2  # rows of each text: a name, as what people write repeats itself seldom
UNNAMED = re.compile(r"unnamed[:_ ]*\d+", re.I)  # a row number, as pandas writes it
CALENDAR = re.compile(r"year|month|week|day|hour", re.I)
DENSE = 0.3  # of the numbers in its range a column has, each once: it counts rows
LEFT_OUT = ("identifier", "constant", "empty", "dropped")


@dataclass(frozen=True)
class Guess:
    """What a column is taken for; `type` is of contract.yaml, or one of LEFT_OUT."""

    facts: Facts
    type: str
    why: str
    line: str = ""  # what to type if the guess is wrong
    unit: float = 0.0  # seconds of one unit of a Unix time
    note: str = ""  # what is lost or worth knowing

    @property
    def name(self) -> str:
        """The column's name."""
        return self.facts.name

    @property
    def kept(self) -> bool:
        """Whether the column is written to the table."""
        return self.type not in LEFT_OUT

    def sql(self, column: str) -> str:
        """Return the expression for the value as the table holds it."""
        value = self.facts.sql(column)
        if self.type == "category":
            return filled(column)
        if self.type == "text":
            return f"case when {filled(column)} is not null then {column} end"
        if self.type == "integer":
            return f"cast({value} as bigint)"
        if self.type == "datetime" and self.unit:
            return f"to_timestamp({value} * {self.unit!r})"
        if self.type == "boolean":
            text, kind = f"lower({filled(column)})", "tinyint"
            if not self.facts.missing:
                kind = "boolean"
            # Not `in (...)`: with a long list, DuckDB lets rows lose their order.
            words = [*((w, 1) for w in sorted(TRUE)), *((w, 0) for w in sorted(FALSE))]
            choices = " ".join(f"when '{word}' then {one}" for word, one in words)
            return f"cast(case {text} {choices} end as {kind})"
        return value


def guess(facts: Facts, forced: str = "") -> Guess:
    """Return what a column is taken for; `forced` is the type that a person gave."""
    if not facts.filled:
        return Guess(facts, "empty", "no row has a value")
    if "%" in forced:
        return Guess(facts, "datetime", f"TYPES says that dates are {forced}")
    if forced == "unix":
        large = (facts.high or 0) > UNIX["seconds"][1]
        unit = "milliseconds" if large else "seconds"
        reason = f"TYPES says that these are {unit} since 1970"
        return Guess(facts, "datetime", reason, unit=0.001 if large else 1.0)
    if forced:
        if sign := facts.style.sign:
            reason = f"TYPES says so, numbers with {sign}"
            note = f"a request and `make score` have the number without {sign}"
            return Guess(facts, forced, reason, note=note)
        return Guess(facts, forced, "TYPES says so")
    if (facts.distinct <= 1 and len(set(facts.first)) <= 1) or _is_zero(facts):
        value = one_line(facts.first[0]) if facts.first else ""
        gap = " or nothing" if facts.missing else ""
        return Guess(facts, "constant", f"every row has {value}{gap}")
    if len(facts.first) <= 2 and facts.distinct <= 2:
        words = {value.strip().lower() for value in facts.first}
        if words & TRUE and words & FALSE and words <= TRUE | FALSE:
            reason = f"two values, {' and '.join(map(one_line, facts.first))}"
            return Guess(facts, "boolean", reason, _line(facts, "category"))
    kinds: dict[str, Callable[[Facts], Guess]] = {"number": _number, "date": _date}
    return kinds.get(facts.style.kind, _text)(facts)


def _is_zero(facts: Facts) -> bool:
    """Tell whether all values are 0, though written as 0 and -0.

    Of other numbers the ends do not tell: long ones round to the same double.
    """
    every = facts.style.kind == "number" and facts.good == facts.filled
    return every and facts.low == facts.high == 0


def _line(facts: Facts, kind: str) -> str:
    """Return the option that makes the column another type."""
    return f"TYPES={shlex.quote(written({facts.name: kind}))}"


def _date(facts: Facts) -> Guess:
    """Return the guess of a column of dates."""
    style = facts.style
    reason = "ISO 8601" if not style.name else f"written as {style.name}"
    if style.also:
        reason += f" (or {style.also}: no value tells which)"
        return Guess(facts, "datetime", reason, _line(facts, style.also))
    return Guess(facts, "datetime", reason, _line(facts, "category"))


def _number(facts: Facts) -> Guess:
    """Return the guess of a column of numbers."""
    low, high = facts.low or 0.0, facts.high or 0.0
    whole = facts.whole == facts.good
    dotted = any("." in v and not v.rstrip("0").endswith(".") for v in facts.first)
    written = f", {facts.style.words}" if facts.style.name else ""
    if whole and not dotted:
        unique = facts.distinct >= 0.9 * facts.filled and facts.filled > 1
        if unique and UNNAMED.fullmatch(facts.name):
            reason = (
                "no name, and nearly every row has another: row numbers of a program"
            )
            return Guess(facts, "identifier", reason, _line(facts, "number"))
        if _counts(facts):
            reason = "it counts the rows: whole numbers, almost each one once"
            return Guess(facts, "identifier", reason, _line(facts, "number"))
        if unique and IDLIKE.search(facts.name) and low >= 0:
            reason = (
                "a whole number that differs in nearly every row, by its name an id"
            )
            return Guess(facts, "identifier", reason, _line(facts, "number"))
        for unit, (first, last) in UNIX.items():
            if first <= low and high <= last and TIMELIKE.search(facts.name):
                reason = f"whole numbers that are {unit} since 1970, by size and name"
                size = 0.001 if unit == "milliseconds" else 1.0
                return Guess(facts, "datetime", reason, _line(facts, "number"), size)
        if max(abs(low), abs(high)) > EXACT:
            return _large(facts, low, high, unique)
        reason = f"whole numbers{written}"
        few = facts.distinct <= 12
        line = _line(facts, "category") if few else _line(facts, "number")
        return Guess(facts, "integer", reason, line)
    return Guess(
        facts,
        "number",
        f"numbers with fractions{written}" if not whole else f"numbers{written}",
        "",
    )


def _counts(facts: Facts) -> bool:
    """Tell whether whole numbers number the rows; what is measured repeats itself.

    Of n values drawn from n / DENSE, one in eight is there already.
    """
    span = (facts.high or 0) - (facts.low or 0) + 1
    timely = TIMELIKE.search(facts.name) or CALENDAR.search(facts.name)
    dense = facts.filled >= DENSE * span and facts.distinct >= 0.95 * facts.filled
    return dense and facts.filled > MANY_ROWS and not timely


def _large(facts: Facts, low: float, high: float, unique: bool) -> Guess:
    """Return the guess of whole numbers that float32 cannot tell apart."""
    reason = "whole numbers beyond 16,777,216"
    if unique and max(abs(low), abs(high)) >= 2**53:
        reason = "whole numbers beyond 2^53 that differ in nearly every row: an id"
        return Guess(facts, "identifier", reason, _line(facts, "number"))
    note = "digits beyond the seventh are lost"
    for unit, (first, last) in UNIX.items():
        if first <= low and high <= last:
            note += f"; if these are {unit} since 1970: {_line(facts, 'unix')}"
            return Guess(facts, "number", reason, _line(facts, "unix"), note=note)
    note += f"; if it is an id: DROP='{facts.name}'"
    return Guess(facts, "number", reason, f"DROP='{facts.name}'", note=note)


def _text(facts: Facts) -> Guess:
    """Return the guess of a column of texts, which may be numbers with a sign."""
    guess = _words_or_codes(facts)
    if not facts.sign:
        return guess
    reason = f"{guess.why}; each is a number with {facts.sign}"
    return replace(guess, why=reason, line=_line(facts, "number"))


def _words_or_codes(facts: Facts) -> Guess:
    """Return the guess of a column of texts, whatever they say."""
    count, rows = facts.distinct, max(1, facts.filled)
    share = rows / max(1, count)
    if (count <= FEW and share >= 2) or (count <= MANY and share >= EACH):
        blanks = any(value != value.strip() for value in facts.first)
        note = "blanks at their ends are left out; a request has them without"
        reason = f"{count:,} different texts"
        return Guess(facts, "category", reason, note=note if blanks else "")
    line = _line(facts, "category")
    if share < 1.1 and facts.length <= 40 and not any(" " in v for v in facts.first):
        return Guess(facts, "identifier", "short texts that nearly all differ", line)
    found = [_words(value) for value in facts.first[:READ]]
    mean = sum(map(len, found)) / max(1, len(found))
    rows_of = Counter(word for each in found for word in set(each))
    alike = sum(any(rows_of[word] > 1 for word in each) for each in found)
    if mean >= FEWEST and share < REPEATED and alike >= len(found) / 2:
        reason = (
            f"{count:,} different texts of about {mean:.0f} words; {alike} of "
            f"{len(found)} share a word with another: free text"
        )
        return Guess(facts, "text", reason, f"DROP='{facts.name}'")
    if facts.length > 25 or share < REPEATED:
        reason = (
            f"{count:,} different texts with hardly a word in common: names or codes"
        )
        return Guess(facts, "identifier", reason, _line(facts, "text"))
    reason = f"{count:,} different texts, {share:.0f} rows each: too many categories"
    if mean >= FEWEST:
        line = _line(facts, "text")
    return Guess(facts, "identifier", reason, line)


def _words(value: str) -> list[str]:
    """Return the words of a value; one of ASCII without a space is a code."""
    return words(value).split() if " " in value or not value.isascii() else [value]


def mistakes(guess: Guess, forced: bool) -> list[Problem]:
    """Return what is wrong with the values of a column that is kept."""
    facts, problems = guess.facts, []
    if not guess.kept or guess.type in ("category", "text"):
        return []
    odd = facts.filled - facts.good
    if guess.type == "boolean":
        wrong = [v for v in facts.first if v.strip().lower() not in TRUE | FALSE]
        odd = len(wrong) if wrong else 0
        facts = replace(facts, odd=tuple(wrong)) if wrong else facts
    if odd and not forced and not set(facts.odd) <= TOKENS:
        kind = "dates" if guess.type == "datetime" else "numbers"
        problems.append(
            Problem(
                guess.name,
                f"{odd:,} of {facts.filled:,} values are not {facts.style.words}",
                f"correct them, or add {_line(facts, guess.type)} to count what is "
                f"not {kind} as missing, {_line(facts, 'category')}, or "
                f"DROP='{guess.name}'",
                odd,
                ", ".join(one_line(v) for v in facts.odd[:3]),
            )
        )
    other = signed_otherwise(facts.odd, facts.style.sign) if forced else []
    if other and guess.type in ("number", "integer"):
        problems.append(
            Problem(
                guess.name,
                f"{odd:,} of {facts.filled:,} values are not {facts.style.words}; some "
                "are numbers with another sign, or without one",
                "write all of them with one sign, or none, and what is negative as -5; "
                f"or {_line(facts, 'category')}, or DROP='{guess.name}'",
                odd,
                ", ".join(one_line(v) for v in other[:3]),
            )
        )
    if guess.type in ("number", "integer"):
        high = max(abs(facts.low or 0), abs(facts.high or 0))
        if (guess.type == "integer" and high > EXACT) or high > LARGEST:
            limit = "16,777,216" if guess.type == "integer" else "3.4e38"
            line = f"{_line(facts, 'number')}, or DROP='{guess.name}'"
            if high > LARGEST:
                line = f"correct them, or DROP='{guess.name}'"
            reached = f"{high:,.0f}" if high < 1e16 else f"{high:.3g}"
            wrong_size = f"values reach {reached}, beyond {limit}"
            problems.append(Problem(guess.name, wrong_size, line))
        if guess.type == "integer" and facts.whole != facts.good:
            count = facts.good - facts.whole
            sentence = f"{count:,} values have a fraction"
            line = _line(facts, "number")
            problems.append(Problem(guess.name, sentence, line, count))
    return problems


def guesses(
    facts: list[Facts], types: Mapping[str, str], drop: tuple[str, ...]
) -> list[Guess]:
    """Return the guess of every column."""
    found = []
    for entry in facts:
        if entry.name in drop:
            found.append(Guess(entry, "dropped", "DROP says so"))
            continue
        found.append(guess(entry, types.get(entry.name, "")))
    return found
