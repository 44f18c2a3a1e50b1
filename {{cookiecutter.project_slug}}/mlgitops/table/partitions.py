"""Folders of files: columns in the folders' names of Parquet, and files that differ.

A folder year=2024/month=01 is a column year and a column month of all files below it,
as Hive, Spark, Arrow and DuckDB write them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgitops.table.problem import Problem, Refused, TableError
from mlgitops.table.source import Source

SHOWN = 5  # files of which something is said
PATH = "path of the file"  # a column beside those of the files
MISSING = "__HIVE_DEFAULT_PARTITION__"  # how a missing value is written
# Numbers, whatever zeros they begin with; elsewhere 01 is a code, and stays a text.
CALENDAR = {"year", "quarter", "month", "week", "day", "hour", "minute"}


def _keys(root: Path, file: Path) -> tuple[str, ...]:
    """Return the columns that the folders below `root` name for a file."""
    parts = file.relative_to(root).parts[:-1]
    return tuple(part.partition("=")[0] for part in parts if "=" in part)


def columns(found: Source, own: Collection[str] = ()) -> tuple[str, ...]:
    """Return the columns that folders' names hold, the same for each file.

    Raises:
        Refused: some files have others, or the files have one of them (`own`), too.
    """
    if found.kind != "parquet" or not found.path.is_dir():
        return ()
    named = {file: _keys(found.path, file) for file in found.files}
    first = next(iter(named.values()))
    if twice := [key for key in first if key in own or first.count(key) > 1]:
        sentence = f"{twice[0]} is a column of the files and of their folders' names"
        line = "write the files without it, or rename their folders"
        raise Refused([Problem(twice[0], sentence, line)])
    for file, names in named.items():
        if names != first:
            sentence = (
                f"{file.relative_to(found.path)} lies in folders of "
                f"{' and '.join(names) or 'no columns'}, and the first file in those "
                f"of {' and '.join(first) or 'none'}"
            )
            line = "give every file the same folders, or name a folder of one kind"
            raise Refused([Problem("", sentence, line)])
    return first


def unread(found: Source) -> tuple[str, ...]:
    """Return the sentence about folders' names that are no columns here."""
    if found.kind == "parquet" or not found.path.is_dir():
        return ()
    keys = {key: None for file in found.files for key in _keys(found.path, file)}
    listed = ", ".join(keys)
    return (f"of Parquet only are folders' names columns: not {listed}",) * bool(keys)


def value(root: Path, key: str, path: str) -> str:
    """Return the SQL for a column of the folders' names; `path` is that of the file.

    It is the same for a whole file, so that it costs next to nothing for a row.
    """
    below = f"substr({path}, {len(str(root)) + 1})"
    pattern = f"/{re.escape(key)}=([^/]*)/".replace("'", "''")
    text = f"url_decode(regexp_extract({below}, '{pattern}', 1))"
    text = f"nullif(nullif({text}, '{MISSING}'), '')"
    if key.lower() in CALENDAR:
        number = f"cast(try_cast({text} as bigint) as varchar)"
        return f"coalesce({number}, {text})"
    return text


def check(schemas: Mapping[Path, Any], root: Path) -> bool:
    """Tell whether the columns of some files have other types, which can be united.

    Raises:
        Refused: a column is a number in one file and a text in another, say.
    """
    differ = False
    problems: list[Problem] = []
    known: dict[str, tuple[str, str, Path]] = {}
    for file, schema in schemas.items():
        for field in schema:
            kind = _kind(field.type)
            if not kind:
                differ = True
                continue
            first = known.setdefault(field.name, (kind, str(field.type), file))
            differ |= first[1] != str(field.type)
            if first[0] != kind and not any(p.column == field.name for p in problems):
                names = [below(path, root) for path in (file, first[2])]
                sentence = (
                    f"{names[0]} has it as {field.type}, and {names[1]} as {first[1]}"
                )
                line = "write it with one type to every file"
                problems.append(Problem(field.name, sentence, line))
    if problems:
        raise Refused(problems)
    return differ


def united(schemas: Mapping[Path, Any], root: Path) -> Any:
    """Return the schema that holds the values of all files, exactly.

    Categories are their texts; so are numbers of several types, as 2^60 is no float.

    Raises:
        TableError: there is none.
    """
    import pyarrow as pa

    types: dict[str, set[Any]] = {}
    for field in (field for schema in schemas.values() for field in schema):
        types.setdefault(field.name, set()).add(field.type)
    plain = []
    for schema in schemas.values():
        for n, field in enumerate(schema):
            kind = field.type
            if pa.types.is_dictionary(kind):
                schema = schema.set(n, field.with_type(kind.value_type))
            elif len(types[field.name]) > 1 and _kind(kind) == "number":
                schema = schema.set(n, field.with_type(pa.string()))
        plain.append(schema.remove_metadata())
    try:
        return pa.unify_schemas(plain, promote_options="permissive")
    except pa.ArrowException as error:
        raise TableError(
            f"{root}: a column has types that cannot be united ({error}): write it "
            "with one type to every file"
        ) from None


def lacking(
    columns: Mapping[Path, Sequence[str]], every: Sequence[str], root: Path
) -> list[str]:
    """Return what is said of files without one of all columns, of the first.

    An object is no column of its own where its fields are.
    """
    sentences = []
    for file, names in columns.items():
        has = {*names, *(name.partition(".")[0] for name in names)}
        if missing := [name for name in every if name not in has]:
            listed = ", ".join(missing)
            sentences.append(f"{below(file, root)} lacks {listed}: missing in its rows")
    more = f"and {len(sentences) - SHOWN:,} more files lack some"
    return [*sentences[:SHOWN], *([more] if len(sentences) > SHOWN else [])]


def below(file: Path, root: Path) -> str:
    """Return a file's path in its folder."""
    return str(file.relative_to(root)) if file != root else file.name


def _kind(type_of: Any) -> str:
    """Return what an Arrow type holds; "" is nothing, such as a column of nulls."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_dictionary(type_of):
        return _kind(type_of.value_type)
    if kinds.is_null(type_of):
        return ""
    if kinds.is_boolean(type_of):
        return "boolean"
    if kinds.is_integer(type_of) or kinds.is_floating(type_of):
        return "number"
    if kinds.is_decimal(type_of):
        return "number"
    if kinds.is_string(type_of) or kinds.is_large_string(type_of):
        return "text"
    if kinds.is_timestamp(type_of):
        return f"time {type_of.tz or ''}"
    return str(type_of)
