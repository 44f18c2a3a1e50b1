"""The features of a model: those that are computed, and how an estimator gets them.

`features` is written with columns; `for_trees` and `for_linear` are transformers of
scikit-learn, only such as convert to ONNX exactly. Both become part of the model file.
"""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mlgitops.pipeline import arrays as xp
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.datetimes import Datetimes
from mlgitops.pipeline.texts import Texts

UNKNOWN = -1  # a missing or unknown category, in scikit-learn and in ONNX Runtime
TERMS = 2_000  # words and pairs of words of a text; twice as many need twice the memory
TREE_TERMS = 200  # the same for trees, each of which looks at every one


def features(columns: xp.Columns) -> xp.Columns:
    """Return what the estimator gets, by name: the columns, and what is made of them.

    Written with operators and the functions of `xp`, such as
    `return {**columns, "far": xp.log1p(columns["distance"])}`. A ratio to 0, and all
    else that is no finite number, is missing.
    """
    return columns


def for_trees(contract: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """Encode categories by their index in the contract; leave numbers as they are.

    Of a time they get the day, the hour, the weekday and the day of the year, of a text
    how often each of its most frequent words occurs.

    Trees get codes, as their native categories do not convert to ONNX. Scaling before
    them would move rows across their float32 thresholds.
    """
    names = contract.kind("category", columns)
    ordinal = OrdinalEncoder(
        categories=_categories(contract, names),
        handle_unknown="use_encoded_value",
        unknown_value=UNKNOWN,
    )
    numbers = contract.kind("number", columns)
    return ColumnTransformer(
        [
            ("categories", ordinal, names),
            ("numbers", "passthrough", numbers),
            ("datetimes", Datetimes(), contract.kind("datetime", columns)),
            (
                "texts",
                Texts(TREE_TERMS, counts=True),
                contract.kind("text", columns),
            ),
        ]
    )


def for_linear(contract: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """One indicator per category (none when unknown); fill and scale the numbers.

    Of a time, its day, hour, weekday and day of the year are such numbers. A text
    becomes the TF-IDF of its words and pairs of words.
    """
    names = contract.kind("category", columns)
    one_hot = OneHotEncoder(
        categories=_categories(contract, names),
        handle_unknown="ignore",
        sparse_output=False,
    )
    scaled = [SimpleImputer(strategy="median"), StandardScaler()]
    return ColumnTransformer(
        [
            ("categories", one_hot, names),
            ("numbers", make_pipeline(*scaled), contract.kind("number", columns)),
            (
                "datetimes",
                make_pipeline(Datetimes(), *scaled),
                contract.kind("datetime", columns),
            ),
            ("texts", Texts(TERMS), contract.kind("text", columns)),
        ]
    )


def _categories(contract: Contract, names: Sequence[str]) -> list[list[str]]:
    """Return the contract's categories of each column, in the contract's order."""
    return [list(contract.columns[name].categories) for name in names]
