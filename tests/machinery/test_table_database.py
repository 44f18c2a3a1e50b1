"""Rows out of a real PostgreSQL: typed, at one snapshot, recorded; and every fault."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from machinery import postgres, tables
from machinery.postgres import Server
from mlgitops.commands import data
from mlgitops.table import origin
from mlgitops.table.problem import TableError

pytest.importorskip("duckdb")  # the group `data`
pytest.importorskip("adbc_driver_postgresql")  # the group `database`
from mlgitops.table import postgresql, snapshot

QUERY = Path("data", "query.sql")
SELECT = """\
-- What was sent back, by order.
select order_id, placed, price, city, items, member, birthday, rating, mood, returned
from orders order by order_id;
"""
ORDERS = """
create type mood as enum ('glad', 'sad');
create domain stars as double precision check (value >= 0);
create table orders (
  order_id text primary key, placed timestamptz, price numeric(9, 2), city varchar(20),
  items smallint, member boolean, birthday date, rating stars, mood mood,
  returned boolean, details jsonb, paid money, tags text[], key uuid
);
grant select on orders to reader;
"""
ROWS = """
insert into orders
select 'o' || lpad(n::text, 6, '0'),
  timestamptz '2025-01-01 02:00+02' + n * '1 h'::interval,
  (n * 7919 % 1000) / 10.0, case when n % 5 = 0 then null else '{city}' || n % 3 end,
  n % 9, n % 2 = 0, date '1980-02-29' + n, n % 7 / 4.0 + 1e-9,
  (array['glad', 'sad'])[1 + n % 2]::mood,
  n * 7919 % 1000 + n * 104729 % 500 > 700, '{{"a": 1}}', 12.5, '{{a}}',
  gen_random_uuid()
from generate_series({first}, {last}) as n;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Yield a server with 400 orders, or skip with the reason."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.server() as running:
        running.run(ORDERS + ROWS.format(city="Ghent", first=1, last=400))
        yield running


@pytest.fixture(autouse=True)
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> Iterator[Path]:
    """Stand in a new repository, with the password in the environment."""
    folder = tables.copy(tmp_path / "new")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PGPASSWORD", server.password)
    for name in ("PGUSER", "PGHOST", "PGPORT", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    QUERY.write_text(SELECT, encoding="utf-8")
    yield folder
    server.run("delete from orders where order_id > 'o000400'")


def make(server: Server, **given: Any) -> str:
    """Run `make data` on the orders; return "" or what a refusal says."""
    return tables.make(
        server.address(), "returned", query=given.pop("query", str(QUERY)), **given
    )


def untouched() -> bool:
    """Tell whether nothing was written."""
    left = {p.name for p in Path("data").iterdir()} & {"shop.parquet", "table.json"}
    return not left and not list(Path("build").rglob("*.part"))


def test_types_of_the_server_become_those_of_the_contract(server: Server) -> None:
    assert not make(server)
    contract = tables.contract()
    assert (contract["id"], contract["time"]) == ("order_id", "placed")
    types = {name: column["type"] for name, column in contract["columns"].items()}
    assert types == {
        "price": "number",
        "city": "category",
        "items": "integer",
        "member": "boolean",
        "birthday": "datetime",
        "rating": "number",
        "mood": "category",
    }
    table = tables.table()
    first = table.iloc[0]
    assert tables.path() == Path("data/shop.parquet") and len(table) == 400
    assert first["placed"] == pd.Timestamp("2025-01-01 01:00", tz="UTC")
    assert (first["price"], first["items"], first["city"]) == (91.9, 1, "Ghent1")
    assert first["birthday"] == pd.Timestamp("1980-03-01", tz="UTC")
    assert first["rating"] == 0.25 + 1e-9
    assert table["city"].isna().sum() == 80
    tables.params("binary")


def test_blanks_that_fill_a_char_are_no_part_of_an_id(server: Server) -> None:
    """Labels and requests would have to have them, too."""
    query = (
        "select order_id::char(20) as order_id, price, returned from orders order by 1"
    )
    assert not make(server, query=query)
    assert tables.table()["order_id"].str.len().unique().tolist() == [7]


def test_where_the_rows_came_from_is_recorded_without_a_login(server: Server) -> None:
    assert not make(server)
    found = origin.record()
    assert found and found.kind == "query" and found.query == "data/query.sql"
    assert found.address == f"postgresql://127.0.0.1:{server.port}/shop"
    assert found.columns["price"] == "numeric" and found.columns["mood"] == "mood"
    assert found.snapshot and found.read.endswith("Z") and found.rows == 400
    assert found.table == "data/shop.parquet" and len(found.table_sha256) == 64
    for path in Path().rglob("*"):
        if path.is_file() and "mlgitops" not in path.parts:
            text = path.read_bytes()
            assert server.password.encode() not in text, path
            assert b"reader@" not in text and b"reader%" not in text, path


def test_the_same_rows_give_the_same_bytes(server: Server) -> None:
    assert not make(server)
    names = (tables.path(), origin.RECORD, Path("data/table.json"), "contract.yaml")
    first = [Path(name).read_bytes() for name in names]
    assert not make(server)
    assert [Path(name).read_bytes() for name in names] == first


def test_the_next_day_shows_what_changed(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not make(server)
    before, noted = tables.path().read_bytes(), origin.record()
    server.run(ROWS.format(city="Namur", first=401, last=420))
    monkeypatch.setenv("PGUSER", "reader")
    capsys.readouterr()
    assert not tables.make("", "")  # the address and the query are those of the record
    said = capsys.readouterr().out
    assert "rows: 400 → 420" in said and "Namur" in said
    assert "FORCE=1 writes it" in said and tables.path().read_bytes() == before
    QUERY.write_text(SELECT.replace("rating, ", ""), encoding="utf-8")
    assert not tables.make("", "", force=True)
    said, now = capsys.readouterr().out, origin.record()
    assert "query: data/query.sql is another" in said and "rating: no longer" in said
    assert len(tables.table()) == 420 and now and noted
    assert now.sha256 != noted.sha256 and now.query_sha256 != noted.query_sha256


REFUSED = {
    "json": ("select details, returned from orders", "jsonb"),
    "money": ("select paid, returned from orders", "money"),
    "an array": ("select tags, returned from orders", "text[]"),
    "a uuid": ("select key, returned from orders", "key::text as key"),
    "an interval": ("select placed - now() as age, returned from orders", "interval"),
    "two of a name": ("select city, items as city, returned from orders", "2 columns"),
    "no name": ("select items + 1, returned from orders", "no name"),
    "no target": ("select city, items from orders", "returned"),
    "no rows": (
        "select * from (select city, returned from orders) q where false",
        "no",
    ),
    "infinity": (
        "select 'infinity'::timestamptz as t, returned from orders",
        "infinity",
    ),
    "before all": ("select '-infinity'::date as d, returned from orders", "infinity"),
    "a write": ("insert into orders (order_id) values ('x') returning *", "one SELECT"),
    "a hidden write": ("select nextval('s'), returned from orders", "read-only"),
    "two statements": ("select returned from orders; drop table orders", "multiple"),
    "no select": ("set transaction read write", "no columns"),
    "no table": ("select returned from order_items", "order_items"),
    "a mistake": ("selec 1", "selec"),
    "a broken value": ("select 1 / (items - items) as n, returned from orders", "zero"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused(server: Server, name: str) -> None:
    """With one sentence that says what to type, and nothing is written."""
    query, word = REFUSED[name]
    server.run("create sequence if not exists s; grant all on sequence s to reader")
    try:
        said = make(server, query=query)
    except TableError as error:
        said = str(error)
    assert word in said and "\n  " not in said.split("\n1.")[0]
    assert "Query was" not in said and "libpq" not in said
    assert untouched() and server.run("select count(*) from orders") == "400"


@pytest.mark.parametrize("password", ["wr0ng-secret", ""])
def test_a_wrong_password_is_said_and_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", password)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with pytest.raises(TableError, match="PGPASSWORD") as refused:
        make(server)
    assert not password or password not in str(refused.value)
    assert untouched()


def test_no_server_is_said(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql://reader@127.0.0.1:9/shop"
    with pytest.raises(TableError, match="refused"):
        tables.make(address, "returned", query=str(QUERY))


def test_a_server_that_goes_in_the_midst_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an earlier table stays as it was."""
    assert not make(server)
    before = {path: path.read_bytes() for path in Path("data").glob("*.*")}

    def gone(line: str) -> None:
        server.run(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'make data'",
        )

    monkeypatch.setattr(snapshot, "bar", gone)
    monkeypatch.setattr(snapshot, "group_rows", lambda columns: 2048)
    many = (
        "select repeat(n::text, 100) as t, n as returned from generate_series(1, {}) n"
    )
    with pytest.raises(TableError, match="stopped after .* nothing was written"):
        make(server, query=many.format(400_000), force=True)
    assert {path: path.read_bytes() for path in Path("data").glob("*.*")} == before
    assert not list(Path("build").rglob("*.part"))


def test_an_interrupt_ends_a_query_that_takes_long(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the server, too; what was read so far is removed."""
    slow = "select pg_sleep(600)::text as x, returned from orders"
    argv = ["data", f"--file={server.address()}", "--target=returned"]
    monkeypatch.setattr(sys, "argv", [*argv, f"--query={slow}"])
    asked = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%'"
    asked += " and state = 'active' and pid <> pg_backend_pid()"

    def until(count: str) -> bool:
        end = time.monotonic() + 60
        while (seen := server.run(asked) == count) is False and time.monotonic() < end:
            time.sleep(0.05)
        return seen

    def interrupt() -> None:
        if until("1"):
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        data.main()
    assert "asked to stop after 0 rows" in str(ended.value) or not ended.value.args
    assert until("0")  # the server ends it a moment later
    assert untouched() and not Path("build/table").exists()


def test_all_is_read_in_one_state(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others write while the query is looked at is of the next run."""
    types = postgresql._types

    def meanwhile(*arguments: Any) -> dict[str, str]:
        server.run(ROWS.format(city="Namur", first=401, last=410))
        return types(*arguments)

    monkeypatch.setattr(postgresql, "_types", meanwhile)
    assert not make(server)
    assert len(tables.table()) == 400


@pytest.mark.parametrize("level", ["read committed, read only", "serializable"])
def test_a_server_without_such_a_transaction_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    begin = f"set transaction isolation level {level}"
    monkeypatch.setattr(postgresql, "BEGIN", begin)
    with pytest.raises(TableError, match="one state"):
        make(server)
    assert untouched()


def test_a_query_without_an_order_is_told(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "select order_id, price, returned from orders -- order by order_id"
    assert not make(server, query=query)
    assert "no ORDER BY" in capsys.readouterr().out
    assert not make(server, query=query.replace("-- ", ""), force=True)
    assert "no ORDER BY" not in capsys.readouterr().out


@pytest.mark.skipif(not os.environ.get("PROOF"), reason="PROOF=1 reads 2 M rows")
def test_memory_stays_flat(server: Server, tmp_path: Path) -> None:
    """Of 2 M rows no more than 250 MB stand in memory beyond those of 100 k."""
    import subprocess

    peaks = []
    code = (
        "import sys, resource; from pathlib import Path; from mlgitops.table import "
        "postgresql; postgresql.read(sys.argv[1], sys.argv[2], Path(sys.argv[3])); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    for rows in (100_000, 2_000_000):
        query = (
            "select n, md5(n::text) as text, n * 0.37 as price, now() + n * "
            f"'1 s'::interval as t from generate_series(1, {rows}) as n"
        )
        command = (sys.executable, "-c", code, server.address(), query)
        done = subprocess.check_output((*command, str(tmp_path / "q.parquet")))
        peaks.append(int(done))
    print(f"peak MB of 100 k and 2 M rows: {peaks}")
    assert peaks[1] < peaks[0] + 250
