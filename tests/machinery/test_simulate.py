"""Simulated production: rows in order to a real server, labels that come late."""

import csv
import sys
from pathlib import Path

import pandas as pd
import pytest

from machinery import tiny, traffic
from mlgitops.commands import simulate


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with later rows, a contract and a version to serve."""
    tiny.version(tmp_path / "version")
    (tmp_path / "contract.yaml").write_text(tiny.CONTRACT)
    (tmp_path / "example").mkdir()
    rows = traffic.flights(500, 0, 10).drop(columns="probability")
    rows.insert(5, "seat", ["a", None] * 250)
    rows.sample(500, random_state=1).to_parquet(tmp_path / "example" / "later.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def play(
    monkeypatch: pytest.MonkeyPatch, port: int, first: str, last: str, *more: str
) -> None:
    """Run the command."""
    url = f"http://127.0.0.1:{port}"
    span = ["--from", first, "--until", last]
    line = [*span, "--url", url, "--labels", "labels.csv", "--batch", "64", *more]
    monkeypatch.setattr(sys, "argv", ["simulate", *line])
    simulate.main()


def labels() -> dict[str, str]:
    """Return the labels that have come; fails on one that came twice."""
    with Path("labels.csv").open() as file:
        found = [(row["id"], row["late"]) for row in csv.DictReader(file)]
    assert len(found) == len(dict(found))
    return dict(found)


def test_f20_rows_go_out_in_order_and_labels_come_late(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_parquet("example/later.parquet").sort_values("scheduled_departure")
    day = table["scheduled_departure"].dt.day
    log = folder / "log"
    with tiny.server(folder / "version", "--log", str(log)) as (port, process):
        play(monkeypatch, port, "2020-01-01", "2020-01-04")
        assert "2020-01-04  " in capsys.readouterr().out
        assert set(labels()) == set(table[day <= 3]["flight_id"])
        play(monkeypatch, port, "2020-01-05", "2020-01-06")
        assert set(labels()) == set(table[day <= 5]["flight_id"])
        play(monkeypatch, port, "2020-01-05", "2020-01-06")  # again: no label twice
        assert set(labels()) == set(table[day <= 5]["flight_id"])
        play(monkeypatch, port, "2020-01-07", "2020-01-09", "--label-delay", "0")
        assert len(labels()) == int((day <= 9).sum())
        process.terminate()
        process.wait(120)
    sent = [row for row in tiny.logged(log) if row["time"] < "2020-01-05"]
    assert [row["id"] for row in sent] == table[day <= 4]["flight_id"].tolist()
    assert sent[0]["time"] == table["scheduled_departure"].iloc[0].isoformat()
    truth = dict(zip(table["flight_id"], table["late"].astype(str), strict=True))
    assert all(truth[key] == value for key, value in labels().items())


def test_the_chosen_drift_is_sent_and_labelled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_parquet("example/later.parquet").set_index("flight_id")
    drift = ["--drift", "temp=15", "--drift", "carrier=UA", "--drift", "late=1"]
    log = folder / "log"
    with tiny.server(folder / "version", "--log", str(log)) as (port, process):
        play(monkeypatch, port, "2020-01-01", "2020-01-06", *drift)
        with pytest.raises(SystemExit, match="--drift carrier=XX: type a column"):
            play(monkeypatch, port, "2020-01-01", "2020-01-06", "--drift", "carrier=XX")
        process.terminate()
        process.wait(120)
    sent = {row["id"]: row["row"] for row in tiny.logged(log)}
    warmer = [
        row["temp"] - table["temp"][key]
        for key, row in sent.items()
        if row["temp"] is not None
    ]
    assert min(warmer) == pytest.approx(15, abs=1e-3) == pytest.approx(max(warmer))
    share = sum(row["carrier"] == "UA" for row in sent.values()) / len(sent)
    assert share > 0.5
    assert all(int(late) == 1 - table["late"][key] for key, late in labels().items())
    with pytest.raises(SystemExit, match="not a drift"):
        play(monkeypatch, port, "2020-01-01", "2020-01-06", "--drift", "temp")


def test_a_sample_is_sent_and_labelled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = folder / "log"
    with tiny.server(folder / "version", "--log", str(log)) as (port, process):
        play(monkeypatch, port, "2020-01-01", "2020-01-10", "--sample", "40")
        assert "there before" not in capsys.readouterr().out
        play(monkeypatch, port, "2020-01-01", "2020-01-10", "--sample", "40")
        assert f" 0 labels written to labels.csv, {len(labels())} there before" in (
            capsys.readouterr().out
        )
        process.terminate()
        process.wait(120)
    ids = {row["id"] for row in tiny.logged(log)}
    assert len(ids) == 40 and set(labels()) <= ids and len(labels()) > 20


def test_mistakes_are_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate.time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit, match=r"did not answer: .*refused.*make serve"):
        play(monkeypatch, 9, "2020-01-01", "2020-01-04")
    assert not Path("labels.csv").exists()
    with pytest.raises(SystemExit, match="choose days from 2020-01-01 to 2020-01-10"):
        play(monkeypatch, 9, "2021-01-01", "2021-01-04")
    with pytest.raises(SystemExit, match="it must be a day: type FROM=2013-04-01"):
        play(monkeypatch, 9, "", "2021-01-04")
    assert capsys.readouterr().err == ""
    Path("example/later.parquet").unlink()
    with pytest.raises(SystemExit, match="run `make pull`"):
        play(monkeypatch, 9, "2020-01-01", "2020-01-04")


def test_a_refused_row_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny.CONTRACT.replace("distance", "miles")
    (folder / "contract.yaml").write_text(other)
    table = pd.read_parquet("example/later.parquet").rename(
        columns={"distance": "miles"}
    )
    table.to_parquet("example/later.parquet")
    with tiny.server(folder / "version") as (port, _):
        with pytest.raises(SystemExit, match=r"422 .*unknown column"):
            play(monkeypatch, port, "2020-01-01", "2020-01-04")


def test_without_a_time_all_rows_go_out_and_no_day_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server refuses a time that its contract does not have."""
    untimed = tiny.CONTRACT.replace("time: scheduled_departure\n", "")
    Path("contract.yaml").write_text(untimed)
    table = pd.read_parquet("example/later.parquet")
    table.drop(columns="scheduled_departure").to_parquet("example/later.parquet")
    monkeypatch.setattr(tiny, "CONTRACT", untimed)
    tiny.version(folder / "untimed")
    log = folder / "log"
    with tiny.server(folder / "untimed", "--log", str(log)) as (port, process):
        play(monkeypatch, port, "", "")
        timed = {"id": "a", "carrier": "AA", "distance": 1, "time": "2020-01-01"}
        status, body = tiny.call(port, "/predict", {"rows": [timed]})
        with pytest.raises(SystemExit, match="contract.yaml has no time, leave days"):
            play(monkeypatch, port, "2020-01-01", "2020-01-04")
        process.terminate()
        process.wait(120)
    assert status == 422 and "unknown column 'time'; allowed are id, carr" in str(body)
    lines = tiny.logged(log)
    assert [line["id"] for line in lines] == table["flight_id"].tolist()
    assert {line["time"] for line in lines} == {None}
    assert set(labels()) == set(table["flight_id"])
    assert "0 labels still to come" in capsys.readouterr().out
