"""Ledgers of a fleet, written by the ledger's own writer; no model is trained."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from machinery.world import git
from mlgitops.ledger import Ledger

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
MACHINERY = {"version": "1.0.0", "modified": []}
Record = dict[str, Any]


def sha(text: str) -> str:
    """Return a hash that stands for a manifest."""
    return hashlib.sha256(text.encode()).hexdigest()


class Book:
    """The ledger of one model; each call adds one record, a day after the last."""

    def __init__(self, folder: Path, name: str, **inventory: str) -> None:
        """Make an origin and a clone; the clone's folder is the repository's."""
        self.origin, self.folder = folder / "origin.git", folder / "clone"
        git("init", "-q", "--bare", "-b", "main", str(self.origin), cwd=folder)
        git("init", "-q", "-b", "main", str(self.folder), cwd=folder)
        git("remote", "add", "origin", "../origin.git", cwd=self.folder)
        self.name, self.ledger = name, Ledger(self.folder)
        self.inventory = {"name": name, **inventory}
        self.time = NOW - timedelta(days=40)
        self.together = False  # whether records wait for `flush`, which is cheaper
        self.waiting: dict[str, Record | bytes] = {}

    def add(self, kind: str, record: Record, *also: str) -> Record:
        """Append a record under `{seq}` in its path; return it with its path."""
        self.time += timedelta(days=1)
        seq = self.ledger.seq
        time, path = (
            self.time.isoformat(timespec="seconds"),
            kind.format(seq=f"{seq:08}"),
        )
        whole = {"schema": 1, "time": time, "seq": seq, **record}
        self.waiting = {**self.waiting, **dict.fromkeys((path, *also), whole)}
        if not self.together:
            self.flush()
        return {**whole, "path": path}

    def flush(self) -> None:
        """Append what waits as one commit."""
        self.ledger.append(self.waiting, "records")
        self.waiting = {}

    def verdict(self, version: str, value: float = 0.7, **changes: Any) -> Record:
        """Judge a version: its primary metric is above its floor of 0.6."""
        manifest = sha(f"{self.name} {version}")
        floor = {"id": "roc_auc.min", "title": "ROC AUC", "passed": value >= 0.6}
        floor |= {"reason": "", "metric": "roc_auc", "value": value}
        floor |= {"operator": ">=", "limit": 0.6}
        ceiling = floor | {"id": "roc_auc.max", "operator": "<=", "limit": 0.98}
        size = {"id": "model_size", "title": "Size", "passed": True, "reason": ""}
        size |= {"value": 0.25, "operator": "<=", "limit": 20.0, "unit": "MB"}
        metric = {"id": "roc_auc", "label": "ROC AUC", "better": "higher"}
        record = {
            "manifest_sha256": manifest,
            "passed": value >= 0.6,
            "checks": [floor, ceiling | {"passed": True}, size],
            "task": "binary",
            "primary": "roc_auc",
            "metrics": [{**metric, "challenger": value}],
            "rules_sha": "c" * 40,
            "machinery": MACHINERY,
            "inventory": self.inventory,
        }
        return self.add(f"verdicts/{manifest}/{{seq}}-7.json", {**record, **changes})

    def release(
        self, version: str, environment: str = "production", **changes: Any
    ) -> Record:
        """Deploy a version, by the newest verdict on it."""
        manifest = sha(f"{self.name} {version}")
        verdicts = self.ledger.verdicts(manifest)
        written = [p for p in self.waiting if p.startswith(f"verdicts/{manifest}/")]
        folder = f"environments/{environment}"
        record = {
            "environment": environment,
            "action": "deploy",
            "version": version,
            "tag": f"{self.name}@{version}",
            "manifest_sha256": manifest,
            "verdict": next(
                iter([*written, *(v["path"] for v in verdicts[::-1])]), None
            ),
            "server": {"commit": "c" * 40, "sha256": "5" * 64},
            "machinery": MACHINERY,
            "inventory": self.inventory,
            "state": "confirmed",
            "reason": None,
            "pull_request": 1,
        }
        path = f"{folder}/history/{{seq}}.json"
        return self.add(path, {**record, **changes}, f"{folder}/release.json")

    def run(self, version: str, **changes: Any) -> Record:
        """Let the monitor look at a version: nothing to do."""
        gate = {"id": "calibration_error", "label": "Calibration error", "rows": 9}
        gate |= {"operator": "<=", "limit": 0.1, "passed": True}
        gate |= {"value": 0.05, "low": 0.04, "high": 0.06, "holdout": 0.03}
        record = {
            "decision": "none",
            "sentence": "Nothing to do.",
            "version": version,
            "manifest_sha256": sha(f"{self.name} {version}"),
            "window": {"from": "2026-05-01", "until": "2026-05-28"},
            "every_days": 14.0,
            "metric": "ROC AUC",
            "measured": {"performance": 0.68, "estimated": 0.69, "drift": 0.4},
            "gates": [gate],
        }
        record["window"] |= {"rows": 1000, "labels": 800}
        return self.add("monitoring/{seq}.json", {**record, **changes})

    def propose(self, pull: int, action: str = "opened") -> Record:
        """Open, update or close a retraining pull request."""
        url = f"https://github.com/o/{self.name}/pull/{pull}"
        record = {"action": action, "pull": pull, "url": url}
        return self.add("proposals/{seq}.json", record)

    def overwrite(self, path: str, data: bytes) -> None:
        """Change a file as the ledger's own writer never would."""
        from mlgitops import git as commits

        parent = self.ledger.commit
        commit = commits.commit({path: data}, "lie", "x", parent, self.folder)
        git("push", "-q", "origin", f"{commit}:refs/heads/ledger", cwd=self.folder)
        self.ledger.refresh()


def served(folder: Path, name: str, **inventory: str) -> Book:
    """Return a model that was judged, deployed twice and watched, all well."""
    folder.mkdir()
    book = Book(folder, name, **inventory)
    book.verdict("v1.0.0", 0.65)
    book.release("v1.0.0", "staging")
    book.release("v1.0.0")
    book.time += timedelta(days=10)
    book.verdict("v1.1.0", 0.7)
    book.release("v1.1.0")
    book.time = NOW - timedelta(days=5)
    book.run("v1.1.0")
    return book


def fifty(folder: Path) -> list[Book]:
    """Return 50 models: each with a metric of its own, every tenth in some trouble."""
    books = []
    for number in range(50):
        (folder / str(number)).mkdir()
        owner, risk = f"team {number % 4}", ("high", "limited", "minimal")[number % 3]
        book = Book(folder / str(number), f"model-{number:02}", owner=owner, risk=risk)
        book.together, book.time = True, NOW - timedelta(days=9 + number % 20)
        value = round(0.61 + number / 200, 4)
        book.verdict("v1.0.0", value)
        book.release("v1.0.0", "staging")
        book.release("v1.0.0")
        measured = {"performance": round(value - 0.01, 4), "drift": number / 40}
        watch = {"decision": "watch", "sentence": "Drift in distance."}
        book.run("v1.0.0", measured=measured, **(watch if number > 40 else {}))
        book.flush()
        if number % 10 == 3:
            trouble = {"decision": "stop", "sentence": "Half of the rows are broken."}
            book.run("v1.0.0", **trouble)
            book.propose(number)
            book.flush()
        books.append(book)
    return books
