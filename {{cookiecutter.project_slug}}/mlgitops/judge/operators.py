"""The constants of a model file, beside what such a file may hold.

What it may hold is in `mlgitops.pipeline.operators`, as the stage train refuses a
pretrained file by the same list.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlgitops.pipeline.operators import ALLOWED, ML, OPSETS, check, parts, read

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["ALLOWED", "ML", "OPSETS", "check", "constants", "read"]

MOST = 2_000  # constants of one list that are looked at
# Lists of a tree ensemble whose entries are places in it, or are added up at its end.
NOT_COMPARED = frozenset(
    """
    class_ids class_nodeids class_treeids class_weights nodes_falsenodeids
    nodes_featureids nodes_hitrates nodes_missing_value_tracks_true nodes_nodeids
    nodes_treeids nodes_truenodeids target_ids target_nodeids target_treeids
    target_weights
    """.split()
)
Constants = tuple[list[float], list[str]]


def constants(model: "ModelProto") -> Constants:
    """Return the numbers and texts that a model's inputs may be compared with."""
    import onnx

    numbers: set[float] = set()
    texts: set[str] = set()
    for part in parts(model):
        if isinstance(part, onnx.TensorProto):
            if part.data_type == onnx.TensorProto.STRING:
                texts |= {t.decode(errors="replace") for t in _some(part.string_data)}
            else:
                values = onnx.numpy_helper.to_array(part).ravel()
                if values.dtype.kind in "biuf":
                    numbers |= {float(v) for v in _some(values.tolist())}
        elif isinstance(part, onnx.AttributeProto) and part.name not in NOT_COMPARED:
            numbers |= {float(n) for n in (*_some(part.floats), *_some(part.ints))}
            texts |= {t.decode(errors="replace") for t in _some(part.strings)}
    return sorted(n for n in numbers if n == n), sorted(texts)


def _some(values: Iterable[Any]) -> list[Any]:
    """Return each entry once, or some that are spread over very many."""
    different = sorted(set(values))
    return different[:: max(1, len(different) // MOST)]
