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
DAYS = Prepare(split="time", train_days=60, holdout_days=14)


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


def contract(**columns: object) -> data.Contract:
    """Return the contract with other columns."""
    document = yaml.safe_load(rows.SMALL)
    return data.Contract.parse({**document, "columns": document["columns"] | columns})


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e300, "1e300"])
def test_infinity_is_refused_where_a_range_has_no_end(value: object) -> None:
    """The server refuses it too; within a range it is outside of it."""
    open_ended = contract(temp={"type": "number", "missing": True})
    with pytest.raises(data.ContractError) as refused:
        data.check(changed("temp", value, 2), open_ended)
    sentence = str(refused.value)
    assert 'Column "temp": 2 of 2,000 values are not finite 32-bit' in sentence
    assert f"(such as {value})" in sentence
    assert len(data.check(changed("temp", 1e30, 2), open_ended)) == len(ROWS)


@pytest.mark.parametrize(
    ("column", "value"),
    [("distance", "far"), ("scheduled_departure", "soon"), ("late", "maybe")],
)
def test_a_value_of_another_type_is_named(column: str, value: str) -> None:
    with pytest.raises(data.ContractError, match=f"such as {value}"):
        data.check(changed(column, value), CONTRACT)


COMPOSED, DECOMPOSED = "Z\u00fcrich", "Zu\u0308rich"


def test_decomposed_text_is_named_by_its_characters() -> None:
    """Both look the same on a screen."""
    listed = {"type": "category", "missing": False, "categories": [COMPOSED]}
    terms = contract(carrier=listed)
    composed = ROWS.assign(carrier=COMPOSED)
    assert len(data.check(composed, terms)) == len(ROWS)
    with pytest.raises(data.ContractError) as refused:
        data.check(ROWS.assign(carrier=DECOMPOSED), terms)
    sentence = str(refused.value)
    assert r"written as 'Zu\u0308rich', while the contract has 'Z\xfcrich'" in sentence
    assert 'normalize("NFC")' in sentence
    with pytest.raises(data.ContractError) as refused:
        data.check(ROWS.assign(carrier="Bern"), terms)
    assert "NFC" not in str(refused.value), "another value is just another value"


def test_a_decomposed_column_is_named_by_its_characters() -> None:
    frame = ROWS.rename(columns={"temp": DECOMPOSED})
    terms = contract(**{COMPOSED: {"type": "number", "missing": True}})
    del terms.columns["temp"]
    with pytest.raises(data.ContractError) as refused:
        data.check(frame, terms)
    assert r"the data spell it 'Zu\u0308rich'" in str(refused.value)


def test_ids_in_the_index_of_a_table_are_named() -> None:
    """As pandas writes and reads a Parquet file with an index."""
    with pytest.raises(data.ContractError) as refused:
        data.check(ROWS.set_index("flight_id"), CONTRACT)
    assert '"flight_id" is the table\'s index' in str(refused.value)
    assert "reset_index()" in str(refused.value)


@pytest.mark.parametrize("day", ["2099-05-01", "2020-05-25", "9999-05-01"])
@pytest.mark.parametrize("count", [1, 3, 19])
def test_rows_of_the_future_are_named(day: str, count: int) -> None:
    """They move the holdout away from all other rows, which end on 2020-04-29."""
    frame = changed("scheduled_departure", f"{day}T12:00:00Z", count)
    frame["late"] = [number % 2 for number in range(len(frame))]
    typed = data.check(frame, CONTRACT)
    with pytest.raises(data.ContractError) as refused:
        data.split(typed, CONTRACT, DAYS)
    newest = f"row-{count - 1:06}"
    assert f"{count} of 2,000 rows are " in str(refused.value)
    assert f"such as {day} 12:00 of {newest})" in str(refused.value)


def test_rows_after_an_outage_are_no_mistake() -> None:
    """A hundredth of all rows, or a gap that the holdout bridges, is data."""
    for count, days in ((20, 14), (3, 40)):
        frame = changed("scheduled_departure", "2020-05-25T12:00:00Z", count)
        frame["late"] = [number % 2 for number in range(len(frame))]
        typed = data.check(frame, CONTRACT)
        terms = Prepare(split="time", train_days=60, holdout_days=days)
        assert len(data.split(typed, CONTRACT, terms)[1]) >= count


def test_of_few_rows_the_newest_is_named() -> None:
    """Too few to tell a mistake from data: what windows end with is said."""
    frame = changed("scheduled_departure", "2099-05-01T12:00:00Z", 2).head(50)
    frame["late"] = [number % 2 for number in range(len(frame))]
    with pytest.raises(data.ContractError) as refused:
        data.split(data.check(frame, CONTRACT), CONTRACT, DAYS)
    assert "row-000001, is of 2099-05-01 12:00" in str(refused.value)


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
        data.split(ROWS, CONTRACT, prepare({"prepare": {"split": "time", **days}}))


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
