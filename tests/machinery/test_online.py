"""The judge asks as the server does: a prediction hangs on its row and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.svm import SVC

from machinery import rows as small
from machinery.judged import CONTRACT, params
from machinery.test_tasks import ESTIMATORS, Built
from machinery.test_validate import Bench, child, linear
from mlgitops.judge import behaviour, edges, gates, online, operators
from mlgitops.judge.evaluation import Evaluation, read_model
from mlgitops.judgement import Refused
from mlgitops.pipeline import conversion, fitting
from mlgitops.pipeline.contract import Contract
from mlgitops.serving.model import ModelError, session

TERMS = Contract.parse(CONTRACT)
Node = tuple[Any, ...]  # operator, inputs, output, attributes


def planted(*nodes: Node, columns: Sequence[str] = ("price",)) -> Any:
    """Return the linear model with more nodes between "plain" and "probability"."""
    model = linear(dict.fromkeys(columns, 1.0))
    for node in model.graph.node:
        node.output[0] = node.output[0].replace("probability", "plain")
    for kind, inputs, output, *attributes in nodes:
        more = attributes[0] if attributes else {}
        model.graph.node.append(helper.make_node(kind, inputs, [output], **more))
    for name, value in CONSTANTS.items():
        kind = TensorProto.INT64 if value.dtype == np.int64 else TensorProto.FLOAT
        tensor = helper.make_tensor(name, kind, value.shape, value.ravel())
        model.graph.initializer.append(tensor)
    return model


CONSTANTS = {
    "half": np.array([0.5], np.float32),
    "six": np.array([6.0], np.float32),
    "nan": np.array([np.nan], np.float32),
    "first": np.array(0, np.int64),
    "step": np.array(1, np.int64),
    "two": np.array([2], np.int64),
    "one": np.array([1], np.int64),
    "far": np.array([9], np.int64),
    "most": np.array([400_000_000], np.int64),  # more than for one answer, no more
    "many": np.array([30_000_000], np.int64),
    "table": np.ones(2, np.float32),
    "flat": np.array([-1], np.int64),
    "tall": np.array([-1, 1], np.int64),
}
CODES = {
    "domain": "ai.onnx.ml",
    "keys_strings": ["a", "b", "c", "unknown"],
    "values_int64s": [0, 0, 1, 0],
    "default_int64": 9,
}
SIX = [("Equal", ["price", "six"], "is"), ("Cast", ["is"], "flag", {"to": 7})]
ANY = [
    *SIX,
    ("ReduceMax", ["flag"], "any", {"keepdims": 0}),
    ("Reshape", ["any", "one"], "count"),
]
WIDE = [
    ("Add", ["more", "one"], "length"),
    ("ConstantOfShape", ["length"], "blank"),
    ("Exp", ["blank"], "risen"),
    ("ReduceMin", ["risen"], "least", {"keepdims": 0}),
    ("Mul", ["plain", "least"], "probability"),
]
HALVED = [("Mul", ["plain", "half"], "other")]
MODELS: dict[str, tuple[Any, str, str]] = {
    "the size of the batch": (
        planted(
            *HALVED,
            ("Shape", ["plain"], "shape", {"end": 1}),
            ("Equal", ["shape", "one"], "single"),
            ("Where", ["single", "other", "plain"], "probability"),
        ),
        "serving",
        "must not depend on other rows",
    ),
    "the other rows of a batch": (
        planted(
            ("ReduceMean", ["plain"], "mean", {"keepdims": 0}),
            ("Add", ["plain", "mean"], "both"),
            ("Mul", ["both", "half"], "probability"),
        ),
        "serving",
        "must not depend on other rows",
    ),
    "a row's position": (
        planted(
            *HALVED,
            ("Shape", ["plain"], "shape", {"end": 1}),
            ("Squeeze", ["shape"], "count"),
            ("Range", ["first", "count", "step"], "place"),
            ("Mod", ["place", "two"], "odd"),
            ("Reshape", ["odd", "tall"], "odd_rows"),
            ("Cast", ["odd_rows"], "is_odd", {"to": 9}),
            ("Where", ["is_odd", "other", "plain"], "probability"),
        ),
        "serving",
        "must not depend on other rows",
    ),
    "no number for one value": (
        planted(*SIX, ("Where", ["is", "nan", "plain"], "probability")),
        "predictions",
        "price = 6",
    ),
    "an error for one value": (
        planted(
            *SIX,
            ("Mul", ["flag", "far"], "index"),
            ("Gather", ["table", "index"], "found"),
            ("Mul", ["plain", "found"], "probability"),
        ),
        "predictions",
        "price = 6",
    ),
    "gigabytes for one value": (
        planted(*ANY, ("Mul", ["count", "most"], "more"), *WIDE),
        "predictions",
        "price = 6",
    ),
    "an error for an unknown category": (
        planted(
            ("LabelEncoder", ["shop"], "code", CODES),
            ("Gather", ["table", "code"], "found"),
            ("Mul", ["plain", "found"], "probability"),
        ),
        "predictions",
        "the unknown shop",
    ),
    "no number for a missing value": (
        planted(
            ("Add", ["age", "plain"], "sum"),
            ("Sigmoid", ["sum"], "probability"),
        ),
        "serving",
        "never get ready: a golden row",
    ),
    "numbers of 64 bits": (
        planted(("Cast", ["plain"], "probability", {"to": 11})),
        "serving",
        "never get ready: the model did not return 1 float32",
    ),
    "chance": (
        planted(
            ("RandomUniformLike", ["plain"], "noise"),
            ("Mul", ["plain", "noise"], "probability"),
        ),
        "model_file",
        "RandomUniformLike",
    ),
}


def test_the_planted_models_are_well_formed() -> None:
    for name, (model, _, _) in MODELS.items():
        onnx.checker.check_model(fed(model, name))


def fed(model: Any, name: str) -> Any:
    """Give a planted model the inputs that its nodes read, and its output's type."""
    columns = {"an error for an unknown category": "shop"}
    columns |= {"no number for a missing value": "age"}
    if extra := columns.get(name):
        kind = TensorProto.STRING if extra == "shop" else TensorProto.FLOAT
        if extra not in [entry.name for entry in model.graph.input]:
            entry = helper.make_tensor_value_info(extra, kind, [None, 1])
            model.graph.input.append(entry)
    if name == "numbers of 64 bits":
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    if "LabelEncoder" in [node.op_type for node in model.graph.node]:
        domains = [opset.domain for opset in model.opset_import]
        if "ai.onnx.ml" not in domains:
            model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "none")
    return Bench(tmp_path)


def asked(bench: Bench, **rules: Any) -> Evaluation:
    """Ask the challenger; return what the judge knows of it then."""
    settings = params(["price"])
    for name, bounds in rules.items():
        settings["gates"][name] |= bounds
    challenger = read_model(bench.folder / "challenger")
    assert challenger
    evaluation = Evaluation(
        contract=TERMS,
        params=settings,
        gates=gates.parse(settings, "binary"),
        holdout=bench.frame.tail(1000),
        challenger=challenger,
        champion=None,
        rows=bench.frame,
    )
    online.ask(evaluation)
    return evaluation


def test_a_model_of_its_row_alone_is_let_through(bench: Bench) -> None:
    served = asked(bench).served
    assert served.difference < 1e-6 and served.slowest == (0.0, "")
    assert served.asked > 400 and len(served.predictions) == online.SAMPLE


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_goes_by_more_than_its_row_is_refused(
    name: str, bench: Bench
) -> None:
    model, check, words = MODELS[name]
    bench.put("challenger", fed(model, name))
    with pytest.raises(Refused) as refused:
        asked(bench)
    assert refused.value.check.id == check and words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_model_that_is_slow_for_one_value_is_refused(bench: Bench) -> None:
    """However fast it is on the holdout, which has no such row."""
    model = planted(*ANY, ("Mul", ["count", "many"], "more"), *WIDE)
    bench.put("challenger", model)
    slowest = asked(bench, latency={"p99_max_ms": 15}).served.slowest
    assert slowest[0] > 15 and "price = 6" in slowest[1]
    found, refused = bench.judged(latency={"p99_max_ms": 15})
    assert refused == ["latency"]
    (check,) = [check for check in found.checks if check.id == "latency"]
    assert "price = 6" in check.reason and check.value > 15


def test_what_the_server_predicts_is_compared_with_what_was_judged(
    bench: Bench,
) -> None:
    evaluation = asked(bench)
    evaluation.challenger.predictions = np.zeros(len(evaluation.holdout))
    online.add(evaluation)
    (check,) = evaluation.judgement.checks
    assert check.id == "serving" and not check.passed and check.value > 0.1


@pytest.mark.parametrize(("task", "estimator"), ESTIMATORS)
def test_an_honest_model_of_each_task_gets_one_prediction_a_row(
    task: str, estimator: str, tmp_path: Path
) -> None:
    built = Built(task, estimator, tmp_path)
    settings = params(["price"], task)
    challenger = read_model(tmp_path)
    assert challenger
    evaluation = Evaluation(
        contract=built.contract,
        params=settings,
        gates=gates.parse(settings, task),
        holdout=built.rows,
        challenger=challenger,
        champion=None,
        rows=built.rows,
    )
    online.ask(evaluation)
    challenger.predictions = built.answers.astype(np.float64)
    online.add(evaluation)
    (check,) = evaluation.judgement.checks
    assert check.passed and check.value is not None and check.value < 1e-6


HANGS = """
import time
from mlgitops.judge import serve
serve.SECONDS = 0.5
class Model:
    def predict(self, rows):
        time.sleep(60)
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
serve.Server(Model(), file, 0).ask([{}], "a row with price = 6")
"""


def test_an_answer_that_does_not_come_ends_the_child_and_names_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="no answer in time"):
        child(tmp_path, monkeypatch, HANGS)
    assert (tmp_path / "seen").read_text().strip() == "a row with price = 6"


# --- the file ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Loop", "If", "Dropout", "Bernoulli"])
def test_an_operator_that_is_not_listed_is_refused(kind: str) -> None:
    model = linear({"price": 1.0})
    model.graph.node.append(helper.make_node(kind, ["price"], ["unused"]))
    with pytest.raises(ValueError, match=f"operator {kind}"):
        operators.check(operators.read(model.SerializeToString()))


def test_no_operator_of_chance_or_control_flow_is_listed() -> None:
    """By their schemas: neither a graph in a node nor a seed of random numbers.

    Scan is bounded by the size of a tensor, and nearest neighbours need it.
    """
    assert operators.ALLOWED[""] <= {s.name for s in onnx.defs.get_all_schemas()}
    for schema in onnx.defs.get_all_schemas():
        kinds = {attribute.type for attribute in schema.attributes.values()}
        graphs = {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}
        if schema.name != "Scan" and (kinds & graphs or "seed" in schema.attributes):
            assert schema.name not in operators.ALLOWED.get(schema.domain, ()), schema


@pytest.mark.parametrize(("domain", "version"), [("", 99), ("", 8), ("ai.onnx.ml", 9)])
def test_an_opset_that_is_not_listed_is_refused(domain: str, version: int) -> None:
    model = linear({"price": 1.0})
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid(domain, version))
    with pytest.raises(ValueError, match=f"opset {version}"):
        operators.check(operators.read(model.SerializeToString()))


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "logistic_regression"])
def test_what_the_pipeline_exports_is_listed(estimator: str) -> None:
    recipe = small.recipe(estimator=estimator)
    contract = small.small()
    fitted = fitting.fit(small.make(contract, 300), contract, recipe)
    model = operators.read(fitting.export(fitted, contract, recipe.columns))
    operators.check(model)


OTHERS = [
    RandomForestClassifier(5),
    KNeighborsClassifier(),
    MLPClassifier((3,), max_iter=5),
    GaussianNB(),
    SVC(probability=True),
    make_pipeline(QuantileTransformer(n_quantiles=9), PCA(2), LogisticRegression()),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", OTHERS, ids=lambda e: type(e).__name__)
def test_what_a_team_may_add_is_listed(estimator: Any) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
    estimator.fit(X, X[:, 0] > 0)
    options = {id(estimator): {"zipmap": False}}
    exported = to_onnx(estimator, X[:1], options=options, target_opset=conversion.OPSET)
    operators.check(operators.read(exported.SerializeToString()))


def runtime_format(model: Any, folder: Path) -> bytes:
    """Return a model in the runtime's own format."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    return (folder / "model.ort").read_bytes()


def test_the_server_reads_the_format_that_the_judge_read(tmp_path: Path) -> None:
    model = linear({"price": 1.0})
    data = runtime_format(model, tmp_path)
    assert onnxruntime.InferenceSession(data), "the runtime itself takes it"
    with pytest.raises(ModelError):
        session(data)
    assert session(model.SerializeToString())


# --- the rows at the edges --------------------------------------------------------


def values(name: str, contract: Contract = TERMS, *numbers: float) -> list[Any]:
    """Return the values of a column that are tried."""
    sample = [edges.complete({"shop": "a", "price": 0.5}, contract)]
    cases = edges.cases(contract, [name], sample, (list(numbers), ["evil"]))
    return [case.row[name] for case in cases]


def test_the_edges_of_a_contract_are_asked() -> None:
    assert {-10.0, 10.0, 6.0, 0.0} <= set(values("price"))
    assert None not in values("price") and None in values("age")
    assert {"a", "b", "c", "evil", *edges.UNKNOWN} <= set(values("shop"))


def test_what_a_model_compares_with_is_asked() -> None:
    assert {1.234, 1.5, 1.367} <= {
        round(v, 4) for v in values("price", TERMS, 1.234, 1.5)
    }


def test_all_thresholds_of_a_long_tree_are_asked_and_none_of_its_leaves() -> None:
    thresholds, leaves = np.arange(600) / 8, np.arange(6000) / 6000 + 100
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_values=np.tile(thresholds, 10),
        nodes_treeids=np.full(6000, 1234),
        target_weights=leaves,
    )
    graph = helper.make_graph([node], "tree", [], [])
    numbers, _ = operators.constants(helper.make_model(graph))
    assert numbers == thresholds.tolist()


def test_a_column_without_limits_is_asked_beyond_its_data() -> None:
    column = {"type": "number", "missing": False}
    contract = Contract.parse(
        {**CONTRACT, "columns": {**CONTRACT["columns"], "price": column}}
    )
    found = values("price", contract)
    assert min(found) == -0.5 and max(found) == 1.5
