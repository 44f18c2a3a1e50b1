"""What was checked, of what, how it was built, and how to do it again."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlgitops.report.text import code, table, text

Facts = Mapping[str, Any]
CAUTIONS = 5  # that stand in the alert; the rest is folded right below it


def more(cautions: Sequence[str] | None) -> str:
    """Return the cautions that the alert has no room for."""
    return "\n".join(f"- {line}" for line in (cautions or [])[CAUTIONS:])


def check_row(check: Facts) -> list[str]:
    """One row of the table of checks."""
    word = "✅&nbsp;passed" if check["passed"] else "⛔&nbsp;failed"
    cells = (text(check[key], 200) for key in ("name", "value", "limit", "why"))
    return [word, *cells]


def all_checks(checks: Sequence[Facts] | None) -> str:
    """Every check with its reason."""
    header = ["", "Check", "Found", "Allowed", "Meaning"]
    return table(header, map(check_row, checks)) if checks else ""


def footprint(found: Mapping[str, Facts] | None) -> str:
    """How long one row takes, and how large the file is."""
    rows = [
        [who, f"{f['p50_ms']:.3f}", f"{f['p99_ms']:.3f}", f"{f['megabytes']:.3f}"]
        for who, f in (found or {}).items()
    ]
    header = ["Model", "p50, ms", "p99, ms", "Size, MB"]
    return table(header, rows) if rows else ""


def pairs(found: Mapping[str, object] | None) -> str:
    """Names and values as a table."""
    rows = [[text(key), code(value, 200)] for key, value in (found or {}).items()]
    return table(["What", "Value"], rows) if rows else ""


def params(params: Sequence[Sequence[object]] | None) -> str:
    """Name, champion's value, challenger's value."""
    rows = [
        [code(n), *(code(_plain(v), 300) for v in pair)] for n, *pair in params or []
    ]
    return table(["Setting", "Champion", "Challenger"], rows) if rows else ""


def _plain(value: object) -> object:
    """Return a list of settings as people write one."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def last(facts: Facts) -> str:
    """Return the title of the last section."""
    return "Reproduce this" + (", or overrule it" if facts.get("override") else "")


def reproduce(facts: Facts) -> str:
    """One command."""
    if not facts.get("pull_request"):
        return "```sh\nmake repro validate\n```"
    number = int(facts["pull_request"])
    over = ""
    if facts.get("override"):
        model = str(facts.get("manifest_sha256"))[:12]
        over = (
            "\n\nTo let this model pass all the same, with the reason recorded under "
            "your name:\n\n```sh\ngh workflow run validate.yml "
            f'-f pull_request={number} -f manifest={model} -f reason="..."\n```'
        )
    fetch = f"git fetch origin refs/pull/{number}/head && git checkout FETCH_HEAD"
    return f"```sh\n{fetch} && make setup repro validate\n```" + over
