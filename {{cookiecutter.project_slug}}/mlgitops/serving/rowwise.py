"""Whether a model's file treats each row as if it were alone, bit for bit.

Rows of several requests may then share one run of the model. Operators that add up
across a row in an order that depends on how many rows there are (products of matrices),
or that compute a function by blocks of a vector (Exp, Sigmoid), are not in the list;
comparisons, tables, single IEEE 754 operations and, with one thread, trees are.
"""

from collections.abc import Iterator

OPERATORS = frozenset(
    """
    Abs Add And ArrayFeatureExtractor Cast Ceil Clip Concat Constant Div Equal Floor
    Gather Greater GreaterOrEqual Identity Imputer IsInf IsNaN LabelEncoder Less
    LessOrEqual Max Min Mul Neg Not OneHotEncoder Or Reshape Shape Squeeze Sub Sum
    TreeEnsembleClassifier TreeEnsembleRegressor Unsqueeze Where
    """.split()
)
GRAPH, FUNCTIONS = 7, 25  # of onnx.proto3: fields of ModelProto,
NODE = 1  # of GraphProto,
OPERATOR, DOMAIN = 4, 7  # and of NodeProto
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def rowwise(model: bytes) -> bool:
    """Return whether every operator of an ONNX file is one of `OPERATORS`."""
    try:
        listed = [
            _text(node, DOMAIN) in DOMAINS and _text(node, OPERATOR) in OPERATORS
            for field, graph in _fields(memoryview(model))
            for kind, node in _fields(graph if field == GRAPH else memoryview(b""))
            if kind == NODE
        ]
        functions = any(field == FUNCTIONS for field, _ in _fields(memoryview(model)))
    except (IndexError, ValueError):
        return False
    return bool(listed) and all(listed) and not functions


def _text(message: memoryview, wanted: int) -> str:
    """Return a field's text, "" where there is none."""
    texts = [
        bytes(data).decode() for field, data in _fields(message) if field == wanted
    ]
    return texts[-1] if texts else ""


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and bytes of each field of a message that has bytes."""
    position = 0
    while position < len(message):
        key, position = _number(message, position)
        kind = key & 7
        if kind == 0:
            _, position = _number(message, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        elif kind == 2:
            size, position = _number(message, position)
            if position + size > len(message):
                raise ValueError("a field goes beyond its message")
            yield key >> 3, message[position : position + size]
            position += size
        else:
            raise ValueError("not a message")


def _number(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number that begins at a position, and where it ends."""
    number = shift = 0
    while True:
        byte = message[position]
        number |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return number, position
