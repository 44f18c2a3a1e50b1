"""Holds the gain of a retraining pull request against what the monitor expected."""

import re
from collections.abc import Mapping
from typing import Any

from mlgitops import git
from mlgitops.judge.proposal import Proposal
from mlgitops.judgement import Judgement
from mlgitops.ledger import Ledger

PREFIX = "retrain/"
MARK = re.compile(r"^Monitoring-Record: (monitoring/\d{8}\.json)$", re.MULTILINE)


def told(proposal: Proposal, base: str, ledger: Ledger, found: Judgement) -> str:
    """Return one sentence for the report; nothing when no monitor proposed this.

    The record is the ledger's, named by the newest commit of the proposal that names
    one: what the pull request's own text says is not read.
    """
    if not (proposal.same_repository and proposal.branch.startswith(PREFIX)):
        return ""
    said = MARK.findall(git.run("log", "--format=%B", f"{base}..{proposal.head_sha}"))
    record = ledger.read(said[0]) if said else None
    return "" if record is None else compared(record.get("expectation"), found)


def compared(expected: Mapping[str, Any] | None, found: Judgement) -> str:
    """Say whether a gain is the one expected.

    Confirmed: there surely is one, and it is not below the interval that was expected.
    """
    if not expected:
        return "The monitor gave no estimate of the gain, so there is none to confirm."
    gain = _gain(*(expected[n] for n in ("difference", "low", "high", "confidence")))
    promise, primary = f"The monitor expected {gain}", found.primary_metric
    if (
        primary is None
        or primary.difference is None
        or primary.low is None
        or primary.high is None
    ):
        return f"{promise}; there is no difference to compare it with."
    if primary.low <= 0:
        word = "**not confirmed**, as there may be no gain at all"
    elif primary.difference < expected["low"]:
        word = "**confirmed in part**: a gain, but a smaller one"
    else:
        word = "**confirmed**"
    gain = _gain(primary.difference, primary.low, primary.high, found.confidence)
    return f"{promise}, and validation found {gain}: {word}."


def _gain(difference: float, low: float, high: float, confidence: float) -> str:
    """Return a difference with its interval."""
    return f"{difference:+.3f} ({confidence:.0%} interval {low:+.3f} to {high:+.3f})"
