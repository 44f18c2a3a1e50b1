"""The judge finds the same with a batch of rows in memory as with all of them."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from machinery import test_validate
from machinery.judged import CONTRACT, rows
from machinery.test_by_batch import function
from machinery.test_validate import Bench, linear
from mlgitops.judge import behaviour, judge
from mlgitops.judge import rows as judged
from mlgitops.judgement import Judgement, Refused
from mlgitops.pipeline import sorted_runs
from mlgitops.pipeline.contract import Contract, ContractError

TIMED = {"footprint", "online"}  # what differs between two runs of the same judge


def found(
    folder: Path,
    batch: int | None,
    monkeypatch: pytest.MonkeyPatch,
    says: object = True,
) -> Judgement:
    """Judge a folder with main's prepare.batch."""
    wanted, judgement = test_validate.params(["price"]), Judgement()
    if batch:
        wanted["prepare"]["batch"] = batch
    monkeypatch.setattr(judged, "prepare", function(lambda frame: frame, says))
    try:
        judge.judge(folder, Contract.parse(CONTRACT), wanted, judgement)
    except Refused as refusal:
        judgement.checks.append(refusal.check)
    except ContractError as error:
        judgement.checks.append(Refused("data", str(error)).check)
    return judgement


def facts(judgement: Judgement) -> dict[str, object]:
    """Return a judgement without what a clock says."""
    told = msgspec.to_builtins(judgement)
    for name in TIMED:
        told.pop(name, None)
    told["checks"] = [c for c in told["checks"] if "latency" not in c["id"]]
    return told


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame) -> Bench:
    """Return a bench whose rows are these."""
    monkeypatch.setattr(behaviour, "FILE", folder / "none")
    monkeypatch.setattr(sorted_runs, "LEAST", 7)
    monkeypatch.setattr(test_validate, "rows", lambda: frame)
    return Bench(folder)


CASES = ["other data", "copied", "same id", "late", "broken", "torn"]


@pytest.mark.parametrize("case", CASES)
def test_a_judgement_is_that_of_the_whole_table(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that looks at the rows, of this data and of the champion's."""
    frame = rows(4_000)
    monkeypatch.setattr(judge.online, "ask", lambda *_: None)
    monkeypatch.setattr(judge, "PARTS", (judge.changes, judge.difficulty))
    if case != "other data":
        monkeypatch.setattr(judge, "PARTS", ())
        monkeypatch.setattr(judge.evaluation, "score", lambda *_: None)
    if case == "broken":
        frame.loc[::900, "price"] = 11.0
    folders = [tmp_path / name for name in ("whole", "batch")]
    told = []
    for folder, batch in zip(folders, (None, 1_000), strict=True):
        folder.mkdir()
        at = bench(folder, monkeypatch, frame)
        at.put("champion", linear({"price": 1.0}))
        train = folder / "challenger" / "train.parquet"
        if case == "other data":
            older = frame[300:-200].copy()
            older.loc[older.index[5], "age"] = 1.5
            older.to_parquet(folder / "champion" / "raw.parquet")
            file = folder / "champion" / "manifest.json"
            version = json.loads(file.read_text())
            version["data"]["sha256"] = "2" * 64
            file.write_text(json.dumps(version))
        if case in ("copied", "same id", "late"):
            learnt = pd.read_parquet(train)
            extra = frame[-800:].copy()
            if case == "copied":
                extra["order"] = [f"x{n}" for n in range(len(extra))]
                extra["placed"] -= pd.Timedelta(days=25)
            if case == "late":
                extra = extra.assign(order="new", price=np.float32(0.5))
            pd.concat([learnt, extra]).to_parquet(train)
        if case == "torn":
            train.write_bytes(train.read_bytes()[:-200])
        told.append(facts(found(folder, batch, monkeypatch)))
    if case == "torn":  # Arrow names the file in one way only
        for one in told:
            one["checks"] = [(c["id"], c["reason"][:40]) for c in one["checks"]]
        assert told[1]["checks"][-1][1] == "train.parquet is not a table that can be"
    assert told[0] == told[1]
    if case == "torn":
        return
    failed = [c["id"] for c in told[1]["checks"] if not c["passed"]]
    assert bool(failed) == (case != "other data"), failed
    assert (told[1]["changes"] or {}).get("rows") or case != "other data"


def test_main_has_to_say_that_its_function_takes_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(tmp_path, monkeypatch, rows(2_000))
    judgement = found(tmp_path, 1_000, monkeypatch, says=None)
    (check,) = judgement.checks
    assert check.id == "data" and "BY_BATCH = True" in check.reason
