"""The judge is closed: each refusal fires for its own reason, and stays silent else."""

import contextlib
import io
import json
import math
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper

from machinery.judged import CONTRACT, Record, params, rows
from machinery.tiny import contract_hashes, sha256
from mlgitops import metrics
from mlgitops.judge import (
    artifact,
    behaviour,
    checks,
    gates,
    judge,
    operators,
    sandbox,
)
from mlgitops.judge.tasks import TASKS
from mlgitops.judgement import Check, Judgement, MetricResult, Refused, failed
from mlgitops.pipeline import data, fitting, golden, manifest
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import SettingsError

Members = dict[str, bytes]


# --- the artifact, as bytes -------------------------------------------------------


def lock_of(members: Members) -> bytes:
    """Return a dvc.lock that names the files as they are."""
    import hashlib

    outs = [
        {"path": f"build/{n}", "md5": hashlib.md5(d).hexdigest(), "size": len(d)}
        for n, d in members.items()
        if n not in artifact.NOT_OUTPUTS
    ]
    return yaml.safe_dump({"stages": {"train": {"outs": outs}}}).encode()


def members() -> Members:
    """Return the files of an artifact that is as it should be."""
    found = {name: name.encode() for name in artifact.OUTS}
    build = {
        "schema": 1,
        "pull_request": 1,
        "head_sha": "a" * 40,
        "base_sha": "b" * 40,
        "merge_sha": "c" * 40,
        "built_lock_sha256": "d" * 64,
        "restored": False,
        "stages_run": [],
        "seconds": 1.5,
        "cpu": "x86_64 some",
    }
    found |= {"build.json": json.dumps(build).encode(), "contract.yaml": b"x: 1"}
    return {**found, "dvc.lock": lock_of(found)}


def zipped(files: Members) -> bytes:
    """Return the files as a zip."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def test_a_sound_artifact_is_taken(tmp_path: Path) -> None:
    built = artifact.unpack(zipped(members()), tmp_path, 1_000_000)
    artifact.check_objects(tmp_path, built)
    assert artifact.read_build(tmp_path).seconds == 1.5
    assert {p.name for p in tmp_path.iterdir()} == set(members())


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/b", "..", ".", "C:\\x", "a\nb", "", "-rf"]
)
def test_a_path_in_the_zip_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(Refused, match="path"):
        artifact.unpack(zipped({**members(), name or "x/": b""}), folder, 1_000_000)
    assert list(folder.iterdir()) == [] and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", sorted(artifact.OUTS | artifact.NOT_OUTPUTS))
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    files = members()
    del files[name]
    with pytest.raises(Refused, match=name):
        artifact.unpack(zipped(files), tmp_path, 1_000_000)


def test_what_the_lock_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"sitecustomize\.py"):
        files = {**members(), "sitecustomize.py": b"evil"}
        artifact.unpack(zipped(files), tmp_path, 1_000_000)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    files = {**members(), "model.onnx": bytes(5_000_000)}
    data = zipped(files)
    assert len(data) < 50_000
    with pytest.raises(Refused, match=r"5\.0 MB, allowed 1\.0 MB"):
        artifact.unpack(data, tmp_path, 1_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_with_a_lying_header_writes_no_more_than_it_said(tmp_path: Path) -> None:
    big = 5_000_000
    data = zipped({**members(), "model.onnx": bytes(big)})
    lie = data.replace(big.to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lie != data
    with pytest.raises(Refused, match="zip"):
        artifact.unpack(lie, tmp_path, 1_000_000)
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 1_000_000


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    data = io.BytesIO(zipped(members()))
    with zipfile.ZipFile(data, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("model.onnx", b"other")
    with pytest.raises(Refused, match="one name"):
        artifact.unpack(data.getvalue(), tmp_path, 1_000_000)


@pytest.mark.parametrize("data", [b"", b"no zip", zipped(members())[:-30]])
def test_what_is_no_zip_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="zip"):
        artifact.unpack(data, tmp_path, 1_000_000)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    files = {**members(), "model.onnx": b"model.0nnx"}
    built = artifact.unpack(zipped(files), tmp_path, 1_000_000)
    with pytest.raises(Refused, match=r"model\.onnx"):
        artifact.check_objects(tmp_path, built)


@pytest.mark.parametrize(
    "change",
    [
        {"pull_request": "1"},
        {"base_sha": "--upload-pack=evil"},
        {"base_sha": "b" * 40 + "\n"},
        {"stages_run": "x"},
    ],
)
def test_a_build_record_of_another_shape_is_refused(
    change: Record, tmp_path: Path
) -> None:
    build = {**json.loads(members()["build.json"]), **change}
    (tmp_path / "build.json").write_text(json.dumps(build))
    with pytest.raises(Refused, match=r"build\.json"):
        artifact.read_build(tmp_path)


def test_a_judge_ignores_what_a_later_machinery_adds_to_the_build_record(
    tmp_path: Path,
) -> None:
    build = {**json.loads(members()["build.json"]), "later": 1}
    (tmp_path / "build.json").write_text(json.dumps(build))
    assert artifact.read_build(tmp_path).pull_request == build["pull_request"]


def test_a_build_record_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    build = members()["build.json"].replace(b"x86_64", b"\xff")
    (tmp_path / "build.json").write_bytes(build)
    with pytest.raises(Refused, match=r"build\.json"):
        artifact.read_build(tmp_path)


def test_a_zip_with_broken_contents_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(members()))
    start = data.index(b"PK\x03\x04") + 30
    name = int.from_bytes(data[start - 4 : start - 2], "little")
    data[start + name : start + name + 8] = b"\xff" * 8
    with pytest.raises(Refused, match="not a valid zip file"):
        artifact.unpack(bytes(data), tmp_path, 10**9)


# --- the model file, in its child -------------------------------------------------


def linear(weights: dict[str, float], bias: float = -1.0, scale: float = 1.0) -> Any:
    """Return a logistic model on price and age; a missing age counts as 0."""
    nodes, total = [], "bias"
    for name in weights:
        nodes += [
            helper.make_node("IsNaN", [name], [f"{name}_nan"]),
            helper.make_node("Where", [f"{name}_nan", "zero", name], [f"{name}_0"]),
            helper.make_node("Mul", [f"{name}_0", f"w_{name}"], [f"{name}_w"]),
            helper.make_node("Add", [total, f"{name}_w"], [f"sum_{name}"]),
        ]
        total = f"sum_{name}"
    nodes += [
        helper.make_node("Sigmoid", [total], ["p"]),
        helper.make_node("Mul", ["p", "scale"], ["probability"]),
    ]
    numbers = {"zero": 0.0, "bias": bias, "scale": scale}
    numbers |= {f"w_{name}": weight for name, weight in weights.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1])
            for n in weights
        ],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor(n, TensorProto.FLOAT, [], [v]) for n, v in numbers.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def outside(model: Any) -> Any:
    """Let a model read its bias from another file."""
    tensor = model.graph.initializer[1]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    return model


def nested(model: Any) -> Any:
    """Hide the same in the branch of an If."""
    hidden = outside(linear({"price": 1.0})).graph
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    model.graph.initializer.append(condition)
    branch = {"then_branch": hidden, "else_branch": hidden}
    model.graph.node.append(helper.make_node("If", ["c"], ["unused"], **branch))
    return model


def foreign(model: Any) -> Any:
    """Use an operator that is not ONNX's."""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node[0].domain = "com.microsoft"
    return model


def test_an_honest_model_file_is_let_through() -> None:
    model = linear({"price": 1.0, "age": 1.0})
    operators.check(operators.read(model.SerializeToString()))


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        (outside, "external data"),
        (nested, "external data"),
        (foreign, "not ONNX's own"),
    ],
)
def test_a_model_file_that_reaches_out_is_refused(
    plant: Callable[[Any], Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        operators.read(plant(linear({"price": 1.0})).SerializeToString())


@pytest.mark.parametrize("data", [b"\xff" * 50, b"\x3a\x7fshort", b"\x0b\x0c"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="model"):
        operators.read(data)


CHILD = """
import os, sys
from mlgitops.judge import sandbox
sandbox.confine(memory=2_000_000_000, seconds=5)
{}
"""


def plant(tmp_path: Path, patch: pytest.MonkeyPatch, code: str) -> None:
    """Let `planted` be a module with this code."""
    here = Path.cwd()
    (tmp_path / "mlgitops").symlink_to(here / "mlgitops")
    (tmp_path / "planted.py").write_text(CHILD.format(code))
    patch.chdir(tmp_path)


def child(tmp_path: Path, patch: pytest.MonkeyPatch, code: str) -> None:
    """Run code as the judge runs its children."""
    plant(tmp_path, patch, code)
    sandbox.run("model_file", "planted", tmp_path / "seen")


def test_a_child_sees_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GH_TOKEN", "APP_TOKEN", "AWS_SECRET_ACCESS_KEY", "ACTIONS_X"):
        monkeypatch.setenv(name, "secret")
    code = "open(sys.argv[1], 'w').write(repr(dict(os.environ)))"
    child(tmp_path, monkeypatch, code)
    assert "secret" not in (tmp_path / "seen").read_text()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("x = bytearray(3_000_000_000)", "MemoryError"),
        ("sys.exit('what():  std::bad_alloc')", "more memory than its limit"),
        ("sys.exit('no: a sentence')", "no: a sentence"),
        ("os.abort()", "crashed with SIGABRT"),
        ("sys.stderr.write('a b\\nwhy'); sys.stderr.flush(); os.abort()", "ABRT: why"),
    ],
)
def test_a_child_at_its_limit_is_a_refusal(
    code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match=why):
        child(tmp_path, monkeypatch, code)


WRITES = """
import os, subprocess, time
if len(sys.argv) > 2:
    for n in range(100):
        open(f"{sys.argv[1]}/{n}", "wb").write(os.urandom(1_000_000))
        time.sleep(0.02 if n < 60 else PAUSE)
else:
    sys.exit(subprocess.call([sys.executable, "-m", "planted", sys.argv[1], "child"]))
"""


@pytest.mark.parametrize("most", [20_000_000, 10**12])
def test_a_child_that_fills_the_disk_by_small_files_is_a_refusal(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is near the limit of one; a child of the child writes them."""
    monkeypatch.setattr(sandbox, "SHARE", 1.0)
    usage = SimpleNamespace(free=most)
    monkeypatch.setattr(sandbox.shutil, "disk_usage", lambda _: usage)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    pause = "0.02" if most > 10**9 else "1"  # so that the look comes before the end
    plant(tmp_path, monkeypatch, WRITES.replace("PAUSE", pause))

    def judged() -> None:
        sandbox.run("judge", "planted", scratch, folder=scratch)

    if most > 10**9:  # the control: all of them, where the disk has room
        judged()
        assert sandbox.taken(scratch) >= 100_000_000
        return
    with pytest.raises(Refused, match="on the disk, and may have 20,000,000"):
        judged()
    end = time.monotonic() + 60
    while names_of(scratch):  # nothing writes on
        assert time.monotonic() < end
    assert 20_000_000 < sandbox.taken(scratch) < 90_000_000


def names_of(folder: Path) -> list[bytes]:
    """Return the command lines of the processes that have a folder on theirs."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes())
    return [line for line in lines if bytes(folder) in line]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_child_that_has_written_its_result_cannot_end_badly(
    leaves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a native library may, whose threads still run when the process ends."""
    code = "import atexit; atexit.register(os.abort); print('done')"
    if leaves:
        return child(tmp_path, monkeypatch, f"{code}; sandbox.leave()")
    with pytest.raises(Refused, match="SIGABRT"):
        child(tmp_path, monkeypatch, code)


def test_a_child_that_does_not_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 2)
    with pytest.raises(Refused, match="longer than 2 seconds"):
        child(tmp_path, monkeypatch, "import time; time.sleep(60)")


# --- the rules --------------------------------------------------------------------

GATES = gates.parse(params(["price"]), "binary")
RULES, BINARY = GATES.rules, TASKS["binary"]
PRIMARY, CALIBRATION = GATES.metrics
NAN = float("nan")


def bound(gate: gates.Gate, value: float, bound: str) -> Check:
    """Return the check of one bound."""
    found = checks.bounds(gate, value, BINARY)
    return next(check for check in found if check.id == f"{gate.metric.key}.{bound}")


def margin(difference: float, low: float, high: float) -> Check:
    """Return the check of the primary metric's margin."""
    return held_to_margin(PRIMARY.metric, difference, low, high)


def held_to_margin(
    metric: metrics.Metric, difference: float, low: float, high: float
) -> Check:
    """Return the check of a metric's margin."""
    result = MetricResult(
        id=metric.key,
        label=metric.label,
        better=metric.better,
        challenger=0.7,
        difference=difference,
        low=low,
        high=high,
    )
    return checks.margin(result, 0.01)


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (bound(PRIMARY, 0.60, "min"), True),
        (bound(PRIMARY, 0.5999, "min"), False),
        (bound(PRIMARY, NAN, "min"), False),
        (margin(0.02, 0.01, 0.03), True),
        (margin(0.0, -0.009, 0.009), True),
        (margin(-0.001, -0.011, 0.009), False),
        (margin(-0.02, -0.03, -0.01), False),
        (margin(0.0, NAN, 1.0), False),
        (margin(0.0, -math.inf, math.inf), False),
        (bound(PRIMARY, 0.98, "max"), True),
        (bound(PRIMARY, 0.9801, "max"), False),
        (bound(PRIMARY, NAN, "max"), False),
        (bound(CALIBRATION, 0.1, "max"), True),
        (bound(CALIBRATION, 0.1001, "max"), False),
        (bound(CALIBRATION, NAN, "max"), False),
        (checks.rows(1000, RULES), True),
        (checks.rows(999, RULES), False),
        (checks.export({"rows": 9, "max_difference": 1e-6}, 1e-7, RULES), True),
        (checks.export({"rows": 9, "max_difference": 1e-4}, 1e-7, RULES), False),
        (checks.export({"rows": 9, "max_difference": 1e-6}, 1e-3, RULES), False),
        (checks.export({"rows": 0, "max_difference": 0}, 0, RULES), False),
        (checks.size(20, RULES), True),
        (checks.size(20.000001, RULES), False),
    ],
)
def test_a_gate_closes_exactly_at_its_limit(check: Check, passed: bool) -> None:
    assert check.passed is passed
    assert check.reason and check.limit is not None and check.operator


def test_where_lower_is_better_the_upper_bound_is_held_to_the_margin() -> None:
    """As the lower bound is where higher is better: the same interval, turned."""
    loss = next(m for m in metrics.of("binary") if m.key == "log_loss")
    up, down = (
        margin(0.001, -0.009, 0.02),
        held_to_margin(loss, -0.001, -0.02, 0.009),
    )
    assert up.passed and down.passed and up.reason == down.reason
    assert (down.value, down.operator, down.limit) == (0.009, "<=", 0.01)
    assert (up.value, up.operator, up.limit) == (-0.009, ">=", -0.01)
    assert not held_to_margin(loss, 0.001, -0.02, 0.011).passed


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("roc_auc", {"min": 0.6, "max": 0.98}, "gates.roc_auc.margin' is missing"),
        ("roc_auc", {"min": 0.6, "margin": 0.01}, "gates.roc_auc.max' is missing"),
        ("roc_auc", {"max": 0.98, "margin": 0.01}, "gates.roc_auc.min' is missing"),
        ("roc_auc", None, "gates.roc_auc' is missing"),
        ("calibration_error", None, "gates.calibration_error' is missing"),
        ("calibration_error", {}, "gates.calibration_error.max' is missing"),
        ("slices", None, "gates.slices' is missing"),
        ("slices", {"min_rows": 300}, "gates.slices.margin' is missing"),
        ("decision_value", None, "gates.decision_value' is missing"),
        ("decision_value", {}, "gates.decision_value.margin' is missing"),
        ("decision_value", {"margin": -1}, "must be a number of 0 or more"),
        ("decision_value", {"margn": 0}, "margn is not known; did you mean margin?"),
        ("parity", None, "gates.parity' is missing"),
        ("latency", {"p99_max": 3}, "p99_max is not known; did you mean p99_max_ms"),
        ("average_precision", {"margin": True}, "must be a number of 0 or more"),
        ("average_precision", {"margin": -1}, "must be a number of 0 or more"),
        ("average_precision", {"min": "0"}, "must be a number"),
        ("average_precision", {"min": math.nan}, "must be a number"),
        ("average_precision", {"min": 0.5, "max": 0.4}, "is above max"),
        ("average_precision", {}, "one or more of min, max, margin"),
        ("average_precision", 0.3, "must be entries"),
        ("average_precison", {"min": 0}, "did you mean average_precision?"),
        (
            "rmse",
            {"max": 3},
            "nor a metric of the task binary; the metrics are roc_auc,",
        ),
        ("confidence", 1.0, "between 0.5 and"),
        ("confidence", None, "gates.confidence' is missing"),
    ],
)
def test_a_gate_that_is_not_set_is_not_open(name: str, change: Any, words: str) -> None:
    settings = params(["price"])
    settings["gates"][name] = change
    if change is None:
        del settings["gates"][name]
    with pytest.raises(SettingsError) as refused:
        gates.parse(settings, "binary")
    assert words in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(SettingsError):
        gates.parse({**settings, "gates": []}, "binary")


# --- the judge, on planted models -------------------------------------------------


def predicted(model: Any, found: list[golden.Row], contract: Contract) -> list[Record]:
    """Return golden rows with a model's predictions, or what a lie would say."""
    answers = np.full(len(found), 0.5)
    with contextlib.suppress(Exception):
        frame = pd.DataFrame(found, dtype=object)
        inputs = data.inputs(frame, contract, [n.name for n in model.graph.input])
        scores = fitting.score(model.SerializeToString(), inputs, "probability")
        answers = np.clip(np.nan_to_num(scores.ravel(), nan=0.5), 0, 1)
    pairs = zip(found, answers.tolist(), strict=True)
    return [{"row": row, "probability": p} for row, p in pairs]


class Bench:
    """A folder as the judge's child gets it, without any git or DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.frame = folder, rows()
        self.frame.to_parquet(folder / "raw.parquet")
        self.put("challenger", linear({"price": 1.0}))

    def put(
        self,
        who: str,
        model: Any,
        until: str = "2025-01-20",
        like: Any = None,
        terms: Record = CONTRACT,
        **more: Any,
    ) -> None:
        """Place a model with a manifest that is true about it.

        Its golden rows are predicted by `like`, if that is another model.
        """
        place = self.folder / who
        place.mkdir(exist_ok=True)
        data = model.SerializeToString() if hasattr(model, "graph") else model
        (place / "model.onnx").write_bytes(data)
        text, contract = yaml.safe_dump(terms), Contract.parse(terms)
        (place / "contract.yaml").write_text(text)
        train = self.frame[self.frame["placed"] < pd.Timestamp(until, tz="UTC")]
        train.to_parquet(place / "train.parquet")
        version = {
            "schema": 1,
            "name": "demand",
            "task": "binary",
            "columns": [n.name for n in onnx.load_from_string(data).graph.input]
            if hasattr(model, "graph")
            else ["price"],
            "model": {"file": "model.onnx", "bytes": len(data), "sha256": sha256(data)},
            "contract": contract_hashes(text),
            "code": {"sha256": "0" * 64},
            "requirements": {"sha256": "1" * 64},
            "claimed": {"parity": {"rows": 10, "max_difference": 1e-7}},
            "threshold": 0.5,
            "data": manifest.window(train, contract),
            "golden": predicted(like or model, golden.rows(train, contract), contract),
            **more,
        }
        (place / "manifest.json").write_text(json.dumps(version))

    def judged(self, **rules: Any) -> tuple[Judgement, list[str]]:
        """Judge; return all that was found and the ids of the checks that failed."""
        found, wanted = Judgement(), params(["price"])
        for name, bounds in rules.items():
            wanted["gates"][name] = {**wanted["gates"].get(name, {}), **bounds}
        try:
            judge.judge(self.folder, Contract.parse(CONTRACT), wanted, found)
        except Refused as refusal:
            found.checks.append(refusal.check)
        return found, [check.id for check in failed(found.checks)]


def compared(found: Judgement) -> str:
    """Return what the comparison with the champion said."""
    return next(c.reason for c in found.checks if c.id == "roc_auc.margin")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench on which an honest first model passes."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "none")
    return Bench(tmp_path)


def test_a_first_model_passes_and_says_that_it_is_the_first(bench: Bench) -> None:
    found, refused = bench.judged()
    assert refused == []
    assert found.primary_metric and found.primary_metric.champion is None
    assert "no champion yet" in compared(found)


def test_a_better_model_passes_as_better(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0, "age": 1.5}))
    found, refused = bench.judged()
    assert refused == []
    assert compared(found) == "better than the champion"
    assert found.primary_metric and found.primary_metric.low > 0


def test_an_equal_model_passes_as_not_different(bench: Bench) -> None:
    """It ranks as the champion does and, with a threshold of its own, decides as it."""
    bench.put("champion", linear({"price": 2.0}), threshold=0.731)
    found, refused = bench.judged()
    assert refused == []
    assert compared(found) == "no significant difference to the champion"


def test_a_worse_model_is_refused_as_worse(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0, "age": 1.5}))
    found, refused = bench.judged()
    assert refused == ["roc_auc.margin", "decision_value.margin", "slices"]
    assert compared(found).startswith("worse than the champion")


UNPROVED = {"parity": {"rows": 0, "max_difference": 0.0}}
PLANTED: list[tuple[str, Any, Record, str]] = [
    ("constant", linear({"price": 0.0}, 0.0), {}, "roc_auc.min"),
    ("reversed", linear({"price": -1.0}), {}, "roc_auc.min"),
    ("NaN", linear({"price": 1.0}, float("nan")), {}, "serving"),
    ("above 1", linear({"price": 1.0}, scale=2.0), {}, "serving"),
    (
        "other answers",
        linear({"price": 1.1}),
        {"like": linear({"price": 1})},
        "serving",
    ),
    ("no parity", linear({"price": 1.0}), {"claimed": UNPROVED}, "parity"),
    ("other column", linear({"cost": 1.0}), {}, "model_columns"),
    ("external data", outside(linear({"price": 1.0})), {}, "model_file"),
    ("no model", b"\xff" * 100, {}, "model_file"),
    (
        "saw the holdout",
        linear({"price": 1.0}),
        {"until": "2025-02-01"},
        "holdout_unseen",
    ),
]


@pytest.mark.parametrize(
    ("model", "manifest", "check"),
    [row[1:] for row in PLANTED],
    ids=[row[0] for row in PLANTED],
)
def test_a_planted_model_is_refused_for_its_own_reason(
    model: Any, manifest: Record, check: str, bench: Bench
) -> None:
    bench.put("challenger", model, **manifest)
    found, refused = bench.judged()
    # A constant or reversed model cannot be calibrated, and decides nothing useful.
    beside = {"calibration_error.max", "decision_value.min"}
    beside |= {"constant", "business.min"}  # of a first version
    assert ("constant" in refused) == (check == "roc_auc.min")
    assert [name for name in refused if name not in beside] == [check], found.checks


def test_a_model_that_ranks_well_but_is_miscalibrated_is_refused(bench: Bench) -> None:
    bench.put("challenger", linear({"price": 1.0}, bias=1.0))
    assert bench.judged()[1] == ["calibration_error.max"]


def test_a_model_that_is_too_good_is_refused_as_leaking(bench: Bench) -> None:
    assert bench.judged(roc_auc={"max": 0.65})[1] == ["roc_auc.max"]


def test_rows_learnt_under_another_id_are_seen(bench: Bench) -> None:
    file = bench.folder / "challenger" / "train.parquet"
    train = pd.read_parquet(file)
    newest = bench.frame.tail(5)
    again = pd.concat([train, newest.assign(order="x" + newest["order"])])
    again.to_parquet(file)
    found, refused = bench.judged()
    assert refused == ["holdout_unseen"]
    assert failed(found.checks)[0].value == 5


def test_rows_of_the_holdouts_days_are_seen_whatever_their_values(
    bench: Bench,
) -> None:
    file = bench.folder / "challenger" / "train.parquet"
    train, newest = pd.read_parquet(file), bench.frame.tail(5)
    other = newest.assign(order="x" + newest["order"], price=newest["price"] + 0.001)
    pd.concat([train, other]).to_parquet(file)
    found, refused = bench.judged()
    assert refused == ["holdout_unseen"]
    assert failed(found.checks)[0].value == 5


def test_rows_that_the_champion_learnt_from_do_not_count(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}), until="2025-02-01")
    found, refused = bench.judged()
    assert refused == []
    assert 0 < found.rows.compared < found.rows.held_out
    bench.put("champion", linear({"price": 1.0}), until="2025-02-08")
    assert bench.judged()[1] == ["holdout_rows"]


def test_too_few_rows_decide_nothing(bench: Bench) -> None:
    found, refused = bench.judged(holdout={"min_rows": 5000})
    assert refused == ["holdout_rows"] and found.primary_metric is None


def test_a_model_over_its_budget_is_refused(bench: Bench) -> None:
    assert bench.judged(model_size={"max_mb": 0.0001})[1] == ["model_size"]


def test_a_model_that_answers_too_slowly_is_refused(bench: Bench) -> None:
    found, refused = bench.judged(latency={"p99_max_ms": 0.000001})
    assert refused == ["latency"]
    times = found.footprint.challenger
    assert 0 < times.p50_ms <= times.p99_ms < 20


def test_what_a_model_looks_at_is_found_and_what_it_ignores_is_not(
    bench: Bench,
) -> None:
    bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0, "age": 0.0}))
    found, _ = bench.judged()
    by = {row.column: row for row in found.importance}
    assert by["price"].challenger[0] > 0.05
    assert by["age"].challenger == (0.0, 0.0, 0.0) and by["age"].champion is None
    assert found.dependence[0].column == "price"
    answers = found.dependence[0].challenger
    assert answers == sorted(answers), "a higher price never lowers the risk"


def test_a_flipped_decision_names_what_moved_it(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    assert bench.judged()[0].flips == [], "the same model flips nothing"
    bench.put("challenger", linear({"price": 1.0, "age": 1.5}))
    flips = bench.judged()[0].flips
    assert flips
    assert all((f.champion.value >= 0.5) != (f.challenger.value >= 0.5) for f in flips)
    assert {"price", "age"} >= {r.column for f in flips for r in f.reasons}


def test_the_same_models_are_explained_in_the_same_way(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    first, second = bench.judged()[0], bench.judged()[0]
    for key in ("importance", "dependence", "flips", "metrics", "slices"):
        assert getattr(first, key) == getattr(second, key), key


def test_a_model_of_hidden_columns_alone_flips_without_a_reason(bench: Bench) -> None:
    """The values of a hidden column are never written, and the judge goes on."""
    bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0}, bias=0.0))
    contract = Contract.parse({**CONTRACT, "sensitive": ["price"]})
    judgement = Judgement()
    judge.judge(bench.folder, contract, params(["price"]), judgement)
    assert judgement.flips and all(flip.reasons == [] for flip in judgement.flips)
