"""What a person should look at: leakage, groups, rare classes, personal data; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.words import LONGEST
from mlgitops.table.alike import alike, escaped
from mlgitops.table.baseline import DUMMY, LEAK, WORDS, Baseline, left_out
from mlgitops.table.guess import Guess
from mlgitops.table.options import Options
from mlgitops.table.people import people
from mlgitops.table.problem import Problem, Warned
from mlgitops.table.roles import OTHER_TIME, Roles, repeats
from mlgitops.table.target import FEWEST, Target
from mlgitops.table.typed import Measured

ROWS = 100  # the fewest that a model is trained and judged with
SMALL = 1000  # rows held out: with fewer the gates can hardly tell two models apart
RARE = 50  # rows of a class held out
NAMES = re.compile(  # `name` alone, or of a person: region_name is none
    r"^(name|nom)(?=$)|(^|[^a-z])((first|last|middle|maiden|given|family|full|nick|user|"
    r"customer|client|patient|person|employee|passenger|contact)[^a-z]?names?|"
    r"e?mail|phone|mobile|fax|surname|forename|address|street|birth\w*|"
    r"dob|ssn|passport|iban|account(?=$|[^a-z]*(no|nr|num|number|id|name|holder)\b)|licen[cs]e|plate|ip|lat|latitude|lon|longitude|"
    r"vorname|nachname|familienname|stra(ss|ß)e|anschrift|geburt\w*|telefon\w*|handy|"
    r"pr[ée]nom|adresse|naissance|courriel|apellidos?|direcci[óo]n|nacimiento|correo|"
    r"cognome|indirizzo|nascita|tel[ée]fono|achternaam|voornaam|adres)"
    r"($|[^a-z])",
    re.I,
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.I)
PHONE = re.compile(r"\+?[\d][\d ()/-]{7,18}\d")
YEAR = re.compile(r"(^|[^a-z])(year|yr)$", re.I)
CENTURY = 100  # years at most from the first to the last
DENSE = 0.5  # of the years in its range a column of years has
MISSING = 0.5
ALONE = {"binary": 0.85, "multiclass": 0.9, "regression": 0.9}  # rare for one column
COPIES = 0.05
LEAVES = "`train.columns` of params.yaml leaves it out"


def problems(measured: Measured, roles: Roles, target: Target) -> list[Problem]:
    """Return what the typed table lacks."""
    found = []
    if measured.rows < ROWS:
        sentence = f"{measured.rows:,} rows with a target, and {ROWS} are the fewest"
        advice = "bring more rows: with fewer no model can be trained and judged"
        found.append(Problem("", sentence, advice, measured.rows))
    if measured.stray and roles.split == "time":
        sentence = (
            f"{measured.stray:,} rows are so much later than all others that they "
            "alone would be held out"
        )
        advice = "correct their times, or SPLIT=random"
        example = f"{measured.span[1]:%Y-%m-%d}" if measured.span else ""
        found.append(Problem(roles.time, sentence, advice, measured.stray, example))
    elif roles.split in ("time", "column") and target.task != "regression":
        for value, count in target.counts:
            held = measured.held.get(value, 0)
            if held in (0, count):
                sides = ("newest", "older")
                if roles.split == "column":
                    sides = ("held out", "other")
                sentence = (
                    f"the {sides[held > 0]} rows have none with the value "
                    f"{one_line(value)}"
                )
                found.append(Problem(target.name, sentence, "SPLIT=random", held))
    if measured.total is not None:
        found.append(
            Problem(
                target.name,
                "one row has the sum of all others: it is a total, not a row",
                "take that line out of the file",
                1,
                f"{measured.total:,.10g}",
            )
        )
    for name, length in measured.longest.items():
        if length > LONGEST:
            sentence = f"a text has {length:,} characters, and {LONGEST:,} are the most"
            advice = f"cut its texts in the file, or DROP='{name}'"
            found.append(Problem(name, sentence, advice))
    if roles.group and measured.groups < 10:
        sentence = f"GROUP= names it, and it has {measured.groups} different values"
        advice = "leave GROUP= out, or name a column with more groups"
        found.append(Problem(roles.group, sentence, advice, measured.groups))
    return found


def warned(
    measured: Measured,
    roles: Roles,
    target: Target,
    guesses: Sequence[Guess],
    inputs: Sequence[Guess],
    options: Options,
    found: Baseline,
) -> list[Warned]:
    """Return the warnings, the gravest first."""
    return [
        *_leakage(measured, roles, target, inputs, found),
        *_groups(measured, roles, guesses),
        *_years(roles, inputs),
        *_alike(measured),
        *_zones(guesses),
        *_few(measured, target, found),
        *_personal(guesses, options),
        *people(inputs, options),
        *_texts(inputs, options),
        *_odd(measured, roles, inputs),
    ]


def _leakage(
    measured: Measured,
    roles: Roles,
    target: Target,
    inputs: Sequence[Guess],
    found: Baseline,
) -> list[Warned]:
    """Return the columns that may know the target."""
    result, words = [], WORDS[target.task]
    for name, score in sorted(found.alone.items(), key=lambda item: -item[1]):
        if score > LEAK[target.task]:
            evidence = (
                f"alone it predicts {target.name} with {words} {score:.3f}: is it "
                "known before the target is?"
            )
            if name in left_out(found, target.task):
                evidence += f" {LEAVES}, so no model takes it yet"
            result.append(Warned(name, evidence, f"DROP='{name}'"))
        elif score > ALONE[target.task]:
            evidence = (
                f"alone it predicts {target.name} with {words} {score:.3f}, which is "
                "much for one column: is it known before the target is?"
            )
            result.append(Warned(name, evidence, f"DROP='{name}'"))
    result += _later(measured, roles, inputs)
    together = found.together
    if not result and together is not None and together > LEAK[target.task]:
        evidence = (
            f"all columns together predict {target.name} with {words} {together:.3f}, "
            "no column alone: that is rare in life"
        )
        result.append(Warned(target.name, evidence, "look at each column"))
    return result


def _later(measured: Measured, roles: Roles, inputs: Sequence[Guess]) -> list[Warned]:
    """Return the dates after the event: after the time, else after the first date."""
    sample = measured.sample
    dates = [g.name for g in inputs if g.type == "datetime"]
    first = roles.time
    if not first and len(dates) > 1:
        first = min(dates, key=lambda name: sample[name].median())
    result = []
    for name in dates if first else []:
        later = (sample[name] > sample[first]).mean()
        if name != first and later > 0.05:
            evidence = f"in {later:.0%} of the rows it is later than {first}: "
            evidence += (
                "a request cannot know it" if roles.time else "does a request know it?"
            )
            result.append(Warned(name, evidence, f"DROP='{name}'"))
    return result


def _years(roles: Roles, inputs: Sequence[Guess]) -> list[Warned]:
    """Return the column of years, where nothing else says when a row happened.

    A name says it in English only: without one, the values may.
    """
    if roles.time or roles.split != "random":
        return []
    whole = [g for g in inputs if g.type == "integer" and not OTHER_TIME.search(g.name)]
    named = [g for g in whole if YEAR.search(g.name) and _between(g, 1000, 2200)]
    years, reason = named, "by its name"
    if not named:
        years, reason = [g for g in whole if _like_years(g)], "by its values"
    if len(years) != 1:
        return []
    name = years[0].name
    evidence = (
        f"a year, {reason}: held-out rows are of the same years as those of the "
        "training; to hold out the newest"
    )
    return [Warned(name, evidence, f"TIME='{name}' TYPES='{name}=%Y'")]


def _alike(measured: Measured) -> list[Warned]:
    """Return the columns with categories that no reader tells apart."""
    result = []
    for name, counted in measured.categories.items():
        if twins := alike(value for value, _ in counted):
            evidence = (
                f"categories look alike: {escaped(twins)}; each is one of its own, and "
                "a request that spells it in a third way is of neither"
            )
            result.append(Warned(name, evidence, "write them alike in the file"))
    return result


def _zones(guesses: Sequence[Guess]) -> list[Warned]:
    """Return the columns of times of which some have a zone, and some have none."""
    result = []
    for guess in guesses:
        facts = guess.facts
        if guess.type == "datetime" and 0 < facts.zoned < facts.good:
            bare = facts.good - facts.zoned
            have = "has no zone: it is" if bare == 1 else "have no zone: they are"
            evidence = (
                f"{bare:,} of {facts.good:,} times {have} read as UTC, the others by "
                "their own zone"
            )
            line = "write a zone to each, or to none, in the file"
            result.append(Warned(guess.name, evidence, line))
    return result


def _like_years(guess: Guess) -> bool:
    """Tell whether whole numbers are years: of one century, most of them, each often.

    Weights and prices seldom keep to so few numbers.
    """
    facts = guess.facts
    span = (facts.high or 0) - (facts.low or 0) + 1
    dense = DENSE * span <= facts.distinct <= facts.filled / 2
    few = 2 < facts.distinct and span <= CENTURY
    return _between(guess, 1900, 2100) and dense and few


def _between(guess: Guess, low: int, high: int) -> bool:
    """Tell whether numbers differ and lie between two."""
    return low <= (guess.facts.low or 0) < (guess.facts.high or 0) <= high


def _groups(measured: Measured, roles: Roles, guesses: Sequence[Guess]) -> list[Warned]:
    """Return the columns whose rows probably belong together."""
    if roles.group:
        return []
    result = []
    for guess in guesses:
        why = repeats(guess) if guess.name not in (roles.id, roles.part) else ""
        if why:
            left_out = "it is left out, and " if not guess.kept else ""
            evidence = f"{why}: {left_out}rows of one value would be on both sides of "
            evidence += "the split"
            result.append(Warned(guess.name, evidence, f"GROUP='{guess.name}'"))
    return result


def _few(measured: Measured, target: Target, found: Baseline) -> list[Warned]:
    """Return what is too little for the gates."""
    result = []
    if measured.holdout < SMALL:
        evidence = (
            f"{measured.holdout:,} rows are held out: gates and intervals are wide, "
            "and a better model is often not told from a worse one"
        )
        result.append(Warned("rows", evidence, "bring more rows if there are any"))
    share = measured.holdout / max(1, measured.rows)
    rare = [(v, c) for v, c in target.counts if c * share < RARE]
    for value, count in rare:
        evidence = (
            f"{count:,} of {measured.rows:,} rows, and some {count * share:,.0f} of "
            "those held out"
        )
        if count * share < FEWEST:
            evidence += f": the judge refuses fewer than {FEWEST}, so bring more"
        result.append(Warned(f"{target.name} = {one_line(value)}", evidence))
    together, dummy = found.together, DUMMY[target.task]
    chance = max(0.02, 1.5 / len(measured.sample) ** 0.5)
    if together is not None and together < dummy + chance:
        evidence = (
            f"a quick model of all columns reaches {WORDS[target.task]} "
            f"{together:.2f}, a dummy {dummy:g}: the columns hardly say anything about "
            "the target"
        )
        result.append(Warned(target.name, evidence))
    return result


def _personal(guesses: Sequence[Guess], options: Options) -> list[Warned]:
    """Return columns that probably hold personal data."""
    result = []
    for guess in guesses:
        values = guess.facts.first[:100]
        is_text = guess.facts.style.kind == "text"
        reason = ""
        for pattern, what in ((EMAIL, "e-mail addresses"), (PHONE, "phone numbers")):
            fit = sum(1 for v in values if pattern.fullmatch(v.strip()))
            if is_text and values and fit > len(values) / 2:
                reason = f"{fit} of {len(values)} values look like {what}"
        words = re.sub(r"([a-z])([A-Z])", r"\1_\2", guess.name)
        if not reason and NAMES.search(words):
            reason = "by its name"
        if reason and guess.type not in ("dropped", "constant", "empty"):
            kept = "" if guess.kept else "; it is left out"
            line = (
                f"DROP='{guess.name}' or SENSITIVE='{guess.name}'" if guess.kept else ""
            )
            if guess.name not in options.sensitive:
                evidence = f"likely personal data ({reason}){kept}"
                result.append(Warned(guess.name, evidence, line))
    return result


def _texts(inputs: Sequence[Guess], options: Options) -> list[Warned]:
    """Return the columns of free text, of which nobody knows what they hold."""
    result = []
    for guess in inputs:
        if guess.type != "text" or guess.name in options.sensitive:
            continue
        values = guess.facts.first[:100]
        found = sum(1 for v in values if EMAIL.search(v) or PHONE.search(v))
        evidence = (
            f"free text may hold personal data ({found} of {len(values)} texts have an "
            "e-mail address or a phone number), and the prediction log keeps it for "
            "monitoring and retraining"
        )
        line = f"SENSITIVE='{guess.name}' keeps it out, DROP='{guess.name}' out of all"
        result.append(Warned(guess.name, evidence, line))
    return result


def _odd(measured: Measured, roles: Roles, inputs: Sequence[Guess]) -> list[Warned]:
    """Return duplicates and columns that are mostly missing."""
    result = []
    if measured.duplicates:
        share = measured.duplicates / measured.rows
        evidence = (
            f"{measured.duplicates:,} rows ({share:.1%}) repeat another, id aside"
        )
        if share > COPIES and roles.split == "random" and not roles.id:
            evidence += ": a row and its copy would be on both sides of the split"
        result.append(
            Warned("rows", evidence, "take them out of the file if by mistake")
        )
    for guess in inputs:
        share = 1 - guess.facts.good / max(1, guess.facts.rows)
        if share > MISSING:
            evidence = f"missing in {share:.0%} of the rows"
            result.append(Warned(guess.name, evidence, f"DROP='{guess.name}'"))
    return result
