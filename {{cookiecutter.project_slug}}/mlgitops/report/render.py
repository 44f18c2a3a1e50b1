"""Puts the report together: verdict first, and always short enough for a comment."""

from mlgitops.judgement import Business, failed
from mlgitops.report.facts import Facts, State
from mlgitops.report.sections import SECTIONS
from mlgitops.report.sections.record import CAUTIONS, HEADER, check_row
from mlgitops.report.text import by, details, interval, table, text

MARKER = "<!-- validation report -->"
LIMIT = 65_000  # characters; GitHub takes 65,536
TABLE = 8  # rows a reviewer reads
VERDICTS: dict[State, str] = {
    "ready": "✅ Ready to merge",
    "here": "✅ Passes here",
    "decide": "🟡 Needs one step before it can merge",
    "blocked": "⛔ Blocked",
}


def render(facts: Facts) -> str:
    """Return the report, without its marker, under GitHub's limit."""
    parts, last, url = head(facts), foot(facts), facts.run_url
    where = f"[report.html]({url}#artifacts)" if url else "`build/report.html`"
    short = f"Too long for a comment: the whole is in {where}."
    bodies = [(section, section.body(facts)) for section in SECTIONS]
    whole = [(s, details(s.title, body, s.open)) for s, body in bodies if body]
    cut = [details(section.title, short) for section, _ in whole]
    room = LIMIT - len(last) - sum(len(part) + 2 for part in [*parts, *cut])
    for (_, section), placeholder in zip(whole, cut, strict=True):
        more = len(section) - len(placeholder)
        parts.append(section if more <= room else placeholder)
        room -= max(more, 0) if more <= room else 0
    body = "\n\n".join(parts)[: LIMIT - len(last) - 2]
    return f"{body}\n\n{last}"


def head(facts: Facts) -> list[str]:
    """Return what is not folded: the verdict, one line, a table, perhaps an alert."""
    parts = [_verdict(facts), _primary(facts), facts.expectation]
    parts += [_checks(facts), _alert(facts)]
    return [part for part in parts if part]


def _subject(facts: Facts) -> str:
    """What was judged: project, model, against which version, when."""
    against = f"against {facts.champion}" if facts.champion else "a first version"
    number = f"pull request #{facts.pull_request}" if facts.pull_request else ""
    parts = [facts.project, f"model {facts.model}", number, against, facts.date]
    return " · ".join(text(part, 100) for part in parts if part)


def _verdict(facts: Facts) -> str:
    """The verdict in words, and what to do next."""
    lines = [f"## {VERDICTS[facts.state]}"]
    if facts.model:
        lines.append(_subject(facts))
    lines.append(text(facts.verdict, 600))
    if facts.next:
        lines.append(f"**Next:** {facts.next}")
    return "\n\n".join(lines)


def _primary(facts: Facts) -> str:
    """The one line: old, new, difference, interval, model and data."""
    line = []
    if head := facts.found.primary_metric:
        name = text(head.label, 40)
        if head.champion is None:
            line.append(f"**{name} {head.challenger:.4f}** (no champion yet)")
        else:
            line.append(f"{name} {head.champion:.4f} → **{head.challenger:.4f}**")
        if head.difference is not None and head.low is not None:
            line.append(
                f"{head.difference:+.4f} ({facts.found.confidence:.0%} interval"
                f"{by(facts)} {head.low:+.4f} to {head.high:+.4f})"
            )
    line += _error(facts)
    if worth := facts.found.business:
        line.append(_worth(worth))
    shas = {"manifest": facts.manifest_sha256, "data": facts.data_sha256}
    line += [f"{name} {sha256[:12]}" for name, sha256 in shas.items() if sha256]
    return " · ".join(line)


def _error(facts: Facts) -> list[str]:
    """Return how far numbers are off, in the target's unit, where they are numbers."""
    found = next((m for m in facts.found.metrics if m.id == "rmse"), None)
    if found is None:
        return []
    if found.champion is None:
        return [f"RMSE {found.challenger:.4g}"]
    return [f"RMSE {found.champion:.4g} → **{found.challenger:.4g}**"]


def _worth(worth: Business) -> str:
    """Return what decisions are worth, the champion's first."""
    unit = f"{text(worth.unit, 30)} per {worth.per:,} decisions"
    if worth.champion is None or worth.difference is None:
        return f"worth {worth.challenger:,.0f} {unit}"
    pair = f"{worth.champion:,.0f} → **{worth.challenger:,.0f}**"
    return f"worth {pair} {unit}, {worth.difference:+,.0f} ({interval(worth, 0)})"


def _checks(facts: Facts) -> str:
    """At most eight rows: what failed first, then the gates, then a summary."""
    shown = failed(facts.checks)
    shown += [c for c in facts.checks if c.passed and c.gate]
    rest = [c for c in facts.checks if c not in shown] + shown[TABLE - 1 :]
    rows = [check_row(c) for c in shown[: TABLE - 1]]
    if rest:
        good = len(rest) - len(failed(rest))
        word = "✅&nbsp;passed" if good == len(rest) else "⛔&nbsp;failed"
        value = f"{good} of {len(rest)}"
        rows.append([word, "Other checks", value, "all", "listed under Checks"])
    return table(HEADER, rows) if rows else ""


def _alert(facts: Facts) -> str:
    """A caution for what a person has to look at; nothing when there is nothing."""
    lines = [f"> {line}" for line in facts.cautions[:CAUTIONS]]
    return "> [!CAUTION]\n" + "\n>\n".join(lines) if lines else ""


def foot(facts: Facts) -> str:
    """What was judged, by which rules, where; the manifest's sha256 in full."""
    parts = []
    if facts.manifest_sha256:
        parts.append(f"manifest: `{facts.manifest_sha256}`")
    if facts.head_sha:
        parts.append(f"commit {facts.head_sha[:12]}")
    if facts.rules_sha:
        parts.append(f"rules of main at {facts.rules_sha[:12]}")
    if facts.machinery:
        parts.append(text(facts.machinery))
    if url := facts.run_url:
        parts.append(f"[run]({url})")
        parts.append(f"[with plots: report.html]({url}#artifacts)")
    if facts.artifact_url:
        parts.append(f"[artifact]({facts.artifact_url})")
    line = " · ".join(parts)
    return f"---\n\n<sub>{line}</sub>" if line else "---"
