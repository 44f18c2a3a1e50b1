"""What a ledger of many records costs: `make ledger`.

A repository with a ledger of made-up records, one commit each as commands write them.
Of 100, 60 are runs of the monitor, 24 verdicts with their report and lock, 10
releases, 5 signatures, 1 a proposal. Each operation is a process of its own on a clone
of it, so that nothing is in memory from the last one; git processes are counted.

`RECORDS=` sets other sizes. `python -m benchmarks.ledger flat` compares the audit of
the history with blocks and without, at sizes where both end.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from benchmarks.cost import TEMPLATE, Page, project

sys.path.insert(0, str(TEMPLATE))
from mlgitops.ledger import REPLACED, block

SIZES = tuple(map(int, os.environ.get("RECORDS", "1000,10000,100000").split(",")))
FLAT = (2_000, 4_000, 8_000)
START = datetime(2016, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=50)  # between records: 100,000 of them are 9.5 years
CHECKS = 24  # of a verdict
SLICES = 60
REPORT = b"<!doctype html><title>report</title>" + b"<p>row</p>" * 2000
LIMITS = {  # CPU seconds at 100,000 records; the wall is a busy machine's
    "fetch": 60,
    "append": 3,
    "look-ups": 20,
    "audit": 90,
    "thresholds": 30,
    "history page": 10,
    "fleet": 90,
}
Record = dict[str, Any]


def sha(*parts: object) -> str:
    """Return a hash that stands for a manifest, a recipe or a lock."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def version(seq: int) -> int:
    """Return the number of the version that is the newest at a record."""
    return seq // 50


def verdict(seq: int) -> dict[str, Record | bytes]:
    """Return the files of a verdict."""
    manifest, lock = sha("manifest", version(seq)), f"stages: {{}} # {version(seq)}\n"
    name, gate = f"{manifest}/{seq:08d}-7", {"passed": True, "reason": ""}
    gate |= {"statistic": "lower bound", "metric": "roc_auc", "operator": ">="}
    names = ["roc_auc.min", *(f"gate_{number}" for number in range(1, CHECKS))]
    checks = [
        gate | {"id": each, "title": f"Gate {each}", "value": 0.7, "limit": 0.6}
        for each in names
    ]
    page = {
        "path": f"reports/{name}.html",
        "sha256": hashlib.sha256(REPORT).hexdigest(),
    }
    piece = {
        "column": "carrier",
        "rows": 512,
        "value": 0.7012,
        "low": 0.69,
        "high": 0.71,
    }
    record = about(seq) | {
        "manifest_sha256": manifest,
        "recipe": sha("recipe", version(seq)),
        "lock_sha256": hashlib.sha256(lock.encode()).hexdigest(),
        "data_sha256": sha("data", version(seq) // 10),
        "passed": True,
        "pull_request": seq,
        "author": "somebody",
        "summary": "All gates passed.",
        "checks": checks,
        "task": "binary",
        "primary": "roc_auc",
        "metrics": [
            {"id": "roc_auc", "label": "ROC AUC", "better": "higher", "challenger": 0.7}
        ],
        "slices": [piece | {"category": f"c{number}"} for number in range(SLICES)],
        "rules_sha": "c" * 40,
        "report": page,
    }
    files: dict[str, Record | bytes] = {f"verdicts/{name}.json": record}
    files |= {
        page["path"]: REPORT,
        f"locks/{record['lock_sha256']}.lock": lock.encode(),
    }
    return files


def release(seq: int, commit: str) -> dict[str, Record | bytes]:
    """Return the files of a release to staging or production."""
    environment = "production" if seq // 10 % 2 else "staging"
    record = about(seq) | {
        "environment": environment,
        "action": "deploy",
        "version": f"v1.{version(seq)}.0",
        "tag": f"flights@v1.{version(seq)}.0",
        "commit": commit,
        "manifest_sha256": sha("manifest", version(seq)),
        "verdict": judged(seq),
        "server": {"commit": commit, "sha256": "5" * 64},
        "image": None,
        "previous": None,
        "previous_server": None,
        "state": "confirmed",
        "reason": None,
        "author": "somebody",
        "approvers": [],
        "run_url": "",
        "deployment_id": None,
        "pull_request": seq,
    }
    folder = f"environments/{environment}"
    names = ("release.json", f"history/{seq:08d}.json")
    return {f"{folder}/{name}": record for name in names}


def judged(seq: int) -> str:
    """Return the path of the verdict that a release names: the first on its version."""
    first = next(n for n in range(version(seq) * 50, seq) if kind(n) == "verdict")
    return f"verdicts/{sha('manifest', version(seq))}/{first:08d}-7.json"


def run(seq: int) -> dict[str, Record | bytes]:
    """Return the files of a run of the monitor."""
    gate = {"id": "calibration_error", "label": "Calibration error", "rows": 900}
    gate |= {"operator": "<=", "limit": 0.1, "passed": True, "holdout": 0.03}
    gate |= {"value": 0.05, "low": 0.04, "high": 0.06}
    record = about(seq) | {
        "decision": "none",
        "sentence": "Nothing to do.",
        "version": f"v1.{version(seq)}.0",
        "manifest_sha256": sha("manifest", version(seq)),
        "window": {
            "from": "2016-01-01",
            "until": "2016-01-28",
            "rows": 1000,
            "labels": 9,
        },
        "every_days": 1.0,
        "metric": "ROC AUC",
        "measured": {"performance": 0.6 + seq % 97 / 970, "drift": seq % 89 / 178},
        "gates": [gate],
        "checks": [],
        "counts": {"log": {"lines": 1000 + seq}},
    }
    text = f"# Monitoring: nothing to do\n\nRun {seq}.\n" + "| a | b |\n" * 40
    report = f"monitoring/reports/{seq:08d}.md"
    return {f"monitoring/{seq:08d}.json": record, report: text.encode()}


def about(seq: int) -> Record:
    """Return what every record has."""
    time_ = (START + seq * STEP).isoformat(timespec="seconds")
    machinery = {"version": "1.0.0", "modified": []}
    return {"schema": 1, "seq": seq, "time": time_, "machinery": machinery}


def kind(seq: int) -> str:
    """Return what the record of that number is."""
    place = seq % 50
    if place in (10, 20, 30, 40, 49):
        return "release"
    if place % 4 == 1 and place < 49:
        return "verdict"
    return {2: "signature", 22: "signature", 26: "proposal"}.get(place, "run")


def files(seq: int, commit: str) -> dict[str, Record | bytes]:
    """Return the files of a record."""
    what = kind(seq)
    if what == "verdict":
        return verdict(seq)
    if what == "release":
        return release(seq, commit)
    if what == "run":
        return run(seq)
    manifest = sha("manifest", version(seq))
    if what == "signature":
        return {
            f"signatures/{manifest}/{seq:08d}.json": about(seq) | {"signature": "s"}
        }
    proposal = {"action": "closed", "pull": seq, "url": ""}
    return {f"proposals/{seq:08d}.json": about(seq) | proposal}


def stream(records: int, commit: str, flat: bool) -> Iterator[bytes]:
    """Give what `git fast-import` reads: a commit a record, a tag a version."""
    locks = set[str]()
    for seq in range(records):
        moment = int((START + seq * STEP).timestamp())
        who = f"ledger <ledger@localhost> {moment} +0000"
        yield f"commit refs/heads/ledger\ncommitter {who}\ndata 6\nrecord\n".encode()
        for path, content in files(seq, commit).items():
            if path in locks:
                continue  # the lock of a version is written once
            locks.update([path] if path.startswith("locks/") else ())
            where = path if flat or REPLACED.fullmatch(path) else block(path, seq)
            data = content if isinstance(content, bytes) else encoded(content)
            yield f"M 100644 inline {where}\ndata {len(data)}\n".encode() + data + b"\n"
    for number in range(version(records)):
        name, manifest = f"v1.{number}.0", sha("manifest", number)
        text = f"flights {name}\n\nmanifest_sha256: {manifest}\ncommit: {commit}\n"
        yield f"tag flights@{name}\nfrom {commit}\ntagger {who}\n".encode()
        yield f"data {len(text)}\n{text}\n".encode()


def encoded(record: Record) -> bytes:
    """Return a record as the ledger's writer encodes it, many times faster."""
    text = msgspec.json.encode(record, order="sorted")
    return bytes(msgspec.json.format(text, indent=2)) + b"\n"


def build(folder: Path, records: int, flat: bool = False) -> Path:
    """Make an origin with so many records; return a clone of its main."""
    origin, clone = folder / "origin.git", project(folder / "clone")
    call(folder, "git", "init", "-q", "--bare", "-b", "main", str(origin))
    call(clone, "git", "remote", "add", "origin", str(origin))
    call(clone, "git", "push", "-q", "origin", "main")
    commit = call(clone, "git", "rev-parse", "HEAD")
    command = ("git", "-c", "pack.compression=1", "fast-import", "--quiet")
    with subprocess.Popen(command, cwd=origin, stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        importer.stdin.writelines(stream(records, commit, flat))
        importer.stdin.close()
        if importer.wait():
            raise SystemExit("git fast-import failed")
    return clone


def call(folder: Path, *command: str) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def fetch() -> None:
    """Fetch the whole ledger into a clone that has none of it."""
    from mlgitops.ledger import Ledger

    Ledger()


def append() -> None:
    """Write the verdict on one more proposal."""
    from mlgitops.ledger import Ledger

    ledger = Ledger()
    ledger.append(lambda seq: {**verdict(seq)}, "pass")


def look_ups() -> None:
    """Ask what validate, deploy and rollback ask of a ledger."""
    from mlgitops import heartbeat
    from mlgitops.ledger import Ledger

    ledger = Ledger()
    champion = ledger.champion() or {}
    manifest, server = champion["manifest_sha256"], champion["server"]["sha256"]
    read = (ledger.on_recipe(sha("recipe", version(ledger.seq - 60))),)
    read += (ledger.verdicts(manifest), ledger.signatures(manifest))
    if not all(read) or not heartbeat.newest(ledger):
        raise SystemExit("the ledger lacks what was written")
    ledger.withdrawal(manifest, server)
    ledger.retired()
    ledger.released("0" * 64)


def audit() -> None:
    """Write the audit: what served when, the newest versions, all that disagrees."""
    from mlgitops.commands import audit as command

    document = command.audit()
    wrong = [s for s in document["disagreements"] if "main does not name" not in s]
    if wrong and not wrong[0].startswith("whether main names"):
        raise SystemExit(f"a sound ledger disagrees: {wrong[0]}")
    command.report(document)


def thresholds() -> None:
    """Write which thresholds held for everything that ever served."""
    from mlgitops.commands import audit as command

    command.thresholds()


def history_page() -> None:
    """Write the monitor's history as pages."""
    from mlgitops.ledger import Ledger
    from mlgitops.monitor import history

    history.publish(Ledger())


def fleet() -> None:
    """Put the model on the page of a fleet; its origin is fetched again."""
    from mlgitops.commands.fleet import read
    from mlgitops.fleet import site

    now = datetime.now(UTC)
    models = read(["."], now)
    site.write(models, Path("build/fleet"), now, now.date().isoformat())


def rewritten() -> None:
    """Audit the ledger's own history."""
    from mlgitops.ledger import Ledger
    from mlgitops.release import consistency

    if found := list(consistency.rewritten(Ledger())):
        raise SystemExit(found[0])


OPERATIONS = {
    "fetch": fetch,
    "append": append,
    "look-ups": look_ups,
    "audit": audit,
    "thresholds": thresholds,
    "history page": history_page,
    "fleet": fleet,
    "history": rewritten,
}


def measure(name: str) -> None:
    """Run one operation here, and print what it cost as JSON."""
    from mlgitops import git

    started, popen = [0], subprocess.Popen

    class Counted(popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            started[0] += 1
            super().__init__(*args, **options)

    git.subprocess.Popen = Counted  # type: ignore[misc]
    start = time.perf_counter()
    OPERATIONS[name]()
    wall = time.perf_counter() - start
    ends = [
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    cpu = sum(used.ru_utime + used.ru_stime for used in ends)
    peak = max(used.ru_maxrss for used in ends) / 1000
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "git": started[0]}))


def cost(clone: Path, name: str) -> dict[str, float]:
    """Return what an operation costs in a clone, in a process of its own."""
    path = f"{Path(__file__).parents[1]}:{TEMPLATE}"
    command = (sys.executable, "-W", "ignore", "-m", "benchmarks.ledger", "run", name)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure every operation at every size; write benchmarks/ledger.md."""
    command = f"make ledger RECORDS={','.join(map(str, SIZES))}"
    page = Page("ledger.md", "A ledger of many records", command)
    page.say(
        f"{'operation':14} {'records':>8} {'wall s':>7} {'CPU s':>7} {'MB':>6} git"
    )
    late = []
    for records in SIZES:
        with TemporaryDirectory(prefix="ledger-") as name:
            clone = build(Path(name), records)
            origin = Path(name, "origin.git")
            size = sum(p.stat().st_size for p in origin.rglob("*") if p.is_file())
            for operation in LIMITS:
                found = cost(clone, operation)
                page.say(row(operation, records, found))
                if records <= 100_000 and found["cpu"] > LIMITS[operation]:
                    late.append(f"{operation} at {records:,}")
        page.say(f"{'size in git':14} {records:>8,} {size / 1e6:,.1f} MB")
    limits = ", ".join(f"{name} {seconds} s" for name, seconds in LIMITS.items())
    page.say(f"limits at 100,000 records, of CPU: {limits}")
    page.say(f"beyond its limit: {', '.join(late) or 'nothing'}")
    page.write()


def flat() -> None:
    """Compare the audit of the history with blocks, and without."""
    print(f"{'layout':14} {'records':>8} {'wall s':>7} {'CPU s':>7} {'MB':>6} git")
    for records in FLAT:
        for name, without in (("blocks", False), ("flat", True)):
            with TemporaryDirectory(prefix="ledger-") as folder:
                clone = build(Path(folder), records, without)
                print(row(name, records, cost(clone, "history")), flush=True)


def row(name: str, records: int, found: dict[str, float]) -> str:
    """Return one measurement as a line."""
    numbers = f"{found['wall']:>7.2f} {found['cpu']:>7.2f} {found['peak']:>6,.0f}"
    return f"{name:14} {records:>8,} {numbers} {found['git']:>3}"


def arguments(words: Iterable[str]) -> None:
    """Run what the command line names."""
    word, *rest = [*words] or ["all"]
    if word == "run":
        measure(" ".join(rest))
    elif word == "flat":
        flat()
    else:
        main()


if __name__ == "__main__":
    arguments(sys.argv[1:])
