"""What the report says of a shadow of the very version that is judged."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import judged, rows, traffic
from machinery.rows import small
from machinery.traffic import SHA
from mlgitops import report, settings
from mlgitops.judge import gates, shadow, verdict
from mlgitops.judge.gates import ShadowRule
from mlgitops.judgement import Shadow
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock
from mlgitops.prediction_log import SHADOW, file_name
from mlgitops.report.sections import SECTIONS

THIS = "b" * 64  # the version that is judged
OTHER = "c" * 64
TABLE = traffic.flights(1500, 0, 28)
BODY = next(section for section in SECTIONS if section.id == "shadow").body
DAY = file_name("2031-01-01")
LIMIT = ShadowRule(max_changed=0.05, min_rows=1000)


def write(folder: Path, table: pd.DataFrame, sha: str = SHA) -> None:
    """Append rows to the file of the day that their lines name."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / DAY).open("a") as file:
        file.writelines(f"{line}\n" for line in traffic.lines(table, sha))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A champion's log, at the address that main's variable names."""
    folder = tmp_path / "log"
    write(folder, TABLE)
    monkeypatch.setenv("PREDICTION_LOG", str(folder))
    return folder


def compare(task: str = "binary") -> Shadow:
    return shadow.compare(THIS, SHA, small(task), 0.95)


def said(found: Shadow) -> str:
    """Return the section of the report on it."""
    judgement = report.Facts(state="ready", verdict="").judgement
    judgement.shadow = found
    return BODY(report.Facts(state="ready", verdict="", judgement=judgement))


def moved(by: float) -> pd.DataFrame:
    """Return the rows with other predictions."""
    return TABLE.assign(probability=np.clip(TABLE["probability"] + by, 0, 1))


def test_without_a_shadow_one_line_says_so(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(compare()) == f"Not known: {shadow.NONE}."
    write(log / SHADOW, TABLE, OTHER)
    assert said(compare()) == f"Not known: {shadow.NONE}.", "another version's"
    monkeypatch.delenv("PREDICTION_LOG")
    assert "PREDICTION" in said(compare())
    monkeypatch.setenv("PREDICTION_LOG", str(log / "away"))
    assert "Not known" in said(compare())
    without = report.Facts(state="ready", verdict="")
    assert BODY(without) == "", "a first version has nothing beside it"


def test_the_same_model_agrees_on_every_request(log: Path) -> None:
    """The negative control: no decision differs, and no prediction moves."""
    write(log / SHADOW, TABLE, THIS)
    found = compare()
    assert (found.rows, found.pairs) == (1500, 1500)
    assert found.changed and found.shift
    assert found.changed.value == found.changed.low == 0 < found.changed.high < 0.01
    assert found.shift.value == found.moved == found.distance == 0
    (passed,) = shadow.checked(found, _rules(LIMIT))
    assert passed.passed and passed.statistic == "upper bound"


def test_what_differs_is_told_with_intervals(log: Path) -> None:
    other = moved(0.2)
    write(log / SHADOW, other[:1200], THIS)
    found = compare()
    p, q = TABLE["probability"][:1200], other["probability"][:1200]
    share = float(((p >= 0.5) != (q >= 0.5)).mean())
    assert (found.rows, found.pairs) == (1500, 1200)
    assert found.changed and found.shift
    assert found.changed.value == pytest.approx(share)
    assert found.changed.low < share < found.changed.high
    assert found.shift.value == pytest.approx(float((q - p).mean()))
    assert found.shift.low < found.shift.value < found.shift.high
    assert found.moved == pytest.approx(float((q - p).abs().mean()))
    text = said(found)
    for part in (f"{share:.2%}", "1,200", "95%", f"{1 - share:.2%}", "Mean shift"):
        assert part in text
    assert "Processor time" not in text, "these lines do not have it"
    (failed,) = shadow.checked(found, _rules(LIMIT))
    assert not failed.passed and failed.value == found.changed.high


def test_no_gate_is_set_by_itself(log: Path) -> None:
    write(log / SHADOW, moved(0.5), THIS)
    assert shadow.checked(compare(), _rules(None)) == []


def test_a_gate_that_is_set_needs_a_shadow(log: Path) -> None:
    (failed,) = shadow.checked(compare(), _rules(LIMIT))
    assert not failed.passed and "--shadow" in failed.reason
    write(log / SHADOW, TABLE[:999], THIS)
    (failed,) = shadow.checked(compare(), _rules(LIMIT))
    assert not failed.passed and failed.value == 999


def test_a_gate_on_decisions_is_refused_for_numbers() -> None:
    for task in ("binary", "regression"):
        params = judged.params(["price"], task)
        params["gates"]["shadow"] = {"max_changed": 0.1}
        if task == "binary":
            assert gates.parse(params, task).rules.shadow == ShadowRule(0.1)
            continue
        with pytest.raises(settings.SettingsError, match="shadow"):
            gates.parse(params, task)


def test_only_the_champions_answers_are_compared(log: Path) -> None:
    """Golden rows, torn lines, and ids of two answers are no pair."""
    write(log / SHADOW, moved(0.1), THIS)
    before = compare()
    write(log, TABLE.assign(flight_id="x" + TABLE["flight_id"]), OTHER)
    with (log / SHADOW / DAY).open("a") as file:
        file.write(f'{{"manifest_sha256": "{THIS}", "id": \n\xff {THIS}\n')
    golden = TABLE[:1].assign(flight_id="golden-0", scheduled_departure=pd.NaT)
    lines = [line.replace('"NaT"', "null") for line in traffic.lines(golden, THIS)]
    for folder in (log, log / SHADOW):
        with (folder / file_name("2031-01-02")).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
    assert compare() == before
    write(log, moved(0.3)[:10])
    assert compare().pairs == before.pairs - 10, "which answer was it?"
    write(log, TABLE[20:30])
    assert compare().pairs == before.pairs - 10, "asked again, answered the same"


def test_few_rows_say_nothing(log: Path) -> None:
    write(log / SHADOW, TABLE[:29], THIS)
    assert "29 of them" in said(compare()) and "30" in said(compare())


def test_only_the_newest_are_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded by rows, and the champion's older days are not opened."""
    monkeypatch.setattr(shadow, "LIMIT", 100)
    write(log / SHADOW, TABLE, THIS)
    assert compare().pairs == 100
    monkeypatch.setattr(shadow, "SCAN", 50)
    found = compare()
    assert found.pairs == 50 and "Only 50 lines" in said(found)
    monkeypatch.setattr(shadow, "SCAN", 3_000)
    for day in ("2030-12-31", "2030-12-30", "2030-12-29"):
        (log / file_name(day)).write_text("torn\n")
    read: list[str] = []
    files = shadow.files

    def noted(*where: Any, **order: Any) -> Any:
        for name, lines in files(*where, **order):
            read.append(name.partition("-")[2][:10])
            yield name, lines

    monkeypatch.setattr(shadow, "files", noted)
    found = compare()
    assert found.pairs == 100 and "lines of a log" not in said(found)
    assert read == ["2031-01-01", "2031-01-01", "2030-12-31", "2030-12-30"]


def test_classes_and_numbers_have_their_own_rows(log: Path) -> None:
    (log / DAY).unlink()
    fields = {"time": None, "logged_at": "2031-01-01T00:00:00+00:00", "row": {}}
    champion, other = {"none": 0.5, "some": 0.3, "much": 0.2}, {"much": 0.4}
    (log / SHADOW).mkdir()
    for folder, sha, p, name, value in (
        (log, SHA, champion, "none", 1.0),
        (log / SHADOW, THIS, {**other, "none": 0.3, "some": 0.3}, "much", 3.0),
    ):
        each = {**fields, "manifest_sha256": sha, "cpu_ms": 0.25}
        lines = [
            {**each, "id": f"c{n}", "probabilities": p, "class": name}
            for n in range(40)
        ] + [{**each, "id": f"n{n}", "value": value + n} for n in range(40)]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / DAY).write_text(text)
    classes, numbers = compare("multiclass"), compare("regression")
    assert classes.pairs == numbers.pairs == 40
    assert classes.changed and classes.changed.value == 1
    assert classes.of in ("none", "much") and classes.moved == pytest.approx(0.2)
    assert numbers.changed is None and numbers.moved == 2
    assert "decision" not in said(numbers)
    assert "median 0.25 ms" in said(numbers)


def test_rows_of_one_entity_count_as_one(log: Path) -> None:
    """Their decisions hang together, so that the interval is wider."""
    write(log / SHADOW, moved(0.2), THIS)
    alone = compare()
    terms = small()
    by_carrier = type(terms)(**{**vars(terms), "entity": "carrier"})
    grouped = shadow.compare(THIS, SHA, by_carrier, 0.95)
    assert alone.shift and grouped.shift and grouped.entity == "carrier"
    widths = [s.high - s.low for s in (alone.shift, grouped.shift)]
    assert widths[1] > widths[0] and "by carrier" in said(grouped)


def test_a_few_entities_that_agree_prove_little(log: Path) -> None:
    """However many rows they have: the gate needs others as well."""
    write(log / SHADOW, TABLE, THIS)
    terms = small()
    by_carrier = type(terms)(**{**vars(terms), "entity": "carrier"})
    found = shadow.compare(THIS, SHA, by_carrier, 0.95)
    carriers = TABLE["carrier"].nunique()
    assert found.changed and found.changed.value == 0
    assert found.changed.high == pytest.approx(1 - 0.025 ** (1 / carriers))
    (failed,) = shadow.checked(found, _rules(LIMIT))
    assert not failed.passed


def test_no_number_is_without_end_where_all_rows_are_one_entitys(log: Path) -> None:
    """The ledger is JSON, which has no word for infinity."""
    one = TABLE[TABLE["carrier"] == TABLE["carrier"].iloc[0]]
    write(log / SHADOW, one, THIS)
    terms = small()
    by_carrier = type(terms)(**{**vars(terms), "entity": "carrier"})
    result = shadow.compare(THIS, SHA, by_carrier, 0.95)
    assert result.pairs and result.shift is None
    json.dumps(msgspec.to_builtins(result), allow_nan=False)


def _rules(rule: ShadowRule | None) -> gates.Rules:
    """Return rules with a gate on a shadow, or none."""
    params = judged.params(["price"])
    found = gates.parse(params, "binary").rules
    return type(found)(**{**vars(found), "shadow": rule})


def test_the_judges_child_cannot_say_what_a_shadow_found(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read beside the child, by main's contract, log and gates."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.yaml").write_text(rows.SMALL)
    params = judged.params(["price"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    write(log / SHADOW, TABLE, THIS)
    lock = Lock("", ())
    case = verdict.Case(tmp_path, lock, lambda path: None, {}, Ledger())
    case.manifest_sha256, lie = THIS, Shadow(rows=7, pairs=7)
    case.judgement.shadow = lie
    verdict._add_shadow(case)
    assert case.judgement.shadow is None, "no champion"
    case.champion, case.judgement.shadow = {"manifest_sha256": SHA}, lie
    verdict._add_shadow(case)
    assert case.judgement.shadow == compare() and case.checks == []
    params["gates"]["shadow"] = {"max_changed": 0.001}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    verdict._add_shadow(case)
    assert [check.id for check in case.checks] == ["shadow"]
    assert not case.passed, "0.25 % of the decisions may differ"
