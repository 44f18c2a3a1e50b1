"""Reads YAML that a person wrote into dataclasses, or says what is wrong with it; pure.

The type of a field is what its key may hold: `Annotated[float, Between(0, 1)]`. Every
key is a field, and a field without a default is required. An error names the path,
what is allowed and what was found.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeGuard,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

PARAMS = "params.yaml"
OWN = {"yaml": False}  # the metadata of a field that no key is read into
WIDTH = 60  # characters of a value that an error repeats
LARGEST = 1_000_000  # bytes of a file; PyYAML reads as many in some ten seconds
NESTED = 50  # levels that libyaml reads; it has crashed on a hundred thousand
DIGITS = 400  # of a whole number; more in base 60 (as in 1:30) take hours
PROBLEMS: dict[type[Exception], str] = {  # where YAML itself does not say
    RecursionError: "its entries are nested too deep",
    UnicodeDecodeError: "it is not UTF-8 text",
    MemoryError: "it takes too much memory",
}
# What PyYAML raises, beside errors of its own, for a value that is not as its tag says.
UNLIKE_TAG = (ArithmeticError, AttributeError, LookupError, TypeError)
T = TypeVar("T")


class ContractError(Exception):
    """One sentence about data, a contract or a setting that cannot be used."""


class SettingsError(ContractError):
    """One sentence about params.yaml."""


class Location(NamedTuple):
    """Where a value stands: a file, and a path in it such as train.columns[0]."""

    file: str
    path: str = ""

    def key(self, name: object) -> Location:
        """Return where the value of a key stands."""
        return Location(self.file, f"{self.path}.{name}" if self.path else str(name))

    def entry(self, index: int) -> Location:
        """Return where an entry of a list stands."""
        return Location(self.file, f"{self.path}[{index}]")

    def error(self, problem: str) -> ContractError:
        """Return the error that says what is wrong here."""
        path = f"{self.path} " if self.path else ""
        return _error_type(self.file)(f"{self.file}: {path}{problem}")

    def lacks(self, name: str) -> ContractError:
        """Return the error that says that a key is missing."""
        problem = f"required key '{self.key(name).path}' is missing"
        return Location(self.file).error(f"{problem} (check the spelling)")

    def line(self, name: object, entries: object) -> Location:
        """Return where a key of these entries stands, with its line if known."""
        key = self.key(name)
        if isinstance(entries, Entries) and name in entries.lines:
            return key._replace(path=f"{key.path} (line {entries.lines[name]})")
        return key

    def unknown(
        self, name: object, entries: object, known: Collection[str]
    ) -> ContractError:
        """Return the error that says that a key is not known, and what may be meant."""
        return self.line(name, entries).error(f"is not known; {near(name, known)}")

    def wrong(self, allowed: str, value: object) -> ContractError:
        """Return the error that says what is allowed here, and what was found."""
        return self.error(f"must be {allowed}, got {shown(value)}")

    def demand(self, names: Sequence[str], known: Collection[str], kind: str) -> None:
        """Refuse the first entry of this list that is not one of the known names."""
        for index, name in enumerate(names):
            if name not in known:
                problem = f"is '{name}', which is not {kind}; {near(name, known)}"
                raise self.entry(index).error(problem)


class Between(NamedTuple):
    """A number from `low` to `high`, both allowed."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        """Return the range as the end of "a number"."""
        if math.isinf(self.high):
            return "" if math.isinf(self.low) else f" of {self.low:.10g} or more"
        return f" between {self.low:.10g} and {self.high:.10g}"


class OrInteger(NamedTuple):
    """Text that may be written as a whole number: the class 3 is the class "3"."""


class Distinct(NamedTuple):
    """A list of at least so many entries, each once."""

    minimum: int = 0


class Entries(dict[str, Any]):
    """The entries of a mapping in a file, and the line that each key stands on."""

    def __init__(self, entries: Mapping[str, Any], lines: Mapping[object, int]) -> None:
        super().__init__(entries)
        self.lines = dict(lines)

    def without(self, names: Collection[str]) -> Entries:
        """Return the other entries."""
        return Entries({n: v for n, v in self.items() if n not in names}, self.lines)


yaml.SafeDumper.add_representer(Entries, yaml.SafeDumper.represent_dict)


class _Strict(yaml.constructor.SafeConstructor):  # type: ignore[misc]  # no types
    """Refuses a key that is given twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> object:
        """Return the entries of a node."""
        entries = super().construct_mapping(node, deep)
        keys: dict[object, int] = {}
        for name, _ in node.value:
            if (key := self.construct_object(name, deep=True)) in keys:
                problem, mark = f"the key '{key}' is given twice", name.start_mark
                raise yaml.constructor.ConstructorError(None, None, problem, mark)
            keys[key] = name.start_mark.line + 1
        return Entries(entries, keys)


class Loader(_Strict, yaml.SafeLoader):  # type: ignore[misc]
    """Refuses aliases, too: a few can stand for more entries than any memory holds."""

    def compose_node(self, parent: object, index: object) -> object:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            problem = "an alias (*) is not allowed here: write the value again"
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, problem, mark)
        return super().compose_node(parent, index)


class _Fast(_Strict, getattr(yaml, "CSafeLoader", Loader)):  # type: ignore[misc]
    """The same with libyaml, ten times as fast; it cannot refuse an alias."""


class Rewritten(int):
    """A whole number that YAML reads from other digits, such as 010 or 12:30."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> Iterator[Entries]:
    """Yield the entries of a node, then fill them in, as nodes may be nested deep."""
    entries = Entries({}, {})
    yield entries
    found = cast(Entries, loader.construct_mapping(node))
    entries.update(found)
    entries.lines = found.lines


def _integer(loader: _Strict, node: yaml.ScalarNode) -> int:
    """Return a whole number of not too many digits."""
    if len(node.value) > DIGITS:
        problem = f"a whole number of more than {DIGITS} digits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    number = int(loader.construct_yaml_int(node))
    return number if str(number) == node.value else Rewritten(number)


for _loader in (Loader, _Fast):
    _loader.add_constructor("tag:yaml.org,2002:int", _integer)
    _loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _load(text: str | bytes) -> object:
    """Return what a YAML text says; what libyaml refuses, PyYAML has words for."""
    with suppress(Exception):
        if _is_plain(text):
            return yaml.load(text, _Fast)  # noqa: S506, a SafeLoader
    return yaml.load(text, Loader)  # noqa: S506, a SafeLoader


def _is_plain(text: str | bytes) -> bool:
    """Return whether there is no alias, and no nesting that libyaml might crash on."""
    depth = 0
    for event in yaml.parse(text, _Fast):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > NESTED or isinstance(event, yaml.AliasEvent):
            return False
    return True


def mapping(text: str | bytes, name: str) -> dict[str, Any]:
    """Return the entries of a YAML file of that name.

    Raises:
        ContractError: it is not YAML, too large, has no entries, or a key twice or an
            alias.
    """
    if len(text) > LARGEST:
        message = f"{name} has more than {LARGEST:,} bytes: make it smaller."
        raise _error_type(name)(message)
    try:
        document = _load(text)
    except Exception as error:  # PyYAML's own, and Python's for a value unlike its tag
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or PROBLEMS.get(type(error))
        if isinstance(error, UNLIKE_TAG):
            problem = "a value is not what its tag (such as !!bool) says"
        problem = problem or " ".join(str(error).split())[:200]
        message = f"{name} is not valid YAML{line}: {problem}."
        raise _error_type(name)(message) from error
    if not isinstance(document, dict):
        raise _error_type(name)(
            f"{name} holds no entries such as `name: value`; write them, or restore "
            f"the file: `git checkout HEAD -- {name}`."
        )
    try:
        json.dumps(document, default=str, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        message = f"{name} holds a character that no text can have: {error.reason}."
        raise _error_type(name)(message) from error
    return document


def convert(kind: type[T], value: object, location: Location) -> T:
    """Return a value as the type says, a dataclass or an annotated type.

    Raises:
        ContractError: it is not what the type allows.
    """
    return cast(T, _convert(kind, value, location))


def near(name: object, names: Collection[str]) -> str:
    """Return the end of an error about a name that is not one of these.

    It guesses what was meant, or lists what there is to choose from.
    """
    if guess := get_close_matches(str(name), names, 1):
        return f"did you mean {guess[0]}?"
    return f"known: {', '.join(names)}" if names else "nothing is known here"


def refuse_unknown(
    kind: type[Any], entries: Mapping[str, object], location: Location
) -> None:
    """Refuse a key that is not a field of the dataclass."""
    names = [field.name for field in fields(kind) if field.metadata != OWN]
    for name in entries:
        if name not in names:
            raise location.unknown(name, entries, names)


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number and neither true nor false."""
    largest = math.nextafter(math.inf, 0)  # an integer in YAML may have 4,000 digits
    kinds = (int, float, Rewritten)
    return type(value) in kinds and -largest <= cast(float, value) <= largest


def shown(value: object) -> str:
    """Return a value as its author would recognise it, cut."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, Mapping):
        return f"entries ({', '.join(map(str, value))})"[:WIDTH]
    return one_line(f"'{value}'" if isinstance(value, str) else value)


def one_line(value: object) -> str:
    """Return a value as one line, cut."""
    line = " ".join(str(value).split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _error_type(file: str) -> type[ContractError]:
    """Return the type of an error about a file."""
    return SettingsError if file == PARAMS else ContractError


def _convert(kind: object, value: object, location: Location) -> object:
    """Return a value as the type says."""
    plain, rule = kind, None
    if get_origin(kind) is Annotated:
        plain, rule = get_args(kind)
    arguments, origin = get_args(plain), get_origin(plain)
    if NoneType in arguments:  # the key may be left out, but not be empty
        return _convert(arguments[0], value, location)
    if origin is Literal:
        if value not in arguments:
            raise location.wrong(" or ".join(arguments), value)
        return value
    if origin is tuple:
        return _list(arguments[0], value, location, rule)
    if origin is dict:
        name_type, entry_type = arguments
        problem, entries = "has a key that YAML reads as", _entries(value, location)
        converted = {
            _text(n, name_type, location, problem): _convert(
                entry_type, e, location.key(n)
            )
            for n, e in entries.items()
        }
        lines = entries.lines if isinstance(entries, Entries) else {}
        return Entries(converted, lines)
    if isinstance(plain, type) and is_dataclass(plain):
        return value if isinstance(value, plain) else _object(plain, value, location)
    if plain in (int, float):
        return _number(plain is int, value, location, rule)
    if plain is bool and not isinstance(value, bool):
        raise location.wrong("true or false, without quotes", value)
    return _text(value, kind, location) if plain is str else value


def _object(kind: type[T], value: object, location: Location) -> T:
    """Return the dataclass whose fields are the keys."""
    entries = _entries(value, location)
    own = [field for field in fields(kind) if field.metadata != OWN]  # type: ignore[arg-type]
    refuse_unknown(kind, entries, location)
    for field in own:
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in entries:
            raise location.lacks(field.name)
    hints = get_type_hints(kind, include_extras=True)
    return kind(
        **{n: _convert(hints[n], v, location.key(n)) for n, v in entries.items()}
    )


def _entries(value: object, location: Location) -> Mapping[str, object]:
    """Return a mapping, or refuse what is something else."""
    if not isinstance(value, Mapping):
        raise location.wrong("entries such as `name: value`", value)
    return value


def _list(
    kind: object, value: object, location: Location, rule: Distinct | None
) -> tuple[object, ...]:
    """Return the entries of a list."""
    if not isinstance(value, list | tuple):
        raise location.wrong("a list such as [a, b]", value)
    entries = tuple(_convert(kind, e, location.entry(n)) for n, e in enumerate(value))
    for index, entry in enumerate(entries if rule else ()):
        if entry in entries[:index]:
            problem = f"is {shown(entry)} again: name each once"
            raise location.entry(index).error(problem)
    if rule and len(entries) < rule.minimum:
        raise location.wrong(f"a list of {rule.minimum} or more", value)
    return entries


def _number(
    whole_number: bool, value: object, location: Location, rule: Between | None
) -> float:
    """Return a number, as it was written."""
    span = rule or Between()
    if is_number(value) and span.low <= value <= span.high:
        if not whole_number or isinstance(value, int):
            return value
    quoted = isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", value)
    hint = " without quotes (and as in 1.0e-5)" if quoted else ""
    prefix = "whole " if whole_number else ""
    raise location.wrong(f"a {prefix}number{span}{hint}", value)


def _text(value: object, kind: object, location: Location, problem: str = "") -> str:
    """Return text; YAML reads some words and times as something else."""
    if type(value) is int and OrInteger() in get_args(kind):
        return str(value)
    if isinstance(value, str) and value:
        return value
    listed = location.path.endswith("]")  # the word null, and not a value left out
    unlike_text = isinstance(value, Mapping | list | str)
    if not problem and (unlike_text or (value is None and not listed)):
        raise location.wrong("text", value)
    problem = problem or "must be text, but YAML reads it as"
    types: dict[type, str] = {bool: "", str: "", NoneType: ""}
    types |= dict.fromkeys((int, float, Rewritten), "the number ")
    raise location.error(
        f"{problem} {types.get(type(value), 'the time ')}{shown(value)}: put it in "
        "quotes (as for NO, on, 010, 12:30 and 1.0)"
    )
