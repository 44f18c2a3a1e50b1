"""Logs and labels that somebody broke on purpose: skipped, counted, bounded."""

import base64
import gzip
import hashlib
import json
import os
import random
import re
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from machinery import rows, traffic
from machinery.test_house import modules
from machinery.test_monitor_tasks import answered, reference
from machinery.traffic import MONITOR, PARAMS, SHA
from mlgitops import prediction_log, production_data
from mlgitops.judge import requests
from mlgitops.monitor import (
    data_quality,
    decide,
    drift,
    evidently_report,
    inspect,
    page,
    record,
    sample,
    slices,
    window,
)
from mlgitops.monitor.evidence import Evidence, SensitiveGroup, Unlisted
from mlgitops.monitor.evidently_report import EvidentlyError
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.window import Log, read_log
from mlgitops.production_data import ProductionDataError, files
from mlgitops.report.document import POLICY, document

CONTRACT = rows.small()
PREDICTION = {"id": "a", "probability": 0.5, "decision": True}
TIME = datetime(2026, 1, 2, tzinfo=UTC)
LINE = prediction_log.line(PREDICTION, TIME, SHA, "v1", TIME.isoformat(), {"temp": 1})
HUGE = 10**400


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


HOSTILE: dict[str, dict[str, Any]] = {
    "a number of 400 digits": {"row": {"temp": HUGE}},
    "a probability of 400 digits": {"probability": HUGE},
    "a value of 400 digits": {"value": -HUGE},
    "half a character in a category": {"row": {"carrier": "\ud800"}},
    "half a character in an id": {"id": "x\udfff"},
    "half a character in a name": {"row": {"\ud800": 1}},
    "a list in a row": {"row": {"temp": [1]}},
    "an object in a row": {"row": {"temp": {"a": 1}}},
    "the year 1": {"time": "0001-01-01T00:00:00"},
    "the year 9999": {"time": "9999-12-31T23:59:59-23:59"},
    "no time": {"time": [1]},
    "classes that are empty": {"probabilities": {}, "probability": None},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_line_is_no_entry(kind: str) -> None:
    assert prediction_log.parse(json.dumps(LINE)) is not None
    assert prediction_log.parse(json.dumps({**LINE, **HOSTILE[kind]})) is None


def test_a_whole_character_of_two_halves_is_one() -> None:
    entry = prediction_log.parse(json.dumps({**LINE, "row": {"carrier": "\U0001f600"}}))
    assert entry is not None and entry.row["carrier"] == "\U0001f600"


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_f19_a_window_with_every_kind_of_hostile_line_has_its_verdict(
    task: str, tmp_path: Path
) -> None:
    """From the log to the page; what is odd is counted."""
    classes = rows.small(task).classes
    if task == "binary":
        known, table = traffic.reference(), traffic.flights(3000, 80, 28)
        good = [json.loads(line) for line in traffic.lines(table)]
    else:
        known, table = reference(task), answered(task, 3000, 80, 28, 3)
        good = [json.loads(s) for s in traffic.lines(table.assign(probability=0.5))]
        for line, row in zip(good, table.to_dict("records"), strict=True):
            del line["probability"], line["decision"]
            if task == "regression":
                line["value"] = row["value"]
            else:
                pairs = zip(classes, row["probabilities"], strict=True)
                line["probabilities"] = {n: float(p) for n, p in pairs}
    odd = [{**good[n], "id": str(n), **c} for n, c in enumerate(HOSTILE.values())]
    odd += [{**LINE, "time": good[0]["time"], "id": "of another task", "value": 7.5}]
    odd += [{**LINE, "time": good[0]["time"], "id": "classes", "probabilities": [1.0]}]
    text = "\n".join(map(json.dumps, [*odd, *good]))
    (tmp_path / "predictions-1.jsonl").write_text(text + "\n\0\0\n[[[[\n")
    (tmp_path / "predictions-2.jsonl").mkdir()
    log = read_log(str(tmp_path), MONITOR, days=120)
    params = {**PARAMS, "train": rows.settings(task)}
    found = inspect.inspect(known, log, None, params)
    decision = decide.decide(found.evidence, MONITOR)
    assert decision.decision in ("none", "watch")
    made = record.build("v1", SHA, found, decision, MONITOR)
    json.dumps(made, allow_nan=False).encode()
    page.page(made, "").encode()
    assert found.evidence.rows >= 3000 and log.counts["corrupt"] >= 10


def test_a_log_of_the_year_1_has_no_rows(tmp_path: Path) -> None:
    """Time cannot be counted back from there."""
    lines = [{**LINE, "id": str(n), "time": "0001-01-02T00:00:00"} for n in range(9)]
    (tmp_path / "predictions-1.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ProductionDataError, match="9 of 9 lines"):
        read_log(str(tmp_path), MONITOR, days=120)


def test_a_folder_with_the_name_of_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "predictions-2020-01-01.jsonl").mkdir()
    (tmp_path / "labels.csv").mkdir()
    for source in (str(tmp_path), f"file://{tmp_path}"):
        assert list(files(source, prediction_log.PATTERN)) == []
        assert read_log(source, MONITOR).entries == []
        assert list(files(source, "*.csv")) == []


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "predictions-1.jsonl.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(ProductionDataError, match=r"predictions-1.jsonl.gz cannot be"):
        read_log(str(tmp_path), MONITOR)


def long_line(place: Path, size: int, good: list[str]) -> None:
    """Write a file with a line of so many bytes amid good ones."""
    half = len(good) // 2
    with place.open("wb") as file:
        file.writelines(line.encode() + b"\n" for line in good[:half])
        file.write(b'{"id":"')
        for _ in range(size // 2**20):
            file.write(b"x" * 2**20)
        file.write(b'"}\n')
        file.writelines(line.encode() + b"\n" for line in good[half:])


@pytest.mark.parametrize("long", [False, True])
def test_a_line_without_an_end_takes_no_memory(
    long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed or drawn from, here or elsewhere; the rows around it are read."""
    good = traffic.lines(traffic.flights(300, 80, 28))
    long_line(tmp_path / "predictions-1.jsonl", 50 * 2**20, good)
    if long:
        monkeypatch.setattr(sample, "LONG", 1000)
        monkeypatch.setattr(sample, "BLOCK", 3 * 2**20)
    started = time.process_time()  # as a busy machine takes its time
    for source in (str(tmp_path), f"file://{tmp_path}"):
        tracemalloc.start()
        log = read_log(source, MONITOR)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        fewest = 250 if long else 300  # a draw ends before it has found every line
        assert len(log.entries) >= fewest and log.counts["corrupt"] == 1
        assert log.counts["lines"] == 301
        assert peak < 20 * 2**20
    assert time.process_time() - started < 20
    entries = list(requests._newest(str(tmp_path)))
    assert len(entries) == 301, "the judge's replay reads the same way"
    assert entries.count(None) == 1


def test_lines_are_counted_whatever_their_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a plain count, with blocks and lines of every length around the limit."""
    monkeypatch.setattr(sample, "LONGEST", 50)
    for block in (50, 64, 101):
        monkeypatch.setattr(sample, "BLOCK", block)
        for lengths in ([10, 49, 50, 51], [200, 3], [3, 200], [500, 500], [49] * 9):
            for ending in ("", "\n"):
                place = tmp_path / "predictions-1.jsonl"
                text = "\n".join(chr(97 + n) * size for n, size in enumerate(lengths))
                place.write_text(text + ending)
                found = sample.scan(sample.partitions(str(tmp_path), "*.jsonl"))
                assert found.lines == (text + ending).count("\n")
                usual = [size for size in lengths if size < 50]
                drawn = [len(line) for line in sample.draw(found.stretches)]
                assert sorted(drawn) == sorted(usual), (block, lengths, ending)
                assert found.too_long == len(lengths) - len(usual)


def test_a_label_field_without_an_end_is_skipped(tmp_path: Path) -> None:
    place = tmp_path / "labels.csv"
    good = "".join(f"{n},1\n" for n in range(100))
    ids = {str(n) for n in range(200)}
    for odd in (f"x,{'1' * 140_000}\n", f"x,{'1' * 3_000_000}\n"):
        place.write_text(f"id,late\n{good}{odd}")
        found = read_labels(str(place), ids, CONTRACT, MONITOR)
        assert len(found.by_id) == 100 and found.counts["corrupt"] == 1
    place.write_text(f'id,late\n{good}x,"1\n' + good)
    with pytest.raises(ProductionDataError, match="corrupt"):
        read_labels(str(place), ids, CONTRACT, MONITOR)
    place.write_text('id,late,why\n1,1,"two\nlines"\n2,0,\n')
    assert read_labels(str(place), ids, CONTRACT, MONITOR).by_id == {"1": 1, "2": 0}
    place.write_text("x" * 200_000)
    with pytest.raises(ProductionDataError, match="has no column"):
        read_labels(str(place), ids, CONTRACT, MONITOR)


def test_a_log_that_was_compressed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As logrotate leaves it; there are no offsets in it to draw from."""
    monkeypatch.setattr(sample, "LONG", 1000)
    lines = traffic.lines(traffic.flights(300, 80, 28))
    with gzip.open(tmp_path / "predictions-1.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    assert len(read_log(str(tmp_path), MONITOR).entries) == 300
    assert production_data.local_files(str(tmp_path), prediction_log.PATTERN)


# Anything

ODD = ["", "0", "-1", "1e999", "nan", "null", "true", "[]", "{}", '"', "\\", "\0", ","]
ODD += ["\n", "\r", ";", "\ufeff", "\ud83d\ude00", "9" * 400, "9" * 5000, "[" * 3000]
ODD += ['"\\ud800"', "0001-01-01", "9999-12-31T23:59:59+00:00", "=1+1", "\x1b[2J"]


def mutated(text: str, rng: random.Random) -> str:
    """Return a text with a few pieces cut out, repeated or replaced."""
    for _ in range(rng.randint(1, 3)):
        first, last = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        last = min(last, first + 30)
        piece = rng.choice([*ODD, text[first:last] * 2, rng.choice(ODD) + ","])
        text = text[:first] + piece + text[last:]
    return text


def test_f19_whatever_a_log_and_labels_hold_there_is_a_verdict_or_a_sentence(
    tmp_path: Path,
) -> None:
    """Seeded mutations of good lines, also of bytes; PROOF=1 tries more of them."""
    rng = random.Random(1)
    table = traffic.flights(1500, 80, 28)
    good = traffic.lines(table)
    rows_ = [
        f"{n},{late}" for n, late in zip(table["flight_id"], table["late"], strict=True)
    ]
    loose = replace(MONITOR, max_corrupt=1, max_broken=1)
    params = {
        **PARAMS,
        "monitor": traffic.SECTION | {"max_corrupt": 1, "max_broken": 1},
    }
    for number in range(100 if os.environ.get("PROOF") else 6):
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = [mutated(line, rng) for line in good] + good
        text = "\n".join(lines).encode("utf-8", "surrogatepass")
        noise = bytes(rng.randrange(256) for _ in range(200))
        (folder / "predictions-1.jsonl").write_bytes(text + b"\n" + noise)
        labels = [mutated(line, rng) if rng.random() < 0.3 else line for line in rows_]
        header = "id,late" if number % 3 else mutated("id,late,revision", rng)
        whole = "\n".join([header, *labels]).encode("utf-8", "surrogatepass")
        (folder / "labels.csv").write_bytes(whole + noise * (number % 2))
        log = read_log(str(folder), loose, days=120)
        try:
            found = inspect.inspect(
                traffic.reference(), log, str(folder / "labels.csv"), params
            )
        except ProductionDataError as error:
            assert str(error).isprintable()
            continue
        decision = decide.decide(found.evidence, loose)
        assert decision.sentence.isprintable() and found.evidence.rows >= 1500
        made = record.build("v1", SHA, found, decision, loose)
        json.dumps(made, allow_nan=False).encode()
        page.page(made, "").encode()
        page.markdown(made).encode()


# Many values


def many(folder: Path, values: int, changes: dict[str, Any] | None = None) -> Log:
    """Return a log of so many rows, each with a carrier of its own."""
    table = traffic.flights(2000, 80, 28)
    good = [json.loads(line) for line in traffic.lines(table)]
    folder.mkdir()
    with (folder / "predictions-1.jsonl").open("w") as file:
        for number in range(values):
            line = good[number % len(good)]
            line["id"], line["row"]["carrier"] = f"n{number}", f"order {number:06}"
            file.write(json.dumps(line | (changes or {})) + "\n")
        file.writelines(f"{line}\n" for line in traffic.lines(table))
    return read_log(str(folder), MONITOR, days=120)


def test_a_category_of_many_values_takes_no_room(tmp_path: Path) -> None:
    """An order's number in its place: memory, tables, record and page stay small."""
    values = 100_000 if os.environ.get("PROOF") else 8_000
    log = many(tmp_path / "log", values)
    tracemalloc.start()
    found = inspect.inspect(traffic.reference(), log, None, PARAMS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    decision = decide.decide(found.evidence, MONITOR)
    assert decision.decision == "watch" and "carrier drifted" in decision.sentence
    made = record.build("v1", SHA, found, decision, MONITOR)
    check = {c["name"]: c for c in made["checks"]}["new categories of carrier"]
    assert f"{values:,} rows with {values:,} categories" in check["value"]
    assert "order " not in check["note"]  # each may be a person's
    assert found.tables is not None
    assert {table["carrier"].nunique() for table in found.tables} == {3, 4}
    assert len(json.dumps(made)) < 20_000 and len(page.page(made, "")) < 20_000
    assert peak < 300 * 2**20, f"{peak / 2**20:.0f} MB"
    print(f"{values:,} values: {peak / 2**20:.0f} MB at the peak")


def test_merging_what_is_not_listed_changes_no_distance() -> None:
    """To a reference that has none of it, two unknown categories are as far as one."""
    contract, past = rows.small(), traffic.flights(1000)["carrier"]
    apart = past.where(past.index % 5 > 0, [f"new {n % 2}" for n in range(1000)])
    table = traffic.flights(1000).assign(carrier=apart)
    checked = data_quality.quarantine(table, contract)
    merged = checked.valid["carrier"]
    assert checked.unknown == {"carrier": Unlisted(200, 2, ("new 0", "new 1"))}
    assert set(merged) == {"AA", "B6", "UA", data_quality.UNLISTED}
    assert drift.column_distance(contract, "carrier", past, merged) == pytest.approx(
        drift.column_distance(contract, "carrier", past, apart), abs=1e-12
    )


def test_lines_that_are_long_fill_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's own lines are short: longer ones are fewer, parsed or drawn."""
    log = many(tmp_path / "log", 2000)
    assert len(log.entries) == 4000 and log.share == 1
    monkeypatch.setattr(window, "MAX_CHARACTERS", 200_000)
    for long in (2**30, 1000):
        monkeypatch.setattr(sample, "LONG", long)
        log = read_log(str(tmp_path / "log"), MONITOR, days=120)
        kept = sum(len(str(entry.row)) for entry in log.entries)
        assert 200 < len(log.entries) < 1000 and kept < 200_000 and log.share < 0.3
        assert log.estimated(len(log.entries)) == pytest.approx(4000, rel=0.3)
    assert prediction_log._pooled.cache_info().currsize <= 4096


def test_many_sensitive_groups_are_listed_up_to_a_bound() -> None:
    groups = [SensitiveGroup("town", str(n), 30 + n, 0.5, None) for n in range(1000)]
    evidence = Evidence(5000, traffic.METRIC, groups=groups)
    names = [check["name"] for check in record._groups(evidence)]
    assert len(names) == record.GROUPS + 1 and names[-1] == "smaller groups"
    assert names[0] == f"group town {1000 - record.GROUPS}"
    assert len(record._groups(Evidence(50, traffic.METRIC, groups=groups[:5]))) == 5
    table = traffic.flights(100).assign(town="x" * 100_000)
    by_id = dict(zip(table["flight_id"], table["town"], strict=True))
    (group,) = slices.sensitive_groups(table, {"town": by_id}, CONTRACT, 0.5, 30)
    assert len(group.value) == 40


# The page

SCRIPT = "</script><script>alert(1)</script>"


def test_t25_the_policy_names_the_scripts_that_evidently_has() -> None:
    """One more is not its own: nothing is published."""
    body = "<body>" + "<script>var a = '<b>' && 1</script>" * evidently_report.SCRIPTS
    shown = evidently_report.with_policy(f"<html><head></head>{body}</body></html>")
    digest = hashlib.sha256(b"var a = '<b>' && 1").digest()
    assert f"'sha256-{base64.b64encode(digest).decode()}'" in shown
    assert shown.index("Content-Security-Policy") < shown.index("<script>")
    with pytest.raises(EvidentlyError, match="5 scripts instead of 4"):
        evidently_report.with_policy(f"<head></head>{body}{SCRIPT}".lower())


def test_t25_what_evidently_is_given_holds_no_markup() -> None:
    """Neither names nor texts; what differs still does, what is missing still is."""
    odd = ["<b>", "&lt;b&gt;", None, "x"]
    table = pd.DataFrame({SCRIPT: odd, "number": [1.0, 2.0, None, 3.0]})
    for column in (table[SCRIPT], table[SCRIPT].astype("category")):
        given = evidently_report.inert(table.assign(**{SCRIPT: column}))
        assert not any("<" in name for name in given.columns)
        (text,) = set(given.columns) - {"number"}
        assert given[text].dropna().tolist() == ["&lt;b&gt;", "&amp;lt;b&amp;gt;", "x"]
        assert given[text].isna().tolist() == [False, False, True, False]
        assert given["number"].equals(table["number"])


def test_t25_every_page_has_a_policy() -> None:
    """Files are made in one place; Evidently's has its own; a server sends its."""
    makers = [
        path
        for path in modules(str(rows.ROOT / "mlgitops"))
        if re.search("<html|<!doctype", path.read_text(), re.I)
    ]
    served = [path for path in makers if path.parent.name == "serving"]
    assert [p.name for p in makers if p not in served] == ["document.py"]
    assert all("content-security-policy" in p.read_text() for p in served)
    assert f'content="{POLICY}"' in document(SCRIPT, "<p>x</p>")
    assert "<script" not in document(SCRIPT, "<p>x</p>")
