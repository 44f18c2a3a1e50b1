"""Rows scored in batch are those of the server, once each, also after kill -9."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from machinery import described, tiny
from mlgitops import lock, prediction_log, storage
from mlgitops.batch import addresses, columnar, job, tables
from mlgitops.batch.job import Job, ScoreError
from mlgitops.batch.parts import OutputError, Parts
from mlgitops.batch.repeated import Repeated
from mlgitops.batch.tables import Input, InputError
from mlgitops.commands import score
from mlgitops.ledger import Ledger
from mlgitops.production_data import ProductionDataError, files
from mlgitops.serving import rows as rows_module
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS
from mlgitops.serving.rows import Column, RowError
from mlgitops.serving.verify import sha256_file

COUNT = 400


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("version")
    tiny.version(folder)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part have few rows."""
    monkeypatch.setattr(job, "ROWS", 100)


def rows(count: int = COUNT) -> pd.DataFrame:
    """Return flights, some without a temperature, one in seven of a new airline."""
    number = np.arange(count)
    return pd.DataFrame(
        {
            "flight_id": [f"f{n}" for n in number],
            "scheduled_departure": pd.Timestamp("2013-04-01T12:00Z")
            + pd.to_timedelta(number, "h"),
            "carrier": np.where(number % 7 == 0, "ZZ", "UA"),
            "distance": 100.0 + 3 * number,
            "temp": np.where(number % 5 == 0, np.nan, 40.5),
            "seat": "a",
            "gate": "C3",
        }
    )


def served(folder: Path, frame: pd.DataFrame) -> list[float | None]:
    """Return what the server's model says of each row, alone; None if it refuses."""
    model, found = Model(folder), list[float | None]()
    for record in frame[[*model.columns]].to_dict("records"):
        row = {k: v if v == v else None for k, v in record.items()}
        try:
            (prediction,) = model.predictions([row], ["x"])
            found.append(float(prediction["probability"]))
        except RowError:
            found.append(None)
    return found


def write(frame: pd.DataFrame, path: Path) -> Path:
    """Write the rows in the format that the name says; a folder has two files."""
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix in (".csv", ".gz"):
        frame.to_csv(path, index=False, sep=";")
    else:
        (path / "day=1").mkdir(parents=True)
        (path / "day=2").mkdir()
        frame[:150].to_parquet(path / "day=1" / "a.parquet", index=False)
        frame[150:].to_parquet(path / "day=2" / "a.parquet", index=False)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet", "rows"])
def test_each_row_is_answered_as_by_the_server(
    name: str, version: Path, tmp_path: Path
) -> None:
    source, out = write(rows(), tmp_path / name), tmp_path / "scores.parquet"
    said = Job(source, out, version).run()
    found = pd.read_parquet(out)
    assert "400 predictions" in said
    assert list(found["id"]) == list(rows()["flight_id"])
    assert found["probability"].astype(float).tolist() == served(version, rows())
    assert not [p for p in tmp_path.iterdir() if ".parts" in p.name]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_of_a_table_without_rows_that_is_said(
    name: str, version: Path, tmp_path: Path
) -> None:
    """It is no fault: a night may have no rows, and who reads OUT finds its columns."""
    source, out = write(rows(0), tmp_path / name), tmp_path / "scores.csv"
    said = Job(source, out, version).run()
    assert f"{source} has no rows" in said and "0 predictions" in said
    assert out.read_text().split() == ['"id","probability","decision"']
    write(rows(1), source)
    assert "no rows" not in Job(source, tmp_path / "others.csv", version).run()


def test_a_csv_may_be_written(version: Path, tmp_path: Path) -> None:
    source = write(rows(), tmp_path / "rows.parquet")
    Job(source, tmp_path / "scores.csv", version).run()
    found = pd.read_csv(tmp_path / "scores.csv")
    assert found["probability"].astype("float32").tolist() == served(version, rows())
    assert set(found.columns) == {"id", "probability", "decision"}


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet", "rows"])
def test_rows_and_predictions_may_be_at_addresses(
    kind: str, name: str, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives is what a run with paths writes, in the log as well."""
    monkeypatch.chdir(tmp_path)
    source = write(bad() if name == "rows.csv" else rows(), tmp_path / name)
    Job(source, "here.parquet", version, "log", version="v1.0.0").run()
    base = f"{kind}://{tmp_path}/there"
    system, root = addresses.system_of(base)
    system.makedirs(root, exist_ok=True)
    system.put(str(source), f"{root}/{name}", recursive=source.is_dir())
    names = (f"{base}/{name}", f"{base}/out/scores.parquet", version, f"{base}/log")
    said = Job(*names, version="v1.0.0").run()
    with system.open(f"{root}/out/scores.parquet", "rb") as file:
        assert file.read() == Path("here.parquet").read_bytes()
    assert names[1] in said
    (there,), (here,) = system.glob(f"{root}/log/*"), [*Path("log").iterdir()]
    with system.open(there, "rb") as file:
        assert stable(file.read()) == stable(here.read_bytes())
    refused = Path("here.parquet.refused.jsonl")
    if refused.exists():
        with system.open(f"{names[1].partition('//')[2]}.refused.jsonl", "rb") as file:
            assert file.read() == refused.read_bytes()
    assert refused.exists() == (name == "rows.csv")
    assert not list(Path("build/score").rglob("*.*"))
    assert not system.glob(f"{root}/**/*.part")


def stable(log: bytes) -> list[dict[str, object]]:
    """Return the lines of a log without the time of writing."""
    entries = [json.loads(line) for line in log.splitlines()]
    return [{k: v for k, v in e.items() if k != "logged_at"} for e in entries]


def test_a_file_that_arrives_altered_is_no_prediction(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MemoryFileSystem, "mv", cut)
    source = write(rows(), tmp_path / "rows.parquet")
    out = "memory://altered/scores.parquet"
    with pytest.raises(addresses.AddressError, match="what was sent"):
        Job(source, out, version).run()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "400 predictions" in Job(source, out, version).run()


def cut(system: MemoryFileSystem, path: str, target: str) -> None:
    """Give a file its name with less in it, and say nothing."""
    system.pipe(target, system.cat(path)[:-1])


@pytest.mark.parametrize(
    ("source", "out", "noun"),
    [
        ("nosuch://x/rows.csv", "s.csv", "nosuch"),
        ("memory://empty/rows", "s.csv", "no table"),
        ("memory://empty/rows", "memory://empty/rows/s.csv", "inside IN"),
        ("memory://empty/rows.csv", "memory://empty/rows.csv", "is IN"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(
    source: str,
    out: str,
    noun: str,
    version: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(job.ERRORS, match=noun):
        Job(source, out, version)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_that_are_there_twice_are_counted(
    suffix: str, version: Path, tmp_path: Path
) -> None:
    """Also over the parts; as many digits do not make a number of a CSV's ids."""
    frame = rows()
    frame["flight_id"] = [f"00{n}" for n in range(COUNT)]
    source = write(frame, tmp_path / "rows.parquet")
    assert "id of another" not in Job(source, tmp_path / f"a.{suffix}", version).run()
    frame.loc[[3, 250, 399], "flight_id"] = ["001", "001", "0"]
    source = write(frame, tmp_path / "rows.parquet")
    said = Job(source, tmp_path / f"a.{suffix}", version).run()
    assert "2 have the id of another row" in said


def test_the_scheduled_run_takes_what_production_has(
    version: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its bytes come from storage; other bytes than the ledger's are refused."""
    day = datetime.now(UTC)
    clock = type("Clock", (), {"now": lambda _: day})  # it may be midnight soon
    monkeypatch.setattr(score, "datetime", clock)
    write(rows(), tmp_path / f"{day.date()}.csv")
    made = production(tmp_path / "repository", version)
    monkeypatch.chdir(made)
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "GH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SCORE_IN", raising=False)
    monkeypatch.setattr(sys, "argv", ["score", "--environment", "production"])
    score.main()
    assert "not configured" in capsys.readouterr().out
    monkeypatch.setenv("SCORE_IN", f"file://{tmp_path}/{{date}}.csv")
    with pytest.raises(SystemExit, match="both"):
        score.main()
    monkeypatch.setenv("SCORE_OUT", f"file://{tmp_path}/out/{{date}}.parquet")
    score.main()
    assert "400 predictions" in capsys.readouterr().out
    (out,) = (tmp_path / "out").iterdir()
    assert len(pd.read_parquet(out)) == COUNT
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    score.main()
    assert "::warning::" not in capsys.readouterr().out
    write(rows(0), tmp_path / f"{day.date()}.csv")
    score.main()
    assert re.search("^::warning::.* 0 predictions", capsys.readouterr().out, re.M)
    release("0" * 64)
    with pytest.raises(SystemExit, match="manifest"):
        score.main()


def production(folder: Path, version: Path) -> Path:
    """Make a repository whose storage and ledger have a version in production."""
    folder.mkdir()
    run = partial(subprocess.run, cwd=folder, check=True)
    run(("git", "init", "-q", "--bare", "../origin.git"))
    run(("git", "init", "-q", "-b", "main"))
    run(("git", "remote", "add", "origin", "../origin.git"))
    (folder / ".dvc").mkdir()
    store = (
        "[core]\n    remote = storage\n['remote \"storage\"']\n    url = ../../store\n"
    )
    (folder / ".dvc" / "config").write_text(store)
    (folder.parent / "store").mkdir()
    shutil.copytree(version, folder / "build")
    shutil.copy(version / "contract.yaml", folder)
    with contextlib.chdir(folder):
        names = [Path("build", n) for n in ("manifest.json", "model.onnx")]
        outs = {path: hashed(path) for path in names}
        storage.push(outs)
        outs_of = [
            {"path": str(p), "md5": o.md5, "size": o.size} for p, o in outs.items()
        ]
        stages = {"train": {"cmd": "true", "outs": outs_of}}
        Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
        run(("git", "add", "-f", "dvc.lock", "contract.yaml"))
        run(("git", *WHO, "commit", "-qm", "first"))
        release(sha256_file(version / "manifest.json"))
    return folder


def hashed(path: Path) -> lock.Out:
    """Return a file as dvc.lock names it."""
    data = path.read_bytes()
    return lock.Out("train", str(path), hashlib.md5(data).hexdigest(), len(data))


WHO = ("-c", "user.name=a", "-c", "user.email=a@example.com")


def release(sha256: str) -> None:
    """Record a release in production."""
    commit = subprocess.check_output(("git", "rev-parse", "HEAD"), text=True).strip()
    record = {"manifest_sha256": sha256, "commit": commit, "version": "v1.0.0"}
    record |= {"tag": "flights@v1.0.0", "state": "healthy"}
    Ledger().append({"environments/production/release.json": record}, "release")


def bad() -> pd.DataFrame:
    """Return rows of which 7, 150 and 399 are refused, each for a reason of its own."""
    frame = rows().astype({"distance": object})
    frame.loc[7, "distance"] = None
    frame.loc[150, "distance"] = "far"
    frame.loc[399, "carrier"] = "x" * 300
    return frame


def test_refused_rows_have_a_file_of_their_own(version: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    bad().to_csv(source, index=False)
    said = Job(source, tmp_path / "scores.parquet", version).run()
    refused = tmp_path / "scores.parquet.refused.jsonl"
    entries = [json.loads(line) for line in refused.read_text().splitlines()]
    assert [entry["row"] for entry in entries] == [7, 150, 399]
    for entry, noun in zip(entries, ("distance", "distance", "carrier"), strict=True):
        assert noun in entry["reason"] and "row 0" not in entry["reason"]
    found = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(found) == 397 and "397 predictions" in said and "3 rows" in said
    kept = rows().drop(index=[7, 150, 399])
    assert found["probability"].astype(float).tolist() == served(version, kept)


def test_a_refused_row_can_end_the_run(version: Path, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    bad().to_csv(source, index=False)
    with pytest.raises(ScoreError, match=r"row 7 .*distance"):
        Job(source, tmp_path / "scores.parquet", version, bad="stop").run()
    assert not (tmp_path / "scores.parquet").exists()


def test_the_log_is_the_servers(version: Path, tmp_path: Path) -> None:
    source, log = write(rows(), tmp_path / "rows.parquet"), tmp_path / "log"
    Job(source, tmp_path / "scores.parquet", version, log, version="v1.0.0").run()
    (file,) = log.glob(prediction_log.PATTERN)
    lines = file.read_text().splitlines()
    entries = [prediction_log.parse(line) for line in lines]
    assert len(entries) == COUNT and None not in entries
    first = entries[5]
    assert first is not None and first.id == "f5" and first.version == "v1.0.0"
    assert first.event_time == pd.Timestamp("2013-04-01T17:00Z")
    assert first.row == {"carrier": "UA", "distance": 115.0, "temp": None}  # no seat
    assert [e and e.prediction for e in entries] == served(version, rows())
    answer = {"id": "f5", "probability": 0.5, "decision": True}
    line = prediction_log.line(answer, first.time, "", "", "", first.row)
    assert list(json.loads(lines[5])) == list(line), "its fields, in their order"


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.csv.gz"])
def test_a_terminal_sees_how_far_it_is(
    name: str,
    version: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody knows how many rows a packed CSV has; its rate is known."""
    monkeypatch.setattr(job, "EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    source = write(rows(), tmp_path / name)
    about = Input(str(source)).about()
    assert (about is None) == name.endswith("gz")
    assert about is None or abs(about - COUNT) < 0.02 * COUNT
    Job(source, tmp_path / "scores.csv", version).run()
    *_, last = [
        line for line in capsys.readouterr().err.split("\r") if "400 rows" in line
    ]
    assert re.search(r"400 rows, [\d,]+ in a second", last)
    assert (re.search(r"\[█{20}\] .*, about 0 s left", last) is None) == (about is None)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Whoever scores is slower than whoever reads, who must not read all of it."""
    source, count = tmp_path / "rows.parquet", 200_000
    random = np.random.default_rng(4)
    frame = pd.DataFrame({f"n{n}": random.random(count) for n in range(20)})
    frame.to_parquet(source, row_group_size=5_000)
    size, before, most = source.stat().st_size, pa.total_allocated_bytes(), 0
    for batch in Input(str(source)).batches(frame.columns, 5_000):
        time.sleep(0.01)
        most = max(most, pa.total_allocated_bytes() - before)
        assert batch.rows == 5_000
    # All rows ahead of a slow reader are 23 to 28 MB; a busy machine holds 10.
    assert 800_000 < most < 16_000_000 < size / 2


def test_ids_in_several_buckets_are_counted(tmp_path: Path) -> None:
    random, counted = np.random.default_rng(5), Repeated(tmp_path)
    numbers = random.integers(0, 3_000, (4, 1_000))
    for part in numbers:
        counted.add(pa.chunked_array([[*map(str, part)]]))
    assert counted.count() == numbers.size - len(np.unique(numbers)) > 900
    assert not list(tmp_path.iterdir())


def test_a_part_without_a_prediction_is_none(tmp_path: Path) -> None:
    """Also where a version answers with sets, of which no row says the columns."""
    tiny.version(tmp_path / "v", intervals=described.INTERVALS["binary"])
    frame = rows().astype({"distance": object})
    frame.loc[100:199, "distance"] = "far"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    said = Job(tmp_path / "rows.csv", tmp_path / "s.parquet", tmp_path / "v").run()
    assert "300 predictions" in said
    assert pd.read_parquet(tmp_path / "s.parquet")["set"].notna().sum() == 300


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_an_interrupted_run_goes_on(
    parts: int, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, log = tmp_path / "rows.csv", tmp_path / "log"
    bad().to_csv(source, index=False)
    whole = tmp_path / "whole.parquet"
    Job(source, whole, version, tmp_path / "other").run()
    out = tmp_path / "scores.parquet"
    run, read = Job(source, out, version, log), list[int]()
    original = Input.batches

    def stopped(self: Input, *args: object) -> object:
        for batch in original(self, *args):  # type: ignore[arg-type]
            if batch.start == 100 * parts:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(Input, "batches", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert not out.exists() and not log.exists()

    def counted(self: Input, *args: object) -> object:
        for batch in original(self, *args):  # type: ignore[arg-type]
            read.append(batch.start)
            yield batch

    monkeypatch.setattr(Input, "batches", counted)
    said = Job(source, out, version, log).run()
    assert read == list(range(100 * parts, 400, 100))
    assert out.read_bytes() == whole.read_bytes() and "397 predictions" in said
    (file,) = log.glob(prediction_log.PATTERN)
    assert len(file.read_text().splitlines()) == 397


def test_two_runs_do_not_write_one_output(version: Path, tmp_path: Path) -> None:
    source, out = write(rows(), tmp_path / "rows.parquet"), tmp_path / "scores.parquet"
    run = Job(source, out, version)
    first = Parts(out, run.state, None)
    with pytest.raises(OutputError, match="another run"):
        run.run()
    del first
    assert "400 predictions" in run.run(), "the control"


def test_a_run_that_was_killed_at_its_end_is_done_again(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its lines are in the log once, whatever day it is by then."""
    source, log = write(rows(), tmp_path / "rows.parquet"), tmp_path / "log"
    out = tmp_path / "scores.parquet"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            Job(source, out, version, log).run()
    day = datetime(2013, 4, 1, tzinfo=UTC).timestamp()
    os.utime(tmp_path / "scores.parquet.parts" / "state.json", (day, day))
    for line in log.iterdir():
        line.rename(log / re.sub(r"-\d{4}-\d\d-\d\d-", "-2013-04-01-", line.name))
    Job(source, out, version, log).run()
    (file,) = log.glob(prediction_log.PATTERN)
    assert len(file.read_text().splitlines()) == COUNT


@pytest.mark.parametrize("address", ["log", "memory://twice/log"])
def test_the_same_rows_on_another_day_are_in_the_log_once(
    address: str, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule whose file nobody replaced, say, or a run that is started again."""
    monkeypatch.chdir(tmp_path)
    source = write(rows(), tmp_path / "rows.parquet")
    assert "already" not in Job(source, "scores.parquet", version, address).run()
    system, root = addresses.system_of(address)
    (name,) = system.ls(root, detail=False)
    system.mv(name, re.sub(r"-\d{4}-\d\d-\d\d-", "-2013-04-01-", name))
    said = Job(source, "scores.parquet", version, address).run()
    assert "the log had these rows already" in said
    assert [Path(n).name[:22] for n in system.ls(root, detail=False)] == [
        "predictions-2013-04-01"
    ]


def test_refused_rows_of_an_earlier_run_do_not_stay(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an address as on this machine: beside new predictions they would mislead."""
    monkeypatch.chdir(tmp_path)
    out, system = "memory://stays/scores.parquet", MemoryFileSystem()
    for frame, stays in ((bad(), True), (rows(), False)):
        Job(write(frame, tmp_path / "rows.csv"), out, version).run()
        assert system.exists("/stays/scores.parquet.refused.jsonl") == stays


def test_a_file_whose_change_nobody_knows_is_another_one(tmp_path: Path) -> None:
    """Parts of a run that was stopped are never those of other rows."""

    class Silent(MemoryFileSystem):
        def info(self, path: str, **_: object) -> dict[str, object]:
            return {"name": path, "size": 1}

    files = addresses.Files(Silent(), "/a", ["/a/day=1/x.csv"])
    first, again = files.mark(files.names[0]), files.mark(files.names[0])
    assert first[0] == "day=1/x.csv" and first != again


def test_no_login_is_printed(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--in", "nosuch://me:secret@host/rows.csv", "--out", "scores.csv"]
    arguments += ["--model", str(version)]
    monkeypatch.setattr(sys, "argv", ["score", *arguments])
    with pytest.raises(SystemExit, match=r"nosuch://\*\*\*@host/rows\.csv") as raised:
        score.main()
    assert "secret" not in str(raised.value)
    with pytest.raises(ProductionDataError, match="cannot be read") as found:
        [*files("nosuch://me:secret@host/log", prediction_log.PATTERN)]
    assert "secret" not in str(found.value)


def test_an_address_of_the_rows_themselves_is_refused(
    version: Path, tmp_path: Path
) -> None:
    """By whatever name; they would be written over."""
    source = write(rows(), tmp_path / "rows.parquet")
    for out in (f"file://{source}", f"file://{tmp_path}/x/../rows.parquet"):
        with pytest.raises(job.ScoreError, match="is IN"):
            Job(source, out, version)


def test_parts_of_other_rows_are_never_taken(version: Path, tmp_path: Path) -> None:
    source, out = write(rows(), tmp_path / "rows.parquet"), tmp_path / "scores.parquet"
    run = Job(source, out, version, bad="stop")
    folder = tmp_path / "scores.parquet.parts"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({**run.state, "rows": 7}))
    with pytest.raises(OutputError, match=r"scores\.parquet\.parts"):
        run.run()


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_and_repeats_no_row(
    version: Path, tmp_path: Path
) -> None:
    source, out = tmp_path / "rows.parquet", tmp_path / "scores.parquet"
    rows(6_000).to_parquet(source, index=False)
    code = (
        "from mlgitops.batch import job; from pathlib import Path; import sys; "
        "job.ROWS = 100; print(job.Job(*map(Path, sys.argv[1:])).run())"
    )
    command = [sys.executable, "-c", code, str(source), str(out), str(version)]
    random, ends = np.random.default_rng(3), list[int]()
    while not out.exists():
        before = len(_parts(tmp_path))
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        if len(ends) < 4:
            while process.poll() is None and len(_parts(tmp_path)) <= before:
                time.sleep(0.01)
            time.sleep(float(random.uniform(0, 0.1)))
            process.send_signal(signal.SIGKILL)
        ends.append(process.wait())
    assert -signal.SIGKILL in ends, "it was never killed between two parts"
    assert list(pd.read_parquet(out)["id"]) == list(rows(6_000)["flight_id"])


def _parts(folder: Path) -> list[Path]:
    return list((folder / "scores.parquet.parts").glob("*.arrow"))


@pytest.mark.parametrize(
    ("frame", "name", "words"),
    [
        (rows().drop(columns="distance"), "rows.csv", "no column distance"),
        (rows(), "rows.json", "json"),
        (rows()[:0], "none.parquet", ""),
    ],
)
def test_what_cannot_be_scored_is_said(
    frame: pd.DataFrame, name: str, words: str, version: Path, tmp_path: Path
) -> None:
    source = tmp_path / name
    if name.endswith(".json"):
        source.write_text("{}")
    else:
        write(frame, source)
    out = tmp_path / "scores.parquet"
    if words:
        with pytest.raises((ScoreError, InputError), match=words):
            Job(source, out, version).run()
    else:
        assert "0 predictions" in Job(source, out, version).run()


@pytest.mark.parametrize(("name", "text"), [("note", "größer"), ("größer", "x")])
@pytest.mark.parametrize("early", [True, False])
def test_a_csv_that_is_not_utf_8_is_said(
    name: str, text: str, early: bool, version: Path, tmp_path: Path
) -> None:
    """Of a name in the header, and of a value far behind what is read of the start."""
    notes = [text if early or n > COUNT - 9 else "y" * 9_000 for n in range(COUNT)]
    source = tmp_path / "rows.csv"
    source.write_text(
        rows().assign(**{name: notes}).to_csv(index=False), encoding="cp1252"
    )
    with pytest.raises(InputError, match="not UTF-8; if it is of Windows: `iconv"):
        Job(source, tmp_path / "scores.parquet", version).run()


def test_a_row_without_id_has_its_number(version: Path, tmp_path: Path) -> None:
    source = write(rows().drop(columns="flight_id"), tmp_path / "rows.csv")
    Job(source, tmp_path / "scores.parquet", version).run()
    found = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(found["id"]) == [str(n) for n in range(COUNT)]


@pytest.mark.parametrize("beside", [None, False, True])  # intervals, and abstaining
@pytest.mark.parametrize("task", described.OUTPUTS)
def test_a_file_has_what_the_server_answers(
    task: str, beside: bool | None, tmp_path: Path
) -> None:
    """Each output as a column: classes, ends of an interval, a set as its list."""
    manifest = {"task": task, **described.OUTPUTS[task]}
    if beside is not None:
        manifest["intervals"] = described.INTERVALS[task] | {"abstain": beside}
    classes = manifest.get("classes")
    random = np.random.default_rng(1)
    scores = random.random((200, len(classes)) if classes else 200, dtype=np.float32)
    model: Any = SimpleNamespace(task=task, manifest=manifest, classes=classes)
    found = pa.table(columnar.outputs(scores, model))
    pyarrow.csv.write_csv(found, tmp_path / "o.csv")
    for row, served in zip(
        found.to_pylist(), TASKS[task].predictions(scores, manifest), strict=True
    ):
        assert row == described.flat(served)


MOMENT = datetime(2020, 2, 29, 12, tzinfo=UTC)
VALUES: list[tuple[list[Any], Any]] = [  # of a column, and Arrow's type of it
    ([1, None, 2**24, 3], pa.int64()),
    ([1, None, 2**24 + 1, 3], pa.int64()),
    ([1.5, None, float("nan"), 2.0], pa.float64()),
    ([1.0, 1e300, 0.0, 2.0], pa.float64()),
    ([0.1, 3.0, None, -1.0], pa.float32()),
    (["1", " 2.5 ", "nan", None], pa.string()),
    (["1", "x", "", "3"], pa.large_string()),
    ([True, None, False, True], pa.bool_()),
    (["yes", "0", "maybe", None], pa.string()),
    (["a", "b", "a", None], pa.string()),
    (["a", "zz", "", "b"], pa.string()),
    (["a", "x" * 600, "b", "a"], pa.string()),
    (["A  b", "b\ta", None, "A  b"], pa.dictionary(pa.int8(), pa.string())),
    ([MOMENT, None, MOMENT, MOMENT], pa.timestamp("ns", "UTC")),
    ([MOMENT.replace(tzinfo=None)] * 4, pa.timestamp("s")),
    ([MOMENT, MOMENT.replace(year=1600)] * 2, pa.timestamp("us", "Europe/Oslo")),
    ([MOMENT.date(), None] * 2, pa.date32()),
    (["2020-02-29T12:00:00+02:00", None] * 2, pa.string()),
    ([Decimal("1.50"), None] * 2, pa.decimal128(5, 2)),
    ([[1], None] * 2, pa.list_(pa.int64())),
    ([None] * 4, pa.null()),
]


@pytest.mark.parametrize("year", [2013, 2250, 20_000])
def test_a_time_beyond_the_log_is_a_refused_row(
    year: int, version: Path, tmp_path: Path
) -> None:
    """Also one that Python has no number for."""
    frame = pa.Table.from_pandas(rows(), preserve_index=False)
    times = np.full(COUNT, np.datetime64("2013-04-01T12:00", "us"))
    times[5] = np.datetime64("1970-01-01", "us") + np.timedelta64(
        (year - 1970) * 365, "D"
    )
    place = frame.schema.get_field_index("scheduled_departure")
    table = frame.set_column(place, "scheduled_departure", pa.array(times))
    pq.write_table(table, tmp_path / "rows.parquet")
    said = Job(tmp_path / "rows.parquet", tmp_path / "s.parquet", version).run()
    assert ("399 predictions" in said and "1 row has" in said) == (year != 2013)
    assert "400 predictions" in said or year != 2013


@pytest.mark.parametrize("more", [[], ["another"]])
def test_categories_may_fill_their_codes(more: list[str]) -> None:
    """128 of them fit a byte, with none left for a missing one, or for the next."""
    names = [f"c{n}" for n in range(128)]
    chunks = [
        pa.DictionaryArray.from_arrays(
            pa.array([*range(len(part)), None], pa.int8()), part
        )
        for part in (names, more)
        if part
    ]
    column = Column("c", "category", missing=True, max_text=9)
    model: Any = SimpleNamespace(columns={"c": column}, inputs=["c"])
    found = columnar.feeds(model, pa.table({"c": pa.chunked_array(chunks)}))["c"]
    assert found[:, 0].tolist() == [*names, "", *([*more, ""] if more else [])]


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("kind", sorted(rows_module.TYPES))
@pytest.mark.parametrize(("values", "arrow"), VALUES, ids=str)
def test_a_column_is_checked_as_its_values_are(
    values: list[Any], arrow: pa.DataType, kind: str, missing: bool
) -> None:
    """The same array or the same refusal, whole and row by row; a closed one, too."""
    for allowed in (None, frozenset({"a", "b"})) if kind == "category" else (None,):
        column = Column("c", kind, missing, 500, allowed)
        model: Any = SimpleNamespace(columns={"c": column}, inputs=["c"])
        table = pa.table({"c": pa.chunked_array([pa.array(values, arrow)])})
        for start, end in ((0, 4), (0, 1), (1, 2), (2, 3), (3, 4)):
            part = table.slice(start, end - start)
            listed = columnar.values(tables.Batch(0, end - start, part), column)
            try:
                expected = rows_module.arrays({"c": listed}, {"c": column}, ["c"])["c"]
            except RowError as error:
                with pytest.raises(RowError) as refused:
                    columnar.feeds(model, part)
                assert end - start > 1 or str(refused.value) == str(error)
                continue
            found = columnar.feeds(model, part)["c"]
            assert found.dtype == expected.dtype and found.shape == expected.shape
            np.testing.assert_array_equal(found, expected)


def test_the_log_wants_ids(version: Path, tmp_path: Path) -> None:
    """Else labels would meet rows of another file."""
    source = write(rows().drop(columns="flight_id"), tmp_path / "rows.csv")
    with pytest.raises(ScoreError, match="id of each row"):
        Job(source, tmp_path / "scores.parquet", version, tmp_path / "log")
    frame = rows().assign(flight_id=np.where(np.arange(COUNT) == 5, None, "5"))
    for name in ("one.csv", "two.csv"):  # a row without an id in each
        source, out = write(frame, tmp_path / name), tmp_path / f"{name}.parquet"
        Job(source, out, version, tmp_path / "log").run()
        assert pd.read_parquet(out)["id"][5] == "row-5"
    ids = [record["id"] for record in tiny.logged(tmp_path / "log")]
    odd = {name for name in ids if name != "5"}
    assert len(odd) == 2, "nobody takes the second for the first"


@pytest.mark.parametrize("change", ["name", "lack", "delimiter"])
def test_files_of_a_folder_that_differ_are_refused(
    change: str, version: Path, tmp_path: Path
) -> None:
    """Else one would be read by the columns of another."""
    folder = tmp_path / "rows"
    (folder / ".hidden").mkdir(parents=True)
    frame = rows()
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_csv(folder / ".hidden" / "c.csv", index=False)
    assert "400 pred" in Job(folder, tmp_path / "o.csv", version).run(), "the control"
    other = {
        "name": frame.rename(columns={"temp": "Temp"}),
        "lack": frame.drop(columns="temp"),
        "delimiter": frame,
    }[change]
    sep = ";" if change == "delimiter" else ","
    other.to_csv(folder / "b.csv", index=False, sep=sep)
    with pytest.raises(InputError, match=r"b\.csv has other columns than"):
        Job(folder, tmp_path / "o.csv", version)


def test_where_no_row_has_a_prediction_it_fails_and_says_why(
    version: Path, tmp_path: Path
) -> None:
    """And the file has its columns all the same."""
    frame = rows().assign(distance="far")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ScoreError, match="first is row 0: column 'distance' must be"):
        Job(tmp_path / "rows.csv", tmp_path / "o.csv", version).run()
    assert list(pd.read_csv(tmp_path / "o.csv")) == ["id", "probability", "decision"]


def test_what_stopped_a_run_can_be_corrected(version: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "rows.csv", tmp_path / "o.csv"
    bad().to_csv(source, index=False)
    with pytest.raises(ScoreError, match="row 7"):
        Job(source, out, version, bad="stop").run()
    rows().to_csv(source, index=False)
    assert "400 predictions" in Job(source, out, version, bad="stop").run()
    bad()[8:].to_csv(source, index=False)  # now the second part has the first one
    for _ in range(2):
        with pytest.raises(ScoreError, match=r"o\.csv\.parts"):
            Job(source, out, version, bad="stop").run()
    assert "2 rows have none" in Job(source, out, version).run()
    Job(source, out, version).run()


def test_a_broken_file_says_where(version: Path, tmp_path: Path) -> None:
    source = write(rows(), tmp_path / "rows.csv")
    with source.open("a") as file:
        file.write("one;value;too;many;for;this;table;here\n")
    with pytest.raises(InputError, match="Row #402"):
        Job(source, tmp_path / "scores.parquet", version).run()


def test_out_of_the_folder_that_is_read(version: Path, tmp_path: Path) -> None:
    source = write(rows(), tmp_path / "rows")
    with pytest.raises(ScoreError, match="inside"):
        Job(source, source / "scores.parquet", version)
    with pytest.raises(ScoreError, match="is IN"):
        Job(tmp_path / "a.csv", tmp_path / "a.csv", version)
    with pytest.raises(ScoreError, match="parquet or"):
        Job(source, tmp_path / "scores.txt", version)


def test_values_as_a_request_has_them() -> None:
    table = pa.table(
        {
            "n": ["1", " 2.5", None, "x"],
            "b": ["true", "0", None, "maybe"],
            "t": pa.array([0, 1, None, 3], pa.timestamp("ns", "UTC")),
            "f": [1.0, float("nan"), None, 2.0],
            "c": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        }
    )
    kinds = {"n": "number", "b": "boolean", "t": "datetime", "f": "number"}
    kinds |= {"c": "category", "none": "text"}
    batch, one = tables.Batch(0, 4, table), Column("", "", missing=True, max_text=9)
    values = {
        name: columnar.values(batch, one._replace(name=name, type=kind))
        for name, kind in kinds.items()
    }
    assert values["n"] == [1.0, 2.5, None, "x"]
    odd = pa.chunked_array([["NaN", "1_0", "x", "3"]])
    assert tables._number(odd) == [None, "1_0", "x", 3.0], "NaN is missing, as alone"
    money = pa.chunked_array([[Decimal("1.50"), None]])
    assert tables._number(money) == [1.5, None]
    spans = pa.chunked_array([[timedelta(days=1), None]])
    assert tables._number(spans) == ["1 day, 0:00:00", None]
    assert tables._text(pa.chunked_array([[1.0, None]])) == ["1.0", None]
    assert tables._boolean(pa.chunked_array([["Yes", "no"]])) == [True, False]
    assert values["b"] == [True, False, None, "maybe"]
    assert values["t"][0] == "1970-01-01T00:00:00+00:00" and values["t"][2] is None
    assert values["f"] == [1.0, None, None, 2.0]
    assert values["c"] == ["a", "b", None, "a"] and values["none"] == [None] * 4
