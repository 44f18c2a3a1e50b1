"""Bulk bodies: the bytes of a JSON answer, and nothing that a stream says can harm."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import random
import resource
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from machinery import described, tiny
from machinery.asked import ask, logged, send
from mlgitops.serving import arrow_reader, arrow_writer, bulk, vectors
from mlgitops.serving.app import App
from mlgitops.serving.arrow_reader import ArrowError
from mlgitops.serving.bulk import ARROW, PARQUET, Size
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.rows import Column, RowError, arrays
from mlgitops.serving.vectors import Vector

SENT = {"content-type": ARROW.decode()}
BOTH = SENT | {"accept": "application/json;q=0.5, " + ARROW.decode()}
DAY = pa.timestamp("us", "UTC")
COLUMNS = {
    "id": pa.array(["a", "b", "c", None]),
    "time": pa.array([0, 1_364_860_800_000_000, None, 1], DAY),
    "carrier": pa.array(["UA", "ü", "AA", "UA"]),
    "distance": pa.array([1400, 5, 7_000, 1]),
    "temp": pa.array([40.5, None, 0.1, -70.0]),
    "seat": pa.array([None, "a", "b", "odd"]),
}
TABLE = pa.table(COLUMNS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return Model(folder)


@pytest.fixture
def app(model: Model) -> App:
    return App(model, version="v1", bulk_size=Size(50, 100_000))


def stream(table: pa.Table, **options: Any) -> bytes:
    """Return a table as a stream."""
    out = io.BytesIO()
    how = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(out, table.schema, options=how) as writer:
        writer.write_table(table, max_chunksize=3)
    return out.getvalue()


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def rows(table: pa.Table = TABLE) -> list[dict[str, Any]]:
    """Return a table as the rows of a JSON body."""
    found = table.to_pylist()
    for row in found:
        row["time"] = row["time"] and row["time"].isoformat()
    return found


def encoded(table: pa.Table) -> pa.Table:
    """Return a table with dictionaries in place of its texts."""
    texts = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in table]
    return pa.table(dict(zip(table.column_names, texts, strict=True)))


LIKE = [
    TABLE,
    encoded(TABLE),
    TABLE.set_column(2, "carrier", TABLE["carrier"].cast(pa.large_string())),
    TABLE.set_column(3, "distance", TABLE["distance"].cast(pa.float64())),
    TABLE.set_column(3, "distance", TABLE["distance"].cast(pa.uint16())),
    TABLE.set_column(1, "time", TABLE["time"].cast(pa.timestamp("ns"))),
]


def without_new_id(predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return predictions; an id that the server made is 32 characters."""
    return [
        p | {"id": p["id"] if len(str(p["id"])) < 32 else "new"} for p in predictions
    ]


@pytest.mark.parametrize("table", LIKE)
def test_a_stream_gets_the_predictions_of_json(table: pa.Table, app: App) -> None:
    expected = ask(app, "/predict", {"rows": rows()})
    assert expected.status == 200, expected.body
    found = ask(app, "/predict", stream(table), SENT)
    assert found.headers["content-type"] == "application/json"
    assert found.json.keys() == expected.json.keys()
    for name in ("manifest_sha256", "version"):
        assert found.json[name] == expected.json[name]
    predictions = without_new_id(found.json["predictions"])
    assert predictions == without_new_id(expected.json["predictions"])
    answer = ask(app, "/predict", stream(table), BOTH)
    assert answer.headers["content-type"] == ARROW.decode()
    read = pa.ipc.open_stream(answer.body).read_all()
    read.validate(full=True)
    assert without_new_id(read.to_pylist()) == predictions
    names = ("manifest_sha256", "version")
    facts = {name.encode(): expected.json[name].encode() for name in names}
    assert read.schema.metadata == facts
    assert read.schema.field("probability").type == pa.float32()


def test_a_parquet_file_gets_the_predictions_of_json(app: App) -> None:
    expected = ask(app, "/predict", {"rows": rows()}).json["predictions"]
    found = ask(app, "/predict", parquet(TABLE), {"content-type": PARQUET.decode()})
    assert without_new_id(found.json["predictions"]) == without_new_id(expected)


def test_counts_and_lines_are_those_of_json(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, as many lines would be more than the log keeps waiting."""
    monkeypatch.setattr(vectors, "ROWS", 3)
    seen = {}
    for kind, body, headers in (
        ("json", {"rows": rows()}, {}),
        ("arrow", stream(encoded(TABLE)), SENT),
    ):
        app, folder = App(model, version="v1"), tmp_path / kind
        logged(app, folder, "/predict", body, headers)
        lines = tiny.logged(folder)
        for line in lines:
            del line["logged_at"]
        counts = app.counts
        seen[kind] = (
            without_new_id(lines),
            [
                counts.rows,
                +counts.unknown,
                +counts.outside,
                counts.responses,
                sum(counts.durations),
            ],
        )
    assert seen["arrow"] == seen["json"]
    assert seen["json"][1][:3] == [
        4,
        {"carrier": 1, "seat": 1},
        {"distance": 1, "temp": 1},
    ]
    assert all("seat" not in line["row"] for line in seen["arrow"][0]), "sensitive"


@pytest.mark.parametrize("name", ["a", 'a "b"', "a\\b", "a\nb", "ü", "class", ""])
def test_a_row_is_logged_by_its_names_whatever_they_are(name: str) -> None:
    values = Vector("number", np.array([1.5, 2.0]), np.array([True, False]))
    scored = vectors.Scored(vectors.Table(2, {"x": values, name: values}), [], [])
    found = [bulk.ENCODE(row) for row in scored.rows(0, 2, {"x"})]
    assert [json.loads(row) for row in found] == [{name: 1.5}, {name: None}]


TYPES = [
    ("number", [1.5, None, -0.0, 3e38, 0.1]),
    ("number", [2**60, 2**53 + 1]),
    ("number", [1.0, float("nan")]),
    ("number", [1.0, 1e39]),
    ("integer", [1, None, -(2**24)]),
    ("integer", [1.0, 2.5]),
    ("integer", [2**24 + 1]),
    ("integer", [2**62]),
    ("boolean", [True, None, False]),
    ("category", ["a", "", None, "ü" * 300]),
    ("category", ["a", "", None, "ü"]),
    ("text", ["Ein Satz.", "两 words", None]),
    ("datetime", [0, None, 1_364_860_800_123_456]),
    ("datetime", [-(2**60)]),
    ("datetime", ["2013-04-01T12:00:00Z", "2013-04-01"]),
    ("datetime", ["yesterday"]),
    *((kind, [None, None]) for kind in ("number", "boolean", "category", "datetime")),
]


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize(("kind", "values"), TYPES)
def test_a_column_is_checked_as_that_of_json(
    kind: str, values: list[Any], missing: bool
) -> None:
    """The same array, or the same sentence."""
    column = Column("c", kind, missing, 256)
    arrow = pa.array(values)
    if kind == "datetime" and type(values[0]) is int:
        arrow = pa.array(values, DAY)
    table = arrow_reader.read(stream(pa.table({"c": arrow})), ["c"], 100, 1_000)
    vector = table.columns["c"]

    def outcome(function: Callable[[], Any]) -> object:
        try:
            array = function()
            return array.dtype, array.shape, array.tolist()
        except RowError as error:
            return str(error)

    as_json = vector.part(0, len(values))
    expected = outcome(lambda: arrays({"c": as_json}, {"c": column}, ["c"])["c"])
    assert repr(outcome(lambda: vectors.checked(vector, column))) == repr(expected)


def changed(name: str, values: pa.Array) -> bytes:
    return stream(TABLE.set_column(TABLE.column_names.index(name), name, values))


NESTED = pa.array([[1], [2], [3], [4]])
RAW = stream(TABLE)
REFUSED = [
    (
        422,
        changed("distance", pa.array(["1", "2", "3", "4"])),
        "must be a number, not t",
    ),
    (422, changed("distance", pa.array([True] * 4)), "must be a number, not true or"),
    (422, changed("carrier", pa.array([1, 2, 3, 4])), "must be text, not number"),
    (422, changed("distance", pa.nulls(4)), "row 0 lacks the column 'distance'"),
    (422, changed("distance", pa.array([1, 2, None, 4])), "row 2 lacks the column"),
    (422, changed("temp", pa.array([1.0, 2, float("nan"), 4])), "row 2: column 'temp'"),
    (422, changed("temp", pa.array([1.0, 2, 3, float("inf")])), "row 3: column 'temp'"),
    (422, changed("carrier", pa.array(["a", "b", "c" * 300, "d"])), "row 2: column"),
    (422, changed("id", pa.array([1.5, 2, 3, 4])), "'id' must be"),
    (422, changed("id", pa.array(["a", "b", "", "d"])), "row 2: 'id' must be"),
    (422, changed("time", pa.array([1, 2, 3, 4])), "'time' must be"),
    (422, stream(TABLE.drop_columns(["carrier"])), "row 0 lacks the column 'carrier'"),
    (400, stream(TABLE.rename_columns([*"abcdef"])), "unknown column 'a'"),
    (400, changed("temp", NESTED), "'temp' is of the Arrow type list"),
    (400, changed("temp", pa.array([{"a": 1}] * 4)), "Arrow type struct"),
    (400, changed("seat", pa.array([b"a"] * 4)), "Arrow type binary"),
    (400, changed("seat", pa.array(["a"] * 4, pa.string_view())), "string view"),
    (400, stream(TABLE, compression="zstd"), "compressed"),
    (400, stream(TABLE, compression="lz4"), "compressed"),
    (400, stream(TABLE.slice(0, 0)), "0 rows; 1 to 50"),
    (413, stream(pa.concat_tables([TABLE] * 13)), "too many rows; 1 to 50"),
    (413, b"\xff" * 100_001, "more than 100000 bytes"),
    (400, b"", "has no end"),
    (400, b"{}", "not an Arrow IPC stream"),
    (400, b'{"rows":[]}' * 9, "not an Arrow IPC stream"),
    (400, RAW[: len(RAW) // 2], "not an Arrow IPC stream"),
    (400, RAW + RAW, "bytes follow its end"),
    (400, RAW[:-8], "has no end"),
]


@pytest.mark.parametrize(("status", "body", "noun"), REFUSED)
def test_a_body_that_is_not_allowed_gets_a_sentence(
    status: int, body: bytes, noun: str, app: App, tmp_path: Path
) -> None:
    answer = logged(app, tmp_path, "/predict", body, SENT)
    assert answer.status == status and noun in answer.json["error"]
    assert answer.json["error"].endswith(".")
    assert not tiny.logged(tmp_path) and not app.counts.rows and app.refused == 1


def test_a_stream_that_is_cut_anywhere_is_refused() -> None:
    """Also between two batches, where it would be a whole one of fewer rows."""
    for end in range(len(RAW)):
        with pytest.raises(ArrowError):
            arrow_reader.read(RAW[:end], TABLE.column_names, 50, 1_000)


def test_a_stream_of_too_many_messages_is_refused() -> None:
    empty = io.BytesIO()
    with pa.ipc.new_stream(empty, TABLE.schema) as writer:
        for _ in range(arrow_reader.MESSAGES):
            writer.write_batch(TABLE.to_batches()[0].slice(0, 0))
    with pytest.raises(ArrowError, match="more than 1000 messages"):
        arrow_reader.read(empty.getvalue(), TABLE.column_names, 50, 1_000)


def test_a_short_dictionary_may_not_become_long_texts(app: App) -> None:
    """A hundred thousand rows may point to one long text: the log would have each."""
    table = pa.table({"seat": pa.array(["x" * 3_000] * 40).dictionary_encode()})
    answer = ask(app, "/predict", stream(table), SENT)
    assert "too long together" in answer.json["error"]


def test_the_bytes_of_one_column_may_not_be_those_of_many() -> None:
    """Else a small body could be read a thousand times."""
    names = [f"c{n}" for n in range(9)]
    data = stream(pa.table({name: pa.array([name * 99] * 3) for name in names}))
    whole = np.frombuffer(data[: len(data) // 8 * 8], "<i8").copy()
    places = [n + 1 for n in np.flatnonzero(whole[1:] == 3 * 198).tolist()]
    assert len(places) == len(names), "where each column's buffer has its length"
    for place in places:
        whole[place - 1], whole[place] = whole[places[0] - 1], 9 * 3 * 198
    with pytest.raises(ArrowError, match="buffer"):
        arrow_reader.read(whole.tobytes(), names, 100, 10_000)


def altered(data: bytes, chance: random.Random) -> bytes:
    """Return a stream that was cut, or has other bytes or another large number."""
    if chance.random() < 0.2:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        index = chance.randrange(len(changed))
        if chance.random() < 0.7:
            changed[index] ^= 1 << chance.randrange(8)
        else:
            number = chance.choice((-1, 1, 2**31 - 1, 2**40, 2**62))
            struct.pack_into("<q", changed, min(index & ~7, len(changed) - 8), number)
    return bytes(changed)


def test_an_altered_stream_is_refused_or_read_and_takes_no_memory(model: Model) -> None:
    """Of 10,000 like these, a library in C ended 21 times with its process."""
    bases, names = [stream(TABLE), stream(encoded(TABLE))], vectors.allowed(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"read": 0, "refused": 0}
    for seed in range(1_500):
        chance = random.Random(seed)
        data = altered(chance.choice(bases), chance)
        try:
            vectors.score(model, arrow_reader.read(data, names, 50, 10_000))
            outcomes["read"] += 1
        except (ArrowError, RowError) as error:
            assert str(error).endswith("."), error
            outcomes["refused"] += 1
    assert outcomes["refused"] > 900 and outcomes["read"] > 100
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000, "kB"


@pytest.mark.parametrize(
    ("body", "noun"),
    [
        (parquet(TABLE)[:200], "not a Parquet file"),
        (b"", "not a Parquet file"),
        (parquet(pa.concat_tables([TABLE] * 13)), "52 rows; 1 to 50"),
        (parquet(pa.table({"temp": ["x" * 90_000] * 2})), "more than 100000 bytes"),
        (parquet(pa.table({"temp": NESTED})), "Arrow type list"),
    ],
)
def test_a_parquet_file_that_is_not_allowed_gets_a_sentence(
    body: bytes, noun: str, app: App
) -> None:
    answer = ask(app, "/predict", body, {"content-type": PARQUET.decode()})
    assert answer.status in (400, 413) and noun in answer.json["error"]


def test_a_parquet_reader_that_dies_ends_one_request(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "dies.py"
    program.write_text("import os; os.abort()")
    monkeypatch.setattr(bulk.parquet, "__file__", str(program))
    answer = ask(app, "/predict", b"", {"content-type": PARQUET.decode()})
    assert (answer.status, "cannot be read" in answer.json["error"]) == (400, True)


def test_without_pyarrow_parquet_is_refused_by_what_to_install(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "find_spec", lambda name: None)
    answer = ask(app, "/predict", parquet(TABLE), {"content-type": PARQUET.decode()})
    assert answer.status == 415 and "install pyarrow" in answer.json["error"]


def test_single_rows_are_answered_while_a_bulk_body_is_read(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(120)
        return bulk._arrow(*arguments)

    monkeypatch.setitem(bulk.READERS, ARROW, slow)

    async def both() -> list[int]:
        large = asyncio.create_task(send(app, "/predict", stream(TABLE), SENT))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        single = await send(app, "/predict", {"rows": [tiny.ROW]})
        assert not large.done()
        go_on.set()
        return [single.status, (await large).status]

    assert asyncio.run(both()) == [200, 200]


PREDICTIONS: list[list[dict[str, Any]]] = [
    [{"id": 1, "probability": 0.5, "decision": None, "set": [0, 1]}],
    [
        {
            "id": "ü",
            "probabilities": {"a": 0.25, "b": 0.75},
            "class": "b",
            "set": ["b"],
        },
        {"id": "", "probabilities": {"a": 0.5, "b": 0.5}, "class": None, "set": []},
    ],
    [{"id": str(n), "value": n / 2, "interval": [n - 0.1, n + 0.1]} for n in range(17)],
]


@pytest.mark.parametrize("predictions", PREDICTIONS)
def test_an_answer_in_arrow_has_the_columns_of_make_score(
    predictions: list[dict[str, Any]],
) -> None:
    read = pa.ipc.open_stream(arrow_writer.stream(predictions, {})).read_all()
    read.validate(full=True)
    expected = [described.flat(p | {"id": str(p["id"])}) for p in predictions]
    assert read.column_names == [*expected[0]]
    assert read.to_pylist() == expected


def test_what_training_never_saw_is_counted_in_columns_with_gaps() -> None:
    counts = Counts(
        {
            "a": {"type": "category", "categories": [1]},
            "b": {"type": "number", "max": 5},
        }
    )
    there = np.array([True, True, False])
    columns = {
        "a": Vector("text", np.array(["1", "2", "3"], object), there),
        "b": Vector("number", np.array([5.0, 6.0, 7.0]), there),
    }
    unknown, outside = vectors.unseen(counts, vectors.Table(3, columns))
    assert (unknown, outside) == ({"a": 1}, {"b": 1})


def test_only_a_bulk_body_may_be_as_large_as_one(tmp_path: Path) -> None:
    """A real server: its connections have bounds of their own."""
    tiny.version(tmp_path)
    many = pa.table({"carrier": ["UA"] * 30_000, "distance": [1.0] * 30_000})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, many.schema) as writer:
        writer.write_table(many)
    assert len(out.getvalue()) > 400_000
    options = ("--max-bytes", "1000", "--max-bulk-bytes", "700000")
    cases: list[tuple[bytes, dict[str, str], int]] = [
        (out.getvalue(), SENT, 200),
        (bytes(1_000_000), SENT, 413),
        (out.getvalue(), {}, 413),
    ]
    with tiny.server(tmp_path, *options) as (port, _):
        for body, headers, status in cases:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request("POST", "/predict", body, headers)
                answer = connection.getresponse()
                found = answer.status, len(answer.read()) > 1_000_000
            except OSError:  # it hung up while this was sent
                found = 413, False
            assert found == (status, status == 200)
            connection.close()
