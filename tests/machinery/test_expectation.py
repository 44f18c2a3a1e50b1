"""What the monitor expected of a retraining pull request is confirmed, or is not."""

from typing import Any

import pytest

from machinery import judged
from mlgitops import git
from mlgitops.judge import expectation
from mlgitops.judge.proposal import Proposal
from mlgitops.judgement import Judgement, MetricResult
from mlgitops.ledger import Ledger
from mlgitops.monitor import proposal as monitor

EXPECTED = {"difference": 0.036, "low": 0.02, "high": 0.05, "confidence": 0.99}


def found(difference: float | None, low: float | None) -> Judgement:
    """Return a judgement that found such a difference."""
    high = None if difference is None or low is None else 2 * difference - low
    metric = MetricResult(
        id="roc_auc",
        label="ROC AUC",
        better="higher",
        challenger=0.7,
        difference=difference,
        low=low,
        high=high,
    )
    return Judgement(primary="roc_auc", confidence=0.95, metrics=[metric])


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (found(0.026, 0.018), "and validation found +0.026 (95% interval +0.018 to"),
        (found(0.026, 0.018), ": **confirmed**."),
        (found(0.09, 0.07), ": **confirmed**."),
        (found(0.01, 0.005), "**confirmed in part**"),
        (found(0.03, -0.001), "**not confirmed**"),
        (found(-0.01, -0.02), "**not confirmed**"),
        (found(None, None), "no difference to compare"),
        (Judgement(), "no difference to compare"),
    ],
)
def test_a_gain_is_held_against_the_expectation(gain: Judgement, words: str) -> None:
    said = expectation.compare(EXPECTED, gain)
    assert said.startswith("The monitor expected +0.036 (99% interval +0.020 to")
    assert words in said


def test_no_estimate_is_said() -> None:
    assert "no estimate" in expectation.compare(None, found(0.1, 0.05))


def test_the_record_is_the_one_that_the_newest_commit_names(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this repository's branch only; commits of people in between do not matter."""
    project = judged.new(tmp_path / "home")
    monkeypatch.chdir(project.clone)
    base = git.run("rev-parse", "HEAD")
    for number, low in ((1, 0.5), (2, 0.02)):
        path = f"monitoring/{number:08d}.json"
        record = {"decision": "retrain", "expectation": EXPECTED | {"low": low}}
        Ledger().append({path: record}, "monitor: retrain")
        message = f"data: newer\n\n{monitor.MARK} {path}"
        git.run("commit", "-q", "--allow-empty", "-m", message, env=judged.WHO)
    git.run("commit", "-q", "--allow-empty", "-m", "more", env=judged.WHO)
    head = git.run("rev-parse", "HEAD")

    def said(branch: str, same: bool = True, since: str = base) -> str:
        pull = Proposal(1, "monitor", head, branch, same, {})
        return expectation.sentence(pull, since, Ledger(), found(0.026, 0.018))

    assert said(f"{monitor.PREFIX}2013-06-30-v1").endswith("**confirmed**.")
    assert said("feature") == said(f"{monitor.PREFIX}x", same=False) == ""
    assert said(f"{monitor.PREFIX}x", since=head) == "", "no commit names a record"
