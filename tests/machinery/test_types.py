"""Every type of column and any name of one, from the contract to the log's line."""

import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import rows as small
from machinery import test_edge, tiny
from mlgitops import prediction_log
from mlgitops.commands import simulate
from mlgitops.host import agent
from mlgitops.judge import behaviour, explain, flips, requests, sandbox, slices
from mlgitops.judge import columns as judged
from mlgitops.pipeline import contract as contracts
from mlgitops.pipeline import (
    conversion,
    data,
    datetimes,
    fitting,
    golden,
    manifest,
    parity,
)
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.release import target
from mlgitops.serving import rows as served
from mlgitops.serving.model import Model, ModelError, input_names
from mlgitops.testing import Project

CONTRACT = """\
name: orders
task: binary
id: order
time: placed
target: returned
columns:
  Ship Mode: {type: category, missing: false, categories: [First Class, "NO", "1"]}
  x/y: {type: number, min: 0, max: 1, missing: true}
  x_y: {type: number, missing: false}
  2nd_floor: {type: boolean, missing: true}
  label: {type: integer, min: -3, max: 120, missing: true}
  id: {type: integer, min: 0, max: 16777216, missing: false}
  time: {type: datetime, min: 2010-01-01, max: 2030-12-31, missing: true}
  größe 漢字: {type: datetime, missing: false}
  one: {type: boolean, missing: false}
  probability: {type: category, missing: true, categories: [a, b]}
  column_61: {type: number, min: 0, max: 9, missing: false}
  "u(": {type: number, min: 0, max: 9, missing: false}
"""
COLUMNS = list(yaml.safe_load(CONTRACT)["columns"])
TERMS = Contract.read(CONTRACT)
ROW: dict[str, Any] = {
    "Ship Mode": "NO",
    "x/y": 0.5,
    "x_y": 7,
    "2nd_floor": True,
    "label": 3,
    "id": 16777216,
    "time": "2024-02-29T12:00:00.25+02:00",
    "größe 漢字": "1969-12-31",
    "one": False,
    "probability": None,
    "column_61": 1.5,
    "u(": 2,
}


class Version(NamedTuple):
    """A version on disk, and what it was made of."""

    folder: Path
    project: Project
    rows: pd.DataFrame
    sha256: str


@pytest.fixture(
    scope="module", params=["hist_gradient_boosting", "logistic_regression"]
)
def version(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    """Return a version of all types, fitted, exported and written as a build does."""
    folder = tmp_path_factory.mktemp("typed")
    columns = {"columns": COLUMNS, "parity": 1e-6, "estimator": request.param}
    params = {"train": {**small.settings("binary"), **columns}}
    (folder / "contract.yaml").write_text(CONTRACT)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project(folder)
    rows = project.made_up_rows(800)
    fitted = project.fit(rows, request.param)
    model = project.export(fitted)
    assert project.difference(fitted, model, rows) <= 1e-6
    text = manifest.manifest(
        project.contract,
        replace(project.train, estimator=request.param),
        ("model.onnx", model),
        contract=tiny.contract_hashes(CONTRACT),
        code={"sha256": "0" * 64},
        requirements={"sha256": "1" * 64},
        golden=parity.golden(model, rows, project.contract, COLUMNS),
    )
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(text)
    return Version(folder, project, rows, tiny.sha256(text.encode()))


def test_the_file_uses_each_type_and_keeps_the_order(version: Version) -> None:
    """A prediction moves with each type; the inputs have names that are safe."""
    model = Model(version.folder)
    session = model._session
    names = [node.name for node in session.get_inputs()]
    assert names == [fitting.input_name(name) for name in COLUMNS]
    assert len(set(names)) == len(names) and all(map(str.isidentifier, names))
    types = [node.type for node in session.get_inputs()]
    assert types.count("tensor(double)") == 2
    arrays = data.inputs(version.rows, TERMS, COLUMNS)
    plain = fitting.score(session._model_bytes, arrays, "probability")
    for name in ("Ship Mode", "2nd_floor", "label", "time", "größe 漢字"):
        other = {**arrays, name: arrays[name][::-1]}
        moved = fitting.score(session._model_bytes, other, "probability")
        assert np.abs(moved - plain).max() > 0, name


def test_the_server_repeats_golden_rows_of_each_type(version: Version) -> None:
    """They are written as a client sends them: whole numbers, true, and texts."""
    model = Model(version.folder, version.sha256)
    assert model.check_golden() == 0
    row = model.manifest["golden"][0]["row"]
    types = {name: type(value) for name, value in row.items() if value is not None}
    assert (types["id"], types["one"]) == (int, bool)
    assert types["größe 漢字"] is str


def test_the_judge_asks_the_server_at_the_edges(
    version: Version, tmp_path: Path
) -> None:
    """Each type, missing, unknown and extreme, alone and in batches."""
    sample, result, note = (tmp_path / n for n in ("s.json", "r.json", "note"))
    requests = golden.requests(version.rows.iloc[::40], TERMS)
    sample.write_text(json.dumps(requests))
    arguments = (version.folder, sample, result, note, "1000", "1e-5")
    sandbox.run("serving", "mlgitops.judge.serve", *arguments)
    found = json.loads(result.read_text())
    assert "check" not in found, found
    assert len(found["predictions"]) == len(requests)
    assert found["asked"] > 400


def test_the_judge_scores_the_file_as_it_was_exported(
    version: Version, tmp_path: Path
) -> None:
    """Its child reads arrays by the columns' own names."""
    arrays = data.inputs(version.rows, TERMS, COLUMNS)
    judged.write(tmp_path / "inputs.npz", arrays)
    model, result = version.folder / "model.onnx", tmp_path / "result.npy"
    arguments = (model, tmp_path / "inputs.npz", result, "probability", "1")
    sandbox.run("model_file", "mlgitops.judge.score", *arguments)
    expected = fitting.score(model.read_bytes(), arrays, "probability")
    np.testing.assert_array_equal(np.load(result), expected)


def test_a_request_is_answered_and_logged_as_it_was_sent(
    version: Version, tmp_path: Path
) -> None:
    """Columns called `id` and `time` are columns; the row's own have other names."""
    if version.project.train.estimator != "hist_gradient_boosting":
        pytest.skip("one estimator is enough: the server knows none")
    moment = "2026-01-02T03:04:05+00:00"
    sent = {**ROW, "row_id": "A-1", "row_time": moment}
    with tiny.server(version.folder, "--log", str(tmp_path)) as (port, _):
        status, answer = tiny.call(port, "/predict", {"rows": [sent]})
        assert status == 200, answer
        for name, value in (("one", 1), ("id", 0.5), ("id", True), ("row_time", 3)):
            status, refused = tiny.call(
                port, "/predict", {"rows": [{**sent, name: value}]}
            )
            assert status == 422 and f"'{name}'" in refused["error"]
    (file,) = tmp_path.glob("predictions-*.jsonl")
    (line,) = file.read_text().splitlines()
    entry = prediction_log.parse(line)
    assert entry is not None
    assert (entry.id, entry.time) == ("A-1", datetime.fromisoformat(moment))
    assert entry.row == ROW
    assert {name: type(value) for name, value in entry.row.items()} == {
        name: type(value) for name, value in ROW.items()
    }
    (prediction,) = answer["predictions"]
    assert entry.prediction == prediction["probability"]
    table = data.check(
        pd.DataFrame([{**entry.row, "order": entry.id, "placed": entry.time}]),
        TERMS,
        target=False,
    )
    arrays = data.inputs(table, TERMS, COLUMNS)
    model = (version.folder / "model.onnx").read_bytes()
    again = fitting.score(model, arrays, "probability")[0]
    assert again == np.float32(prediction["probability"])


def test_the_edge_bundle_answers_the_same(version: Version, tmp_path: Path) -> None:
    """It has the contract as JSON, in which the days of a range are texts."""
    done = test_edge.build(version.folder, tmp_path / "edge.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "edge.zip") as file:
        file.extractall(tmp_path / "edge")
    done = test_edge.run(tmp_path / "edge", {"rows": [{**ROW, "row_id": "A-1"}]})
    assert done.returncode == 0, done.stderr
    (prediction,) = json.loads(done.stdout)["predictions"]
    expected = Model(version.folder).predictions([ROW], ["A-1"])
    assert prediction == expected[0]


def test_the_contract_reads_itself_as_json() -> None:
    """As the edge bundle has it."""
    document = contracts.mapping(CONTRACT, "contract.yaml")
    assert Contract.parse(json.loads(contracts.plain(document))) == TERMS


def moments(count: int = 20_000) -> np.ndarray:
    """Return seconds since 1970 between 1700 and 2200, edges of days among them."""
    random = np.random.default_rng(3)
    low, high = contracts.EARLIEST.timestamp(), contracts.LATEST.timestamp()
    anywhere = random.uniform(low, high, count).round(6)
    midnights = (anywhere[: count // 4] // 86_400) * 86_400
    return np.concatenate([anywhere, midnights, midnights - 1e-6, [0.0, -1.0]])


def test_features_of_a_time_are_the_calendars() -> None:
    """Leap years, the years 1800 and 1900, times before 1970; NaN stays NaN."""
    seconds = moments()
    micro = (seconds * 1e6).round().astype(np.int64).astype("datetime64[us]")
    times = pd.Series(micro)
    found = datetimes.Datetimes().fit_transform(seconds.reshape(-1, 1))
    midnight = times.dt.normalize()
    days = (midnight - pd.Timestamp("1970-01-01")).dt.days
    hours = (times - midnight).dt.total_seconds() / 3600
    expected = np.stack([days, hours, times.dt.weekday, times.dt.dayofyear], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found[:, [0, 2, 3]], expected[:, [0, 2, 3]])
    assert np.isnan(datetimes.Datetimes().fit_transform([[np.nan]])).all()


def test_each_day_has_its_place_in_the_year() -> None:
    """Also the 29th of February 2000, the last day of 400 years of the calendar."""
    days = pd.Series(pd.date_range("1700-01-02", "2199-12-31", unit="s"))
    seconds = days.astype(np.int64).to_numpy(float)
    found = datetimes.parts(seconds, np.floor)[datetimes.FEATURES.index("day_of_year")]
    wrong = found != days.dt.dayofyear.to_numpy()
    assert not wrong.any(), days[wrong].tolist()


def test_features_of_a_time_are_the_same_in_the_file() -> None:
    """Bit for bit, of two columns: the graph computes with the same formula."""
    import onnxruntime
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType

    datetimes.register()
    seconds = np.stack([moments(), moments()[::-1]], axis=1)
    seconds[::7, 1] = np.nan
    features = datetimes.Datetimes().fit(seconds)
    types = [("seconds", DoubleTensorType([None, 2]))]
    model = convert_sklearn(
        features, initial_types=types, target_opset=conversion.OPSET
    ).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"seconds": seconds})
    np.testing.assert_array_equal(output, features.transform(seconds))


def table(**columns: Any) -> pd.DataFrame:
    """Return a checked table of a few rows, with columns changed."""
    rows = pd.DataFrame([ROW] * 3).assign(order=["a", "b", "c"])
    rows["placed"], rows["returned"] = pd.Timestamp("2026-01-01", tz="UTC"), [0, 1, 1]
    for name, values in columns.items():
        rows[name] = pd.Series(values)
    return data.check(rows, TERMS)


def test_a_table_may_hold_each_type_in_its_usual_forms() -> None:
    checked = table()
    assert checked["2nd_floor"].tolist() == [1, 1, 1]
    for name in ("2nd_floor", "label", "id", "one"):
        assert checked[name].dtype == np.float32
    assert str(checked["time"].dtype) == "datetime64[us, UTC]"
    assert checked["time"][0] == pd.Timestamp("2024-02-29T10:00:00.25Z")
    pd.testing.assert_frame_equal(data.check(checked, TERMS), checked)
    flags: list[list[Any]] = [
        [True, False, None],
        ["true", "False", ""],
        [1.0, 0, None],
    ]
    for values in flags:
        assert table(**{"2nd_floor": values})["2nd_floor"].fillna(-1).tolist() == [
            1,
            0,
            -1,
        ]
    nullable = pd.array([1, None, 3], dtype="Int64")
    assert table(label=nullable)["label"].isna().tolist() == [False, True, False]
    days = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(n) for n in range(3)]
    assert table(time=days)["time"].tolist() == days
    missing = table(time=[None] * 3)
    assert np.isnan(data.inputs(missing, TERMS, ["time"])["time"]).all()


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("label", [1, 2.5, 3], "2.5"),
        ("id", [1, 2, 2**24 + 1], "whole numbers"),
        ("id", [1, 2, 2**53 + 1], "whole numbers"),
        ("label", [1, 2, 121], "outside -3 to 120"),
        ("one", [0, 1, 2], "true or false"),
        ("one", ["yes", "no", "no"], "yes"),
        ("one", [True, False, None], "missing"),
        ("time", [1.7e9, 1.6e9, 0], "times"),
        ("time", ["2024-01-01", "2024-13-01", ""], "2024-13-01"),
        ("time", ["2024-01-01", "2031-01-01", None], "outside 2010-01-01"),
    ],
)
def test_what_a_type_does_not_allow_is_named(
    name: str, values: list[Any], word: str
) -> None:
    """With the column's name; nothing is rounded without a word."""
    with pytest.raises(ContractError) as error:
        table(**{name: values})
    assert f'"{name}"' in str(error.value) and word in str(error.value)


def test_the_last_day_of_a_range_belongs_to_it() -> None:
    assert len(table(time=["2030-12-31T23:59:59.9"] * 3)) == 3


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{type: integer, min: 0}", ("max",)),
        ("{type: integer, min: 0, max: 20000000}", ("category", "datetime")),
        ("{type: integer, min: 0.5, max: 2}", ("whole",)),
        ("{type: integer, min: 3, max: 2}", ("below max",)),
        ("{type: boolean, min: 0}", ("min",)),
        ("{type: datetime, min: 10}", ("2030-12-31",)),
        ("{type: datetime, min: 2031-01-01, max: 2030-01-01}", ("below",)),
        ("{type: datetime, max: '2030-31-12'}", ("2030-31-12",)),
        ("{type: bool}", ("number, integer, boolean, category",)),
        ("{type: [number]}", ("number, integer",)),
        ("{type: number, missing: 'false'}", ("true or false", "quotes")),
        ("{type: category, categories: [1, 2]}", ("type: integer", '["1", "2"]')),
        ("{type: category, categories: [yes, no]}", ("true", "type: boolean")),
        ("{type: category, categories: [NO, DE]}", ("false", "quotes")),
        ("{type: category, categories: [010, a]}", ("8", "quotes")),
        ("{type: category, categories: [on, a]}", ("true", "quotes")),
        ("{type: category, categories: [12:30, a]}", ("750", "quotes")),
        ("{type: category, categories: [1.0, a]}", ("1.0", "quotes")),
        ("{type: category, categories: [a, b, a]}", ("once",)),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(
    entry: str, words: tuple[str, ...]
) -> None:
    """With its name, what YAML read, and what to write."""
    if "missing" not in entry:
        entry = entry.replace("}", ", missing: false}")
    text = CONTRACT.replace("  id: {", f"  q w: {entry}\n  id: {{")
    with pytest.raises(ContractError) as error:
        Contract.read(text)
    assert all(word in str(error.value) for word in ("columns.q w", *words))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("target: returned", "target: label", ("target", "label", "one role")),
        ("columns:\n", "sensitive: [labell]\ncolumns:\n", ("labell", "label?")),
        ("  one:", "  id:", ("given twice", "line")),
        ("  one:", "  NO:", ("false", "quotes")),
        ("  one:", "  1:", ("1", "quotes")),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(
    old: str, new: str, words: tuple[str, ...]
) -> None:
    """A key twice, a word that YAML reads as another, a column of two roles."""
    with pytest.raises(ContractError) as error:
        Contract.read(CONTRACT.replace(old, new))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("name", ["NO", "010", "on", "12:30", "1.0", "yes", "1_0"])
def test_a_class_that_yaml_reads_as_something_else_is_refused(name: str) -> None:
    """A whole number is a class of that text; what YAML makes of other text is not."""
    text = CONTRACT.replace("binary", "multiclass")
    good = text.replace("columns:\n", f"classes: [0, 7, {name!r}]\ncolumns:\n")
    assert Contract.read(good).classes == ("0", "7", name)
    with pytest.raises(ContractError, match=r"classes\[2\].* YAML reads it as"):
        Contract.read(good.replace(repr(name), name))


def test_kinds_are_those_of_the_model() -> None:
    """Integers and booleans enter the file as numbers."""
    assert TERMS.kind("datetime", COLUMNS) == ["time", "größe 漢字"]
    assert TERMS.kind("category", COLUMNS) == ["Ship Mode", "probability"]
    assert len(TERMS.kind("number", COLUMNS)) == len(COLUMNS) - 4
    assert TERMS.columns["label"].type == "integer"


def ask(**changes: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a request of one row, with columns changed."""
    schema = served.columns(yaml.safe_load(CONTRACT))
    return served.inputs([{**ROW, **changes}], schema, COLUMNS)


def test_requests_are_read_as_tables_are() -> None:
    """The server and the table give the model the same bytes."""
    frame = pd.DataFrame([ROW]).assign(order="a", placed="2026-01-01")
    expected = data.inputs(data.check(frame, TERMS, target=False), TERMS, COLUMNS)
    for name, array in ask().items():
        assert array.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(array, expected[name])


TIMES = [
    "2024-02-29",
    "1700-01-02",
    "1999-12-31T23:59:59.999999Z",
    "2024-02-29 12:00",
    "2024-02-29T12:00:00.1-1130",
    "1969-12-31T23:59:59.999999+14:00",
]


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_one_number_in_server_and_table(text: str) -> None:
    """To the last digit."""
    (found,) = ask(time=text)["time"].ravel()
    assert found == data.seconds(pd.Series([text]))[0]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("label", 3.5, "whole number"),
        ("label", True, "whole number"),
        ("label", "3", "whole number"),
        ("label", 2**24 + 1, "16777216"),
        ("label", 10**400, "16777216"),
        ("label", float("inf"), "whole number"),
        ("label", float("nan"), "whole number"),
        ("one", 1, "true or false"),
        ("one", "true", "true or false"),
        ("one", None, "lacks"),
        ("x_y", True, "a number"),
        ("time", 1.7e9, "a time as text"),
        ("time", "", "ISO 8601"),
        ("time", "2024-W10-1", "ISO 8601"),
        ("time", "20240101", "ISO 8601"),
        ("time", "2024-01-01T00:00:00\n", "ISO 8601"),
        ("time", "2024-02-30", "ISO 8601"),
        ("time", "1600-01-01", "ISO 8601"),
        ("time", "٢٠٢٤-01-01", "ISO 8601"),
        ("größe 漢字", None, "lacks"),
        ("größe 漢字", "", "lacks"),
    ],
)
def test_a_request_of_another_type_is_refused(
    name: str, value: object, word: str
) -> None:
    with pytest.raises(served.RowError) as error:
        ask(**{name: value})
    assert f"'{name}'" in str(error.value) and word in str(error.value)


def test_a_number_without_a_fraction_is_whole() -> None:
    assert ask(label=3.0)["label"].tolist() == [[3]]
    assert np.isnan(ask(label=None)["label"]).all()
    assert np.isnan(ask(time=None)["time"]).all()


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ((), ("id", "time")),
        (("id",), ("row_id", "time")),
        (("time", "row_time"), ("id", "row_row_time")),
    ],
)
def test_a_rows_own_id_and_time_never_clash(
    columns: tuple[str, ...], names: tuple[str, str]
) -> None:
    assert prediction_log.metadata(columns) == names
    assert agent.id_name(set(columns)) == names[0]  # the agent is a file of its own


def test_golden_rows_of_a_deployment_have_an_id_beside_a_column_of_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By it readers of the prediction log know who asked."""
    sent = []

    def get(url: str, body: dict[str, Any]) -> dict[str, Any]:
        sent.extend(body["rows"])
        return {"manifest_sha256": "0", "predictions": [{"probability": 0.5}]}

    monkeypatch.setattr(target, "_get", get)
    golden_rows = [{"row": ROW, "probability": 0.5}]
    assert target.ask_golden("http://x", golden_rows, "0") == ""
    assert sent == [{"row_id": "golden-0", **ROW}]


class Session:
    """A loaded file with inputs of these names."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.names]


def test_inputs_are_known_by_their_position() -> None:
    """So that names may differ; the columns' own names in another order are refused."""
    found: Any = input_names(Session("a", "column_c3a9"), ["a", "é"])  # type: ignore[arg-type]
    assert found == ["a", "column_c3a9"]
    for names in (("b", "a"), ("a",), ("a", "b", "c")):
        with pytest.raises(ModelError, match="in this order"):
            input_names(Session(*names), ["a", "b"])  # type: ignore[arg-type]


def test_names_of_inputs_are_safe_and_never_the_same() -> None:
    """Whatever the columns are called; a plain name is kept."""
    plain = ["carrier", "temp", "Wind_dir2", "x_y"]
    assert [fitting.input_name(name) for name in plain] == plain
    odd = ["column_61", "a b", "a_b", "a/b", "é", "e\u0301", "", " ", "1", "label"]
    odd += ["column_", "column_c3a9", "one", "probability", "a\nb", "🚀", "Á" * 300]
    names = [fitting.input_name(name) for name in odd]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.isidentifier() for name in names)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return rows of the contract."""
    folder = tmp_path_factory.mktemp("made-up")
    (folder / "contract.yaml").write_text(CONTRACT)
    return Project(folder).made_up_rows(400)


def test_reports_show_values_as_the_contract_has_them(made_up: pd.DataFrame) -> None:
    """True and false, whole numbers, days; a time is cut into quartiles."""
    _, labels = slices.parts(made_up["2nd_floor"], "boolean")
    assert labels == ["false", "true", "missing"]
    codes, labels = slices.parts(made_up["time"], "datetime")
    assert labels == [*slices.QUARTILES, "missing"]
    assert np.bincount(codes)[:4].min() > 80
    _, labels = slices.parts(made_up["time"].iloc[[0, 1, 0]], "datetime")
    assert labels[0].startswith("20") and len(labels) == 3

    def grid(name: str) -> list[str]:
        values = explain._grid(made_up[name], TERMS.columns[name].type)
        table = pd.DataFrame({name: values})
        assert len(data.inputs(table, TERMS, [name])[name]) == len(values)
        return [explain._shown(value) for value in values]

    assert grid("2nd_floor") == ["false", "true"]
    assert all(float(value).is_integer() for value in grid("label"))
    assert [pd.Timestamp(day).year for day in grid("time")] == sorted(
        pd.Timestamp(day).year for day in grid("time")
    )
    assert flips._usual(made_up["2nd_floor"], "boolean") in (0.0, 1.0)
    assert isinstance(flips._usual(made_up["time"], "datetime"), pd.Timestamp)
    assert flips._text(np.float32(1), "boolean") == "true"


@pytest.mark.parametrize(
    ("column", "change", "fits"),
    [
        ("time", {"add": 30}, True),
        ("time", {"set": "2024-02-29"}, True),
        ("time", {"set": "2001-01-01"}, False),
        ("time", {"set": "soon"}, False),
        ("one", {"set": True}, True),
        ("one", {"set": 1}, False),
        ("one", {"add": 1}, False),
        ("label", {"set": 3}, True),
        ("label", {"add": 2}, True),
        ("label", {"add": 0.5}, False),
        ("label", {"set": 121}, False),
        ("x/y", {"set": 0.5}, True),
        ("Ship Mode", {"set": "NO"}, True),
        ("Ship Mode", {"set": False}, False),
    ],
)
def test_behaviour_changes_each_type_or_refuses(
    column: str, change: dict[str, Any], fits: bool, made_up: pd.DataFrame
) -> None:
    """Days are added to a time; the range of the contract is kept."""
    entry = {"name": "x", "column": column, "expect": "same", **change}
    entry |= {"tolerance": 0.1, "allowed": 0.1}
    if not fits:
        with pytest.raises(ContractError, match="can hold"):
            behaviour.parse([entry], TERMS)
        return
    (rule,) = behaviour.parse([entry], TERMS)
    changed = rule.changed(made_up, TERMS)
    checked = data.check(changed, TERMS)  # as the contract allows
    assert changed[column].dtype == made_up[column].dtype
    assert not checked[column].equals(made_up[column])


@pytest.mark.parametrize(
    "change", [("time", "400"), ("one", "0.5"), ("label", "2.4"), ("Ship Mode", "NO")]
)
def test_simulated_traffic_of_each_type_is_accepted(
    change: tuple[str, str], made_up: pd.DataFrame
) -> None:
    """With drift and without; the row's own id and time have names of their own."""
    drifted = simulate.drifted(made_up, [change], TERMS)
    assert not drifted[change[0]].equals(made_up[change[0]])
    (batch,) = simulate.requests(drifted, TERMS, 1_000)
    assert batch[0]["row_id"] == "row-000000" and "T" in str(batch[0]["row_time"])
    schema = served.columns(yaml.safe_load(CONTRACT))
    arrays = served.inputs(json.loads(json.dumps(batch)), schema, COLUMNS)
    expected = data.inputs(data.check(drifted, TERMS), TERMS, COLUMNS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_logged_requests_of_each_type_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column called `time` is not the time of the request."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    answer = {"id": "a", "probability": 0.5, "decision": True}
    at = (moment, "0" * 64, None, moment.isoformat())
    lines = [prediction_log.line(answer, *at, ROW)]
    lines += [prediction_log.line(answer, *at, {**ROW, "time": None, "label": None})]
    log = tmp_path / "predictions-2026-01-02.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("PREDICTION_LOG", str(tmp_path))
    assert requests.bring(tmp_path, TERMS) == ""
    table = pd.read_parquet(tmp_path / requests.FILE)
    assert table.attrs[requests.SINCE] == table.attrs[requests.UNTIL]
    assert table.attrs[requests.SINCE].startswith("2026-01-02")
    arrays = data.inputs(table, TERMS, COLUMNS)
    for name, array in ask().items():
        np.testing.assert_array_equal(arrays[name][:1], array)
    assert np.isnan(arrays["time"][1, 0]) and np.isnan(arrays["label"][1, 0])
