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
or a condition. A comparison with a missing number is false.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from mlgitops.pipeline import datetimes, purity

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

Kind = Literal["number", "text", "time", "condition"]

nan, inf, pi, e = math.nan, math.inf, math.pi, math.e
PREFIX = "features/"  # of the graph's values: no column's input has a slash
INPUT = f"{PREFIX}input/"  # of those that are inputs, before the column's name
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {  # of numpy, beside its own numbers
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
BRANCH = (
    "Python cannot decide by a column (if, and, or, not, in, max, min): its values are "
    "not known yet; write xp.where(condition, a, b), &, |, ~, xp.isin, xp.maximum"
)
OWN_ROW = "a feature sees its own row only: no other rows, and no place in a table"


class Untraceable(TypeError):
    """What was written cannot become part of a model file: why, and what to write."""


class Graph:
    """The nodes and constants of what is computed, and the line that each comes from.

    `steps` describes them in their order, with file and line.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.steps: list[tuple[str, str]] = []
        self.parts: dict[str, list[Array]] = {}  # of a time, by its value's name

    def constant(self, value: float | str | list[float] | list[int]) -> str:
        """Return the name of a number, a text, or a list; whole numbers are int64."""
        from onnx import TensorProto, helper

        name = f"{PREFIX}constant/{value!r}"
        self.steps.append((name, line()))
        if name not in self.constants:
            shape = [len(value)] if isinstance(value, list) else []
            values: list[Any] = value if isinstance(value, list) else [value]
            kind = TensorProto.DOUBLE
            if isinstance(value, str):
                kind, values = TensorProto.STRING, [value.encode()]
            elif all(type(number) is int for number in values):
                kind = TensorProto.INT64
            self.constants[name] = helper.make_tensor(name, kind, shape, values)
        return name

    def node(
        self,
        operator: str,
        *inputs: str,
        domain: str = "",
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Add a node; return the name of its first output."""
        from onnx import helper

        count = len(self.nodes)
        names = [f"{PREFIX}{count}{'/' * n}" for n in range(outputs)]
        name = f"{PREFIX}{operator}/{count}"
        node = helper.make_node(
            operator, inputs, names, name=name, domain=domain, **attributes
        )
        self.nodes.append(node)
        self.steps.append((f"{operator}{inputs}{attributes}", line()))
        return names[0]


class Array:
    """One column of any number of rows, as it is computed from a model's inputs."""

    def __init__(self, graph: Graph, name: str, kind: Kind, column: str = "") -> None:
        """`name` is the value's in the graph; `column` says that it is this input."""
        self._graph, self.name, self.kind, self.column = graph, name, kind, column
        self.line = line()

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """Return the functions, as the array API asks for."""
        return sys.modules[__name__]

    def __add__(self, other: Value) -> Array:
        return _arithmetic("Add", self, other)

    def __radd__(self, other: Value) -> Array:
        return _arithmetic("Add", other, self)

    def __sub__(self, other: Value) -> Array:
        return _arithmetic("Sub", self, other)

    def __rsub__(self, other: Value) -> Array:
        return _arithmetic("Sub", other, self)

    def __mul__(self, other: Value) -> Array:
        return _arithmetic("Mul", self, other)

    def __rmul__(self, other: Value) -> Array:
        return _arithmetic("Mul", other, self)

    def __truediv__(self, other: Value) -> Array:
        return _arithmetic("Div", self, other)

    def __rtruediv__(self, other: Value) -> Array:
        return _arithmetic("Div", other, self)

    def __pow__(self, other: Value) -> Array:
        return _arithmetic("Pow", self, other)

    def __rpow__(self, other: Value) -> Array:
        return _arithmetic("Pow", other, self)

    def __floordiv__(self, other: Value) -> Array:
        """Return floor(a / b)."""
        return floor(self / other)

    def __rfloordiv__(self, other: Value) -> Array:
        return floor(_arithmetic("Div", other, self))

    def __mod__(self, other: Value) -> Array:
        """Return a - floor(a / b) * b."""
        return self - (self // other) * other

    def __rmod__(self, other: Value) -> Array:
        return other - (other // self) * self

    def __neg__(self) -> Array:
        return _function("Neg", self)

    def __pos__(self) -> Array:
        return self

    def __abs__(self) -> Array:
        return abs(self)

    def __eq__(self, other: Value) -> Array:  # type: ignore[override]  # array API
        return _comparison("Equal", self, other)

    def __ne__(self, other: Value) -> Array:  # type: ignore[override]  # array API
        return ~_comparison("Equal", self, other)

    def __lt__(self, other: Value) -> Array:
        return _comparison("Less", self, other)

    def __le__(self, other: Value) -> Array:
        return _comparison("LessOrEqual", self, other)

    def __gt__(self, other: Value) -> Array:
        return _comparison("Greater", self, other)

    def __ge__(self, other: Value) -> Array:
        return _comparison("GreaterOrEqual", self, other)

    def __and__(self, other: Array) -> Array:
        return _logic("And", self, other)

    def __or__(self, other: Array) -> Array:
        return _logic("Or", self, other)

    def __xor__(self, other: Array) -> Array:
        return _logic("Xor", self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Array:
        return _logic("Not", self)

    __hash__ = None  # type: ignore[assignment]  # equality is a column, too

    def __bool__(self) -> NoReturn:
        raise Untraceable(BRANCH)

    def __float__(self) -> NoReturn:
        raise Untraceable(
            "a column is not a number of Python: write xp.log, xp.sqrt, ... for the "
            "functions of math, and xp.floor or xp.trunc for int"
        )

    __int__ = __float__

    def __round__(self, digits: int = 0) -> Array:
        return round(self) if not digits else round(self * 10**digits) / 10**digits

    def __iter__(self) -> NoReturn:
        raise Untraceable(OWN_ROW)

    __len__ = __iter__

    def __getitem__(self, key: object) -> NoReturn:
        raise Untraceable(f"{OWN_ROW}; write xp.where(condition, a, b)")

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise Untraceable("a column cannot be changed: write xp.where(condition, a, b)")

    if not TYPE_CHECKING:  # to mypy, what is not here is an error

        def __getattr__(self, name: str) -> NoReturn:
            """Refuse what pandas and numpy have; `_` begins what Python asks for."""
            if name.startswith("_"):
                raise AttributeError(name)
            raise Untraceable(f".{name} is not a function of a feature; {_allowed()}")

    def __array_ufunc__(
        self, function: Any, method: str, *inputs: Any, **about: object
    ) -> Array:
        """Take a number of numpy's beside an array; refuse numpy's functions."""
        if method == "__call__" and not about and function.__name__ in OPERATORS:
            timed = any(getattr(value, "kind", "") == "time" for value in inputs)
            left, right = (_array(value, self._graph, timed) for value in inputs)
            result: Array = OPERATORS[function.__name__](left, right)
            return result
        raise Untraceable(
            f"numpy.{function.__name__} cannot be exported: write xp."
            f"{function.__name__}; {_allowed()}"
        )

    def __array_function__(
        self, function: Any, types: object, args: object, about: object
    ) -> NoReturn:
        """Refuse numpy's functions."""
        raise Untraceable(f"numpy.{function.__name__} cannot be exported; {_allowed()}")


Value = Array | float | str  # what may stand beside an array
Columns = Mapping[str, Array]  # what `features` takes and returns


def abs(x: Array) -> Array:
    """Return the magnitude."""
    return _function("Abs", x)


def ceil(x: Array) -> Array:
    """Return the smallest whole number that is not below x."""
    return _function("Ceil", x)


def clip(x: Array, min: Value | None = None, max: Value | None = None) -> Array:
    """Return x, or the end that it is beyond; what is missing stays so."""
    above = x if min is None else where(x < min, min, x)
    return above if max is None else where(above > max, max, above)


def cos(x: Array) -> Array:
    """Return the cosine, of radians."""
    return _function("Cos", x)


def day_of_year(x: Array) -> Array:
    """Return the day of the year of a time, from 1, UTC."""
    return _part(x, "day_of_year")


def days(x: Array) -> Array:
    """Return the whole days from 1970 to a time, UTC."""
    return _part(x, "days")


def exp(x: Array) -> Array:
    """Return e to the power of x."""
    return _function("Exp", x)


def floor(x: Array) -> Array:
    """Return the largest whole number that is not above x."""
    return _function("Floor", x)


def hour(x: Array) -> Array:
    """Return the hour of the day of a time, with its fraction, UTC.

    In a zone of a fixed offset: `xp.hour(x + 3600 * offset)`.
    """
    return _part(x, "hour")


def isfinite(x: Array) -> Array:
    """Return where x is neither missing nor infinite."""
    return ~(isnan(x) | isinf(x))


def isin(x: Array, values: Sequence[float | str]) -> Array:
    """Return where x is one of some numbers or texts."""
    if isinstance(values, str | Array) or not values:
        raise Untraceable("xp.isin takes a list of values, such as ['EWR', 'LGA']")
    if _column(x).kind == "text":
        return _is_one_of(x, list(dict.fromkeys(map(str, values))))
    return functools.reduce(operator.or_, [x == value for value in values])


def isinf(x: Array) -> Array:
    """Return where x is infinite."""
    return abs(x) == inf


def isnan(x: Array) -> Array:
    """Return where x is missing: of a text, where it is empty."""
    if _column(x).kind == "text":
        return x == ""
    name = x._graph.node("IsNaN", _number(x, timed=True))
    return Array(x._graph, name, "condition")


def log(x: Array) -> Array:
    """Return the natural logarithm; missing where x is negative."""
    return _function("Log", x)


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
    graph, values = x._graph, [float(value) for value in table.values()]
    index = _index(x, list(table), list(range(len(values))), len(values))
    numbers = graph.constant([*values, float(default)])
    return Array(graph, graph.node("Gather", numbers, index), "number")


def maximum(x: Value, y: Value) -> Array:
    """Return the larger of both; missing where one is."""
    return _extreme("Greater", x, y)


def minimum(x: Value, y: Value) -> Array:
    """Return the smaller of both; missing where one is."""
    return _extreme("Less", x, y)


def round(x: Array) -> Array:
    """Return the nearest whole number; of two, the even one."""
    return _function("Round", x)


def sign(x: Array) -> Array:
    """Return -1, 0 or 1; missing where x is."""
    return where(x > 0, 1, where(x < 0, -1, x))


def sin(x: Array) -> Array:
    """Return the sine, of radians."""
    return _function("Sin", x)


def sqrt(x: Array) -> Array:
    """Return the square root; missing where x is negative."""
    return _function("Sqrt", x)


def square(x: Array) -> Array:
    """Return x * x."""
    return x * x


def tan(x: Array) -> Array:
    """Return the tangent, of radians."""
    return sin(x) / cos(x)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent."""
    return _function("Tanh", x)


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
    left, right = _pair(x, y, condition._graph)
    if left.kind != right.kind:
        raise Untraceable(f"xp.where gives a {left.kind} or a {right.kind}: make both")
    name = condition._graph.node("Where", condition.name, left.name, right.name)
    return Array(condition._graph, name, left.kind)


FUNCTIONS = tuple(
    name
    for name, value in sorted(globals().items())
    if name.islower()
    and getattr(value, "__module__", "") == __name__
    and name[0] != "_"
    and name != "line"
)


def __getattr__(name: str) -> NoReturn:
    """Refuse a function of the array API that is not here."""
    if name.startswith("__"):
        raise AttributeError(name)
    raise Untraceable(f"xp.{name} is not a function of a feature; {_allowed()}")


def line() -> str:
    """Return the file and line of the caller that is not of the machinery."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename in MACHINERY:
        frame = frame.f_back
    return purity.location(frame.f_code.co_filename, frame.f_lineno)


MACHINERY = {f.__code__.co_filename for f in (line, datetimes.parts)}


def _allowed() -> str:
    """Say what there is."""
    return f"there are operators such as + and <, and xp.{', xp.'.join(FUNCTIONS)}"


def _plain(value: Any) -> Any:
    """Return a number of numpy's as Python's; anything else as it is."""
    if isinstance(value, Array) or getattr(value, "shape", None) != ():
        return value
    return value.item()


def _array(value: Any, graph: Graph, timed: bool = False) -> Array:
    """Return a number or a text as an array; beside a time, a text is a time."""
    value = _plain(value)
    if isinstance(value, Array):
        if value._graph is not graph:
            raise Untraceable(
                "this column is of an earlier call: a feature depends on the columns "
                "that it is given, and on nothing that was kept"
            )
        return value
    if isinstance(value, bool | int | float):
        return Array(graph, graph.constant(float(value)), "number")
    if isinstance(value, str) and timed:
        return Array(graph, graph.constant(_seconds(value)), "time")
    if isinstance(value, str):
        return Array(graph, graph.constant(value), "text")
    kind = f"{type(value).__module__}.{type(value).__name__}"
    raise Untraceable(
        f"a {kind.removeprefix('builtins.')} cannot stand beside a column: write one "
        "number or text; a table of numbers by text is xp.lookup"
    )


def _seconds(text: str) -> float:
    """Return a time as seconds since 1970, UTC where it does not say."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Untraceable(
            f"{text[:60]!r} is not a time such as '2013-04-01' or "
            "'2013-04-01T12:00:00+02:00'"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _pair(x: Value, y: Value, graph: Graph | None = None) -> tuple[Array, Array]:
    """Return both as arrays, conditions as numbers."""
    arrays = [value for value in (x, y) if isinstance(value, Array)]
    if not arrays and graph is None:
        raise Untraceable("one of both is a column")
    graph = graph or arrays[0]._graph
    timed = any(array.kind == "time" for array in arrays)
    left, right = (_array(value, graph, timed) for value in (x, y))
    return _counted(left), _counted(right)


def _counted(x: Array) -> Array:
    """Return a condition as a number, 1 or 0; any other array as it is."""
    if x.kind != "condition":
        return x
    return Array(x._graph, x._graph.node("Cast", x.name, to=DOUBLE), "number")


def _column(x: Array) -> Array:
    """Return what is a column, and refuse a number or a text of Python's."""
    if not isinstance(x, Array):
        raise Untraceable(f"the functions of xp take a column, not {x!r}")
    return x


def _number(x: Array, timed: bool = False) -> str:
    """Return the value's name of a number, or of a time if that is meant."""
    counted = _counted(_column(x))
    if counted.kind != "number" and not (timed and counted.kind == "time"):
        raise Untraceable(f"a {x.kind} is not a number: {HINTS[x.kind]}")
    return counted.name


def _function(operator: str, x: Array) -> Array:
    """Return what an operator makes of each number."""
    name = _number(x)
    return Array(x._graph, x._graph.node(operator, name), "number")


def _arithmetic(operator: str, x: Value, y: Value) -> Array:
    """Return what an operator makes of two numbers, or of a time and seconds."""
    left, right = _pair(x, y)
    kind: Kind | None = RESULTS.get((operator, left.kind, right.kind), None)
    if (left.kind, right.kind) == ("number", "number"):
        kind = "number"
    if kind is None:
        odd = left if left.kind != "number" else right
        raise Untraceable(
            f"{SYMBOLS[operator]} of a {left.kind} and a {right.kind} has no meaning: "
            f"{HINTS[odd.kind]}"
        )
    return Array(left._graph, left._graph.node(operator, left.name, right.name), kind)


def _comparison(operator: str, x: Value, y: Value) -> Array:
    """Return where two numbers or two times compare so, or two texts are equal."""
    for text, other in ((x, y), (y, x)):
        if isinstance(text, Array) and text.kind == "text" and isinstance(other, str):
            if operator == "Equal":
                return _is_one_of(text, [other])
    left, right = _pair(x, y)
    if left.kind != right.kind or left.kind == "text":
        odd = left if left.kind != "number" else right
        raise Untraceable(
            f"a {left.kind} and a {right.kind} cannot be compared so: {HINTS[odd.kind]}"
        )
    name = left._graph.node(operator, left.name, right.name)
    return Array(left._graph, name, "condition")


def _is_one_of(x: Array, texts: list[str]) -> Array:
    """Return where a text is one of some."""
    found = _index(x, texts, [1] * len(texts), 0)
    return Array(x._graph, x._graph.node("Cast", found, to=BOOL), "condition")


def _index(x: Array, texts: list[str], numbers: list[int], other: int) -> str:
    """Return the value's name of the number that belongs to a text, int64."""
    return x._graph.node(
        "LabelEncoder",
        x.name,
        domain="ai.onnx.ml",
        keys_strings=texts,
        values_int64s=numbers,
        default_int64=other,
    )


def _logic(operator: str, *conditions: Array) -> Array:
    """Return where conditions hold together."""
    for condition in conditions:
        if not isinstance(condition, Array) or condition.kind != "condition":
            raise Untraceable(
                "&, |, ^ and ~ take conditions, each in brackets: "
                '(columns["a"] > 1) & (columns["b"] == 0)'
            )
    graph = conditions[0]._graph
    names = [_array(condition, graph).name for condition in conditions]
    return Array(graph, graph.node(operator, *names), "condition")


def _extreme(operator: str, x: Value, y: Value) -> Array:
    """Return x where it is more extreme than y, or missing; else y."""
    left, right = _pair(x, y)
    return where(_comparison(operator, left, right) | isnan(left), left, right)


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


BOOL, DOUBLE = 9, 11  # of onnx.TensorProto
SYMBOLS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Pow": "**"}
RESULTS: dict[tuple[str, str, str], Kind] = {  # of an operator, beside two numbers
    ("Sub", "time", "time"): "number",
    ("Sub", "time", "number"): "time",
    ("Add", "time", "number"): "time",
    ("Add", "number", "time"): "time",
}
HINTS = {
    "text": "compare it (==, !=, xp.isin), or take a number for it (xp.lookup)",
    "time": "take xp.hour, xp.weekday, xp.day_of_year or xp.days of it, or the seconds "
    "between two times",
    "condition": "write xp.where(condition, a, b)",
    "number": "both are numbers, or neither is",
}
