"""The rows of a query of PostgreSQL, by ADBC: Arrow batches, in bounded memory.

The query runs in one transaction that sees one state of the database and can write
nothing; what the server says of that transaction is checked, not assumed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlgitops.table import database, snapshot
from mlgitops.table.problem import TableError
from mlgitops.table.snapshot import Rows

LOCK = Path(os.path.relpath(Path(__file__).parents[1])) / "requirements/database.txt"
BEGIN = "set transaction isolation level repeatable read, read only"
STATE = (  # the first question takes the snapshot that all others see
    "select current_setting('transaction_isolation'), "
    "current_setting('transaction_read_only'), to_char(statement_timestamp() at time "
    "zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), pg_current_snapshot()::text"
)
# Parts of an address that are set where it does not have them: a server that is gone is
# noticed, and texts are UTF-8 whatever the database has.
DEFAULTS = {
    "application_name": "make data",
    "client_encoding": "UTF8",
    "connect_timeout": "15",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
READABLE_TYPES = re.compile(
    r"boolean|smallint|integer|bigint|real|double precision|numeric(\(.*\))?|text|name|"
    r'"char"|character( varying)?(\(.*\))?|date|timestamp(\(.*\))? with(out)? time zone'
)
LOGIN = re.compile(r"authentication|password|role .* does not exist|pg_hba", re.I)
ONE_SELECT = "QUERY= has to be one SELECT"
CORRECT = "correct QUERY=, or the rows that it reads"
CANCELLED = "canceling statement"  # by Ctrl-C, which the driver tells the server
MESSAGE_LENGTH = 400  # letters of what a server says
NOISE = re.compile(r"^.*?(ERROR|FATAL): |\[libpq\]|Query was:.*|SQLSTATE: \w+|\^", re.S)
LOST = re.compile(r"connection|terminat|server closed|network|EOF", re.I)


def read(address: str, text: str, path: Path) -> Rows:
    """Write a query's rows to a Parquet file; return what they are.

    Raises:
        TableError: the server, the login or the query is not as it has to be.
        Refused: columns have the same name, or a type that no table can have.
    """
    if find_spec("adbc_driver_postgresql") is None:
        raise TableError(
            "the package for PostgreSQL is not installed here: type "
            f"`uv pip install --require-hashes -r {LOCK}` first"
        )
    from adbc_driver_postgresql import dbapi

    shown, text = database.shown(address), f"{text}\n"  # it may end with a comment
    with _reported(shown):
        connection = dbapi.connect(_complete(address))
    with connection, connection.cursor() as cursor, _reported(shown):
        cursor.execute(BEGIN)
        level, read_only, taken, state = cursor.execute(STATE).fetchone()
        if (level, read_only) != ("repeatable read", "on"):
            raise TableError(
                f"{shown} does not read in one state: it answers {level}, read only "
                f"{read_only}; ask the server itself, without a proxy"
            )
        cursor.execute("set local synchronize_seqscans = off")  # rows keep their order
        names = list(cursor.adbc_execute_schema(text).names)
        types = _types(cursor, text, names)
        reader = cursor.execute(text).fetch_record_batch()
        schema = _plain(reader.schema)
        padded = [kind == "character" for kind in types.values()]
        batches = _batches(reader, schema, shown, padded)
        count = snapshot.write(batches, schema, path)
    return Rows(count, types, taken, state)


def _complete(address: str) -> str:
    """Return an address with DEFAULTS where neither it nor the environment says so."""
    own = address.partition("?")[2]
    already = {pair.partition("=")[0] for pair in own.split("&")}
    already |= {"connect_timeout"} if "PGCONNECT_TIMEOUT" in os.environ else set()
    more = [f"{n}={quote(v)}" for n, v in DEFAULTS.items() if n not in already]
    between = "" if address.endswith("?") else "&" if "?" in address else "?"
    return f"{address}{between}{'&'.join(more)}"


def _types(cursor: Any, text: str, names: list[str]) -> dict[str, str]:
    """Return the type of each column, as the server calls it; no row is read for it.

    Arrow does not tell all of them apart: money comes as whole cents, json as text.

    Raises:
        TableError: the query is not one SELECT.
        Refused: columns have the same name, or a type that no table can have.
    """
    from adbc_driver_postgresql import dbapi

    if not names:
        raise TableError(f"the query gives no columns: {ONE_SELECT}")
    columns = [f"c{n}" for n in range(len(names))]
    oids = ", ".join(f"pg_typeof({column})::oid" for column in columns)
    oids = (
        f"select array[{oids}] from (select 1) as one left join (\n{text}) "
        f"as asked({', '.join(columns)}) on false"
    )
    try:
        cursor.execute(
            "select format_type(coalesce(nullif(typbasetype, 0), pg_type.oid), null), "
            f"typtype::text from unnest(({oids})) with ordinality as listed(oid, n) "
            "join pg_type using (oid) order by n"
        )
    except dbapi.Error as error:
        raise TableError(f"{ONE_SELECT}: {_sentence(error)}") from error
    kinds = cursor.fetchall()
    refused = {
        n: database.unread(names[n], kind)
        for n, (kind, category) in enumerate(kinds)
        if not (category == "e" or READABLE_TYPES.fullmatch(kind))
    }
    database.check(names, refused)
    return dict(zip(names, (kind for kind, _ in kinds), strict=True))


def _plain(schema: Any) -> Any:
    """Return the schema with the types that values are stored as: numeric is text."""
    import pyarrow as pa

    def stored(kind: Any) -> Any:
        return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind

    return pa.schema([pa.field(field.name, stored(field.type)) for field in schema])


def _batches(
    reader: Any, schema: Any, shown: str, padded: Sequence[bool]
) -> Iterator[Any]:
    """Yield the rows in this schema; an error says how many came before it.

    The blanks at the end of a char(10) are no part of its value: where a column is
    `padded`, they are taken off.

    Raises:
        TableError: the server or the network ended them before their end.
    """
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi
    from pyarrow import compute

    count = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (dbapi.Error, pa.ArrowException, OSError) as error:
            sentence = _sentence(error)
            ended = "stopped" if CANCELLED not in sentence else "was asked to stop"
            again = LOST.search(sentence) or CANCELLED in sentence
            advice = "type the same again" if again else CORRECT
            raise TableError(
                f"{shown} {ended} after {count:,} rows, and nothing was written: "
                f"{sentence}; {advice}"
            ) from error
        count += batch.num_rows
        columns = [
            column.storage if isinstance(column, pa.ExtensionArray) else column
            for column in batch.columns
        ]
        columns = [
            compute.utf8_rtrim(column, " ") if blanks else column
            for column, blanks in zip(columns, padded, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


@contextmanager
def _reported(shown: str) -> Iterator[None]:
    """Turn an error of the server or the login into one sentence.

    Raises:
        TableError: with what the server says.
    """
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    try:
        yield
    except (dbapi.Error, pa.ArrowException) as error:
        sentence = _sentence(error)
        advice = ""
        if LOGIN.search(sentence):
            advice = (
                "; the login comes from PGUSER and PGPASSWORD, or ~/.pgpass; in the "
                "address a user may stand before the host, as in anna@host"
            )
        raise TableError(f"{shown}: {sentence}{advice}") from error


def _sentence(error: BaseException) -> str:
    """Return what the server said, on one line, without what the driver adds."""
    lines = NOISE.sub(" ", str(error)).split()
    return " ".join(lines)[:MESSAGE_LENGTH].rstrip(" .,;")
