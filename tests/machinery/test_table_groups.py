"""SENSITIVE=: the section `fairness` that follows from a table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import tables
from mlgitops import settings
from mlgitops.judge.tasks import TASKS
from mlgitops.pipeline.contract import Contract

pytest.importorskip("duckdb")  # the group `data`
from mlgitops.table import groups_text
from mlgitops.table.target import Target

COUNT = 1200


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables.copy(tmp_path / "new"))


def people(task: str, gap: float = 1.0) -> pd.DataFrame:
    """Return people of two sexes, whose `x` and target differ by `gap`."""
    random = np.random.default_rng(3)
    sex = random.choice(["f", "m"], COUNT)
    x = (random.normal(size=COUNT) + gap * (sex == "m")).round(3)
    y = x + 0.5 * random.normal(size=COUNT)
    tag = [f"t{n % 60}" for n in range(COUNT)]
    frame = pd.DataFrame({"x": x, "sex": sex, "tag": tag, "age": (40 + 9 * x).round(1)})
    cut = {"binary": y > 0.5, "multiclass": pd.cut(y, 3, labels=list("abc"))}
    return frame.assign(y=cut.get(task, y.round(3))).astype({"sex": str})


def section(task: str) -> settings.Fairness | None:
    """Return the section as the judge reads it."""
    return settings.fairness(tables.params(task), Contract.parse(tables.contract()))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_limits_are_above_what_a_quick_model_shows(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    people(task).to_csv("../t.csv", index=False)
    assert not tables.make("../t.csv", "y", task=task, sensitive="sex,tag,age")
    rules, out = section(task), capsys.readouterr().out
    assert rules is not None and rules.columns == ("sex",), "tag: small; age: no groups"
    assert 30 <= rules.min_rows < 100
    text = Path("params.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "a quick model has" in line]
    assert len(lines) == 2
    for line in lines:
        limit = float(line.split(":")[1].split("#")[0])
        shown = float(line.rpartition(" ")[2])
        assert shown < limit < max(2 * shown, shown + 0.3)
    assert "fewer than two of its groups" in out and "fairness in params.yaml" in out
    assert not {"f", "m"} & {*text.split("fairness:")[1].split("\n\n")[0].split()}
    assert "sex" not in tables.params(task)["train"]["columns"]


def test_a_section_of_ones_own_stays_and_none_is_written_unasked() -> None:
    people("binary").to_csv("../t.csv", index=False)
    assert not tables.make("../t.csv", "y")
    assert section("binary") is None
    assert not tables.make("../t.csv", "y", sensitive="sex", force=True)
    file = Path("params.yaml")
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    limit = document["fairness"]["selection_rate_max"]
    own = file.read_text(encoding="utf-8").replace(
        f"selection_rate_max: {limit}", "selection_rate_max: 0.11"
    )
    file.write_text(own, encoding="utf-8")
    assert not tables.make("../t.csv", "", force=True)
    assert file.read_text(encoding="utf-8") == own


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_rates_are_those_that_the_judge_compares(task: str) -> None:
    random = np.random.default_rng(0)
    classes = ("a", "b", "c") if task == "multiclass" else ()
    counts = (("1", 3), ("0", 7)) if task == "binary" else ()
    target = Target("y", task, "", "", classes=classes, counts=counts)
    y = random.integers(0, 3 if classes else 2, 50).astype(float)
    values = random.random((50, 3)) if classes else random.random(50)
    decisions = values.argmax(axis=1) if classes else values
    if task == "binary":
        decisions = values >= target.threshold
    expected = TASKS[task].rates(y, decisions, classes)
    found = groups_text._rates(target, y, values)
    key = lambda rate: (rate[0], rate[1].sum(), rate[2].sum())  # noqa: E731
    judged = [(r.limit, np.asarray(r.values, float), r.included) for r in expected]
    for own, theirs in zip(
        sorted(found, key=key), sorted(judged, key=key), strict=True
    ):
        assert own[0] == theirs[0]
        np.testing.assert_array_equal(own[1], theirs[1])
        np.testing.assert_array_equal(own[2], theirs[2])
