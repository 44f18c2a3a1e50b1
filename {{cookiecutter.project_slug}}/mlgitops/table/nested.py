"""Columns inside columns: an object's fields become columns of their own, a.b."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mlgitops.table.problem import Problem, Refused

LISTS = ("list", "array", "map", "union")
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
    leaves = [
        leaf
        for n, (name, kind) in enumerate(zip(names, types, strict=True))
        for leaf in _leaves(name, f"c{n}", kind)
    ]
    found = [name for name, _, _ in leaves]
    if twice := [name for name, count in Counter(found).items() if count > 1]:
        sentence = "a column and a field of an object have this name"
        raise Refused([Problem(twice[0], sentence, "rename one of them in the file")])
    texts = ", ".join(f"{sql} as c{n}" for n, (_, sql, _) in enumerate(leaves))
    query = f"select {texts} from {relation} as t({aliases})"
    return found, query, _said(names, leaves)


def names(connection: Any, relation: str) -> list[str]:
    """Return the names of a relation's columns, and of the fields of its objects."""
    empty = connection.sql(f"select * from {relation} limit 0")
    pairs = zip(empty.columns, empty.types, strict=True)
    return [leaf for name, kind in pairs for leaf, *_ in _leaves(name, "", kind)]


Leaf = tuple[str, str, bool]  # a name, its value as text in SQL, and whether a list


def _leaves(name: str, sql: str, kind: Any) -> Iterator[Leaf]:
    """Yield the columns of a value: one, or one for each field of an object."""
    if kind.id == "struct":
        for field, inner in kind.children:
            quoted = field.replace("'", "''")
            inside = f"struct_extract({sql}, '{quoted}')"
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
