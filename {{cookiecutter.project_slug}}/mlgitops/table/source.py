"""Finds out how a file is written: kind, encoding, delimiter, names; says so."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from mlgitops.pipeline.schema import one_line
from mlgitops.table import sheet
from mlgitops.table.problem import Problem, Refused, TableError

KINDS = {
    "csv": (".csv", ".tsv", ".txt", ".tab", ".psv"),
    "parquet": (".parquet", ".pq"),
    "feather": (".feather", ".arrow", ".ipc"),
    "json": (".jsonl", ".ndjson", ".json"),
    "sheet": sheet.SUFFIXES,
}
LAKEHOUSES = {  # what lies in a folder of which only some files count
    "_delta_log/*.json": "Delta Lake",
    "metadata/*.metadata.json": "Iceberg",
    ".hoodie": "Hudi",
}
BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
DELIMITERS = ",;\t|"
LINES = 500  # that are looked at for the delimiter
BLOCK = 1 << 18  # bytes that are looked at together


@dataclass(frozen=True)
class Source:
    """The files of a table, all of one kind."""

    path: Path
    kind: str
    files: tuple[Path, ...]
    title: str = ""  # what it is called, where that is not its path
    notes: tuple[str, ...] = ()  # what is said beside its name
    column: str = ""  # of a workbook the first sheet that has it is read, if one does

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return sum(file.stat().st_size for file in self.files)


def find(path: Path) -> Source:
    """Return the files of a table: one file, or a folder of files of one kind.

    Raises:
        TableError: there is none, or they cannot be read.
    """
    if not path.exists():
        pointer = path.with_name(f"{path.name}.dvc")
        advice = "type `make pull`" if pointer.exists() else "check the path"
        raise TableError(f"{path} does not exist: {advice}")
    files = [path]
    if path.is_dir():
        _refuse_lakehouse(path)
        seen = (p for p in path.rglob("*") if p.is_file())
        files = sorted(p for p in seen if _is_data(p.relative_to(path)))
    kinds = {kind_of(file) for file in files}
    if len(kinds) != 1:
        held = "no file" if not files else "files of several kinds"
        raise TableError(f"{path} holds {held}: name a folder of files of one kind")
    return Source(path, kinds.pop(), tuple(files))


def _is_data(file: Path) -> bool:
    """Tell whether a file of a folder is data: not hidden, unfinished or beside it."""
    hidden = any(
        part[0] == "." or (part[0] == "_" and "=" not in part) for part in file.parts
    )
    return not hidden and file.suffix not in (".dvc", ".md")


def _refuse_lakehouse(folder: Path) -> None:
    """Refuse a folder in which files of removed rows lie beside the others.

    Raises:
        TableError: it is a table of Delta Lake, Iceberg or Hudi.
    """
    for pattern, kind in LAKEHOUSES.items():
        if any(folder.glob(pattern)):
            raise TableError(
                f"{folder} is a table of {kind}, whose folder holds files of removed "
                "rows, too: export the rows that count, such as to Parquet"
            )


def kind_of(file: Path) -> str:
    """Return the kind of a file, by its name."""
    suffix = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    for kind, suffixes in KINDS.items():
        if suffix.lower() in suffixes:
            return kind
    known = ", ".join(s for suffixes in KINDS.values() for s in suffixes)
    raise TableError(f"{file} is of a kind that is not read: known: {known}, and .gz")


def opened(file: Path) -> IO[bytes]:
    """Open a file, unpacked."""
    if file.suffix == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]  # a binary stream
    return file.open("rb")


def encoding(file: Path) -> tuple[str, str]:
    """Return a text file's encoding and the evidence for it.

    Every byte is looked at: the only letter beyond ASCII may stand on the last line.
    """
    with opened(file) as stream:
        head = stream.read(4096)
        for bom, name in BOMS.items():
            if head.startswith(bom):
                return name, "by its first bytes"
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > len(head) / 8:
            return ("utf-16-be" if even > odd else "utf-16-le"), "by its zero bytes"
        decoder = codecs.getincrementaldecoder("utf-8")()
        block, before = head, 0
        while True:
            try:
                if decoder.getstate()[0] or not (block and block.isascii()):
                    decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                bad, start = error.object, error.start
                context = bad[max(0, start - 8) : start + 8]
                word = one_line(context.decode("cp1252", "replace"))
                line = _line(file, before + len(block) - len(bad) + start)
                return "cp1252", f"line {line} is not UTF-8, and reads “{word}”"
            if not block:
                return "utf-8", ""
            before += len(block)
            block = stream.read(BLOCK)


def _line(file: Path, position: int) -> int:
    """Return the number of the line of a byte."""
    with opened(file) as stream:
        blocks = iter(lambda: stream.read(BLOCK), b"")
        before = 0
        count = 1
        for block in blocks:
            count += block[: max(0, position - before)].count(b"\n")
            before += len(block)
            if before >= position:
                break
    return count


def as_utf8(file: Path, name: str, target: Path) -> Path:
    """Write a text file again as UTF-8; return the copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(file) as stream, target.open("w", encoding="utf-8", newline="") as out:
        text = io.TextIOWrapper(stream, name, errors="replace", newline="")
        while block := text.read(BLOCK):
            out.write(block)
    return target


def dialect(file: Path) -> tuple[str, int]:
    """Return a CSV file's delimiter, and how many lines stand above the names.

    The delimiter is what divides most of the first rows into as many fields.
    """
    with opened(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        lines = list(islice(text, LINES))
    best = (0.0, 0, ",", 0)
    for delimiter in DELIMITERS:
        counts: Counter[int] = Counter()
        first: dict[int, int] = {}  # the lines above the first row of so many fields
        above, reader = 0, csv.reader(lines, delimiter=delimiter)
        try:
            for row in reader:
                counts[len(row)] += bool(row)
                first.setdefault(len(row), above)
                above = reader.line_num
        except csv.Error:  # a quote without an end
            pass
        if counts:
            (fields, number), *_ = counts.most_common(1)
            share = number / counts.total()
            found = (share if fields > 1 else 0.0, fields, delimiter, first[fields])
            best = max(best, found, key=lambda entry: entry[:2])
    return best[2], best[3]


def names(file: Path, delimiter: str, skip: int) -> list[str]:
    """Return what stands on the header's line of a CSV file in UTF-8."""
    with opened(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        row = next(csv.reader(islice(text, skip, None), delimiter=delimiter), [])
    return [" ".join(name.split()) for name in row]


def first_object(file: Path) -> dict[str, object]:
    """Return the first object of a JSON file; an empty one where there is none."""
    with opened(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace")
        start = text.read(BLOCK).lstrip(" \r\n\t[")
    try:
        found, _ = json.JSONDecoder().raw_decode(start)
    except ValueError:  # DuckDB says what is wrong
        return {}
    return found if isinstance(found, dict) else {}


def check_names(found: list[str], path: Path) -> list[str]:
    """Return the columns' names; one without a name gets one.

    Raises:
        Refused: names are repeated, or the first line holds values.
    """
    if not any(found):
        raise TableError(f"{path} has no line with names: write one")
    if all(re.fullmatch(r"'.+'", name) for name in found):  # quoted so, and all of them
        found = [name[1:-1] for name in found]
    problems = [
        Problem(
            name,
            f"{found.count(name)} columns have this name",
            "give each its own name in the file's first line",
            found.count(name),
        )
        for name in dict.fromkeys(found)
        if name and found.count(name) > 1
    ]
    numbers = [name for name in found if _is_number(name)]
    if len(numbers) > len(found) / 2 and not any(n in ("", "id") for n in found):
        problems.append(
            Problem(
                "",
                "the first line holds values, not the columns' names",
                "write the columns' names as the file's first line",
                example=one_line(", ".join(found)),
            )
        )
    if problems:
        raise Refused(problems)
    return [name or f"unnamed_{number}" for number, name in enumerate(found)]


def _is_number(text: str) -> bool:
    """Tell whether a text is a number that is not a year, which may be a name."""
    try:
        value = float(text)
    except ValueError:
        return False
    return not (value == int(value) and 1900 <= value <= 2100)
