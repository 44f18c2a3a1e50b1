"""A file that was trained elsewhere: the model itself, or features of one, or refused.

One is real, `logreg_iris.onnx` of ONNX Runtime (MIT); the others are made here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from machinery import judged
from machinery.test_validate import Bench, foreign, outside
from mlgitops import lock
from mlgitops.judge import evaluation, gates, identity, licence, verdict
from mlgitops.judge import pretrained as judge
from mlgitops.judgement import Refused
from mlgitops.monitor import performance
from mlgitops.pipeline import (
    adaptation,
    data,
    fitting,
    imports,
    operators,
    parity,
    provenance,
    settings,
)
from mlgitops.pipeline import (
    train as stage,
)
from mlgitops.pipeline.arrays import Columns
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.schema import SettingsError
from mlgitops.release import bom, card
from model import features

IRIS = Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx"
OPSET = {"": 17, "ai.onnx.ml": 3}
NUMBERS = ["price", "age"]
ROWS = 400
FLOAT, TEXT = TensorProto.FLOAT, TensorProto.STRING


def terms(task: str = "binary", **columns: Any) -> Contract:
    """Return the contract of judged.py, whose age is never missing here."""
    return Contract.parse(document(task, **columns))


def document(task: str = "binary", **columns: Any) -> dict[str, Any]:
    """Return the same as its file holds it."""
    found = judged.contract(task)
    age = dict(found["columns"]["price"])
    return {**found, "columns": {**found["columns"], "age": age, **columns}}


def table(task: str = "binary", **columns: Any) -> pd.DataFrame:
    """Return rows of judged.py without gaps."""
    frame = judged.rows(ROWS, 3, task).fillna({"age": 0.0})
    return data.check(frame.assign(**columns), terms(task, **_typed(columns)))


def _typed(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the contract of further columns, which are texts."""
    text = {"type": "text", "missing": True, "max_length": 100}
    return dict.fromkeys(columns, text)


def recipe(file: Path | bytes, task: str = "binary", **changes: Any) -> settings.Train:
    """Return the settings of training on a file, which is written where it is named."""
    bytes_ = file if isinstance(file, bytes) else file.read_bytes()
    Path("model").mkdir(exist_ok=True)
    Path("model/it.onnx").write_bytes(bytes_)
    named = {"file": "model/it.onnx", "sha256": hashlib.sha256(bytes_).hexdigest()}
    named |= {"licence": "MIT", "source": "https://example.com/it.onnx"}
    own = changes.pop("pretrained", {})
    section = {"seed": 1, "estimator": "pretrained", "columns": NUMBERS, "parity": 1e-6}
    section |= {"threshold": 0.5} if task == "binary" else {}
    section |= {"pretrained": {**named, **own}, **changes}
    return settings.train({"train": section}, task)


def built(
    wanted: settings.Train, frame: pd.DataFrame, agreed: Contract
) -> tuple[Any, bytes, np.ndarray]:
    """Return what is fitted, what is exported, and the file's predictions."""
    fitted = fitting.fit(frame, agreed, wanted)
    exported = fitting.export(fitted, agreed, wanted.columns)
    arrays = data.inputs(frame, agreed, wanted.columns)
    parity.check_features(fitted, arrays, agreed)
    proof = parity.parity(fitted, exported, arrays, agreed)
    assert proof["max_difference"] <= wanted.parity
    operators.check(operators.read(exported))
    output = fitting.TASKS[agreed.task].output
    return fitted, exported, fitting.score(exported, arrays, output)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def elsewhere(task: str = "binary", **options: Any) -> tuple[Any, bytes]:
    """Return a linear model that was trained elsewhere, and its usual export."""
    frame = table(task)
    kind = LinearRegression if task == "regression" else LogisticRegression
    X = frame[NUMBERS].to_numpy(np.float32)
    model = kind().fit(X, frame["returned"])
    return model, to_onnx(
        model, X[:1], target_opset=OPSET, **options
    ).SerializeToString()


def made(
    nodes: list[Any], inputs: Any, outputs: Any, *constants: Any, **more: Any
) -> bytes:
    """Return a file of these nodes: inputs and outputs by name, with type and sizes."""
    infos = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "made",
        [infos(name, *about) for name, about in inputs.items()],
        [infos(name, *about) for name, about in outputs.items()],
        list(constants),
    )
    opsets = [
        helper.make_opsetid(d, v)
        for d, v in (more or {"opset": OPSET})["opset"].items()
    ]
    return bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )


def simple(kind: str = "Sigmoid", inputs: Any = None, **outputs: Any) -> bytes:
    """Return a file with one node on a matrix of two columns."""
    inputs = inputs or {"X": (FLOAT, [None, 2])}
    outputs = outputs or {"p": (FLOAT, [None, 2])}
    return made([helper.make_node(kind, [*inputs][:1], [*outputs])], inputs, outputs)


# --- the model itself -------------------------------------------------------------


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_file_from_elsewhere_predicts_here_what_it_did_there(task: str) -> None:
    """One matrix in, dictionaries of probabilities out, as converters write it."""
    model, file = elsewhere(task)
    fitted, _, predictions = built(recipe(file, task), table(task), terms(task))
    X = table(task)[NUMBERS].to_numpy(np.float32)
    expected = model.predict(X) if task == "regression" else model.predict_proba(X)
    if task == "binary":
        expected = expected[:, 1]
    if task == "multiclass":  # the file has its classes in another order
        classes = list(terms(task).classes)
        assert list(model.classes_) != classes
        expected = expected[:, [list(model.classes_).index(n) for n in classes]]
    assert np.abs(predictions - expected).max() < 1e-5
    assert fitted.fit(None) is fitted, "nothing is trained"


def test_a_file_with_an_input_for_each_column_gets_each_by_its_name() -> None:
    frame, columns = table(), ["shop", "price"]
    one_hot = OneHotEncoder(handle_unknown="ignore")
    encode = ColumnTransformer([("shop", one_hot, ["shop"])], remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression())
    model.fit(frame[columns], frame["returned"])
    types = [
        ("price", FloatTensorType([None, 1])),
        ("shop", StringTensorType([None, 1])),
    ]
    options = {id(model): {"zipmap": False}}
    file = convert_sklearn(
        model, initial_types=types[::-1], options=options, target_opset=OPSET
    ).SerializeToString()
    wanted = recipe(
        file, columns=["price", "shop"], pretrained={"output": "probabilities"}
    )
    *_, predictions = built(wanted, frame, terms())
    expected = model.predict_proba(frame[columns])[:, 1]
    assert np.abs(predictions - expected).max() < 1e-6


def test_a_real_file_is_used_as_it_is() -> None:
    """An old format, a batch of three rows, operators of ai.onnx.ml alone, a ZipMap."""
    agreed = Contract.parse({**document("multiclass"), "classes": [0, 1, 2]})
    frame = table("multiclass")
    frame["returned"] = frame["returned"].map({"low": "0", "mid": "1", "high": "2"})
    *_, predictions = built(recipe(IRIS, "multiclass"), frame, agreed)
    session = onnxruntime.InferenceSession(IRIS.read_bytes())
    X = frame[NUMBERS].to_numpy(np.float32)[:3]
    (answers,) = session.run(["probabilities"], {"float_input": X})
    assert [list(row.values()) for row in answers] == predictions[:3].tolist()
    with pytest.raises(ContractError, match="takes 2 columns") as refused:
        built(recipe(IRIS, "multiclass", columns=["price"]), frame, agreed)
    assert "float_input float [n, 2]" in str(refused.value)


def test_the_stage_says_that_nothing_was_trained_and_names_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, file = elsewhere()
    wanted = recipe(file)
    frame = table()
    for name in ("model", "requirements"):
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(judged.ROOT / name, name, ignore=unneeded, dirs_exist_ok=True)
    Path("contract.yaml").write_text(yaml.safe_dump(document()))
    Path("params.yaml").write_text(yaml.safe_dump({"train": wanted.section}))
    frame.attrs["source_sha256"] = "0" * 64
    frame.to_parquet("train.parquet")
    stages = {"stages": {"train": {"deps": ["model/features.py"]}}}
    Path("dvc.yaml").write_text(yaml.safe_dump(stages))
    paths = [Path(name) for name in ("train.parquet", "model.onnx", "manifest.json")]
    with pytest.raises(ContractError, match=r"model/it.onnx is read, and dvc.yaml"):
        stage.train(*paths)
    stages["stages"]["train"]["deps"] = ["model"]
    Path("dvc.yaml").write_text(yaml.safe_dump(stages))
    stage.train(*paths)
    assert "nothing was trained" in capsys.readouterr().out
    version = json.loads(Path("manifest.json").read_text())
    named = {k: wanted.section["pretrained"][k] for k in ("file", "licence", "source")}
    assert version["pretrained"].items() >= {**named, "role": "model"}.items()
    assert version["claimed"]["parity"]["max_difference"] < 1e-6
    first = [path.read_bytes() for path in paths]
    stage.train(*paths)
    assert [path.read_bytes() for path in paths] == first


# --- features of an estimator -----------------------------------------------------

WORDS = {"late": (1.0, 0.5), "broken": (0.9, -0.2), "thanks": (-1.0, 0.1)}


def embedding(padded: bool = False) -> bytes:
    """Return the mean vector of a text's words, by a table of words: [n, 1] to [n, 2].

    Of all words and the padding to the longest text of the batch, if `padded`.
    """
    node = helper.make_node
    count = ["width"] if padded else ["count"]
    vectors = np.array([[0, 0], *WORDS.values()], np.float32)
    return made(
        [
            node("StringSplit", ["text"], ["words", "count"]),
            node(
                "LabelEncoder",
                ["words"],
                ["index"],
                domain="ai.onnx.ml",
                keys_strings=list(WORDS),
                values_int64s=[1, 2, 3],
                default_int64=0,
            ),
            node("Gather", ["vectors", "index"], ["found"]),
            node("ReduceSum", ["found", "axes"], ["sum"], keepdims=0),
            node("Shape", ["words"], ["width"], start=2),
            node("Cast", count, ["number"], to=FLOAT),
            node("Max", ["number", "one"], ["divisor"]),
            node("Div", ["sum", "divisor"], ["mean"]),
        ],
        {"text": (TEXT, [None, 1])},
        {"mean": (FLOAT, [None, 2])},
        onnx.numpy_helper.from_array(vectors, "vectors"),
        onnx.numpy_helper.from_array(np.array([1, 2]), "axes"),
        onnx.numpy_helper.from_array(np.float32([1]), "one"),
        opset={"": 20, "ai.onnx.ml": 3},
    )


@pytest.fixture
def texts() -> pd.DataFrame:
    """Return rows with a text that tells the target, some of them missing."""
    frame = judged.rows(ROWS, 3)
    random = np.random.default_rng(0)
    told = np.where(frame["returned"] == 1, "It came LATE, and broken!", "Thanks a lot")
    odd = random.choice(["", "Ünïcode 漢字 late", "  ", "thanks thanks"], ROWS)
    return table(message=np.where(random.random(ROWS) < 0.2, odd, told))


TEXT_TERMS = {"message": {"type": "text", "missing": True, "max_length": 100}}


def on_text(file: bytes, name: str = "logistic_regression") -> settings.Train:
    """Return the settings of an estimator on a file that takes the text."""
    columns, about = ["message", "price"], {"columns": ["message"]}
    return recipe(file, columns=columns, estimator=name, pretrained=about)


@pytest.mark.parametrize("name", ["logistic_regression", "hist_gradient_boosting"])
def test_an_estimator_learns_on_a_frozen_file(texts: pd.DataFrame, name: str) -> None:
    """One file, whose features are the table's own vectors, words and all."""
    wanted = on_text(embedding(), name)
    fitted, exported, predictions = built(wanted, texts, terms(**TEXT_TERMS))
    assert fitted[0].names == ["price", "pretrained_0", "pretrained_1"]
    X = fitting.table(data.inputs(texts, terms(**TEXT_TERMS), wanted.columns))
    made_ = fitted[0].transform(X)
    first = [
        np.mean([WORDS.get(w, (0, 0)) for w in text.split()] or [[0, 0]], axis=0)
        for text in X["message"]
    ]
    assert np.allclose(made_[["pretrained_0", "pretrained_1"]], first, atol=1e-6)
    apart = texts["returned"].to_numpy() == (predictions > 0.5)
    assert apart.mean() > 0.85
    vectors = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load_from_string(exported).graph.initializer
        if t.name.endswith("pretrained/vectors")
    ]
    assert len(vectors) == 1 and vectors[0].shape == (4, 2), "frozen, as it came"


def test_a_row_that_depends_on_its_batch_is_refused(texts: pd.DataFrame) -> None:
    """In training it would be one of many, in production alone."""
    wanted = on_text(embedding(padded=True))
    with pytest.raises(ContractError, match="a row other numbers alone"):
        built(wanted, texts, terms(**TEXT_TERMS))


def test_features_are_made_of_its_outputs_too(
    texts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(columns: Columns) -> Columns:
        ratio = columns["pretrained_0"] / columns["price"]
        return {
            "price": columns["price"],
            "ratio": ratio,
            "other": columns["pretrained_1"],
        }

    computed.__code__ = computed.__code__.replace(co_filename=features.__file__)
    monkeypatch.setattr(features, "features", computed)
    wanted = on_text(embedding())
    fitted, *_ = built(wanted, texts, terms(**TEXT_TERMS))
    assert fitted[1].names == ["price", "ratio", "other"]
    alone = recipe(elsewhere()[1])
    with pytest.raises(ContractError, match="features"):
        fitting.fit(texts, terms(**TEXT_TERMS), alone)


@pytest.mark.parametrize("name", ["logistic_regression", "hist_gradient_boosting"])
def test_an_infinite_output_is_a_missing_feature(name: str) -> None:
    """In training, in the file and at the server; its values may have any names."""
    nodes = [("Max", ["X", "zero"], "table"), ("Reciprocal", ["table"], "features")]
    file = made(
        [helper.make_node(kind, taken, [given]) for kind, taken, given in nodes],
        {"X": (FLOAT, [None, 2])},
        {"features": (FLOAT, [None, 2])},
        onnx.numpy_helper.from_array(np.float32([0]), "zero"),
    )
    wanted = recipe(file, estimator=name)
    fitted, _, predictions = built(wanted, table(), terms())
    X = table()[NUMBERS]
    features_ = fitted[0].transform(X).to_numpy()
    assert np.array_equal(np.isnan(features_), X.to_numpy() <= 0)
    assert np.isfinite(features_).any() and np.isfinite(predictions).all()


def test_an_old_file_is_brought_to_the_estimators_opset() -> None:
    """ReduceMean had its axes as an attribute before opset 18."""
    node = helper.make_node("ReduceMean", ["X"], ["m"], axes=[1])
    inputs, outputs = {"X": (FLOAT, [3, 2])}, {"m": (FLOAT, [3, 1])}
    file = made([node], inputs, outputs, opset={"": 12})
    wanted = recipe(file, estimator="logistic_regression", pretrained={"keep": True})
    fitted, exported, _ = built(wanted, table(), terms())
    assert fitted[0].names == ["price", "age", "pretrained"]
    opsets = {o.domain: o.version for o in onnx.load_from_string(exported).opset_import}
    assert opsets[""] >= 18
    X = table()[NUMBERS]
    mean = fitted[0].transform(X)["pretrained"]
    assert np.allclose(mean, X.mean(axis=1), atol=1e-6)


def test_a_warm_start_stands_on_the_champions_own_file() -> None:
    """What it predicts is a feature, to the last digit; the columns come with it."""
    section = {
        "seed": 1,
        "estimator": "logistic_regression",
        "columns": ["shop", "price"],
    }
    section |= {"threshold": 0.5, "parity": 1e-6}
    old = settings.train({"train": section}, "binary")
    _, champion, before = built(old, table(), terms())
    about = {"source": "demand@v1.0.0", "licence": "LicenseRef-own", "keep": True}
    about |= {"columns": ["shop", "price"]}
    wanted = recipe(
        champion,
        columns=["shop", "price", "age"],
        estimator="hist_gradient_boosting",
        pretrained=about,
    )
    fitted, _, after = built(wanted, table(), terms())
    X = fitting.table(data.inputs(table(), terms(), wanted.columns))
    assert np.array_equal(fitted[0].transform(X)["pretrained"], before)
    y = table()["returned"].to_numpy()
    assert np.abs(after - y).mean() < np.abs(before - y).mean()


# --- refused ----------------------------------------------------------------------


def edited(change: Any, file: bytes | None = None) -> bytes:
    """Return a file after a change of it."""
    model = onnx.load_from_string(file or elsewhere()[1])
    change(model)
    return bytes(model.SerializeToString())


def external(model: Any) -> None:
    """Let its first constant be read from another file."""
    model.graph.initializer.append(helper.make_tensor("c", FLOAT, [1], [1.0]))
    model.graph.initializer.append(helper.make_tensor("d", FLOAT, [1], [1.0]))
    outside(model)


def chance(model: Any) -> None:
    """Add noise."""
    model.graph.node.append(helper.make_node("RandomUniformLike", ["X"], ["noise"]))


def usual() -> bytes:
    """Return what passes."""
    return elsewhere()[1]


WORDED = {"X": (TEXT, [None, 2])}
TWO = {"a": (FLOAT, [None, 1]), "b": (FLOAT, [None, 1])}
BINARY = {"pretrained": {"classes": [0, 1]}}
PICTURE = {"X": (FLOAT, [None, 3, 8, 8])}
LABEL = (TensorProto.INT64, [None, 1])
HALVES = {"c": (FLOAT, [None, 1]), "d": (FLOAT, [None, 1])}
REFUSED: list[tuple[str, Any, dict[str, Any], str]] = [
    ("external data", lambda: edited(external), {}, "external data"),
    ("custom operator", lambda: edited(foreign), {}, "not ONNX's own"),
    ("chance", lambda: edited(chance), {}, "RandomUniformLike"),
    ("no ONNX", lambda: b"PK", {}, "not an ONNX file"),
    ("a picture", lambda: simple(inputs=PICTURE), {}, "picture"),
    ("too few columns", usual, {"columns": ["price"]}, "takes 2 columns"),
    ("other names", lambda: simple(inputs=TWO), {}, "a float .*b float.* given price"),
    ("a category", usual, {"columns": ["shop", "age"]}, 'column "shop"'),
    ("numbers", lambda: simple("Identity", WORDED), {}, "takes texts"),
    ("labels alone", lambda: simple("ArgMax", p=LABEL), {}, "labels alone"),
    ("no such output", usual, {"pretrained": {"output": "p"}}, "'p' is not"),
    ("several outputs", lambda: simple("Split", **HALVES), {}, "several: c float"),
    ("unnamed classes", simple, {}, "names no classes"),
    ("other classes", lambda: elsewhere("multiclass")[1], {}, "3 numbers a row"),
    ("no probabilities", lambda: simple("Identity"), BINARY, "no probabilities"),
    ("one for all", lambda: simple("ReduceMax"), {}, r"\[1, 1\] numbers for 2 rows"),
    ("no number", lambda: simple("Log"), BINARY, "no number"),
]


@pytest.mark.parametrize(
    ("file", "changes", "noun"),
    [row[1:] for row in REFUSED],
    ids=[r[0] for r in REFUSED],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(
    file: Any, changes: dict[str, Any], noun: str
) -> None:
    with pytest.raises(ContractError, match=noun) as refused:
        built(recipe(file(), **changes), table(), terms())
    assert "\n" not in str(refused.value) and "model/it.onnx" in str(
        refused.value
    ) + "model/it.onnx" * noun.startswith("'p'")


def test_the_control_of_what_is_refused_passes() -> None:
    built(recipe(elsewhere()[1]), table(), terms())
    built(recipe(simple(), pretrained={"classes": [0, 1]}), table(), terms())


def test_a_column_that_may_be_missing_and_is_no_number_then() -> None:
    agreed = Contract.parse(judged.contract())
    with pytest.raises(ContractError, match='where "age" is missing'):
        built(recipe(elsewhere()[1]), table(), agreed)


def test_another_file_is_refused_and_so_is_none() -> None:
    wanted = recipe(elsewhere()[1])
    Path("model/it.onnx").write_bytes(simple())
    with pytest.raises(SettingsError, match=r"sha256 is .* has "):
        fitting.fit(table(), terms(), wanted)
    Path("model/it.onnx").unlink()
    with pytest.raises(SettingsError, match="missing"):
        fitting.fit(table(), terms(), wanted)


@pytest.mark.parametrize(
    ("entry", "noun"),
    [
        ({"licence": "apache"}, "licence must be an SPDX licence"),
        ({"licence": "mit"}, "as SPDX has it, MIT"),
        ({"source": "a friend"}, "source must be an address"),
        ({"sha256": "1" * 63}, "sha256sum model/it.onnx"),
        ({"file": "../it.onnx"}, "in this repository"),
        ({"file": "model/it.pt"}, "ONNX file"),
        ({"license": "MIT"}, "did you mean licence"),
        ({"columns": ["price"]}, "lacks age"),
        ({"columns": ["price", "shop"]}, "not one of train.columns"),
        ({"keep": True}, "keep is for an estimator"),
    ],
)
def test_a_section_that_does_not_say_whose_it_is(
    entry: dict[str, Any], noun: str
) -> None:
    with pytest.raises(SettingsError, match=noun):
        recipe(b"", pretrained=entry)
    with pytest.raises(SettingsError, match="required key .*licence"):
        settings.train(
            {
                "train": {
                    **recipe(b"").section,
                    "pretrained": {
                        "file": "a.onnx",
                        "sha256": "0" * 64,
                        "source": "https://a/b",
                    },
                }
            },
            "binary",
        )


def test_the_estimator_pretrained_needs_a_file() -> None:
    section = {n: v for n, v in recipe(b"").section.items() if n != "pretrained"}
    with pytest.raises(SettingsError, match="train.pretrained is missing"):
        settings.train({"train": section}, "binary")


def test_a_file_that_is_read_is_listed_in_dvc_yaml(tmp_path: Path) -> None:
    Path("dvc.yaml").write_text("stages: {train: {deps: [model/it.onnx]}}")
    imports.demand_listed("train", "model/it.onnx")
    with pytest.raises(ContractError, match="add it to the deps of train"):
        imports.demand_listed("train", "model/other.onnx")


# --- the judge --------------------------------------------------------------------


def named(file: bytes, **changes: Any) -> dict[str, Any]:
    """Return a manifest that names a file."""
    return {
        "pretrained": provenance.entry("pretrained", recipe(file).pretrained)[
            "pretrained"
        ]
        | changes
    }


@pytest.fixture
def main(tmp_path: Path) -> dict[str, Any]:
    """Write main's params.yaml, and return it."""
    params = judged.params(NUMBERS)
    params["gates"]["licences"] = ["Apache-2.0", "MIT"]
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return params


def permitted(version: dict[str, Any], file: bytes | None) -> Any:
    """Ask the judge about a version whose proposal holds a file."""
    Path("pretrained.onnx").unlink(missing_ok=True)
    models = {"demand@v1.0.0": hashlib.md5(b"file").hexdigest()}
    return licence.permitted(Path(), version, lambda path: file, "binary", models.get)


def test_main_says_which_licences_a_file_may_have(main: dict[str, Any]) -> None:
    (check,) = permitted(named(b"file"), b"file")
    assert (
        check.passed and "MIT" in check.reason and "nothing was trained" in check.reason
    )
    assert permitted({}, None) == []
    assert permitted(named(b"file", source="demand@v1.0.0"), b"file")[0].passed
    for version, file, noun in (
        (named(b"file", source="demand@v1.1.0"), b"file", "not a version"),
        (named(b"other", source="demand@v1.0.0"), b"other", "not the model of"),
        (named(b"file", licence="GPL-3.0-only"), b"file", "allows Apache-2.0, MIT"),
        (named(b"file"), b"other", "has the sha256"),
        (named(b"file"), None, "not in the proposal"),
    ):
        with pytest.raises(Refused, match=noun) as refused:
            permitted(version, file)
        assert refused.value.check.id == "pretrained"
    del main["gates"]["licences"]
    Path("params.yaml").write_text(yaml.safe_dump(main))
    with pytest.raises(Refused, match="allows none"):
        permitted(named(b"file"), b"file")


def test_the_judge_makes_the_model_of_the_file_again(
    main: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another model under the file's name is refused, whatever its manifest says."""
    file = elsewhere()[1]
    wanted = recipe(file)
    _, exported, _ = built(wanted, table(), terms())
    more = {**named(file), "columns": NUMBERS, "params": wanted.section}
    monkeypatch.chdir(judged.ROOT)  # where the children find the machinery
    bench = Bench.__new__(Bench)
    bench.folder, bench.frame = tmp_path, judged.rows(600).fillna({"age": 0.0})
    bench.put("challenger", onnx.load_from_string(exported), terms=document(), **more)
    (tmp_path / licence.FILE).write_bytes(file)
    model = evaluation.read_model(tmp_path / "challenger")
    context = evaluation.Evaluation(
        contract=terms(),
        params=main,
        gates=gates.parse(main, "binary"),
        holdout=table(),
        challenger=model,
        champion=None,
        rows=table(),
    )
    arrays = data.inputs(table(), terms(), NUMBERS)
    model.predictions = fitting.score(exported, arrays, "probability").astype(float)
    judge.add(context)
    (check,) = context.judgement.checks
    assert check.passed and check.value < 1e-7
    assert "not known" in context.judgement.cautions[0]
    shutil.rmtree(model.folder / "again")
    model.predictions = model.predictions * 0.99
    judge.add(context)
    assert not context.judgement.checks[-1].passed


def test_the_version_that_is_named_is_looked_up_by_its_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = {"tag": "demand@v1.0.0", "commit": "c" * 40}
    ledger: Any = SimpleNamespace(releases=lambda: [record])
    out = lock.Out("train", "build/model.onnx", "1" * 32, 5)
    built_then = lock.Lock("2" * 64, (out,))
    monkeypatch.setattr(verdict.git, "bring", lambda commit: None)
    monkeypatch.setattr(verdict.lock, "at", lambda commit: built_then)
    assert verdict._model_of(ledger, "demand@v1.0.0") == "1" * 32
    assert verdict._model_of(ledger, "demand@v1.1.0") is None


def test_a_file_that_dvc_tracks_is_no_table_of_the_stages() -> None:
    """It is brought to the judge, and the raw data are still one table."""
    outs = [
        lock.Out("data", f"data/{n}", n[0] * 32, 5) for n in ("a.parquet", "b.onnx")
    ]
    pointers = {out.path: out for out in outs}
    deps = [{"path": out.path, "md5": out.md5} for out in outs]
    text = yaml.safe_dump({"stages": {"train": {"deps": deps}}}).encode()
    assert identity.raw_data(text, pointers) == outs[0]
    two = text.replace(b"b.onnx", b"b.parquet")
    with pytest.raises(Refused, match="not 2"):
        identity.raw_data(two, {**pointers, "data/b.parquet": outs[1]})


def test_card_and_bill_say_whose_it_is() -> None:
    version = {**named(b"file"), "data": {"train_rows": 5}, "params": {}}
    version["model"] = {"sha256": "1" * 64}
    text = card._training(version)
    assert "Nothing was trained here" in text and "MIT" in text
    version["pretrained"]["role"] = "features"
    assert "was trained on the outputs of" in card._training(version)
    (component,) = bom._pretrained(version)
    assert component["licenses"] == [{"expression": "MIT"}]
    assert bom._pretrained({}) == [] and "MIT" not in card._training(
        {**version, "pretrained": None}
    )


def test_the_monitor_says_that_newer_rows_change_nothing(main: dict[str, Any]) -> None:
    main["train"] = dict(recipe(b"").section)
    rows = table()
    metric: Any = None
    found = performance.gain(rows, rows, rows, terms(), main, metric)
    assert isinstance(found, str) and "nothing is trained here" in found


def test_a_model_that_stands_on_other_weights_is_refused(
    texts: pd.DataFrame, tmp_path: Path
) -> None:
    """Frozen is what the model's file says, whatever the stage did."""
    agreed = terms(**TEXT_TERMS)
    wanted = on_text(embedding())
    _, exported, _ = built(wanted, texts, agreed)
    entry = provenance.entry(wanted.estimator, wanted.pretrained)
    version = {**entry, "params": wanted.section, "model": {"file": "model.onnx"}}
    folder = tmp_path / "challenger"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(version))
    (folder / "contract.yaml").write_text(yaml.safe_dump(document(**TEXT_TERMS)))
    (tmp_path / licence.FILE).write_bytes(embedding())
    (folder / "model.onnx").write_bytes(exported)
    judge.make(folder, folder / "out")

    def tuned(model: Any) -> None:
        (vectors,) = (t for t in model.graph.initializer if "vectors" in t.name)
        changed = onnx.numpy_helper.to_array(vectors) * 1.01
        vectors.CopyFrom(onnx.numpy_helper.from_array(changed, vectors.name))

    def beside(model: Any) -> None:
        tuned(model)
        vectors = onnx.load_from_string(embedding()).graph.initializer[0]
        vectors.name = "the_files_own_which_nothing_reads"
        model.graph.initializer.append(vectors)
        unread = helper.make_node("Identity", [vectors.name], ["unread"])
        model.graph.node.insert(0, unread)

    for change in (tuned, beside):
        (folder / "model.onnx").write_bytes(edited(change, exported))
        with pytest.raises(ContractError, match="lacks 1 of its lists of weights"):
            judge.make(folder, folder / "out")


def test_weights_of_an_output_that_is_not_taken_are_not_asked_for() -> None:
    """A file with two outputs is frozen where one is used."""
    nodes = [("MatMul", ["X", "a"], "taken"), ("MatMul", ["X", "b"], "left")]
    file = made(
        [helper.make_node(kind, taken, [given]) for kind, taken, given in nodes],
        {"X": (FLOAT, [None, 2])},
        {"taken": (FLOAT, [None, 2]), "left": (FLOAT, [None, 2])},
        *[
            onnx.numpy_helper.from_array(np.eye(2, dtype="f") * n, k)
            for n, k in ((2, "a"), (3, "b"))
        ],
    )
    model = operators.read(file)
    assert len(judge.weights(model, ["taken"])) == 1
    assert len(judge.weights(model, ["taken", "left"])) == 2


@pytest.mark.parametrize(
    ("changes", "noun"),
    [
        ({"weights": "balanced"}, "weights is for an estimator that is trained"),
        ({"calibration": "sigmoid"}, "calibration is for an estimator"),
        ({"early_stopping": {"share": 0.2, "rounds": 3}}, "early_stopping is for"),
        ({"monotonic": {"age": "increasing"}}, "monotonic promises nothing"),
        (
            {"mitigation": {"method": "reweighing", "columns": ["shop"]}},
            "mitigation is for an estimator",
        ),
    ],
)
def test_what_is_learnt_needs_an_estimator_that_learns(
    changes: dict[str, Any], noun: str
) -> None:
    with pytest.raises(SettingsError, match=noun):
        recipe(b"", **changes)


def test_a_misspelt_section_is_refused_where_nothing_is_trained() -> None:
    wanted = recipe(elsewhere()[1], interval={"coverage": 0.9})
    with pytest.raises(SettingsError, match="interval is not an estimator"):
        built(wanted, table(), terms())


def test_one_number_a_row_has_no_classes_to_name() -> None:
    """Else their order would be thought to turn it round."""
    named = recipe(b"", pretrained={"classes": [1, 0]}).pretrained
    assert named is not None
    file: Any = SimpleNamespace(file="model/it.onnx", labels=())
    with pytest.raises(ContractError, match="one number a row"):
        adaptation.order(file, named, terms(), 1)
    assert adaptation.order(file, replace(named, classes=()), terms(), 1) == [0]
