"""What the monitor sees of free text, and what it says that it cannot see."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from machinery import free_text, test_monitor_timeless, test_texts, tiny
from machinery import rows as small
from mlgitops import prediction_log
from mlgitops.monitor import (
    comparable,
    data_quality,
    drift,
    performance,
    reference,
    training_data,
)
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline import data, fitting, manifest, parity
from mlgitops.pipeline.contract import Contract
from mlgitops.testing import Project

WINDOWS = 25
START = pd.Timestamp("2024-01-01", tz="UTC")
ASPECTS = {f"review ({noun})" for noun in ("characters", "unknown words", "words")}
examined, alarms = test_monitor_timeless.examined, test_monitor_timeless.alarms


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


@functools.cache
def made(sensitive: bool = False) -> tuple[Reference, reference.Model]:
    """Return a version of the reviews as the monitor loads it; it is made once."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        table = free_text.reviews(3_000, seed=100)
        about = {**table.contract, "sensitive": ["review"] if sensitive else []}
        written = yaml.safe_dump(about, sort_keys=False)
        train = {**small.settings("binary", "logistic_regression")}
        train["columns"] = ["review"]
        (folder / "contract.yaml").write_text(written)
        (folder / "params.yaml").write_text(yaml.safe_dump({"train": train}))
        project = Project(folder)
        rows = data.check(table.rows, project.contract)
        parts = {"train": rows[:2_000], "holdout": rows[2_000:].reset_index(drop=True)}
        model = project.export(project.fit(parts["train"], "logistic_regression"))
        for part, frame in parts.items():
            frame.to_parquet(folder / f"{part}.parquet")
        (folder / "model.onnx").write_bytes(model)
        text = manifest.manifest(
            project.contract,
            project.train,
            ("model.onnx", model),
            contract=tiny.contract_hashes(written),
            data={"train_sha256": tiny.sha256((folder / "train.parquet").read_bytes())},
            code={"sha256": "0" * 64},
            requirements={"sha256": "1" * 64},
            golden=parity.golden(model, parts["train"], project.contract, ["review"]),
        )
        (folder / "manifest.json").write_text(text)
        found = reference.Model(folder / "model.onnx", project.contract, ["review"])
        return reference.load(folder, "v1.0.0"), found


def version() -> Reference:
    """Return the version."""
    return made()[0]


def arrived(count: int, seed: int, days: float = 28, **change: Any) -> pd.DataFrame:
    """Return checked rows of production, with their arrival.

    `longer` adds as many words, `strange` puts a share into another language, `topic`
    a word into a share of the texts.
    """
    rows = free_text.reviews(count, seed).rows
    random = np.random.default_rng(seed)
    texts = rows["review"]
    if more := change.get("longer"):
        texts = texts + " the box was today" * (more // 4)
    if share := change.get("strange"):
        other = random.random(count) < share
        texts = texts.mask(other, "produkt przyszedł bardzo późno i jest zepsuty")
    if share := change.get("topic"):
        texts = texts.where(random.random(count) >= share, texts + " waste")
    rows["review"] = texts
    checked = data.check(rows, Contract.parse(free_text.reviews(10).contract))
    seconds = np.sort(random.uniform(0, days, count)) * 86_400
    checked["arrival"] = START + pd.to_timedelta(seconds.round(), unit="s")
    checked["probability"] = made()[1].score(checked)
    return checked


def log(folder: Path, rows: pd.DataFrame, known: Reference, **logged: Any) -> str:
    """Write the log of rows and return it as a source."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows.to_dict("records"):
        text = row["review"] if isinstance(row["review"], str) else None
        lines.append(
            json.dumps(
                prediction_log.line(
                    {"id": row["row"], "probability": row["probability"]},
                    None,
                    known.manifest_sha256,
                    "v1.0.0",
                    row["arrival"].isoformat(),
                    {"review": text, **logged},
                )
            )
        )
    file = folder / prediction_log.file_name("2024-01-01")
    file.write_text("\n".join(lines) + "\n")
    return str(folder)


def test_quiet_traffic_raises_no_alarm_and_says_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    source = log(tmp_path / "log", arrived(1_500, seed=1), version())
    decision, found, seen = examined(source, version=version())
    assert decision.decision == "none", decision
    assert {each.column for each in found.evidence.columns} == ASPECTS
    assert {each.column for each in found.evidence.missing} == {"review"}
    assert any("another meaning" in caveat for caveat in seen["caveats"])
    (current, past) = found.tables or ()
    assert "review" not in current and "review" not in past  # nor has Evidently


@pytest.mark.parametrize(
    ("change", "aspect"),
    [
        ({"longer": 60}, "review (characters)"),
        ({"strange": 0.4}, "review (unknown words)"),
        ({"topic": 0.5}, "review (words)"),
    ],
)
def test_what_moved_is_named(
    change: dict[str, Any], aspect: str, tmp_path: Path
) -> None:
    rows = arrived(1_500, seed=2, **change)
    _, found, _ = examined(log(tmp_path / "log", rows, version()), version=version())
    drifted = {each.column for each in found.evidence.drifted}
    assert aspect in drifted, [(d.column, d.distance) for d in found.evidence.columns]
    assert found.evidence.confirmed


@pytest.mark.parametrize(
    ("logged", "words"),
    [
        ({"review": 5}, '"review": 1,000 of 1,000 rows are not text'),
        ({"review": "x" * 2_001}, "are longer than 2,000 characters"),
        ({"review": None}, 'column "review" has no values any more'),
    ],
)
def test_values_that_break_their_type_are_data_quality(
    logged: dict[str, Any], words: str, tmp_path: Path
) -> None:
    rows = arrived(1_000, seed=3)
    source = log(tmp_path / "log", rows, version(), **logged)
    decision, _, _ = examined(source, version=version())
    assert decision.decision == "stop" and words in decision.sentence


def test_a_row_of_the_reference_does_not_know_its_own_words() -> None:
    """Else each text of production would have more unknown words than it."""
    contract = test_texts.one_text(test_texts.COLUMN.replace("false", "true"))
    rows = data.check(test_texts.notes("a b", "a c", "C, c", None), contract)
    known = comparable.vocabularies(rows, contract)
    own = comparable.table(rows, contract, known, own=1)["note (unknown words)"]
    assert own.tolist()[:3] == [0.5, 0.0, 0.0] and np.isnan(own[3])
    newer = comparable.table(rows, contract, known)["note (unknown words)"]
    assert newer.tolist()[:3] == [0.0, 0.0, 0.0]
    assert known["note"].topics == ()  # of so few rows any word is somebody's


def test_words_of_the_reference_are_shared_by_many() -> None:
    """What a report may name is in the texts of thirty rows or more."""
    known = comparable.vocabularies(version().rows, version().contract)["review"]
    assert 5 < len(known.topics) <= comparable.TOPICS
    assert min(known.rows[word] for word in known.topics) >= comparable.FEWEST


@pytest.mark.slow
def test_f18_false_alarms_stay_within_the_setting() -> None:
    """A stable world: over all checks together, no floor."""
    rate, kinds = 0.05, ("number", "category", "prediction")
    none = {f"min_shift_{kind}": 0.001 for kind in kinds} | {"max_missing": 0.0}
    limits = replace(test_monitor_timeless.LIMITS, **none, false_alarm_rate=rate)

    def seen(count: int, **change: Any) -> int:
        found = 0
        for number in range(count):
            rows = arrived(500, seed=1_000 + number, **change)
            rows = rows.rename(columns={"arrival": ""})
            found += alarms(drift.compare(rows, None, version(), limits))
        return found

    assert seen(WINDOWS) <= stats.binom.ppf(0.999, WINDOWS, rate)
    assert seen(5, strange=0.3) == 5  # the control


def test_a_sensitive_text_is_neither_logged_nor_compared(tmp_path: Path) -> None:
    known, _ = made(sensitive=True)
    assert known.contract.columns == {}
    rows = arrived(1_000, seed=4)
    source = log(tmp_path / "log", rows, known)
    assert "review" in Path(source, "predictions-2024-01-01.jsonl").read_text()
    _, found, seen = examined(source, version=known)  # even if another wrote it there
    assert found.evidence.columns == []
    assert any("Nothing of review" in caveat for caveat in seen["caveats"])


def test_logged_texts_become_training_data() -> None:
    """As they were sent, to the character."""
    contract = version().contract
    rows = arrived(50, seed=5)
    rows.loc[3, "review"] = " É\r\n\t👍 "
    checked = data_quality.quarantine(rows, contract)
    assert checked.broken == 0
    again = data.check(checked.valid[["row", "review", "target"]], contract)
    assert again["review"].dropna().tolist() == rows["review"].dropna().tolist()
    assert training_data.parquet(again)


def test_the_gain_of_a_retraining_reads_texts() -> None:
    """The recipe is fitted on them, and both models are tried on others."""
    params = {
        **test_monitor_timeless.PARAMS,
        "train": {**small.settings("binary", "logistic_regression")},
    }
    params["train"]["columns"] = ["review"]
    rows = arrived(2_500, seed=8)
    rows = rows.rename(columns={"arrival": ""}).assign(row=lambda t: "n" + t["row"])
    metric = PrimaryMetric("binary", "target")
    contract = version().contract
    found = performance.gain(version().rows, rows, rows, contract, params, metric)
    assert found is not None and abs(found.difference) < 0.05


def test_the_reference_scores_texts_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which take no more room than a few rows do."""
    rows = arrived(300, seed=6)
    whole = made()[1].score(rows)
    monkeypatch.setattr(fitting, "ROWS", 70)
    np.testing.assert_array_equal(made()[1].score(rows), whole)
