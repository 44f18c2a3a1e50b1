"""What is said beside a prediction holds as often as promised, and the judge sees it.

The promise is tried on 1,000 seeded simulations of the function that calibrates, and on
a model that is trained, exported, served, judged and watched.
"""

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from machinery import judged, rows, test_monitor_tasks, tiny, traffic
from machinery.traffic import MONITOR
from mlgitops import prediction_log, settings
from mlgitops.host import agent
from mlgitops.judge import evaluation, gates, identity
from mlgitops.judge import intervals as judge
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import ByModel, Judgement, Refused
from mlgitops.monitor import coverage, decide, inspect, page, record
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline import data, evaluate, folds, intervals, train
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.settings import Intervals
from mlgitops.pipeline.task import TASKS
from mlgitops.report.facts import Facts
from mlgitops.report.sections import intervals as section
from mlgitops.serving import predictions, verify
from mlgitops.serving.model import Model

Array = np.ndarray
SIMULATIONS, CALIBRATION, NEW = 1_000, 120, 200
RULES = Intervals(coverage=0.9)
LEAST = intervals.rank(CALIBRATION, 0.9) / (CALIBRATION + 1)  # 0.9008, exactly expected
BAND = 0.004  # three standard errors of the mean of so many simulations


def numbers(random: Any) -> tuple[Array, Array]:
    """Return targets and predictions with skewed errors of another size each time."""
    p = random.normal(size=CALIBRATION + NEW).astype("float32")
    return p + random.gamma(1, 1 + random.random(), len(p)), p


def classes(k: int, random: Any) -> tuple[Array, Array]:
    """Return classes and overconfident probabilities of them; class 0 is rare."""
    scores = random.normal(size=(CALIBRATION + NEW, k))
    scores[:, 0] -= 1.0
    truth = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    sharp = np.exp(2.5 * scores)
    p = (sharp / sharp.sum(axis=1, keepdims=True)).astype("float32")
    return truth, p if k > 2 else p[:, 1]


DRAWN: dict[str, tuple[str, Callable[[Any], tuple[Array, Array]]]] = {
    "numbers": ("regression", numbers),
    "yes and no": ("binary", partial(classes, 2)),
    "three classes": ("multiclass", partial(classes, 3)),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_the_promise_holds_over_a_thousand_simulations(kind: str) -> None:
    """On average exactly ceil((n + 1) coverage) / (n + 1), whatever the errors are."""
    task, draw = DRAWN[kind]
    inside = []
    for seed in range(SIMULATIONS):
        y, p = draw(np.random.default_rng(seed))
        known, new = slice(CALIBRATION), slice(CALIBRATION, None)
        found = intervals.quantile(y[known], p[known], RULES, task)
        said = intervals.entry(RULES, task, CALIBRATION, found)
        inside.append(intervals.covered(y[new], p[new], said).mean())
    assert abs(np.mean(inside) - LEAST) < BAND
    spread = stats.beta(LEAST * 121, 121 * (1 - LEAST)).std()  # of one calibration
    assert np.std(inside) == pytest.approx(
        np.hypot(spread, (0.09 / NEW) ** 0.5), rel=0.1
    )


def test_errors_of_rows_that_were_fitted_on_promise_too_much() -> None:
    """The control: 120 rows fit 40 coefficients, and calibrate as if they were new."""
    inside = []
    for seed in range(SIMULATIONS):
        random = np.random.default_rng(seed)
        X = random.normal(size=(2 * CALIBRATION + NEW, 40))
        y = X[:, 0] + random.normal(size=len(X))
        own, other, new = np.split(np.arange(len(X)), (CALIBRATION, 2 * CALIBRATION))
        fitted = np.linalg.solve(X[own].T @ X[own], X[own].T @ y[own])
        p, shares = (X @ fitted).astype("float32"), []
        for known in (own, other):
            found = intervals.quantile(y[known], p[known], RULES, "regression")
            said = intervals.entry(RULES, "regression", CALIBRATION, found)
            shares.append(intervals.covered(y[new], p[new], said).mean())
        inside.append(shares)
    overfitted, split = np.mean(inside, axis=0)
    assert abs(split - LEAST) < BAND and overfitted < 0.75


@pytest.mark.parametrize("by_class", [False, True])
def test_a_rare_class_is_promised_nothing_unless_by_class(by_class: bool) -> None:
    rules, inside = Intervals(0.9, by_class=by_class), []
    for seed in range(300):
        y, p = classes(2, np.random.default_rng(seed))
        known, new = slice(CALIBRATION), slice(CALIBRATION, None)
        found = intervals.quantile(y[known], p[known], rules, "binary")
        said = intervals.entry(rules, "binary", CALIBRATION, found)
        hits = intervals.covered(y[new], p[new], said)
        inside.append([hits[y[new] == c].mean() for c in (0, 1)])
    rare, common = np.mean(inside, axis=0)
    if by_class:
        assert 0.89 < rare < 0.94 and 0.89 < common < 0.92
    else:
        assert rare < 0.8 < 0.9 < common


def test_the_fewest_rows_are_those_that_keep_the_promise() -> None:
    """With 95 % probability at most 1.5 times as many misses as promised."""
    for promised, least in ((0.8, 45), (0.9, 110), (0.95, 240), (0.99, 1211)):
        assert intervals.needed(promised) == least
        lowest = []
        for count in (least - 1, least):
            k = intervals.rank(count, promised)
            lowest.append(stats.beta(k, count + 1 - k).ppf(0.05))
        assert lowest[0] < promised - (1 - promised) / 2 <= lowest[1]


def table(count: int = 1500, task: str = "binary", split: str = "time") -> pd.DataFrame:
    """Return training rows as the stage prepare writes them."""
    found = judged.rows(count, task=task)
    found.attrs = {"source_sha256": "2" * 64, folds.SPLIT: split}
    return found


def test_the_newest_rows_calibrate_where_the_split_is_by_time() -> None:
    frame, terms = table(), Contract.parse(judged.contract())
    fold = folds.one_fold(frame, terms, 0.2, 1)
    assert len(fold.left_out) == 300 and len(fold.fit) == 1200
    assert frame["placed"].iloc[fold.fit].max() < frame["placed"].iloc[300:].max()
    assert (
        frame["placed"].iloc[fold.fit].max() < frame["placed"].iloc[fold.left_out].min()
    )
    frame["placed"] = frame["placed"].iloc[0]
    with pytest.raises(ContractError, match="too few times"):
        folds.one_fold(frame, terms, 0.2, 1)


def test_a_hash_chooses_them_else_alike_in_each_class() -> None:
    frame, terms = table(split="random"), Contract.parse(judged.contract())
    fold = folds.one_fold(frame, terms, 0.3, 1)
    left = frame.iloc[fold.left_out]
    assert len(left) == 450
    assert left["returned"].mean() == pytest.approx(frame["returned"].mean(), abs=0.002)
    mixed = frame.sample(frac=1, random_state=3)
    mixed.attrs = frame.attrs
    again = folds.one_fold(mixed, terms, 0.3, 1)
    assert set(mixed.iloc[again.left_out]["order"]) == set(left["order"])
    other = folds.one_fold(frame, terms, 0.3, 2)
    assert set(frame.iloc[other.left_out]["order"]) != set(left["order"])


def test_whole_groups_calibrate_where_the_split_is_by_group() -> None:
    frame = table(split="group")
    frame["customer"] = np.arange(len(frame)) % 50
    terms = Contract.parse({**judged.contract(), "entity": "customer"})
    fold = folds.one_fold(frame, terms, 0.2, 1)
    sides = [set(frame["customer"].iloc[part]) for part in fold]
    assert not sides[0] & sides[1] and list(map(len, sides)) == [40, 10]


def recipe(task: str, **rules: Any) -> settings.Train:
    """Return settings of training with intervals."""
    section = judged.params(["price", "age"], task)["train"]
    return settings.train({"train": {**section, "intervals": rules}}, task)


@pytest.mark.parametrize(
    ("rules", "count", "needs"),
    [
        ({"coverage": 0.9}, 500, ["100 rows", "needs 110", "share to 0.22"]),
        ({"coverage": 0.95}, 300, ["60 rows", "needs 240", "bring more rows"]),
        ({"coverage": 0.9, "by_class": True}, 1000, ["rows of returned 1", "110"]),
    ],
)
def test_too_few_calibration_rows_are_refused_with_the_number_needed(
    rules: dict[str, Any], count: int, needs: list[str]
) -> None:
    terms, frame = Contract.parse(judged.contract()), table(count, split="random")
    with pytest.raises(settings.SettingsError) as refusal:
        intervals.parts(frame, terms, recipe("binary", **rules))
    for words in ("train.intervals", *needs):
        assert words in str(refusal.value)
    fitted, left = intervals.parts(
        table(3000, split="random"), terms, recipe("binary", **rules)
    )
    assert len(fitted) + len(left) == 3000 and len(left) == 600


@pytest.mark.parametrize(
    ("rules", "task", "words"),
    [
        ({"coverage": 1.5}, "binary", "between 0.5 and 0.999"),
        ({"coverage": 0.9, "share": 0.9}, "binary", "between 0.01 and 0.5"),
        ({"share": 0.2}, "binary", "coverage' is missing"),
        ({"coverage": 0.9, "abstian": True}, "binary", "did you mean abstain"),
        ({"coverage": 0.9, "abstain": True}, "regression", "is for classes"),
        ({"coverage": 0.9, "by_class": True}, "regression", "is for classes"),
    ],
)
def test_wrong_settings_are_refused(
    rules: dict[str, Any], task: str, words: str
) -> None:
    with pytest.raises(settings.SettingsError, match="intervals") as refusal:
        recipe(task, **rules)
    assert words in str(refusal.value)


class Version:
    """A version that the stage train made in a folder, with rows that are new to it."""

    def __init__(self, folder: Path, task: str, **rules: Any) -> None:
        """Fit 2,400 rows of 3,000; nothing of DVC is around."""
        self.folder, self.task, self.contract = folder, task, judged.contract(task)
        params = judged.params(["price", "age"], task)
        params["train"]["hist_gradient_boosting"]["max_iter"] = 10
        params["train"]["intervals"] = {"coverage": 0.9, **rules}
        if task == "binary":  # what the build chooses, the judge reads elsewhere
            params["train"]["threshold"] = "best"
        self.params = params
        texts = {
            "contract.yaml": yaml.safe_dump(self.contract, sort_keys=False),
            "params.yaml": yaml.safe_dump(params, sort_keys=False),
            "requirements/pipeline.txt": "numpy",
        }
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
        (folder / "model").symlink_to(judged.ROOT / "model")
        frame = table(6000, task)
        frame.iloc[:3000].to_parquet(folder / "train.parquet", index=False)
        self.new = frame.iloc[3000:].reset_index(drop=True)
        paths = ("train.parquet", "model.onnx", "manifest.json")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            train.train(*map(Path, paths))
        self.manifest = json.loads((folder / "manifest.json").read_text())

    @property
    def stated(self) -> dict[str, Any]:
        """What the manifest says of intervals."""
        return dict(self.manifest["intervals"])


SETTINGS: dict[str, dict[str, Any]] = {
    "binary": {"abstain": True},
    "multiclass": {"by_class": True, "share": 0.3},
    "regression": {},
}


@pytest.fixture(scope="module", params=SETTINGS)
def version(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Version:
    """One version of each task."""
    folder = tmp_path_factory.mktemp(request.param) / "challenger"
    return Version(folder, request.param, **SETTINGS[request.param])


def served(version: Version, count: int) -> list[dict[str, Any]]:
    """Return what a server says of the first new rows."""
    terms = Contract.parse(version.contract)
    values = version.new.head(count)[list(terms.columns)].astype(object)
    sent = [
        {n: None if v != v else v for n, v in row.items()}
        for row in values.to_dict("records")
    ]
    return Model(version.folder).predictions(sent, range(count))


def truths(version: Version) -> Array:
    """Return the targets of the new rows as the metrics take them."""
    return data.truth(version.new, Contract.parse(version.contract))


def test_a_version_covers_new_rows_as_promised(version: Version) -> None:
    """From the settings to the server's answer, whose truth is inside nine times."""
    said, answers = version.stated, served(version, len(version.new))
    assert said["method"] == verify.METHODS[version.task]
    assert said["rows"] == (900 if version.task == "multiclass" else 600)
    inside = []
    for answer, truth in zip(answers, version.new["returned"], strict=True):
        if version.task == "regression":
            low, high = answer["interval"]
            assert high - low == pytest.approx(2 * said["quantile"])
            inside.append(low <= truth <= high)
        else:
            inside.append(truth in answer["set"])
    assert 0.87 < np.mean(inside) < 0.93
    p = np.array([list(np.ravel(_scores(answer))) for answer in answers], np.float32)
    p = p if version.task == "multiclass" else p[:, -1]
    assert inside == intervals.covered(truths(version), p, said).tolist()


def _scores(answer: dict[str, Any]) -> list[float]:
    """Return the numbers of an answer as the model gave them."""
    if "probabilities" in answer:
        return list(answer["probabilities"].values())
    return [answer["value"] if "value" in answer else answer["probability"]]


def test_no_decision_is_made_where_a_set_has_not_one_class(version: Version) -> None:
    answers = served(version, 300)
    name = {"binary": "decision", "multiclass": "class"}.get(version.task)
    if name is None:
        assert "set" not in answers[0]
        return
    open_ = [len(answer["set"]) != 1 for answer in answers]
    assert 0 < sum(open_) < 300
    for answer, unsure in zip(answers, open_, strict=True):
        abstains = version.stated["abstain"] and unsure
        assert (answer[name] is None) == abstains
    line = prediction_log.line(answers[open_.index(True)], None, "a", "v", "", {})
    entry = prediction_log.parse(json.dumps(line))
    assert "set" not in line and entry is not None
    assert (entry.decision is None) == version.stated["abstain"]


def test_golden_rows_have_what_is_said_beside_them(version: Version) -> None:
    """The server, the host and the judge compare it; another rule is seen."""
    name = "interval" if version.task == "regression" else "set"
    golden = version.manifest["golden"]
    assert sum(name in entry for entry in golden) > 15
    model = Model(version.folder)
    assert model.check_golden() <= 1e-5
    answers = model.predictions([entry["row"] for entry in golden], range(20))
    agent.compare(golden, answers)
    assert verify.distance(golden, answers) <= 1e-5
    for answer in answers:
        answer[name] = ["other", 5] if name == "set" else [n + 1 for n in answer[name]]
    assert verify.distance(golden, answers) > 1e-3
    with pytest.raises(agent.RefusedError):
        agent.compare(golden, answers)


def test_a_set_at_its_quantile_is_not_a_golden_rows() -> None:
    """On another processor, the class may be on the other side of it."""
    terms = Contract.parse(judged.contract())
    said = intervals.entry(RULES, "binary", 200, [0.25, 0.25])
    p = np.array([0.25 + 1e-4, 0.2, 0.5], np.float32)
    assert intervals.golden(p, terms, said) == [{}, {"set": [0]}, {"set": [0, 1]}]


HOSTILE: dict[str, Any] = {
    "quantile": [None, "0.1", -1, [], [0.1], [0.1, 2.0], [[0.1], 0.1], True, {}],
    "rows": [0, -3, 1.5, True, "9", 2**60, None],
    "coverage": ["0.9", 2, None, [0.9], True],
    "method": ["", None, 5, "absolute"],
    "abstain": [1, None, "yes"],
    "by_class": [0, "no", None],
}


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_hostile_manifest_is_one_sentence(task: str, tmp_path: Path) -> None:
    """Of a value that nobody could compute with; and of keys too many or too few."""
    quantile: Any = [0.2, 0.3] if task == "binary" else 3.5
    good = intervals.entry(RULES, task, 200, quantile)
    name = verify.OUTPUTS[task]
    changes: dict[str, Any] = {"task": task, "golden": [{"row": {}, name: 0.5}]}
    if task == "regression":
        changes["golden"][0]["interval"] = [-3.0, 4.0]
    tiny.version(tmp_path, intervals=good, **changes)
    assert verify.verify(tmp_path)["intervals"] == good
    bad = [{**good, key: value} for key in HOSTILE for value in HOSTILE[key]]
    bad += [{**good, "more": 1}, [], None, "x"]
    bad += [{n: good[n] for n in good if n != key} for key in good]
    for entry in bad:
        if task == "regression" and entry == {**good, "by_class": 0}:
            continue
        tiny.version(tmp_path, intervals=entry, **changes)
        with pytest.raises(verify.VerifyError, match="intervals"):
            verify.verify(tmp_path)
    beside = [{"set": [7]}, {"set": [[]]}, {"set": 0}, {"interval": [1]}, {"set": None}]
    for more in beside:
        changes["golden"] = [{"row": {}, name: 0.5, **more}]
        tiny.version(tmp_path, intervals=good, **changes)
        with pytest.raises(verify.VerifyError, match="golden"):
            verify.verify(tmp_path)


def test_without_the_setting_nothing_is_said(tmp_path: Path) -> None:
    """And a golden row with a set is no golden row."""
    tiny.version(tmp_path)
    (answer,) = Model(tmp_path).predictions([tiny.ROW], [1])
    assert answer.keys() == {"id", "probability", "decision"}
    golden = [{"row": tiny.ROW, "probability": 0.5, "set": [1]}]
    tiny.version(tmp_path, golden=golden)
    with pytest.raises(verify.VerifyError, match="golden"):
        verify.verify(tmp_path)


def context(
    version: Version, lie: Callable[[Any], None] = lambda v: None
) -> Evaluation:
    """Return what the judge has of a version, perhaps with a lie in its manifest."""
    manifest = json.loads(json.dumps(version.manifest))
    lie(manifest["intervals"])
    terms = Contract.parse(version.contract)
    model = evaluation.Model(version.folder, manifest)
    model.predictions = np.array(_all(version), np.float64)
    return Evaluation(
        contract=terms,
        params=version.params,
        gates=gates.parse(version.params, version.task),
        holdout=version.new,
        challenger=model,
        champion=None,
        rows=version.new,
        judgement=Judgement(task=version.task, confidence=0.95),
    )


def _all(version: Version) -> Array:
    """Return the file's predictions for the new rows."""
    p = np.array([_scores(answer) for answer in served(version, len(version.new))])
    return p if version.task == "multiclass" else p[:, 0]


def test_the_judge_finds_the_quantile_again_and_shows_the_coverage(
    version: Version,
) -> None:
    """In its own process, from the training table and the exported file."""
    judging = context(version)
    judge.add(judging)
    both = judging.judgement.intervals
    assert both is not None and both.challenger is not None
    found = both.challenger
    assert 0.87 < found.every.low < found.every.coverage < found.every.high < 0.94
    assert found.every.rows == 3000 and found.calibrated == version.stated["rows"]
    expected = {"binary": 2, "multiclass": 3, "regression": 4}
    assert len(found.groups) == expected[version.task]
    assert sum(part.rows for part in found.groups) == 3000
    facts = Facts(state="ready", verdict="", judgement=judging.judgement)
    text = section.intervals(facts)
    assert f"{found.every.coverage:.1%}" in text and "0.9" in text
    assert ("abstains" in text) == version.stated["abstain"]
    assert "<svg" in section.intervals_plot(facts)
    if found.abstention is not None:
        share = found.abstention.decided / 3000
        assert f"{1 - share:.1%}" in text and 0 < share < 1
        assert found.abstention.right_decided > found.abstention.right
        assert any("decides nothing" in c for c in judging.judgement.cautions)


@pytest.mark.parametrize("lie", ["quantile", "rows"])
def test_a_quantile_that_the_training_rows_do_not_give_is_refused(
    version: Version, lie: str
) -> None:
    def told(said: Any) -> None:
        many = isinstance(said[lie], list)
        said[lie] = [n * 0.99 for n in said[lie]] if many else said[lie] * 2

    judging = context(version, told)
    with pytest.raises(Refused, match="build it again"):
        judge.add(judging)


def test_the_rows_that_calibrate_cannot_stretch_the_tolerance(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A huge prediction among them is no unit for the difference of quantiles."""
    judging, known = context(version), evaluation.predict

    def huge(*args: Any) -> np.ndarray:
        p = np.array(known(*args))
        p[0] = 1e30 if version.task == "regression" else p[0]
        return p

    monkeypatch.setattr(evaluation, "predict", huge)
    said = judging.challenger.manifest["intervals"]
    many = isinstance(said["quantile"], list)
    said["quantile"] = [0.0] if not many else [0.0] * len(said["quantile"])
    with pytest.raises(Refused, match="build it again"):
        judge.check_quantile(judging, said)


def noisy(version: Version, factor: float) -> Evaluation:
    """Return the same where the holdout's errors are larger, or smaller."""
    judging = context(version)
    p = judging.challenger.predictions
    values = p + factor * (judging.holdout["returned"] - p)
    judging.holdout = judging.holdout.assign(returned=values)
    return judging


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.6])
def test_another_coverage_than_promised_is_a_caution_and_can_be_a_gate(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = Version(tmp_path / "challenger", "regression")
    monkeypatch.setattr(judge, "check_quantile", lambda *_: None)
    version.params["gates"]["coverage"] = {"min": 0.85}
    judging = noisy(version, factor)
    judge.add(judging)
    (check,), cautions = judging.judgement.checks, judging.judgement.cautions
    assert check.id == "coverage.min" and check.passed == (factor < 1.6)
    assert check.value == pytest.approx(
        judging.judgement.intervals.challenger.every.coverage
    )
    assert len(cautions) == (factor != 1.0)
    if factor != 1.0:
        assert ("say less" in cautions[0]) == (factor < 1)


def test_a_gate_on_coverage_wants_intervals(version: Version) -> None:
    """And a champion's are missed."""
    judging = context(version)
    judging.params["gates"]["coverage"] = {"min": 0.85}
    judging.gates = gates.parse(judging.params, version.task)
    del judging.params["gates"]["coverage"]
    judging.champion = context(version).challenger
    del judging.challenger.manifest["intervals"]
    judge.add(judging)
    (check,) = judging.judgement.checks
    assert not check.passed and "intervals: {coverage" in check.reason
    assert "The champion says" in judging.judgement.cautions[0]


def test_the_interval_of_the_coverage_is_clopper_and_pearsons() -> None:
    for hits, count in ((0, 20), (18, 20), (20, 20), (450, 500)):
        inside = np.arange(count) < hits
        expected = stats.binomtest(hits, count).proportion_ci(0.95)
        assert judge.coverage(inside, 0.95) == pytest.approx(tuple(expected))
    groups = np.arange(500) // 50
    low, high = judge.coverage(np.arange(500) >= 50, 0.95, groups)
    alone = judge.coverage(np.arange(500) >= 50, 0.95)
    assert low < alone[0] and high <= 1.0, "ten groups, and one of them is outside"


def test_the_manifest_is_what_the_settings_say(version: Version) -> None:
    """The judge writes it again: what is not found again has to be in params.yaml."""
    files = {
        name: (version.folder / name).read_bytes()
        for name in ("contract.yaml", "params.yaml", "requirements/pipeline.txt")
    }
    expected = json.loads(
        identity._expected(version.folder, version.manifest, files.get)
    )
    assert expected["intervals"] == version.stated
    assert expected["params"] == version.manifest["params"]
    for lie in ({"coverage": 0.5}, {"abstain": not version.stated["abstain"]}):
        told = {**version.manifest, "intervals": {**version.stated, **lie}}
        again = json.loads(identity._expected(version.folder, told, files.get))
        differing = [path for path, _, _ in identity._differences(told, again)]
        assert f"intervals.{next(iter(lie))}" in differing
    without = {n: v for n, v in version.manifest.items() if n != "intervals"}
    again = json.loads(identity._expected(version.folder, without, files.get))
    differing = [path for path, _, _ in identity._differences(without, again)]
    assert "intervals" in differing, "it may not be left out"


def watched(
    folder: Path, task: str, wider: float = 1.0, count: int = 4000
) -> tuple[Any, Any, Any]:
    """Look at production of a version with intervals; `wider` are later errors."""
    known = _reference(task)
    found = test_monitor_tasks.answered(task, count, 80, 28, 3)
    found["late"] = found["value"] + wider * (found["late"] - found["value"])
    log, labels = test_monitor_tasks.production(folder, task, found)
    params = {**traffic.PARAMS, "train": rows.settings(task)}
    window = inspect.inspect(known, log, labels, params)
    decision = decide.decide(window.evidence, MONITOR)
    made = record.build("v1", traffic.SHA, window, decision, MONITOR)
    return window.evidence, decision, made


def _reference(task: str) -> Reference:
    """Return a version that was calibrated on its training rows."""
    known = test_monitor_tasks.reference(task)
    y, p = known.train["late"].to_numpy(), known.train["value"].to_numpy()
    quantile = intervals.quantile(y, p, RULES, task)
    said = intervals.entry(RULES, task, len(y), quantile)
    return replace(known, manifest={**known.manifest, "intervals": said})


@pytest.mark.parametrize("wider", [1.0, 1.4])
def test_the_monitor_alarms_below_the_promise(wider: float, tmp_path: Path) -> None:
    """Recomputed from logged predictions and the manifest, as a gate with a limit."""
    evidence, decision, made = watched(tmp_path, "regression", wider)
    (gated,) = evidence.gated
    assert gated.key == "coverage" and gated.limit <= 0.9 and gated.rows == 3000
    assert (gated.passed is False) == (wider > 1)
    assert gated.low < gated.window < gated.high
    said = "Coverage of intervals fell from"
    assert (said in decision.sentence) == (wider > 1)
    assert "Coverage of intervals" in page.markdown(made) + page.page(made, "")
    if wider == 1.0:
        assert decision.decision == "none"


def test_the_monitor_says_when_it_cannot_tell(tmp_path: Path) -> None:
    """Too few labels; and nothing is said of a version that promises nothing."""
    found = watched(tmp_path, "regression", 3.0, count=1200)[0]
    assert found.gated[0].passed is not None
    known = _reference("regression")
    table_ = test_monitor_tasks.answered("regression", 1200, 80, 28, 3)
    log, labels = test_monitor_tasks.production(tmp_path, "regression", table_)
    lines = Path(labels).read_text().splitlines()
    Path(labels).write_text("\n".join(lines[:200]) + "\n")
    params = {**traffic.PARAMS, "train": rows.settings("regression")}
    (gated,) = inspect.inspect(known, log, labels, params).evidence.gated
    assert gated.passed is None and gated.window is None and "pending" in gated.note
    assert coverage.gates({"columns": []}) == []


def test_the_monitor_says_how_much_is_not_decided(tmp_path: Path) -> None:
    """Without a label; and nothing of a version that decides every row."""
    known = test_monitor_tasks.reference("multiclass")
    found = test_monitor_tasks.answered("multiclass", 1200, 80, 28, 3)
    log, labels = test_monitor_tasks.production(tmp_path, "multiclass", found)
    Path(labels).write_text("\n".join(Path(labels).read_text().splitlines()[:1]) + "\n")
    params = {**traffic.PARAMS, "train": rows.settings("multiclass")}
    shown = {}
    for abstain in (True, False):
        rules = Intervals(coverage=0.9, abstain=abstain)
        said = intervals.entry(rules, "multiclass", 1000, [0.4] * 3)
        manifest = {**known.manifest, "intervals": said}
        version = replace(known, manifest=manifest)
        window = inspect.inspect(version, log, labels, params)
        decision = decide.decide(window.evidence, MONITOR)
        made = record.build("v1", traffic.SHA, window, decision, MONITOR)
        checks = [c for c in made["checks"] if c["name"] == "abstention"]
        shown[abstain] = checks, window.evidence.abstained
    [check], abstained = shown[True]
    assert 0 < abstained.window < 1 and 0 < abstained.holdout < 1
    assert check["passed"] is None and f"{abstained.window:.1%}" in check["value"]
    assert shown[False] == ([], None)


def test_serving_and_pipeline_follow_one_rule() -> None:
    """They share no code, so that serving stays small."""
    assert verify.METHODS == intervals.METHODS
    random, terms = (
        np.random.default_rng(4),
        Contract.parse(judged.contract("multiclass")),
    )
    p = random.dirichlet(np.ones(3), 200).astype("float32")
    said = intervals.entry(RULES, "multiclass", 200, [0.3, 0.25, 0.4])
    manifest = {"classes": list(terms.classes), "intervals": said}
    answers = predictions.TASKS["multiclass"].predictions(p, manifest)
    sizes = intervals.sizes(p, said)
    assert [len(answer["set"]) for answer in answers] == sizes.tolist()
    golden = intervals.golden(p, terms, said)
    assert all(
        entry.get("set", answer["set"]) == answer["set"]
        for entry, answer in zip(golden, answers, strict=True)
    )
    assert TASKS.keys() == verify.METHODS.keys()


def test_both_models_stand_in_the_report() -> None:
    """Champion beside challenger; and nothing where neither says anything."""
    facts = Facts(state="ready", verdict="")
    assert section.intervals(facts) == section.intervals_plot(facts) == ""
    empty = Judgement(intervals=ByModel(challenger=None))
    assert section.intervals(Facts(state="ready", verdict="", judgement=empty)) == ""


def test_the_stage_evaluate_counts_what_is_inside() -> None:
    y, p = numbers(np.random.default_rng(0))
    said = intervals.entry(RULES, "regression", 120, 2.0)
    version: Any = {"columns": [], "intervals": said}
    scores = evaluate.score_model("regression", y, p, version, 10)
    assert scores["coverage"] == (np.abs(y - p) <= 2).mean()
    assert scores["mean_size"] == 4.0
    del version["intervals"]
    scores = evaluate.score_model("regression", y, p, version, 10)
    assert "coverage" not in scores


def test_the_page_shows_settings_that_are_read() -> None:
    """Those of docs/intervals.md; and its numbers of rows."""
    page_ = (Path(__file__).parents[2] / "docs/intervals.md").read_text("utf-8")
    params = judged.params(["price", "age"])
    for block in re.findall(r"```yaml\n(.*?)```", page_, re.S):
        for name, entries in yaml.safe_load(textwrap.dedent(block)).items():
            params[name] |= entries
    assert settings.train(params, "binary").intervals == Intervals(0.9, 0.2)
    assert gates.parse(params, "binary").rules.coverage == gates.CoverageRule(0.88)
    for promised in (0.9, 0.95, 0.99):
        assert f"{intervals.needed(promised):,} for {promised:g}" in page_.replace(
            "\n ", ""
        )
    commented = (judged.ROOT / "params.yaml").read_text("utf-8")
    (line,) = re.findall(r"^  # (intervals: {.*?})", commented, re.M)
    params["train"] |= yaml.safe_load(line)
    assert settings.train(params, "binary").intervals == Intervals(0.9, 0.2)


def test_enough_rows_of_few_groups_are_too_few() -> None:
    frame = table(3000, split="group")
    frame["customer"] = np.arange(len(frame)) % 60
    terms = Contract.parse({**judged.contract(), "entity": "customer"})
    with pytest.raises(settings.SettingsError, match="12 values of customer"):
        intervals.parts(frame, terms, recipe("binary", coverage=0.9))
    frame["customer"] = np.arange(len(frame)) % 1000
    fitted, left = intervals.parts(frame, terms, recipe("binary", coverage=0.9))
    assert len(left) == 600 and not set(fitted["customer"]) & set(left["customer"])
