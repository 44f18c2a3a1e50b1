"""The judge is closed: each refusal fires for its own reason, and stays silent else."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper

from machinery.judged import CONTRACT, Record, params, rows
from mlgitops.judge import artifact, behaviour, gates, judge, sandbox, score
from mlgitops.judge.gates import Refused
from mlgitops.pipeline.contract import Contract

Members = dict[str, bytes]


# --- the artifact, as bytes -------------------------------------------------------


def lock_of(members: Members) -> bytes:
    """Return a dvc.lock that names the files as they are."""
    import hashlib

    outs = [
        {"path": f"build/{n}", "md5": hashlib.md5(d).hexdigest(), "size": len(d)}
        for n, d in members.items()
        if n not in artifact.BESIDE
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
        "committed_lock_sha256": None,
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
    assert artifact.read_build(tmp_path)["seconds"] == 1.5
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


@pytest.mark.parametrize("name", sorted(artifact.OUTS | artifact.BESIDE))
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
        {"extra": 1},
        {"pull_request": "1"},
        {"base_sha": "--upload-pack=evil"},
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
    score.check(linear({"price": 1.0, "age": 1.0}).SerializeToString())


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
        score.check(plant(linear({"price": 1.0})).SerializeToString())


@pytest.mark.parametrize("data", [b"\xff" * 50, b"\x3a\x7fshort", b"\x0b\x0c"])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="model"):
        score.check(data)


CHILD = """
import os, sys
from mlgitops.judge import sandbox
sandbox.confine(memory=2_000_000_000, seconds=5)
{}
"""


def child(tmp_path: Path, patch: pytest.MonkeyPatch, code: str) -> None:
    """Run code as the judge runs its children."""
    here = Path.cwd()
    (tmp_path / "mlgitops").symlink_to(here / "mlgitops")
    (tmp_path / "planted.py").write_text(CHILD.format(code))
    patch.chdir(tmp_path)
    sandbox.run("Model file", "planted", tmp_path / "seen")


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

RULES = gates.parse(params(["price"])["gates"])


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (gates.floor(0.60, RULES), True),
        (gates.floor(0.5999, RULES), False),
        (gates.floor(float("nan"), RULES), False),
        (gates.compared(0.02, 0.01, 0.03, RULES), True),
        (gates.compared(0.0, -0.009, 0.009, RULES), True),
        (gates.compared(-0.001, -0.011, 0.009, RULES), False),
        (gates.compared(-0.02, -0.03, -0.01, RULES), False),
        (gates.compared(0.0, float("nan"), 1.0, RULES), False),
        (gates.ceiling(0.98, RULES), True),
        (gates.ceiling(0.9801, RULES), False),
        (gates.ceiling(float("nan"), RULES), False),
        (gates.calibrated(0.1, RULES), True),
        (gates.calibrated(0.1001, RULES), False),
        (gates.calibrated(float("nan"), RULES), False),
        (gates.rows(1000, RULES), True),
        (gates.rows(999, RULES), False),
        (gates.export({"rows": 9, "max_difference": 1e-6}, 1e-7, RULES), True),
        (gates.export({"rows": 9, "max_difference": 1e-4}, 1e-7, RULES), False),
        (gates.export({"rows": 9, "max_difference": 1e-6}, 1e-3, RULES), False),
        (gates.export({"rows": 0, "max_difference": 0}, 0, RULES), False),
        (gates.size(20_000_000, RULES), True),
        (gates.size(20_000_001, RULES), False),
    ],
)
def test_a_gate_closes_exactly_at_its_limit(check: gates.Check, passed: bool) -> None:
    assert check.passed is passed
    assert check.why and check.value and check.limit


@pytest.mark.parametrize(
    "change",
    [
        {"margin": None},
        {"margin": True},
        {"margin": -1},
        {"margin": "0"},
        {"more": 1},
        {"confidence": 1.0},
    ],
)
def test_a_gate_that_is_not_set_is_not_open(change: Record) -> None:
    section = {**params(["price"])["gates"], **change}
    section = {name: value for name, value in section.items() if value is not None}
    with pytest.raises(SystemExit, match="gates"):
        gates.parse(section)


# --- the judge, on planted models -------------------------------------------------


class Bench:
    """A folder as the judge's child gets it, without any git or DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.frame = folder, rows()
        self.frame.to_parquet(folder / "raw.parquet")
        self.put("challenger", linear({"price": 1.0}))

    def put(self, who: str, model: Any, until: str = "2025-01-20", **more: Any) -> None:
        """Place a model with a manifest that is true about it."""
        place = self.folder / who
        place.mkdir(exist_ok=True)
        data = model.SerializeToString() if hasattr(model, "graph") else model
        (place / "model.onnx").write_bytes(data)
        train = self.frame[self.frame["placed"] < pd.Timestamp(until, tz="UTC")]
        train.to_parquet(place / "train.parquet")
        row = {"shop": "a", "price": 0.5, "age": None}
        manifest = {
            "columns": [n.name for n in onnx.load_from_string(data).graph.input]
            if hasattr(model, "graph")
            else ["price"],
            "model": {"file": "model.onnx", "bytes": len(data)},
            "parity": {"rows": 10, "max_difference": 1e-7},
            "threshold": 0.5,
            "data": {"train_until": f"{until}T00:00:00+00:00"},
            "golden": [{"row": row, "probability": more.pop("golden", 0.37754068)}],
            **more,
        }
        (place / "manifest.json").write_text(json.dumps(manifest))

    def judged(self, **rules: Any) -> tuple[Record, list[str]]:
        """Judge; return all that was found and the names of the checks that failed."""
        into: Record = {"checks": [], "headline": None}
        wanted = params(["price"])
        wanted["gates"].update(rules)
        try:
            judge.judge(self.folder, Contract.parse(CONTRACT), wanted, into)
        except Refused as refusal:
            into["checks"].append(refusal.check)
        return into, [check.name for check in into["checks"] if not check.passed]


def compared(found: Record) -> str:
    """Return what the comparison with the champion said."""
    return str(next(c.why for c in found["checks"] if c.name.startswith("Difference")))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench on which an honest first model passes."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "none")
    return Bench(tmp_path)


def test_a_first_model_passes_and_says_that_it_is_the_first(bench: Bench) -> None:
    found, failed = bench.judged()
    assert failed == []
    assert found["headline"]["champion"] is None
    assert any("no champion yet" in check.why for check in found["checks"])


def test_a_better_model_passes_as_better(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0, "age": 1.5}))
    found, failed = bench.judged()
    assert failed == []
    assert compared(found) == "better than the champion"
    assert found["headline"]["low"] > 0


def test_an_equal_model_passes_as_not_different(bench: Bench) -> None:
    bench.put("champion", linear({"price": 2.0}))
    found, failed = bench.judged()
    assert failed == []
    assert compared(found) == "no significant difference to the champion"


def test_a_worse_model_is_refused_as_worse(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0, "age": 1.5}))
    found, failed = bench.judged()
    assert failed == ["Difference to the champion", "Slices"]
    assert compared(found).startswith("worse than the champion")


UNPROVED = {"rows": 0, "max_difference": 0.0}
PLANTED: list[tuple[str, Any, Record, str]] = [
    ("constant", linear({"price": 0.0}, 0.0), {"golden": 0.5}, "ROC AUC"),
    ("reversed", linear({"price": -1.0}), {"golden": 0.182426}, "ROC AUC"),
    ("NaN", linear({"price": 1.0}, float("nan")), {}, "Predictions"),
    ("above 1", linear({"price": 1.0}, scale=2.0), {}, "Predictions"),
    ("other answers", linear({"price": 1.1}), {}, "Export parity"),
    ("no parity", linear({"price": 1.0}), {"parity": UNPROVED}, "Export parity"),
    ("other column", linear({"cost": 1.0}), {}, "Model columns"),
    ("external data", outside(linear({"price": 1.0})), {}, "Model file"),
    ("no model", b"\xff" * 100, {}, "Model file"),
    (
        "saw the holdout",
        linear({"price": 1.0}),
        {"until": "2025-02-01"},
        "Holdout unseen",
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
    found, failed = bench.judged()
    beside = {"Calibration"}  # a constant or reversed model cannot be calibrated
    assert [name for name in failed if name not in beside] == [check], found["checks"]


def test_a_model_that_ranks_well_but_is_miscalibrated_is_refused(bench: Bench) -> None:
    bench.put("challenger", linear({"price": 1.0}, bias=1.0), golden=0.81757448)
    assert bench.judged()[1] == ["Calibration"]


def test_a_model_that_is_too_good_is_refused_as_leaking(bench: Bench) -> None:
    assert bench.judged(roc_auc_max=0.65)[1] == ["Leakage"]


def test_rows_learnt_under_another_id_are_seen(bench: Bench) -> None:
    file = bench.folder / "challenger" / "train.parquet"
    train = pd.read_parquet(file)
    newest = bench.frame.tail(5)
    again = pd.concat([train, newest.assign(order="x" + newest["order"])])
    again.to_parquet(file)
    found, failed = bench.judged()
    assert failed == ["Holdout unseen"]
    assert next(c.value for c in found["checks"] if not c.passed) == "5 rows"


def test_rows_of_the_holdouts_days_are_seen_whatever_their_values(
    bench: Bench,
) -> None:
    file = bench.folder / "challenger" / "train.parquet"
    train, newest = pd.read_parquet(file), bench.frame.tail(5)
    other = newest.assign(order="x" + newest["order"], price=newest["price"] + 0.001)
    pd.concat([train, other]).to_parquet(file)
    found, failed = bench.judged()
    assert failed == ["Holdout unseen"]
    assert next(c.value for c in found["checks"] if not c.passed) == "5 rows"


def test_rows_that_the_champion_learnt_from_do_not_count(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}), until="2025-02-01")
    found, failed = bench.judged()
    assert failed == []
    assert "rows both models are new to" in found["rows"]
    bench.put("champion", linear({"price": 1.0}), until="2025-02-08")
    assert bench.judged()[1] == ["Holdout rows"]


def test_too_few_rows_decide_nothing(bench: Bench) -> None:
    found, failed = bench.judged(holdout_min_rows=5000)
    assert failed == ["Holdout rows"] and found["headline"] is None


def test_a_model_over_its_budget_is_refused(bench: Bench) -> None:
    assert bench.judged(model_max_mb=0.0001)[1] == ["Model size"]


def test_a_model_that_answers_too_slowly_is_refused(bench: Bench) -> None:
    found, failed = bench.judged(latency_p99_max_ms=0.000001)
    assert failed == ["Latency"]
    times = found["footprint"]["challenger"]
    assert 0 < times["p50_ms"] <= times["p99_ms"] < 20


def test_what_a_model_looks_at_is_found_and_what_it_ignores_is_not(
    bench: Bench,
) -> None:
    bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0, "age": 0.0}))
    found, _ = bench.judged()
    by = {row["column"]: row for row in found["importance"]}
    assert by["price"]["challenger"][0] > 0.05
    assert by["age"]["challenger"] == [0.0, 0.0, 0.0] and by["age"]["champion"] is None
    assert found["dependence"][0]["column"] == "price"
    answers = found["dependence"][0]["challenger"]
    assert answers == sorted(answers), "a higher price never lowers the risk"


def test_a_flipped_decision_names_what_moved_it(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    assert bench.judged()[0]["flips"] == [], "the same model flips nothing"
    bench.put("challenger", linear({"price": 1.0, "age": 1.5}))
    flips = bench.judged()[0]["flips"]
    assert flips
    assert all((f["champion"] >= 0.5) != (f["challenger"] >= 0.5) for f in flips)
    assert {"price", "age"} >= {name for f in flips for name, _, _ in f["reasons"]}


def test_the_same_models_are_explained_in_the_same_way(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    first, second = bench.judged()[0], bench.judged()[0]
    for key in ("importance", "dependence", "flips", "metrics", "slices"):
        assert first[key] == second[key], key
