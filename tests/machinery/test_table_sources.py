"""Rows that are not one file: DuckDB, SQLite, partitions, `dvc import-url`."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from machinery import tables
from machinery.world import git
from mlgitops import lock
from mlgitops.commands import audit, install
from mlgitops.storage import masked
from mlgitops.table import bring, database, origin, partitions
from mlgitops.table.options import Options
from mlgitops.table.problem import TableError

duckdb = pytest.importorskip("duckdb")  # the group `data`


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a new repository."""
    folder = tables.copy(tmp_path / "new")
    monkeypatch.chdir(folder)
    return folder


ADDRESSES = {
    "postgresql://anna@db.example:5432/shop": "postgresql://db.example:5432/shop",
    "postgres:///shop?host=/run/pg&user=anna": "postgres:///shop?host=/run/pg",
    "postgresql://a,b/shop?sslmode=verify-full&passfile=/home/a/p": (
        "postgresql://a,b/shop?sslmode=verify-full"
    ),
    "warehouse.duckdb": "warehouse.duckdb",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_kept_without_its_login(address: str) -> None:
    assert database.shown(address) == ADDRESSES[address]


WRONG = {
    "postgresql://anna:sesame@db/shop": "PGPASSWORD",
    "postgresql://anna:@db/shop": "PGPASSWORD",
    "postgresql://db/shop?password=sesame": "PGPASSWORD",
    "postgresql://db/shop?pass%77ord=sesame": "PGPASSWORD",
    "postgresql://db/shop?sslpassword=sesame": "PGPASSWORD",
    "postgresql://db/shop?oauth_client_secret=sesame": "PGPASSWORD",
    "postgresql://db/shop?PASSWORD=sesame": "PGPASSWORD",
    "postgresql://db?password=sesame": "PGPASSWORD",
    "postgresql://db?password=sesame/1&dbname=shop": "PGPASSWORD",
    "postgresql://anna:12/sesame@db/shop": "PGPASSWORD",
    "postgresql://anna:sesame/1@db/shop": "PGPASSWORD",
    "postgresql://anna@db": "names no database",
    "mysql://db/shop": "is not read",
    "s3://bucket/rows.parquet": "dvc import-url",
}


@pytest.mark.parametrize("address", WRONG)
def test_an_address_that_is_refused_says_no_secret(address: str) -> None:
    with pytest.raises(TableError, match=WRONG[address]) as refused:
        tables.make(address, "y", query="select 1")
    assert "sesame" not in str(refused.value)
    assert not Path("build", "data.html").exists()


def test_a_query_needs_its_database_and_its_file() -> None:
    tables.frame().to_csv("../a.csv", index=False)
    for given, word in (
        ({"file": "../a.csv", "query": "select 1"}, "of a database"),
        ({"file": "postgresql://db/shop"}, "QUERY= is missing"),
        ({"file": "gone.duckdb", "query": "select 1"}, "does not exist"),
    ):
        options = Options.parse({"target": "y", **given})
        with pytest.raises(TableError, match=word):
            bring.address(options)
    Path("empty.sql").write_text("-- select 1\n;")
    for option, word in (("empty.sql", "no query"), ("none.sql", "No such file")):
        with pytest.raises(TableError, match=word):
            database.query(option)


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("select a from t where b in (select c from d) ORDER\nBY a", True),
        ("select a, rank() over (order by a) as r from (select a from t) q", False),
        ("with q as (select a from t order by a) select a from q", False),
        ("select a from t -- order by a", False),
        ("select a from t where b = ' order by ( '", False),
        ("select a from t where b = ' ( -- ' order by a", True),
    ],
)
def test_only_the_outermost_order_counts(text: str, ordered: bool) -> None:
    assert database.query(text).is_ordered is ordered


def warehouse(kind: str, frame: pd.DataFrame) -> Path:
    """Write rows to a file that is a database; return its path."""
    path = Path(f"../warehouse.{kind}")
    if kind == "sqlite":
        with sqlite3.connect(path) as connection:
            frame.to_sql("orders", connection, index=False)
        connection.close()
    else:
        with duckdb.connect(str(path)) as connection:
            connection.register("frame", frame)
            connection.execute("create or replace table orders as from frame")
    return path


def orders(count: int = 400) -> pd.DataFrame:
    """Return rows with an id, a code and a missing value."""
    codes = [f"{n % 7:03d}" if n % 11 else None for n in range(count)]
    keys = [f"k{n:04d}" for n in range(count)]
    return tables.frame(count, key=keys, code=codes, size=[n % 9 for n in range(count)])


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_query_of_a_file_that_is_a_database(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is typed as the same rows in Parquet are; the next run shows what changed."""
    path = warehouse(kind, orders())
    before = path.read_bytes()
    query = "select key, x, code, size, y from orders order by key"
    assert not tables.make(path, "y", query=query)
    types = {n: c["type"] for n, c in tables.contract()["columns"].items()}
    assert types == {"x": "number", "code": "category", "size": "integer"}
    table = tables.table()
    assert tables.path() == Path("data/warehouse.parquet")
    assert list(table["key"]) == list(orders()["key"]) and len(table) == 400
    pd.testing.assert_series_equal(table["x"], orders()["x"])
    assert list(table["code"].dropna()) == list(orders()["code"].dropna())
    found = origin.record()
    assert found and (found.kind, found.query) == ("query", query)
    assert path.read_bytes() == before
    path.unlink()
    warehouse(kind, orders(420))
    capsys.readouterr()
    assert not tables.make("", "")
    assert "rows: 400 → 420" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ("password = 'hunter2'", "password or key"),
        ("u.API_KEY=E'hunter2'", "password or key"),
        ("x in (select * from dblink('host=h password=hunter2', 'q'))", "password"),
        ("x in (select * from dblink(password => 'hunter2'))", "password"),
        ("x in (from 'https://anna:hunter2@host/a.csv')", "password or key"),
        ("x in (from 'https://h/a.csv?X-Amz-Signature=hunter2')", "password or key"),
        ("name = 'hunter2@example.org'", "e-mail"),
    ],
)
def test_a_query_with_a_login_or_a_person_is_refused(where: str, word: str) -> None:
    """Its text is committed in data/source.json, a file of it as data/query.sql."""
    text = f"select * from users u where {where} -- it's here"
    with pytest.raises(TableError, match=word) as caught:
        database.query(text)
    assert "hunter2" not in str(caught.value)
    Path("data", "query.sql").write_text(text)
    if word == "e-mail":  # only the file's name is kept
        assert database.query("data/query.sql").text == text
        return
    with pytest.raises(TableError, match=word):
        database.query("data/query.sql")


@pytest.mark.parametrize(
    "where",
    [
        "u.password = o.password and city = 'Bonn'",
        "password is not null and password <> ''",
        "password_changed = 'yes' and token = 'word'",
        "email not like '%@example.org'",
        "link like 'https://host/%?page=2'",
        "x in (from 'https://host/a@b.csv')",
    ],
)
def test_a_query_about_such_columns_is_read(where: str) -> None:
    """The control: none of them holds a password or a person."""
    text = f"select * from users where {where}"
    assert database.query(text).text == text


def test_an_address_is_kept_without_login_and_signature() -> None:
    address = "https://anna:hunter2@h/a.csv?page=2&sig=hunter2&X-Amz-Signature=hunter2"
    kept = "https://***@h/a.csv?page=2&sig=***&X-Amz-Signature=***"
    assert masked(address) == kept and masked(kept) == kept


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("delete from orders", "read"),
        ("select 1; select 2", "one"),
        ("select key, size as key, y from orders", "2 columns"),
        ("select cast('a' as blob) as b, y from orders", "blob"),
        ("select y from nowhere", "nowhere"),
        ("select key, y from orders where y > 5", "no rows"),
    ],
)
def test_what_a_file_does_not_give_is_refused(kind: str, query: str, word: str) -> None:
    path = warehouse(kind, orders())
    before = path.read_bytes()
    try:
        said = tables.make(path, "y", query=query)
    except TableError as error:
        said = str(error)
    assert word in said.lower() and path.read_bytes() == before
    assert not Path("data", "table.json").exists()


def parts(frame: pd.DataFrame, folder: Path = Path("../lake")) -> Path:
    """Write rows by year and month, as Spark does; return the folder."""
    for (year, month), rows in frame.groupby(["year", "month"], dropna=False):
        name = "__HIVE_DEFAULT_PARTITION__" if pd.isna(month) else f"{month:02.0f}"
        home = folder / f"year={year}" / f"month={name}"
        home.mkdir(parents=True, exist_ok=True)
        rows.drop(columns=["year", "month"]).to_parquet(home / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def lake(count: int = 480, months: int = 12) -> pd.DataFrame:
    """Return rows of some months, 40 of each."""
    numbers = pd.Series(range(count)) * months // count
    return tables.frame(
        count,
        key=[f"k{n:04d}" for n in range(count)],
        year=2023 + numbers // 6,
        month=numbers % 6 + 7,
    )


def test_columns_of_the_folders_names_are_read() -> None:
    folder = parts(lake())
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-9.parquet").write_bytes(b"unfinished")
    assert not tables.make(folder, "y", time="")
    types = {n: c["type"] for n, c in tables.contract()["columns"].items()}
    assert types == {"x": "number", "year": "integer", "month": "integer"}
    table = tables.table().sort_values("key", ignore_index=True)
    expected = lake()
    for name in ("x", "year", "month"):
        assert list(table[name].astype(float)) == list(expected[name].astype(float))


def test_codes_texts_and_gaps_in_the_folders_names() -> None:
    frame = tables.frame(300, key=[f"k{n}" for n in range(300)])
    names = ["store=007/when=2024-01-03/kind=a%20b", "store=042/when=2024-02-01/kind=c"]
    names += ["store=100/when=2024-02-09/kind=__HIVE_DEFAULT_PARTITION__"]
    for number, name in enumerate(names):
        home = Path("..", "in=1", "lake", name)  # not part of the table
        home.mkdir(parents=True)
        frame[number * 100 :][:100].to_parquet(home / "x.parquet")
    assert not tables.make(Path("../in=1/lake"), "y", split="random")
    table = tables.table()
    assert sorted(table["store"].unique()) == ["007", "042", "100"]
    assert set(table["kind"].dropna()) == {"a b", "c"}
    assert table["kind"].isna().sum() == 100
    assert str(table["when"].min())[:10] == "2024-01-03" and "in" not in table


def test_what_changed_in_a_folder_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """New, changed and gone, by folder; a file that only moved is read again, too."""
    folder = parts(lake())
    assert not tables.make(folder, "y")
    found = origin.record()
    assert found and found.kind == "folder" and len(found.files) == 12
    assert found.rows == 480
    assert "year=2023/month=07/part-0.parquet" in found.files
    first = origin.RECORD.read_bytes()
    assert not tables.make(folder, "y")
    assert origin.RECORD.read_bytes() == first
    moved, home = folder / "year=2024/month=12", folder / "year=2025/month=01"
    home.parent.mkdir()
    moved.rename(home)
    changed = folder / "year=2023/month=07/part-0.parquet"
    pd.read_parquet(changed).iloc[1:].to_parquet(changed)
    capsys.readouterr()
    assert not tables.make("", "")
    said = capsys.readouterr().out
    assert "files: 1 file (year=2025/month=01) new" in said
    assert "files: 1 file (year=2023/month=07) changed" in said
    assert "files: 1 file (year=2024/month=12) gone" in said
    assert "rows: 480 → 479" in said and "FORCE=1 writes it" in said
    assert not tables.make("", "", force=True)
    assert origin.RECORD.read_bytes() != first
    tables.frame().to_csv("../one.csv", index=False)
    assert not tables.make("../one.csv", "y", force=True)
    assert not origin.RECORD.exists()  # one file that lies here needs no record


@pytest.mark.parametrize("pulled", [True, False])
def test_rows_that_were_erased_do_not_come_back_unasked(
    pulled: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The source still has them; in a new clone only the pointer tells."""
    orders().to_csv("../orders.csv", index=False)
    assert not tables.make("../orders.csv", "y")
    table = tables.path()
    assert not tables.make("", "")
    assert "make erase" not in capsys.readouterr().out, "the control"
    tables.table().iloc[1:].to_parquet(table)
    erased, pointer = table.read_bytes(), table.with_name(f"{table.name}.dvc")
    if not pulled:
        table.unlink()
        entry = f"- md5: {'f' * 32}\n  size: 1\n  hash: md5\n  path: {table.name}\n"
        pointer.write_text(f"outs:\n{entry}")
    assert not tables.make("", "")
    said = capsys.readouterr().out
    assert "such as after `make erase`" in said and "Nothing was written" in said
    assert table.read_bytes() == erased if pulled else not table.exists()
    pointer.unlink(missing_ok=True)
    assert not tables.make("", "", force=True)
    assert len(tables.table()) == 400


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_no_sign_in_a_name_stands_for_another_file(kind: str) -> None:
    """A browser, or a person, calls a second copy orders[1]; DuckDB reads orders1."""
    for folder, rows in (("year=2[0]", 200), ("year=20", 300)):
        for name in ("orders[1]", "orders1"):
            path = Path("..", folder, f"{name}.{kind}")
            path.parent.mkdir(exist_ok=True)
            frame = tables.frame(rows + (name == "orders1"))
            write = {"csv": frame.to_csv, "parquet": frame.to_parquet}
            if kind == "json":
                frame.to_json(path, orient="records", lines=True)
            else:
                write[kind](path, index=False)
    assert not tables.make(f"../year=2[0]/orders[1].{kind}", "y")
    assert len(tables.table()) == 200


def differing(first: pa.Table, second: pa.Table, name: str = "b") -> Path:
    """Write two files of one table that are not alike."""
    for part, table in (("a", first), (name, second)):
        home = Path("..", "parts", f"part={part}")
        home.mkdir(parents=True)
        pq.write_table(table, home / "part-0.parquet")
    return Path("../parts")


def test_files_that_differ_are_told_by_name() -> None:
    frame = tables.frame(200)
    texts = frame.assign(x=frame["x"].astype(str))
    folder = differing(pa.table(frame), pa.table(texts))
    said = tables.make(folder, "y")
    assert "part=b/part-0.parquet" in said and "part=a/part-0.parquet" in said
    assert 'Column "x"' in said and "double" in said


def test_a_column_that_one_file_lacks_is_told_by_name() -> None:
    frame = tables.frame(200)
    folder = differing(pa.table(frame.assign(z=1)), pa.table(frame))
    assert "part=b/part-0.parquet lacks z" in tables.make(folder, "y")


def test_folders_that_differ_are_told_by_name() -> None:
    frame = tables.frame(200)
    folder = differing(pa.table(frame), pa.table(frame))
    (folder / "part=b").rename(folder / "kind=b")
    said = tables.make(folder, "y")
    assert "kind" in said and "part=a" not in said.replace("part=a/", "")


def test_a_column_of_files_and_of_folders_is_refused() -> None:
    frame = tables.frame(200).assign(part="a")
    assert 'Column "part"' in tables.make(
        differing(pa.table(frame), pa.table(frame)), "y"
    )


def two(kind: str, first: pd.DataFrame, second: pd.DataFrame) -> Path:
    """Write two files of one table into a folder."""
    folder = Path("..", kind)
    folder.mkdir()
    for name, frame in (("a", first), ("b", second)):
        path = folder / f"{name}.{kind}"
        if kind == "feather":
            frame.to_feather(path)
        else:
            frame.to_json(path, orient="records", lines=True)
    return folder


def test_what_a_file_of_json_lacks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A key may be left out where it has no value, so nothing is refused."""
    frame = tables.frame(200)
    frame["user"] = [{"age": n % 40, "kind": "ab"[n % 2]} for n in range(200)]
    other = frame.assign(user=[{"age": n % 40} for n in range(200)], late=frame["x"])
    assert not tables.make(two("jsonl", frame, other), "y")
    said = capsys.readouterr().out
    assert "a.jsonl lacks late" in said and "b.jsonl lacks user.kind" in said
    assert not tables.make(two("json", frame, frame), "y", force=True)
    assert "lacks" not in capsys.readouterr().out, "the control"
    Path("../jsonl/c.jsonl").write_text("", encoding="utf-8")  # a day without rows
    assert not tables.make("../jsonl", "y", force=True)
    said = capsys.readouterr().out
    assert "c.jsonl lacks x, y" in said and "lacks json" not in said


def test_an_object_that_is_a_text_elsewhere_is_lacking_nowhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = tables.frame(200)
    user = [{"age": n % 40} for n in range(200)]
    texts = [f"{n % 9}" for n in range(200)]
    folder = two("json", frame.assign(user=user), frame.assign(user=texts))
    assert not tables.make(folder, "y")
    assert "lacks" not in capsys.readouterr().out


def test_names_of_json_files_that_differ_in_case_are_refused() -> None:
    """They would be two columns, each of them half empty."""
    frame = tables.frame(200)
    said = tables.make(two("jsonl", frame, frame.rename(columns={"x": "X"})), "y")
    assert "x and X differ only in the case" in said


def test_feather_files_that_differ_are_refused() -> None:
    """Arrow alone takes the columns of the first, and leaves the others out."""
    frame = tables.frame(200)
    assert "b.feather has also z" in tables.make(
        two("feather", frame, frame.assign(z=1)), "y"
    )


def test_feather_files_of_whole_numbers_and_fractions_are_united() -> None:
    whole = tables.frame(200).assign(n=[n % 7 for n in range(200)])
    fractions = whole.assign(n=whole["n"] + 0.5)
    assert not tables.make(two("feather", whole, fractions), "y")
    assert set(tables.table()["n"]) == {n + f for n in range(7) for f in (0.0, 0.5)}


def test_ids_stay_exact_beside_a_file_that_has_them_as_floats() -> None:
    """pandas makes floats of whole numbers where one is missing."""
    frame = tables.frame(200)
    large = frame.assign(user_id=[2**60 + 2 * n + 1 for n in range(200)])
    small = frame.assign(user_id=[n + 0.0 for n in range(200)])
    assert not tables.make(two("feather", large, small), "y", id="user_id")
    assert str(2**60 + 1) in set(tables.table()["user_id"])


@pytest.mark.parametrize("kind", ["texts", "codes", "times"])
def test_feather_files_of_categories_and_texts_are_united(kind: str) -> None:
    """pandas writes a category with as few bytes as it needs, file by file."""
    frame = tables.frame(200).assign(city=["ab"[n % 2] for n in range(200)])
    first = frame.astype({"city": "category"})
    second = frame
    if kind == "codes":
        many = [f"c{n}" for n in range(200)]
        second = frame.assign(city=pd.Categorical(frame["city"], ["a", "b", *many]))
    if kind == "times":
        first = first.assign(at=pd.date_range("2026-01-01", periods=200))
        second = second.assign(at=first["at"].astype("datetime64[ms]"))
    assert not tables.make(two("feather", first, second), "y")
    assert tables.table()["city"].value_counts().to_dict() == {"a": 200, "b": 200}


def test_types_that_cannot_be_united_are_a_sentence() -> None:
    kinds = {
        Path(str(n)): pa.schema([("n", k)]) for n, k in enumerate(("bool", "utf8"))
    }
    with pytest.raises(TableError, match="cannot be united"):
        partitions.united(kinds, Path("folder"))


def test_a_key_that_comes_late_in_a_file_is_a_column() -> None:
    """Of more rows than a reader looks at by itself before it begins."""
    path = Path("../late.jsonl")
    rows = [f'{{"x": {n % 97}, "y": {n % 2}}}' for n in range(100_001)]
    more = [f'{{"x": {n % 97}, "y": {n % 2}, "late": {n % 5}}}' for n in range(500)]
    path.write_text("\n".join([*rows, *more]))
    assert not tables.make(path, "y")
    assert tables.table()["late"].notna().sum() == 500


def test_whole_numbers_and_fractions_are_united() -> None:
    """The type of the first file alone would round the fractions of the second."""
    frame = tables.frame(200)
    whole = frame.assign(n=[n % 7 for n in range(200)])
    fractions = frame.assign(n=[n % 7 + 0.5 for n in range(200)])
    empty = pa.table(frame.assign(n=None))
    folder = differing(pa.table(whole), pa.table(fractions))
    (folder / "part=c").mkdir()
    pq.write_table(empty, folder / "part=c" / "part-0.parquet")
    assert not tables.make(folder, "y")
    table = tables.table()
    assert set(table["n"].dropna()) == {n + f for n in range(7) for f in (0.0, 0.5)}
    assert table["n"].isna().sum() == 200


def test_types_that_cannot_be_united_are_refused() -> None:
    """DuckDB unites by names, and x and X are one name to it."""
    frame = tables.frame(200).assign(X=1)
    folder = differing(pa.table(frame), pa.table(frame.assign(X=1.5)))
    assert "x and X differ only in the case" in tables.make(folder, "y")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_folders_of_others_say_that_their_names_are_no_columns(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path("..", "parts", "year=2024")
    home.mkdir(parents=True)
    if kind == "csv":
        tables.frame(200).to_csv(home / "rows.csv", index=False)
    else:
        tables.frame(200).to_json(home / "rows.jsonl", orient="records", lines=True)
    assert not tables.make(Path("../parts"), "y")
    assert "are folders' names columns: not year" in capsys.readouterr().out
    assert list(tables.table()) == ["row_id", "x", "y"]


def test_a_folder_above_names_no_column_of_the_files() -> None:
    """DuckDB alone would take the folder's value for that of each row."""
    frame = tables.frame(200, year=[2020 + n % 3 for n in range(200)])
    home = Path("..", "year=1999")
    home.mkdir()
    frame.to_parquet(home / "rows.parquet")
    assert not tables.make(home / "rows.parquet", "y")
    assert set(tables.table()["year"]) == {2020, 2021, 2022}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("_delta_log/0.json", "Delta"), ("metadata/v1.metadata.json", "Iceberg")],
)
def test_a_lakehouse_is_refused(name: str, kind: str) -> None:
    """Its folder holds files of removed rows, too."""
    folder = parts(lake())
    (folder / name).parent.mkdir()
    (folder / name).write_text("{}")
    with pytest.raises(TableError, match=kind):
        tables.make(folder, "y")


@pytest.fixture
def tracked(here: Path) -> Iterator[Path]:
    """Make the new repository one of git, with DVC's settings."""
    git("init", "-q", "-b", "main", cwd=here)
    logging.disable()  # DVC's handlers keep the terminal of the first test
    yield here
    logging.disable(logging.NOTSET)


def test_dvc_import_url_of_a_file(
    tracked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its origin is recorded; `dvc update` and `make data` show what is newer."""
    from dvc.repo import Repo

    outside = tracked.parent / "orders.csv"
    tables.frame(400).to_csv(outside, index=False)
    Path("raw").mkdir()
    with Repo() as repo:
        repo.imp_url(str(outside), out="raw/orders.csv")
        assert not tables.make("raw/orders.csv", "y")
        found = origin.record()
        assert found and found.imported == str(outside) and found.kind == "file"
        tables.frame(450).to_csv(outside, index=False)
        repo.update(["raw/orders.csv.dvc"])
    capsys.readouterr()
    assert not tables.make("", "")
    assert "rows: 400 → 450" in capsys.readouterr().out
    assert not tables.make("", "", force=True)
    assert len(tables.table()) == 450
    assert set(lock.pointers()) == {"data/orders.parquet"}


def test_dvc_import_url_of_a_folder(
    tracked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partitions come as they are; what DVC keeps of the folder is outside data/."""
    from dvc.repo import Repo

    outside = parts(lake(400, 10), tracked.parent / "lake")
    Path("raw").mkdir()
    with Repo() as repo:
        repo.imp_url(str(outside), out="raw/lake")
        assert not tables.make("raw/lake", "y")
        found = origin.record()
        assert found and found.imported == str(outside) and len(found.files) == 10
        parts(lake(), outside)
        repo.update(["raw/lake.dvc"])
    capsys.readouterr()
    assert not tables.make("", "")
    said = capsys.readouterr().out
    assert "new" in said and "year=2024/month=12" in said and "rows: 400 → 480" in said
    assert set(lock.pointers()) == {"data/lake.parquet"}


def test_a_folder_that_dvc_tracks_in_data_is_refused_with_advice() -> None:
    text = "outs:\n- {md5: d8e8fca2dc0f896fd7cb4cb0031ba249.dir, size: 3, nfiles: 2,"
    Path("data/lake.dvc").write_text(f"{text} hash: md5, path: lake}}\n")
    with pytest.raises(lock.LockError, match="raw/lake"):
        lock.pointers()


def test_a_record_that_was_altered_is_refused() -> None:
    texts = ("{", '{"kind": "query"}', '{"kind": "file", "who": 1}', "[" * 100_000)
    for text in texts:
        origin.RECORD.write_text(text)
        with pytest.raises(TableError, match="git checkout"):
            origin.record()


def test_an_audit_says_where_a_versions_rows_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only by a record that fits the very file that it was trained on."""
    table = {
        "table_sha256": "a" * 64,
        "query": "data/query.sql",
        "snapshot": "733:733:",
    }
    record = {"kind": "query", "address": "postgresql://db/shop", "sha256": "b" * 64}
    version: dict[str, Any] = {
        **dict.fromkeys(("manifest_sha256", "commit", "signature", "author"), "c"),
        **{"pull_request": 1, "approvers": [], "data_files": [], "verdicts": []},
        "made_from": {"data": {"sha256": "a" * 64}},
    }
    for text, found in (
        (json.dumps({**record, **table}), True),
        (json.dumps({**record, **table, "table_sha256": "d" * 64}), False),
        ("{", False),
        (None, False),
    ):
        answer = None if text is None else text.encode()
        monkeypatch.setattr(audit.git, "show", lambda *args, answer=answer: answer)
        lines = audit._facts(audit._with_origin(version, "c"))
        assert ("- rows, from: `postgresql://db/shop`" in lines) is found
        assert ("- rows, snapshot: `733:733:`" in lines) is found


def test_make_setup_keeps_the_package_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tables.ROOT)
    record = tmp_path / "source.json"
    assert install.database(record) == []
    cases = (("postgresql://db/shop", 1), ("w.duckdb", 0), ("postgres-dump/day", 0))
    for address, count in cases:
        record.write_text(json.dumps({"address": address}))
        assert len(install.database(record)) == count
