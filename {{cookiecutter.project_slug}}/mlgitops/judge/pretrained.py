"""Is the model what was made of the pretrained file, and what cannot be known of it?

    python -m mlgitops.judge.pretrained FOLDER OUT

Where the file is the model, main's own code makes the model of it again, in a child,
and both predict the holdout. Where its outputs are features, the model has its weights.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlgitops import settings
from mlgitops.judge import checks, evaluation, sandbox
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.licence import ENTRY, FILE
from mlgitops.judgement import Check
from mlgitops.pipeline import foreign, operators
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.schema import one_line

QUANTISED = {3, 2}  # int8 and uint8, of TensorProto


def add(context: Evaluation) -> None:
    """Add that the model is the file, and what nobody can know about it."""
    challenger, judgement = context.challenger, context.judgement
    if not (named := challenger.manifest.get(ENTRY)):
        return
    whole = named["role"] == "model"
    unknown = (
        "What it has learnt from is not known: if rows of this holdout were among it, "
        "every number here is too good."
    )
    if not named["source"].startswith("https://"):
        unknown = "Rows that this version was trained on are not new to the model."
    judgement.cautions.append(
        f"{'The model is' if whole else 'The model stands on'} "
        f"{one_line(named['file'])} ({one_line(named['source'])}), which was not "
        f"trained here. {unknown}"
    )
    again = challenger.folder / "again"
    again.mkdir()
    sandbox.run("pretrained_model", __name__, challenger.folder, again / "model.onnx")
    reason = "the model has the weights of the pretrained file, as they were"
    frozen = checks.passed("pretrained_model", reason)
    judgement.checks.append(_same(context, again) if whole else frozen)


def _same(context: Evaluation, again: Path) -> Check:
    """Return the check that the model predicts what the file does, on the holdout."""
    challenger = context.challenger
    model = {**challenger.manifest["model"], "file": "model.onnx"}
    made = Model(again, {**challenger.manifest, "model": model})
    inputs = evaluation.inputs(made, context.holdout, context.contract)
    expected = evaluation.predict(made, [inputs], context.contract)
    gaps = np.abs(expected - challenger.predictions) / _unit(context, expected)
    reasons = (
        "the model predicts what the pretrained file does",
        "model.onnx is not what main's code makes of the pretrained file: build it "
        "again (`make repro` here, the workflow `train` on GitHub)",
    )
    limit = context.rules.parity.max
    return checks.held(
        "pretrained_model", float(gaps.max()), "<=", limit, reasons, gate=False
    )


def _unit(context: Evaluation, predictions: Any) -> float:
    """Return the unit of a difference: 1 of a probability, else the largest value."""
    if context.contract.task != "regression":
        return 1.0
    return float(np.abs(predictions).max()) or 1.0


def make(folder: Path, out: Path) -> None:
    """Write the model that main's code makes of the file, for a challenger's folder.

    Raises:
        ContractError: the file cannot be this project's model, or the challenger, whose
            features it computes, does not have its weights.
    """
    from mlgitops.pipeline import pretrained

    contract = Contract.read((folder / "contract.yaml").read_bytes())
    version = json.loads((folder / "manifest.json").read_bytes())
    recipe = settings.trained(version, contract.task)
    data = (folder.parent / FILE).read_bytes()
    if version[ENTRY]["role"] == "model":
        out.write_bytes(pretrained.model(recipe, contract, data).exported)
        return
    model = operators.read((folder / version["model"]["file"]).read_bytes())
    named = pretrained.section(recipe)
    file = foreign.read(data, named, contract, recipe.columns)
    if not (frozen := weights(file.model, [file.output])):
        raise ContractError(
            f"{version[ENTRY]['file']} has no list of weights by which it could be "
            "found in the model again: take another file"
        )
    outputs = [output.name for output in model.graph.output]
    if lacking := len(frozen - weights(model, outputs)):
        raise ContractError(
            f"{version[ENTRY]['file']} is to stay as it is, and the model lacks "
            f"{lacking} of its lists of weights, or does not read them: build it again "
            "(`make repro` here, the workflow `train` on GitHub)"
        )


def weights(model: Any, outputs: Sequence[str]) -> set[bytes]:
    """Return the lists of numbers that outputs of an ONNX model are computed with.

    Lists of one number aside, and those that nothing reads, which prove nothing.
    """
    import onnx

    found = set()
    for part in _read(model.graph, outputs):
        numbers: np.ndarray = np.empty(0)
        if isinstance(part, onnx.TensorProto) and part.data_type in foreign.NUMBERS:
            numbers = onnx.numpy_helper.to_array(part)
        elif isinstance(part, onnx.AttributeProto):
            numbers = np.array(part.floats)
        elif isinstance(part, onnx.TensorProto) and part.data_type in QUANTISED:
            numbers = onnx.numpy_helper.to_array(part).astype(np.int16)
        if numbers.size > 1:
            kind = np.int16 if numbers.dtype == np.int16 else np.float32
            found.add(numbers.astype(kind).tobytes())
    return found


def _read(graph: Any, outputs: Sequence[str]) -> Iterator[Any]:
    """Yield every part of a graph that its outputs depend on; it is in their order."""
    import onnx

    needed = set(outputs)
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        for part in operators.parts(node):
            if isinstance(part, onnx.NodeProto):
                needed.update(part.input)
            yield part
    yield from (part for part in graph.initializer if part.name in needed)


def main() -> None:
    """Confine this process, then make the model; a refusal is one sentence, exit 1."""
    sandbox.confine()
    try:
        make(*map(Path, sys.argv[1:3]))
    except (ContractError, ValueError) as error:
        raise SystemExit(str(error)) from None
    sandbox.leave()


if __name__ == "__main__":
    main()
