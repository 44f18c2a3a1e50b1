"""The typed checker accepts what the plain one accepts, with the same arrays.

Contracts and rows are drawn at random; `PROOF=1` draws more of them.
"""

import os
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgitops.judge import edges
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.prediction_log import metadata
from mlgitops.serving import rows as plain
from mlgitops.serving.metrics import Counts
from mlgitops.serving.rows import RowError
from mlgitops.serving.typed import Typed

EXAMPLES = 10_000 if os.environ.get("PROOF") else 100
NAMES = ("Ship Mode", "id", "time", "x/y", "class", "c0", "größe 漢字", "u(", "$.a[0]")
EDGES: list[Any] = [0, -0.0, 1, 5.0, 2**24, 2**24 + 1, 2**53 + 1, 2**60 + 3, 10**40]
EDGES += [3.4028234663852886e38, 3.4028235e38, 1e39, -1e39, 1e-46, 0.1, 1.5, 10**400]
EDGES += [
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    "",
    "a",
    "b",
    "é",
    "1",
    "x" * 9,
]
EDGES += ["x" * 257, "2013-04-01", "2013-04-01T12:00:00.25+02:00", "2013-W01", "1600"]
EDGES += ["A.b  C!", [], {}, ["a"]]
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
values = st.one_of(st.sampled_from(EDGES), numbers, st.integers(), st.text(max_size=4))


@st.composite
def column(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a column of a contract."""
    kind = draw(st.sampled_from(list(plain.TYPES)))
    entry = {"type": kind, "missing": draw(st.booleans())}
    if kind == "category":
        listed = draw(st.lists(st.sampled_from(["a", "b", "é", "1"]), min_size=1))
        entry |= {"categories": [*dict.fromkeys(listed)]}
        entry |= {"unknown": draw(st.sampled_from(plain.UNKNOWN))}
    return entry | ({"max_length": 8} if kind == "text" else {})


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "number": st.one_of(numbers, st.integers(-9, 9)),
    "integer": st.integers(-(2**24), 2**24),
    "boolean": st.booleans(),
    "category": st.sampled_from(["a", "b", "é", "new"]),
    "datetime": st.sampled_from(["2013-04-01", "2013-04-01T12:00:00.25+02:00"]),
    "text": st.text(max_size=8),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw a contract, and rows that mostly fit it."""
    columns = draw(
        st.dictionaries(st.sampled_from(NAMES), column(), min_size=1, max_size=5)
    )
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row: dict[str, Any] = {}
        for name, entry in columns.items():
            kind = draw(st.integers(0, 19))
            if kind:
                row[name] = draw(values if kind == 1 else FITTING[entry["type"]])
        if draw(st.integers(0, 9)) == 0:
            row[draw(st.sampled_from(("id", "row_id", "other")))] = draw(values)
        rows.append(row)
    return columns, rows


def same(columns: Mapping[str, Any], rows: list[dict[str, Any]]) -> bool | None:
    """Hold both checkers to the same; whether the typed one took the rows itself."""
    schema = plain.columns({"columns": columns})
    names = [*schema][::-1]
    typed = Typed(schema, names, [n for n in metadata(schema) if n])
    found = typed.inputs(rows)
    try:
        expected = plain.inputs(rows, schema, names)
    except RowError as error:
        assert found is None, (columns, rows, error)
        assert "\n" not in str(error) and str(error).startswith("row ")
        return None
    if found is None:
        return False
    assert [*found] == [*expected] == names
    for name in names:
        one, other = found[name], expected[name]
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if one.dtype == object:
            assert one.tolist() == other.tolist()
        else:
            assert one.tobytes() == other.tobytes(), (name, rows)
    return True


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(cases())
def test_both_checkers_say_the_same(case: tuple[Any, Any]) -> None:
    same(*case)


@pytest.mark.parametrize("kind", plain.TYPES)
@pytest.mark.parametrize("missing", [True, False])
def test_each_type_with_each_value_at_an_edge(kind: str, missing: bool) -> None:
    """And the typed checker takes most of what is accepted, or it were no use."""
    entry = {"type": kind, "missing": missing, "max_length": 256}
    categories = {"categories": ["a", "b"], "unknown": "refuse"}
    entries = [entry] if kind != "category" else [entry, entry | categories]
    taken = [same({"x": e}, [{"x": v}]) for e in entries for v in EDGES]
    assert taken.count(True) >= max(1, taken.count(False))


def test_a_name_that_msgspec_refuses_is_checked_by_the_plain_one() -> None:
    """A quote or a backslash in a column's name."""
    schema = plain.columns({"columns": {'a"b': {"type": "number", "missing": False}}})
    with pytest.raises(ValueError):
        Typed(schema, [*schema], [])


def test_an_unknown_category_is_refused_where_the_contract_says_so() -> None:
    column = {"type": "category", "missing": True, "categories": ["a", "b"]}
    terms = {"unknown": "refuse", "columns": {"x": column, "y": dict(column)}}
    terms["columns"]["y"]["unknown"] = "predict"  # type: ignore[index]
    schema = plain.columns(terms)
    typed = Typed(schema, ["x", "y"], ["id"])
    for good in ({"x": "a", "y": "new"}, {"x": None}, {"x": ""}, {}):
        assert typed.inputs([good]) is not None
        plain.inputs([good], schema, ["x"])
    assert typed.inputs([{"x": "a"}, {"x": "new"}]) is None
    with pytest.raises(RowError, match=r"row 1: column 'x'.*'new'.*unknown: refuse"):
        plain.inputs([{"x": "a"}, {"x": "new"}], schema, ["x"])
    with pytest.raises(ValueError, match="unknown"):
        plain.columns({"unknown": "perhaps", "columns": {"x": column}})


def test_what_json_cannot_say_is_refused_before_the_rows() -> None:
    for text in ("NaN", "Infinity", "1e400", '"\\ud800"'):
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(f"[{text}]")


def test_arrays_of_a_request_are_its_own() -> None:
    """So that what one request holds, another cannot change."""
    schema = plain.columns({"columns": {"x": {"type": "number", "missing": True}}})
    typed = Typed(schema, ["x"], [])
    first, second = typed.inputs([{"x": 1}]), typed.inputs([{"x": 2}])
    assert first and second and np.shares_memory(first["x"], second["x"]) is False
    assert first["x"].tolist() == [[1.0]]


POLICY = """\
name: orders
task: binary
id: order
target: returned
unknown: refuse
columns:
  mode: {type: category, missing: false, categories: [a, b]}
  area: {type: category, missing: true, categories: [n, s], unknown: predict}
"""


def test_the_policy_of_a_contract_is_the_columns_that_do_not_say_it() -> None:
    columns = Contract.read(POLICY).columns
    assert (columns["mode"].unknown, columns["area"].unknown) == ("refuse", "predict")
    for old, new, key in (
        ("unknown: refuse", "unknown: never", "unknown"),
        ("unknown: predict", "unknown: yes", "unknown"),
        ("type: category, missing: true", "type: text, max_length: 9", "categories"),
    ):
        with pytest.raises(ContractError, match=key):
            Contract.read(POLICY.replace(old, new))


def test_the_judge_asks_what_the_policy_lets_through() -> None:
    """So that a version whose contract refuses is not failed for refusing."""
    contract = Contract.read(POLICY)
    schema = plain.columns(yaml.safe_load(POLICY))
    sample: list[edges.Row] = [{"mode": "a", "area": "n"}]
    asked = [*edges.cases(contract, ["mode", "area"], sample, ([], ["a", "zz"]))]
    plain.inputs([dict(case.row) for case in asked], schema, [*schema])
    found = {(case.row["mode"], case.row["area"]) for case in asked}
    assert {mode for mode, _ in found} == {"a", "b"}
    assert {"zz", edges.UNKNOWN[0]} <= {area for _, area in found}
    lenient = Contract.read(POLICY.replace("unknown: refuse\n", ""))
    asked = [*edges.cases(lenient, ["mode", "area"], sample, ([], ["a", "zz"]))]
    with pytest.raises(RowError):  # the control: these would be refused
        plain.inputs([dict(case.row) for case in asked], schema, [*schema])


counted = st.fixed_dictionaries(
    {},
    optional={
        "area": st.sampled_from(["n", "s", "zz", "", None]),
        "size": st.integers(-3, 12) | st.floats(-2, 11) | st.sampled_from(EDGES),
        "other": st.just("x"),
    },
)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(counted, st.sampled_from([{}, {"min": -1.5}, {"min": 0, "max": 10.5}]))
def test_what_is_usual_has_nothing_to_count(row: Any, ends: dict[str, float]) -> None:
    """The short way of counting gives the numbers of the long one."""
    area = {"type": "category", "categories": ["n", "s"]}
    columns = {"area": area, "size": {"type": "number"} | ends}
    if row.get("size") is not None and type(row["size"]) not in (int, float):
        return  # such a row gets no prediction
    short, long = Counts(columns), Counts(columns)
    long._usual = lambda rows: False
    short.predicted([row])
    long.predicted([row])
    assert (short.unknown, short.outside) == (long.unknown, long.outside)
    plain = row.get("area") != "zz" and row.get("size") in (None, 1, 2, 3)
    assert not plain or short._usual([row])
