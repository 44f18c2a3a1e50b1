"""Writes the validation report: one Markdown text that a reviewer can decide from.

Facts in, text out. Whatever a person or a data set wrote passes through `text`;
charts hold nothing but our own words and numbers.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MARKER = "<!-- validation report -->"
LIMIT = 65_000  # characters; GitHub takes 65,536
TABLE = 8  # rows a reviewer reads
PLAIN = set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.+=%/≥≤…→·–’"
)
COLOURS = {  # of lines, with their names
    "ideal": ("#8c959f", "grey"),
    "champion": ("#0969da", "blue"),
    "challenger": ("#bc4c00", "orange"),
}
VERDICTS = {
    "ready": "✅ Ready to merge",
    "here": "✅ Passes here",
    "decide": "🟡 Needs one step before it can merge",
    "blocked": "⛔ Blocked",
}

Facts = Mapping[str, Any]


def text(value: object, limit: int = 120) -> str:
    """Return a stranger's text as inert Markdown: no markup, link, mention or break.

    At most ``limit`` letters, and at most three times as many once made inert.
    """
    words = " ".join(str(value)[: limit * 10].split())
    marks = list(map(_inert, words, f"{words[1:]} ", f" {words[:-1]}"))
    shown = min(len(marks), limit)
    while sum(map(len, marks[:shown])) > 3 * limit:
        shown -= 1
    cut = "…" if shown < len(marks) else ""
    return "".join(marks[:shown]).replace("www.", "www&#46;") + cut


def code(value: object, limit: int = 80) -> str:
    """Return a stranger's text as inert inline code."""
    return f"<code>{text(value, limit)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells must be inert already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def details(title: str, body: str) -> str:
    """Return a collapsed section."""
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def render(facts: Facts) -> str:
    """Return the report, without its marker, under GitHub's limit.

    ``facts`` holds: state (of VERDICTS), verdict (sentences), next
    (Markdown, what to do), headline, checks, cautions, metrics, calibration, rows,
    params, build, manifest_sha256, data_sha256, head_sha, rules_sha, run_url; all
    but state and verdict may be absent.
    """
    head = [_verdict(facts), _headline(facts), _checks(facts), _alert(facts)]
    foot = _footer(facts)
    parts = [part for part in head if part]
    room = LIMIT - len(foot) - sum(len(part) + 2 for part in parts)
    for section in _sections(facts):
        if len(section) + 2 > room:
            where = facts.get("run_url") or "the job's summary"
            parts.append(f"*Cut here to fit: the rest is in {where}.*")
            break
        parts.append(section)
        room -= len(section) + 2
    body = "\n\n".join(parts)[: LIMIT - len(foot) - 2]
    return f"{body}\n\n{foot}"


def _inert(letter: str, after: str, before: str) -> str:
    """Return one letter so that no renderer gives it a meaning."""
    if letter in PLAIN or (letter.isalpha() and letter.isprintable()):
        return letter
    if letter == "-" and before.isalnum():
        return letter
    if letter == ":" and after in " 0123456789":
        return letter
    if not letter.isprintable():
        return "\ufffd"
    mark = f"&#{ord(letter)};"
    return f"{mark}&#8203;" if letter in "@#:" else mark


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
        new = f"**ROC AUC {head['challenger']:.4f}**"
        if head.get("champion") is None:
            line.append(f"{new} (no champion yet)")
        else:
            line.append(
                f"ROC AUC {head['champion']:.4f} → **{head['challenger']:.4f}**"
            )
            line.append(
                f"{head['difference']:+.4f} ({head['confidence']:.0%} interval "
                f"{head['low']:+.4f} to {head['high']:+.4f})"
            )
    for name in ("manifest", "data"):
        if found := facts.get(f"{name}_sha256"):
            line.append(f"{name} {found[:12]}")
    return " · ".join(line)


def _checks(facts: Facts) -> str:
    """At most eight rows: what failed first, then the gates, then a summary."""
    checks = facts.get("checks") or []
    shown = [c for c in checks if not c["passed"]]
    shown += [c for c in checks if c["passed"] and c["gate"]]
    rest = [c for c in checks if c not in shown] + shown[TABLE - 1 :]
    rows = [_check(c) for c in shown[: TABLE - 1]]
    if rest:
        good = sum(c["passed"] for c in rest)
        word = "✅&nbsp;passed" if good == len(rest) else "⛔&nbsp;failed"
        value = f"{good} of {len(rest)}"
        rows.append([word, "Other checks", value, "all", "listed under Checks"])
    return table(["", "Check", "Found", "Allowed", "Meaning"], rows) if rows else ""


def _check(check: Facts) -> list[str]:
    """One row of the table of checks."""
    word = "✅&nbsp;passed" if check["passed"] else "⛔&nbsp;failed"
    cells = (text(check[key], 200) for key in ("name", "value", "limit", "why"))
    return [word, *cells]


def _alert(facts: Facts) -> str:
    """A caution for what a person has to look at; nothing when there is nothing."""
    lines = [f"> {line}" for line in facts.get("cautions") or []][:5]
    return "> [!CAUTION]\n" + "\n>\n".join(lines) if lines else ""


def _sections(facts: Facts) -> list[str]:
    """The collapsed sections, in their fixed order."""
    made = [
        ("Calibration", _calibration(facts.get("calibration"))),
        ("Metrics", _metrics(facts.get("metrics"))),
        ("Checks", _all_checks(facts.get("checks"))),
        ("Data", _pairs(facts.get("rows"))),
        ("Settings that differ from the champion's", _params(facts.get("params"))),
        ("How it was built", _pairs(facts.get("build"))),
        ("Reproduce this", _reproduce(facts)),
    ]
    return [details(title, body) for title, body in made if body]


def _calibration(bins: Mapping[str, Sequence[Facts]] | None) -> str:
    """Predicted against observed share: both models, drawn and as a table."""
    sides = {who: {r["low"]: r for r in rows} for who, rows in (bins or {}).items()}
    if not sides.get("challenger"):
        return ""
    lows = sorted(set().union(*sides.values()))
    whole = {low: next(s[low] for s in sides.values() if low in s) for low in lows}
    header = ["Predicted"]
    for who in sides:
        header += [f"{who}: rows", "predicted", "observed"]
    rows = [
        [
            _span(whole[low]),
            *(cell for s in sides.values() for cell in _bin(s.get(low))),
        ]
        for low in lows
    ]
    shared = [low for low in lows if all(low in side for side in sides.values())]
    chart = _chart(shared, sides) if len(shared) > 1 else ""
    return chart + table(header, rows)


def _chart(lows: Sequence[float], sides: Mapping[str, Mapping[float, Facts]]) -> str:
    """The bins that every model has predictions in; mermaid lines have no gaps."""
    first = sides["challenger"]
    lines = {"ideal": [(first[low]["low"] + first[low]["high"]) / 2 for low in lows]}
    for who, side in sides.items():
        lines[who] = [side[low]["observed"] for low in lows]
    colours = [COLOURS[who] for who in lines]
    palette = ", ".join(shade for shade, _ in colours)
    style = {"themeVariables": {"xyChart": {"plotColorPalette": palette}}}
    legend = ", ".join(f"{who} {COLOURS[who][1]}" for who in lines)
    axis = ", ".join(f'"{_span(first[low])}"' for low in lows)
    top = math.ceil(max(map(max, lines.values())) * 10 + 1e-9) / 10
    chart = [
        "```mermaid",
        f"%%{{init: {json.dumps(style)}}}%%",
        "xychart-beta",
        f'  title "Calibration: {legend}"',
        f'  x-axis "probability predicted" [{axis}]',
        f'  y-axis "share observed" 0 --> {top:.1f}',
        *(f"  line [{', '.join(f'{v:.3f}' for v in line)}]" for line in lines.values()),
        "```",
    ]
    return "\n".join(chart) + "\n\n"


def _span(row: Facts) -> str:
    """Return the limits of a bin."""
    return f"{row['low']:.1f} to {row['high']:.1f}"


def _bin(row: Facts | None) -> list[str]:
    """Return the cells of a bin that may be empty."""
    if row is None:
        return ["0", "none", "none"]
    return [f"{row['rows']:,}", f"{row['predicted']:.3f}", f"{row['observed']:.3f}"]


def _metrics(metrics: Sequence[Facts] | None) -> str:
    """Every metric, champion beside challenger, on the same rows."""
    rows = [
        [text(m["name"]), _number(m["champion"]), _number(m["challenger"]), m["better"]]
        for m in metrics or []
    ]
    header = ["Metric", "Champion", "Challenger", "Better when"]
    return table(header, rows) if rows else ""


def _all_checks(checks: Sequence[Facts] | None) -> str:
    """Every check with its reason."""
    header = ["", "Check", "Found", "Allowed", "Meaning"]
    return table(header, map(_check, checks)) if checks else ""


def _pairs(pairs: Mapping[str, object] | None) -> str:
    """Names and values as a table."""
    rows = [[text(key), code(value, 200)] for key, value in (pairs or {}).items()]
    return table(["What", "Value"], rows) if rows else ""


def _params(params: Sequence[Sequence[object]] | None) -> str:
    """Name, champion's value, challenger's value."""
    rows = [
        [code(n), *(code(_plain(v), 300) for v in pair)] for n, *pair in params or []
    ]
    return table(["Setting", "Champion", "Challenger"], rows) if rows else ""


def _plain(value: object) -> object:
    """Return a list of settings as people write one."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _reproduce(facts: Facts) -> str:
    """One command."""
    if not facts.get("pull_request"):
        return "```sh\nmake repro validate\n```"
    number = int(facts["pull_request"])
    fetch = f"git fetch origin refs/pull/{number}/head && git checkout FETCH_HEAD"
    return f"```sh\n{fetch} && make setup repro validate\n```"


def _footer(facts: Facts) -> str:
    """What was judged, by which rules, where; the manifest's sha256 in full."""
    parts = []
    if found := facts.get("manifest_sha256"):
        parts.append(f"manifest: `{found}`")
    if found := facts.get("head_sha"):
        parts.append(f"commit {found[:12]}")
    if found := facts.get("rules_sha"):
        parts.append(f"rules of main at {found[:12]}")
    if url := facts.get("run_url"):
        parts.append(f"[run]({url})")
    if url := facts.get("artifact_url"):
        parts.append(f"[artifact]({url})")
    line = " · ".join(parts)
    return f"---\n\n<sub>{line}</sub>" if line else "---"


def _number(value: float | None) -> str:
    """Return a metric for people."""
    return "none" if value is None else f"{value:.4f}"
