"""Writes what follows from a table, and overwrites nobody's work."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mlgitops import git, lock, storage
from mlgitops.table import (
    amend,
    database,
    dictionary,
    growth,
    numbered,
    params_text,
    propose,
    readme,
)
from mlgitops.table.options import Options
from mlgitops.table.plan import Plan
from mlgitops.table.problem import TableError
from mlgitops.table.roles import ROW
from mlgitops.table.yaml_lines import value

RECORD = Path("data", "table.json")
SUMS = Path(__file__).with_name("example.sha256")  # of the files that a template brings
FILES = ("contract.yaml", "params.yaml", "dvc.yaml", "behaviour.yaml", "data/README.md")
EXAMPLE: tuple[str, ...] = (
    "data/flights.parquet",
    "example/later.parquet",
    "example/make_extract.py",
)
EXAMPLE += ("example/README.md",)
COMMENTS = (
    "contract.yaml: written anew, and its comments are lost, as it has not the form of "
    "nested blocks in which a run can edit it",
)
OTHER = (
    "{}: has other rows than the last run wrote, such as after `make erase`: FORCE=1 "
    "brings back all that the source has"
)
BEHAVIOUR = """\
# What any good model does, whatever its score: tried on the exported file, by main's
# version of this file. Each entry changes one column of real rows and says what the
# prediction may do: `same`, `not lower` or `not higher`, within a tolerance for all but
# the allowed share of rows. An entry whose column the model does not use is skipped.
# An empty list tests nothing. Such as:
# - name: a higher price does not make a return less likely
#   column: price
#   add: 10 # kept inside the contract's range; or `set:` a value
#   expect: not lower
#   tolerance: 0.05
#   allowed: 0.05
[]
"""


@dataclass(frozen=True)
class Record:
    """What an earlier run read and wrote; empty before the first."""

    fingerprint: str = ""
    rows: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    sums: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    signs: Mapping[str, str] = field(default_factory=dict)  # beside numbers


@dataclass(frozen=True)
class Decision:
    """Whether a run may write, and what it changes."""

    write: bool
    changes: tuple[str, ...]
    edited: tuple[str, ...]  # files that somebody wrote by hand
    kept: tuple[str, ...]  # settings of params.yaml that stay as somebody set them
    contract: str  # the text to write
    # What a pull request of its own brings before the rows do, by its file
    first: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()  # columns that the model reads, and no row has now
    judged: bool = False  # main's contract rules what is proposed


def record() -> Record:
    """Return what the last run noted.

    Raises:
        TableError: the file is not as a run writes it.
    """
    if not RECORD.exists():
        return Record()
    try:
        return Record(**json.loads(RECORD.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise TableError(
            f"{RECORD} is not as an earlier run wrote it: type `git checkout HEAD -- "
            f"{RECORD}`, or delete it to begin anew with FORCE=1"
        ) from error


def own_types(noted: Record) -> dict[str, str]:
    """Return the types that somebody changed in contract.yaml since the last run."""
    columns = _contract().get("columns", {}) if noted.sums else {}
    return {
        name: entries["type"]
        for name, entries in columns.items()
        if noted.types.get(name) not in (None, entries.get("type"))
    }


def own_roles(noted: Record, options: Options) -> Options:
    """Return the options with the group or part, and its split, that stand here.

    So what somebody wrote into contract.yaml and params.yaml stays, and a group is
    guessed once.
    """
    contract = _contract() if noted.sums else {}
    text = Path("params.yaml").read_text(encoding="utf-8")
    rules = value(yaml.safe_load(text), ("prepare",)) if noted.sums else None
    if options.group or options.part or options.split or not isinstance(rules, dict):
        return options
    split, held = str(rules.get("split") or ""), rules.get("holdout") or ()
    if contract.get("part") and split == "column" and not options.time:
        values = tuple(map(str, held))
        return replace(options, part=contract["part"], holdout=values, split=split)
    if contract.get("entity") and split in ("time", "random", "group"):
        split = "time" if options.time else split
        return replace(options, group=contract["entity"], split=split)
    return options


def decide(plan: Plan, noted: Record, mark: str, force: bool) -> tuple[Plan, Decision]:
    """Return the plan as it is to be written, and whether it may be."""
    params = Path("params.yaml").read_text(encoding="utf-8")
    _, kept = params_text.kept(params, plan.params, noted.params)
    if not noted.sums:
        edited = tuple(f for f in FILES if _sum(f) not in (_examples().get(f), ""))
        may = force or not edited
        return plan, Decision(may, (), edited, (), plan.contract)
    old, text = _contract(), Path("contract.yaml").read_text(encoding="utf-8")
    if not plan.options.name:
        plan = replace(plan, name=str(old.get("name", plan.name)))
    contract, first, judged = plan.contract, "", propose.judged(text)
    gone: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    moved = _is_other(table_path(plan), noted)
    same_source = mark == noted.fingerprint and not moved
    untouched = _sum("contract.yaml") == noted.sums.get("contract.yaml")
    alike = (
        old.get("target") == plan.target.name and old.get("task") == plan.target.task
    )
    if alike and not (same_source and untouched):
        before = old.get("columns", {})
        plan = growth.replaced(plan, growth.grown(before, plan))
        start = growth.first(before, plan.columns)
        gone = tuple(n for n in _inputs(params) if n in {*before} - {*plan.columns})
        try:
            contract = amend.amended(text, _roles(old, plan), plan.columns)
            first = amend.amended(text, {}, start) if judged else ""
        except (ValueError, KeyError, yaml.YAMLError):
            contract, comments = plan.contract, COMMENTS
        plan = growth.held_back(plan, before) if judged else plan
        if judged and _asked(plan.options.plain()) == _asked(noted.options):
            plan = replace(plan, params=())  # a gate does not move with its rows
    changes = [*growth.changes(old, plan, plan.columns, judged), *comments]
    if moved:
        changes.append(OTHER.format(table_path(plan)))
    if plan.measured.rows != noted.rows:
        changes.append(f"rows: {noted.rows:,} → {plan.measured.rows:,}")
    changes += _signs(noted, plan)
    if not (same_source or plan.roles.id):
        changes += numbered.moved(table_path(plan), plan.table)
    edited = () if untouched else ("contract.yaml",)
    may = force or (same_source and untouched)
    before_rows = {propose.CONTRACT: first} if first not in ("", text) else {}
    if judged and gone:
        before_rows |= propose.trained_without(gone)
    rules = (contract, before_rows, gone, judged)
    return plan, Decision(may, tuple(changes), edited, tuple(kept), *rules)


def signs(plan: Plan) -> dict[str, str]:
    """Return the sign of percent or a currency beside the numbers of each column."""
    facts = (guess.facts for guess in plan.guesses)
    return {entry.name: entry.style.sign for entry in facts if entry.style.sign}


def _signs(noted: Record, plan: Plan) -> list[str]:
    """Return the columns whose numbers have another sign: they mean something else."""
    told, now, none = list[str](), signs(plan), "no sign"
    for name, entries in plan.columns.items():
        before, after = noted.signs.get(name, none), now.get(name, none)
        numbers = {noted.types.get(name), entries["type"]} <= growth.NUMBERS
        if numbers and before != after:
            told.append(f"{name}: numbers with {before} → with {after}")
    return told


def _inputs(params: str) -> list[str]:
    """Return the columns that the model reads."""
    found = value(yaml.safe_load(params), ("train", "columns"))
    return found if isinstance(found, list) else []


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run without those that say what it read."""
    source = ("file", "query")
    return {name: value for name, value in options.items() if name not in source}


def _roles(old: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the lines of contract.yaml beside its columns, as they are now."""
    classes = [*old.get("classes", ())]
    sensitive = [*old.get("sensitive", ())]
    for listed, names in ((classes, plan.target.classes), (sensitive, plan.sensitive)):
        listed += [name for name in names if name not in listed]
    roles = {"id": plan.roles.id or ROW, "time": plan.roles.time}
    roles |= {"entity": plan.roles.group, "part": plan.roles.part}
    return {**roles, "classes": classes} | (
        {"sensitive": sensitive} if sensitive else {}
    )


def write(plan: Plan, noted: Record, mark: str, decision: Decision) -> list[str]:
    """Write everything; return a line for each thing that was done."""
    first = not noted.sums
    done = _remove_example() if first else []
    table = table_path(plan)
    table.parent.mkdir(exist_ok=True)
    shutil.move(plan.table, f"{table}.new")
    os.replace(f"{table}.new", table)
    Path("contract.yaml").write_text(decision.contract, encoding="utf-8")
    params = Path("params.yaml").read_text(encoding="utf-8")
    entries, _ = params_text.kept(params, plan.params, noted.params)
    text = amend.without(params_text.apply(params, entries), decision.gone)
    Path("params.yaml").write_text(text, encoding="utf-8")
    _name_table(table)
    for name, text in (
        ("behaviour.yaml", BEHAVIOUR),
        ("data/README.md", dictionary.text(plan, table.name)),
    ):
        if first or _sum(name) == noted.sums.get(name):
            Path(name).write_text(text, encoding="utf-8")
    names = {"README.md": readme.readme, "pyproject.toml": readme.pyproject}
    for name, without in names.items():
        file = Path(name)
        if first and file.exists():
            text = without(file.read_text(encoding="utf-8"), plan)
            file.write_text(text, encoding="utf-8")
    if Path(".dvc").is_dir() and Path(".git").exists():
        _note(plan, noted, mark, entries, "")  # for the next run, if DVC fails
        md5 = storage.add(table.as_posix()).md5
    else:
        md5 = _md5(table)
    _note(plan, noted, mark, entries, md5)
    if sentence := keep_out(Path(plan.options.file)):
        done.append(f"{sentence} (.gitignore)")
    size = table.stat().st_size / 1e6
    done.append(f"{table}: {plan.measured.rows:,} rows, {size:,.1f} MB")
    done.append("contract.yaml, params.yaml, dvc.yaml, behaviour.yaml, data/README.md")
    return done


def keep_out(file: Path) -> str:
    """Keep the file that a person brought out of git, and say so; "" if git has it.

    What comes next is a commit of everything, and a table may hold personal data; so
    may what a database writes beside its file.
    """
    inside = file.exists() and file.resolve().is_relative_to(Path.cwd().resolve())
    if not (inside and Path(".git").exists()):  # the address of a database is no file
        return ""
    name = file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    new = [path for path in (name, *database.beside(name)) if not _is_known(path)]
    if not new:
        return ""
    escaped = [re.sub(r"([\\*?\[\]!# ])", r"\\\1", path) for path in new]
    lines = "\n".join(f"/{path}/" if file.is_dir() else f"/{path}" for path in escaped)
    with Path(".gitignore").open("a", encoding="utf-8") as stream:
        stream.write(f"\n# The table as it came: `make data` wrote its own\n{lines}\n")
    return f"{new[0]} is kept out of git"


def _is_known(path: str) -> bool:
    """Tell whether git ignores a path, or has it."""
    ignored = git.run("check-ignore", "--", path, check=False)
    return bool(ignored or git.run("ls-files", "--", f":(literal){path}", check=False))


def _note(plan: Plan, noted: Record, mark: str, entries: list[Any], md5: str) -> None:
    """Write down what this run read and wrote, for the next; `md5` is the table's."""
    table = table_path(plan).as_posix()
    document = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    written = {".".join(e.path): value(document, e.path) for e in entries}
    content = {
        "fingerprint": mark,
        "rows": plan.measured.rows,
        "options": plan.options.plain(),
        "sums": {name: _sum(name) for name in FILES} | {table: md5},
        "params": {**noted.params, **written},
        "types": {name: e["type"] for name, e in plan.columns.items()},
        "signs": signs(plan),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    RECORD.write_text(text, encoding="utf-8")


def _is_other(table: Path, noted: Record) -> bool:
    """Tell whether the table has other rows than the last run wrote."""
    written = noted.sums.get(table.as_posix(), "")
    if not written:
        return False
    with suppress(lock.LockError):
        if tracked := lock.pointers().get(table.as_posix()):
            return tracked.md5 != written
    return table.exists() and _md5(table) != written


def _md5(table: Path) -> str:
    """Return the md5 of a table, by which its pointer names it."""
    with table.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def table_path(plan: Plan) -> Path:
    """Return where the table is written: the second time, where dvc.yaml says.

    It is never written over the file that it comes from.
    """
    path = Path("data", f"{plan.name}.parquet")
    if RECORD.exists() and (named := _named()) and named.parent == path.parent:
        path = named
    if path.resolve() == Path(plan.options.file).resolve():
        return path.with_stem(f"{path.stem}-table")
    return path


def _name_table(table: Path) -> None:
    """Name the table in dvc.yaml in place of the one that is there."""
    if named := _named():
        file = Path("dvc.yaml")
        text = file.read_text(encoding="utf-8")
        text = text.replace(named.as_posix(), table.as_posix())
        file.write_text(text, encoding="utf-8")


def _named() -> Path | None:
    """Return the table that dvc.yaml names; None where that is a template."""
    text = Path("dvc.yaml").read_text(encoding="utf-8")
    found = re.search(r"mlgitops prepare (\S+\.parquet)\s", text)
    return Path(found[1]) if found and "$" not in found[1] else None


def _remove_example() -> list[str]:
    """Remove the example's files, their pointers, and what was built from them."""
    gone = []
    built = [path for stage in lock.stages() for path in stage.outs]
    for name in (*EXAMPLE, *(f"{name}.dvc" for name in EXAMPLE), "dvc.lock", *built):
        if Path(name).exists():
            Path(name).unlink()
            gone.append(name)
    for folder in ("data", "example"):
        ignored = Path(folder, ".gitignore")
        if ignored.exists():
            names = {f"/{Path(n).name}" for n in EXAMPLE}
            lines = ignored.read_text(encoding="utf-8").splitlines()
            left = [line for line in lines if line not in names]
            ignored.write_text("".join(f"{line}\n" for line in left), encoding="utf-8")
            if not left:
                ignored.unlink()
    example = Path("example")
    if example.is_dir() and not any(example.iterdir()):
        example.rmdir()
        ignored = Path(".gitignore")
        if ignored.exists():
            text = ignored.read_text(encoding="utf-8")
            ignored.write_text(text.replace("!/example/\n", ""), encoding="utf-8")
    return ["the example was removed"] if gone else []


def _contract() -> dict[str, Any]:
    """Return contract.yaml as it stands; empty where it is no mapping."""
    try:
        document = yaml.safe_load(Path("contract.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def _sum(name: str) -> str:
    """Return a file's sha256, or "" where there is none."""
    path = Path(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _examples() -> dict[str, str]:
    """Return the sha256 of each file of the example."""
    lines = SUMS.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ") for line in lines)}
