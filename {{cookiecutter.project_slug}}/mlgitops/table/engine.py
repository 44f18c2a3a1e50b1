"""DuckDB, in bounded memory: reads any kind of file as columns c0, c1, ... of text."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Waiting
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlgitops.pipeline.schema import one_line
from mlgitops.table import nested, partitions, sheet, source
from mlgitops.table.problem import Problem, Refused, TableError
from mlgitops.table.source import Source

if TYPE_CHECKING:
    from mlgitops.table.draft import Draft

MEMORY = "1GB"
NULLS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "None")
SPELT = re.compile(
    rb"(?:^|[,;\t|\"\n])(?:%s)(?=[,;\t|\"\r\n])"
    % b"|".join(re.escape(text.encode()) for text in NULLS if text)
)
SPACE = r"[\x09-\x0d\x1c-\x20\x{85}\p{Z}]+"  # what Python's strip takes away
GLOB = re.compile(r"[*?\[]")  # in a path, to DuckDB: other files, too
LOOKED_AT = 1 << 22  # bytes of a file
LONGEST = 1 << 24  # bytes of a line of a CSV
BUFFER = 2 * LONGEST  # bytes read at once; by itself DuckDB takes 16 such lines
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
REJECTED = (  # each reading notes them again
    "select count(distinct (file_id, line)), min(line), arg_min(csv_line, line) "
    "from reject_errors group by scan_id order by 1 desc limit 1"
)


@dataclass(frozen=True)
class Numbers:
    """How the file's reader reads columns as numbers; it stops at a value that is none.

    Each text that it takes for a missing value costs time at every value: those which
    the first lines lack are left to SQL, for the columns of texts.
    """

    sql: Callable[[Collection[int], Sequence[str]], str]  # of these columns and nulls
    nulls: tuple[str, ...]  # of NULLS, what it is to look for at first


# Names, SQL and sentences; and the same SQL for numbers.
Reading = tuple[list[str], str, list[str], Numbers | None]


@dataclass(frozen=True)
class Table:
    """A table that can be asked: its columns are c0, c1, ... in SQL, all text."""

    connection: Any
    names: tuple[str, ...]
    relation: str
    sentences: tuple[str, ...]  # how it was read, and why
    say: Callable[[str], None]
    numbers: Numbers | None = None  # where the file's reader can read them itself
    odd: frozenset[int] = frozenset()  # columns with their odd texts beside them
    draft: Draft | None = None  # the typed file, if the one reading wrote it too

    def column(self, name: str) -> str:
        """Return a column's name in SQL."""
        return f"c{self.names.index(name)}"

    def run(self, step: str, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query finds, with a bar while it takes its time."""
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: self.connection.execute(sql).fetchall())
            try:
                while True:
                    try:
                        return list(waiting.result(timeout=0.5))
                    except Waiting:
                        share = max(0.0, self.connection.query_progress()) / 100
                        bar = "█" * round(share * 20)
                        self.say(f"{step} [{bar:20}] {share:4.0%}")
            finally:
                self.say("")  # what is printed next is shorter, perhaps

    def stream(self, step: str, sql: str, rows: int) -> Iterator[Any]:
        """Yield what a query finds as Arrow batches, of some so many rows, in order."""
        count = 0
        for batch in self.connection.sql(sql).to_arrow_reader(rows):
            count += batch.num_rows
            self.say(f"{step}: {count:,} rows")
            yield batch
        self.say("")


def bar(line: str) -> None:
    """Show a line in place of the one before, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{line:60}", end="\r", file=sys.stderr, flush=True)


def connect(scratch: Path) -> Any:
    """Return a connection that stays within MEMORY and fetches no extension."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"memory_limit = '{MEMORY}'",
        f"temp_directory = {quoted(scratch / 'spill')}",
        "TimeZone = 'UTC'",
        "enable_progress_bar = true",
        "enable_progress_bar_print = false",
    ):
        connection.execute(f"set {setting}")
    return connection


def same_but_case(names: Sequence[str]) -> list[str]:
    """Return the names that differ from another in the case of letters only.

    To DuckDB these are one name: it calls the second one `name_1`.
    """
    lower = Counter(name.lower() for name in names)
    return [name for name in names if lower[name.lower()] > 1]


def filled(column: str) -> str:
    """Return a text without white space around it as SQL; that alone is no value.

    It takes away what Python's strip does; `trim` leaves tabs and line ends. Most texts
    begin and end with a sign of ASCII, which is seen in half the time of the pattern.
    """
    first, last = f"ord({column})", f"ord(right({column}, 1))"
    plain = f"{first} between 33 and 126 and {last} between 33 and 126"
    bare = f"regexp_replace({column}, '^{SPACE}|{SPACE}$', '', 'g')"
    return f"case when {plain} then {column} else nullif({bare}, '') end"


def quoted(value: object) -> str:
    """Return a text as SQL writes it."""
    return "'" + str(value).replace("'", "''") + "'"


def _listed(files: Iterable[Path]) -> str:
    """Return files as SQL lists them: no sign in a name, such as *, names others."""
    return ", ".join(quoted(GLOB.sub(r"[\g<0>]", str(file))) for file in files)


def read(found: Source, scratch: Path, say: Callable[[str], None] = bar) -> Table:
    """Return the table of some files.

    Raises:
        TableError: they cannot be read.
        Refused: for several reasons, such as lines with another number of fields.
    """
    import duckdb

    connection = connect(scratch)
    readers = {"csv": _csv, "parquet": _parquet, "feather": _feather, "json": _json}
    readers["sheet"] = _sheet
    try:
        names, relation, sentences, numbers = readers[found.kind](
            connection, found, scratch
        )
        files = "" if len(found.files) == 1 else f"{len(found.files):,} files, "
        size = f"{files}{found.size / 1e6:,.1f} MB"
        sentences = [f"{found.title or found.path}: {size}", *found.notes, *sentences]
        if len(found.files) > 1:  # one after the other: rows keep their order
            connection.execute("set threads = 1")
        connection.execute(f"create view source as {relation}")
        said = tuple(sentences)
        return Table(connection, tuple(names), "source", said, say, numbers)
    except (duckdb.Error, ValueError, EOFError, OSError) as error:
        problem = one_line(str(error).splitlines()[0])
        raise TableError(f"{found.path} cannot be read: {problem}") from error


def _csv(connection: Any, found: Source, scratch: Path) -> Reading:
    """Return names, SQL and sentences of CSV files in any dialect and encoding."""
    files, sentences = [], []
    for number, file in enumerate(found.files):
        name, evidence = source.encoding(file)
        if name not in ("utf-8", "utf-8-sig"):
            sentences.append(f"{file.name}: read as {name} ({evidence})")
            file = source.as_utf8(file, name, scratch / f"utf8-{number}.csv")
        files.append(file)
    delim, skip = source.dialect(files[0])
    first = source.names(files[0], delim, skip)
    _same_columns({f: source.names(f, delim, skip) for f in files}, found.path)
    names = source.check_names(first, found.path)
    if delim != "," or skip:
        skipped = f", {skip} lines above the names skipped" if skip else ""
        sentences.append(f"delimiter: {DELIMITERS.get(delim, delim)}{skipped}")
    listed = _listed(files)

    def reader(numbers: Collection[int], nulls: Sequence[str], mistakes: str) -> str:
        kinds = ["DOUBLE" if n in numbers else "VARCHAR" for n in range(len(names))]
        columns = ", ".join(f"c{n}: '{kind}'" for n, kind in enumerate(kinds))
        return (
            f"select * from read_csv([{listed}], columns = {{{columns}}}, "
            f"header = true, delim = {quoted(delim)}, quote = '\"', escape = '\"', "
            f"skip = {skip}, nullstr = [{', '.join(map(quoted, nulls))}], "
            f"auto_detect = false, hive_partitioning = false, "
            f"max_line_size = {LONGEST}, buffer_size = {BUFFER}, {mistakes})"
        )

    noted = "ignore_errors = true, store_rejects = true, rejects_limit = 100000"
    strict = "ignore_errors = false"
    nulls = NULLS if _spelt(files) else NULLS[:1]
    numbers = Numbers(lambda columns, nulls: reader(columns, nulls, strict), nulls)
    return names, reader((), NULLS, noted), sentences, numbers


def _spelt(files: Sequence[Path]) -> bool:
    """Tell whether the first lines of a file spell a missing value out, such as NA."""
    for file in files:
        with source.opened(file) as stream:
            if SPELT.search(stream.read(LOOKED_AT)):
                return True
    return False


def _sheet(connection: Any, found: Source, scratch: Path) -> Reading:
    """Return the same of sheets, by way of CSV."""
    files, sentences = [], []
    for number, file in enumerate(found.files):
        copy, said = sheet.as_csv(file, scratch / f"sheet-{number}.csv", found.column)
        files.append(copy)
        sentences += said
    as_text = replace(found, kind="csv", files=tuple(files))
    names, relation, more, numbers = _csv(connection, as_text, scratch)
    return names, relation, [*sentences, *more], numbers


def rejected(table: Table) -> list[Problem]:
    """Return what is wrong with lines that are no rows; ask after a whole reading."""
    tables = "select count(*) from duckdb_tables() where table_name = 'reject_errors'"
    if not table.connection.execute(tables).fetchone()[0]:
        return []
    if not (worst := table.connection.execute(REJECTED).fetchone()):
        return []
    count, line, text = worst
    return [
        Problem(
            "",
            f"{count:,} lines cannot be read as rows: another number of fields than "
            "the first line, or a quote without an end",
            "correct the lines: a text that holds the delimiter stands in quotes",
            count,
            f"line {line}: {one_line(text)}",
        )
    ]


def _same_columns(columns: dict[Path, list[str]], root: Path) -> None:
    """Refuse files of one table whose columns differ."""
    expected = next(iter(columns.values()))
    problems = []
    for file, names in columns.items():
        if names != expected:
            lacking = [n for n in expected if n not in names]
            more = [n for n in names if n not in expected]
            difference = (
                f"lacks {', '.join(lacking)}" if lacking else "has another order"
            )
            difference = f"has also {', '.join(more)}" if more else difference
            advice = "write the same columns, in the same order, to every file"
            name = partitions.below(file, root)
            problems.append(Problem("", f"{name} {difference}", advice))
    if problems:
        raise Refused(problems)


def _parquet(connection: Any, found: Source, scratch: Path) -> Reading:
    """Return the same of Parquet files, and of the columns in their folders' names."""
    import pyarrow.parquet as pq

    schemas = {file: pq.read_schema(file) for file in found.files}
    columns = {file: [str(n) for n in schema.names] for file, schema in schemas.items()}
    _same_columns(columns, found.path)
    names = columns[found.files[0]]
    keys = partitions.columns(found, names)
    options = "hive_partitioning = false"
    if partitions.check(schemas, found.path):
        if alike := same_but_case(names):
            sentence = f"{' and '.join(alike)} differ only in the case of letters"
            line = "rename one, as the files' types differ; or write one type to each"
            raise Refused([Problem("", sentence, line)])
        options += ", union_by_name = true"  # whole numbers and fractions are both read
    listed = _listed(found.files)
    if not keys:
        relation = f"read_parquet([{listed}], {options})"
        return *nested.flat(connection, names, relation), None
    path = f"c{len(names) + len(keys)}"
    values = ", ".join(
        f"{partitions.value(found.path, key, path)} as c{len(names) + n}"
        for n, key in enumerate(keys)
    )
    aliases = ", ".join([*(f"c{n}" for n in range(len(names))), path])
    relation = (
        f"(select * exclude {path}, {values} from read_parquet([{listed}], {options}, "
        f"filename = '{partitions.PATH}') as t({aliases}))"
    )
    sentence = f"from the folders' names: {', '.join(keys)}"
    names, relation, said = nested.flat(connection, [*names, *keys], relation)
    return names, relation, [sentence, *said], None


def _feather(connection: Any, found: Source, scratch: Path) -> Reading:
    """Return the same of Feather files, which Arrow reads piece by piece."""
    import pyarrow.dataset as ds

    schemas = {f: ds.dataset(str(f), format="feather").schema for f in found.files}
    columns = {file: [str(n) for n in schema.names] for file, schema in schemas.items()}
    _same_columns(columns, found.path)
    schema = schemas[found.files[0]]  # Arrow alone takes that of the first file for all
    if partitions.check(schemas, found.path):
        schema = partitions.united(schemas, found.path)
    files = [str(f) for f in found.files]
    connection.register("arrow_files", ds.dataset(files, schema, format="feather"))
    names = columns[found.files[0]]
    return *nested.flat(connection, names, "arrow_files"), None


def _json(connection: Any, found: Source, scratch: Path) -> Reading:
    """Return the same of files with one JSON object a line, or a list of them.

    Each file is read to its end for its keys and their types, and all together only
    where these differ: by itself DuckDB leaves out a key that comes after the first
    rows, and looks for the types again at each query.
    """
    options = "sample_size = -1, hive_partitioning = false"
    looks = {
        file: nested.described(connection, _listed([file]), options)
        for file in found.files
    }
    listed = _listed(found.files)
    names, types = looks[found.files[0]]
    if any(look != (names, types) for look in looks.values()):
        united = f"union_by_name = true, {options}"
        names, types = nested.described(connection, listed, united)
    columns = {file: nested.leaves(*look) for file, look in looks.items()}
    objects = [*nested.objects(source.first_object(found.files[0]))]
    objects.append([*dict.fromkeys(n for few in columns.values() for n in few)])
    if _numbered([*names, *objects[-1]]):
        objects.append(nested.keys(connection, listed))
    if alike := next(filter(None, map(same_but_case, objects)), []):
        raise Refused([nested.twins(alike)])
    declared = nested.declared(names, types)
    relation = f"read_json([{listed}], {declared}, hive_partitioning = false)"
    names, query, sentences = nested.flat(connection, names, relation)
    lacking = partitions.lacking(columns, names, found.path)
    return names, query, [*lacking, *sentences], None


def _numbered(names: Sequence[str]) -> bool:
    """Tell whether DuckDB may have numbered a name that another has in other case."""
    lower = {name.lower() for name in names}
    return any(re.sub(r"_\d+$", "", n) in lower - {n} for n in lower)
