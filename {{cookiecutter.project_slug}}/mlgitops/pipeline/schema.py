"""Reads YAML that a person wrote into dataclasses, or says what is wrong with it; pure.

The type of a field is what its key may hold: `Annotated[float, Between(0, 1)]`. Every
key is known, and none is left out that has no default. A sentence names the path, what
is allowed and what was found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

PARAMS = "params.yaml"
OWN = {"yaml": False}  # the metadata of a field that no key is read into
LONGEST = 60  # characters of a value that a sentence repeats
T = TypeVar("T")


class ContractError(Exception):
    """One sentence about data, a contract or a setting that cannot be used."""


class SettingsError(ContractError):
    """One sentence about params.yaml."""


class At(NamedTuple):
    """Where a value stands: a file, and a path in it such as train.columns[0]."""

    file: str
    path: str = ""

    def key(self, name: object) -> At:
        """Return where the value of a key stands."""
        return At(self.file, f"{self.path}.{name}" if self.path else str(name))

    def entry(self, place: int) -> At:
        """Return where an entry of a list stands."""
        return At(self.file, f"{self.path}[{place}]")

    def error(self, what: str) -> ContractError:
        """Return the error that says what is wrong here."""
        kind = SettingsError if self.file == PARAMS else ContractError
        return kind(f"{self.file}: {f'{self.path} ' if self.path else ''}{what}")

    def lacks(self, name: str) -> ContractError:
        """Return the error that says that a key is missing."""
        path = self.key(name).path
        return At(self.file).error(
            f"required key '{path}' is missing (check the spelling)"
        )

    def wrong(self, allowed: str, value: object) -> ContractError:
        """Return the error that says what is allowed here, and what was found."""
        return self.error(f"must be {allowed}, got {shown(value)}")


class Between(NamedTuple):
    """A number from `low` to `high`, both allowed."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        """Return it in words."""
        if math.isinf(self.low):
            return "" if math.isinf(self.high) else f" of {self.high:.10g} or less"
        if math.isinf(self.high):
            return f" of {self.low:.10g} or more"
        return f" between {self.low:.10g} and {self.high:.10g}"


class Whole(NamedTuple):
    """Text that may be written as a whole number: the class 3 is the class "3"."""


class Distinct(NamedTuple):
    """A list of at least so many entries, each once."""

    least: int = 0


def mapping(text: str | bytes, name: str) -> dict[str, Any]:
    """Return the entries of a YAML file of that name.

    Raises:
        ContractError: it is not YAML, holds no entries, or not what its author meant.
    """
    try:
        found = yaml.load(text, Loader)  # noqa: S506, a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or _reason(error)
        kind = SettingsError if name == PARAMS else ContractError
        raise kind(f"{name} is not valid YAML{line}: {what}.") from error
    if not isinstance(found, Mapping):
        kind = SettingsError if name == PARAMS else ContractError
        raise kind(
            f"{name} holds no entries such as `name: value`; write them, or restore "
            f"the file: `git checkout HEAD -- {name}`."
        )
    return dict(found)


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
    """Refuses a key that is given twice, of which YAML would take the last.

    And aliases, a few of which can stand for more entries than any memory holds.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            what = "an alias (*) is not allowed here: write the value again"
            raise yaml.composer.ComposerError(None, None, what, mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return the entries of a node."""
        found = super().construct_mapping(node, deep)
        seen = set()
        for name, _ in node.value:
            if (key := self.construct_object(name, deep=True)) in seen:
                what, mark = f"the key '{key}' is given twice", name.start_mark
                raise yaml.constructor.ConstructorError(None, None, what, mark)
            seen.add(key)
        return found


def read(kind: type[T], value: object, at: At) -> T:
    """Return a value as the type says, a dataclass or an annotated type.

    Raises:
        ContractError: it is not what the type allows.
    """
    found: T = _read(kind, value, at)
    return found


def near(name: object, known: Collection[str]) -> str:
    """Return what a misspelt name was probably meant to be, as the end of a sentence.

    Without a guess it is what there is to choose from.
    """
    if guess := get_close_matches(str(name), known, 1):
        return f"did you mean {guess[0]}?"
    return f"known: {', '.join(known)}" if known else "nothing is known here"


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number; true and false are none."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def shown(value: object) -> str:
    """Return a value as its author would recognise it, cut."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, Mapping):
        return f"entries ({', '.join(map(str, value))})"[:LONGEST]
    words = f"'{value}'" if isinstance(value, str) else str(value)
    line = " ".join(words.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _read(kind: Any, value: Any, at: At) -> Any:
    """Return a value as the type says."""
    rules: tuple[Any, ...] = ()
    if get_origin(kind) is Annotated:
        kind, *rest = get_args(kind)
        rules = tuple(rest)
    parts, origin = get_args(kind), get_origin(kind)
    if NoneType in parts:  # a key that may be left out; one that is given has a value
        return _read(next(p for p in parts if p is not NoneType), value, at)
    if is_dataclass(kind):
        return _entries(kind, value, at)
    if origin is Literal:
        return _choice(parts, value, at)
    if origin is tuple:
        return _list(parts[0], value, at, *rules)
    if origin is dict:
        _demand_entries(value, at)
        return {
            _key(name, parts[0], at): _read(parts[1], each, at.key(name))
            for name, each in value.items()
        }
    if kind in (int, float):
        return _number(kind, value, at, *rules)
    if kind is bool and not isinstance(value, bool):
        raise at.wrong("true or false, without quotes", value)
    return _text(value, at, *rules) if kind is str else value


def _entries(kind: Any, value: Any, at: At) -> Any:
    """Return the dataclass whose fields are the keys."""
    _demand_entries(value, at)
    own = [field for field in fields(kind) if field.metadata != OWN]
    known = [field.name for field in own]
    for name in value:
        if name not in known:
            path = at.key(name).path
            raise At(at.file).error(f"{path} is not known; {near(name, known)}")
    for field in own:
        left = field.default is MISSING and field.default_factory is MISSING
        if left and field.name not in value:
            raise at.lacks(field.name)
    hints = get_type_hints(kind, include_extras=True)
    return kind(**{n: _read(hints[n], v, at.key(n)) for n, v in value.items()})


def _demand_entries(value: object, at: At) -> None:
    """Refuse what is no mapping."""
    if not isinstance(value, Mapping):
        raise at.wrong("entries such as `name: value`", value)


def _choice(allowed: tuple[Any, ...], value: object, at: At) -> Any:
    """Return one of the values that there are."""
    if not isinstance(value, str) or value not in allowed:
        raise at.wrong(" or ".join(map(str, allowed)), value)
    return value


def _list(kind: Any, value: object, at: At, rule: Any = None) -> tuple[Any, ...]:
    """Return the entries of a list."""
    if not isinstance(value, list | tuple):
        raise at.wrong("a list such as [a, b]", value)
    found = tuple(_read(kind, each, at.entry(n)) for n, each in enumerate(value))
    for place, each in enumerate(found if rule else ()):
        if each in found[:place]:
            raise at.entry(place).error(f"is {shown(each)} again: name each once")
    if rule and len(found) < rule.least:
        raise at.wrong(f"a list of {rule.least} or more", value)
    return found


def _number(kind: Any, value: object, at: At, span: Between | None = None) -> Any:
    """Return a number, as it was written."""
    span = span or Between()
    right = is_number(value) and (kind is float or type(value) is int)
    if not right or not span.low <= value <= span.high:  # type: ignore[operator]
        whole = "whole " if kind is int else ""
        text = isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", value)
        hint = " without quotes (and as in 1.0e-5)" if text else ""
        raise at.wrong(f"a {whole}number{span}{hint}", value)
    return value


def _text(value: object, at: At, rule: Whole | None = None) -> str:
    """Return text; YAML reads some words and times as something else."""
    if rule is not None and type(value) is int:
        return str(value)
    if isinstance(value, str) and value:
        return value
    listed = at.path.endswith("]")  # the word null, and not a value left out
    if isinstance(value, Mapping | list | str) or (value is None and not listed):
        raise at.wrong("text", value)
    raise at.error(f"must be text, but YAML reads it as {_quote(value)}")


def _key(name: object, kind: Any, at: At) -> str:
    """Return a key that is text."""
    if type(name) is int and Whole() in get_args(kind):
        return str(name)
    if isinstance(name, str) and name:
        return name
    raise at.error(f"has a key that YAML reads as {_quote(name)}")


def _quote(value: object) -> str:
    """Say what YAML made of a word that was to be text, and what to do."""
    kinds = {int: "the number ", float: "the number ", bool: "", str: "", NoneType: ""}
    return (
        f"{kinds.get(type(value), 'the time ')}{shown(value)}: put it in quotes (so "
        "have NO, on, 010, 12:30 and 1.0 to be)"
    )


def _reason(error: Exception) -> str:
    """Return why text cannot be parsed, where YAML itself does not say."""
    if isinstance(error, RecursionError):
        return "its entries are nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return " ".join(str(error).split())[:200]
