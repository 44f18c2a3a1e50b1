"""What was checked, of what, how it was built, and how to do it again."""

import operator
from collections.abc import Mapping, Sequence

from mlgitops.judgement import Check
from mlgitops.report.facts import Facts
from mlgitops.report.text import code, table, text

CAUTIONS = 5  # that stand in the alert; the rest is folded right below it
SIGNS = {">=": "≥", "<=": "≤"}
HOLDS = {">=": operator.ge, "<=": operator.le}
HEADER = ["", "Check", "Found", "Allowed", "Meaning"]
DIGITS = range(4, 10)  # of a number beside its limit: as many as tell them apart


def more(facts: Facts) -> str:
    """Return the cautions that the alert has no room for."""
    return "\n".join(f"- {line}" for line in facts.cautions[CAUTIONS:])


def check_row(check: Check) -> list[str]:
    """One row of the table of checks."""
    word = "✅&nbsp;passed" if check.passed else "⛔&nbsp;failed"
    cells = (check.title, value(check), allowed(check), check.reason)
    return [word, *(text(cell, 200) for cell in cells)]


def value(check: Check) -> str:
    """Return what was held against the limit, in words.

    Of a difference that is an end of its interval: what is printed first is the number
    that was compared, and its digits tell it from the limit.
    """
    if check.value is None:
        return ""
    signed = check.statistic != "value"
    figure = next(
        (f for d in DIGITS if _agrees(check, f := _figure(check, signed, d))),
        str(check.value),
    )
    if not signed:
        return figure
    words = f"{check.statistic} {figure}"
    if check.estimate is not None:
        words += f" of {check.estimate:+.4f}"
    if check.interval is not None:
        low, high = check.interval
        words += f" [{low:+.4f}, {high:+.4f}]"
    return words


def _figure(check: Check, signed: bool, digits: int) -> str:
    """Return the number with its unit."""
    number = check.value or 0.0
    if check.unit == "share":
        return f"{number:.{digits - 3}%}"
    if check.unit in ("MB", "ms"):
        return f"{number:.{digits - 1}g} {check.unit}"
    if check.unit:
        return f"{number:,.0f} {_counted(check.unit, number)}"
    if signed:
        return f"{number:+.{digits}f}"
    small = 0 < abs(number) < 0.0005
    return f"{number:.{digits - 3}e}" if small else f"{number:.{digits}f}"


def _agrees(check: Check, figure: str) -> bool:
    """Tell whether a number as printed stands to the limit as the check says."""
    if not check.operator or check.limit is None:
        return True
    printed = figure.split()[0].replace(",", "")
    share = printed.endswith("%")
    number = float(printed.rstrip("%")) / (100 if share else 1)
    return bool(HOLDS[check.operator](number, check.limit)) == check.passed


def _counted(unit: str, number: float) -> str:
    """Return a unit for so many."""
    return "row" if unit == "rows" and number == 1 else unit


def allowed(check: Check) -> str:
    """Return the limit, in words."""
    if check.limit is None:
        return ""
    limit = f"{check.limit:,.6g}"
    if check.unit == "share":
        limit = f"{100 * check.limit:.6g}%"
    elif check.unit:
        limit = f"{limit} {_counted(check.unit, check.limit)}"
    elif check.statistic != "value":
        limit = f"{check.limit:+.6g}"
    return f"{SIGNS.get(check.operator, '')} {limit}".strip()


def checks(facts: Facts) -> str:
    """Every check with its reason, and its id: what `override` may name."""
    return all_checks(facts.checks)


def all_checks(found: Sequence[Check]) -> str:
    """Every check with its reason and its id."""
    rows = [[*check_row(check), code(check.id, 100)] for check in found]
    return table([*HEADER, "Id"], rows) if rows else ""


def footprint(facts: Facts) -> str:
    """How long one row takes, and how large the file is."""
    found = facts.found.footprint
    rows = [
        [who, f"{f.p50_ms:.3f}", f"{f.p99_ms:.3f}", f"{f.megabytes:.3f}"]
        for who, f in (found.items() if found else ())
    ]
    header = ["Model", "p50, ms", "p99, ms", "Size, MB"]
    return table(header, rows) if rows else ""


def pairs(found: Mapping[str, object]) -> str:
    """Names and values as a table."""
    rows = [[text(key), code(value, 200)] for key, value in found.items()]
    return table(["What", "Value"], rows) if rows else ""


def rows(facts: Facts) -> str:
    """What was judged on."""
    found = facts.found.rows
    if found is None:
        return ""
    about = {
        "rows in the data": f"{found.data:,}",
        "rows held out": f"{found.held_out:,}",
        "held out from": found.since,
        "held out until": found.until,
        "target": found.target,
    }
    if found.compared < found.held_out:
        about["rows both models are new to"] = (
            f"{found.compared:,} (the rest is older than the champion's newest row)"
        )
    return pairs(about)


def params(facts: Facts) -> str:
    """Name, champion's value, challenger's value."""
    rows = [
        [code(s.name), *(code(_plain(v), 300) for v in (s.champion, s.challenger))]
        for s in facts.params
    ]
    return table(["Setting", "Champion", "Challenger"], rows) if rows else ""


def _plain(value: object) -> object:
    """Return a list of settings as people write one."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def build(facts: Facts) -> str:
    """Which stages were run, or restored, and what that cost."""
    found = facts.build
    if found is None:
        return ""
    cost = "not known: params.yaml has no section compute"
    if found.cost is not None:
        cost = f"{found.cost:.4f} {found.currency}"
    about = {
        "stages run": ", ".join(found.stages_run) or "none",
        "restored": "yes, CI built it before" if found.restored else "no",
        "seconds": f"{found.seconds:g}",
        "cost": cost,
    }
    return pairs(about)


def reproduce(facts: Facts) -> str:
    """One command."""
    if not facts.pull_request:
        return "```sh\nmake repro validate\n```"
    ref = f"refs/pull/{facts.pull_request}/head"
    fetch = f"git fetch origin {ref} && git checkout FETCH_HEAD"
    return f"```sh\n{fetch} && make setup repro validate\n```"


def overrule(facts: Facts) -> str:
    """One command, where all that failed is a matter of judgement."""
    if not (facts.override and facts.pull_request):
        return ""
    return (
        "To let this model pass all the same, with the reason recorded under "
        "your name:\n\n```sh\ngh workflow run validate.yml "
        f"-f pull_request={facts.pull_request} "
        f'-f manifest={facts.manifest_sha256[:12]} -f reason="..."\n```'
    )
