"""A canary that is worse is taken back, a good one stays, and the ledger says so."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import traffic
from machinery.traffic import MONITOR, PARAMS, SHA
from machinery.world import World, world
from mlgitops import settings
from mlgitops.commands import monitor as command
from mlgitops.ledger import Ledger
from mlgitops.monitor import canary as comparison
from mlgitops.monitor import decide, inspect, page, performance, primary_metric, record
from mlgitops.monitor.window import read_log
from mlgitops.prediction_log import Entry
from mlgitops.release import Record, canary

ROOT = Path.cwd()
TRIED = "c" * 64  # the canary's manifest
TABLE = traffic.flights(12_000, 80, 28)
CHOSEN = np.random.default_rng(3).random(len(TABLE)) < 0.2


def judge(
    tmp_path: Path,
    probability: pd.Series,
    labelled: bool = True,
    table: pd.DataFrame = TABLE,
    other: pd.DataFrame | None = None,
) -> Record:
    """Return the record of a window in which a canary answered a fifth of the rows."""
    log = tmp_path / "log"
    traffic.write(log, table[~CHOSEN], beside=TRIED)
    if other is not None:  # the champion's answers of which the canary could have none
        traffic.write(log, other)
    traffic.write(log, table.assign(probability=probability)[CHOSEN], TRIED)
    labels = traffic.label(tmp_path / "labels.csv", table) if labelled else None
    if other is not None:
        traffic.label(tmp_path / "labels.csv", other)
    read = read_log(str(log), MONITOR, days=120)
    params = PARAMS | {"gates": {"brier": {"max": 0.16}}}
    tried = comparison.Canary(TRIED)
    found = inspect.inspect(traffic.reference(), read, labels, params, tried)
    decision = decide.decide(found.evidence, MONITOR)
    made = record.build("v1", SHA, found, decision, MONITOR)
    return dict(json.loads(json.dumps(made)))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


def test_a_good_canary_stays(tmp_path: Path) -> None:
    """The negative control: the same model, and the champion's window is its own."""
    made = judge(tmp_path, TABLE["probability"])
    found = made["canary"]
    assert found["take_back"] == "" and found["rows"] == int(CHOSEN.sum())
    assert found["champion_rows"] == made["window"]["rows"] == int((~CHOSEN).sum())
    assert found["low"] < 0 < found["high"]
    assert made["decision"] == "none" and "no reason to" in page.page(made, "")


def test_answers_that_it_could_not_have_are_not_held_against_it(tmp_path: Path) -> None:
    """The champion also answers rows that are far easier, as Arrow bodies, say."""
    names = [f"bulk-{n}" for n in range(len(TABLE))]
    easy = TABLE.assign(flight_id=names, probability=0.02 + 0.96 * TABLE["late"])
    found = judge(tmp_path, TABLE["probability"], other=easy)["canary"]
    assert found["take_back"] == "" and found["champion_rows"] == int((~CHOSEN).sum())


def test_a_bad_canary_is_taken_back(tmp_path: Path) -> None:
    made = judge(tmp_path, 1 - TABLE["probability"])
    assert made["canary"]["take_back"].startswith("ROC AUC is 0.1")
    assert made["decision"] == "none"  # the champion is as it was
    for text in (page.page(made, ""), page.markdown(made)):
        assert "Canary" in text and "taken back" in text


def test_one_that_ranks_well_and_misstates_is_taken_back(tmp_path: Path) -> None:
    """The area is the same: a gate on another metric sees it."""
    made = judge(tmp_path, TABLE["probability"] ** 6)
    assert made["canary"]["take_back"].startswith("Brier score is")


def test_without_labels_nothing_is_taken_back(tmp_path: Path) -> None:
    made = judge(tmp_path, 1 - TABLE["probability"], labelled=False)
    assert made["canary"]["take_back"] == ""
    assert "both need 500" in made["canary"]["unmeasured"]
    assert "not known" in page.page(made, "")


def test_a_broken_window_keeps_no_bad_canary(tmp_path: Path) -> None:
    """Whatever the champion's own rows say, those of both are compared."""
    emptied = TABLE.assign(temp=np.nan)
    made = judge(tmp_path, 1 - TABLE["probability"], table=emptied)
    assert made["decision"] == "stop"
    assert made["canary"]["take_back"].startswith("ROC AUC is 0.1")


def test_the_champion_is_compared_while_the_canary_answers() -> None:
    """Rows after its last one are of another time."""
    times = [f"2026-01-01T0{hour}:00:00+00:00" for hour in range(6)]
    entries = [
        Entry(f"{n}", None, TRIED if n in (1, 3) else SHA, None, 0.5, None, time, {})
        for n, time in enumerate(times)
    ]
    for entry in entries:
        entry.beside = TRIED if entry.manifest_sha256 == SHA else None
    reference = traffic.reference()
    metric = primary_metric.of(reference.contract, reference.holdout)
    terms = ({}, reference.contract, metric, [], MONITOR)
    tried = comparison.Canary(TRIED)
    found = comparison.compare(entries, SHA, tried, *terms)
    assert (found.rows, found.champion_rows, found.missed) == (2, 1, 0)
    tried = comparison.Canary(TRIED, share=1.0)
    found = comparison.compare(entries, SHA, tried, *terms)
    assert found.missed == 1  # of its share, and not its answer
    facts = comparison.rows(found.record())
    assert any("1 of 3 rows" in value for _, value, _ in facts)


def test_many_looks_raise_no_more_alarms_than_one(tmp_path: Path) -> None:
    """The interval grows with each look, and no sum of the chances passes the rate."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    record = {"manifest_sha256": TRIED, "share": 0.2, "since": begun.isoformat()}
    hours = [0, 2.9, 3, 24, -1]
    looks = [comparison.Canary.of(record, begun + timedelta(hours=h)) for h in hours]
    assert [found.look for found in looks] == [1, 1, 2, 9, 1]
    reference, rate = traffic.reference(), MONITOR.false_alarm_rate
    metric = primary_metric.of(reference.contract, reference.holdout)
    traffic.write(tmp_path / "log", TABLE[~CHOSEN][:2_000], beside=TRIED)
    traffic.write(tmp_path / "log", TABLE[CHOSEN][:2_000], TRIED)
    entries = read_log(str(tmp_path / "log"), MONITOR, days=120).entries
    labels = {str(row.flight_id): row.late for row in TABLE.itertuples()}
    terms = (labels, reference.contract, metric, [], MONITOR)
    spent = []
    for look in range(1, 40):
        tried = comparison.Canary(TRIED, look=look)
        fall = comparison.compare(entries, SHA, tried, *terms).fall
        assert fall is not None
        spent.append((1 - fall.confidence) / 2)
    assert spent == sorted(spent, reverse=True)
    assert rate * performance.PERFORMANCE * 0.97 < sum(spent)
    assert sum(spent) < rate * performance.PERFORMANCE


def test_the_schedule_is_that_of_the_looks() -> None:
    """The number of a look follows from the hours between two."""
    text = Path(ROOT, ".github/workflows/monitor.yml").read_text()
    assert f'cron: "53 */{comparison.LOOK_HOURS} * * *"' in text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository whose production waits for a person."""
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "true")
    with world(tmp_path, monkeypatch) as made:
        made.through("staging", "production")
        champion = release(environment="production") | {"manifest_sha256": SHA}
        ledger = Ledger()
        ledger.append({"environments/production/release.json": champion}, "champion")
        yield made


def rules(canary: bool = True) -> None:
    """Set or remove the one setting, in the working tree."""
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text())
    params["deploy"].pop("canary", None)
    if canary:
        params["deploy"]["canary"] = {"share": 0.2, "hours": 24}
    path.write_text(yaml.safe_dump(params))


def state() -> object:
    """Return the state of production's canary."""
    return (Ledger().read(canary.FILE) or {}).get("state")


def release(state: str = "active", environment: str = "staging") -> Record:
    """Return a release of an environment, as a deployment ends with it."""
    return {
        "environment": environment,
        "state": state,
        "tag": "flights@v1.1.0",
        "version": "v1.1.0",
        "manifest_sha256": TRIED,
    }


def test_the_ledger_has_its_life(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started after staging, taken back for good, every state kept."""
    ledger = Ledger()
    rules(canary=False)
    canary.follow(ledger, release())
    assert state() is None  # off by default
    rules()
    canary.follow(ledger, release(state="failed"))
    assert state() is None
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "false")
    canary.follow(ledger, release())
    assert state() is None  # production gets it whole, next
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "true")
    canary.follow(ledger, release())
    begun = canary.running(ledger)
    assert begun is not None and begun["share"] == 0.2
    assert (begun["environment"], begun["manifest_sha256"]) == ("production", TRIED)
    champion = ledger.release("production") or {}
    assert champion["manifest_sha256"] == SHA  # nothing else has changed
    assert "worse" in canary.end(ledger, "taken back", "worse")
    assert state() == "taken back" and canary.running(ledger) is None
    canary.follow(ledger, release())
    assert state() == "taken back"  # the same version does not come again
    assert canary.end(ledger, "taken back", "again") == "no canary answers"
    canary.follow(ledger, release() | {"manifest_sha256": "d" * 64})
    assert state() == "running"
    canary.follow(ledger, release(environment="production"))
    assert state() == "replaced"
    history = ledger.paths("environments/production/canaries/")
    states = [(ledger.read(path) or {})["state"] for path in history]
    assert states == ["running", "taken back", "running", "replaced"]


def test_a_look_at_the_canary_alone(
    here: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between two runs of the monitor: it records a canary taken back, or nothing."""
    ledger, outcomes = Ledger(), list[Record]()
    looks = list[str]()

    def examine(*_: Any) -> tuple[Record, str]:
        looks.append("examined")
        return {"decision": "none", "sentence": "-", "canary": outcomes[-1]}, "<html>"

    monkeypatch.setattr(command, "examine", examine)
    monkeypatch.setattr(command.page, "markdown", lambda _: "")
    monkeypatch.setattr(command.history, "publish", lambda *_: looks.append("history"))
    monkeypatch.setattr(sys, "argv", ["monitor", "--canary"])
    monkeypatch.setenv("PREDICTION_LOG", "log")
    command.main()
    assert "No canary" in capsys.readouterr().out and not looks
    rules()
    canary.follow(ledger, release())
    before = len(Ledger().paths())
    for outcome in ({"unmeasured": "50 labels"}, {}):
        outcomes.append(outcome)
        command.main()
        assert state() == "running" and len(Ledger().paths()) == before
    outcomes.append({"take_back": "ROC AUC is 0.5"})
    command.main()
    assert state() == "taken back" and "ROC AUC is 0.5" in capsys.readouterr().out
    assert set(looks) == {"examined"} and not Ledger().paths("monitoring/")
    command.main()
    assert "No canary" in capsys.readouterr().out


def test_who_ends_a_canary_late_ends_no_other(here: World) -> None:
    """A look takes minutes, in which a deployment may end it and begin another."""
    rules()
    late, other = Ledger(), release() | {"manifest_sha256": "d" * 64}
    canary.follow(late, release())
    canary.follow(Ledger(), other)  # while the look goes on
    assert "meanwhile" in canary.end(late, "taken back", "worse")
    found = Ledger().read(canary.FILE) or {}
    assert (found["state"], found["manifest_sha256"]) == ("running", "d" * 64)
    late.refresh()
    assert "another" in canary.end(late, "taken back", "worse", TRIED)
    assert state() == "running"
    assert "worse" in canary.end(late, "taken back", "worse", "d" * 64)
    assert state() == "taken back"


def test_its_hours_end_it(here: World) -> None:
    rules()
    ledger = Ledger()
    canary.follow(ledger, release())
    record = ledger.read(canary.FILE)
    assert record is not None
    name = "environments/production/release.json"
    other = {**(ledger.release("production") or {}), "manifest_sha256": "e" * 64}
    assert canary.running(ledger)
    ledger.append({name: other}, "a rollback")
    assert canary.running(ledger) is None  # it was begun beside another champion
    ledger.append({name: {**other, "manifest_sha256": SHA}}, "and back")
    assert canary.running(ledger)
    past = {**record, "until": "2020-01-01T00:00:00+00:00"}
    ledger.append({canary.FILE: past}, "a clock")
    assert canary.running(ledger)  # its labels may come later
    assert "worse" in canary.end(ledger, "taken back", "worse")


def test_one_that_was_taken_back_never_returns(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after another canary."""
    rules()
    ledger = Ledger()
    canary.follow(ledger, release())
    canary.end(ledger, "taken back", "worse")
    canary.follow(ledger, release() | {"manifest_sha256": "d" * 64})
    capsys.readouterr()
    canary.follow(ledger, release())
    assert (ledger.read(canary.FILE) or {})["manifest_sha256"] == "d" * 64
    assert "taken back" in capsys.readouterr().out


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("action", ["rollback", "revert"])
def test_what_is_taken_back_elsewhere_answers_no_more(
    here: World, environment: str, action: str
) -> None:
    """A rollback before production, or a promotion that did not come up."""
    rules()
    ledger = Ledger()
    canary.follow(ledger, release())
    canary.settle(ledger)
    assert state() == "running"  # nothing has happened to it
    name = f"environments/{environment}/release.json"
    taken = release(environment=environment)
    taken |= {"action": action, "previous": TRIED, "reason": "bad"}
    taken |= {"manifest_sha256": SHA}
    ledger.append({name: taken | {"fault": "host"}}, "its host")
    canary.settle(ledger)
    assert state() == "running"  # the version is not at fault
    ledger.append({name: taken}, "itself")
    canary.settle(ledger)
    assert state() == "taken back"


def test_another_champion_ends_it(here: World) -> None:
    """It does not return with the champion that it was begun beside."""
    rules()
    ledger = Ledger()
    canary.follow(ledger, release())
    other = release(environment="production") | {"manifest_sha256": "e" * 64}
    other |= {"action": "rollback", "previous": SHA, "reason": "bad"}
    ledger.append({"environments/production/release.json": other}, "a rollback")
    canary.settle(ledger)
    assert state() == "replaced"


def test_a_setting_that_does_nothing_says_so(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert canary.unused() == ""
    rules()
    assert canary.unused() == ""
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "")
    assert "PRODUCTION_BY_DISPATCH" in canary.unused()
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text())
    params["deploy"]["environments"] = ["production"]
    path.write_text(yaml.safe_dump(params))
    assert "before production" in canary.unused()


def test_the_setting_is_checked() -> None:
    section = {"environments": ["staging", "production"]}
    for entry in (
        {"share": 0.6, "hours": 1},
        {"share": 0.1},
        {"shar": 0.1, "hours": 1},
    ):
        with pytest.raises(settings.SettingsError):
            settings.deploy({"deploy": section | {"canary": entry}})
    given = settings.deploy(
        {"deploy": section | {"canary": {"share": 0.1, "hours": 2}}}
    )
    assert given.canary == settings.Canary(0.1, 2)
    assert settings.deploy({"deploy": section}).canary is None
