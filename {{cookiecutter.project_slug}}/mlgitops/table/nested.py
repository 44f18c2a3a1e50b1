"""Columns inside columns: an object's fields become columns of their own, a.b."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mlgitops.table.problem import Problem, Refused

LISTS = ("list", "array", "map", "union")
TEXTS = ("date", "time", "timestamp", "timestamp with time zone", "uuid")
SHOWN = 5  # names in a sentence


def flat(
    connection: Any, names: Sequence[str], relation: str
) -> tuple[list[str], str, list[str]]:
    """Return the names, a query of every value as text, and what is said of them.

    Its columns are c0, c1, ... An object {"age": 3} in a column `user` is a column
    `user.age`; a list has no such form, and is kept as its text.

    Raises:
        Refused: a field has the name that another column has.
    """
    types = connection.sql(f"select * from {relation} limit 0").types
    aliases = ", ".join(f"c{n}" for n in range(len(names)))
    columns = [
        leaf
        for n, (name, kind) in enumerate(zip(names, types, strict=True))
        for leaf in _leaves(name, f"c{n}", kind)
    ]
    found = [name for name, _, _ in columns]
    if twice := [name for name, count in Counter(found).items() if count > 1]:
        sentence = "a column and a field of an object have this name"
        raise Refused([Problem(twice[0], sentence, "rename one of them in the file")])
    texts = ", ".join(f"{sql} as c{n}" for n, (_, sql, _) in enumerate(columns))
    query = f"select {texts} from {relation} as t({aliases})"
    return found, query, _said(names, columns)


def leaves(names: Sequence[str], types: Sequence[Any]) -> list[str]:
    """Return the names of columns, and of the fields of their objects."""
    pairs = zip(names, types, strict=True)
    return [leaf for name, kind in pairs for leaf, *_ in _leaves(name, "", kind)]


def described(
    connection: Any, listed: str, options: str
) -> tuple[list[str], list[Any]]:
    """Return the names and types of the columns of files of JSON, at one look.

    Raises:
        Refused: fields of an object differ only in the case of letters.
    """
    import duckdb

    try:
        read = f"read_json([{listed}], {options})"
        rows = connection.execute(f"describe select * from {read}").fetchall()
    except duckdb.NotImplementedException as error:
        if not (name := re.search(r'Duplicate name "(.+)" in struct', str(error))):
            raise
        raise Refused([twins(_spellings(connection, listed, name[1]))]) from None
    return [row[0] for row in rows], [duckdb.sqltype(row[1]) for row in rows]


def twins(names: Sequence[str]) -> Problem:
    """Return the problem of names that DuckDB takes for one."""
    sentence = f"{' and '.join(names)} differ only in the case of letters"
    line = "write it as CSV or Parquet, or rename one: JSON is read without case"
    return Problem("", sentence, line)


def keys(connection: Any, listed: str) -> list[str]:
    """Return the keys of all objects of some files."""
    every = f"select unnest(json_keys(json)) as key from read_json_objects([{listed}])"
    rows = connection.execute(f"select distinct key from ({every}) order by 1")
    return [key for (key,) in rows.fetchall()]


def _spellings(connection: Any, listed: str, name: str) -> list[str]:
    """Return how the objects of some files spell a name, at any depth."""
    every = f"read_json_objects([{listed}]) as o, json_tree(o.json) as inner_json"
    rows = connection.execute(
        "select distinct inner_json.key from " + every + " where lower(inner_json.key) "
        "= lower(?) order by 1 desc",
        [name],
    )
    return [key for (key,) in rows.fetchall()]


def declared(names: Sequence[str], types: Sequence[Any]) -> str:
    """Return the columns of JSON as DuckDB is told of them, so that it looks no more.

    A date stays the text that it is: how it is written is found out as in a CSV.
    """
    pairs = zip(names, types, strict=True)
    listed = (f"{_quoted(name)}: {_quoted(_type(kind))}" for name, kind in pairs)
    return f"columns = {{{', '.join(listed)}}}"


def _type(kind: Any) -> str:
    """Return a type with its dates as texts."""
    if kind.id == "struct":
        fields = (f'"{_twice(n, chr(34))}" {_type(k)}' for n, k in kind.children)
        return f"struct({', '.join(fields)})"
    if kind.id == "list":
        return f"{_type(kind.children[0][1])}[]"
    if kind.id == "map":
        (_, key), (_, inner) = kind.children
        return f"map({_type(key)}, {_type(inner)})"
    return "varchar" if kind.id in TEXTS else str(kind)


def _quoted(text: str) -> str:
    """Return a text in single quotes."""
    return f"'{_twice(text, chr(39))}'"


def _twice(text: str, quote: str) -> str:
    """Return a text with each quote twice."""
    return text.replace(quote, quote * 2)


Leaf = tuple[str, str, bool]  # a name, its value as text in SQL, and whether a list


def _leaves(name: str, sql: str, kind: Any) -> Iterator[Leaf]:
    """Yield the columns of a value: one, or one for each field of an object."""
    if kind.id == "struct":
        for field, inner in kind.children:
            inside = f"struct_extract({sql}, {_quoted(field)})"
            yield from _leaves(f"{name}.{field}", inside, inner)
        return
    text = f"{sql} ->> '$'" if str(kind) == "JSON" else f"cast({sql} as varchar)"
    yield name, f"nullif({text}, '')", kind.id in LISTS


def objects(value: object) -> Iterator[list[str]]:
    """Yield the names of an object's fields, and those of each object in it."""
    if isinstance(value, dict):
        yield list(value)
        for inner in value.values():
            yield from objects(inner)


def _said(names: Sequence[str], leaves: Sequence[Leaf]) -> list[str]:
    """Return the sentences about objects and lists."""
    said = []
    if fields := [name for name, _, _ in leaves if name not in names]:
        said.append(f"fields of objects are columns: {_listed(fields)}")
    if lists := [name for name, _, is_list in leaves if is_list]:
        said.append(
            f"lists are read as one text each, such as [a, b]: {_listed(lists)}; "
            f"DROP='{lists[0]}' leaves one out"
        )
    return said


def _listed(names: Sequence[str]) -> str:
    """Return names, the first of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
