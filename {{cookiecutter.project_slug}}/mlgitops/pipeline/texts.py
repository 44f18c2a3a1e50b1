"""Turns texts into features, in scikit-learn and in the exported ONNX file alike; pure.

The input has the words of each text joined by single spaces (`words.words`), so both
split it at the spaces, and have the same terms: words, and pairs of neighbours.
Scikit-learn counts and weighs them in training; the graph has the same vocabulary and
weights in standard operators. The converter's own tokenizer is not used: it splits by
another library's regular expressions and lowers the case by the machine's locale.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from mlgitops.pipeline.words import OPERATOR

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

OPSET = 20  # the first that has an operator that splits texts
ALIAS = "MlgitopsTexts"  # the converter's name of the operator
SEEN = 50_000  # texts that terms are chosen from: of a million, all pairs take 10 GB
TINY = 1e-12  # what a text without a known term is divided by


def terms(text: str) -> list[str]:
    """Return the words of a text, then its pairs of neighbours."""
    words = text.split(" ") if text else []
    return [*words, *map(" ".join, pairwise(words))]


class Texts(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """TF-IDF of each column's most frequent terms, float32; or how often each occurs.

    A text has length 1, as in scikit-learn; one without a known term (missing ones,
    too) is all 0. Counts are exact whole numbers, which trees need: of two computations
    of a fraction, one could lie on the other side of a threshold.
    """

    def __init__(
        self, limit: int = 2_000, min_rows: int = 2, counts: bool = False
    ) -> None:
        """`limit` are the terms of a column, each of them in `min_rows` rows or more.

        `counts` gives how often each term occurs, as a dense array.
        """
        self.limit, self.min_rows, self.counts = limit, min_rows, counts

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the vocabulary and the weights of each column.

        Raises:
            ValueError: a column has no term that is frequent enough.
        """
        self.fit_transform(X, y)
        return self

    def fit_transform(
        self, X: pd.DataFrame, y: object = None
    ) -> csr_matrix | np.ndarray:
        """Learn them, and return the features, for which each text is read once."""
        self.names_ = [str(name) for name in getattr(X, "columns", range(X.shape[1]))]
        self.columns_, found = [], []
        for name, column in zip(self.names_, np.asarray(X, object).T, strict=True):
            counter = CountVectorizer(
                analyzer=terms,
                max_features=self.limit,
                min_df=self.min_rows,
                dtype=np.float32,
            )
            try:
                seen = column[:: max(1, len(column) // SEEN)]
                counts = counter.fit_transform(seen)
            except ValueError:  # scikit-learn advises on arguments that are not here
                raise ValueError(
                    f'no word of the column "{name}" is in {self.min_rows} rows or '
                    "more; leave it out of train.columns"
                ) from None
            if len(seen) < len(column):
                counts = counter.transform(column)
            self.columns_.append((counter, TfidfTransformer().fit(counts)))
            found.append(counts)
        return self._weighed(found)

    def transform(self, X: pd.DataFrame) -> csr_matrix | np.ndarray:
        """Return the features of all columns, float32 [n, terms of all columns]."""
        columns = np.asarray(X, object).T
        pairs = zip(self.columns_, columns, strict=True)
        return self._weighed([counter.transform(c) for (counter, _), c in pairs])

    def _weighed(self, found: list[csr_matrix]) -> csr_matrix | np.ndarray:
        """Return the features, given the counts of each column."""
        from scipy.sparse import hstack

        pairs = zip(self.columns_, found, strict=True)
        parts = [
            c if self.counts else weights.transform(c) for (_, weights), c in pairs
        ]
        joined = hstack(parts, format="csr", dtype=np.float32)
        return np.asarray(joined.toarray()) if self.counts else joined

    @property
    def width(self) -> int:
        """How many features there are."""
        return sum(len(counter.vocabulary_) for counter, _ in self.columns_)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the features' names: column and term."""
        names = [
            f"{name}_{term}"
            for name, (counter, _) in zip(self.names_, self.columns_, strict=True)
            for term in counter.get_feature_names_out()
        ]
        return np.array(names, dtype=object)


def _parse(
    scope: Any, model: Texts, inputs: list[Any], custom_parsers: object = None
) -> list[Any]:
    """Declare the features as float32: by default they would have the inputs' type."""
    from skl2onnx.common.data_types import FloatTensorType

    operator = scope.declare_local_operator(ALIAS, model)
    operator.inputs.extend(inputs)
    operator.outputs.append(
        scope.declare_local_variable("text_features", FloatTensorType())
    )
    return list(operator.outputs)


def _shape(operator: Any) -> None:
    """Tell the converter the shape of the features."""
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.width])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of each column to the graph, and join what they give."""
    model = operator.raw_operator
    source, output = operator.inputs[0].onnx_name, operator.outputs[0].full_name
    graph = _Graph(scope, container)
    blocks = []
    for index, (counter, weights) in enumerate(model.columns_):
        column = graph.node("Gather", source, graph.integer(index, []), axis=1)
        words = graph.node(OPERATOR, column, also=1, delimiter=" ")
        ngrams = _ngrams(counter.get_feature_names_out().tolist())
        counts = graph.node("TfIdfVectorizer", words, mode="TF", **ngrams)
        if model.counts:
            blocks.append(counts)
            continue
        # Its mode TFIDF adds a weight as often as the term occurs, which rounds more.
        weighed = graph.node("Mul", counts, graph.numbers(weights.idf_.tolist()))
        squares = graph.node("ReduceSumSquare", weighed, graph.integer(1, [1]))
        length = graph.node("Max", graph.node("Sqrt", squares), graph.numbers([TINY]))
        blocks.append(graph.node("Div", weighed, length))
    about = {"op_version": 13, "name": scope.get_unique_operator_name("Concat")}
    container.add_node("Concat", blocks, [output], axis=1, **about)


class _Graph:
    """The converter's graph, of which a node's name says what is computed."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def node(self, operator: str, *names: str, also: int = 0, **attributes: Any) -> str:
        """Add a node of these inputs and return its first output; `also` has others."""
        outputs = [self.scope.get_unique_variable_name("text") for _ in range(1 + also)]
        name = self.scope.get_unique_operator_name(operator)
        about = {"op_version": OPSET, "name": name, **attributes}
        self.container.add_node(operator, [*names], outputs, **about)
        return str(outputs[0])

    def integer(self, value: int, shape: list[int]) -> str:
        """Return the name of a whole number."""
        from onnx import TensorProto

        return self._constant(TensorProto.INT64, shape, [value])

    def numbers(self, values: list[float]) -> str:
        """Return the name of a list of numbers."""
        from onnx import TensorProto

        return self._constant(TensorProto.FLOAT, [len(values)], values)

    def _constant(self, kind: int, shape: list[int], values: Sequence[float]) -> str:
        """Add a constant and return its name."""
        name = str(self.scope.get_unique_variable_name("text_constant"))
        self.container.add_initializer(name, kind, shape, values)
        return name


def _ngrams(vocabulary: list[str]) -> dict[str, Any]:
    """Return what the operator that counts terms has for a vocabulary, in its order."""
    single = [n for n, term in enumerate(vocabulary) if " " not in term]
    double = [n for n, term in enumerate(vocabulary) if " " in term]
    pool = [word for n in (*single, *double) for word in vocabulary[n].split(" ")]
    return {
        "min_gram_length": 1,
        "max_gram_length": 2 if double else 1,
        "max_skip_count": 0,
        "ngram_counts": [0, len(single)] if double else [0],
        "ngram_indexes": [*single, *double],
        "pool_strings": pool,
    }


def register() -> None:
    """Tell the converter of this transformer; again is no harm."""
    from skl2onnx import update_registered_converter

    update_registered_converter(
        Texts, ALIAS, _shape, _convert, parser=_parse, overwrite=True
    )
