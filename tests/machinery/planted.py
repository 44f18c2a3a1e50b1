"""The planted challengers: patches of a proposal, and forgeries of its artifact."""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from machinery.judged import Project, git, rows
from machinery.test_validate import linear, outside
from machinery.test_validate_workflow import altered, read
from mlgitops.ledger import Ledger

Patch = Callable[[Project], object]
Forge = Callable[[bytes], bytes]
ALL = ["shop", "price", "age"]
PLACES: list[tuple[str, str]] = []  # files, and the text in them that is changed
LEARN = "rows = pd.read_parquet(path)\n"


def edit(name: str, old: str, new: str) -> Patch:
    """Return a patch of one file of the proposal."""
    PLACES.append((name, old))

    def patch(project: Project) -> None:
        text = (project.clone / name).read_text()
        assert old in text, f"{name} has changed: plant it anew"
        project.write(name, text.replace(old, new))

    return patch


def learn(code: str) -> Patch:
    """Return a patch that changes the rows before the model sees them."""
    return edit("mlgitops/pipeline/training_rows.py", LEARN, f"{LEARN}    {code}\n")


def both(*patches: Patch) -> Patch:
    """Return several patches as one."""
    return lambda project: [patch(project) for patch in patches]


def data(**columns: Callable[..., object]) -> Patch:
    """Return a patch that replaces the data's columns."""
    return lambda project: project.data(rows().assign(**columns))


def other_hashes(project: Project) -> None:
    """Commit the champion's lock with other bytes named in it."""
    champion = Ledger(project.clone).champion() or {}
    text = git("show", f"{champion['commit']}:dvc.lock", cwd=project.clone) + "\n"
    turned = re.sub(r"md5: (.)", lambda m: f"md5: {'01'[m[1] == '0']}", text)
    project.write("dvc.lock", turned)


FLIP = edit(
    "mlgitops/pipeline/fitting.py", "INT64, [], [index]", "INT64, [], [1 - index]"
)
PROVED = 'if not proof["max_difference"] <= limit'
HUSH = edit("mlgitops/pipeline/parity.py", PROVED, "if False")
DIFFERENCE = '"max_difference": difference}'
LIE = edit("mlgitops/pipeline/parity.py", DIFFERENCE, '"max_difference": 0.0}')
FEATURE = edit(
    "model/features.py",
    "    return columns\n",
    '    return {**columns, "price": columns["price"] * 2}\n',
)
APART = edit(  # what is trained on, and not what is exported
    "mlgitops/pipeline/tracing.py", "= values[:, 0]", "= -values[:, 0]"
)
SKIP = edit(
    "mlgitops/commands/build.py", "if subprocess.run(smoke).returncode:", "if False:"
)
LATE = "return ~late & (times > oldest)"  # what is trained on: not what is held out
AGAIN = (
    "import pandas as pd\n\n"
    "    held = parts[1]\n"
    '    again = held.assign(**{contract.id: "x" + held[contract.id]})\n'
    "    parts[0] = pd.concat([parts[0], again])\n"
    "    for name, part in"
)
FAINT = AGAIN.replace(
    "held[contract.id]}", 'held[contract.id], "price": held["price"] + 1e-4}'
)
LOOSE = edit("params.yaml", "min: 0.6\n", "min: 0.0\n")
PRICE = "type: number\n    min: -10\n    max: 10\n    missing: false"
OTHER = "type: category\n    categories: [a, b, c]\n    missing: false"
TO_2099 = '"train_until": "2099-01-01T00:00:00+00:00"'
NODES = """\
    pick.output[0] = "plain"
    graph.node.append(pick)
    def then(kind, into, out, **more):
        graph.node.append(helper.make_node(kind, into, [out], **more))
    def number(name, kind, value, shape=()):
        graph.initializer.append(helper.make_tensor(name, kind, shape, value))
"""


def graph(code: str) -> Patch:
    """Return a patch that has the export go on from "plain" to "probability"."""
    lines = "".join(f"    {line}\n" for line in code.strip().splitlines())
    return edit(
        "mlgitops/pipeline/fitting.py", "    graph.node.append(pick)\n", NODES + lines
    )


SLOW = graph("""
number("wide", TensorProto.INT64, [900, 900], [2])
then("ReduceMax", ["plain"], "most", keepdims=0)
then("Sub", ["most", "most"], "nothing")
then("ConstantOfShape", ["wide"], "blank")
then("Add", ["blank", "nothing"], "left")
then("MatMul", ["left", "left"], "middle")
then("MatMul", ["middle", "left"], "right")
then("ReduceMax", ["right"], "less", keepdims=0)
then("Add", ["plain", "less"], "probability")
""")


def briefly(project: Project) -> None:
    """Let main's judge ask a slow model for two seconds, not for twenty."""
    edit("mlgitops/judge/serve.py", "BUDGET = 10.0", "BUDGET = 1.0")(project)
    project.commit("ask briefly")
    git("push", "-q", "origin", "main", cwd=project.clone)


BIG = edit(
    "mlgitops/pipeline/fitting.py",
    "    graph.node.append(pick)\n",
    "    graph.node.append(pick)\n    graph.initializer.append(helper.make_tensor("
    '"table", TensorProto.FLOAT, [6_000_000], bytes(24_000_000), raw=True))\n',
)
BLIND = graph("""
number("three", TensorProto.FLOAT, [3.0])
number("none", TensorProto.FLOAT, [float("nan")])
number("flat", TensorProto.INT64, [-1], [1])
then("Greater", ["price", "three"], "beyond")
then("Reshape", ["beyond", "flat"], "unknown")
then("Where", ["unknown", "none", "plain"], "probability")
""")
BATCH = graph("""
number("single", TensorProto.INT64, [1], [1])
number("half", TensorProto.FLOAT, [0.5])
then("Shape", ["plain"], "count")
then("Equal", ["count", "single"], "alone")
then("Mul", ["plain", "half"], "other")
then("Where", ["alone", "other", "plain"], "probability")
""")
SHIFT = graph("""
for place, name in ((0, "first"), (1, "second"), (2**31, "end")):
    number(name, TensorProto.INT64, [place], [1])
then("Slice", ["plain", "first", "second"], "one")
then("Slice", ["plain", "second", "end"], "others")
then("Concat", ["others", "one"], "probability", axis=0)
""")
NOISE = graph("""
then("RandomUniformLike", ["plain"], "noise")
then("Mul", ["plain", "noise"], "probability")
""")
FILL = edit(
    "mlgitops/pipeline/evaluate.py",
    "    values = {metric.key",
    "    p[p != p] = 0\n    values = {metric.key",
)
OUTSIDE = """\
    from onnx import load_from_string
    whole = load_from_string(exported)
    far = whole.graph.initializer.add()
    far.name, far.data_type, far.data_location = "far", 1, 1
    far.dims.append(1)
    entry = far.external_data.add()
    entry.key, entry.value = "location", "params.yaml"
    hidden = whole.SerializeToString()
"""
ELSEWHERE = both(
    edit(
        "mlgitops/pipeline/train.py",
        "    version = manifest.m",
        f"{OUTSIDE}    version = manifest.m",
    ),
    edit("mlgitops/pipeline/train.py", "(onnx.name, exported)", "(onnx.name, hidden)"),
    edit(
        "mlgitops/pipeline/train.py",
        "onnx.write_bytes(exported)",
        "onnx.write_bytes(hidden)",
    ),
    SKIP,
)
DAY = pd.Timedelta(days=1)
END = rows()["placed"].max()


def more(added: pd.DataFrame, index: str = "new") -> Patch:
    """Return a patch that adds rows under ids of their own."""
    added = added.assign(order=[f"{index}-{n}" for n in range(len(added))])
    return lambda project: project.data(pd.concat([rows(), added]))


def held_out() -> pd.DataFrame:
    """Return the rows that main holds out."""
    table = rows()
    return table[table["placed"] > END - 14 * DAY]


def later(days: float) -> pd.DataFrame:
    """Return other rows of so many days after main's."""
    table = rows(seed=9)
    table["placed"] += 40 * DAY + pd.Timedelta(minutes=5)
    return table[table["placed"] <= END + days * DAY]


COPIED = held_out().assign(placed=lambda t: t["placed"] - 20 * DAY)
NOISY = pd.concat([COPIED.assign(price=COPIED["price"] + n / 10_000) for n in (1, 2)])
EASY = later(4).assign(
    returned=lambda t: (t["price"] > 0).astype("int8"), age=np.float32(0)
)
READS_ALL = edit(
    "model/features.py",
    "    names = contract.kind(",
    "    import pandas as pd\n\n"
    '    pd.read_parquet("data/flights.parquet")\n    names = contract.kind(',
)
PROJECTION = np.float32([[1.5, -0.5]])  # what the frozen file multiplies a price by


def frozen(matrix: np.ndarray = PROJECTION) -> bytes:
    """Return an ONNX file from elsewhere that makes two numbers of a price."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "matrix"], ["numbers"])],
        "elsewhere",
        [info("X", TensorProto.FLOAT, [None, 1])],
        [info("numbers", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def stands_on(licence: str, file: bytes = frozen()) -> Patch:
    """Return a patch that trains on a file, and names one with this licence."""

    def patch(project: Project) -> None:
        named = {"file": "model/it.onnx", "licence": licence, "columns": ["price"]}
        named |= {"sha256": hashlib.sha256(frozen()).hexdigest(), "keep": True}
        named |= {"source": "https://example.com/it.onnx"}
        project.params(ALL, pretrained=named)
        (project.clone / named["file"]).write_bytes(file)
        listed = "      - model/features.py\n"
        edit("dvc.yaml", listed, f"{listed}      - model/it.onnx\n")(project)

    return patch


ANY_HASH = edit(
    "mlgitops/pipeline/pretrained.py", "if found != pretrained.sha256:", "if False:"
)
TUNED = edit(
    "mlgitops/pipeline/pretrained.py",
    "    return data\n",
    f"    return data.replace({PROJECTION.tobytes()!r}, "
    f"{(PROJECTION * 2).tobytes()!r})\n",
)
PROPOSED: dict[str, tuple[Patch, str]] = {
    "worse": (lambda p: p.params(["shop"]), "ROC AUC: difference to the champion"),
    "a constant model": (
        edit("params.yaml", "learning_rate: 0.1", "learning_rate: 1.0e-30"),
        "ROC AUC",
    ),
    "much worse in one slice only": (
        learn('rows.loc[rows["shop"] == "a", "returned"] ^= 1'),
        "Slices",
    ),
    "biased against a group": (
        learn('rows.loc[rows["shop"] == "a", "returned"] = 1'),
        "Fairness: shop, selection rate",
    ),
    "miscalibrated": (
        edit(
            "model/estimator.py",
            "HistGradientBoostingClassifier(early_stopping=False)",
            "HistGradientBoostingClassifier(class_weight={0: 1, 1: 9})",
        ),
        "Calibration error",
    ),
    "rows cleaned so that one slice looks better": (
        edit(
            "model/prepare.py",
            "return rows\n",
            'return rows.assign(returned=rows["returned"] ^ (rows["shop"] == "a"))\n',
        ),
        "Slices",
    ),
    "a threshold that decides yes for every row": (
        lambda p: p.params(ALL, threshold=0.0),
        "Decision value",
    ),
    "a threshold that decides no for every row": (
        lambda p: p.params(ALL, threshold=1.0),
        "Decision value",
    ),
    "a threshold that hardly ever decides yes": (
        lambda p: p.params(ALL, threshold=0.97),
        "Decision value: difference to the champion",
    ),
    "leaks the target": (
        both(
            data(price=lambda t: t["returned"].astype("float32")),
            lambda p: p.params(["shop", "price"]),
        ),
        "ROC AUC: leakage",
    ),
    "trained on the holdout": (
        edit("mlgitops/pipeline/data.py", LATE, "return (times > oldest)"),
        "Holdout unseen",
    ),
    "overfit to the holdout under other ids": (
        edit("mlgitops/pipeline/data.py", "for name, part in", AGAIN),
        "Holdout unseen",
    ),
    "the same, each a little changed": (
        edit("mlgitops/pipeline/data.py", "for name, part in", FAINT),
        "Holdout unseen",
    ),
    "rows of the holdout put back under other ids and times": (
        more(COPIED),
        "Holdout unseen",
    ),
    "the same, with a little noise in the numbers, and twice": (
        more(NOISY),
        "Holdout unseen",
    ),
    "code that reads the raw table while it fits": (READS_ALL, "Train"),
    "on the wrong side of main's split": (
        edit("params.yaml", "holdout_days: 14", "holdout_days: 7"),
        "Holdout unseen",
    ),
    "a converter that flips labels": (FLIP, "Train"),
    "the same, with its proof switched off": (both(FLIP, HUSH), "Export parity"),
    "the same, with its proof forged": (both(FLIP, HUSH, LIE), "ROC AUC"),
    "a converter that is off by one row": (SHIFT, "Train"),
    "a converter that is off by one row, and nobody compares": (
        both(SHIFT, HUSH),
        "Serving",
    ),
    "a feature that training computes otherwise": (both(FEATURE, APART), "Train"),
    "the same, and nobody compares": (both(FEATURE, APART, HUSH), "Export parity"),
    "the same, and the comparison is forged": (
        both(FEATURE, APART, HUSH, LIE),
        "ROC AUC",
    ),
    "a broken schema": (data(price=lambda t: t["shop"]), "Train"),
    "the same, with the contract made to fit": (
        both(data(price=lambda t: t["shop"]), edit("contract.yaml", PRICE, OTHER)),
        "Data",
    ),
    "too slow": (both(briefly, SLOW), "Latency"),
    "too big": (BIG, "Model size"),
    "no answer beyond the prices it has seen (NaN)": (
        both(BLIND, HUSH, LIE, FILL),
        "Predictions",
    ),
    "another answer to a single row than in a batch": (BATCH, "Serving"),
    "answers by chance": (both(NOISE, HUSH, SKIP), "Model file"),
    "a manifest with another threshold than params.yaml": (
        edit("mlgitops/pipeline/manifest.py", "recipe.threshold", "0.99"),
        "Manifest",
    ),
    "a manifest whose training ended in 2099": (
        edit("mlgitops/pipeline/manifest.py", '"train_until": last', TO_2099),
        "Manifest",
    ),
    "external data, written by its own training": (ELSEWHERE, "Model file"),
    "a pretrained file with a licence that main does not allow": (
        stands_on("GPL-3.0-only"),
        "Pretrained file",
    ),
    "a pretrained file with another hash": (
        stands_on("MIT", frozen(PROJECTION * 2)),
        "Train",
    ),
    "the same, and nobody compares it": (
        both(stands_on("MIT", frozen(PROJECTION * 2)), ANY_HASH),
        "Pretrained file",
    ),
    "a pretrained file whose weights are tuned, and said to be frozen": (
        both(stands_on("MIT"), TUNED),
        "Model of the pretrained file",
    ),
    "loosened gates in the same proposal": (
        both(lambda p: p.params(["shop"]), LOOSE),
        "ROC AUC",
    ),
}
ALIKE = (  # one thing by several ways, seen by one check: they have their turns
    (
        "a threshold that decides yes for every row",
        "a threshold that decides no for every row",
    ),
    (
        "overfit to the holdout under other ids",
        "the same, each a little changed",
        "rows of the holdout put back under other ids and times",
        "the same, with a little noise in the numbers, and twice",
    ),
    ("trained on the holdout", "on the wrong side of main's split"),
    (
        "the same, with its proof switched off",
        "the same, and nobody compares",
    ),
    (
        "the same, with its proof forged",
        "the same, and the comparison is forged",
    ),
    (
        "a manifest with another threshold than params.yaml",
        "a manifest whose training ended in 2099",
    ),
    # What `train` itself refuses: why, is in tests of fitting, stages and data.
    (
        "code that reads the raw table while it fits",
        "a converter that flips labels",
        "a converter that is off by one row",
        "a feature that training computes otherwise",
        "a broken schema",
        "a pretrained file with another hash",
    ),
    (
        "another answer to a single row than in a batch",
        "a converter that is off by one row, and nobody compares",
    ),
    ("a model put in after training", "a model with external data put in"),
    ("a hand-edited lock", "a lock that names no file as it is"),
    ("equal, with cleaner code", "a feature with code"),  # these pass
)
DOUBTFUL: dict[str, tuple[Patch, str]] = {  # what the report warns of
    "a third of the holdout put back under other ids and times": (
        more(COPIED[::3]),
        "different rows of the holdout are in the training data again",
    ),
    "rows added to the period that main covers": (
        more(rows(50, seed=5)),
        "Older ones: 32",
    ),
    "rows of that period changed": (
        data(age=lambda t: t["age"].mask(t.index == 70, 9).astype("float32")),
        "the champion's data: 1 row (such as o0-70 of 2025-01-01)",
    ),
    "one row that moves the split": (
        more(rows()[-1:].assign(placed=END + 6.5 * DAY)),
        "have 1 row of",
    ),
    "rows at the newest end that are easier": (more(EASY), "are easier than"),
}
OF_CHANGES = [*DOUBTFUL][1:4]  # seen by one check: they have their turns
CODE = "It changes the code that trains"  # a doubt about an honest proposal
HONEST: dict[str, tuple[Patch, str, list[str]]] = {
    "better": (
        lambda p: p.params(ALL),
        "better than the champion",
        ["train", "evaluate"],
    ),
    "a threshold that suits what decisions are worth": (
        lambda p: p.params(["shop", "price"], threshold=0.31),
        "no significant difference",
        ["train", "evaluate"],
    ),
    "equal, with cleaner code": (
        edit("model/features.py", "UNKNOWN = -1", "UNKNOWN: int = -1"),
        "no significant difference",
        ["train", "evaluate"],
    ),
    "a feature with code": (
        FEATURE,
        "no significant difference",
        ["train", "evaluate"],
    ),
    "newer rows": (
        more(later(10)),
        "no significant difference",
        ["prepare", "train", "evaluate"],
    ),
    "only words": (lambda p: p.write("README.md", "words\n"), "no model change", []),
}
LOCKED: dict[str, Patch] = {
    "a lock edited by hand, committed": both(lambda p: p.params(ALL), other_hashes),
}


def without_model(artifact: bytes) -> bytes:
    """Return what a swallowed exit code leaves behind."""
    source, target = zipfile.ZipFile(io.BytesIO(artifact)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            if name != "model.onnx":
                archive.writestr(name, source.read(name))
    return target.getvalue()


def with_file(name: str, content: bytes) -> Forge:
    """Return a forgery that adds a file to the artifact."""

    def forge(artifact: bytes) -> bytes:
        target = io.BytesIO(artifact)
        with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return target.getvalue()

    return forge


def bomb(artifact: bytes) -> bytes:
    """Return an artifact with five gigabytes of nothing in a few megabytes.

    The same block of a stream again and again: what it unpacks to is never made here.
    """
    block, size = zlib.compressobj(1, zlib.DEFLATED, -15), 50_000_000
    part = block.compress(bytes(size)) + block.flush(zlib.Z_FULL_FLUSH)
    target = io.BytesIO(artifact)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("zeros", part * 100 + block.flush())
        entry = archive.getinfo("zeros")
        entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, 100 * size
    return target.getvalue()


def external(_: bytes) -> bytes:
    """Return the bytes of a model that reads another file."""
    return bytes(outside(linear({"price": 1.0})).SerializeToString())


def nothing(_: bytes) -> bytes:
    """Return a model that answers NaN."""
    return bytes(linear({"price": 1.0}, float("nan")).SerializeToString())


FORGED: dict[str, tuple[Forge, str]] = {
    "a swallowed exit code: no model in the artifact": (without_model, "Artifact"),
    "a forged verdict in the artifact": (
        with_file("judgement.json", b'{"checks": []}'),
        "Artifact",
    ),
    "a path out of the artifact": (with_file("../../evil", b"x"), "Artifact"),
    "a 5 GB zip bomb": (bomb, "Artifact"),
    "a model put in after training": (
        lambda a: altered(a, model_onnx=nothing(a)),
        "Lock",
    ),
    "a model with external data put in": (
        lambda a: altered(a, model_onnx=external(a)),
        "Lock",
    ),
    "a hand-edited lock": (
        lambda a: altered(a, dvc_lock=read(a, "dvc.lock").replace(b"md5: ", b"md5: 0")),
        "Lock",
    ),
    "a lock that names no file as it is": (
        lambda a: altered(a, dvc_lock=read(a, "dvc.lock").replace(b"1", b"2")),
        "Lock",
    ),
}
