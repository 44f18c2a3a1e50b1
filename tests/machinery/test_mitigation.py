"""Bias that is planted is lowered, and what that costs is measured on the holdout.

Without bias nothing changes, and the report says that nothing is gained.
"""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binomtest, norm

from machinery.judged import CONTRACT, WORTH, contract, params
from machinery.test_identity import Proposal
from mlgitops import report, settings
from mlgitops.judge import decision_value, fairness, gates, mitigation
from mlgitops.judge.compare import Pair
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.tasks import TASKS
from mlgitops.judgement import Effect, GapEffect, Judgement, Mitigation, Refused
from mlgitops.pipeline import fitting, manifest, outputs, reweighing
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.task import TASKS as OUTPUTS
from mlgitops.pipeline.train import train

ROOT = Path.cwd()
TERMS = Contract.parse(CONTRACT)
BIAS = 2.0  # log odds that shop b has more than shop a
BY_SHOP = {"method": "reweighing", "columns": ["shop"]}
LINEAR = {"estimator": "logistic_regression", "threshold": 0.5, "parity": 1e-5}


def rows(count: int, bias: float = BIAS, seed: int = 0) -> pd.DataFrame:
    """Return rows whose target hangs on price, and on the shop by so much."""
    random = np.random.default_rng(seed)
    price, chance = random.normal(size=count), random.random(count)
    shop = np.where(random.random(count) < 0.5, "a", "b")
    odds = price + np.where(shop == "b", bias / 2, -bias / 2)
    hours = pd.to_timedelta(np.linspace(0, 40 * 24, count), unit="h")
    return pd.DataFrame(
        {
            "order": [f"o{n}" for n in range(count)],
            "placed": (pd.Timestamp("2025-01-01", tz="UTC") + hours).floor("s"),
            "shop": shop.astype(object),
            "price": price.astype("float32"),
            "age": random.normal(size=count).astype("float32"),
            "returned": (1 / (1 + np.exp(-odds)) > chance).astype("int8"),
        }
    )


def written(columns: list[str] | None = None, **train: Any) -> dict[str, Any]:
    """Return the small project's params, with a linear model and other settings."""
    found = params(columns or ["shop", "price"])
    found["train"] |= {**LINEAR, **train}
    return found


def recipe(task: str = "binary", **train: Any) -> settings.Train:
    """Return the section train."""
    return settings.train(written(**train), task)


# --- the weights -------------------------------------------------------------------


def table(cells: dict[tuple[object, int], int]) -> pd.DataFrame:
    """Return a table with so many rows of each group and class."""
    pairs = [pair for pair, count in cells.items() for _ in range(count)]
    shop, returned = zip(*pairs, strict=True)
    frame = pd.DataFrame({"shop": pd.Series(shop, dtype=object), "returned": returned})
    return frame.assign(price=1.0, age=np.arange(len(frame)) % 2)


def test_weights_are_those_of_the_paper() -> None:
    """Their example has 10 people, 5 of each sex, 6 with a plus."""
    frame = table({("f", 0): 3, ("f", 1): 2, ("m", 0): 1, ("m", 1): 4})
    found = reweighing.weights(frame, TERMS, ["shop"])
    expected = [2 / 3] * 3 + [1.5] * 2 + [2.0] + [0.75] * 4
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("columns", [["shop"], ["shop", "age"]])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_every_combination_of_groups_gets_the_share_of_all(
    columns: list[str], task: str
) -> None:
    """A missing value is a group of its own; so are the quarters of a number."""
    frame, terms = rows(900), Contract.parse(contract(task))
    frame.loc[::7, "shop"], frame.loc[::5, "age"] = None, np.nan
    if task == "multiclass":
        names = np.array(["low", "mid", "high"], dtype=object)
        frame["returned"] = names[np.digitize(frame["price"], [-0.5, 0.5])]
    found = frame.assign(weight=reweighing.weights(frame, terms, columns))
    found["age"] = pd.qcut(frame["age"], 4, labels=False)
    sums = found.pivot_table("weight", "returned", columns, "sum", dropna=False)
    shares = frame["returned"].value_counts(normalize=True)
    groups = found.fillna(-1).groupby(columns)
    assert groups.ngroups == (3 if len(columns) == 1 else 15)
    for _, group in groups:
        weighted = group.groupby("returned")["weight"].sum() / group["weight"].sum()
        assert weighted.to_dict() == pytest.approx(shares.to_dict())
        assert group["weight"].sum() == pytest.approx(len(group))
    assert sums.to_numpy().sum() > 0


def test_rows_that_count_differently_are_balanced_by_what_they_count() -> None:
    frame = rows(300)
    counts = np.random.default_rng(0).random(300) * (frame["order"] != "o7")
    found = reweighing.weights(frame, TERMS, ["shop"], counts.to_numpy()) * counts
    cells = found.groupby([frame["shop"], frame["returned"]]).sum().unstack()
    share = counts.groupby(frame["returned"]).sum() / counts.sum()
    for _, row in cells.iterrows():
        assert (row / row.sum()).to_numpy() == pytest.approx(share.to_numpy())


def test_without_bias_every_weight_is_one_and_nothing_changes() -> None:
    frame = table({("a", 0): 60, ("a", 1): 30, (None, 0): 20, (None, 1): 10})
    frame["price"] = np.random.default_rng(0).normal(size=len(frame))
    assert set(reweighing.weights(frame, TERMS, ["shop"])) == {1.0}
    plain, weighed = recipe(columns=["price"]), recipe(mitigation=BY_SHOP)
    weighed = replace(weighed, columns=("price",))  # the group need not be an input
    models = [fitting.fit(frame, TERMS, each) for each in (plain, weighed)]
    X = fitting.table(inputs(frame, TERMS, ["price"]))
    before, after = (model.predict_proba(X) for model in models)
    assert before == pytest.approx(after, abs=1e-12)


@pytest.mark.parametrize(
    ("task", "train", "message"),
    [
        ("binary", {"mitigation": {"method": "magic", "columns": ["shop"]}}, "reweigh"),
        ("binary", {"mitigation": {"method": "reweighing"}}, "mitigation.columns"),
        ("binary", {"mitigation": {**BY_SHOP, "columns": ["shpo"]}}, "mean shop"),
        ("binary", {"mitigation": {**BY_SHOP, "columns": []}}, "1 or more"),
        ("binary", {"mitigation": {**BY_SHOP, "column": 1}}, "did you mean columns"),
        ("regression", {"mitigation": BY_SHOP}, "is for classes"),
        ("text", {"mitigation": BY_SHOP}, "free text"),
    ],
)
def test_what_cannot_be_mitigated_is_refused(
    task: str, train: dict[str, Any], message: str
) -> None:
    kind = "binary" if task == "text" else task
    terms = contract(kind)
    if task == "text":
        shop = {"type": "text", "max_length": 9, "missing": False}
        terms = {**terms, "columns": {**terms["columns"], "shop": shop}}
    found = params(["price"], kind)
    found["train"] |= train
    with pytest.raises(ContractError, match=message):
        settings.check(found, Contract.parse(terms))


def test_an_estimator_that_takes_no_weights_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one inside another, which would leave them out without a word."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.neighbors import KNeighborsClassifier

    from model import estimator

    features = estimator.CLASSIFIERS["logistic_regression"][0]
    nearest, frame = KNeighborsClassifier(), rows(200)
    for model in (nearest, CalibratedClassifierCV(nearest, cv=2)):
        monkeypatch.setitem(estimator.CLASSIFIERS, "nearest", (features, model))
        fitting.fit(frame, TERMS, recipe(estimator="nearest"))
        with pytest.raises(ContractError, match="KNeighborsClassifier takes no weight"):
            fitting.fit(frame, TERMS, recipe(estimator="nearest", mitigation=BY_SHOP))


# --- what the stage writes, and what the judge takes -------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the stage train ran, with mitigation and without."""
    folder = tmp_path_factory.mktemp("built")
    frame = rows(1500)
    frame.attrs["source_sha256"] = "2" * 64
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        frame.to_parquet("train.parquet")
        Path("contract.yaml").write_text(yaml.safe_dump(CONTRACT, sort_keys=False))
        Path("requirements").mkdir()
        Path("requirements/pipeline.txt").write_text("numpy\n")
        for name in ("mlgitops", "model"):
            Path(name).symlink_to(ROOT / name)
        for name, more in (("plain", {}), ("fair", {"mitigation": BY_SHOP})):
            Path(name).mkdir()
            Path("params.yaml").write_text(yaml.safe_dump(written(**more)))
            train(
                Path("train.parquet"),
                Path(name, "model.onnx"),
                Path(name, "manifest.json"),
            )
            for file in ("params.yaml", "contract.yaml"):
                shutil.copy(file, name)
    return folder


def test_the_stage_writes_the_same_model_without_mitigation_as_well(
    built: Path,
) -> None:
    plain, fair = built / "plain", built / "fair"
    other = (fair / "unmitigated.onnx").read_bytes()
    assert other == (plain / "model.onnx").read_bytes()
    assert other != (fair / "model.onnx").read_bytes()
    version = json.loads((fair / "manifest.json").read_text())
    named = {"file": "unmitigated.onnx", "bytes": len(other)}
    assert version["unmitigated"] == {**named, "sha256": manifest.sha256(other)}
    assert version["model"]["file"] == "model.onnx"
    assert version["params"]["mitigation"] == BY_SHOP
    assert "unmitigated" not in json.loads((plain / "manifest.json").read_text())
    assert not (plain / "unmitigated.onnx").exists()


def test_dvc_has_to_keep_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, name = Path("build/unmitigated.onnx"), "train.mitigation"
    outputs.demand_listed("train", file, name, True)  # DVC does not run it
    outs = ["build/model.onnx"]
    for more in ([], [{"./build/unmitigated.onnx": {"cache": False}}]):
        document = {"stages": {"train": {"outs": outs + more}}}
        Path("dvc.yaml").write_text(yaml.safe_dump(document))
        outputs.demand_listed("train", file, name, bool(more))
        word = "remove the line" if more else "write the line `- build/unmitigated.onnx"
        with pytest.raises(ContractError, match=word):
            outputs.demand_listed("train", file, name, not more)


def test_the_judge_takes_the_file_that_the_manifest_names(tmp_path: Path) -> None:
    """One that is missing, or that the manifest does not name, is refused."""
    proposal = Proposal(tmp_path)
    mitigated = params(["price"])
    mitigated["train"]["mitigation"] = BY_SHOP
    proposal.files["params.yaml"] = yaml.safe_dump(mitigated).encode()
    version = json.loads(proposal.text)
    version["params"]["mitigation"] = BY_SHOP
    version |= manifest.unmitigated(b"another model")
    with pytest.raises(Refused, match=r"lacks unmitigated\.onnx"):
        proposal.identify(manifest.text(version))
    (tmp_path / "unmitigated.onnx").write_bytes(b"another model")
    assert proposal.identify(manifest.text(version))["unmitigated"]["bytes"] == 13
    (tmp_path / "unmitigated.onnx").write_bytes(b"a planted one")
    with pytest.raises(Refused, match=r"unmitigated\.sha256"):
        proposal.identify(manifest.text(version))


# --- what the judge finds ----------------------------------------------------------


def judged(
    folder: Path, patch: pytest.MonkeyPatch | None = None, **changes: Any
) -> Evaluation:
    """Return an evaluation of a first version, on rows of the same kind."""
    version = json.loads((folder / "manifest.json").read_text())
    settings_ = {**written(), "business": WORTH, **changes}
    settings_ = {name: part for name, part in settings_.items() if part is not None}
    if patch is not None:
        patch.setattr(mitigation, "predict", predicted)
    return evaluated(Model(folder, version), rows(6000, seed=1), settings_, TERMS)


def evaluated(
    model: Model, holdout: pd.DataFrame, params_: dict[str, Any], terms: Contract
) -> Evaluation:
    """Return an evaluation after the parts that a mitigation concerns."""
    found = Evaluation(
        contract=terms,
        params=params_,
        gates=gates.parse(params_, terms.task),
        holdout=holdout,
        challenger=model,
        champion=None,
        rows=holdout,
    )
    model.predictions = predicted(model, [inputs(holdout, terms, model.columns)], terms)
    for part in (decision_value, fairness, mitigation):
        part.add(found)
    return found


def predicted(model: Model, tables: list[Any], terms: Contract) -> Any:
    """Stand in for the sandbox."""
    data = (model.folder / model.manifest["model"]["file"]).read_bytes()
    (arrays,) = tables
    return fitting.score(data, arrays, OUTPUTS[terms.task].output).astype(np.float64)


@pytest.fixture
def fair(built: Path, tmp_path: Path) -> Path:
    """Return a copy of what the judge has of the mitigated version."""
    folder = tmp_path / "challenger"
    shutil.copytree(built / "fair", folder)
    shutil.copy(built / "train.parquet", folder)
    return folder


def test_a_planted_bias_is_lowered_and_the_price_is_said(
    fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = judged(fair, monkeypatch)
    found = evaluated.judgement.mitigation
    assert found is not None and found.columns == ["shop"] and found.threshold == 0.5
    selected, odds = found.gaps
    # Yes is decided where price is above -BIAS / 2, or below it in the other shop.
    known = 1 - 2 * norm.cdf(-BIAS / 2)
    assert selected.unmitigated == pytest.approx(known, abs=0.05)
    assert selected.mitigated < 0.12 and selected.label == "selection rate"
    assert selected.high < -0.5 < -0.4 and odds.high < -0.3 and found.lowers
    assert odds.label == "equalized odds" and odds.column == "shop"
    auc, value, worth = found.price
    assert auc.high < 0 and value.high < 0 and worth.high < 0
    assert auc.label == "ROC AUC" and worth.unit == "euros per 1,000 decisions"
    assert worth.difference == pytest.approx(worth.mitigated - worth.unmitigated)
    (measured,) = evaluated.judgement.fairness
    assert measured.gaps[0].challenger == pytest.approx(selected.mitigated)
    assert found.weights[0] < 1 < found.weights[1] and 0.5 < found.worth < 1
    assert not any("mitigation" in line for line in evaluated.judgement.cautions)


def test_a_file_that_changes_nothing_gains_nothing(
    fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: both files are one model."""
    shutil.copy(fair / "model.onnx", fair / "unmitigated.onnx")
    evaluated = judged(fair, monkeypatch)
    found = evaluated.judgement.mitigation
    assert found is not None and not found.lowers
    assert {e.difference for e in (*found.gaps, *found.price)} == {0.0}
    assert any("not shown to lower" in c for c in evaluated.judgement.cautions)


def test_without_the_setting_nothing_is_compared(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(built / "plain", monkeypatch).judgement.mitigation is None


def test_the_columns_are_measured_without_a_section_fairness(
    fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judged(fair, monkeypatch, fairness=None, business=None).judgement
    assert found.mitigation is not None and found.fairness == []
    assert [gap.column for gap in found.mitigation.gaps] == ["shop"] * 2
    assert [effect.label for effect in found.mitigation.price][1:] == ["decision value"]


def test_groups_too_small_have_no_gap(
    fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {**written()["fairness"], "min_rows": 5000}
    found = judged(fair, monkeypatch, fairness=rules).judgement.mitigation
    assert found is not None and found.gaps == [] and not found.lowers


@pytest.mark.parametrize(("missing", "cautions"), [(0.4, 0), (0.6, 1)])
def test_a_group_that_most_rows_lack_is_a_caution(
    missing: float, cautions: int, fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights take these for one group, whatever they are."""
    terms_ = json.loads(json.dumps(CONTRACT))
    terms_["columns"]["shop"]["missing"] = True
    holdout = rows(2000, seed=1)
    holdout.loc[holdout.index < missing * 2000, "shop"] = None
    monkeypatch.setattr(mitigation, "predict", predicted)
    model = Model(fair, json.loads((fair / "manifest.json").read_text()))
    found = evaluated(model, holdout, written(), Contract.parse(terms_)).judgement
    about = [line for line in found.cautions if "missing in 60% of the rows" in line]
    assert len(about) == cautions
    assert len(
        [line for line in found.cautions if "group of their own" in line]
    ) == len(about)


def test_a_broken_file_is_refused_by_name_in_the_sandbox(fair: Path) -> None:
    (fair / "unmitigated.onnx").write_bytes(b"no model")
    with pytest.raises(Refused, match=r"^unmitigated\.onnx: ") as refusal:
        judged(fair)
    assert refusal.value.check.id == "model_file"


def test_a_training_table_without_the_groups_is_refused(
    fair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_rows = pd.read_parquet(fair / "train.parquet")
    train_rows.drop(columns="shop").to_parquet(fair / "train.parquet")
    with pytest.raises(Refused, match="groups and targets to be weighted"):
        judged(fair, monkeypatch)


@pytest.mark.parametrize("gaps", [(0.0, 0.0), (0.3, 0.0), (0.02, -0.02)])
def test_the_interval_of_a_gap_holds_the_truth(gaps: tuple[float, float]) -> None:
    """In 19 of 20 samples: neither model has a gap, one has, or it is turned round."""
    held, false, trials, level = 0, 0, 60, 0.95
    for seed in range(trials):
        random = np.random.default_rng(seed)
        group, y = random.integers(0, 2, (2, 1500))
        chance, bias = random.random(1500), abs(gaps[0]) - abs(gaps[1])
        yes = [chance < 0.4 + group * gap for gap in gaps]
        coded = [group * 2 + each for each in yes]
        measure = partial(mitigation.widest, TASKS["binary"], (), "selection_rate_max")
        pair = Pair(y, coded[0], coded[1], level)
        gap = mitigation.difference(measure, pair)
        held += gap.low <= -bias <= gap.high
        false += bias == 0 and gap.high < 0
    assert binomtest(held, trials, level, "less").pvalue > 0.001
    assert binomtest(false, trials, 1 - level, "greater").pvalue > 0.001


def test_groups_of_several_classes_are_compared_by_their_own_rates() -> None:
    """By hand: one class is decided twice as often in one group, and often wrongly."""
    y = np.array([0, 1, 2, 0, 1, 2])
    decided = np.array([0, 1, 2, 0, 0, 2])
    coded = np.array([0, 0, 0, 1, 1, 1]) * 3 + decided
    task, ones = TASKS["multiclass"], np.ones((1, 6))
    for limit in ("selection_rate_max", "error_rate_max"):
        gap = mitigation.widest(task, ("a", "b", "c"), limit, ones, y, coded)
        assert gap == pytest.approx([1 / 3])


def test_a_planted_bias_of_several_classes_is_lowered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mitigation, "predict", predicted)
    terms, entries = Contract.parse(contract("multiclass")), params([], "multiclass")
    entries["train"] |= {"columns": ["shop", "price"], "mitigation": BY_SHOP}
    entries["train"] |= {"estimator": "logistic_regression"}
    recipe = settings.train(entries, "multiclass")
    learnt, holdout = rows(1200), rows(3000, seed=1)
    for frame in (learnt, holdout):
        score = frame["price"] + np.random.default_rng(2).logistic(size=len(frame))
        bins = np.digitize(score + 2 * (frame["shop"] == "b"), [0.0, 2.0])
        frame["returned"] = np.array(["low", "mid", "high"], dtype=object)[bins]
    learnt.to_parquet(tmp_path / "train.parquet")
    text = yaml.safe_dump(contract("multiclass"), sort_keys=False)
    (tmp_path / "contract.yaml").write_text(text)
    for name, each in (("model", recipe), ("other", replace(recipe, mitigation=None))):
        model = fitting.fit(learnt, terms, each)
        exported = fitting.export(model, terms, recipe.columns)
        (tmp_path / f"{name}.onnx").write_bytes(exported)
    version = {
        "task": "multiclass",
        "columns": ["shop", "price"],
        "params": entries["train"],
        "model": {"file": "model.onnx"},
        "unmitigated": {"file": "other.onnx"},
    }
    found = evaluated(Model(tmp_path, version), holdout, entries, terms)
    result = found.judgement.mitigation
    assert result is not None and result.lowers and result.threshold is None
    wrong, selected = result.gaps
    assert (wrong.label, selected.label) == ("error rate", "selection rate")
    assert selected.high < -0.2 and result.price[0].high < 0
    assert [effect.unit for effect in result.price][2:] == ["euros per 1,000 decisions"]


# --- what the report says ----------------------------------------------------------


def effect(kind: Any, low: float | None, high: float | None, **more: Any) -> Any:
    """Return an effect with an interval."""
    middle = 0.0 if low is None or high is None else (low + high) / 2
    values = {"unmitigated": 0.2, "mitigated": 0.2 + middle, "difference": middle}
    return kind(**{"label": "ROC AUC", **values, "low": low, "high": high, **more})


def said(gaps: list[tuple[float | None, float | None]], **price: Any) -> str:
    """Return what the report says of gaps with these intervals."""
    about = {"label": "selection rate", "column": "shop"}
    found = Mitigation(
        method="reweighing",
        columns=["shop"],
        weights=(0.5, 2.0),
        worth=0.9,
        threshold=0.3,
        gaps=[effect(GapEffect, *ends, **about) for ends in gaps],
        price=[effect(Effect, **price)] if price else [],
    )
    judgement = Judgement(mitigation=found, confidence=0.95)
    facts = report.Facts(state="ready", verdict="", judgement=judgement)
    return report.plain(report.render(facts))


def test_the_report_says_what_is_gained_and_what_it_costs() -> None:
    text = said([(-0.08, -0.02)], low=-0.007, high=-0.001)
    assert "lowers the selection rate gap between groups of shop by 0.050" in text
    assert "(0.020 to 0.080), from 0.200 to 0.150" in text
    assert "Mitigation costs 0.0040 ROC AUC (0.0010 to 0.0070)." in text
    assert "same threshold, 0.3" in text and "No gap is shown" not in text


def test_the_report_says_where_nothing_is_gained() -> None:
    text = said([(-0.08, 0.02), (None, None)], low=-1.0, high=9.0, unit="euros")
    assert "No gap is shown to be lower with the mitigation" in text
    assert (
        text.count("not shown to change the selection rate gap") == 2
        and "no interval" in text
    )
    assert "not shown to cost or gain euros: +4 (-1 to +9)" in text
    assert "**raises**" in said([(0.02, 0.08)])
    assert "Mitigation gains 5 euros (1 to 9)." in said(
        [], low=1.0, high=9.0, unit="euros"
    )
