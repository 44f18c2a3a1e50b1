"""What mitigating bias gains and costs on a census: `train.mitigation`, and reductions.

    python -m benchmarks.mitigation FOLDER

FOLDER has the packages nannyml, whose data are the American Community Survey of
Massachusetts in 2015 (is this person employed?), and fairlearn. Writes mitigation.md
beside this file. Each line is two models, fitted, exported and compared on rows that
neither saw by the template's own code, as a pull request's would be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.monitoring import data as worlds
from mlgitops import metrics, settings
from mlgitops.judge import decision_value, gates, mitigation
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.tasks import TASKS
from mlgitops.judgement import Effect, Mitigation
from mlgitops.pipeline import fitting, parity
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import inputs, truth

PAGE = Path(__file__).with_suffix(".md")
ESTIMATORS = ("hist_gradient_boosting", "logistic_regression")
COLUMNS = (["SEX"], ["RAC1P"], ["DIS"], ["SEX", "RAC1P"])
NAMES = {"SEX": "sex", "RAC1P": "race", "DIS": "disability"}
TRAINED, GRID = 40_000, 10  # rows; models of a reduction's grid
THRESHOLD, SMALLEST = 0.5, 300  # of a decision; rows of a group that is compared
HEADER = ("groups of", "weights", "gap of", "without", "with", "difference")
REDUCED = ("model", "selection rate gap", "equalized odds gap", "ROC AUC")
REDUCED = (*REDUCED, "calibration error", "parity")
TEXT = """\
# What mitigating bias gains and costs: a census

Is this person employed? The American Community Survey of Massachusetts in 2015, as the
package nannyml has it (US Census data): {trained:,} rows to train on and {held:,} held
out, drawn at random; 16 columns; yes is decided from a probability of {threshold} on.
`make mitigation` writes this page.

Each block is one build with `train.mitigation: {{method: reweighing, columns: ...}}`,
compared with the same model without it, as the report of a pull request does. Brackets
are 95 % intervals, paired on rows; those of a block's gaps hold together. Groups with
fewer than {smallest} rows held out are not compared.

{tables}

## The reductions of fairlearn

ExponentiatedGradient draws one of several models for each prediction, so that no file
gives the same one twice. GridSearch chooses one of {grid} models, and that one exports
exactly. Below, fairlearn {version} searches for demographic parity.

{reduced}

There is no setting for it: it compares its models at a probability of 0.5, whatever
`train.threshold` is; it chooses among them on the rows that they were fitted on; it is
for two classes; and it fits {grid} models, on changed targets. Nor was it better here:
it chose the model without mitigation, or one with a smaller gap of the selection rate
that costs more, and has a larger equalized odds difference, than reweighing.
"""


def rows(folder: Path) -> tuple[Contract, pd.DataFrame, pd.DataFrame]:
    """Return the contract, and the rows of both sides in random order."""
    known = worlds.census(folder).reference
    both = pd.concat([known.train, known.holdout]).sample(frac=1, random_state=1)
    both = both.reset_index(drop=True)
    return known.contract, both[:TRAINED].reset_index(drop=True), both[TRAINED:]


def params(contract: Contract, estimator: str, columns: Sequence[str]) -> Any:
    """Return the shipped params.yaml for this table."""
    found = yaml.safe_load((worlds.PROJECT / "params.yaml").read_text())
    found["train"] |= {"columns": list(contract.columns), "estimator": estimator}
    found["train"] |= {"threshold": THRESHOLD, "parity": 1.0e-5}
    limits = {"selection_rate_max": 1, "equalized_odds_max": 1}
    found["fairness"] = {"columns": list(columns), "min_rows": SMALLEST, **limits}
    del found["business"]
    if columns:
        found["train"]["mitigation"] = {
            "method": "reweighing",
            "columns": list(columns),
        }
    return found


@contextmanager
def version(
    entries: Any, contract: Contract, train: pd.DataFrame, **models: bytes
) -> Iterator[Model]:
    """Yield a version with these models, as the judge reads it."""
    with TemporaryDirectory(prefix="mitigation-") as name:
        folder = Path(name)
        for file, model in models.items():
            (folder / f"{file}.onnx").write_bytes(model)
        train.to_parquet(folder / "train.parquet")
        files = {key: {"file": f"{key}.onnx"} for key in models}
        about = {"task": contract.task, "threshold": THRESHOLD}
        about |= {"params": entries["train"], "columns": list(contract.columns)}
        yield Model(folder, {**about, **files})


def judged(
    entries: Any, contract: Contract, model: Model, holdout: pd.DataFrame
) -> Mitigation:
    """Return what the judge finds of the mitigation."""
    evaluation = Evaluation(
        contract=contract,
        params=entries,
        gates=gates.parse(entries, contract.task),
        holdout=holdout,
        challenger=model,
        champion=None,
        rows=holdout,
    )
    data = (model.folder / "model.onnx").read_bytes()
    model.predictions = predicted(data, holdout, contract)
    decision_value.add(evaluation)
    mitigation.add(evaluation)
    found = evaluation.judgement.mitigation
    assert found is not None
    return found


def predicted(model: bytes, frame: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Return the predictions of an exported model."""
    arrays = inputs(frame, contract, list(contract.columns))
    return fitting.score(model, arrays, "probability").astype(np.float64)


def block(
    estimator: str, contract: Contract, train: pd.DataFrame, holdout: pd.DataFrame
) -> str:
    """Return the table of one estimator."""
    plain = export(params(contract, estimator, []), contract, train)
    lines = []
    for columns in COLUMNS:
        entries = params(contract, estimator, columns)
        fair = export(entries, contract, train)
        models = {"model": fair, "unmitigated": plain}
        with version(entries, contract, train, **models) as model:
            lines += cells(judged(entries, contract, model, holdout))
        print(f"{estimator} {' and '.join(columns)}", flush=True)
    title = estimator.replace("_", " ")
    return f"## {title[0].upper()}{title[1:]}\n\n{table(HEADER, lines)}"


def export(entries: Any, contract: Contract, train: pd.DataFrame) -> bytes:
    """Return the model that the stage train would export."""
    recipe = settings.train(entries, contract.task)
    fitted = fitting.fit(train, contract, recipe)
    return fitting.export(fitted, contract, recipe.columns)


def cells(found: Mitigation) -> list[list[str]]:
    """Return the lines of one mitigation: each gap, then the price."""
    groups = " and ".join(NAMES[name] for name in found.columns)
    weights = "{:.2f} to {:.2f}".format(*found.weights)
    lines = []
    for gap in found.gaps:
        label = f"{gap.label}, {NAMES[gap.column]}"
        lines.append([groups, weights, label, *numbers(gap)])
        groups = weights = ""
    return lines + [["", "", effect.label, *numbers(effect)] for effect in found.price]


def numbers(effect: Effect) -> list[str]:
    """Return both values, and the difference with its interval."""
    pair = [f"{value:.4f}" for value in (effect.unmitigated, effect.mitigated)]
    ends = f"[{effect.low:+.4f}, {effect.high:+.4f}]"
    return [*pair, f"{effect.difference:+.4f} {ends}"]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    text = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in text)


def reduced(contract: Contract, train: pd.DataFrame, holdout: pd.DataFrame) -> str:
    """Return the table of fairlearn's grid search, beside reweighing."""
    lines = []
    for column in ("SEX", "DIS"):
        for estimator in ESTIMATORS:
            name = f"{estimator.replace('_', ' ')}, {NAMES[column]}"
            for kind, columns in (("no mitigation", []), ("reweighing", [column])):
                model = export(params(contract, estimator, columns), contract, train)
                facts = measured(model, column, contract, holdout)
                lines.append([f"{name}: {kind}", *facts, ""])
            model, proof = searched(column, estimator, contract, train)
            facts = measured(model, column, contract, holdout)
            lines.append([f"{name}: grid search", *facts, f"{proof:.0e}"])
            print(name, flush=True)
    return table(REDUCED, lines)


def searched(
    column: str, estimator: str, contract: Contract, train: pd.DataFrame
) -> tuple[bytes, float]:
    """Return the best model of a grid search, exported, and how exactly."""
    from fairlearn.reductions import DemographicParity, GridSearch

    recipe = settings.train(params(contract, estimator, []), contract.task)
    pipeline = fitting.build(contract, recipe)
    columns = fitting.table(inputs(train, contract, recipe.columns))
    y = truth(train, contract)
    features = pipeline[:-1].fit_transform(columns, y)
    features = features.toarray() if hasattr(features, "toarray") else features
    search = GridSearch(pipeline[-1], DemographicParity(), grid_size=GRID)
    search.fit(features, y, sensitive_features=train[column].astype(str))
    best = search.predictors_[search.best_idx_]
    pipeline.steps[-1] = (pipeline.steps[-1][0], best)
    model = fitting.export(pipeline, contract, recipe.columns)
    sample = inputs(train[:10_000], contract, recipe.columns)
    return model, parity.parity(pipeline, model, sample, contract)["max_difference"]


def measured(
    model: bytes, column: str, contract: Contract, holdout: pd.DataFrame
) -> list[str]:
    """Return a model's gaps between the groups of a column, and its performance."""
    y, p = truth(holdout, contract), predicted(model, holdout, contract)
    group = pd.factorize(holdout[column])[0]
    coded, ones = group * 2 + (p >= THRESHOLD), np.ones((1, len(y)))
    task = TASKS["binary"]
    found = [
        float(mitigation.widest(task, (), limit, ones, y, coded)[0])
        for limit in ("selection_rate_max", "equalized_odds_max")
    ]
    found += [metrics.METRICS["binary"][0].value(y, p)]
    found += [metrics.binary.calibration_error(y, p, 10)]
    return [f"{value:.4f}" for value in found]


def main() -> None:
    """Measure, and write the page."""
    folder = Path(sys.argv[1]).resolve()
    sys.path.append(str(folder))
    from importlib.metadata import version as installed

    os.chdir(worlds.PROJECT)
    contract, train, holdout = rows(folder)
    tables = [block(name, contract, train, holdout) for name in ESTIMATORS]
    text = TEXT.format(
        trained=len(train),
        held=len(holdout),
        threshold=THRESHOLD,
        smallest=SMALLEST,
        tables="\n\n".join(tables),
        version=installed("fairlearn"),
        grid=GRID,
        reduced=reduced(contract, train, holdout),
    )
    PAGE.write_text(text)
    print(PAGE)


if __name__ == "__main__":
    main()
