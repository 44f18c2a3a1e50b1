"""Reports what served when, from which data and code, who approved it, and why.

    make audit [DATE=2026-11-22] [VERSION=v1.0.0] [ID=FLIGHT LOG=FOLDER]
    make audit THRESHOLDS=1 [DATE=2026-03]

With THRESHOLDS it answers from the ledger alone which thresholds held for what served,
with which values: printed, and with every digit in build/thresholds.csv. Else it prints
a report and writes build/audit.md and build/audit.json. Dates are the times of
deployments, by the clock of the runs that made them; the order is the ledger's.
"""

import argparse
import json
import os
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from mlgitops import git
from mlgitops import report as printed
from mlgitops.commands.expected import expected_errors
from mlgitops.judgement import checks
from mlgitops.ledger import Ledger
from mlgitops.machinery import Machinery
from mlgitops.pipeline.schema import ContractError
from mlgitops.release import ReleaseError, consistency, facts, model_name, registry
from mlgitops.release import thresholds as held
from mlgitops.table import origin

EXPLAINED = 50  # versions, the newest, where neither a version nor a date is named
LISTED = 500  # periods, the newest, in the report; build/audit.json has all
DAY = re.compile(r"\d{4}-\d\d(-\d\d(T\d\d(:\d\d){0,2})?)?")


def main() -> None:
    """Print and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in ("date", "version", "id", "log"):
        text = os.environ.get(option.upper())  # make audit VERSION=v1.0.0
        parser.add_argument(f"--{option}", default=text or None)
    default = bool(os.environ.get("THRESHOLDS"))
    parser.add_argument("--thresholds", action="store_true", default=default)
    options = parser.parse_args()
    with expected_errors():
        if options.thresholds:
            return print(thresholds(options.date))
        document = audit(options.date, options.version, options.id, options.log)
    text = report(document)
    Path("build").mkdir(exist_ok=True)
    Path("build/audit.md").write_text(text, encoding="utf-8")
    Path("build/audit.json").write_text(json.dumps(document, indent=2, sort_keys=True))
    print(text)


def thresholds(date: str | None = None) -> str:
    """Return the thresholds of what served then, as a table; write them as CSV.

    Raises:
        ReleaseError: nothing served then, or its verdict cannot be read.
    """
    if date and not _is_date(date):
        raise ReleaseError(f"{date} is not a date: type DATE=2026-03-22 or 2026-03")
    rows = held.held(Ledger(), date)
    file = Path("build/thresholds.csv")
    held.write(rows, file)
    return f"{held.table(rows)}\n\nwith every digit: {file}"


def audit(
    date: str | None = None,
    version: str | None = None,
    prediction_id: str | None = None,
    log: str | None = None,
) -> dict[str, Any]:
    """Return the facts: periods of service, the versions in them, disagreements.

    Raises:
        ReleaseError: nothing served then, or there is no such version or prediction.
    """
    if date and not _is_date(date):
        raise ReleaseError(f"{date} is not a date: type DATE=2026-11-22, in UTC")
    if version:
        registry.check_format(version)
    ledger, name = Ledger(), model_name()
    if git.has_remote():
        registry.fetch(name)
    registered, _ = registry.survey(name)
    predictions = facts.answers(prediction_id, log) if prediction_id else []
    records = [ledger.history(name) for name in ledger.environments()]
    everything = [p for history in records for p in facts.served(history)]
    periods = [p for p in everything if not date or facts.covers(p, date)]
    if date and not periods:
        began = [period.began for period in everything]
        since = (
            f": the first deployment was at {min(began)}" if began else " or any day"
        )
        raise ReleaseError(f"nothing was deployed on {date}{since}")
    versions = facts.versions(ledger, registered)
    manifests = {p.manifest_sha256 for p in periods}
    if version:
        manifests = {v.manifest_sha256 for v in versions if v.version == version}
        if not manifests:
            names = ", ".join(v.version for v in versions) or "none yet"
            raise ReleaseError(
                f"there is no version {version}; registered versions: {names}"
            )
    elif predictions:
        manifests = {prediction["manifest_sha256"] for prediction in predictions}
    chosen = [v for v in versions if v.manifest_sha256 in manifests]
    named = bool(date or version or predictions)
    explained = chosen if named else chosen[-EXPLAINED:]
    for prediction in predictions:
        prediction["served"] = facts.served_then(prediction, everything)
    return {
        "asked": {"date": date, "version": version, "id": prediction_id},
        "answers": predictions,
        "periods": [asdict(p) for p in periods if p.manifest_sha256 in manifests],
        "versions": [
            _with_origin(facts.explain(ledger, v), v.commit) for v in explained
        ],
        "left_out": len(chosen) - len(explained),
        "disagreements": [
            *_unexplained(predictions, {v.manifest_sha256 for v in versions}),
            *consistency.disagreements(ledger, name),
        ],
    }


def _with_origin(version: dict[str, Any], commit: str) -> dict[str, Any]:
    """Add where a version's rows came from, if its commit has a record of its data."""
    text = git.show(commit, origin.RECORD.as_posix())
    try:
        found = origin.parse(text) if text is not None else None
    except ContractError:
        return version
    trained = version["made_from"].get("data") or {}
    if found is None or found.table_sha256 != trained.get("sha256"):
        return version
    return {**version, "rows_from": origin.facts(found)}


def _is_date(text: str) -> bool:
    """Tell whether a text is a month, a day, or a time as far as it goes."""
    day = f"{text}-01" if len(text) == len("2026-03") else text
    try:
        return bool(DAY.fullmatch(text) and datetime.fromisoformat(day))
    except ValueError:
        return False


def _unexplained(predictions: list[dict[str, Any]], manifests: set[str]) -> list[str]:
    """Return predictions by an unknown version, or when it did not serve."""
    sentences = []
    for prediction in predictions:
        manifest = prediction["manifest_sha256"]
        subject = f"the prediction for {prediction['id']} in {prediction['file']}"
        if manifest not in manifests:
            sentences.append(f"{subject} came from {manifest}, which is not a version")
        elif not prediction["served"]:
            sentences.append(
                f"{subject} was logged at {prediction['logged_at']}, when "
                f"{manifest[:12]} served nowhere: the target did not follow the "
                "ledger, or its clock is wrong"
            )
    return sentences


def report(document: dict[str, Any]) -> str:
    """Return the facts as Markdown."""
    lines = ["# Audit", ""]
    for prediction in document["answers"]:
        lines += [
            f"Prediction `{prediction['id']}`: {_prediction(prediction)}, by manifest "
            f"`{prediction['manifest_sha256']}`, logged at {prediction['logged_at']}. "
            "This manifest then served in "
            f"{', '.join(prediction['served']) or 'no environment'}.",
            "",
        ]
    titles = ("where", "version", "from", "until", "how", "by", "approved by", "state")
    lines += [_row(*titles, "machinery"), f"|{'---|' * 9}"]
    for p in document["periods"][-LISTED:]:
        how = p["action"] + (f": {p['reason']}" if p["reason"] else "")
        until = f"{p['until']}, {p['ended_by']}" if p["until"] else "now"
        cells = (p["environment"], p["version"], p["began"], until, how, p["author"])
        approvers = ", ".join(p["approvers"]) or "nobody"
        lines.append(_row(*cells, approvers, p["state"], _machinery(p["machinery"])))
    if (older := len(document["periods"]) - LISTED) > 0:
        lines += ["", f"Earlier periods, in build/audit.json alone: {older:,}."]
    if left_out := document["left_out"]:
        lines += [
            "",
            f"Older versions, not explained here: {left_out:,}. Name VERSION= or DATE=",
        ]
    for version in document["versions"]:
        lines += ["", f"## {version['tag']}", "", *_facts(version)]
    lines += ["", "## Agreement", ""]
    lines += [f"- {line}" for line in document["disagreements"]] or [
        "Ledger, tags, stages and main agree."
    ]
    return "\n".join(lines) + "\n"


def _prediction(entry: dict[str, Any]) -> str:
    """Return what was predicted: a probability, one of each class, or a number."""
    predicted, decision = entry["prediction"], entry["decision"]
    if isinstance(predicted, list):
        decision = "no decision" if decision is None else decision
        return f"{decision} (probabilities: {', '.join(map(str, predicted))})"
    return str(predicted) if decision is None else f"{predicted} (decision: {decision})"


def _facts(version: dict[str, Any]) -> list[str]:
    """Return the lines of one version."""
    inputs = version["made_from"]
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
    for key, value in version.get("rows_from", {}).items():
        lines.append(f"- rows, {key}: `{value}`")
    for key, value in inputs.items():
        if value is None:  # only a binary task has a threshold
            continue
        lines.append(f"- {key}: `{json.dumps(value, sort_keys=True)}`")
    for verdict in version["verdicts"]:
        passed = "passed" if verdict["passed"] else "refused"
        proposal = f"#{verdict['pull_request']} by {verdict['author']}"
        subject = f"Verdict {verdict['seq']} on {proposal}, {passed}"
        lines += ["", f"{subject}: {verdict['summary']}", ""]
        if where := verdict.get("report_at"):
            show = f"git show origin/ledger:{where}"
            lines += [f"The report that was reviewed: `{show}`", ""]
        if over := verdict.get("override"):
            names = ", ".join(over["checks"])
            lines += [f"**Overruled** by {over['by']}: {names}: {over['reason']}", ""]
        if by := verdict.get("machinery"):
            lines += [f"Judged by machinery {_machinery(by)}.", ""]
        lines += ["| gate | value | limit | passed |", "|---|---|---|---|"]
        for check in checks(verdict["checks"]):
            cells = (check.title, printed.value(check), printed.allowed(check))
            lines.append(_row(*cells, "yes" if check.passed else "no"))
    return lines


def _machinery(record: dict[str, Any] | None) -> str:
    """Return which machinery a record of the ledger names."""
    if not record:
        return "not recorded"
    return Machinery(record["version"], tuple(record["modified"])).state


def _row(*cells: object) -> str:
    """Return a row of a Markdown table."""
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"
