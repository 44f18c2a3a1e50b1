"""A small project for the tests of the judge: real git, DVC, training and storage.

GitHub is kept in memory behind `mlgitops.github`; everything else is the real thing, on
six thousand made-up rows, so that it also shows that nothing knows about flights.
"""

import atexit
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import warm
from mlgitops import git as commits
from mlgitops import github, storage
from mlgitops.ledger import Ledger

ROOT = Path.cwd()
COPIED = ("mlgitops", "model", "requirements/pipeline.txt", "dvc.yaml")
CONFIG = """\
[core]
    remote = storage
    analytics = false
    autostage = true
['remote "storage"']
    url = {url}
    verify = true
"""
CONTRACT = {
    "name": "demand",
    "task": "binary",
    "id": "order",
    "time": "placed",
    "target": "returned",
    "sensitive": [],
    "columns": {
        "shop": {"type": "category", "categories": ["a", "b", "c"], "missing": False},
        "price": {"type": "number", "min": -10, "max": 10, "missing": False},
        "age": {"type": "number", "min": -10, "max": 10, "missing": True},
    },
}
TASKS: dict[str, dict[str, Any]] = {  # what each task's contract and params differ in
    "binary": {
        "gates": {
            "roc_auc": {"min": 0.6, "max": 0.98, "margin": 0.01},
            "calibration_error": {"max": 0.1},
            "licences": ["MIT"],
        }
    },
    "multiclass": {
        "contract": {"task": "multiclass", "classes": ["low", "mid", "high"]},
        "gates": {
            "roc_auc_macro": {"min": 0.6, "max": 0.98, "margin": 0.01},
            "calibration_error": {"max": 0.1},
        },
        "business": {
            "unit": "euros",
            "worth": {
                "low": {"low": 3, "mid": -1, "high": -9},
                "mid": {"low": -1, "mid": 3, "high": -1},
                "high": {"low": -9, "mid": -1, "high": 3},
            },
        },
        "fairness": {"selection_rate_max": 0.2, "error_rate_max": 0.2},
    },
    "regression": {
        "contract": {"task": "regression"},
        "gates": {"r2": {"min": 0.1, "max": 0.98, "margin": 0.01}},
        "business": {"unit": "euros", "over": 1, "under": 3},
        "fairness": {"mean_error_max": 2, "absolute_error_max": 2},
    },
}
OWN = {"roc_auc", "calibration_error"}  # those of params.yaml that are of its task
WORTH = {
    "unit": "euros",
    "true_positive": 20,
    "false_positive": -10,
    "false_negative": 0,
    "true_negative": 0,
}
WHO = {
    f"GIT_{r}_{f}": "t@t" for r in ("AUTHOR", "COMMITTER") for f in ("NAME", "EMAIL")
}
Record = dict[str, Any]


def git(*args: str, cwd: Path | str = ".") -> str:
    """Run git."""
    command = ("git", *args)
    env = {**os.environ, **WHO}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def contract(task: str = "binary") -> Record:
    """Return the contract of a task as its file holds it."""
    return {**CONTRACT, **TASKS[task].get("contract", {})}


def rows(count: int = 6000, seed: int = 0, task: str = "binary") -> pd.DataFrame:
    """Return rows over 40 days whose target hangs on price, and on age a bit more."""
    random = np.random.default_rng(seed)
    price, age = random.normal(size=(2, count))
    chance = random.random(count)
    target = (1 / (1 + np.exp(1 - price - 1.5 * age)) > chance).astype("int8")
    if task != "binary":
        score = price + 1.5 * age + np.log(chance / (1 - chance))
        target = 10 + 3 * score
    if task == "multiclass":
        place = np.searchsorted([-1.0, 1.5], score)
        target = np.array(["low", "mid", "high"], dtype=object)[place]
    hours = pd.to_timedelta(np.linspace(0, 40 * 24, count), unit="h")
    return pd.DataFrame(
        {
            "order": [f"o{seed}-{n}" for n in range(count)],
            "placed": (pd.Timestamp("2025-01-01", tz="UTC") + hours).floor("s"),
            "shop": random.choice(["a", "b", "c"], count),
            "price": price.astype("float32"),
            "age": np.where(random.random(count) < 0.05, np.nan, age).astype("float32"),
            "returned": target,
        }
    )


def params(columns: list[str], task: str = "binary") -> Record:
    """Return the project's own params, made small, for a task."""
    found = yaml.load((ROOT / "params.yaml").read_bytes(), yaml.CSafeLoader)
    about, gates = TASKS[task], found["gates"]
    shared = {name: gates[name] for name in gates if name not in OWN}
    found["gates"] = {**about["gates"], **shared}
    found["business"] = about.get("business", WORTH)
    found["train"] |= {"estimator": "hist_gradient_boosting", "threshold": 0.3}
    if task != "binary":
        del found["train"]["threshold"]
    found["prepare"] = {"split": "time", "holdout_days": 14, "train_days": 90}
    found["train"]["columns"] = columns
    found["train"]["hist_gradient_boosting"]["max_iter"] = 20
    limits = {"selection_rate_max": 0.2, "equalized_odds_max": 0.2}
    limits = about.get("fairness", limits)
    found["fairness"] = {"columns": ["shop"], "min_rows": 300, **limits}
    return dict(found)


class Project:
    """A bare origin, its storage, and a clone that its author works in."""

    def __init__(
        self, home: Path, url: str = "../../store", task: str = "binary"
    ) -> None:
        """Make one of the task's rows; `new` is faster."""
        self.home, self.pulls, self.task = home, 0, task
        self.clone = home / "author"
        git("init", "-q", "--bare", "-b", "main", "origin", cwd=home)
        git("clone", "-q", str(home / "origin"), "author", cwd=home)
        for name in COPIED:
            source, target = ROOT / name, self.clone / name
            target.parent.mkdir(exist_ok=True)
            skip = shutil.ignore_patterns("__pycache__")
            if source.is_dir():
                shutil.copytree(source, target, ignore=skip)
            else:
                shutil.copy(source, target)
        (self.clone / ".dvc").mkdir()
        config = CONFIG.format(url=url)
        self.write(".dvc/config", config)
        self.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n/branch\n")
        self.write(".gitignore", "__pycache__/\n/build/\n/artifact/\n")
        self.write(".dvcignore", "__pycache__\n")
        self.write("contract.yaml", yaml.safe_dump(contract(task), sort_keys=False))
        self.params(["shop", "price"])
        self.data(rows(task=task))
        self.commit("start")
        git("push", "-q", "origin", "main", cwd=self.clone)
        for folder in (self.clone, home / "origin"):  # few files to copy
            git("repack", "-a", "-d", "-q", cwd=folder)

    def copy(self, home: Path) -> "Project":
        """Return the same project elsewhere, so that a test can change it."""
        shutil.copytree(self.home, home, dirs_exist_ok=True, symlinks=True)
        new = object.__new__(Project)
        new.home, new.pulls, new.clone = home, self.pulls, home / "author"
        new.task = self.task
        git("remote", "set-url", "origin", str(home / "origin"), cwd=new.clone)
        return new

    def write(self, name: str, text: str) -> None:
        """Write a file of the author's."""
        path = self.clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def params(self, columns: list[str], **train: Any) -> None:
        """Set what the model learns from, and other settings of training."""
        found = params(columns, self.task)
        found["train"].update(train)
        self.write("params.yaml", yaml.safe_dump(found, sort_keys=False))

    def data(self, frame: pd.DataFrame, push: bool = True) -> None:
        """Track other rows, and send them to storage."""
        file = self.clone / "data" / "flights.parquet"
        file.parent.mkdir(exist_ok=True)
        frame.to_parquet(file, index=False)
        out = storage.add("data/flights.parquet", self.clone)
        if push:
            storage.push({file: out}, self.clone)

    def commit(self, message: str) -> str:
        """Commit everything; return the commit."""
        git("add", "-A", cwd=self.clone)
        git("commit", "-q", "--allow-empty", "-m", message, cwd=self.clone)
        return git("rev-parse", "HEAD", cwd=self.clone)

    def propose(self, branch: str = "change") -> Record:
        """Commit what the author changed on a branch; return the pull request."""
        git("switch", "-q", "-c", branch, cwd=self.clone)
        self.commit(f"propose {branch}")
        self.pulls += 1
        return self.push(branch, self.pulls)

    def push(self, branch: str, number: int) -> Record:
        """Push the branch as GitHub keeps a pull request."""
        spec = (branch, f"{branch}:refs/pull/{number}/head")
        git("push", "-q", "-f", "origin", *spec, cwd=self.clone)
        base = git("rev-parse", "origin/main", cwd=self.clone)
        repo = {"full_name": "o/r", "clone_url": str(self.home / "origin")}
        repo["default_branch"] = "main"
        head = git("rev-parse", branch, cwd=self.clone)
        return {
            "number": number,
            "state": "open",
            "user": {"login": "ann"},
            "head": {"sha": head, "ref": branch, "repo": repo, "user": {"login": "o"}},
            "base": {"sha": base, "ref": "main", "repo": repo},
        }

    def checkout(self, name: str, *merge: str) -> Path:
        """Give a fresh clone of main as a runner has it, with heads merged into it."""
        folder = self.home / name
        shutil.rmtree(folder, ignore_errors=True)
        git("clone", "-q", str(self.home / "origin"), name, cwd=self.home)
        for head in merge:
            git("merge", "-q", "--no-ff", "--no-edit", head, cwd=folder)
        return folder

    def train(
        self, pull: Record, *, clean: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run the program of `train` as its workflow does; its folder is `runner`."""
        runner = self.home / "runner"
        if clean:
            self.checkout("runner", pull["head"]["sha"])
        event = self.home / "event.json"
        event.write_text(json.dumps({"pull_request": pull}))
        env = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
        env |= {"GITHUB_EVENT_PATH": str(event), **WHO}
        env["PATH"] = warm.path(env["PATH"])
        command = [sys.executable, "-m", "mlgitops", "build"]
        return subprocess.run(
            command, cwd=runner, env=env, capture_output=True, text=True
        )

    def built(self, pull: Record) -> bytes:
        """Return the zip that `train` uploads, built for real."""
        done = self.train(pull)
        assert done.returncode == 0, done.stdout + done.stderr
        return packed(self.home / "runner" / "artifact")

    def merge(self, pull: Record) -> str:
        """Merge to main as a person does; return main's commit."""
        git("switch", "-q", "main", cwd=self.clone)
        git("merge", "-q", "--no-ff", "--no-edit", pull["head"]["ref"], cwd=self.clone)
        git("push", "-q", "origin", "main", cwd=self.clone)
        return git("rev-parse", "HEAD", cwd=self.clone)

    def release(self, manifest_sha256: str, commit: str) -> None:
        """Let production run a version, whose tag stands on a commit with its lock."""
        ledger = Ledger(self.clone)
        verdict = ledger.verdicts(manifest_sha256)[-1]
        files = {"dvc.lock": ledger.lock(verdict["lock_sha256"])}
        tagged = commits.commit(files, "lock", "registry", commit, self.clone)
        tag = f"refs/tags/demand@{ledger.seq}"
        git("push", "-q", "origin", f"{tagged}:{tag}", cwd=self.clone)
        record = {"manifest_sha256": manifest_sha256, "commit": tagged}
        record |= {"state": "confirmed", "action": "deploy", "tag": "demand@v1.0.0"}
        record |= {"verdict": verdict["path"], "seq": ledger.seq, "previous": None}
        folder = "environments/production"
        names = ("release.json", f"history/{ledger.seq:08d}.json")
        ledger.append({f"{folder}/{name}": record for name in names}, "release")


def packed(folder: Path) -> bytes:
    """Return a folder as the artifact service hands it out."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return data.getvalue()


def kept(name: str) -> Path:
    """Return a folder that is kept until this process ends."""
    folder = TemporaryDirectory(prefix=f"{name}-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _started(task: str) -> Project:
    """Return a project without a model; nobody changes this one."""
    return Project(kept("started"), task=task)


def new(home: Path, task: str = "binary") -> Project:
    """Return a project without a model, made once in a process and copied."""
    return _started(task).copy(home)


@cache
def first() -> tuple[Project, Record, bytes]:
    """Return a project, its first proposal, and the zip that `train` built of it.

    Made once in a process, for all files of tests; nobody changes this one.
    """
    project = new(kept("first"))
    pull = project.propose("first")
    return project, pull, project.built(pull)


class Hub:
    """What GitHub knows of one pull request, and what it was told."""

    def __init__(self, pull: Record, data: bytes, **run: Any) -> None:
        self.pull, self.data = pull, data
        self.others: Record = {}  # what GitHub answers of other pull requests
        self.comments: dict[int, str] = {}
        self.statuses: list[tuple[str, str, str]] = []
        self.event: Record | None = None  # what starts `validate`, if not a run
        self.page = b""  # of the report, as the run hands it over
        self.run = {
            "id": 5,
            "path": ".github/workflows/train.yml",
            "status": "completed",
            "conclusion": "success",
            "event": "pull_request",
            "head_sha": pull["head"]["sha"],
            "head_branch": pull["head"]["ref"],
            "head_repository": {"owner": {"login": "o"}},
            "html_url": "https://github.com/o/r/actions/runs/5",
            **run,
        }

    def api(
        self,
        path: str,
        method: str = "GET",
        fields: Record | None = None,
        *,
        raw: bool = False,
    ) -> Any:
        """Stand in for mlgitops.github.api."""
        if path == "actions/artifacts/9/zip":
            return self.data
        size = len(self.data)
        artifact = {"id": 9, "name": "challenger", "expired": False}
        answers: Record = {
            "pulls": [self.pull],
            f"pulls/{self.pull['number']}": self.pull,
            "actions/runs": {"workflow_runs": [self.run]},
            "actions/runs/5/artifacts": {
                "artifacts": [{**artifact, "size_in_bytes": size}]
            },
            "collaborators/olga/permission": {"role_name": "maintain"},
            **self.others,
        }
        return answers[path]

    def comment(self, number: int, marker: str, body: str) -> str:
        """Stand in for mlgitops.github.sticky_comment."""
        self.comments[number] = body
        return f"https://github.com/o/r/pull/{number}"

    def status(
        self, sha: str, context: str, state: str, words: str, url: str = ""
    ) -> None:
        """Stand in for mlgitops.github.status."""
        assert context == "validate"
        self.statuses.append((sha, state, words))

    def plug(self, patch: pytest.MonkeyPatch, event: Path) -> None:
        """Put this in GitHub's place, with the event that starts `validate`."""
        for name in [n for n in os.environ if n.startswith(("GITHUB_", "GH_"))]:
            patch.delenv(name)
        for name, value in WHO.items():
            patch.setenv(name, value)
        event.write_text(json.dumps(self.event or {"workflow_run": self.run}))
        patch.setenv("GITHUB_EVENT_PATH", str(event))
        patch.setenv("GITHUB_REPOSITORY", "o/r")
        patch.setenv("GITHUB_RUN_ID", "77")
        patch.setattr(github, "api", self.api)
        patch.setattr(github, "pages", lambda path, fields=None: self.api(path))
        patch.setattr(github, "sticky_comment", self.comment)
        patch.setattr(github, "status", self.status)
