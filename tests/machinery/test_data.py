"""The contract, the checks of rows, the split by time, the inputs of the model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from machinery import rows
from mlgitops.pipeline import data
from mlgitops.pipeline.settings import Prepare, prepare

CONTRACT = rows.small()
ROWS = rows.make(CONTRACT)
DAYS = Prepare(train_days=60, holdout_days=14)


def changed(column: str, value: object, count: int = 3) -> pd.DataFrame:
    """Return the rows with the first `count` values of one column replaced."""
    frame = ROWS.copy()
    frame[column] = frame[column].astype(object)
    frame.loc[: count - 1, column] = value
    return frame


def test_good_rows_pass_and_get_the_contracts_types() -> None:
    """Whatever order and integer types the rows come with."""
    mixed = ROWS[ROWS.columns[::-1]].astype({"distance": "int64", "late": "int64"})
    typed = data.check(mixed, CONTRACT)
    columns = [CONTRACT.id, CONTRACT.time, *CONTRACT.columns, CONTRACT.target]
    assert list(typed.columns) == columns
    assert str(typed["distance"].dtype) == "float32"
    assert str(typed["late"].dtype) == "int8"
    assert str(typed[CONTRACT.time].dtype) == "datetime64[us, UTC]"
    assert mixed["distance"].dtype == "int64"  # the caller's rows stay as they are


def test_rows_of_production_have_no_target() -> None:
    """A target that is there is left out, and its absence is no fault."""
    with_it = data.check(ROWS, CONTRACT, target=False)
    without = data.check(ROWS.drop(columns="late"), CONTRACT, target=False)
    pd.testing.assert_frame_equal(with_it, without)
    assert "late" not in with_it


def test_times_may_be_text() -> None:
    """As they come from a log: ISO 8601, with and without fractions and offsets."""
    times = ["2020-01-01T09:00:00+00:00", "2020-01-01T04:00:00.000000-05:00"]
    text = ROWS.iloc[:3].assign(scheduled_departure=[*times, "2020-01-01 09:00Z"])
    typed = data.check(text, CONTRACT)
    assert (typed[CONTRACT.time] == pd.Timestamp("2020-01-01 09:00Z")).all()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("distance", "far", "3 of 2,000 values are not numbers"),
        ("distance", 6001.0, "3 of 2,000 values are outside 0 to 6000 (such as 6001"),
        ("distance", float("inf"), "outside 0 to 6000"),
        ("distance", None, "3 of 2,000 values are missing"),
        ("carrier", "ZZ", "3 of 2,000 values are not a category"),
        ("carrier", 7, "not a category"),
        ("carrier", "", "3 of 2,000 values are missing"),
        ("temp", 131.0, "outside -60 to 130"),
        ("late", 2, "neither 0 nor 1"),
        ("late", None, "3 of 2,000 values are missing"),
        ("flight_id", "twice", "3 of 2,000 values are repeated (such as twice"),
        ("scheduled_departure", "soon", "3 of 2,000 values are not times"),
        ("scheduled_departure", None, "missing"),
    ],
)
def test_a_broken_column_is_named_with_its_count(
    column: str, value: object, words: str
) -> None:
    """One sentence: which column, how many values, what is wrong."""
    with pytest.raises(data.ContractError) as refused:
        data.check(changed(column, value), CONTRACT)
    said = str(refused.value)
    assert f'"{column}"' in said and words in said and "\n" not in said


def test_missing_is_fine_where_the_contract_says_so() -> None:
    """A missing temperature is data."""
    assert data.check(changed("temp", None), CONTRACT)["temp"].isna().sum() > 3


@pytest.mark.parametrize("frame", [ROWS.drop(columns="temp"), ROWS.assign(dep_delay=1)])
def test_columns_must_be_those_of_the_contract(frame: pd.DataFrame) -> None:
    """A missing one is refused, and so is one that nobody agreed on (a leak)."""
    with pytest.raises(
        data.ContractError, match=r'"(temp|dep_delay)" is (missing|unknown)'
    ):
        data.check(frame, CONTRACT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type: number, min: 0", "type: text, min: 0"),
        ("categories: [AA, B6, UA], ", ""),
        ("min: 0", "least: 0"),
        ("target: late\n", ""),
        ("task: binary", "task: ranking"),
        ("missing: true", "min: 3"),
        ("min: 0", "min: far"),
        ("min: 0", "min: 7000"),
        ("name: flights", 'name: "../x y"'),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused(old: str, new: str) -> None:
    """Before any row is read."""
    with pytest.raises(data.ContractError, match=r"contract\.yaml"):
        data.Contract.parse(yaml.safe_load(rows.SMALL.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 2),
        ("seed", "x"),
        ("columns", []),
        ("columns", ["temp", "temp"]),
        ("parity", None),
        ("estimator", 3),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    """With the name of the setting; the section as it is passes."""
    assert rows.recipe().section == rows.PARAMS
    with pytest.raises(data.ContractError, match=f"train.{name}"):
        rows.recipe(**{name: value})


def test_split_by_time() -> None:
    """The holdout is the newest window, train ends where it begins, none is in both."""
    train, holdout = data.split(ROWS, CONTRACT, DAYS)
    time = CONTRACT.time
    last = ROWS[time].max()
    assert holdout[time].min() > last - pd.Timedelta(days=14) >= train[time].max()
    assert train[time].min() > last - pd.Timedelta(days=74)
    inside = ROWS[time] > last - pd.Timedelta(days=74)
    assert len(train) + len(holdout) == inside.sum() < len(ROWS)
    assert not set(train[CONTRACT.id]) & set(holdout[CONTRACT.id])


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_split_does_not_depend_on_the_order_of_rows(random: object) -> None:
    """The same rows in another order give the same tables."""
    seed = random.randrange(2**32)  # type: ignore[attr-defined]
    shuffled = ROWS.sample(frac=1, random_state=seed)
    for one, two in zip(
        data.split(ROWS, CONTRACT, DAYS),
        data.split(shuffled, CONTRACT, DAYS),
        strict=True,
    ):
        pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    "days", [{"train_days": 60, "holdout_days": 400}, {"train_days": 60}]
)
def test_a_window_without_rows_is_refused(days: dict[str, int]) -> None:
    """Nothing is trained on nothing."""
    with pytest.raises(data.ContractError, match=r"train window|holdout_days"):
        data.split(ROWS, CONTRACT, prepare({"prepare": days}))


def test_inputs_are_what_the_exported_model_takes() -> None:
    """[n, 1] each: float32 with NaN, text with "" for missing; no id is asked for."""
    frame = pd.DataFrame({"carrier": ["AA", None], "temp": [None, 3]}, dtype=object)
    arrays = data.inputs(frame, CONTRACT, ["temp", "carrier"])
    assert list(arrays) == ["temp", "carrier"]
    assert arrays["carrier"].tolist() == [["AA"], [""]]
    assert arrays["temp"].dtype == np.float32
    np.testing.assert_array_equal(arrays["temp"], [[np.nan], [3]])


def test_a_column_outside_the_contract_cannot_be_an_input() -> None:
    """Also not the target."""
    with pytest.raises(data.ContractError, match="late"):
        data.inputs(ROWS, CONTRACT, ["temp", "late"])


@pytest.mark.parametrize("file", sorted((rows.ROOT / "data").glob("*.parquet")))
def test_the_data_at_hand_is_as_the_contract_says(file: Path) -> None:
    """A file that nothing uses any more is to be deleted, with its pointer."""
    contract = data.Contract.parse(
        yaml.safe_load((rows.ROOT / "contract.yaml").read_text())
    )
    assert len(data.check(pd.read_parquet(file), contract))
