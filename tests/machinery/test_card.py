"""The model card: a header that a hub reads, and what the ledger says, inert."""

from typing import Any

import yaml

from mlgitops.release import card
from mlgitops.release.registry import Version

VERSION = Version("v1.2.0", "flights@v1.2.0", "c" * 40, "a" * 64)
MANIFEST = {
    "name": "flights",
    "task": "binary",
    "columns": ["carrier", "minute"],
    "threshold": 0.3,
    "params": {"estimator": "hist_gradient_boosting"},
    "model": {"sha256": "b" * 64},
    "data": {
        "sha256": "d" * 64,
        "train_rows": 1234,
        "train_from": "2013-01-01",
        "train_until": "2013-03-01",
    },
}
METRIC = {
    "id": "roc_auc",
    "label": "ROC AUC",
    "better": "higher",
    "challenger": 0.7,
    "champion": 0.6,
}
CHECK = {
    "id": "roc_auc.min",
    "title": "Floor",
    "passed": True,
    "value": 0.7,
    "limit": 0.6,
    "operator": ">=",
    "reason": "ok",
}


def written(**changes: Any) -> str:
    """Return the card of a version with such a verdict."""
    verdict = {
        "summary": "better than the champion.",
        "checks": [CHECK],
        "metrics": [METRIC],
        "fairness": [],
        "author": "ann",
        "pull_request": 7,
        **changes,
    }
    contract = yaml.safe_dump({"name": "flights", "target": "late"}).encode()
    return card.card(VERSION, MANIFEST, verdict, contract)


def test_the_header_is_what_a_hub_reads() -> None:
    _, header, body = written().split("---\n", 2)
    found = yaml.safe_load(header)
    assert found["pipeline_tag"] == "tabular-classification"
    (result,) = found["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "roc_auc", "name": "ROC AUC", "value": 0.7}]
    assert result["dataset"]["revision"] == "d" * 64
    assert body.lstrip().startswith("# flights v1.2.0")


def test_it_says_what_it_learnt_from_and_where_it_comes_from() -> None:
    text = written()
    for words in (
        "1,234",
        "2013-03-01",
        "a" * 64,
        "c" * 40,
        "ann",
        "0.6000",
        "late",
        "| Metric |",
    ):
        assert words in text, words
    assert "Overruled" not in text


def test_an_override_and_what_people_wrote_are_shown_inert() -> None:
    over = {"by": "olga", "reason": "<script> @all", "checks": ["Slices"]}
    text = written(override=over)
    assert "**Overruled by olga:** Slices" in text
    assert "<script>" not in text and "@all" not in text
