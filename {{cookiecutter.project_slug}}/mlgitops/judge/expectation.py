"""Compares the gain of a retraining pull request with what the monitor expected."""

import re
from collections.abc import Mapping

from mlgitops import git
from mlgitops.judge.proposal import Proposal
from mlgitops.judgement import Judgement
from mlgitops.ledger import Ledger

PREFIX = "retrain/"
MARK = re.compile(r"^Monitoring-Record: (monitoring/\d{8}\.json)$", re.MULTILINE)


def sentence(
    proposal: Proposal, base: str, ledger: Ledger, judgement: Judgement
) -> str:
    """Return one sentence for the report; nothing when no monitor proposed this.

    The record is the ledger's, named by the newest commit of the proposal that names
    one: what the pull request's own text says is not read.
    """
    if not (proposal.same_repository and proposal.branch.startswith(PREFIX)):
        return ""
    commits = git.run("log", "--format=%B", f"{base}..{proposal.head_sha}")
    mark = MARK.search(commits)
    record = ledger.read(mark[1]) if mark else None
    return "" if record is None else compare(record.get("expectation"), judgement)


def compare(expected: Mapping[str, float] | None, judgement: Judgement) -> str:
    """Say whether a gain is the one expected.

    Confirmed: the interval of the gain is above 0, and the gain is not below the
    interval that was expected.
    """
    if not expected:
        return "The monitor gave no estimate of the gain, so there is none to confirm."
    gain = _gain(*(expected[n] for n in ("difference", "low", "high", "confidence")))
    promise, metric = f"The monitor expected {gain}", judgement.primary_metric
    ends = (metric.difference, metric.low, metric.high) if metric else (None,) * 3
    difference, low, high = ends
    if difference is None or low is None or high is None:
        return f"{promise}; there is no difference to compare it with."
    if low <= 0:
        result = "**not confirmed**, as there may be no gain at all"
    elif difference < expected["low"]:
        result = "**confirmed in part**: a gain, but a smaller one"
    else:
        result = "**confirmed**"
    gain = _gain(difference, low, high, judgement.confidence)
    return f"{promise}, and validation found {gain}: {result}."


def _gain(difference: float, low: float, high: float, confidence: float) -> str:
    """Return a difference with its interval."""
    return f"{difference:+.3f} ({confidence:.0%} interval {low:+.3f} to {high:+.3f})"
