"""The transformers: codes, indicators, and what they do with what they never saw."""

import numpy as np
import pandas as pd

from machinery import rows
from model import features

CONTRACT = rows.small()
COLUMNS = ["temp", "carrier", "distance"]
TRAIN = pd.DataFrame(
    {
        "temp": [10.0, np.nan, 30.0],
        "carrier": ["UA", "AA", "UA"],
        "distance": [1, 2, 3.0],
    }
)
ODD = pd.DataFrame(
    {"temp": [np.nan] * 3, "carrier": ["B6", "ZZ", ""], "distance": [2.0] * 3}
)


def test_trees_get_codes_in_the_contracts_order() -> None:
    """Also of a category that the training rows lack; unknown and missing share one."""
    encoder = features.for_trees(CONTRACT, COLUMNS).fit(TRAIN)
    assert encoder.transform(ODD)[:, 0].tolist() == [
        1,
        features.UNKNOWN,
        features.UNKNOWN,
    ]


def test_trees_get_numbers_as_they_are() -> None:
    """Unscaled, missing values included: trees handle them."""
    numbers = features.for_trees(CONTRACT, COLUMNS).fit_transform(TRAIN)[:, 1:]
    np.testing.assert_array_equal(numbers, TRAIN[["temp", "distance"]])


def test_linear_models_get_indicators_and_scaled_numbers() -> None:
    """No indicator for unknown or missing; the median, scaled, for a missing number."""
    encoder = features.for_linear(CONTRACT, COLUMNS).fit(TRAIN)
    found = encoder.transform(ODD)
    assert found[:, :3].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(found[:, 3:], 0, atol=1e-7)
    np.testing.assert_allclose(
        encoder.transform(TRAIN)[:, 3:].mean(axis=0), 0, atol=1e-7
    )
