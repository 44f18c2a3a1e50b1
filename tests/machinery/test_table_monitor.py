"""The monitor on simulated traffic of a user's own table, whatever its shape."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import lengths, tables, tiny
from machinery.test_retrain import Folder, Hub, World, named
from machinery.world import git
from mlgitops import github, lock, storage
from mlgitops.commands import monitor, retrain, simulate
from mlgitops.monitor import training_data
from mlgitops.pipeline import prepare, train

pytest.importorskip("duckdb")  # the group `data`
COUNT = 2400
Frame = pd.DataFrame
random = np.random.default_rng


def timeless() -> Frame:
    rng = random(1)
    frame = pd.DataFrame({"plan": rng.choice(["basic", "plus", "max"], COUNT)})
    frame["spend"] = rng.gamma(2, 40, COUNT).round(2)
    frame["age"] = rng.integers(18, 90, COUNT)
    signal = 0.05 * (frame["age"] - 50) + (frame["plan"] == "plus")
    frame["churned"] = np.where(signal + rng.normal(0, 1, COUNT) > 0, "yes", "no")
    return frame


def typed() -> Frame:
    rng = random(2)
    paid = rng.choice(["true", "false"], COUNT, p=[0.85, 0.15])
    frame = pd.DataFrame({"paid": paid})
    hours = pd.to_timedelta(rng.integers(0, 24 * 900, COUNT), "h")
    frame["joined"] = pd.Timestamp("2020-01-01") + hours
    hours = pd.to_timedelta(rng.integers(0, 24 * 100, COUNT), "h")
    frame["seen"] = pd.Timestamp("2022-08-01") + hours
    signal = 2.0 * (frame["paid"] == "true") + rng.normal(0, 1, COUNT)
    frame["left"] = (signal > 1).astype(int)
    return frame


def groups() -> Frame:
    rng = random(3)
    frame = pd.DataFrame({"patient": rng.choice([f"p{n}" for n in range(300)], COUNT)})
    frame["dose"] = rng.normal(50, 10, COUNT).round(2)
    frame["ward"] = rng.choice(["A", "B", "C"], COUNT)
    signal = 0.1 * (frame["dose"] - 50) + rng.normal(0, 1, COUNT)
    frame["cured"] = (signal > 0).astype(int)
    return frame


def awkward() -> Frame:
    """Its time has an awkward name, and there are columns called id, time and part."""
    rng = random(4)
    times = pd.Timestamp("2023-01-01") + pd.to_timedelta(np.arange(COUNT) * 3, "h")
    frame = pd.DataFrame({"Order Date": times.strftime("%d/%m/%Y %H:%M")})
    frame["Ship Mode"] = rng.choice(["First Class", "Second/Std"], COUNT)
    for name in ("id", "time", "part"):
        frame[name] = rng.choice(["a", "b"], COUNT)
    frame["weight"] = rng.gamma(9, 2, COUNT).round(2)
    noise = rng.normal(0, 3, COUNT)
    frame["y"] = (3 * frame["weight"] + noise).round(2)
    return frame


def timed() -> Frame:
    """Its time is called time."""
    return awkward().drop(columns="time").rename(columns={"Order Date": "time"})


Shape = tuple[Callable[[], Frame], str, dict[str, str], str, str]
SHAPES: dict[str, Shape] = {
    "no time": (timeless, "churned", {}, "age=20", "age drifted"),
    "types": (typed, "left", {}, "paid=0.7", "paid drifted"),
    "groups": (groups, "cured", {"group": "patient"}, "dose=20", "dose drifted"),
    "awkward": (awkward, "y", {}, "weight=10", "weight drifted"),
    "time": (timed, "y", {}, "weight=10", "weight drifted"),
}
TIMED = {"awkward", "time"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a new repository that `make setup` has seen."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))
    Path("mlgitops").symlink_to(tables.ROOT / "mlgitops")
    git("init", "--quiet", "--initial-branch=main", ".")


def build() -> None:
    """Run the stages, without DVC around them."""
    path = tables.path()
    prepare.prepare(path, Path("build/train.parquet"), Path("build/holdout.parquet"))
    train.train(
        Path("build/train.parquet"),
        Path("build/model.onnx"),
        Path("build/manifest.json"),
    )


def asked() -> dict[str, Any]:
    """Return what a server answers to the request of README.md, typed as it stands."""
    text = Path("README.md").read_text(encoding="utf-8")
    (block,) = re.findall("```\\n([^`]*curl[^`]*)```", text)
    with tiny.server(Path("build"), code=Path()) as (port, _):
        typed = block.replace("curl", "curl -sf").replace(":8080", f":{port}")
        typed = typed[: typed.index("\nnode ")]  # as in Python: test_openapi.py
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ("bash", "-c", typed), capture_output=True, env={**os.environ, "PATH": path}
        )
    assert done.returncode == 0, done.stdout + done.stderr
    first, end = json.JSONDecoder().raw_decode(done.stdout.decode())
    second = json.loads(done.stdout[end:])
    assert first["manifest_sha256"] == second["manifest_sha256"]
    return dict(first)


def play(monkeypatch: pytest.MonkeyPatch, name: str, *more: str) -> None:
    """Serve the model, send rows to it, and write their labels."""
    log = ("--log", f"build/{name}")
    with tiny.server(Path("build"), *log, code=Path()) as (port, process):
        line = ["--from=", "--until=", f"--url=http://127.0.0.1:{port}"]
        line += [f"--labels=build/{name}.csv", *more]
        monkeypatch.setattr(sys, "argv", ["simulate", *line])
        simulate.main()
        process.terminate()
        process.wait(120)


def watch(monkeypatch: pytest.MonkeyPatch, name: str, labels: str = "") -> None:
    """Run the monitor on what was logged."""
    monkeypatch.setenv("PREDICTION_LOG", f"build/{name}")
    monkeypatch.setenv("LABELS", labels or f"build/{name}.csv")
    monkeypatch.setattr(sys, "argv", ["monitor"])
    monitor.main()


@pytest.mark.slow
@pytest.mark.parametrize("shape", lengths.turn(SHAPES, TIMED.__contains__))
def test_a_table_is_monitored_without_an_edit(
    shape: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quiet without drift, an alarm with it, and what it cannot tell is said."""
    make, target, options, drift, words = SHAPES[shape]
    make().to_csv("../table.csv", index=False)
    assert not tables.make("../table.csv", target, **options)
    build()
    assert len(asked()["predictions"]) == 1
    capsys.readouterr()
    play(monkeypatch, "quiet")
    out = capsys.readouterr().out
    assert "the model has not learnt from them" in out
    contract = tables.contract()
    assert bool(re.search("^20..-..-..  ", out, re.M)) is ("time" in contract), out
    watch(monkeypatch, "quiet")
    out = capsys.readouterr().out
    assert "# Monitoring: nothing to do" in out and "performance holds" in out
    assert ("names no time" in out) is ("time" not in contract)
    assert "trained on" not in out
    play(monkeypatch, "moved", f"--drift={drift}")
    capsys.readouterr()
    watch(monkeypatch, "moved")
    out = capsys.readouterr().out
    assert "# Monitoring: watch" in out or "# Monitoring: retrain" in out, out
    assert words in out


NAMES = ["id", "time", "label", "part", "weight", "value", "target", "arrival"]


@pytest.mark.slow
@pytest.mark.parametrize("n", lengths.turn(range(len(NAMES)), days=4))
def test_a_target_and_a_group_may_have_any_name(
    n: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a label, of a request, of the log: none is taken for another."""
    target, group = NAMES[n], NAMES[n - 1]
    frame = groups().rename(columns={"cured": target, "patient": group})
    frame.to_csv("../table.csv", index=False)
    assert not tables.make("../table.csv", target, group=group)
    build()
    play(monkeypatch, "log")
    capsys.readouterr()
    watch(monkeypatch, "log")
    out = capsys.readouterr().out
    assert "# Monitoring: nothing to do" in out and "performance holds" in out
    labels = pd.read_csv("build/log.csv")
    assert {target, group} < set(labels)
    assert labels[target].isin([0, 1]).all() and labels[group].str.match("p").all()


def later(count: int) -> Frame:
    """Return new rows of the table without a time, in which age means the opposite."""
    frame = timeless().sample(count, random_state=1, ignore_index=True)
    frame["churned"] = np.where(frame["churned"] == "yes", 0, 1).astype("int8")
    frame.insert(0, "row_id", [f"new-{number}" for number in range(count)])
    return frame.astype({"age": "int64"})


@pytest.mark.slow
def test_a_table_without_a_time_is_retrained_by_a_pull_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file to the proposal, which trains on and is judged by main's split."""
    hub = Hub()
    monkeypatch.setattr(github, "api", hub.api)
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "APP_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("pull", "push", "missing"):
        monkeypatch.setattr(storage, name, getattr(Folder(tmp_path / "kept"), name))
    git("init", "-q", "--bare", "-b", "main", str(tmp_path / "origin"))
    git("remote", "add", "origin", str(tmp_path / "origin"))
    timeless().to_csv("../Our Customers.csv", index=False)
    assert not tables.make("../Our Customers.csv", "churned")
    build()
    world = World(tmp_path, hub)
    world.manifest = tiny.sha256(Path("build/manifest.json").read_bytes())
    paths = [*sorted(Path("build").glob("*.parquet")), Path("build/model.onnx")]
    outs = {path: named(path) for path in [*paths, Path("build/manifest.json")]}
    entries = [{"path": str(p), "md5": o.md5, "size": o.size} for p, o in outs.items()]
    stages = {"train": {"outs": entries}}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    storage.push({**outs, tables.path(): lock.inputs()[0]})
    world.merge("start")
    world.release(world.manifest)
    later(2000).to_parquet("../later.parquet")
    play(monkeypatch, "log", "--data=../later.parquet")
    monkeypatch.setenv("PREDICTION_LOG", "build/log")
    monkeypatch.setenv("LABELS", "build/log.csv")
    monkeypatch.setattr(sys, "argv", ["monitor", "--record"])
    monitor.main()
    assert "# Monitoring: retrain" in capsys.readouterr().out
    retrain.main()
    assert "opened #1" in capsys.readouterr().out
    (pull,) = hub.pulls
    assert pull["title"].startswith("Retrain our-customers on data until 20")
    assert "2,000 new" in pull["body"] and training_data.TIMELESS in pull["body"]
    assert "newer rows that are held out" in pull["body"]
    branch = f"origin/{pull['head']['ref']}"
    changed = git("diff", "--name-only", "main", branch)
    assert changed == "data/our-customers.parquet.dvc"
    (data,) = storage.pull(lock.inputs(branch), tmp_path)
    git("checkout", "-q", branch)
    before = {p.name: pd.read_parquet(p) for p in Path("build").glob("*.parquet")}
    data.replace(tables.path())
    build()
    for name, old in before.items():
        new = pd.read_parquet(f"build/{name}")
        assert set(old["row_id"]) < set(new["row_id"]), "no row changes sides"
    git("push", "-q", "-f", "origin", f"{branch}:main")
    retrain.main()
    assert "main has every labelled row" in capsys.readouterr().out
