"""The section `experiment` of params.yaml: which settings to try, and how; pure.

A key with a dot is the path of a setting, with a list of values or a range; any other
key is an option of the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from mlgitops.pipeline.schema import Between, Distinct, Entries, Location, convert, near
from mlgitops.pipeline.settings import Params, section

ROWS = "rows"  # the resource of successive halving, unless a setting is one
UNFITTED = ("threshold", "parity", "intervals")  # of `train`; no score hangs on them
SAMPLED = "random, halving and optuna"
EXAMPLE = "settings with values to try, as in train.seed: [1, 2]"


@dataclass(frozen=True)
class Range:
    """Numbers from `min` to `max`, whole ones if both are; maybe by their logarithm."""

    min: float
    max: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.min, int) and isinstance(self.max, int)


Values = tuple[object, ...] | Range


@dataclass(frozen=True)
class Options:
    """How to search."""

    search: Literal["grid", "random", "halving", "optuna"] = "grid"
    trials: Annotated[int, Between(1, 10_000)] | None = None
    minutes: Annotated[float, Between(0.01, 100_000)] | None = None
    folds: Annotated[int, Between(2, 50)] = 5
    resource: str = ROWS

    @property
    def count(self) -> int:
        """How many trials to make of a space that is not a grid."""
        return self.trials or 20


@dataclass(frozen=True)
class Experiment:
    """What to try: the path of each setting to its values, and how."""

    space: Mapping[str, Values]
    options: Options


def experiment(params: Params) -> Experiment:
    """Return the section `experiment`.

    Raises:
        SettingsError: what is wrong with it, and on which line.
    """
    entries, location = section(params, "experiment")
    if not isinstance(entries, Mapping):
        raise location.wrong(EXAMPLE, entries)
    lines = getattr(entries, "lines", {})
    paths = list(_paths({n: v for n, v in params.items() if n != "experiment"}))
    names = [*Options.__dataclass_fields__, *paths]
    own, space = Entries({}, lines), dict[str, Values]()
    for name, value in entries.items():
        line = location.line(name, entries)
        if name in Options.__dataclass_fields__:
            own[name] = value
        elif "." in str(name):
            _check_path(name, paths, location, line)
            space[name] = _values(value, line)
        else:
            raise location.unknown(name, entries, names)
    options = convert(Options, own, location)
    if not space:
        raise location.wrong(EXAMPLE, entries)
    _check_options(options, own, space, params, location)
    return Experiment(space, options)


def current(params: Params, path: str) -> object:
    """Return the value that a setting has."""
    value: Any = params
    for key in path.split("."):
        value = value[key]
    return value


def _paths(entries: Params, prefix: str = "") -> Iterator[str]:
    """Yield the path of every setting, such as train.seed."""
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _check_path(
    path: str, paths: list[str], location: Location, line: Location
) -> None:
    """Refuse a setting that no trial can change, or that would change no trial."""
    if path not in paths:
        problem = f"names {path}, which is not set here; {near(path, paths)}"
        raise (location if "(" not in line.path else line).error(problem)
    first, *rest = path.split(".")
    if first != "train":
        problem = (
            f"cannot be tried: a search compares fits on the same rows, and only "
            f"`train` changes a fit; change {first} by hand, then type make repro"
        )
        raise line.error(problem)
    if rest[0] in UNFITTED:
        raise line.error("cannot be tried: it changes no fit, so no score either")


def _values(value: object, line: Location) -> Values:
    """Return the values of a list, or a range."""
    if not isinstance(value, Mapping):
        kind = cast(type[tuple[object, ...]], Annotated[tuple[Any, ...], Distinct(1)])
        return convert(kind, value, line)
    span = convert(Range, value, line)
    if not span.min < span.max:
        raise line.error(f"has min {span.min:g}, which must be below max {span.max:g}")
    if span.log and span.min <= 0:
        raise line.error("has log: true, so min must be above 0")
    return span


def _check_options(
    options: Options,
    own: Entries,
    space: Mapping[str, Values],
    params: Params,
    location: Location,
) -> None:
    """Refuse options of another search, and a resource that is none."""
    if options.search == "grid":
        if "trials" in own:
            problem = f"is for {SAMPLED}: a grid tries every combination"
            raise location.line("trials", own).error(problem)
        for path, values in space.items():
            if isinstance(values, Range):
                problem = f"is a range, for {SAMPLED}: a grid needs a list"
                raise location.key(path).error(problem)
    line = location.line("resource", own)
    if "resource" in own and options.search != "halving":
        raise line.error("is for the search halving: remove the line")
    if options.resource != ROWS:
        _check_resource(options.resource, space, params, line)


def _check_resource(
    path: str, space: Mapping[str, Values], params: Params, line: Location
) -> None:
    """Refuse what is not a whole number of `train` that no trial changes."""
    known = path.startswith("train.") and path in _paths(params) and path not in space
    value = current(params, path) if known else None
    if type(value) is not int or value < 2:
        allowed = "rows, or a whole number of train that is not tried, as its trees"
        raise line.wrong(allowed, path)
