"""Stage train: fit, export to ONNX, check the export, write the manifest.

python -m mlgitops train TRAIN MODEL MANIFEST
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from mlgitops.pipeline import (
    contract,
    data,
    fitting,
    imports,
    intervals,
    learning,
    manifest,
    out_of_core,
    outputs,
    parity,
    pretrained,
    settings,
    training_rows,
)
from mlgitops.pipeline.provenance import ESTIMATOR
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd


def train(source: Path, onnx: Path, out: Path) -> None:
    """Write the exported model and its manifest; same inputs, same bytes."""
    contract_bytes = Path("contract.yaml").read_bytes()
    document = contract.mapping(contract_bytes, "contract.yaml")
    terms = contract.Contract.parse(document)
    params = settings.load(Path("params.yaml").read_bytes())
    recipe = settings.train(params, terms.task)
    unmitigated = onnx.with_name(manifest.UNMITIGATED)
    mitigated = recipe.mitigation is not None
    outputs.demand_listed("train", unmitigated, "train.mitigation", mitigated)
    imports.demand_listed("train", *pretrained.files(recipe))
    if recipe.worth:
        imports.demand_params("train", "business", "train.threshold is best")
    rows, learned = _learn(source, terms, recipe, onnx.parent)
    (fitted, recipe, chosen), columns = learned, recipe.columns
    exported = fitting.export(fitted, terms, columns)
    proof = _proof(fitted, exported, rows.sample, terms, recipe)
    entries = _intervals(exported, rows.calibration, terms, recipe)
    other = _unmitigated(rows.fitted_on, rows.sample, terms, recipe)
    requirements = Path("requirements/pipeline.txt").read_bytes()
    imports.demand_listed("train")
    loaded = (*manifest.CODE, *imports.team())
    code = {path: manifest.sha256(_source(path)) for path in loaded}
    version = manifest.manifest(
        terms,
        recipe,
        (onnx.name, exported),
        contract={
            "sha256": manifest.sha256(contract_bytes),
            "json_sha256": manifest.sha256(contract.plain(document)),
        },
        data=rows.trained_on,
        code=manifest.code(code),
        requirements={"sha256": manifest.sha256(requirements)},
        claimed={"parity": proof, **chosen},
        golden=parity.golden(exported, rows.golden, terms, columns, **entries),
        **entries,
        **manifest.unmitigated(other),
    )
    onnx.write_bytes(exported)
    if other is not None:
        unmitigated.write_bytes(other)
    out.write_text(version)
    facts = [f"{len(exported):,} bytes", f"parity {proof['max_difference']:.1e}"]
    if recipe.estimator == ESTIMATOR:
        facts.append("nothing was trained")
    if recipe.worth:
        facts.append(f"threshold {recipe.threshold}")
    print(f"{onnx}: {', '.join(facts)}")


def _learn(
    source: Path, terms: contract.Contract, recipe: settings.Train, folder: Path
) -> tuple[training_rows.Survey, learning.Learned]:
    """Return what is needed of the training rows, and what they give."""
    out_of_core.clear(folder)
    if recipe.batch is None:
        rows = training_rows.whole(source, terms, recipe)
        return rows, learning.learn(rows.fitted_on, terms, recipe)
    out_of_core.refuse(terms, recipe)
    batches = training_rows.Batches(source, recipe.batch)
    rows = training_rows.survey(batches, terms, recipe)
    return rows, out_of_core.learn(batches, rows, terms, recipe, folder)


def _unmitigated(
    rows: pd.DataFrame,
    sample: pd.DataFrame,
    terms: contract.Contract,
    recipe: settings.Train,
) -> bytes | None:
    """Return the same model without mitigation, for the judge to compare, or None.

    Raises:
        ContractError: its export is not exact.
    """
    if recipe.mitigation is None:
        return None
    plain = replace(recipe, mitigation=None)
    fitted = fitting.fit(rows, terms, plain)
    exported = fitting.export(fitted, terms, plain.columns)
    _proof(fitted, exported, sample, terms, plain)
    return exported


def _proof(
    fitted: Pipeline,
    exported: bytes,
    rows: pd.DataFrame,
    terms: contract.Contract,
    recipe: settings.Train,
) -> dict[str, float]:
    """Return how far the exported model is from the fitted one on these rows.

    Raises:
        ContractError: too far; with the row and the column.
    """
    arrays, ids = data.inputs(rows, terms, recipe.columns), list(rows[terms.id])
    parity.check_features(fitted, arrays, terms)
    proof = parity.parity(fitted, exported, arrays, terms)
    where = ""
    if not proof["max_difference"] <= recipe.parity:
        limit = recipe.parity
        where = parity.where(fitted, exported, arrays, terms, limit, ids)
    parity.demand(proof, recipe.parity, where)
    return proof


def _intervals(
    exported: bytes,
    rows: pd.DataFrame,
    terms: contract.Contract,
    recipe: settings.Train,
) -> dict[str, dict[str, object]]:
    """Return the manifest's entry `intervals`, where there is to be one."""
    if recipe.intervals is None:
        return {}
    arrays, task = data.inputs(rows, terms, recipe.columns), terms.task
    p, y = fitting.score(exported, arrays, TASKS[task].output), data.truth(rows, terms)
    quantile = intervals.quantile(y, p, recipe.intervals, task)
    entry = intervals.entry(recipe.intervals, task, len(rows), quantile)
    return {"intervals": entry}


def _source(path: str) -> bytes:
    """Read a source file; those of the machinery may be in an installed wheel."""
    ours = path.startswith("mlgitops/")
    return Path(Path(manifest.__file__).parents[2] if ours else "", path).read_bytes()


def main() -> None:
    """Run the stage on one thread; an ordinary mistake is one sentence, exit 1."""
    if len(sys.argv) != 4:
        raise SystemExit("Type: python -m mlgitops train TRAIN MODEL MANIFEST")
    try:
        with threadpool_limits(1):  # the same sums in the same order on any machine
            train(*map(Path, sys.argv[1:]))
    except (contract.ContractError, OSError, ValueError) as error:
        raise SystemExit(f"train: {contract.sentence(error)}") from None
