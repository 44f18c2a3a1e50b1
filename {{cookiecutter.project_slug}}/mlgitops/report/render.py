"""Puts the report together: verdict first, and always short enough for a comment."""

from collections.abc import Mapping
from typing import Any

from mlgitops.report.sections import sections
from mlgitops.report.sections.record import CAUTIONS, check_row
from mlgitops.report.text import by, details, interval, table, text

MARKER = "<!-- validation report -->"
LIMIT = 65_000  # characters; GitHub takes 65,536
TABLE = 8  # rows a reviewer reads
VERDICTS = {
    "ready": "✅ Ready to merge",
    "here": "✅ Passes here",
    "decide": "🟡 Needs one step before it can merge",
    "blocked": "⛔ Blocked",
}

Facts = Mapping[str, Any]


def render(facts: Facts) -> str:
    """Return the report, without its marker, under GitHub's limit.

    ``facts`` holds: state (of VERDICTS), verdict (sentences), next
    (Markdown, what to do), headline, expectation (Markdown), checks, cautions,
    metrics, calibration, rows, params, build, manifest_sha256, data_sha256, head_sha,
    rules_sha, run_url; all but state and verdict may be absent.
    """
    parts, last = head(facts), foot(facts)
    url = facts.get("run_url")
    where = f"[report.html]({url}#artifacts)" if url else "`build/report.html`"
    short = f"Too long for a comment: the whole is in {where}."
    whole = [
        (title, details(title, found)) for title, found in sections(facts) if found
    ]
    cut = [details(title, short) for title, _ in whole]
    room = LIMIT - len(last) - sum(len(part) + 2 for part in [*parts, *cut])
    for (_, section), placeholder in zip(whole, cut, strict=True):
        more = len(section) - len(placeholder)
        parts.append(section if more <= room else placeholder)
        room -= max(more, 0) if more <= room else 0
    body = "\n\n".join(parts)[: LIMIT - len(last) - 2]
    return f"{body}\n\n{last}"


def head(facts: Facts) -> list[str]:
    """Return what is not folded: the verdict, one line, a table, perhaps an alert."""
    found = [_verdict(facts), _headline(facts), str(facts.get("expectation") or "")]
    found += [_checks(facts), _alert(facts)]
    return [part for part in found if part]


def _verdict(facts: Facts) -> str:
    """The verdict in words, and what to do next."""
    lines = [f"## {VERDICTS[facts['state']]}", text(facts["verdict"], 600)]
    if facts.get("next"):
        lines.append(f"**Next:** {facts['next']}")
    return "\n\n".join(lines)


def _headline(facts: Facts) -> str:
    """The one line: old, new, difference, interval, model and data."""
    line = []
    if head := facts.get("headline"):
        label = text(head.get("label", "ROC AUC"), 40)
        new = f"**{label} {head['challenger']:.4f}**"
        if head.get("champion") is None:
            line.append(f"{new} (no champion yet)")
        else:
            line.append(
                f"{label} {head['champion']:.4f} → **{head['challenger']:.4f}**"
            )
            line.append(
                f"{head['difference']:+.4f} ({head['confidence']:.0%} interval"
                f"{by(facts)} {head['low']:+.4f} to {head['high']:+.4f})"
            )
    line += _error(facts)
    if worth := facts.get("business"):
        line.append(_worth(worth))
    for name in ("manifest", "data"):
        if found := facts.get(f"{name}_sha256"):
            line.append(f"{name} {found[:12]}")
    return " · ".join(line)


def _error(facts: Facts) -> list[str]:
    """Return how far numbers are off, in the target's unit, where they are numbers."""
    named = {metric["name"]: metric for metric in facts.get("metrics") or []}
    if (found := named.get("RMSE")) is None:
        return []
    if found["champion"] is None:
        return [f"RMSE {found['challenger']:.4g}"]
    return [f"RMSE {found['champion']:.4g} → **{found['challenger']:.4g}**"]


def _worth(worth: Facts) -> str:
    """Return what decisions are worth, the champion's first."""
    unit = f"{text(worth['unit'], 30)} per {worth['per']:,} decisions"
    if worth.get("champion") is None:
        return f"worth {worth['challenger']:,.0f} {unit}"
    pair = f"{worth['champion']:,.0f} → **{worth['challenger']:,.0f}**"
    return f"worth {pair} {unit}, {worth['difference']:+,.0f} ({interval(worth, 0)})"


def _checks(facts: Facts) -> str:
    """At most eight rows: what failed first, then the gates, then a summary."""
    checks = facts.get("checks") or []
    shown = [c for c in checks if not c["passed"]]
    shown += [c for c in checks if c["passed"] and c["gate"]]
    rest = [c for c in checks if c not in shown] + shown[TABLE - 1 :]
    rows = [check_row(c) for c in shown[: TABLE - 1]]
    if rest:
        good = sum(c["passed"] for c in rest)
        word = "✅&nbsp;passed" if good == len(rest) else "⛔&nbsp;failed"
        value = f"{good} of {len(rest)}"
        rows.append([word, "Other checks", value, "all", "listed under Checks"])
    return table(["", "Check", "Found", "Allowed", "Meaning"], rows) if rows else ""


def _alert(facts: Facts) -> str:
    """A caution for what a person has to look at; nothing when there is nothing."""
    lines = [f"> {line}" for line in (facts.get("cautions") or [])[:CAUTIONS]]
    return "> [!CAUTION]\n" + "\n>\n".join(lines) if lines else ""


def foot(facts: Facts) -> str:
    """What was judged, by which rules, where; the manifest's sha256 in full."""
    parts = []
    if found := facts.get("manifest_sha256"):
        parts.append(f"manifest: `{found}`")
    if found := facts.get("head_sha"):
        parts.append(f"commit {found[:12]}")
    if found := facts.get("rules_sha"):
        parts.append(f"rules of main at {found[:12]}")
    if found := facts.get("machinery"):
        parts.append(text(found))
    if url := facts.get("run_url"):
        parts.append(f"[run]({url})")
        parts.append(f"[with plots: report.html]({url}#artifacts)")
    if url := facts.get("artifact_url"):
        parts.append(f"[artifact]({url})")
    line = " · ".join(parts)
    return f"---\n\n<sub>{line}</sub>" if line else "---"
