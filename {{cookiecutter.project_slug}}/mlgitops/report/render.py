"""Puts the report together: verdict first, and always short enough for a comment."""

from mlgitops.judgement import Business, failed
from mlgitops.report.facts import Facts, State
from mlgitops.report.sections import SECTIONS
from mlgitops.report.sections.record import (
    CAUTIONS,
    HEADER,
    check_row,
    outcome,
    unknown,
)
from mlgitops.report.text import details, grouping, interval, table, text

MARKER = "<!-- validation report -->"
LIMIT = 65_000  # characters; GitHub takes 65,536
TABLE = 8  # rows a reviewer reads
VERDICTS: dict[State, str] = {
    "ready": "✅ Ready to merge",
    "here": "✅ Passes here",
    "blocked": "⛔ Blocked",
}


def render(facts: Facts) -> str:
    """Return the report, without its marker, under GitHub's limit."""
    parts, last, url = head(facts), foot(facts), facts.run_url
    page = f"[report.html]({url}#artifacts)" if url else "`build/report.html`"
    short = f"Too long for a comment: read it in {page}."
    bodies = [(section, section.body(facts)) for section in SECTIONS]
    full = [(s.title, details(s.title, body, s.open)) for s, body in bodies if body]
    placeholders = [details(title, short) for title, _ in full]
    room = LIMIT - len(last) - sum(len(part) + 2 for part in [*parts, *placeholders])
    for (_, section), placeholder in zip(full, placeholders, strict=True):
        more = len(section) - len(placeholder)
        parts.append(section if more <= room else placeholder)
        room -= max(more, 0) if more <= room else 0
    body = "\n\n".join(parts)[: LIMIT - len(last) - 2]
    return f"{body}\n\n{last}"


def head(facts: Facts) -> list[str]:
    """Return what is not folded: the verdict, one line, a table, perhaps an alert."""
    parts = [f"## {VERDICTS[facts.state]}"]
    parts += [_subject(facts) if facts.model else "", text(facts.verdict, 600)]
    parts += [f"**Next:** {facts.next}" if facts.next else "", _summary(facts)]
    parts += [unknown(facts.judgement.split), facts.expectation, _checks(facts)]
    if facts.cautions:
        alert = "\n>\n".join(f"> {line}" for line in facts.cautions[:CAUTIONS])
        parts.append(f"> [!CAUTION]\n{alert}")
    return [part for part in parts if part]


def _subject(facts: Facts) -> str:
    """What was judged: project, model, against which version, when."""
    against = f"against {facts.champion}" if facts.champion else "a first version"
    number = f"pull request #{facts.pull_request}" if facts.pull_request else ""
    parts = [facts.project, f"model {facts.model}", number, against, facts.date]
    return " · ".join(text(part, 100) for part in parts if part)


def _summary(facts: Facts) -> str:
    """One line: both models' primary metric, the difference, the bytes."""
    judgement, parts = facts.judgement, []
    if metric := judgement.primary_metric:
        name = text(metric.label, 40)
        if metric.champion is None:
            parts.append(f"**{name} {metric.challenger:.4f}** (no champion yet)")
        else:
            parts.append(f"{name} {metric.champion:.4f} → **{metric.challenger:.4f}**")
        if metric.difference is not None and metric.low is not None:
            parts.append(
                f"{metric.difference:+.4f} ({judgement.confidence:.0%} interval"
                f"{grouping(facts)} {metric.low:+.4f} to {metric.high:+.4f})"
            )
    for metric in judgement.metrics:
        if metric.id == "rmse":  # how far numbers are off, in the target's unit
            error = f"{metric.challenger:.4g}"
            if metric.champion is not None:
                error = f"{metric.champion:.4g} → **{error}**"
            parts.append(f"RMSE {error}")
    if judgement.business:
        parts.append(_worth(judgement.business))
    hashes = {"manifest": facts.manifest_sha256, "data": facts.data_sha256}
    parts += [f"{name} {sha256[:12]}" for name, sha256 in hashes.items() if sha256]
    return " · ".join(parts)


def _worth(worth: Business) -> str:
    """Return what decisions are worth, the champion's first."""
    unit = f"{text(worth.unit, 30)} per {worth.per:,} decisions"
    if worth.champion is None or worth.difference is None:
        nothing = ""
        if worth.nothing is not None:
            nothing = f", doing nothing {worth.nothing:,.0f}"
        return f"worth {worth.challenger:,.0f} {unit}{nothing}"
    pair = f"{worth.champion:,.0f} → **{worth.challenger:,.0f}**"
    return f"worth {pair} {unit}, {worth.difference:+,.0f} ({interval(worth, 0)})"


def _checks(facts: Facts) -> str:
    """At most eight rows: what failed first, then the gates, then a summary."""
    first = failed(facts.checks)
    first += [check for check in facts.checks if check.passed and check.gate]
    rest = [check for check in facts.checks if check not in first] + first[TABLE - 1 :]
    rows = [check_row(check) for check in first[: TABLE - 1]]
    if rest:
        count = len(rest) - len(failed(rest))
        passed = f"{count} of {len(rest)}"
        summary = ("Other checks", passed, "all", "listed under Checks")
        rows.append([outcome(count == len(rest)), *summary])
    return table(HEADER, rows)


def foot(facts: Facts) -> str:
    """What was judged, by which rules, where; the manifest's sha256 in full."""
    run, artifact = facts.run_url, facts.artifact_url
    parts = [
        f"manifest: `{facts.manifest_sha256}`" if facts.manifest_sha256 else "",
        f"commit {facts.head_sha[:12]}" if facts.head_sha else "",
        f"rules of main at {facts.rules_sha[:12]}" if facts.rules_sha else "",
        text(facts.machinery),
        f"[run]({run}) · [with plots: report.html]({run}#artifacts)" if run else "",
        f"[artifact]({artifact})" if artifact else "",
    ]
    line = " · ".join(part for part in parts if part)
    return f"---\n\n<sub>{line}</sub>" if line else "---"
