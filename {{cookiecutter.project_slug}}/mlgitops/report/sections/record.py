"""What was checked, of what, how it was built, and how to do it again."""

import operator
from collections.abc import Mapping, Sequence

from mlgitops.judgement import Check, Split
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


def outcome(passed: bool) -> str:
    """Return whether a check passed, as the first cell of its row."""
    return "✅&nbsp;passed" if passed else "⛔&nbsp;failed"


def check_row(check: Check) -> list[str]:
    """One row of the table of checks."""
    cells = (check.title, value(check), allowed(check), check.reason)
    compared = check.value is not None or check.limit is None or not check.passed
    result = outcome(check.passed) if compared else "–&nbsp;not compared"
    return [result, *(text(cell, 200) for cell in cells)]


def value(check: Check) -> str:
    """Return what was held against the limit.

    Of a difference that is an end of its interval: what is printed first is the number
    that was compared, and its digits tell it from the limit.
    """
    if check.value is None:
        return ""
    figures = (_figure(check, check.value, digits) for digits in DIGITS)
    figure = next((f for f in figures if _agrees(check, f)), str(check.value))
    if check.statistic == "value":
        return figure
    figure = f"{check.statistic} {figure}"
    if check.estimate is not None:
        number = "+,.0f" if check.unit else "+.4f"  # a sum of money has no such digits
        figure += f" (estimate {check.estimate:{number}}"
        if check.interval is not None:
            low, high = check.interval
            figure += f", interval {low:{number}} to {high:{number}}"
        figure += ")"
    return figure


def _figure(check: Check, number: float, digits: int) -> str:
    """Return the number that was compared, with its unit."""
    if check.unit == "share":
        return f"{number:.{digits - 3}%}"
    if check.unit in ("MB", "ms"):
        return f"{number:.{digits - 1}g} {check.unit}"
    if check.unit:
        return f"{number:,.0f} {_counted(check.unit, number)}"
    if check.statistic != "value":
        return f"{number:+.{digits}f}"
    small = 0 < abs(number) < 0.0005
    return f"{number:.{digits - 3}e}" if small else f"{number:.{digits}f}"


def _agrees(check: Check, figure: str) -> bool:
    """Tell whether a number as printed stands to the limit as the check says."""
    if not check.operator or check.limit is None:
        return True
    printed = figure.split()[0].replace(",", "")
    number = float(printed.rstrip("%")) / (100 if printed.endswith("%") else 1)
    return bool(HOLDS[check.operator](number, check.limit)) == check.passed


def _counted(unit: str, number: float) -> str:
    """Return a unit for so many."""
    return "row" if unit == "rows" and number == 1 else unit


def allowed(check: Check) -> str:
    """Return the limit with its sign and unit, and which end of an interval it holds.

    An upper bound of +0.24 may pass a limit of 0 and say little of the model.
    """
    if check.limit is None:
        return ""
    limit = f"{check.limit:,.6g}"
    if check.unit == "share":
        limit = f"{100 * check.limit:.6g}%"
    elif check.unit:
        limit = f"{limit} {_counted(check.unit, check.limit)}"
    elif check.statistic != "value":
        limit = f"{check.limit:+.6g}"
    compared = "" if check.statistic == "value" else check.statistic
    return f"{compared} {SIGNS.get(check.operator, '')} {limit}".strip()


def all_checks(checks: Sequence[Check]) -> str:
    """Every check with its reason, and its id: what `override` may name."""
    rows = ([*check_row(check), code(check.id, 100)] for check in checks)
    return table([*HEADER, "Id"], rows)


def footprint(facts: Facts) -> str:
    """How long one row takes, and how large the file is."""
    if not (models := facts.judgement.footprint):
        return ""
    rows = (
        [name, *(f"{number:.3f}" for number in (f.p50_ms, f.p99_ms, f.megabytes))]
        for name, f in models.items()
    )
    return table(["Model", "p50, ms", "p99, ms", "Size, MB"], rows)


def pairs(facts: Mapping[str, object]) -> str:
    """Names and values as a table."""
    rows = ([text(name), code(fact, 200)] for name, fact in facts.items())
    return table(["What", "Value"], rows)


def rows(facts: Facts) -> str:
    """What was judged on."""
    if not (rows := facts.judgement.rows):
        return ""
    split = facts.judgement.split
    summary = {
        "rows in the data": f"{rows.data:,}",
        "rows held out": f"{rows.held_out:,}",
        "held out": how(split) if split else "",
        "held out from": rows.since,
        "held out until": rows.until,
        "target in the holdout": rows.target,
    }
    if rows.compared < rows.held_out:
        rest = "older than the champion's newest row"
        if split and split.kind != "time":
            rest = "of what the champion was trained on"
        summary["rows both models are new to"] = (
            f"{rows.compared:,} (the rest is {rest})"
        )
    return pairs({name: value for name, value in summary.items() if value})


def how(split: Split) -> str:
    """Say how rows are held out."""
    if split.kind == "column":
        return f"the rows where {split.column} is {' or '.join(split.values)}"
    random = f"{100 * split.share:.6g}% at random (seed {split.seed})"
    return {
        "time": "the newest rows",
        "random": f"{random}, row by row",
        "group": f"{random}, {split.groups:,} {split.column} with all their rows",
    }[split.kind]


def unknown(split: Split | None) -> str:
    """Say what such a holdout cannot show; nothing of the newest rows."""
    if split is None or split.kind == "time":
        return ""
    cannot = "A fall over time does not show here: held-out rows are as old as others."
    if not split.timed:
        cannot = (
            "Rows have no time, so nothing here says how the model does on rows that "
            "are newer than its training data, whether a column is known only after "
            "the event, or whether rows came late: production will tell."
        )
    return f"**Held out:** {text(how(split), 300)}. {cannot}"


def params(facts: Facts) -> str:
    """Name, champion's value, challenger's value."""
    rows = (
        [code(s.name), *(code(_plain(v), 300) for v in (s.champion, s.challenger))]
        for s in facts.params
    )
    return table(["Setting", "Champion", "Challenger"], rows)


def _plain(setting: object) -> object:
    """Return a list of settings as people write one."""
    return ", ".join(map(str, setting)) if isinstance(setting, list) else setting


def build(facts: Facts) -> str:
    """Which stages were run, or restored, and what that cost."""
    if not (build := facts.build):
        return ""
    seconds, cost = (
        f"{build.seconds:g}",
        "not known: params.yaml has no section compute",
    )
    if build.restored and build.before:
        seconds = f"{build.before:g} to build it, then {seconds} to restore it"
    if build.cost is not None:
        cost = f"{build.cost:.4f} {build.currency}"
    elif build.priced:
        cost = "not known: the ledger has no record of the run that built it"
    return pairs(
        {
            "stages run": ", ".join(build.stages_run) or "none",
            "restored": "yes, CI built it before" if build.restored else "no",
            "seconds": seconds,
            "cost": cost,
        }
    )


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
