"""Converts what was fitted to ONNX, and computes features as the exported file does.

The features of the estimator are those of the graph, in training too: in float64 a row
may lie on the other side of a tree's threshold than in the graph's float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone

from mlgitops.pipeline import boosters, calibration, datetimes, texts
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.words import ROWS

if TYPE_CHECKING:
    import pandas as pd
    from onnx import GraphProto, ModelProto

OPSET = {"": 18, "ai.onnx.ml": 3}  # fixed, so that the same model has the same bytes
TOKENIZERS = {"StringNormalizer", "Tokenizer"}  # of scikit-learn's own vectorizers
MOVED = 1e-3  # of a feature's range: more is another feature, not float32
CONVERTERS = (  # the converter's modules that write trees into a graph
    *("decision_tree", "gradient_boosting", "isolation_forest", "random_forest"),
)
TREES = "add_tree_to_attribute_pairs"  # what writes one tree
HISTOGRAM_TREES = f"{TREES}_hist_gradient_boosting"
Attributes = dict[str, list[Any]]


def convert(
    model: BaseEstimator, contract: Contract, columns: Sequence[str], **options: Any
) -> ModelProto:
    """Return the graph of a fitted model: an [n, 1] input per column, in their order.

    Raises:
        ContractError: a part of the model does not convert, or not exactly.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        StringTensorType,
    )

    boosters.register()
    datetimes.register()
    texts.register()
    opset = {**OPSET, "": texts.OPSET} if contract.kind("text", columns) else OPSET
    kinds = {"category": StringTensorType, "text": StringTensorType}
    kinds["datetime"] = DoubleTensorType
    types = {n: kinds.get(contract.columns[n].type, FloatTensorType) for n in columns}
    try:
        with _exact_trees(), calibration.exact_isotonic():
            graph: ModelProto = convert_sklearn(
                model,
                name=contract.name,
                initial_types=[(name, types[name]([None, 1])) for name in columns],
                target_opset=opset,
                **options,
            )
    except (NameError, RuntimeError, TypeError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise ContractError(
            f"the model does not convert to ONNX: {problem} Choose an estimator or "
            "features that convert, in model/estimator.py and model/features.py."
        ) from error
    _refuse_tokenizers(graph.graph)
    return graph


def _refuse_tokenizers(graph: GraphProto) -> None:
    """Refuse operators that read a text in another way than scikit-learn does."""
    if found := sorted({node.op_type for node in graph.node} & TOKENIZERS):
        raise ContractError(
            f"model/features.py: a text step is exported as {' and '.join(found)}, "
            "which read letters by the machine's locale and words by other rules than "
            "scikit-learn; use Texts of mlgitops.pipeline.texts, as the example does "
            "(its words are those of the server)"
        )


@contextmanager
def _exact_trees() -> Iterator[None]:
    """Have the converter write each tree as it decides, while this is open.

    skl2onnx 1.20 leaves out where the trees of forests, of bagging and of gradient
    boosting send a missing value. It rounds the float64 thresholds of histogram
    gradient boosting to the nearest float32, which may be a value of the next row.
    """
    from skl2onnx.common import tree_ensemble

    wrapped = {TREES: _with_missing, HISTOGRAM_TREES: _with_lower_thresholds}
    modules = [import_module(f"skl2onnx.operator_converters.{n}") for n in CONVERTERS]
    places = [(m, name) for m in modules for name in wrapped if hasattr(m, name)]
    for module, name in places:
        setattr(module, name, wrapped[name](getattr(tree_ensemble, name)))
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, getattr(tree_ensemble, name))


def _with_missing(write: Callable[..., None]) -> Callable[..., None]:
    """Return what writes a tree, and where it sends a missing value."""

    def exact(
        attributes: Attributes, classifier: bool, tree: Any, *args: Any, **kwargs: Any
    ) -> None:
        sides = attributes["nodes_missing_value_tracks_true"]
        start = len(sides)
        write(attributes, classifier, tree, *args, **kwargs)
        sides[start:] = [int(left) for left in tree.missing_go_to_left]

    return exact


def _with_lower_thresholds(write: Callable[..., None]) -> Callable[..., None]:
    """Return what writes a tree whose thresholds are float32, and decide the same."""

    def exact(attributes: Attributes, *args: Any, **kwargs: Any) -> None:
        values = attributes["nodes_values"]
        start = len(values)
        write(attributes, *args, **kwargs)
        values[start:] = boosters.below(values[start:])

    return exact


def refuse_missing(missing: Mapping[str, bool], rows: int) -> None:
    """Refuse a column that is missing in all of so many rows.

    Raises:
        ContractError: with the first one.
    """
    for name, nowhere in missing.items():
        if nowhere:
            raise ContractError(
                f'"{one_line(name)}" is missing in all {rows:,} rows to train '
                "on; leave it out of train.columns, or correct model/features.py"
            )


class GraphFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """Features as the exported file computes them: float32, held in float64.

    Sparse where the transformers' own features are, and the estimator takes them so.
    """

    def __init__(
        self,
        features: BaseEstimator,
        contract: Contract,
        columns: Sequence[str],
        sparse: bool = True,
    ) -> None:
        """`features` are the unfitted transformers, `columns` the model's inputs.

        `sparse` says that the estimator may get a sparse matrix.
        """
        self.features = features
        self.contract = contract
        self.columns = columns
        self.sparse = sparse

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Fit the transformers, and load their graph.

        Raises:
            ContractError: a column, or a computed feature, is missing in all rows.
        """
        refuse_missing({name: X[name].isna().all() for name in X}, len(X))
        return self.fit_on(X, y)

    def fit_on(self, X: pd.DataFrame, y: object = None) -> Self:
        """Fit on rows of which a column may be missing in all, and load the graph."""
        import onnxruntime
        from scipy.sparse import issparse

        self.features_ = clone(self.features).fit(X, y)
        graph = convert(self.features_, self.contract, self.columns)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session_ = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        sample = self.features_.transform(X.iloc[:1])
        self.sparse_ = self.sparse and issparse(sample)
        return self

    def transform(self, X: pd.DataFrame) -> Any:
        """Return the features, float64 [n, features], a sparse matrix or an array."""
        from scipy.sparse import csr_array, vstack

        starts = range(0, max(len(X), 1), ROWS)
        parts = (self._run(X.iloc[start : start + ROWS]) for start in starts)
        if self.sparse_:
            return vstack([csr_array(part) for part in parts], format="csr")
        first = next(parts)
        table = np.empty((len(X), first.shape[1]))  # once: a million rows are large
        for start, part in zip(starts, chain([first], parts), strict=True):
            table[start : start + ROWS] = part
        return table

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the features' names."""
        return np.asarray(self.features_.get_feature_names_out())

    def differing(self, X: pd.DataFrame) -> list[str]:
        """Return the names of features that are others than the transformers' own.

        By more than a thousandth of their range, or missing on one side only: that is
        no matter of digits, but a transformer that the converter gets wrong.
        """
        from scipy.sparse import issparse

        low, high, gap = np.inf, -np.inf, 0.0
        for start in range(0, len(X), ROWS):  # all rows of many words would be GB
            rows = X.iloc[start : start + ROWS]
            own = self.features_.transform(rows)
            own = own.toarray() if issparse(own) else np.asarray(own, np.float64)
            graph = self._run(rows)
            gaps = np.abs(graph - own)
            gaps[np.isnan(graph) & np.isnan(own)] = 0.0
            gap = np.maximum(gap, gaps.max(axis=0))  # NaN stays NaN
            low = np.fmin(low, np.fmin.reduce(own, axis=0))
            high = np.fmax(high, np.fmax.reduce(own, axis=0))
        wrong = ~(gap / np.maximum(high - low, 1e-30) <= MOVED)
        return [str(name) for name in self.get_feature_names_out()[wrong]]

    def _run(self, X: pd.DataFrame) -> np.ndarray:
        """Return the features of some rows."""
        dtypes = {"category": object, "text": object, "datetime": np.float64}
        inputs = {}
        for entry, name in zip(self.session_.get_inputs(), self.columns, strict=True):
            dtype = dtypes.get(self.contract.columns[name].type, np.float32)
            inputs[entry.name] = X[name].to_numpy(dtype).reshape(-1, 1)
        return np.asarray(self.session_.run(None, inputs)[0], np.float64)
