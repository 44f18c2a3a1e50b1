"""What was answered and not logged: the monitor says so, or stops where it is much."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from machinery import traffic
from machinery.test_monitor_history import run
from machinery.traffic import MONITOR, PARAMS, SHA
from mlgitops.monitor import decide, inspect, page, record, timeline
from mlgitops.monitor.decide import Decision
from mlgitops.monitor.window import read_log, read_unlogged
from mlgitops.prediction_log import UNLOGGED, Unlogged, file_name, parse_unlogged

LOGGED_AT = datetime(2031, 1, 1, tzinfo=UTC)  # of every row of `traffic`
NAME = "answered but not logged"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return the folder of a log with 3,000 rows."""
    folder = tmp_path / "log"
    traffic.write(folder, traffic.flights(3000, 80, 28))
    return folder


def lose(folder: Path, rows: int, hours: float = 1, day: str = "2031-01-01") -> None:
    """Count lost rows as a server does, so many hours after the rows' arrival."""
    until = LOGGED_AT + timedelta(hours=hours)
    line = Unlogged(rows, until - timedelta(minutes=5), until).line()
    with (folder / file_name(day, UNLOGGED)).open("a") as file:
        file.write(f"{line}\n")


def judge(source: Path | str) -> tuple[Decision, record.Record]:
    """Look at a log and decide."""
    read = read_log(str(source), MONITOR, days=120)
    found = inspect.inspect(traffic.reference(), read, None, PARAMS)
    decision = decide.decide(found.evidence, MONITOR)
    return decision, record.build("v1", SHA, found, decision, MONITOR)


def check(made: record.Record) -> record.Check | None:
    """Return the check, where there is one."""
    return next((c for c in made["checks"] if c["name"] == NAME), None)


def test_without_a_loss_nothing_is_said(log: Path) -> None:
    decision, made = judge(log)
    assert decision.decision == "none" and check(made) is None
    assert made["window"]["unlogged"] == 0 and "not logged" not in page.page(made, "")
    assert "not logged" not in timeline.index([made], [])


def test_what_was_lost_is_in_the_report_and_in_the_history(log: Path) -> None:
    lose(log, 8)
    lose(log, 4, hours=30, day="2031-01-02")
    decision, made = judge(log)
    found = check(made)
    assert decision.decision == "none" and found is not None and found["passed"]
    assert found["value"].startswith(
        "12 of 3,012 rows (0.4%), between 2031-01-01T00:55"
    )
    assert found["value"].endswith("2031-01-02T06:00")
    assert made["window"]["unlogged"] == 12
    assert NAME in page.page(made, "") and NAME in page.markdown(made)
    older = run(1)  # from before there was this number
    assert "not logged 12" in timeline.index([older, made], [])


def test_above_the_setting_the_data_is_not_believed(log: Path) -> None:
    lose(log, 200)
    decision, made = judge(log)
    assert decision.decision == "stop"
    assert "200 of 3,200 answered rows (6.2%) are not in the prediction log" in (
        decision.sentence
    )
    found = check(made)
    assert found is not None and found["passed"] is False


def test_a_log_without_rows_says_what_it_lacks(log: Path) -> None:
    """A disk that was full all the time; a few rows are no verdict on a log."""
    (log / file_name("2020-01-01")).write_text("")
    lose(log, 20)
    decision, made = judge(log)
    found = check(made)
    assert decision.decision == "not enough data" and found is not None
    assert found["value"].startswith("20 of 20 rows (100.0%)")
    lose(log, 5000)
    assert judge(log)[0].decision == "stop"


def test_what_was_lost_before_the_window_is_not_of_it(log: Path) -> None:
    lose(log, 500, hours=-1)
    decision, made = judge(log)
    assert decision.decision == "none" and check(made) is None


def test_an_old_loss_says_nothing_of_a_version_that_has_no_rows_yet(log: Path) -> None:
    lose(log, 900, hours=-10_000)
    assert inspect._unlogged(read_log(str(log), MONITOR, days=120), []) is None
    lose(log, 9, hours=1)
    found = inspect._unlogged(read_log(str(log), MONITOR, days=120), [])
    assert found is not None and found.rows == 9


def test_the_counts_lie_beside_the_log_wherever_it_is(log: Path) -> None:
    lose(log, 7)
    for source in (log, log / file_name("2020-01-01"), f"file://{log}"):
        (count,) = read_unlogged(str(source))
        assert count.rows == 7
    (count,) = read_unlogged(f"file://{log}/{file_name('2020-01-01')}")
    assert count.rows == 7


def test_many_counts_take_no_room_and_odd_ones_are_none(log: Path) -> None:
    for number in range(5000):
        lose(log, 1, hours=number / 3600)
    path = log / file_name("2031-01-01", UNLOGGED)
    odd = ["[]", "{}", "7", "\0", '{"rows":"7"}', "[" * 5000, '{"rows":-1}']
    good = json.loads(Unlogged(7, LOGGED_AT, LOGGED_AT).line())
    odd += [json.dumps(good | {"rows": rows}) for rows in (-1, 0, 1.5, True, None)]
    odd += [json.dumps(good | {"since": since}) for since in ("", 7, "0001-01-01")]
    assert all(parse_unlogged(line) is None for line in odd)
    with path.open("a") as file:
        file.write("\n".join(odd) + "\n")
    counts = read_unlogged(str(log))
    assert [count.rows for count in counts] == [3600, 1400]
