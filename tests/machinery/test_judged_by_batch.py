"""The judge finds the same with a batch of rows in memory as with all of them."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from machinery import test_validate
from machinery.judged import CONTRACT, rows
from machinery.test_by_batch import function
from machinery.test_validate import Bench, linear
from mlgitops.judge import behaviour, judge, large
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
    return dict(json.loads(json.dumps(told)))  # to the last digit


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame) -> Bench:
    """Return a bench whose rows are these."""
    monkeypatch.setattr(behaviour, "FILE", folder / "none")
    monkeypatch.setattr(sorted_runs, "LEAST", 7)
    monkeypatch.setattr(test_validate, "rows", lambda: frame)
    return Bench(folder)


OTHER = ["other data", "in no order", "other ids", "empty before", "grown"]
UNREADABLE = ["torn", "twins", "renamed"]
CASES = [*OTHER, *UNREADABLE, "copied", "same id", "late", "broken"]


@pytest.mark.parametrize("case", CASES)
def test_a_judgement_is_that_of_the_whole_table(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that looks at the rows, of this data and of the champion's."""
    frame = rows(4_000)
    monkeypatch.setattr(judge.online, "ask", lambda *_: None)
    monkeypatch.setattr(judge, "PARTS", (judge.changes, judge.difficulty))
    if case not in OTHER:
        monkeypatch.setattr(judge, "PARTS", ())
        monkeypatch.setattr(judge.evaluation, "score", lambda *_: None)
    if case == "in no order":
        frame = frame.sample(frac=1, random_state=0, ignore_index=True)
    if case == "other ids":
        frame["order"] = np.arange(len(frame))
    if case == "broken":
        frame.loc[::900, "price"] = 11.0
    folders = [tmp_path / name for name in ("whole", "batch")]
    told = []
    for folder, batch in zip(folders, (None, 1_000), strict=True):
        folder.mkdir()
        at = bench(folder, monkeypatch, frame)
        at.put("champion", linear({"price": 1.0}))
        train = folder / "challenger" / "train.parquet"
        if case in OTHER:
            older = frame[300:-200].copy()
            older.loc[older.index[5], "age"] = 1.5
            if case == "other ids":
                older["order"] = older["order"].astype(float)
            if case == "empty before":
                older["age"] = np.nan
            if case == "grown":
                new = {"type": "number", "min": 0, "max": 9, "missing": False}
                columns = {**CONTRACT["columns"], "size": new}
                at.frame = frame.assign(size=1.0)
                at.frame.to_parquet(folder / "raw.parquet")
                grown = {**CONTRACT, "columns": columns}
                at.put("challenger", linear({"price": 1.0}), terms=grown)
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
        if case in ("twins", "renamed"):
            learnt = pa.table(pd.read_parquet(train))
            spare = "order" if case == "twins" else "spare"
            learnt = learnt.append_column(spare, learnt.column("shop"))
            about = json.loads(learnt.schema.metadata[b"pandas"])
            of = {"field_name": spare, "numpy_type": "object", "metadata": None}
            about["columns"].append({"name": "order", "pandas_type": "unicode", **of})
            pq.write_table(
                learnt.replace_schema_metadata({"pandas": json.dumps(about)}), train
            )
        if case == "torn":
            train.write_bytes(train.read_bytes()[:-200])
        told.append(facts(found(folder, batch, monkeypatch)))
    if case in UNREADABLE:  # Arrow names the file in one way only
        for one in told:
            one["checks"] = [(c["id"], c["reason"][:40]) for c in one["checks"]]
        assert told[1]["checks"][-1][1] == "train.parquet is not a table that can be"
    assert told[0] == told[1]
    if case in UNREADABLE:
        return
    failed = [c["id"] for c in told[1]["checks"] if not c["passed"]]
    assert bool(failed) == (case not in OTHER), failed
    assert (told[1]["changes"] or {}).get("rows") or case not in OTHER


def test_an_id_in_a_reason_is_what_it_is() -> None:
    """Among numbers alone, pandas makes a row of floats."""
    frame = pd.DataFrame({"id": [2**60 + 1, 2], "x": [0.5, 1.5]})
    assert str(large.row(frame, 0)["id"]) == str(2**60 + 1)


def test_main_has_to_say_that_its_function_takes_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(tmp_path, monkeypatch, rows(2_000))
    judgement = found(tmp_path, 1_000, monkeypatch, says=None)
    (check,) = judgement.checks
    assert check.id == "data" and "BY_BATCH = True" in check.reason
