"""One pull request with newer data: opened, updated, never doubled, never merged."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import grown, rows, tiny, traffic
from machinery.world import git
from mlgitops import github, heartbeat, lock, storage
from mlgitops.commands import monitor as monitor
from mlgitops.commands import retrain
from mlgitops.ledger import Ledger
from mlgitops.monitor import reference, training_data
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.store import owner

Record = dict[str, Any]
CONTRACT = rows.small()
RECORD = {
    "decision": "retrain",
    "sentence": "Retrain: temp | drifted.",
    "version": "v1.0.0",
    "window": {
        "from": "2020-03-20T00:00:00",
        "until": "2020-04-18T00:00:00",
        "rows": 1,
        "labels": 1,
    },
    "checks": [],
    "expectation": None,
    "counts": {},
}


CONFIG = """[core]
    remote = storage
['remote "storage"']
    url = {url}
    verify = true
"""


class Hub:
    """GitHub's pull requests, kept in memory, and every call that was made."""

    def __init__(self) -> None:
        self.pulls: list[Record] = []
        self.calls: list[tuple[str, str]] = []
        self.refuse: dict[tuple[str, str], github.GitHubError] = {}

    def api(
        self, path: str, method: str = "GET", fields: Record | None = None, **_: Any
    ) -> Any:
        """Stand in for mlgitops.github.api."""
        self.calls.append((method, path))
        fields = fields or {}
        if (method, path) in self.refuse:
            raise self.refuse[method, path]
        match (method, *path.split("/")):
            case ("GET", "pulls"):
                branch = str(fields.get("head", ":")).split(":")[1]
                return [
                    pull
                    for pull in self.pulls
                    if pull["state"] == fields["state"]
                    and fields["page"] == 1
                    and branch in ("", pull["head"]["ref"])
                ]
            case ("POST", "pulls"):
                return self.open(fields["head"], fields)
            case ("PATCH", "pulls", number):
                self.pulls[int(number) - 1].update(fields)
                return self.pulls[int(number) - 1]
            case ("POST", "issues", number, "comments"):
                self.pulls[int(number) - 1]["comments"] = [fields["body"]]
                return {}
            case ("POST", "issues", number, "labels"):
                self.pulls[int(number) - 1]["labels"] = fields["labels"]
                return []
        raise AssertionError(f"{method} {path}")

    def open(self, branch: str, fields: Record, repo: str = "o/r") -> Record:
        """Keep a new pull request."""
        head = {"ref": branch, "repo": {"full_name": repo}}
        number = len(self.pulls) + 1
        words = {"title": fields.get("title"), "body": fields.get("body")}
        now = datetime.now(UTC).isoformat()
        pull = {"number": number, "state": "open", "head": head, **words}
        pull["created_at"] = now
        self.pulls.append({**pull, "html_url": f"pull/{number}"})
        return self.pulls[-1]

    def made(self, method: str, path: str) -> int:
        """Count the calls of one kind."""
        return self.calls.count((method, path))


class World:
    """A repository with data, a version in production, a log and labels."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home, self.hub = home, hub
        self.log, self.labels = home / "log", home / "labels.csv"

    def build(self) -> None:
        """Track the data, build a version, commit, push, release it."""
        Path(".dvc").mkdir()
        Path(".dvc/config").write_text(CONFIG.format(url=self.home / "store"))
        Path(".gitignore").write_text(
            "/build\n/.dvc/tmp\n/.dvc/cache\n/data/*.parquet\n"
        )
        Path("contract.yaml").write_text(rows.SMALL)
        self.stages(["data/flights.parquet"])
        prepare = {"split": "time", "holdout_days": 14, "train_days": 20}
        params = {**traffic.PARAMS, "prepare": prepare}
        params["monitor"] = {**traffic.SECTION, "min_rows": 300}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        Path("data").mkdir()
        old = traffic.flights(3000, 0, 74, seed=5)
        table = old.drop(columns="probability")
        Path("data/flights.parquet").write_bytes(training_data.parquet(table))
        outs = {Path("data/flights.parquet"): self.point("data/flights.parquet")}
        self.manifest = self.version(old)
        stages: Record = {}
        for path in sorted(Path("build").iterdir()):
            outs[path] = named(path)
            entry = {"path": str(path), "md5": outs[path].md5, "size": outs[path].size}
            stages.setdefault("train", {"outs": []})["outs"].append(entry)
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
        storage.push(outs)
        self.merge("start")
        self.release(self.manifest)

    def stages(self, tables: list[str]) -> None:
        """Write a dvc.yaml whose first stage reads the tables."""
        prepare = {"cmd": "true", "deps": [*tables, "model/prepare.py"]}
        train = {"cmd": "true", "deps": ["build/train.parquet"]}
        document = {"stages": {"prepare": prepare, "train": train}}
        Path("dvc.yaml").write_text(yaml.safe_dump(document))

    def point(self, path: str) -> lock.Out:
        """Write a pointer as DVC does."""
        out = named(Path(path))
        entry = {"md5": out.md5, "size": out.size, "hash": "md5", "path": out.name}
        text = yaml.safe_dump({"outs": [entry]}, sort_keys=False)
        Path(f"{path}.dvc").write_text(text)
        return out

    def version(self, table: pd.DataFrame) -> str:
        """Build a version by hand; return its manifest's sha256."""
        border = traffic.START + pd.Timedelta(days=60)
        Path("build").mkdir()
        for name, side in (("train", True), ("holdout", False)):
            part = table[(table["scheduled_departure"] < border) == side]
            part = part.drop(columns="probability")
            part.to_parquet(f"build/{name}.parquet", index=False)
        train = hashlib.sha256(Path("build/train.parquet").read_bytes()).hexdigest()
        contract = tiny.contract_hashes(rows.SMALL)
        tiny.version(Path("build"), contract=contract, data={"train_sha256": train})
        Path("build/contract.yaml").unlink()
        return tiny.sha256(Path("build/manifest.json").read_bytes())

    def release(self, manifest: str) -> None:
        """Put a version into production."""
        release = {
            "version": "v1.0.0",
            "manifest_sha256": manifest,
            "commit": git("rev-parse", "main"),
            "state": "confirmed",
        }
        Ledger().append({"environments/production/release.json": release}, "release")

    def record(self, **changes: Any) -> None:
        """Let the monitor say something."""
        record = {**RECORD, "manifest_sha256": self.manifest, **changes}
        Ledger().append(
            lambda seq: {f"monitoring/{seq:08d}.json": {**record, "seq": seq}},
            "monitor",
        )

    def drift(self, count: int = 600, days: float = 28, **changes: Any) -> None:
        """Let production answer, and the monitor say that a retraining is due."""
        self.traffic(count, 80, days)
        self.record(**changes)

    def merge(self, message: str) -> None:
        """Commit all that changed to main and push it."""
        git("add", "-A")
        git("commit", "-qm", message)
        git("push", "-q", "origin", "main")

    def work_on(self, branch: str) -> str:
        """Let a person push a commit to a branch; return the commit."""
        git("checkout", "-q", "-B", "work", f"origin/{branch}")
        git("commit", "-q", "--allow-empty", "-m", "one more thing")
        git("push", "-q", "origin", f"work:{branch}")
        return git("rev-parse", "work")

    def traffic(self, count: int, day: float, days: float, seed: int = 1) -> None:
        """Let production answer, and the labels come."""
        table = traffic.flights(count, day, days, seed)
        traffic.write(self.log, table, sha=self.manifest)
        traffic.label(self.labels, table)

    def branches(self) -> list[str]:
        """Return the branches of origin."""
        heads = git("ls-remote", "--heads", "origin").splitlines()
        return [line.split("refs/heads/")[1] for line in heads]


class Folder:
    """Stands in for DVC's storage, which is slow and has its own tests."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def pull(self, outs: list[lock.Out], into: Path) -> list[Path]:
        """Copy objects into a folder."""
        places = [into / out.name for out in outs]
        for out, place in zip(outs, places, strict=True):
            place.write_bytes((self.home / out.md5).read_bytes())
        return places

    def push(self, files: dict[Path, lock.Out]) -> None:
        """Keep objects."""
        self.home.mkdir(exist_ok=True)
        for path, out in files.items():
            assert named(path).md5 == out.md5
            (self.home / out.md5).write_bytes(path.read_bytes())

    def missing(self, outs: list[lock.Out]) -> list[lock.Out]:
        """Return what is not there."""
        return [out for out in outs if not (self.home / out.md5).exists()]


def named(path: Path) -> lock.Out:
    """Name the bytes of a file."""
    data = path.read_bytes()
    return lock.Out("train", str(path), hashlib.md5(data).hexdigest(), len(data))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Give a GitHub that keeps what it is told."""
    found = Hub()
    monkeypatch.setattr(github, "api", found.api)
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    for name in ("GITHUB_RUN_ID", "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GH_TOKEN", "APP_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def world(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hub: Hub,
    request: pytest.FixtureRequest,
) -> World:
    """Give a world, and stand in its clone; `dvc` marks where storage is real."""
    monkeypatch.chdir(tmp_path)
    if getattr(request, "param", "") != "dvc":
        folder = Folder(tmp_path / "objects")
        for name in ("pull", "push", "missing"):
            monkeypatch.setattr(storage, name, getattr(folder, name))
    git("init", "-q", "--bare", "-b", "main", "origin")
    git("clone", "-q", "origin", "clone")
    monkeypatch.chdir(tmp_path / "clone")
    git("checkout", "-q", "-B", "main")
    found = World(tmp_path, hub)
    found.build()
    monkeypatch.setenv("PREDICTION_LOG", str(found.log))
    monkeypatch.setenv("LABELS", str(found.labels))
    monkeypatch.setattr(sys, "argv", ["monitor", "--record"])
    return found


@pytest.mark.parametrize("world", ["dvc"], indirect=True)
def test_f15_one_pull_request_is_opened_and_found_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.drift()
    before = git("rev-parse", "HEAD"), git("branch"), git("status", "--porcelain")
    retrain.main()
    branch = "retrain/2020-04-17-v1.0.0"
    assert "opened #1: pull/1" in capsys.readouterr().out
    assert world.branches() == ["ledger", "main", branch]
    changed = git("diff", "--name-only", "main", f"origin/{branch}")
    assert changed == "data/flights.parquet.dvc"
    now = git("rev-parse", "HEAD"), git("branch"), git("status", "--porcelain")
    assert before == now
    tip = git("rev-parse", f"origin/{branch}")
    retrain.main()
    assert "nothing changed" in capsys.readouterr().out
    assert git("ls-remote", "origin", branch).split()[0] == tip
    assert len(world.hub.pulls) == 1 and world.hub.made("PATCH", "pulls/1") == 0
    assert world.hub.pulls[0]["labels"] == ["retraining"]

    pointer = lock.pointers(f"origin/{branch}")["data/flights.parquet"]
    (data,) = storage.pull([pointer], world.home)
    table = pd.read_parquet(data)
    assert len(table) == 3600 and list(table) == [
        *("flight_id", "scheduled_departure", "carrier", "distance", "temp", "late")
    ]
    assert table["scheduled_departure"].is_monotonic_increasing


def test_f15_newer_rows_update_the_one_that_is_open(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.drift(days=20)
    retrain.main()
    old = git("ls-remote", "origin", "retrain/*").split()
    world.traffic(300, 100, 10, seed=2)
    (Path("later.txt")).write_text("main moves on")
    world.merge("else")
    world.record(sentence="Retrain: more.")
    retrain.main()
    assert "updated #1" in capsys.readouterr().out
    new = git("ls-remote", "origin", "retrain/*").split()
    assert old[1] == new[1] and old[0] != new[0]
    assert git("log", "--format=%s", f"origin/main..{new[0]}").count("\n") == 0
    assert git("rev-parse", f"{new[0]}^") == git("rev-parse", "origin/main")
    (pull,) = world.hub.pulls
    assert pull["title"].endswith("until 2020-04-19") and "more" in pull["body"]
    assert not any("merge" in path for _, path in world.hub.calls), "a person merges"


def test_new_data_is_stored_under_this_repositorys_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `make prune` of another repository would take it; the control: no news."""
    did: list[str] = []
    monkeypatch.setattr(storage, "missing", lambda outs: outs)
    monkeypatch.setattr(storage, "push", lambda files: did.append("push"))
    monkeypatch.setattr(owner, "claim_here", lambda: did.append("claim"))
    old = lock.Out("data", "data/a.parquet", "0" * 32, 3)
    (tmp_path / "new.parquet").write_bytes(b"new")
    out = retrain.store(tmp_path / "new.parquet", old)
    assert did == ["claim", "push"]
    retrain.store(tmp_path / "new.parquet", out)
    assert did == ["claim", "push"]


def test_the_data_are_what_the_stages_read_whatever_the_model_is_called(
    world: World,
) -> None:
    """A renamed model is retrained too: no file's name is made from the contract's."""
    named_after = rows.SMALL.replace("name: flights", "name: lateness")
    Path("contract.yaml").write_text(named_after)
    world.merge("rename the model")
    world.drift()
    retrain.main()
    (pull,) = world.hub.pulls
    assert pull["title"].startswith("Retrain lateness on data until ")
    changed = git("diff", "--name-only", "main", f"origin/{pull['head']['ref']}")
    assert changed == "data/flights.parquet.dvc"


@pytest.mark.parametrize("tables", [[], ["data/flights.parquet", "data/more.parquet"]])
def test_stages_that_read_no_table_or_several_are_refused(
    world: World, tables: list[str]
) -> None:
    """There is no telling which table the newer rows belong to."""
    Path("data/more.parquet").write_bytes(b"more")
    world.point("data/more.parquet")
    world.stages(tables)
    world.merge("other tables")
    world.drift()
    with pytest.raises(SystemExit, match=f"one tracked file, found {len(tables)}"):
        retrain.main()
    assert not world.hub.pulls and world.branches() == ["ledger", "main"]


@pytest.mark.parametrize("decision", ["watch", "stop", "not enough data", "no verdict"])
def test_other_decisions_propose_nothing(world: World, decision: str) -> None:
    world.drift()
    world.record(decision=decision)
    retrain.main()
    assert world.hub.calls == [] and world.branches() == ["ledger", "main"]


def test_f21_the_newest_record_is_the_last_one_not_the_latest_clock(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.traffic(600, 80, 28)
    world.record(decision="retrain", time="2031-01-02T00:00:00+00:00")
    world.record(decision="watch", time="2031-01-01T00:00:00+00:00")  # a day behind
    retrain.main()
    assert "decided `watch`" in capsys.readouterr().out and not world.hub.pulls


def test_a_record_about_another_version_proposes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.traffic(600, 80, 28)
    retrain.main()
    assert "recorded nothing yet" in capsys.readouterr().out
    world.record(manifest_sha256="b" * 64)
    retrain.main()
    assert "another version" in capsys.readouterr().out
    assert world.hub.calls == []


def test_f20_rows_without_a_label_are_not_trained_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    table = traffic.flights(600, 80, 28)
    traffic.write(world.log, table, sha=world.manifest)
    world.record()
    retrain.main()
    assert "nothing to propose" in capsys.readouterr().out and not world.hub.pulls
    traffic.label(world.labels, table.head(100))
    flipped = table.head(10).assign(late=1 - table["late"])
    traffic.label(world.labels, flipped)
    retrain.main()
    body = world.hub.pulls[0]["body"]
    assert "3,090 rows, 90 new" in body
    assert "10 contradictory, 510 without a label" in body


def test_what_is_open_is_closed_with_a_reason_when_the_drift_is_gone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.record(decision="none", sentence="Nothing to do: <b>calm</b>.")
    retrain.main()
    assert "nothing to propose" in capsys.readouterr().out and not world.hub.pulls
    world.drift()
    retrain.main()
    world.record(decision="watch")
    retrain.main()
    assert world.hub.pulls[0]["state"] == "open"
    world.record(decision="none", sentence="Nothing to do: <b>calm</b>.")
    retrain.main()
    assert "closed #1: the newest window shows no drift" in capsys.readouterr().out
    (pull,) = world.hub.pulls
    assert pull["state"] == "closed" and "calm" in pull["comments"][0]
    assert "<b>" not in pull["comments"][0]
    done = [Ledger().read(path) or {} for path in Ledger().paths("proposals/")]
    assert [entry["action"] for entry in done] == ["opened", "closed"]


def test_one_that_a_person_works_on_is_not_closed(world: World) -> None:
    world.drift(days=20)
    retrain.main()
    branch = world.hub.pulls[0]["head"]["ref"]
    world.work_on(branch)
    world.record(decision="none")
    retrain.main()
    assert world.hub.pulls[0]["state"] == "open"


def test_the_next_proposal_waits_its_days(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("params.yaml").read_text().replace("min_days: 0", "min_days: 7")
    Path("params.yaml").write_text(text)
    world.merge("one a week")
    world.drift()
    retrain.main()
    world.hub.pulls[0]["state"] = "closed"
    world.traffic(300, 108, 10, seed=2)
    world.record(sentence="Retrain: more.")
    retrain.main()
    assert "7 days later" in capsys.readouterr().out
    assert world.hub.made("POST", "pulls") == 1
    week_ago = datetime.now(UTC) - timedelta(days=8)
    world.hub.pulls[0]["created_at"] = week_ago.isoformat()
    retrain.main()
    assert "opened #2" in capsys.readouterr().out


def test_a_closed_proposal_is_not_opened_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.drift()
    retrain.main()
    world.hub.pulls[0]["state"] = "closed"
    retrain.main()
    assert "#1 already proposed this" in capsys.readouterr().out
    assert world.hub.made("POST", "pulls") == 1


def test_a_branch_on_which_somebody_worked_is_left_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.drift(days=20)
    retrain.main()
    branch = world.hub.pulls[0]["head"]["ref"]
    tip = world.work_on(branch)
    world.traffic(300, 100, 10, seed=2)
    world.record(sentence="Retrain: more.")
    retrain.main()
    assert "Somebody works on #1" in capsys.readouterr().out
    assert git("ls-remote", "origin", branch).split()[0] == tip


def test_a_fork_cannot_pose_as_the_open_proposal(world: World) -> None:
    world.hub.open("retrain/x", {}, repo="stranger/r")
    world.drift()
    retrain.main()
    assert world.hub.made("POST", "pulls") == 1 and len(world.hub.pulls) == 2


def test_f15_runs_that_overlap_leave_one(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drift()
    real = world.hub.open

    def slower(branch: str, fields: Record, repo: str = "o/r") -> Record:
        real("retrain/other", {})
        return real(branch, fields, repo)

    monkeypatch.setattr(world.hub, "open", slower)
    retrain.main()
    assert [pull["state"] for pull in world.hub.pulls] == ["open", "closed"]
    assert "#1 was opened at the same time" in capsys.readouterr().out
    error = github.GitHubError(422, "A pull request already exists for o:x.")
    world.hub.refuse["POST", "pulls"], world.hub.pulls = error, []
    retrain.main()
    assert "has just opened it" in capsys.readouterr().out


def test_without_the_right_to_open_one_the_branch_is_pushed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.drift()
    error = github.GitHubError(403, "Actions is not permitted to create pull requests")
    world.hub.refuse["POST", "pulls"] = error
    retrain.main()
    branch = "retrain/2020-04-17-v1.0.0"
    assert f"https://github.com/o/r/pull/new/{branch}" in capsys.readouterr().out
    assert branch in world.branches()


def test_mistakes_are_one_sentence(world: World) -> None:
    world.drift()
    world.labels.write_text("id,late\nx,perhaps\n")
    with pytest.raises(SystemExit, match="lines of the labels are corrupt"):
        retrain.main()
    world.hub.refuse["GET", "pulls"] = github.GitHubError(500, "GitHub refused")
    world.labels.unlink()
    traffic.label(world.labels, traffic.flights(600, 80, 28, 1))
    with pytest.raises(SystemExit, match="GitHub refused"):
        retrain.main()


def test_not_configured_is_green(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREDICTION_LOG", raising=False)
    retrain.main()
    assert "not configured" in capsys.readouterr().out


def test_body_is_inert_and_says_the_one_click(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gain = {"champion": 0.7, "challenger": 0.75, "difference": 0.05}
    gain |= {"low": 0.04, "high": 0.06, "confidence": 0.99}
    check = {"name": "drift of <b>@x</b>", "passed": False, "value": "1 | 2"}
    record = {**RECORD, "path": "monitoring/1.json", "manifest_sha256": "a" * 64}
    record |= {"expectation": gain, "checks": [{**check, "limit": "", "note": ""}]}
    monkeypatch.delenv("APP_CLIENT_ID", raising=False)
    text = retrain.body(record, {"rows": 5})
    assert "<b>" not in text and "@x" not in text and "temp |" not in text
    assert "0.750 instead of the champion's 0.700: +0.050 [+0.040, +0.060]" in text
    assert "Approve workflows to run" in text
    monkeypatch.setenv("APP_CLIENT_ID", "1")
    assert "Approve workflows" not in retrain.body(record, {"rows": 5})


# The data


def test_harvest_keeps_the_contract_and_the_newest_days() -> None:
    old = traffic.flights(1000, 0, 100).drop(columns="probability")
    fresh = traffic.flights(500, 100, 30, seed=1)
    fresh = fresh.astype({"distance": object, "carrier": object, "late": "float64"})
    fresh.loc[:9, "distance"] = "far"
    fresh.loc[10:14, "carrier"] = "ZZ"
    again = fresh.tail(5).assign(flight_id=old["flight_id"].tail(5).to_numpy())
    both = pd.concat([fresh, fresh.tail(3), again], ignore_index=True)
    made = grown.build(old, both, CONTRACT, 60, 0.05)
    assert made.counts["quarantined"] == 15 and made.counts["new"] == 485
    assert made.table["flight_id"].is_unique
    times = made.table["scheduled_departure"]
    assert times.max() - times.min() <= pd.Timedelta(days=60)
    assert made.counts["rows"] + made.counts["dropped"] == 1485
    assert made.table.dtypes.to_dict() == old.dtypes.to_dict()
    assert not np.isin(["ZZ"], made.table["carrier"]).any()


@pytest.mark.parametrize(("lost", "stops"), [(10, False), (11, True)])
def test_rows_that_mostly_break_the_contract_are_not_trained_on(
    lost: int, stops: bool, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate on the data comes first; up to it, broken rows are only left out."""
    table = traffic.flights(200, 80, 28).astype({"distance": object})
    table.loc[: lost - 1, "distance"] = "far"
    traffic.write(world.log, table, sha=world.manifest)
    traffic.label(world.labels, table)
    world.record()
    if stops:
        with pytest.raises(SystemExit, match="11 of 200 labelled rows"):
            retrain.main()
        assert not world.hub.pulls and world.branches() == ["ledger", "main"]
    else:
        retrain.main()
        assert "190 new, 0 dropped, 10 quarantined" in world.hub.pulls[0]["body"]


def test_rows_outside_of_the_contract_wait_for_its_growth(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pull request says what to write, and takes the rows once main allows them."""
    table = traffic.flights(600, 80, 28).astype({"carrier": object, "distance": object})
    table.loc[:49, "carrier"] = "<b>ZZ"
    table.loc[50:52, "carrier"] = "seldom"
    table.loc[60:64, "distance"] = 7000.0
    traffic.write(world.log, table, sha=world.manifest)
    traffic.label(world.labels, table)
    world.record()
    retrain.main()
    (pull,) = world.hub.pulls
    body = pull["body"]
    assert "542 new" in body and "58 quarantined" in body
    assert "53 rows have a category of carrier" in body and "ZZ" in body
    assert "columns.carrier.categories" in body and "outside 0 to 6000" in body
    assert "<b>" not in body and "seldom" not in body, "three rows may be a person"
    grown = rows.SMALL.replace("UA]", "UA, <b>ZZ]").replace("6000", "9000")
    Path("contract.yaml").write_text(grown)
    world.merge("let the contract take newer rows")
    retrain.main()
    assert "updated #1" in capsys.readouterr().out
    assert "597 new" in pull["body"] and "6000" not in pull["body"]


def test_the_same_rows_give_the_same_bytes() -> None:
    old = traffic.flights(300).drop(columns="probability")
    fresh = traffic.flights(200, 28, seed=1)
    shuffled = fresh.sample(200, random_state=1), old.sample(300, random_state=1)
    first = grown.build(old, fresh, CONTRACT, 100, 0.05).table
    second = grown.build(shuffled[1], shuffled[0], CONTRACT, 100, 0.05).table
    assert training_data.parquet(first) == training_data.parquet(second)


def sensitive(*names: str) -> Contract:
    """Return the small contract with sensitive columns."""
    return Contract.parse({**yaml.safe_load(rows.SMALL), "sensitive": list(names)})


def unlogged(contract: Contract, brought: dict[str, list[str]]) -> pd.DataFrame:
    """Return nine rows as logged, and what their labels brought along, in order."""
    fresh = traffic.flights(9, 28, seed=1)
    by_column = {
        name: dict(zip(fresh["flight_id"], values, strict=False))
        for name, values in brought.items()
    }
    fresh = fresh.assign(**dict.fromkeys(contract.sensitive))
    return training_data.add_sensitive(fresh, by_column, contract)


def test_sensitive_values_come_with_the_labels_and_retraining_goes_on() -> None:
    contract = sensitive("carrier", "distance")
    old = traffic.flights(300).drop(columns="probability")
    brought = {"carrier": ["AA"] * 8, "distance": ["10.5"] * 7 + ["far", "9"]}
    fresh = unlogged(contract, brought)
    made = grown.build(old, fresh, contract, 100, 0.5)
    assert made.counts == {
        "rows": 307,
        "new": 7,
        "dropped": 0,
        "quarantined": 1,
        'without "carrier", set aside': 1,
    }
    added = made.table[~made.table["flight_id"].isin(old["flight_id"])]
    assert set(added["carrier"]) == {"AA"} and set(added["distance"]) == {10.5}


def test_a_sensitive_column_that_may_be_missing_stays_empty() -> None:
    """It is never made up, and a model that takes it learns from no row without it."""
    contract = sensitive("temp")
    old = traffic.flights(300).drop(columns="probability")
    fresh = unlogged(contract, {})
    made = grown.build(old, fresh, contract, 100, 0.05, ["carrier"])
    assert made.counts["new"] == 9 and made.counts['without "temp", kept'] == 9
    assert made.table["temp"].tail(9).isna().all()
    with pytest.raises(ContractError, match='no label has "temp"'):
        grown.build(old, fresh, contract, 100, 0.05, ["temp"])
    some = unlogged(contract, {"temp": ["50", "60"]})
    made = grown.build(old, some, contract, 100, 0.05, ["temp"])
    assert made.counts["new"] == 2 and made.counts['without "temp", set aside'] == 7


def test_a_required_sensitive_column_that_no_label_has_is_said() -> None:
    contract = sensitive("carrier")
    old = traffic.flights(300).drop(columns="probability")
    with pytest.raises(ContractError, match="add that column to the labels"):
        grown.build(old, unlogged(contract, {}), contract, 100, 0.05)


def test_a_sensitive_column_forbids_no_retraining(world: World) -> None:
    """From the log, which lacks it, and the labels, which bring it, to the proposal."""
    Path("contract.yaml").write_text(rows.SMALL + "sensitive: [carrier]\n")
    world.merge("carrier is sensitive")
    table = traffic.flights(600, 80, 28, 1)
    traffic.write(world.log, table.drop(columns="carrier"), sha=world.manifest)
    columns = {"flight_id": "id", "late": "late", "carrier": "carrier"}
    labels = table[list(columns)].rename(columns=columns)
    labels.to_csv(world.labels, index=False)
    world.record()
    retrain.main()
    (pull,) = world.hub.pulls
    assert "3,600 rows, 600 new" in pull["body"] and "carrier" not in pull["body"]
    (pointer,) = lock.pointers(f"origin/{pull['head']['ref']}").values()
    (data,) = storage.pull([pointer], world.home)
    made = pd.read_parquet(data).set_index("flight_id")["carrier"]
    expected = table.set_index("flight_id")["carrier"]
    assert (made[expected.index] == expected).all()


def test_the_pointer_is_what_dvc_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dvc = (sys.executable, "-m", "dvc")
    subprocess.run((*dvc, "init", "-q", "--no-scm"), check=True)
    Path("data").mkdir()
    Path("data/flights.parquet").write_bytes(b"old")
    subprocess.run((*dvc, "add", "-q", "data/flights.parquet"), check=True)
    old = Path("data/flights.parquet.dvc").read_bytes()
    Path("data/flights.parquet").write_bytes(b"newer")
    subprocess.run((*dvc, "add", "-q", "data/flights.parquet"), check=True)
    new = named(Path("data/flights.parquet"))
    assert retrain.repoint(old, new) == Path("data/flights.parquet.dvc").read_bytes()


# The monitor's own command, in the same world


def test_monitor_records_once_and_stops_on_a_broken_feed(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.traffic(60, 74, 5)
    monitor.main()
    assert "recorded as monitoring/00000001.json" in capsys.readouterr().out
    monitor.main()
    assert "not recorded" in capsys.readouterr().out
    (found,) = [p for p in Ledger().paths("monitoring/") if p.endswith(".json")]
    said = Ledger().read(found)
    assert said is not None and said["decision"] == "not enough data"
    assert said["seq"] == 1 and said["manifest_sha256"] == world.manifest
    assert "not enough data" in Path("build/monitor.html").read_text()
    with monkeypatch.context() as later:
        later.setattr(heartbeat, "age_days", lambda record: 3.4)
        monitor.main()
        assert "not recorded" in capsys.readouterr().out
        later.setattr(heartbeat, "age_days", lambda record: 3.6)
        monitor.main()  # half a period on: that it ran is news
    assert "recorded as monitoring/00000002.json" in capsys.readouterr().out
    lost = traffic.flights(2000, 80, 22, seed=3).assign(temp=np.nan)
    traffic.write(world.log, lost, sha=world.manifest)
    with pytest.raises(SystemExit, match=r"Fix the input data: .*temp.* no values"):
        monitor.main()
    said = Ledger().read("monitoring/00000003.json")
    assert said is not None and said["decision"] == "stop"
    retrain.main()
    assert "decided `stop`" in capsys.readouterr().out and not world.hub.calls


def test_monitor_without_anything_in_production_is_green(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.traffic(60, 74, 28)
    release = {"version": "v1.0.0", "manifest_sha256": "a", "state": "failed"}
    Ledger().append({"environments/production/release.json": release}, "failed")
    Path("build/manifest.json").unlink()
    monitor.main()
    assert "No version is in production yet" in capsys.readouterr().out


def test_monitor_refuses_a_version_that_is_not_the_released_one(world: World) -> None:
    world.traffic(60, 74, 28)
    world.release("c" * 64)
    with pytest.raises(SystemExit, match="sha256"):
        monitor.main()


@pytest.mark.parametrize("world", ["dvc"], indirect=True)
def test_drift_to_pull_request(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: what production saw, the decision, the proposal."""
    table = traffic.flights(4000, 74, 28, seed=9)
    table["late"] = 1 - table["late"]  # the world turns
    folder = Path("build")
    columns = json.loads((folder / "manifest.json").read_text())["columns"]
    model = reference.Model(folder / "model.onnx", CONTRACT, columns)
    scores = model.score(table)
    table = table.assign(probability=scores)
    traffic.write(world.log, table, sha=world.manifest)
    traffic.label(world.labels, table)
    monitor.main()
    assert "Retrain: " in capsys.readouterr().out
    retrain.main()
    (pull,) = world.hub.pulls
    assert "### What to expect\nOn the newest days" in pull["body"]
