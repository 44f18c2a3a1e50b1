"""Writes reference.md from the code of the machinery: `make docs`.

Settings and records are dataclasses and structs: their names, types, limits, defaults
and comments are read from them, so that the page cannot say anything else.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

TEMPLATE = next(Path(__file__).parents[1].glob("{{*}}"))
sys.path.insert(0, str(TEMPLATE))

from mlgitops import __main__ as entry  # noqa: E402
from mlgitops import judgement, settings, space  # noqa: E402
from mlgitops.judge import gates  # noqa: E402
from mlgitops.metrics import METRICS  # noqa: E402
from mlgitops.pipeline import contract  # noqa: E402
from mlgitops.pipeline import settings as stages  # noqa: E402
from mlgitops.pipeline.schema import OWN, Between, OrInteger  # noqa: E402

PAGE = Path(__file__).with_name("reference.md")
SECTIONS: dict[str, dict[str, type[Any]]] = {  # section: {of which task: its type}
    "prepare": {"": stages.Prepare},
    "train": {"": stages.Train},
    "evaluate": {"": stages.Evaluate},
    "experiment": {"": space.Options},
    "gates": {"": gates.Rules},
    "business": settings.WORTH,
    "fairness": settings.FAIRNESS,
    "override": {"": settings.Override},
    "compute": {"": settings.Compute},
    "monitor": {"": settings.Monitor},
    "retrain": {"": settings.Retrain},
    "retention": {"": settings.Retention},
    "inventory": {"": settings.Inventory},
    "alerts": {"": settings.Alerts},
    "deploy": {"": settings.Deploy},
}
INTRODUCTIONS = {
    "experiment": "Beside these keys, each entry is the path of a setting and the "
    "values to try, a list or `{min: , max: , log: true}`.",
    "gates": "Beside these keys, each entry is a metric with one or more of `min`, "
    "`max` and `margin`; the primary metric has all three.",
    "train": "Beside these keys, each entry has the arguments of the estimator of that "
    "name.",
}
FIELD = re.compile(r"^    (\w+): .*?(?:  # (.*))?$", re.M)
LINE = re.compile(r"^( *)(\w+):(?: .*?)?(?: ?# (.*))?$")
HEAD = """# Reference

`make docs` writes this page from the code of the machinery; a test compares them. The
reasons beside settings are those of the example's `params.yaml`.

"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the whole page."""
    parts = (_commands, _params, _contract, _metrics, _checks, _records)
    return HEAD + "\n".join("\n".join(part()) + "\n" for part in parts)


def _commands() -> Iterator[str]:
    """Yield each command, and what it does."""
    yield "## Commands\n"
    yield "`python -m mlgitops COMMAND`; `COMMAND --help` lists its options.\n"
    for title, group in entry.COMMANDS.items():
        yield f"### {title.capitalize()}\n"
        rows = [(f"`{name}`", purpose) for name, (_, purpose) in group.items()]
        yield from _table(("command", "what it does"), rows)


def _params() -> Iterator[str]:
    """Yield each section of params.yaml, and its keys."""
    yield "## params.yaml\n"
    yield "A key that is not in these tables is refused, with its line.\n"
    for section, kinds in SECTIONS.items():
        for task, kind in kinds.items():
            yield f"### {section}{f' ({task})' if task else ''}\n"
            yield f"{_summary(kind)}\n"
            if section in INTRODUCTIONS:
                yield f"{INTRODUCTIONS[section]}\n"
            yield from _keys(kind, _reasons(section))


def _contract() -> Iterator[str]:
    """Yield the entries of contract.yaml, and those of each type of column."""
    yield "## contract.yaml\n"
    yield f"{_summary(contract.Contract)}\n"
    yield from _keys(contract.Contract)
    for name, kind in contract.KINDS.items():
        yield f"### A column of type {name}\n"
        yield from _keys(kind)


def _metrics() -> Iterator[str]:
    """Yield the metrics of each task; the first is the primary metric."""
    yield "## Metrics\n"
    yield "The first of a task is its primary metric. Each can be a gate.\n"
    rows = [
        (task, ", ".join(f"`{m.key}`" for m in metrics))
        for task, metrics in METRICS.items()
    ]
    yield from _table(("task", "metrics"), rows)


def _checks() -> Iterator[str]:
    """Yield the ids of the report's checks."""
    yield "## Checks of the report\n"
    yield "`override.checks` of params.yaml and the ledger name a check by its id.\n"
    rows = [(f"`{name}`", judgement.TITLES[name]) for name in judgement.TITLES]
    rows += [
        ("`METRIC.min`, `METRIC.max`, `METRIC.margin`", "A gate on a metric"),
        ("`fairness.COLUMN.RATE`", "A limit of `fairness`"),
        ("`behaviour.NAME`", "A test of behaviour.yaml"),
    ]
    yield from _table(("id", "check"), rows)


def _records() -> Iterator[str]:
    """Yield the structs of a judgement, as the ledger keeps them."""
    yield "## What a judgement records\n"
    yield "The ledger has each as JSON, in `verdicts/`. Numbers stay numbers.\n"
    structs = [s for s in vars(judgement).values() if _is_struct(s)]
    for struct in sorted(structs, key=lambda s: s is not judgement.Judgement):
        yield f"### {struct.__name__}\n"
        yield f"{_summary(struct)}\n"
        yield from _keys(struct)


def _is_struct(value: object) -> bool:
    """Tell whether a value is a struct that `mlgitops.judgement` defines."""
    own = getattr(value, "__module__", "") == judgement.__name__
    return own and isinstance(value, type) and issubclass(value, msgspec.Struct)


def _keys(kind: type[Any], reasons: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the table of a type's keys, those of the types within them included."""
    rows = [
        (f"`{path}`", what, without, (reasons or {}).get(path) or note)
        for path, what, without, note in _rows(kind, "")
    ]
    yield from _table(("key", "what it is", "without it", "reason or meaning"), rows)


def _reasons(section: str) -> dict[str, str]:
    """Return the comment beside each key of a section of the example's params.yaml."""
    found: dict[str, str] = {}
    path: list[str] = []
    for line in (TEMPLATE / "params.yaml").read_text(encoding="utf-8").splitlines():
        if match := LINE.match(line):
            indent, name, comment = match.groups()
            path = [*path[: len(indent) // 2], name]
            if path[0] == section and comment:
                found[".".join(path[1:])] = comment
    return found


def _rows(kind: type[Any], prefix: str) -> Iterator[tuple[str, ...]]:
    """Yield a row for each key."""
    hints, comments = get_type_hints(kind, include_extras=True), _comments(kind)
    for name, default in _fields(kind):
        hint = hints[name]
        without = "required" if default is MISSING else _value(default)
        note = comments.get(name, "")
        yield f"{prefix}{name}", _type(hint), without, note
        inner = next((t for t in (hint, *get_args(hint)) if is_dataclass(t)), None)
        if inner is not None and get_origin(hint) is not dict:
            yield from _rows(inner, f"{prefix}{name}.")


def _fields(kind: type[Any]) -> Iterator[tuple[str, object]]:
    """Yield each key's name and default, MISSING where it is required."""
    if not is_dataclass(kind):
        for field in msgspec.structs.fields(kind):
            required = field.required
            made = field.default_factory
            default = field.default if made is msgspec.NODEFAULT else made()
            yield field.name, MISSING if required else default
        return
    for own in fields(kind):
        if own.metadata != OWN:
            made = own.default_factory
            yield own.name, own.default if made is MISSING else made()


def _type(hint: Any) -> str:
    """Return a type in words, with its limits."""
    rule: object = None
    if get_origin(hint) is Annotated:
        hint, rule = get_args(hint)
    arguments, origin = get_args(hint), get_origin(hint)
    if NoneType in arguments:
        return _type(next(a for a in arguments if a is not NoneType))
    if origin is Literal:
        return " or ".join(f"`{a}`" if a else "nothing" for a in arguments)
    if origin is tuple and Ellipsis not in arguments:
        return " and ".join(_type(a) for a in arguments)
    if origin in (tuple, list):
        return f"a list: {_type(arguments[0])}"
    if origin in (dict, Mapping):
        return f"entries: {_type(arguments[-1])}"
    if arguments:  # of several, or ByModel[...]
        names = [_type(a) for a in arguments]
        return f"for each model: {names[0]}" if origin else " or ".join(names)
    return _plain(hint, rule)


def _plain(hint: Any, rule: object) -> str:
    """Return a type without arguments in words."""
    if hint in (int, float):
        span = str(rule) if isinstance(rule, Between) else ""
        return f"a {'whole ' if hint is int else ''}number{span}"
    if is_dataclass(hint):
        return "entries"
    names = {str: "text", bool: "true or false", object: "a value", Any: "a value"}
    if rule == OrInteger():
        return "text or a whole number"
    return names.get(hint, getattr(hint, "__name__", "a value"))


def _value(value: object) -> str:
    """Return a default as YAML has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return "the defaults below"
    if value is None or value == "" or value in ((), {}, []):
        return "none"
    if isinstance(value, float) and math.isinf(value):
        return "no limit"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    shown = ", ".join(value) if isinstance(value, tuple) else value
    return f"`{shown}`"


def _comments(kind: type[Any]) -> dict[str, str]:
    """Return the comment beside each field of a class and of those it extends."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("mlgitops"):
            found |= dict(FIELD.findall(inspect.getsource(base)))
    return found


def _summary(kind: type[Any]) -> str:
    """Return a docstring as Markdown, on one line."""
    text = inspect.cleandoc(kind.__doc__ or "").replace("``", "`")
    return " ".join(text.split())


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and an empty one."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


if __name__ == "__main__":
    main()
