"""Array functions for `features` in model/features.py, in the array API's style; pure.

    from mlgitops.pipeline import arrays as xp

    columns["distance"] / columns["minutes"]
    xp.where(columns["carrier"] == "UA", xp.log1p(columns["distance"]), 0)

Nothing is computed here: an `Array` stands for a column of any number of rows, and what
is written with it becomes nodes of an ONNX graph. Every function looks at one row at a
time, so that no feature can depend on other rows. All is computed in float64 and
rounded once, to float32, at the end: ONNX Runtime's float32 logarithm differs in its
last digit between a row alone and the same row in a batch.

An array is a number (NaN where it is missing), a text ("" where it is missing), a time
or a condition. A comparison with a missing number is false. Inputs are float32, and so
is a number that one is compared with: 0.1 is equal to 0.1. A text of the type `text` is
its words ("not happy", for "Not happy!").
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Mapping
from typing import NoReturn

from mlgitops.pipeline import datetimes, symbolic
from mlgitops.pipeline.symbolic import Array, Untraceable, Value

__all__ = ["Array", "Columns"]

Columns = Mapping[str, Array]  # what `features` takes and returns
nan, inf, pi, e = math.nan, math.inf, math.pi, math.e


def abs(x: Array) -> Array:
    """Return the magnitude."""
    return symbolic.function("Abs", x)


def ceil(x: Array) -> Array:
    """Return the smallest whole number that is not below x."""
    return symbolic.function("Ceil", x)


def clip(x: Array, min: Value | None = None, max: Value | None = None) -> Array:
    """Return x, or the end that it is beyond; what is missing stays so."""
    above = x if min is None else where(x < min, min, x)
    return above if max is None else where(above > max, max, above)


def cos(x: Array) -> Array:
    """Return the cosine, of radians."""
    return symbolic.function("Cos", x)


def day_of_year(x: Array) -> Array:
    """Return the day of the year of a time, from 1, UTC."""
    return _part(x, "day_of_year")


def days(x: Array) -> Array:
    """Return the whole days from 1970 to a time, UTC."""
    return _part(x, "days")


def exp(x: Array) -> Array:
    """Return e to the power of x."""
    return symbolic.function("Exp", x)


def floor(x: Array) -> Array:
    """Return the largest whole number that is not above x."""
    return symbolic.function("Floor", x)


def hour(x: Array) -> Array:
    """Return the hour of the day of a time, with its fraction, UTC.

    In a zone of a fixed offset: `xp.hour(x + 3600 * offset)`.
    """
    return _part(x, "hour")


def isfinite(x: Array) -> Array:
    """Return where x is neither missing nor infinite."""
    return ~(isnan(x) | isinf(x))


def isin(x: Array, values: Iterable[float | str]) -> Array:
    """Return where x is one of some numbers or texts."""
    if isinstance(values, str | Array) or not (listed := list(values)):
        raise Untraceable("xp.isin takes a list of values, such as ['EWR', 'LGA']")
    if symbolic.column(x).kind == "text":  # in an order that is the same in each run
        return symbolic.is_one_of(x, sorted({str(value) for value in listed}))
    return functools.reduce(operator.or_, [x == value for value in sorted(listed)])


def isinf(x: Array) -> Array:
    """Return where x is infinite."""
    return abs(x) == inf


def isnan(x: Array) -> Array:
    """Return where x is missing: of a text, where it is empty."""
    if symbolic.column(x).kind == "text":
        return x == ""
    name = x._graph.node("IsNaN", symbolic.number(x, timed=True))
    return Array(x._graph, name, "condition")


def log(x: Array) -> Array:
    """Return the natural logarithm; missing where x is negative."""
    return symbolic.function("Log", x)


def log1p(x: Array) -> Array:
    """Return log(1 + x), exact for a small x as well.

    Of Kahan; see Goldberg (1991), ACM Computing Surveys 23(1), theorem 4.
    """
    rounded = 1.0 + x
    return where(rounded == 1.0, x, log(rounded) * x / (rounded - 1.0))


def log2(x: Array) -> Array:
    """Return the logarithm to base 2."""
    return log(x) / math.log(2)


def log10(x: Array) -> Array:
    """Return the logarithm to base 10."""
    return log(x) / math.log(10)


def lookup(x: Array, table: Mapping[str, float], default: float = nan) -> Array:
    """Return the number that a table gives for a text (not in the array API)."""
    if not isinstance(x, Array) or x.kind != "text" or not table:
        raise Untraceable(
            "xp.lookup takes a column of texts, and a table such as {'EWR': 5.5}"
        )
    if wrong := [key for key in table if not isinstance(key, str)]:
        raise Untraceable(f"the keys of xp.lookup are texts: write {str(wrong[0])!r}")
    graph, keys = x._graph, sorted(table)
    symbolic.demand_found(x, keys)
    index = symbolic.index_of(x, keys, list(range(len(keys))), len(keys))
    numbers = graph.constant([float(table[key]) for key in keys] + [float(default)])
    return Array(graph, graph.node("Gather", numbers, index), "number")


def maximum(x: Value, y: Value) -> Array:
    """Return the larger of both; missing where one is."""
    return _extreme("Greater", x, y)


def minimum(x: Value, y: Value) -> Array:
    """Return the smaller of both; missing where one is."""
    return _extreme("Less", x, y)


def round(x: Array) -> Array:
    """Return the nearest whole number; of two, the even one."""
    return symbolic.function("Round", x)


def sign(x: Array) -> Array:
    """Return -1, 0 or 1; missing where x is."""
    return where(x > 0, 1, where(x < 0, -1, x))


def sin(x: Array) -> Array:
    """Return the sine, of radians."""
    return symbolic.function("Sin", x)


def sqrt(x: Array) -> Array:
    """Return the square root; missing where x is negative."""
    return symbolic.function("Sqrt", x)


def square(x: Array) -> Array:
    """Return x * x."""
    return x * x


def tan(x: Array) -> Array:
    """Return the tangent, of radians."""
    return sin(x) / cos(x)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    return symbolic.function("Tanh", x)


def trunc(x: Array) -> Array:
    """Return x without its fraction."""
    return where(x < 0, ceil(x), floor(x))


def weekday(x: Array) -> Array:
    """Return the weekday of a time, 0 on Monday, UTC."""
    return _part(x, "weekday")


def where(condition: Array, x: Value, y: Value) -> Array:
    """Return x where the condition holds, and y elsewhere."""
    if not isinstance(condition, Array) or condition.kind != "condition":
        raise Untraceable(
            "the first argument of xp.where is a condition, such as "
            'columns["distance"] > 100'
        )
    left, right = symbolic.compared(x, y, condition._graph)
    if left.kind != right.kind:
        raise Untraceable(f"xp.where gives a {left.kind} or a {right.kind}: make both")
    name = condition._graph.node("Where", condition.name, left.name, right.name)
    both = [value.single for value in (x, y) if isinstance(value, Array)]
    single = bool(both) and all(both)
    return Array(condition._graph, name, left.kind, single=single)


def _extreme(operator: str, x: Value, y: Value) -> Array:
    """Return x where it is more extreme than y, or missing; else y."""
    left, _ = symbolic.pair(x, y)
    return where(symbolic.comparison(operator, x, y) | isnan(left), x, y)


def _part(x: Array, name: str) -> Array:
    """Return a part of a time; all come from one formula (`datetimes.parts`)."""
    if not isinstance(x, Array) or x.kind != "time":
        raise Untraceable(f"xp.{name} takes a time: a datetime of contract.yaml")
    graph = x._graph
    if x.name not in graph.parts:
        seconds = Array(graph, x.name, "number")
        graph.parts[x.name] = datetimes.parts(seconds, floor)
    part: Array = graph.parts[x.name][datetimes.FEATURES.index(name)]
    return part


FUNCTIONS = tuple(
    name
    for name, value in sorted(globals().items())
    if name.islower()
    and getattr(value, "__module__", "") == __name__
    and name[0] != "_"
)


def __getattr__(name: str) -> NoReturn:
    """Refuse a function of the array API that is not here."""
    if name.startswith("__"):
        raise AttributeError(name)
    raise Untraceable(f"xp.{name} is not a function of a feature; {symbolic.allowed()}")
