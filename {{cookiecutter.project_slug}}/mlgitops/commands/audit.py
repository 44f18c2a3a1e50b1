"""Says what served when, from which data and code, who approved it, and why.

    make audit [DATE=2026-11-22] [VERSION=v1.0.0] [ID=FLIGHT LOG=FOLDER]

Dates are when deployments happened, by the wall clock of the runs that made them;
order is by the ledger. It prints a report and writes build/audit.md and audit.json.
"""

import argparse
import json
import os
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from mlgitops import git, lock
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.machinery import Machinery
from mlgitops.release import ReleaseError, agreement, facts, model_name, registry

DAY = re.compile(r"\d{4}-\d\d-\d\d(T\d\d(:\d\d){0,2})?")


def main() -> None:
    """Print and write the report that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
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
    if date and not _is_date(date):
        raise ReleaseError(f"{date} is not a date: type DATE=2026-11-22, in UTC")
    if version:
        registry.spelt(version)
    ledger, name = Ledger(), model_name()
    if git.has_remote():
        registry.fetch(name)
    known, _ = registry.survey(name)
    answers = facts.answers(prediction, log) if prediction else []
    records = [ledger.history(name) for name in ledger.environments()]
    everything = [p for history in records for p in facts.served(history)]
    periods = [p for p in everything if not date or facts.covers(p, date)]
    if date and not periods:
        raise ReleaseError(_nothing(date, [p.began for p in everything]))
    versions = facts.versions(ledger, known)
    manifests = {p.manifest_sha256 for p in periods}
    if version:
        manifests = {v.manifest_sha256 for v in versions if v.version == version}
        if not manifests:
            raise ReleaseError(_unknown(version, [v.version for v in versions]))
    elif answers:
        manifests = {answer["manifest_sha256"] for answer in answers}
    wanted = [v for v in versions if v.manifest_sha256 in manifests]
    for answer in answers:
        answer["served"] = facts.served_then(answer, everything)
    return {
        "asked": {"date": date, "version": version, "id": prediction},
        "answers": answers,
        "periods": [asdict(p) for p in periods if p.manifest_sha256 in manifests],
        "versions": [facts.explain(ledger, one) for one in wanted],
        "disagreements": [
            *_strangers(answers, {v.manifest_sha256 for v in versions}),
            *agreement.disagreements(ledger, name),
        ],
    }


def _is_date(text: str) -> bool:
    """Tell whether a text is a day, or a time as far as it goes."""
    try:
        return bool(DAY.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _nothing(date: str, began: list[str]) -> str:
    """Say that nothing served at a date, and since when something does."""
    since = f": the first deployment was at {min(began)}" if began else " or any day"
    return f"nothing was deployed on {date}{since}"


def _unknown(version: str, known: list[str]) -> str:
    """Say that there is no such version, and which there are."""
    return f"there is no version {version}; there are: {', '.join(known) or 'none yet'}"


def _strangers(answers: list[dict[str, Any]], known: set[str]) -> list[str]:
    """Return which answers came from what no version is, or when it did not serve."""
    said = []
    for answer in answers:
        manifest = answer["manifest_sha256"]
        what = f"the answer to {answer['id']} in {answer['file']}"
        if manifest not in known:
            said.append(f"{what} came from {manifest}, which is no version")
        elif not answer["served"]:
            said.append(
                f"{what} was logged at {answer['logged_at']}, when {manifest[:12]} "
                "served nowhere: a target did not follow, or its clock is off"
            )
    return said


def report(found: dict[str, Any]) -> str:
    """Return the facts as Markdown."""
    lines = ["# Audit", ""]
    for answer in found["answers"]:
        lines += [
            f"Prediction `{answer['id']}` was answered with probability "
            f"{answer['probability']} (decision: {answer['decision']}) by manifest "
            f"`{answer['manifest_sha256']}`, logged at {answer['logged_at']}; it "
            f"served in {', '.join(answer['served']) or 'no environment then'}.",
            "",
        ]
    lines += ["| where | version | from | until | how | by | approved by | state |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for p in found["periods"]:
        how = p["action"] + (f": {p['reason']}" if p["reason"] else "")
        until = f"{p['until']}, {p['ended_by']}" if p["until"] else "now"
        cells = (p["environment"], p["version"], p["began"], until, how, p["author"])
        lines.append(_row(*cells, ", ".join(p["approvers"]) or "nobody", p["state"]))
    for version in found["versions"]:
        lines += ["", f"## {version['tag']}", "", *_facts(version)]
    lines += ["", "## Agreement", ""]
    lines += [f"- {line}" for line in found["disagreements"]] or [
        "Ledger, tags, stages and main agree."
    ]
    return "\n".join(lines) + "\n"


def _facts(version: dict[str, Any]) -> list[str]:
    """Return the lines of one version."""
    made = version["made_from"]
    lines = [
        f"- manifest: `{version['manifest_sha256']}`",
        f"- code: commit `{version['commit']}`",
        f"- tag: {version['signature']}",
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
        if kept := verdict.get("report"):
            show = f"git show origin/ledger:{kept['path']}"
            lines += [f"The report that was reviewed: `{show}`", ""]
        if over := verdict.get("override"):
            names = ", ".join(over["checks"])
            lines += [f"**Overruled** by {over['by']}: {names}: {over['reason']}", ""]
        if by := verdict.get("machinery"):
            judge = Machinery(by["version"], tuple(by["modified"]))
            lines += [f"Judged by {judge}.", ""]
        lines += ["| gate | value | limit | passed |", "|---|---|---|---|"]
        for check in verdict["checks"]:
            cells = (check["name"], check["value"], check["limit"])
            lines.append(_row(*cells, "yes" if check["passed"] else "no"))
    return lines


def _row(*cells: object) -> str:
    """Return a row of a Markdown table."""
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"
