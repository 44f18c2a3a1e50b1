"""What stands for a column while `features` is called, and becomes an ONNX graph; pure.

The functions on it are in `pipeline/arrays.py`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from mlgitops.pipeline import purity
from mlgitops.pipeline.schema import near, one_line
from mlgitops.pipeline.words import words

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

    from mlgitops.pipeline.contract import Column

Kind = Literal["number", "text", "time", "condition"]

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

    def __init__(self, columns: Mapping[str, Column] | None = None) -> None:
        """Begin with nothing; `columns` are those of the contract."""
        self.columns = columns or {}
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

    def __init__(
        self,
        graph: Graph,
        name: str,
        kind: Kind,
        column: str = "",
        *,
        single: bool = False,
    ) -> None:
        """`name` is the value's in the graph; `column` says that it is this input.

        `single` says that it has numbers of a client, which came as float32.
        """
        self._graph, self.name, self.kind, self.column = graph, name, kind, column
        self.single = single
        self.line = line()

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """Return the functions, as the array API asks for."""
        from mlgitops.pipeline import arrays

        return arrays

    def __add__(self, operand: Value) -> Array:
        return arithmetic("Add", self, operand)

    def __radd__(self, operand: Value) -> Array:
        return arithmetic("Add", operand, self)

    def __sub__(self, operand: Value) -> Array:
        return arithmetic("Sub", self, operand)

    def __rsub__(self, operand: Value) -> Array:
        return arithmetic("Sub", operand, self)

    def __mul__(self, operand: Value) -> Array:
        return arithmetic("Mul", self, operand)

    def __rmul__(self, operand: Value) -> Array:
        return arithmetic("Mul", operand, self)

    def __truediv__(self, operand: Value) -> Array:
        return arithmetic("Div", self, operand)

    def __rtruediv__(self, operand: Value) -> Array:
        return arithmetic("Div", operand, self)

    def __pow__(self, operand: Value) -> Array:
        return arithmetic("Pow", self, operand)

    def __rpow__(self, operand: Value) -> Array:
        return arithmetic("Pow", operand, self)

    def __floordiv__(self, operand: Value) -> Array:
        """Return floor(a / b)."""
        return function("Floor", self / operand)

    def __rfloordiv__(self, operand: Value) -> Array:
        return function("Floor", arithmetic("Div", operand, self))

    def __mod__(self, operand: Value) -> Array:
        """Return a - floor(a / b) * b."""
        return self - (self // operand) * operand

    def __rmod__(self, operand: Value) -> Array:
        return operand - (operand // self) * self

    def __neg__(self) -> Array:
        return function("Neg", self)

    def __pos__(self) -> Array:
        return self

    def __abs__(self) -> Array:
        return function("Abs", self)

    def __eq__(self, operand: Value) -> Array:  # type: ignore[override]  # array API
        return comparison("Equal", self, operand)

    def __ne__(self, operand: Value) -> Array:  # type: ignore[override]  # array API
        return ~comparison("Equal", self, operand)

    def __lt__(self, operand: Value) -> Array:
        return comparison("Less", self, operand)

    def __le__(self, operand: Value) -> Array:
        return comparison("LessOrEqual", self, operand)

    def __gt__(self, operand: Value) -> Array:
        return comparison("Greater", self, operand)

    def __ge__(self, operand: Value) -> Array:
        return comparison("GreaterOrEqual", self, operand)

    def __and__(self, operand: Array) -> Array:
        return logic("And", self, operand)

    def __or__(self, operand: Array) -> Array:
        return logic("Or", self, operand)

    def __xor__(self, operand: Array) -> Array:
        return logic("Xor", self, operand)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Array:
        return logic("Not", self)

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
        if not digits:
            return function("Round", self)
        scale = 10.0**digits
        return function("Round", self * scale) / scale

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
            raise Untraceable(f".{name} is not a function of a feature; {allowed()}")

    def __array_ufunc__(
        self, function: Any, method: str, *inputs: Any, **about: object
    ) -> Array:
        """Take a number of numpy's beside an array; refuse numpy's functions."""
        if method == "__call__" and not about and function.__name__ in OPERATORS:
            timed = any(getattr(value, "kind", "") == "time" for value in inputs)
            for value in inputs:
                _array(value, self._graph, timed)  # refuses what is not one number
            result: Array = OPERATORS[function.__name__](*map(_plain, inputs))
            return result
        raise Untraceable(
            f"numpy.{function.__name__} cannot be exported: write xp."
            f"{function.__name__}; {allowed()}"
        )

    def __array_function__(
        self, function: Any, types: object, args: object, about: object
    ) -> NoReturn:
        """Refuse numpy's functions."""
        raise Untraceable(f"numpy.{function.__name__} cannot be exported; {allowed()}")


Value = Array | float | str  # what may stand beside an array


def line() -> str:
    """Return the file and line of the caller that is not of the machinery."""
    frame = sys._getframe()
    folder = frame.f_code.co_filename.removesuffix("symbolic.py")
    while frame.f_back and frame.f_code.co_filename.startswith(folder):
        frame = frame.f_back
    return purity.location(frame.f_code.co_filename, frame.f_lineno)


def allowed() -> str:
    """Say what there is."""
    from mlgitops.pipeline import arrays

    return (
        f"there are operators such as + and <, and xp.{', xp.'.join(arrays.FUNCTIONS)}"
    )


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


def compared(x: Value, y: Value, graph: Graph | None = None) -> tuple[Array, Array]:
    """Return both as arrays, a number as float32 beside numbers that came so.

    As a float32, 0.7 is smaller than as a float64: no row would be 0.7 or more.
    """
    x, y = _plain(x), _plain(y)
    x, y = _rounded(x, y), _rounded(y, x)
    return pair(x, y, graph)


def _rounded(x: Value, other: Value) -> Value:
    """Return a number of Python's as float32 has it, beside what came as float32."""
    if isinstance(x, int | float) and isinstance(other, Array) and other.single:
        with np.errstate(over="ignore"):
            return float(np.float32(x))
    return x


def pair(x: Value, y: Value, graph: Graph | None = None) -> tuple[Array, Array]:
    """Return both as arrays, conditions as numbers."""
    arrays = [value for value in (x, y) if isinstance(value, Array)]
    if not arrays and graph is None:
        raise Untraceable("one of both is a column")
    graph = graph or arrays[0]._graph
    timed = any(array.kind == "time" for array in arrays)
    left, right = (_array(value, graph, timed) for value in (x, y))
    return counted(left), counted(right)


def counted(x: Array) -> Array:
    """Return a condition as a number, 1 or 0; any other array as it is."""
    if x.kind != "condition":
        return x
    return Array(x._graph, x._graph.node("Cast", x.name, to=DOUBLE), "number")


def column(x: Array) -> Array:
    """Return what is a column, and refuse a number or a text of Python's."""
    if not isinstance(x, Array):
        raise Untraceable(f"the functions of xp take a column, not {x!r}")
    return x


def number(x: Array, timed: bool = False) -> str:
    """Return the value's name of a number, or of a time if that is meant."""
    value = counted(column(x))
    if value.kind != "number" and not (timed and value.kind == "time"):
        raise Untraceable(f"a {x.kind} is not a number: {HINTS[x.kind]}")
    return value.name


def function(operator: str, x: Array) -> Array:
    """Return what an operator makes of each number."""
    name, single = number(x), x.single and operator in ("Abs", "Neg")
    return Array(x._graph, x._graph.node(operator, name), "number", single=single)


def arithmetic(operator: str, x: Value, y: Value) -> Array:
    """Return what an operator makes of two numbers, or of a time and seconds."""
    left, right = pair(x, y)
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


def comparison(operator: str, x: Value, y: Value) -> Array:
    """Return where two numbers or two times compare so, or two texts are equal."""
    for text, other in ((x, y), (y, x)):
        if isinstance(text, Array) and text.kind == "text" and isinstance(other, str):
            if operator == "Equal":
                return is_one_of(text, [other])
    left, right = compared(x, y)
    if left.kind != right.kind or left.kind == "text":
        odd = left if left.kind != "number" else right
        raise Untraceable(
            f"a {left.kind} and a {right.kind} cannot be compared so: {HINTS[odd.kind]}"
        )
    name = left._graph.node(operator, left.name, right.name)
    return Array(left._graph, name, "condition")


def is_one_of(x: Array, texts: list[str]) -> Array:
    """Return where a text is one of some."""
    if never := [text for text in texts if _is_never(x, text)]:
        raise Untraceable(_why_never(x, never[0]))
    found = index_of(x, texts, [1] * len(texts), 0)
    return Array(x._graph, x._graph.node("Cast", found, to=BOOL), "condition")


def demand_found(x: Array, texts: list[str]) -> None:
    """Refuse a table for texts of which a column has none, or of no text of words."""
    never = [text for text in texts if _is_never(x, text)]
    kind = x._graph.columns[x.column].type if x.column else ""
    if never and (kind == "text" or len(never) == len(texts)):
        raise Untraceable(_why_never(x, never[0]))


def _is_never(x: Array, text: str) -> bool:
    """Tell whether a column of the contract cannot have a text."""
    if not x.column or text == "":
        return False
    column = x._graph.columns[x.column]
    if column.type == "text":
        return words(text) != text
    return text not in column.categories


def _why_never(x: Array, text: str) -> str:
    """Say why a column cannot have a text, and what to write."""
    column, name = x._graph.columns[x.column], f'column "{one_line(x.column)}"'
    if column.type == "text":
        return (
            f"{name} is never {one_line(repr(text))}: a text comes as its words, "
            f"without capitals and punctuation; write {one_line(repr(words(text)))}"
        )
    return (
        f"{one_line(repr(text))} is not a category of {name} in contract.yaml; "
        f"{near(text, column.categories)[:200]}"
    )


def index_of(x: Array, texts: list[str], numbers: list[int], other: int) -> str:
    """Return the value's name of the number that belongs to a text, int64."""
    return x._graph.node(
        "LabelEncoder",
        x.name,
        domain="ai.onnx.ml",
        keys_strings=texts,
        values_int64s=numbers,
        default_int64=other,
    )


def logic(operator: str, *conditions: Array) -> Array:
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
