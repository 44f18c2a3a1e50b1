"""The rows of a query of a file that is a database: DuckDB, or SQLite."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlgitops.pipeline.schema import one_line
from mlgitops.table import database, snapshot
from mlgitops.table.columnar import group_rows
from mlgitops.table.problem import TableError
from mlgitops.table.snapshot import Rows

READ = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|VARCHAR|"
    r"ENUM\([^[]*\)|DATE|TIMESTAMP(_S|_MS|_NS)?|TIMESTAMP WITH TIME ZONE|UUID"
)
ONE = "QUERY= has to be one SELECT"
ROWS = 10_000  # that are taken from SQLite together


def duckdb_rows(file: Path, text: str, path: Path) -> Rows:
    """Write a query's rows out of a file of DuckDB, which is opened to read only.

    Raises:
        TableError: the file cannot be opened, or the query is not one SELECT.
        Refused: columns have the same name, or a type that no table can have.
    """
    import duckdb

    settings = {"autoinstall_known_extensions": "false", "TimeZone": "UTC"}
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            for name, value in settings.items():
                connection.execute(f"set {name} = '{value}'")
            statements = connection.extract_statements(text)
            kinds = [statement.type for statement in statements]
            if kinds != [duckdb.StatementType.SELECT]:
                raise TableError(f"{ONE}, and {file} is only read")
            types = _duckdb_types(connection, text)
            reader = connection.sql(text).to_arrow_reader(group_rows(len(types)))
            count = snapshot.write(reader, reader.schema, path)
    except duckdb.Error as error:
        problem = one_line(str(error).splitlines()[0])
        raise TableError(f"{file}: {problem}") from error
    return Rows(count, types)


def _duckdb_types(connection: Any, text: str) -> dict[str, str]:
    """Return the type of each column of a query; refuse what is not read."""
    description = connection.execute(f"select * from (\n{text}\n) limit 0")
    names = [str(column[0]) for column in connection.sql(text).description]
    kinds = [str(column[1]) for column in description.description]
    refused = {
        n: database.unread(name, kind)
        for n, (name, kind) in enumerate(zip(names, kinds, strict=True))
        if not READ.fullmatch(kind)
    }
    database.check(names, refused)
    return dict(zip(names, kinds, strict=True))


def sqlite_rows(file: Path, text: str, path: Path) -> Rows:
    """Write a query's rows out of a file of SQLite, which is opened to read only.

    A column of SQLite holds values of any type: they are written as texts, as CSV has
    them, and typed as those are.

    Raises:
        TableError: the file cannot be opened, or the query is not one SELECT.
        Refused: columns have the same name, or hold bytes.
    """
    import pyarrow as pa

    address = f"file:{quote(str(file))}?mode=ro"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            cursor = connection.execute(text)
            if not cursor.description:
                raise TableError(f"{ONE}, and {file} is only read")
            names = [column[0] for column in cursor.description]
            database.check(names, {})
            schema = pa.schema([pa.field(name, pa.string()) for name in names])
            count = snapshot.write(_sqlite_batches(cursor, schema), schema, path)
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning) as error:  # of two statements: a warning
        raise TableError(f"{file}: {one_line(error)}") from error
    return Rows(count, dict.fromkeys(names, "any"))


def _sqlite_batches(cursor: sqlite3.Cursor, schema: Any) -> Iterator[Any]:
    """Yield rows as Arrow batches of texts.

    Raises:
        Refused: a value is bytes.
    """
    import pyarrow as pa

    while rows := cursor.fetchmany(ROWS):
        arrays = []
        for field, values in zip(schema, zip(*rows, strict=True), strict=True):
            if any(isinstance(value, bytes) for value in values):
                database.check([], {0: database.unread(field.name, "blob")})
            texts = [None if value is None else str(value) for value in values]
            arrays.append(pa.array(texts, pa.string()))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
