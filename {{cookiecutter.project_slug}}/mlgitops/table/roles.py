"""Which column is the id, the time and the group, and how the rows are split."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlgitops.pipeline.schema import near, one_line
from mlgitops.table.draft import DRAWN
from mlgitops.table.engine import Table
from mlgitops.table.guess import Guess
from mlgitops.table.look import IDLIKE
from mlgitops.table.options import ROLES, Options, written
from mlgitops.table.problem import Problem

OTHER_TIME = re.compile(r"birth|dob|born|expir|valid|due|end|last|until", re.I)
YEAR = re.compile(r"(18|19|20)\d\d")
ROW = "row_id"
HELD = re.compile(r"test|hold-?_? ?out|eval(uation)?|val(id(ation)?)?", re.I)
MOST_PARTS = 20
OWNERS = re.compile(  # names of who or what has several rows, without an "id" behind it
    r"(^|[^a-z])(patient|customer|client|user|person|subject|student|device)s?$", re.I
)
FEWEST_GROUPS = 20  # different values of a column that is guessed to be the group
NEW = 0.05  # of the rows have another value: production brings new ones
NO_GROUP = "rows are taken as independent of one another"


@dataclass(frozen=True)
class Roles:
    """The columns that are no inputs, by what they are for; "" is none."""

    id: str  # "" where rows are numbered
    time: str
    group: str
    part: str
    held: tuple[str, ...]  # values of the part's column whose rows are held out
    split: str
    why: Mapping[str, str]  # of each role
    lines: Mapping[str, str]  # what to type if a guess is wrong


def check_options(options: Options, names: Sequence[str]) -> list[Problem]:
    """Return what is wrong with the columns that the options name."""
    problems = []
    for option, columns in options.columns().items():
        for name in columns:
            if name not in names:
                who, advice = f"{option.upper()}=", near(name, names)
                if option in ("group", "part"):
                    who += " or contract.yaml"
                    advice += "; SPLIT=random goes on without it"
                sentence = f"{who} names it, and the file has no such column"
                problems.append(Problem(name, sentence, advice))
    single = [(n, c[0]) for n, c in options.columns().items() if n in ROLES]
    single += [("drop", name) for name in options.drop]
    used: dict[str, str] = {}
    for option, name in single:
        if name in used:
            sentence = f"{used[name].upper()}= and {option.upper()}= both name it"
            problems.append(Problem(name, sentence, "give a column one role"))
        used.setdefault(name, option)
    if options.target in options.sensitive:
        sentence = "SENSITIVE= names it, and it is the target"
        problems.append(Problem(options.target, sentence, "leave it out of SENSITIVE="))
    return problems


def roles(
    table: Table, options: Options, guesses: Sequence[Guess]
) -> tuple[Roles, list[Problem]]:
    """Return the roles, guessed where they are not given, and what is wrong."""
    by_name = {g.name: g for g in guesses if g.name != options.target}
    why: dict[str, str] = {}
    lines: dict[str, str] = {}
    problems: list[Problem] = []
    identifier = options.id or _id(table, [*by_name.values()], options.group)
    if options.id:
        why["id"] = "ID says so"
        problems += _id_problems(table, by_name[options.id])
    elif identifier:
        why["id"] = "by its name, and every row has another value"
        lines["id"] = "ID=another column"
    else:
        why["id"] = f"no column tells rows apart by its name: rows are numbered ({ROW})"
        other = _unnamed_id(table, [*by_name.values()], options.group)
        lines["id"] = f"ID={shlex.quote(other or 'column')}, if it identifies a row"
    time = options.time
    if time:
        why["time"] = "TIME says so"
        problems += _time_problems(by_name[time])
    elif options.split in ("", "time") and not options.part:
        time, why["time"], lines["time"] = _time([*by_name.values()], options)
    group = options.group
    if group:
        why["group"] = "GROUP or contract.yaml says so"
        problems += _missing(by_name[group], "GROUP")
    elif not (options.split or options.part or time):
        group, why["group"] = _group([*by_name.values()], identifier)
        if group:
            lines["group"] = "SPLIT=random, if its rows have nothing in common"
    split = options.split or _split(options, time, group)
    for kind, role, value in (
        ("time", "TIME", time),
        ("group", "GROUP", group),
        ("column", "PART", options.part),
    ):
        if split == kind and not value:
            sentence = f"SPLIT={kind} needs a column"
            problems.append(Problem("", sentence, f"{role}=column"))
    why["split"] = (
        "SPLIT says so"
        if options.split
        else {
            "time": "there is a time, so the newest rows are held out",
            "group": f"rows of one {one_line(group)} belong together, so whole groups "
            "are held out",
            "random": "there is no time and no group, so any rows are held out",
            "column": "PART is given, so the rows of its part are held out",
        }[split]
    )
    lines["split"] = " or ".join(
        f"SPLIT={s}"
        for s in ("time", "group", "random")
        if s != split and (s != "time" or time) and (s != "group" or group)
    )
    held: tuple[str, ...] = ()
    if options.holdout and not options.part:
        sentence = "HOLDOUT= is for the values of a column that PART= names"
        problems.append(Problem("", sentence, "PART=column, or leave HOLDOUT= out"))
    if options.part:
        held, wrong = _held(table, by_name[options.part], options)
        problems += wrong
        why["part"] = (
            f"PART or contract.yaml says so; held out: {', '.join(map(one_line, held))}"
        )
        lines["part"] = "HOLDOUT=values, as a,b"
        if split != "column":
            sentence = f"PART= names it, and SPLIT={split} does not ask for it"
            problems.append(Problem(options.part, sentence, "leave one of them out"))
    found = Roles(identifier, time, group, options.part, held, split, why, lines)
    return found, problems


def _split(options: Options, time: str, group: str) -> str:
    """Return the split that follows from what is given or guessed."""
    if options.part:
        return "column"
    if group:
        return "group"
    return "time" if time else "random"


def _held(
    table: Table, guess: Guess, options: Options
) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the values of the part's column that are held out, and what is wrong."""
    problems = _missing(guess, "PART")
    column = table.column(guess.name)
    rows = table.run(
        "Looking at the parts",
        f"select distinct cast({column} as varchar) from {table.relation} "
        f"where {column} is not null order by 1 limit {MOST_PARTS + 1}",
    )
    values = [str(value) for (value,) in rows]
    held = options.holdout or tuple(v for v in values if HELD.fullmatch(v.strip()))[:1]
    shown = ", ".join(map(one_line, values[:5]))
    if not 2 <= len(values) <= MOST_PARTS:
        several = f"more than {MOST_PARTS}" if values[1:] else str(len(values))
        sentence = f"PART= names it, and it has {several} different values"
        line = "name a column of parts such as train and test, or leave PART= out"
        problems.append(Problem(guess.name, sentence, line, example=shown))
    elif not held:
        sentence = "PART= names it, and no value says by its name that it is held out"
        line = f"HOLDOUT={written([values[-1]])}"
        problems.append(Problem(guess.name, sentence, line, example=shown))
    elif unknown := [value for value in held if value not in values]:
        sentence = f"HOLDOUT= names {one_line(unknown[0])}, which no row has"
        line = near(unknown[0], values)
        problems.append(Problem(guess.name, sentence, line, example=shown))
    elif set(held) >= set(values):
        sentence = "HOLDOUT= names every value, so no row would train"
        problems.append(Problem(guess.name, sentence, "leave one out", example=shown))
    return held, problems


def repeats(guess: Guess) -> str:
    """Return why rows of one value of a column probably belong together, or nothing."""
    facts = guess.facts
    if guess.type == "dropped" or facts.missing or facts.distinct < FEWEST_GROUPS:
        return ""
    count = f"about {facts.distinct:,} different values in {facts.rows:,} rows"
    if guess.type == "identifier" and facts.distinct < 0.5 * facts.filled:
        return count
    if facts.distinct >= 0.9 * facts.filled:
        return ""
    if OWNERS.search(facts.name) and guess.type != "number":
        return f"{count}, by its name who or what has them"
    return f"{count}, by its name an id" if IDLIKE.search(facts.name) else ""


def _group(guesses: Sequence[Guess], identifier: str) -> tuple[str, str]:
    """Return the one column whose rows clearly belong together, and why; or nothing.

    A column of few values is a category rather: production brings no new ones.
    """
    found = [(g, why) for g in guesses if g.name != identifier and (why := repeats(g))]
    clear = [
        (guess.name, why)
        for guess, why in found
        if not guess.kept or guess.facts.distinct >= NEW * guess.facts.filled
    ]
    return clear[0] if len(clear) == 1 else ("", NO_GROUP)


def _id(table: Table, guesses: Sequence[Guess], group: str) -> str:
    """Return the first column that is an id by its name and has no value twice."""
    for guess in guesses:
        facts = guess.facts
        near_unique = facts.distinct >= 0.9 * facts.rows and not facts.missing
        near_unique = near_unique and not facts.sign  # 7.5 % names no row
        if near_unique and IDLIKE.search(facts.name) and facts.name != group:
            if guess.type in ("identifier", "integer", "text", "category"):
                if not _repeated(table, facts.name)[0]:
                    return facts.name
    return ""


def _unnamed_id(table: Table, guesses: Sequence[Guess], group: str) -> str:
    """Return the first column that could be an id by its values, not by its name."""
    for guess in guesses:
        facts = guess.facts
        could_be = guess.type == "identifier" and not facts.missing and not facts.sign
        if could_be and facts.name != group:
            if not _repeated(table, facts.name)[0]:
                return facts.name
    return ""


def _repeated(table: Table, name: str) -> tuple[int, str]:
    """Return how many values stand in more than one row, and one of them."""
    column, step = table.column(name), "Looking for repeated ids"
    if table.draft and table.draft.pairs[0] == (name, column):
        sql = f"select count(distinct {DRAWN}) = count(*) from {table.relation}"
        if table.run(step, sql)[0][0]:  # no two hashes are the same: nor are two ids
            return 0, ""
    count, example = table.run(
        step,
        f"select count(*), min(v) from (select {column} as v from {table.relation} "
        f"where {column} is not null group by 1 having count(*) > 1)",
    )[0]
    return int(count), str(example)


def _id_problems(table: Table, guess: Guess) -> list[Problem]:
    """Return what is wrong with a column that is given as the id."""
    problems = _missing(guess, "ID")
    count, example = _repeated(table, guess.name)
    if count:
        stand = "1 value stands" if count == 1 else f"{count:,} values stand"
        sentence = f"ID= names it, and {stand} in more than one row"
        line = "leave ID= out to number the rows; GROUP= is for what rows belong to"
        problems.append(Problem(guess.name, sentence, line, count, example))
    return problems


def _time_problems(guess: Guess) -> list[Problem]:
    """Return what is wrong with a column that is given as the time."""
    problems = _missing(guess, "TIME")
    if guess.type != "datetime":
        example = ", ".join(guess.facts.first[:2])
        sentence = "TIME= names it, and its values are not dates"
        line = f"TYPES='{guess.name}=unix' or TYPES='{guess.name}=%d/%m/%Y'"
        if all(YEAR.fullmatch(value.strip()) for value in guess.facts.first):
            line = f"TYPES='{guess.name}=%Y'"
        problems.append(Problem(guess.name, sentence, line, example=example))
    return problems


def _missing(guess: Guess, option: str) -> list[Problem]:
    """Return the problem of a role's column that has no value in some rows."""
    count = guess.facts.missing
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    sentence = f"{option}= names it, and {rows} no value"
    advice = f"fill them in the file, or leave {option}= out"
    return [Problem(guess.name, sentence, advice, count)] if count else []


def _time(guesses: Sequence[Guess], options: Options) -> tuple[str, str, str]:
    """Return the column that is clearly the time of the event, why, and the line."""
    possible = [
        g
        for g in guesses
        if g.type == "datetime"
        and g.facts.distinct > 10
        and not OTHER_TIME.search(g.name)
        and g.name not in (options.group, *options.sensitive)
    ]
    dates = [g for g in possible if not g.facts.missing]
    if len(dates) == 1:
        line = "SPLIT=random, or TIME=another column"
        return dates[0].name, "the one column of dates without a gap", line
    if not dates and possible:
        gap = possible[0].facts.missing
        rows = "1 row has" if gap == 1 else f"{gap:,} rows have"
        why = f"{possible[0].name} could be it, but {rows} no value: fill it in, then"
        return "", why, f"TIME='{possible[0].name}'"
    if not dates:
        return "", "no column says when a row happened", ""
    several = ", ".join(g.name for g in dates)
    return "", f"several columns could be it: {several}", f"TIME='{dates[0].name}'"
