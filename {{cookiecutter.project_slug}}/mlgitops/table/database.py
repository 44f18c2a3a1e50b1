"""A query's rows out of a database: which kind, whose login, and what is refused.

PostgreSQL by its address; a file of DuckDB or SQLite by its first bytes. One SELECT is
read, in one state of the database, and nothing can be written by it. A password is
never part of an address: it comes from the environment or from ~/.pgpass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mlgitops.pipeline.schema import one_line
from mlgitops.table.problem import Problem, Refused, TableError
from mlgitops.table.snapshot import Rows

POSTGRESQL = ("postgresql", "postgres")
SQLITE = b"SQLite format 3\0"
DUCKDB = b"DUCK"  # from the ninth byte on
BESIDE = {  # what a database writes beside its file: rows of it, too
    "sqlite": ("-wal", "-shm", "-journal"),
    "duckdb": (".wal", ".tmp"),
}
SECRET = re.compile(r"password|secret|token|scram")  # names of an address's parameters
LOGINS = ("user", "passfile")
CREDENTIAL = (
    r"(?i:\w*(?:passw(?:or)?d|passphrase|pwd|secret|(?:api|access|account)_?key))"
)
COMPARED = re.compile(rf"\b{CREDENTIAL}[\"\]]?\s*(?:=>|:=|=)\s*(?=E?'[^'])")
INSIDE = re.compile(  # of a text: a login of an address, a setting, a signed address
    rf"://[^/@\s]*:[^/@\s]*@|\b{CREDENTIAL}\s*=\s*\S|[?&][\w-]*(?i:sig|signature|token)="
)
EMAIL = re.compile(r"(?<![/\w.+-])[\w.+-]+@[\w-]+\.\w")
TEXT = re.compile(r"'((?:[^']|'')*)'|--[^\n]*|/\*.*?\*/", re.S)
UNORDERED = (
    "the query has no ORDER BY: the same rows may come in another order the next time, "
    "which is another version of the data"
)
ASIDE = re.compile(r"'[^']*'|--[^\n]*|/\*.*?\*/", re.S)  # texts and comments
INNER = re.compile(r"\([^()]*\)")


@dataclass(frozen=True)
class Query:
    """One statement, and what it is called: its file, or its own text."""

    text: str
    name: str

    @property
    def is_ordered(self) -> bool:
        """Whether it says itself, not in a part of it, how its rows are ordered."""
        outer, count = ASIDE.sub(" ", self.text), 1
        while count:
            outer, count = INNER.subn(" ", outer)
        return re.search(r"\border\s+by\b", outer, re.I) is not None


def is_one(file: str) -> bool:
    """Tell whether FILE= is a database."""
    return "://" in file or _kind(file) != ""


def _kind(file: str) -> str:
    """Return the kind of a file that is a database, by its first bytes; "" if none."""
    try:
        with Path(file).open("rb") as stream:
            head = stream.read(len(SQLITE))
    except (OSError, ValueError):
        return ""
    if head == SQLITE:
        return "sqlite"
    return "duckdb" if head[8:12] == DUCKDB else ""


def beside(file: str) -> list[str]:
    """Return the names of what a database may write beside its file, now or later."""
    return [file + ending for ending in BESIDE.get(_kind(file), ())]


def shown(file: str) -> str:
    """Return the address of a database without its login; a file is as it is.

    Raises:
        TableError: it holds a password, or is of a kind that is not read.
    """
    scheme, separator, rest = file.partition("://")
    if not separator:
        return file
    if scheme not in POSTGRESQL:
        raise TableError(
            f"{scheme}:// is not read: known are postgresql:// addresses; bring files "
            f"from elsewhere with `dvc import-url {scheme}://...`"
        )
    authority, slash, tail = rest.partition("/")  # a login is looked for up to here
    login, _, hosts = authority.rpartition("@")
    place, _, parameters = f"{hosts}{slash}{tail}".partition("?")
    hosts, _, path = place.partition("/")
    pairs = [pair for pair in parameters.split("&") if pair]
    names = [unquote(pair.partition("=")[0]).lower() for pair in pairs]
    if ":" in login or "@" in path or any(map(SECRET.search, names)):
        raise TableError(
            f"FILE={scheme}://... has a password in it, which would be kept in the "
            "repository and the shell's history: leave it out; it is read from "
            "PGPASSWORD or ~/.pgpass"
        )
    if not path:
        raise TableError(
            f"FILE={scheme}://{hosts} names no database: add it, as in "
            f"{scheme}://{hosts or 'host'}/sales"
        )
    named = zip(names, pairs, strict=True)
    kept = "&".join(pair for name, pair in named if name not in LOGINS)
    return f"{scheme}://{hosts}/{path}{'?' if kept else ''}{kept}"


def query(option: str) -> Query:
    """Return the query that QUERY= is, or that its file holds.

    Raises:
        TableError: there is none, or it holds what must not be kept.
    """
    text, name = option, option
    if option.endswith(".sql"):
        try:
            text = Path(option).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problem = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise TableError(f"QUERY={option} cannot be read: {problem}") from error
    text = text.strip().rstrip(";").rstrip()
    if not ASIDE.sub("", text).strip():
        raise TableError(f"QUERY={option} holds no query: write one SELECT into it")
    is_file = name.endswith(".sql")
    refuse_secret(f"QUERY={name}" if is_file else "QUERY=", text, is_file)
    return Query(text, name if is_file else one_line(text))


def refuse_secret(title: str, text: str, is_file: bool) -> None:
    """Refuse a query with a login in it; one that is kept as typed, with a person, too.

    Raises:
        TableError: what is in it, and where it belongs.
    """
    texts = [match[1] or "" for match in TEXT.finditer(text)]
    if COMPARED.search(text) or any(map(INSIDE.search, texts)):
        raise TableError(
            f"{title} has a password or key in it, which would be kept in the "
            "repository: leave it out; a login comes from PGPASSWORD or ~/.pgpass, "
            "and one for another server belongs in a view of the database"
        )
    if not is_file and any(map(EMAIL.search, texts)):
        raise TableError(
            f"{title} has an e-mail address in it, and is kept in the repository as "
            "it is typed: write it to a file that git ignores, and name that, as in "
            "QUERY=build/query.sql"
        )


def read(file: str, text: str, path: Path) -> Rows:
    """Write a query's rows to a Parquet file; return what they are.

    Raises:
        TableError: the database cannot be read, or the query is not one SELECT.
        Refused: columns have the same name, or a type that no table can have.
    """
    if "://" in file:
        from mlgitops.table import postgresql

        return postgresql.read(file, text, path)
    from mlgitops.table import warehouse

    reader = {"duckdb": warehouse.duckdb_rows, "sqlite": warehouse.sqlite_rows}
    return reader[_kind(file)](Path(file), text, path)


def check(names: Sequence[str], refused: dict[int, Problem]) -> None:
    """Refuse columns that have no name or that of another, and what is `refused`.

    Raises:
        Refused: with all reasons at once.
    """
    problems = list(refused.values())
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            sentence = f"{names.count(name)} columns of the query have this name"
            problems.append(Problem(name, sentence, "name each: `... as other_name`"))
        elif name in ("", "?column?"):
            sentence = "a column of the query has no name"
            problems.append(Problem("", sentence, "name it: `... as a_name`"))
    if problems:
        raise Refused(problems)


def unread(name: str, kind: str) -> Problem:
    """Return the reason why a column of this type is not read."""
    line = f"leave it out, or cast it in the query: `{name}::text as {name}`"
    if "json" in kind.lower():
        line = f"take what the model needs out of it: `{name} ->> 'key' as key`"
    elif kind == "money":
        line = f"cast it in the query: `{name}::numeric as {name}`"
    elif "[]" in kind or kind.startswith(("STRUCT", "MAP")):
        line = f"take what the model needs out of it: `{name}[1] as first`"
    return Problem(name, f"the type {kind} of the database is not read", line)
