"""Thresholds that know the window's size: silent without drift, awake with it."""

import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from machinery import rows, traffic
from machinery.traffic import METRIC, MONITOR
from mlgitops import distance
from mlgitops.metrics.binary import roc_auc
from mlgitops.monitor import (
    drift,
    estimate,
    null_distribution,
    performance,
    permutation,
    primary_metric,
    sample,
    season,
    slices,
    window,
)

CONTRACT = rows.small()
WINDOWS = 2000 if os.environ.get("PROOF") else 100


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


# Distances


def test_distances_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=999), rng.normal(0.2, 2, 501).round(1)
    first[::7] = np.nan
    there = first[~np.isnan(first)]
    expected = stats.wasserstein_distance(there, second) / there.std()
    assert distance.wasserstein(first, second) == pytest.approx(expected, rel=1e-12)
    words = np.array(["a", "b", "c", None], dtype=object)
    sides = [words[rng.integers(0, 4, 300)], words[rng.integers(1, 3, 50)]]
    p, q = distance.counts(*sides)
    assert p.sum() == sum(word is not None for word in sides[0])
    assert distance.jensenshannon(p, q) == pytest.approx(jensenshannon(p, q))
    assert distance.jensenshannon(p, p) == pytest.approx(0, abs=1e-7)


def test_a_constant_column_has_a_distance() -> None:
    assert distance.wasserstein(np.ones(9), np.ones(5)) == 0
    assert distance.wasserstein(np.ones(9), np.zeros(5)) == 1000


# Thresholds


def looked(table: pd.DataFrame, **changes: Any) -> drift.Comparison:
    """Compare a window with the reference of the tests."""
    kinds = ("number", "category", "prediction")
    none = {f"min_shift_{kind}": 0.001 for kind in kinds}
    limits = traffic.limits(**none | {"max_missing": 0.0} | changes)
    return drift.compare(table, table["late"], traffic.reference(), limits)


def alarms(found: drift.Comparison) -> bool:
    """Tell whether anything is called drift."""
    others = [found.data_set, found.prediction, found.target]
    every = [*found.columns, *found.missing, *[d for d in others if d is not None]]
    return any(d.detected for d in every)


@pytest.mark.parametrize("size", [50, 300, 2000])
def test_f18_false_alarms_stay_within_the_setting(size: int) -> None:
    """Over all checks together, no floor: drawn windows of the same world."""
    rate, said = 0.05, 0
    for seed in range(WINDOWS):
        table = traffic.flights(size, 60, 14, seed=1000 + seed)
        said += alarms(looked(table, false_alarm_rate=rate))
    # No more than chance allows at the setting, one time in a thousand.
    assert said <= stats.binom.ppf(0.999, WINDOWS, rate)


def test_thresholds_follow_the_size_and_shifts_are_seen() -> None:
    small, large = (traffic.flights(n, 60, 14, seed=9) for n in (100, 3000))
    limits = [
        {d.column: d.threshold for d in looked(t).columns} for t in (small, large)
    ]
    assert all(limits[0][name] > 2 * limits[1][name] for name in limits[0])
    assert alarms(looked(traffic.flights(100, 60, 14, seed=9, warmer=8)))
    assert alarms(looked(traffic.flights(3000, 60, 14, seed=9, warmer=2)))
    assert not alarms(looked(small)) and not alarms(looked(large))


def test_weeks_that_differ_by_themselves_are_no_drift() -> None:
    """Weather lasts: rows drawn one by one call a usual week drift, weeks do not."""
    rng = np.random.default_rng(1)
    week = np.repeat(np.arange(26), 500)
    usual = rng.normal(size=26)
    values = usual[week] + rng.normal(size=len(week)) / 2
    times = pd.date_range("2020-01-01", periods=len(week), freq="20min")
    column = {"temp": null_distribution.bin_numbers(values, 0.001)}
    place, blocks = null_distribution.choose_blocks(times, 7, 7)
    assert blocks == 1 and 24 <= place.max() <= 26
    by_week = null_distribution.thresholds(column, 500, 0.01, place, blocks).columns[
        "temp"
    ]
    by_row = null_distribution.thresholds(column, 500, 0.01).columns["temp"]
    now = rng.normal(size=500) / 2 + 1.0  # a week as there were several
    assert by_row < distance.wasserstein(values, now) < by_week
    assert distance.wasserstein(values, now + 9) > by_week


def weeks(rng: Any, count: int) -> Any:
    """Return values of weeks: mostly alike, and now and then one that is very odd."""
    moods = rng.standard_t(1.5, count)
    values = np.repeat(moods, 50) + rng.normal(size=count * 50)
    values[np.repeat(rng.random(count) < 0.05, 50)] = np.nan  # an outage
    return values


@pytest.mark.parametrize("shift", [0.0, 20.0])
def test_f18_odd_weeks_that_the_reference_has_not_seen_are_no_drift(
    shift: float,
) -> None:
    """Of 15 weeks and 4 more, drawn alike: the rate holds, and a shift is seen."""
    rate, said, by_reference = 0.05, 0, 0
    windows = WINDOWS if WINDOWS > 1000 else 10 if shift else 60
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        values = weeks(rng, 19)
        values[15 * 50 :] += shift
        place = np.repeat(np.arange(19), 50)
        column = {"x": null_distribution.bin_numbers(values, 0.001)}
        found = permutation.compare_choices(column, place, 19, 4, rate, rng)
        pairs = zip(found.observed[:2], found.critical[:2], strict=True)
        said += any(far["x"] >= limit["x"] for far, limit in pairs)
        past, now = values[: 15 * 50], values[15 * 50 :]
        if seed < 20:
            known = {"x": null_distribution.bin_numbers(past, 0.001)}
            drawn = null_distribution.thresholds(
                known, len(now), rate, place[: len(past)], 4
            )
            far = distance.wasserstein(past, now)
            gone = abs(np.isnan(past).mean() - np.isnan(now).mean())
            by_reference += far >= drawn.columns["x"] or gone >= drawn.missing["x"]
    if shift:
        assert said > windows / 2
    else:
        assert said <= stats.binom.ppf(0.999, windows, rate)
        assert by_reference > 20 * rate * 3, "the reference alone cries wolf"


def test_what_is_called_drift_holds_against_other_weeks() -> None:
    """An outage of a day is nobody's drift, a summer is; both after weeks of calm."""
    table = traffic.flights(2000, 60, 28, seed=3)
    day = (table["scheduled_departure"] - traffic.START).dt.days
    outage = table.assign(temp=table["temp"].where(day != 70))
    weekly = {"block_days": 7}
    row_by_row, by_week = looked(outage), looked(outage, **weekly)
    gone = [d.column for d in row_by_row.missing if d.detected]
    assert gone == ["temp"]
    assert not any(d.detected for d in by_week.missing)
    summer = looked(table.assign(temp=table["temp"] + 5), **weekly)
    assert [d.column for d in summer.columns if d.detected] == ["temp"]


def test_blocks_are_days_where_weeks_are_too_few() -> None:
    days = pd.date_range("2020-01-01", periods=56 * 4, freq="6h")
    past, now = days[: 28 * 4], days[28 * 4 :]
    found = permutation.choose_blocks(past, now, 7, 0.05)  # 70 choices of 4 of 8
    assert found and found.window == 4
    found = permutation.choose_blocks(past, now, 7, 0.005)
    assert found and found.window == 28
    assert permutation.choose_blocks(past, now, 0, 0.005) is None
    assert permutation.choose_blocks(past[:4], now[:4], 7, 0.005) is None


def test_the_interval_of_a_fall_knows_that_days_differ() -> None:
    """Days on which the model does well or badly are no news; a lasting fall is."""
    rng = np.random.default_rng(4)

    def side(days: int, strength: float, mood: float) -> pd.DataFrame:
        day = np.repeat(np.arange(days), 200)
        p = rng.random(len(day))
        pull = strength + mood * rng.normal(size=days)[day]
        y = rng.random(len(day)) < 0.5 + pull * (p - 0.5)
        when = traffic.START + pd.to_timedelta(day, unit="D")
        return pd.DataFrame({"probability": p, "late": y.astype(int), "time": when})

    def half(strength: float, mood: float) -> tuple[float, float, float]:
        past, now = side(14, 0.6, mood), side(28, strength, mood)
        blocks = permutation.choose_blocks(past["time"], now["time"], 7, 0.0025)
        narrow = performance.fall(now, past, METRIC, 0.995)
        wide = performance.fall(now, past, METRIC, 0.995, blocks)
        assert wide[:3] == narrow[:3]
        return narrow.high - narrow.low, wide.high - wide.low, wide.high

    narrow, wide, _ = half(0.6, 0.4)
    assert wide > 2 * narrow
    assert half(0.6, 0.0)[1] < 2 * half(0.6, 0.0)[0]
    assert half(0.1, 0.0)[2] < -0.02


def test_short_references_are_drawn_by_day_and_then_by_row() -> None:
    days = pd.date_range("2020-01-01", periods=240, freq="1h")  # ten days
    place, blocks = null_distribution.choose_blocks(days, 7, 28)
    assert place.max() == 9 and blocks == 28
    assert null_distribution.choose_blocks(days[:100], 7, 28) == (None, 0)
    assert null_distribution.choose_blocks(days, 0, 28) == (None, 0)


def test_a_column_that_matters_speaks_for_the_whole() -> None:
    column = partial(null_distribution.bin_numbers, floor=0.1, weight=0.8)
    other = partial(null_distribution.bin_numbers, floor=0.1, weight=0.05)
    columns = {"much": column, "little": other}
    assert null_distribution.data_set_distance(
        {"much": 0.3, "little": 0}, columns
    ) == pytest.approx(2.4)
    assert null_distribution.data_set_distance(
        {"much": 0, "little": 0.3}, columns
    ) == pytest.approx(0.15)


def test_thresholds_are_kept_per_version_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = traffic.flights(500, 60, 14, seed=3)
    first = looked(table)
    monkeypatch.setattr(null_distribution, "thresholds", None)  # calling it would raise
    assert looked(table).columns == first.columns
    with pytest.raises(TypeError):
        looked(table.head(400))
    with pytest.raises(TypeError):
        looked(table, false_alarm_rate=0.02)


def test_a_drift_of_one_part_of_the_window_is_not_confirmed() -> None:
    calm = traffic.flights(2000, 60, 14, seed=4)
    storm = calm.assign(temp=calm["temp"].where(calm.index > 500, 90).astype("float32"))
    lasting = calm.assign(temp=calm["temp"] + 20)
    known = traffic.reference()
    for table, parts, expected in [
        (storm, 2, False),
        (storm, 1, True),
        (lasting, 2, True),
        (lasting, 4, True),
    ]:
        found = looked(table)
        assert {d.column for d in found.columns if d.detected} == {"temp"}
        assert drift.confirmed(found, table, known, parts) is expected


def test_a_part_is_asked_for_what_the_reference_alone_allows() -> None:
    """It is too short to stand against other choices of as many weeks."""
    table = traffic.flights(2000, 60, 28, seed=3)
    warmer = np.where(table.index < 1000, 4.0, 7.0)
    table = table.assign(temp=(table["temp"] + warmer).astype("float32"))
    found = looked(table)
    (moved,) = [d for d in found.columns if d.detected]
    raised = moved._replace(threshold=moved.distance * 0.99)
    found.columns = [raised]
    assert drift.confirmed(found, table, traffic.reference(), 2)
    found.part_thresholds = {}
    assert not drift.confirmed(found, table, traffic.reference(), 2)


def test_a_year_of_reference_is_compared_with_the_same_season() -> None:
    year = traffic.flights(8000, 0, 400, seed=6)
    ask = (CONTRACT, traffic.limits(min_rows=300))
    july = traffic.START + pd.Timedelta(days=547)  # the year after
    found, words = season.same_season(year, july, july + pd.Timedelta(days=28), *ask)
    assert "same season" in words
    assert set(found["scheduled_departure"].dt.month) == {6, 7, 8}
    january = traffic.START + pd.Timedelta(days=731)
    found, _ = season.same_season(year, january, january + pd.Timedelta(days=1), *ask)
    assert set(found["scheduled_departure"].dt.month) <= {12, 1}
    half = year[year["scheduled_departure"].dt.month <= 6].head(3000)
    assert season.same_season(half, july, july, *ask) == (half, season.ALL)


# Before and after labels


def test_the_estimate_is_what_labels_would_show() -> None:
    rng = np.random.default_rng(2)
    p = rng.beta(1, 3, 4000).round(2)
    drawn = [roc_auc(rng.random(4000) < p, p) for _ in range(30)]
    assert primary_metric.expected_auc(p) == pytest.approx(np.mean(drawn), abs=0.004)
    assert primary_metric.expected_auc([0.5] * 10) == pytest.approx(0.5)
    assert primary_metric.expected_auc([0.0, 1.0]) == 1
    assert primary_metric.expected_auc([0.0, 0.0]) is None
    truth = rng.random(4000) < p
    assert estimate.estimate(p, p, truth, METRIC) is not None
    assert estimate.estimate(p, p**3, truth, METRIC) is None  # says less than comes


def test_the_worst_slice_is_found_and_small_groups_are_not_shown() -> None:
    table = traffic.flights(4000, 80, 28)
    wrong = (table["carrier"] == "UA") & (table.index % 2 == 0)
    table.loc[wrong, "probability"] = 1 - table.loc[wrong, "probability"]
    holdout = traffic.reference().holdout
    found = slices.slices(table, holdout, CONTRACT, 30, 0.99, METRIC)
    assert found[0].value == "UA" and found[0].high < 0
    assert all(piece.low < 0 < piece.high for piece in found[1:])
    ids = table["flight_id"].tolist()
    known = {"sex": {key: "f" if n < 20 else "m" for n, key in enumerate(ids[:500])}}
    groups = slices.sensitive_groups(table, known, CONTRACT, 0.5, 30)
    assert [(group.value, group.rows) for group in groups] == [("m", 480)]


# Long logs


def test_a_long_log_is_counted_exactly_and_drawn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(4):
        table = traffic.flights(5000, 10 * day, 10, seed=day)
        traffic.write(tmp_path / "log", table)
        place = tmp_path / "log" / "predictions-2020-01-01.jsonl"
        place.rename(place.with_name(f"predictions-{day}.jsonl"))
    monkeypatch.setattr(sample, "LONG", 1000)
    limits = traffic.limits(3000, probe_rows=1000)
    log = window.read_log(str(tmp_path / "log"), limits, days=10)
    assert log.counts["lines"] == 20_000
    ids = [entry.id for entry in log.entries]
    assert len(ids) == len(set(ids)) == pytest.approx(3000, abs=30)
    assert log.estimated(len(ids)) == pytest.approx(5000, rel=0.1)
    assert {entry.event_time.day for entry in log.entries} >= {1, 5, 9}
    again = window.read_log(str(tmp_path / "log"), limits, days=10)
    assert [entry.id for entry in again.entries] == ids
    limits = replace(limits, window_days=40)
    every = window.read_log(str(tmp_path / "log"), limits)
    assert Counter(e.id.split("-")[0] for e in every.entries) == pytest.approx(
        dict.fromkeys("0123", 750), rel=0.15
    )


def test_the_window_has_its_rows_however_far_the_log_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic.write(tmp_path / "log", traffic.flights(20_000, 0, 40))
    monkeypatch.setattr(sample, "LONG", 1000)
    limits = traffic.limits(1000, probe_rows=1500, window_days=7)
    log = window.read_log(str(tmp_path / "log"), limits, days=40)
    newest, week = max(entry.event_time for entry in log.entries), timedelta(days=7)
    inside = [e for e in log.entries if e.event_time > newest - week]
    assert len(inside) == pytest.approx(1000, rel=0.02) and len(log.entries) < 20_000
    # Of so few, only labels ask for more.
    few = traffic.limits(100, probe_rows=1500, window_days=7)
    for labelled, wanted in ((True, 1500), (False, len(inside) / 10)):
        log = window.read_log(str(tmp_path / "log"), few, 40, labelled)
        seen = [e for e in log.entries if labelled or e.event_time > newest - week]
        assert len(seen) == pytest.approx(wanted, rel=0.1)
    monkeypatch.setattr(window, "MAX_ENTRIES", 2000)  # unless that would be too many
    assert len(window.read_log(str(tmp_path / "log"), limits, days=40).entries) == 2000


def test_a_short_file_is_read_to_its_end_and_then_it_ends(tmp_path: Path) -> None:
    place = tmp_path / "predictions-1.jsonl"
    place.write_text("\n".join(["a" * 5000, "b" * 9000, "c" * 7000]))
    files = sample.partitions(str(tmp_path), "*.jsonl")
    scan = sample.scan(files)
    assert sorted(map(len, sample.draw(scan.stretches))) == [5000, 7000, 9000]
    assert scan.lines == 2 and scan.too_long == 0


def test_a_long_table_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = traffic.flights(5000, 0, 20)
    whole.to_parquet(tmp_path / "train.parquet", index=False, row_group_size=700)
    every = sample.table(tmp_path / "train.parquet")
    pd.testing.assert_frame_equal(every, pd.read_parquet(tmp_path / "train.parquet"))
    monkeypatch.setattr(sample, "BATCH", 300)
    some = sample.table(tmp_path / "train.parquet", 1000)
    assert len(some) == 1000 and (some.dtypes == every.dtypes).all()
    again = sample.table(tmp_path / "train.parquet", 1000)
    pd.testing.assert_frame_equal(some, again)
    kept = every[every["flight_id"].isin(some["flight_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, kept)
    assert some["scheduled_departure"].dt.day.nunique() == 20


def test_memory_is_bounded_while_a_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic.write(tmp_path / "log", traffic.flights(4000, 0, 20))
    monkeypatch.setattr(window, "MAX_ENTRIES", 1000)
    log = window.read_log(f"file://{tmp_path}/log", MONITOR)
    assert 400 < len(log.entries) <= 1000 and log.counts["lines"] == 4000
    assert log.estimated(len(log.entries)) == pytest.approx(4000, rel=0.1)


def test_the_sample_follows_from_the_precision() -> None:
    rows = [traffic.limits(sample_precision=p).sample_rows for p in (0.01, 0.02)]
    assert rows == [26_492, 6_623]
