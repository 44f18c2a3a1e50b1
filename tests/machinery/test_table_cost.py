"""What `make data` costs: a file of text is read once, and no answer is lost by it."""

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from machinery import tables

pytest.importorskip("duckdb")  # the group `data`
from mlgitops.commands import data
from mlgitops.lock import Out
from mlgitops.table import (
    bring,
    columns,
    draft,
    drawn,
    engine,
    files,
    formats,
    look,
    page,
    plan,
    source,
)
from mlgitops.table.options import Options

ROWS = 400


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a new repository."""
    folder = tables.copy(tmp_path / "new")
    monkeypatch.chdir(folder)
    return folder


class Recorded:
    """A connection that notes what it is asked."""

    asked: ClassVar[list[str]] = []

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, sql: str) -> Any:
        self.asked.append(sql)
        return self.connection.execute(sql)

    def sql(self, sql: str) -> Any:
        self.asked.append(sql)
        return self.connection.sql(sql)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def readings(asked: list[str]) -> list[str]:
    """Return what was asked of the file itself."""
    words = ("from source", "(select * from read_csv")
    return [sql for sql in asked if any(word in sql for word in words)]


def test_a_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types, target, ids, duplicates and all else come from the columns read."""
    connect, asked = engine.connect, Recorded.asked
    monkeypatch.setattr(engine, "connect", lambda path: Recorded(connect(path)))
    random = np.random.default_rng(0)
    frame = tables.frame(
        order_id=[f"o{n}" for n in range(ROWS)],
        placed=pd.date_range("2025-01-01", periods=ROWS, freq="h"),
        city=random.choice(["Ghent", "Bruges"], ROWS),
        items=random.integers(0, 9, ROWS),
    )
    frame["x"] = frame["x"].astype(str).where(frame.index != 7, "?")
    frame.to_csv("../shop.csv", index=False)
    asked.clear()
    assert not tables.make("../shop.csv", "y")
    reading = readings(asked)
    assert len(reading) == 2, reading
    assert "limit" in reading[0], "a look at its first rows"
    assert len(asked) > 8 and len(tables.table()) == ROWS


def test_rows_unlike_the_first_make_a_column_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its texts are then as the file has them, those of the first rows too."""
    monkeypatch.setattr(look, "PEEK", 100)
    mixed = ["1.50"] * 120 + list("abcd") * 70
    tables.frame(ROWS, mixed=mixed).to_csv("../t.csv", index=False)
    assert not tables.make("../t.csv", "y")
    assert tables.contract()["columns"]["mixed"] == {
        "type": "category",
        "missing": False,
        "categories": ["1.50", "a", "b", "c", "d"],
    }
    assert tables.table()["mixed"].tolist() == mixed


def test_values_that_are_none_are_told_with_their_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look, "PEEK", 100)
    frame = tables.frame(ROWS, price=[f"{n}.25" for n in range(ROWS)])
    frame.loc[300:302, "price"] = ["two", "NA", "inf"]
    frame.to_csv("../t.csv", index=False)
    refusal = tables.make("../t.csv", "y")
    assert "2 of 399 values are not numbers" in refusal
    assert "inf" in refusal and "two" in refusal
    assert not tables.make("../t.csv", "y", types="price=number")
    assert tables.table()["price"].isna().sum() == 3


@pytest.mark.parametrize("odd", ["", "1e3", "two", "inf", "1e999", "NAN", " ", "1,5"])
def test_numbers_that_the_reader_reads_are_those_of_the_texts(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands far down in a column; only a text costs a second reading."""
    asked, connect = Recorded.asked, engine.connect
    monkeypatch.setattr(engine, "connect", lambda path: Recorded(connect(path)))
    monkeypatch.setattr(look, "PEEK", 100)
    prices = [f"{n}.25" for n in range(ROWS)]
    prices[300] = odd
    tables.frame(ROWS, price=prices).to_csv("../t.csv", index=False)
    found, counts, scratch = [], [], Path("build", "table")
    for reader in (look._numbers, lambda *_: ()):
        monkeypatch.setattr(look, "_numbers", reader)
        asked.clear()
        table = engine.read(source.find(Path("../t.csv")), scratch)
        seen = look.look(table, {}, "y")
        read, every = columns.facts(table, seen, scratch / "read.parquet")
        counts.append(len(readings(asked)))
        values = read.run("", f"select c0, c1, c2 from {read.relation}")
        found.append((every, values))
    assert found[0] == found[1]
    assert found[0][0][1].odd == ((odd,) if odd not in ("", "1e3", " ") else ())
    assert counts == [3 if odd not in ("", "1e3") else 2, 2]


def test_of_a_wide_table_fewer_rows_are_looked_at_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, connect = Recorded.asked, engine.connect
    monkeypatch.setattr(engine, "connect", lambda path: Recorded(connect(path)))
    monkeypatch.setattr(look, "CELLS", 8_000)
    wide = {f"n{n}": np.arange(ROWS) / 7 for n in range(10)}
    tables.frame(ROWS, **wide).to_csv("../t.csv", index=False)
    asked.clear()
    assert not tables.make("../t.csv", "y")
    assert any("from source limit 1000" in sql for sql in asked)


def test_rows_keep_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """By it rows are numbered, and by their numbers held out.

    With a long list after `in`, such as the words for yes and no, DuckDB 2.0 takes
    groups of rows as they come, from some 100,000 rows on: no query may have one.
    """
    connect, asked = engine.connect, Recorded.asked
    monkeypatch.setattr(engine, "connect", lambda path: Recorded(connect(path)))
    random, count = np.random.default_rng(0), 5_000
    frame = tables.frame(count, member=random.choice(["yes", "no"], count))
    frame.to_csv("../t.csv", index=False)
    asked.clear()
    assert not tables.make("../t.csv", "y")
    assert [sql for sql in asked if " in (" in sql] == []
    assert tables.contract()["columns"]["member"]["type"] == "boolean"
    table = tables.table()
    assert table["x"].tolist() == frame["x"].tolist()
    assert (table["member"] == (frame["member"] == "yes")).all()
    assert table["row_id"].tolist() == [f"row-{n:08}" for n in range(1, count + 1)]


def test_what_is_sampled_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.frame(ROWS).to_csv("../t.csv", index=False)
    assert not tables.make("../t.csv", "y")
    assert "hash of the id" not in capsys.readouterr().out, "every row is looked at"
    monkeypatch.setattr(drawn, "SAMPLE", 100)
    assert not tables.make("../t.csv", "y")
    out = capsys.readouterr().out
    assert "hash of the id" in out and "hash of the id" in data.PAGE.read_text("utf-8")
    assert f"{ROWS} rows" in out


@pytest.mark.parametrize("before", [0, 3_000, 200_000, 600_000])
def test_the_line_that_is_not_utf_8_is_told_wherever_it_stands(before: int) -> None:
    path = Path("t.csv")
    path.write_bytes(b"a,\xc3\xa9\n" * before + b"b,\xe9t\xe9\n" + b"c,d\n" * 9)
    name, evidence = source.encoding(path)
    assert name == "cp1252" and f"line {before + 1:}" in evidence
    assert "b,été" in evidence


def test_a_letter_may_stand_on_the_border_of_two_blocks() -> None:
    path = Path("t.csv")
    path.write_bytes(b"x" * 4095 + "é".encode() + b"y" * source.BLOCK)
    assert source.encoding(path) == ("utf-8", "")
    path.write_bytes(b"x" * 4095 + b"\xc3")
    assert source.encoding(path)[0] == "cp1252", "half a letter at the end"


def planned(**given: str) -> tuple[pd.DataFrame, str, str]:
    """Return the table that would be written of a file, its contract and its page."""
    options = {**dict.fromkeys(tables.NAMES, ""), "file": "../t.csv", "target": "y"}
    made = plan.plan(Options.parse({**options, **given}), Path("build", "table"))
    return pd.read_parquet(made.table), made.contract, page.page(made)


def asked_for(
    patch: pytest.MonkeyPatch, **given: str
) -> tuple[list[str], tuple[pd.DataFrame, str, str]]:
    """Return what is asked of DuckDB, and what is found."""
    connect, asked = engine.connect, Recorded.asked
    patch.setattr(engine, "connect", lambda path: Recorded(connect(path)))
    asked.clear()
    found = planned(**given)
    patch.setattr(engine, "connect", connect)
    return list(asked), found


def alike(
    found: tuple[pd.DataFrame, str, str], patch: pytest.MonkeyPatch, **given: str
) -> None:
    """Check that a file read as texts, without a draft, gives the same."""

    def none(*_: object) -> None:
        raise draft.NotFiniteError

    patch.setattr(columns, "drafted", none)
    asked, expected = asked_for(patch, **given)
    assert [sql for sql in asked if sql.startswith("copy")]
    pd.testing.assert_frame_equal(found[0], expected[0])
    assert found[1:] == expected[1:]


def every_kind() -> pd.DataFrame:
    """Return a table with a column of each kind, and names that SQL has to quote."""
    random = np.random.default_rng(0)
    frame = tables.frame(ROWS, price=np.round(random.normal(size=ROWS), 6))
    frame.insert(0, "order_id", [f"o{n:04}" for n in range(ROWS)])
    frame["placed"] = pd.date_range("2025-01-01", periods=ROWS, freq="h")
    frame["a.b"] = random.integers(0, 900, ROWS)
    frame['say "x"'] = random.choice(["Ghent ", "Bruges"], ROWS)
    frame["Price"] = np.where(random.random(ROWS) < 0.1, np.nan, -frame["price"])
    frame["member"] = random.choice(["yes", "no"], ROWS)
    frame["code"] = [f"{n:04}x" for n in random.integers(0, 5000, ROWS)]
    frame.loc[7, "a.b"] = frame.loc[8, "a.b"]
    return pd.concat([frame, frame.tail(3).assign(order_id=["p1", "p2", "p3"])])


def test_the_draft_of_the_first_rows_is_the_file_that_all_rows_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row for row, by the same types, and what is said of it is the same."""
    every_kind().to_csv("../t.csv", index=False)
    asked, drafted = asked_for(monkeypatch)
    assert not [sql for sql in asked if sql.startswith("copy")], "in one reading"
    assert "3 rows" in drafted[2] and "repeat another" in drafted[2]
    alike(drafted, monkeypatch)


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the one reading, which writes two files beside the table."""
    every_kind().to_csv("../t.csv", index=False)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(draft, "_writer", full)
    monkeypatch.setattr("sys.argv", ["data", "--file=../t.csv", "--target=y"])
    with pytest.raises(SystemExit, match="make data: .* No space left"):
        data.main()
    assert not data.SCRATCH.exists()


@pytest.mark.parametrize(
    ("column", "value", "given", "stands"),
    [
        ("a.b", "0.5", {}, False),
        ("member", "", {}, False),
        ("y", "", {"unlabelled": "drop"}, False),
        ("order_id", "o0005", {}, False),
        ("Price", "-1e-320", {}, True),
        ('say "x"', "", {}, True),
        ("code", "", {"drop": "code"}, True),
    ],
    ids=["fraction", "no boolean", "no label", "no id", "less", "gap", "dropped"],
)
def test_rows_that_ask_for_another_file_than_the_first_get_it(
    column: str,
    value: str,
    given: dict[str, str],
    stands: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read is not read again; the file is the one without a draft."""
    monkeypatch.setattr(look, "PEEK", 100)
    frame = every_kind().astype(str).replace("nan", "")
    frame["code"] = [f"{n:04}x" for n in range(len(frame))]
    frame.iloc[300, frame.columns.get_loc(column)] = value
    frame.to_csv("../t.csv", index=False)
    asked, found = asked_for(monkeypatch, **given)
    assert len(readings(asked)) == 2
    joined = [sql for sql in asked if "positional join" in sql]
    assert len(joined) == (not stands), "a draft that does not stand lends its numbers"
    alike(found, monkeypatch, **given)


def test_the_bytes_of_a_draft_do_not_depend_on_how_it_was_read(tmp_path: Path) -> None:
    """Where the reader breaks off differs from one machine to another."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 9_000, dtype=np.uint64)
    columns = {
        "drawn": hashes,
        "f0": random.normal(size=9_000),
        "f1": list("abc") * 3000,
    }
    rows, sums = pa.table(columns), set()
    for size in (9_000, 2_048, 700):
        beside = draft.File(tmp_path / "beside.parquet", ("drawn", "x"), ())
        file = draft.File(tmp_path / "t.parquet", ("a.b",), ("a.b",))
        draft._split(draft.pieces(rows.to_batches(size), 4_000), beside, file)
        assert pq.read_table(file.path)["a.b"].equals(rows["f1"])
        assert pq.read_table(beside.path)["x"].equals(rows["f0"])
        sums.add((file.path.read_bytes(), beside.path.read_bytes()))
    assert len(sums) == 1


@pytest.mark.parametrize("count", [50, 100, 101, 5_000])
def test_a_sample_drawn_while_reading_is_that_of_all_rows(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same hashes, in the same order, and in bounded memory."""
    monkeypatch.setattr(drawn, "SAMPLE", 100)
    hashes = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    rows, found = pa.table({"hash": hashes, "n": range(count)}), drawn.Drawn()
    for start in range(0, count, 37):
        part = rows.slice(start, 37)
        found.add(part, part["hash"])
        assert sum(kept.num_rows for kept, _ in found._kept) <= 200 + 37
    expected = np.flatnonzero(hashes <= np.uint64(drawn.highest(count)))
    assert found.table()["n"].to_pylist() == expected.tolist()
    assert 60 < len(expected) < 140 or len(expected) == count <= 100
    assert drawn.Drawn().table() is None


def test_a_draft_shows_the_rows_that_the_file_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is seen of a sample is the same, by whichever way it was drawn."""
    monkeypatch.setattr(drawn, "SAMPLE", 150)
    every_kind().to_csv("../t.csv", index=False)
    found = planned()
    assert "hash of the id" in found[2]
    alike(found, monkeypatch)


def test_plain_numbers_are_told_at_once_as_one_by_one() -> None:
    plain, other = (
        ["1", "-1.5e3", ".5", "+7.", "0"],
        ["", "1\n2", "x", "1,5", "1 ", "e3"],
    )
    assert formats.are_plain(plain) and formats.are_plain([])
    for value in other:
        assert formats.PLAIN.fullmatch(value) is None
        assert not formats.are_plain([*plain, value, *plain])
    assert formats.are_plain(["1.25"] * 5_000) and not formats.are_plain(
        ["1"] * 5000 + ["x"]
    )


def test_rows_that_differ_far_right_only_are_no_duplicates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A few values tell most rows apart; where they do not, all are looked at."""
    frame = every_kind().drop(columns="order_id").head(ROWS)
    frame = pd.concat([frame, frame.head(5)])
    frame["last"] = [0.25] * ROWS + [0.25, 0.25, 0.5, 0.75, 1.5]
    frame["last"] += np.arange(len(frame)) % ROWS / 1024
    frame.to_csv("../t.csv", index=False)
    asked, found = asked_for(monkeypatch)
    assert sum("count(distinct" in sql for sql in asked) >= 2
    assert "2 rows (0.5%) repeat another" in found[2]


@pytest.mark.parametrize(
    ("null", "column", "first"),
    [
        ("NA", "price", False),
        ("nan", "a.b", False),
        ('"NULL"', 'say "x"', False),
        ("None", "member", False),
        ("NA", "placed", True),
    ],
)
def test_a_missing_value_may_be_spelt_out_anywhere(
    null: str, column: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for in all texts; in numbers, once one was met."""
    monkeypatch.setattr(look, "PEEK", 100)
    monkeypatch.setattr(engine, "LOOKED_AT", 5_000)
    frame = every_kind().astype(str).replace("nan", "")
    for row in (3, 300) if first else (300, 320):
        frame.iloc[row, frame.columns.get_loc(column)] = "?"
    text = frame.to_csv(index=False).replace("?", null)
    Path("../t.csv").write_text(text)
    assert engine._spelt([Path("../t.csv")]) == first
    asked, found = asked_for(monkeypatch)
    number = column in ("price", "a.b") and not first
    assert len(readings(asked)) == (3 if number else 2)
    assert found[0][column].isna().sum() == 2
    alike(found, monkeypatch)


@pytest.mark.parametrize("text", ["NAME,a", "financial", "a,Nancy", "N/A/B", "none"])
def test_a_word_that_only_begins_so_spells_nothing(text: str) -> None:
    Path("t.csv").write_text(f"x,y\n{text}\n")
    assert not engine._spelt([Path("t.csv")])
    Path("t.csv").write_text(f"x,y\n{text}\n1,NA\r\n")
    assert engine._spelt([Path("t.csv")])


def test_the_table_is_hashed_by_dvc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it finds is noted; where it fails, the rest is, and the next run goes on."""
    tables.frame(ROWS).to_csv("../t.csv", index=False)
    Path(".git").mkdir()
    out, found = (
        Out("data", "data/t-model.parquet", "5" * 32, 1),
        [files.storage.StorageError],
    )

    def add(_: str) -> Out:
        for error in found:
            raise error("disk full")
        return out

    monkeypatch.setattr(files.storage, "add", add)
    monkeypatch.setattr(files, "_md5", lambda _: pytest.fail("hashed once more"))
    with pytest.raises(files.storage.StorageError):
        tables.make("../t.csv", "y")
    assert files.record().sums["contract.yaml"]
    found.clear()
    assert not tables.make("../t.csv", "y"), "needs no FORCE=1"
    assert files.record().sums[out.path] == out.md5


def test_the_file_is_summed_up_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record has its sum all the same."""
    read, sums, begun = engine.read, bring._sums, Event()

    def reading(*given: Any) -> engine.Table:
        begun.set()
        return read(*given)

    def waiting(root: Path) -> dict[str, str]:
        assert begun.wait(60), "nothing is read before the sum is known"
        return sums(root)

    monkeypatch.setattr(plan, "read", reading)
    monkeypatch.setattr(bring, "_sums", waiting)
    tables.frame(ROWS).to_csv("../t.csv", index=False)
    assert not tables.make("../t.csv", "y")
    digest = hashlib.sha256(Path("../t.csv").read_bytes()).digest()
    assert files.record().fingerprint == hashlib.sha256(digest).hexdigest()


def test_a_file_that_cannot_be_summed_up_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Path) -> dict[str, str]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(bring, "_sums", broken)
    tables.frame(ROWS).to_csv("../t.csv", index=False)
    monkeypatch.setattr("sys.argv", ["data", "--file=../t.csv", "--target=y"])
    with pytest.raises(SystemExit, match="make data: .* Input/output error"):
        data.main()
    assert not files.RECORD.exists(), "nothing was written"


def test_rows_are_read_while_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, asked = draft._writer, Event()
    part = pa.table({"drawn": pa.array([1, 2], pa.uint64()), "f0": [0.5, 1.5]})

    def waiting(*given: Any) -> Any:
        assert asked.wait(60), "the next rows are not asked for"
        return writer(*given)

    def parts() -> Iterator[pa.Table]:
        yield part
        asked.set()
        yield part

    monkeypatch.setattr(draft, "_writer", waiting)
    beside = draft.File(tmp_path / "beside.parquet", ("drawn",), ())
    file = draft.File(tmp_path / "t.parquet", ("x",), ())
    draft._split(parts(), beside, file)
    assert pq.read_table(file.path)["x"].to_pylist() == [0.5, 1.5, 0.5, 1.5]


@pytest.mark.parametrize("twice", [False, True])
def test_ids_are_told_apart_by_their_hashes(
    twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts are looked at only where two of them have the same."""
    frame = every_kind()
    if twice:
        frame.iloc[300, 0] = frame.iloc[299, 0]
    frame.to_csv("../t.csv", index=False)
    asked, found = asked_for(monkeypatch)
    read = [sql for sql in asked if "having count(*) > 1" in sql]
    assert any("read.parquet" in sql for sql in read) == twice
    assert ("order_id" in found[0]) == (not twice)
    alike(found, monkeypatch)


def test_a_long_line_is_read_wherever_it_stands(tmp_path: Path) -> None:
    """Little of the file is held in memory, and no line is cut where that ends."""
    count = engine.LONGEST - 1_000
    path = tmp_path / "t.csv"
    with path.open("w") as stream:
        stream.write("a,b\n")
        for number in range(3):
            stream.write(f'{number},"{"x" * (count - number)}"\n')
    table = engine.read(source.find(path), tmp_path / "scratch")
    rows = table.run("", f"select c0, length(c1) from {table.relation}")
    assert rows == [(str(n), count - n) for n in range(3)]
    assert f"buffer_size = {2 * engine.LONGEST}" in table.numbers.sql((), ("",))


@pytest.mark.parametrize("alike", [True, False])
def test_a_file_of_json_is_looked_through_once_for_its_types(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all together once more, only where the types of two differ."""
    folder = Path("../parts")
    folder.mkdir()
    for n in range(3):
        frame = tables.frame(200)
        frame["z"] = frame["x"] if n and not alike else range(200)
        frame.to_json(folder / f"{n}.jsonl", orient="records", lines=True)
    connect = engine.connect
    monkeypatch.setattr(engine, "connect", lambda path: Recorded(connect(path)))
    Recorded.asked.clear()
    assert not tables.make(folder, "y")
    assert sum(
        "read_json(" in a and "columns = {" not in a for a in Recorded.asked
    ) == (3 if alike else 4)
    assert len(tables.table()) == 600
