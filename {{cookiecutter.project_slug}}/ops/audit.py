"""Says what served when, from which data and code, who approved it, and why.

    python -m ops.audit [--date 2026-11-22] [--version v1.0.0] [--id FLIGHT --log DIR]

Dates are when deployments happened, by the wall clock of the runs that made them;
order is by the ledger. It prints a report and writes build/audit.md and audit.json.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ops import git, lock
from ops.ledger import Ledger, LedgerError
from ops.release import ReleaseError, facts, model_name, registry
from ops.release.facts import ENVIRONMENTS


def main() -> None:
    """Print and write the report that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m ops.audit", description=__doc__)
    for option in ("date", "version", "id", "log"):
        given = os.environ.get(option.upper())  # make audit VERSION=v1.0.0
        parser.add_argument(f"--{option}", default=given or None)
    asked = parser.parse_args()
    try:
        found = audit(asked.date, asked.version, asked.id, asked.log)
    except (ReleaseError, LedgerError, git.GitError, lock.LockError) as error:
        raise SystemExit(str(error)) from error
    text = report(found)
    Path("build").mkdir(exist_ok=True)
    Path("build/audit.md").write_text(text, encoding="utf-8")
    Path("build/audit.json").write_text(json.dumps(found, indent=2, sort_keys=True))
    print(text)


def audit(
    date: str | None = None,
    version: str | None = None,
    prediction: str | None = None,
    log: str | None = None,
) -> dict[str, Any]:
    """Return the facts: periods of service, the versions in them, disagreements.

    Raises:
        ReleaseError: nothing served then, or there is no such version or prediction.
    """
    ledger, name = Ledger(), model_name()
    if git.has_remote():
        registry.fetch(name)
    known = registry.versions(name)
    answered = facts.answer(prediction, log) if prediction else None
    histories = [ledger.history(place) for place in ENVIRONMENTS]
    periods = [p for history in histories for p in facts.served(history, date)]
    if version:
        periods = [p for p in periods if p.version == version]
        wanted = [registry.get(name, version)]
    elif answered:
        manifest = answered["manifest_sha256"]
        periods = [p for p in periods if p.manifest_sha256 == manifest]
        wanted = [v for v in known if v.manifest_sha256 == manifest]
        if not wanted:
            raise ReleaseError(f"{prediction} was answered by {manifest}, no version")
    else:
        manifests = {p.manifest_sha256 for p in periods}
        wanted = [v for v in known if v.manifest_sha256 in manifests]
    if date and not periods:
        raise ReleaseError(f"nothing was deployed on {date}")
    return {
        "asked": {"date": date, "version": version, "id": prediction},
        "prediction": answered,
        "periods": [asdict(period) for period in periods],
        "versions": [facts.explain(ledger, one) for one in wanted],
        "disagreements": facts.disagreements(ledger, known),
    }


def report(found: dict[str, Any]) -> str:
    """Return the facts as Markdown."""
    lines = ["# Audit", ""]
    if answered := found["prediction"]:
        lines += [
            f"Prediction `{answered['id']}` was answered with probability "
            f"{answered['probability']} (decision: {answered['decision']}) by manifest "
            f"`{answered['manifest_sha256']}`, logged at {answered['logged_at']}.",
            "",
        ]
    lines += ["| where | version | from | until | how | state | approved by |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for p in found["periods"]:
        how = p["action"] + (f": {p['reason']}" if p["reason"] else "")
        cells = (p["environment"], p["version"], p["began"], p["until"] or "now", how)
        lines.append(_row(*cells, p["state"], ", ".join(p["approvers"]) or "nobody"))
    for version in found["versions"]:
        lines += ["", f"## {version['tag']}", "", *_facts(version)]
    lines += ["", "## Agreement", ""]
    lines += [f"- {line}" for line in found["disagreements"]] or [
        "Ledger, tags and main agree."
    ]
    return "\n".join(lines) + "\n"


def _facts(version: dict[str, Any]) -> list[str]:
    """Return the lines of one version."""
    made = version["made_from"]
    lines = [
        f"- manifest: `{version['manifest_sha256']}`",
        f"- code: commit `{version['commit']}`",
        f"- proposed by {version['author']} in pull request "
        f"#{version['pull_request']}, approved by "
        f"{', '.join(version['approvers']) or 'nobody'}",
    ]
    for out in version["data_files"]:
        size = f"{out['size']} bytes"
        lines.append(f"- data: `{out['path']}`, md5 `{out['md5']}`, {size}")
    for key, value in made.items():
        lines.append(f"- {key}: `{json.dumps(value, sort_keys=True)}`")
    for verdict in version["verdicts"]:
        passed = "passed" if verdict["passed"] else "refused"
        lines += ["", f"Verdict {verdict['seq']}, {passed}: {verdict['summary']}", ""]
        if over := verdict.get("override"):
            names = ", ".join(over["checks"])
            lines += [f"**Overruled** by {over['by']}: {names}: {over['reason']}", ""]
        lines += ["| gate | value | limit | passed |", "|---|---|---|---|"]
        for check in verdict["checks"]:
            cells = (check["name"], check["value"], check["limit"])
            lines.append(_row(*cells, "yes" if check["passed"] else "no"))
    return lines


def _row(*cells: object) -> str:
    """Return a row of a Markdown table."""
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
    main()
