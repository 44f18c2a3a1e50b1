"""Makes a verdict known: storage, ledger, comment, status."""

import hashlib
import os
from datetime import UTC, datetime

import msgspec

from mlgitops import git, github, inventory, lock, report, storage
from mlgitops.judge.artifact import BuildRecord
from mlgitops.judge.proposal import Proposal, has_newer_head
from mlgitops.judge.verdict import Case, summary
from mlgitops.ledger import Record, lock_path
from mlgitops.machinery import machinery
from mlgitops.report import page
from mlgitops.store import owner

CONTEXT = "validate"
JUDGED = (
    *("task", "split", "primary", "confidence", "metrics", "business", "fairness"),
    *("mitigation", "slices", "importance", "dependence", "texts"),  # for `explain`
    "shadow",
)
STATES = {"ready": "success", "blocked": "failure"}


def store(case: Case) -> None:
    """Send the objects of a passing challenger to storage, those that it lacks."""
    champion = lock.at(case.champion["commit"]) if case.champion else None
    stored = {out.md5 for out in champion.outs} if champion else set()
    outs = [out for out in case.built.outs if out.md5 not in stored]
    if case.ledger.paths(lock_path(case.built.sha256)):
        outs = storage.missing(outs)
    _send(case, outs)


def keep(case: Case) -> None:
    """Send again what `make prune` deleted before the ledger named it.

    That looks at the ledger after it has deleted, and this at storage after the ledger
    was written: one of both sees the other.
    """
    _send(case, storage.missing(case.built.outs))


def _send(case: Case, outs: list[lock.Out]) -> None:
    """Send objects of a challenger; where there are none, no right to write is used."""
    if outs:
        owner.claim_here()
        storage.push({case.challenger / out.name: out for out in outs})


def record(case: Case, proposal: Proposal, build: BuildRecord, html: str) -> int:
    """Write the verdict to the ledger, and the report with it; return its seq."""
    run, data = os.environ.get("GITHUB_RUN_ID", "0"), html.encode()
    verdict: Record = {
        "schema": 1,
        "manifest_sha256": case.manifest_sha256,
        "recipe": case.recipe,
        "lock_sha256": case.built.sha256,
        "data_sha256": case.data_sha256,
        "held_out": case.judgement.held_out,
        "rows_held_out": case.judgement.rows and case.judgement.rows.held_out,
        "passed": case.passed,
        "override": case.override,
        "returns": case.returns,
        "champion": case.champion and case.champion["manifest_sha256"],
        "pull_request": proposal.number,
        "head_sha": proposal.head_sha,
        "base_sha": build.base_sha,
        "merge_sha": build.merge_sha,
        "author": proposal.author,
        "cpu": build.cpu[:100],
        "build": {"seconds": build.seconds, "restored": build.restored},
        "rules_sha": git.run("rev-parse", "HEAD"),
        "machinery": machinery().record(),
        "inventory": inventory.stated(),
        "run_id": run,
        "run_url": github.run_url(),
        **{name: msgspec.to_builtins(getattr(case.judgement, name)) for name in JUDGED},
        "checks": msgspec.to_builtins(case.checks),
        "summary": summary(case),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder = case.manifest_sha256 or "unverified"

    def files(seq: int) -> dict[str, Record | bytes]:
        name = f"{folder}/{seq:08d}-{run}"
        path, sha256 = f"reports/{name}.html", hashlib.sha256(data).hexdigest()
        page_record = {"path": path, "sha256": sha256}
        entry = {**verdict, "report": page_record, "seq": seq}
        return {f"verdicts/{name}.json": entry, path: data, **_lock(case)}

    result = "pass" if case.passed else "refuse"
    return case.ledger.append(files, f"{result} {folder[:12]} of #{proposal.number}")


def _lock(case: Case) -> dict[str, bytes]:
    """Return the lock that CI built, where it passed and the ledger lacks it."""
    path = lock_path(case.built.sha256)
    if not case.passed or case.ledger.paths(path):
        return {}
    return {path: (case.challenger / "dvc.lock").read_bytes()}


def is_newest(proposal: Proposal) -> bool:
    """Return whether the head that was judged is still the newest."""
    newest = not has_newer_head(proposal)
    if not newest:
        print(f"no comment: #{proposal.number} was pushed to since {proposal.head_sha}")
    return newest


def comment(proposal: Proposal, body: str, newest: bool) -> str:
    """Write the one comment with the report, and return its address.

    Each head is judged by a run of its own, and an older one's may end last: it says
    nothing here, as people would take its report for that of the newest.
    """
    if not newest:
        return ""
    return github.sticky_comment(proposal.number, report.MARKER, body)


def announce(proposal: Proposal, facts: report.Facts, newest: bool) -> None:
    """Write comment, summary and status; the status last, since it can unblock."""
    body = report.render(facts)
    url = comment(proposal, body, newest)
    github.summary(body)
    page.write(facts)
    state = STATES[facts.state]
    github.status(proposal.head_sha, CONTEXT, state, facts.verdict, url)
    print(f"{facts.state}: {facts.verdict}\n{url}")
