"""The transformers before the estimator: only those that convert to ONNX exactly."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.datetimes import Datetimes

UNKNOWN = -1  # a missing or unknown category, in scikit-learn and in ONNX Runtime


def for_trees(contract: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """Encode categories by their index in the contract; leave numbers as they are.

    Of a time they get the day, the hour, the weekday and the day of the year.

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
        ]
    )


def for_linear(contract: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """One indicator per category (none when unknown); fill and scale the numbers.

    Of a time, its day, hour, weekday and day of the year are such numbers.
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
        ]
    )


def _categories(contract: Contract, names: Sequence[str]) -> list[list[str]]:
    """Return the contract's categories of each column, in the contract's order."""
    return [list(contract.columns[name].categories) for name in names]
