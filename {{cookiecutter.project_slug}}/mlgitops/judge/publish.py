"""Makes a verdict known: storage, ledger, comment, status, and the lock to adopt."""

import base64
import hashlib
import os
from datetime import UTC, datetime
from typing import Any

import msgspec

from mlgitops import git, github, lock, report, storage
from mlgitops.judge.proposal import Proposal
from mlgitops.judge.verdict import Case, Facts, summary
from mlgitops.ledger import Record
from mlgitops.machinery import machinery
from mlgitops.report import page

CONTEXT = "validate"
KEPT = ("task", "primary", "confidence", "metrics", "business", "fairness")
STATES = {"ready": "success", "decide": "pending", "blocked": "failure"}


def keep(case: Case, base: str) -> None:
    """Send the objects of a passing challenger to storage, those that main lacks."""
    before = lock.at(base)
    known = {out.md5 for out in before.outs} if before else set()
    new = [out for out in case.built.outs if out.md5 not in known]
    if case.built.sha256 in case.ledger.locks():
        new = storage.missing(new)
    storage.push({case.challenger / out.name: out for out in new})


def record(case: Case, proposal: Proposal, build: Facts, said: str) -> int:
    """Write the verdict to the ledger, and the report with it; return its seq."""
    run = os.environ.get("GITHUB_RUN_ID", "0")
    verdict: Record = {
        "schema": 1,
        "manifest_sha256": case.manifest_sha256,
        "lock_sha256": case.built.sha256,
        "data_sha256": case.data_sha256,
        "held_out": case.found.held_out,
        "passed": case.passed,
        "override": case.override,
        "champion": case.champion and case.champion["manifest_sha256"],
        "pull_request": proposal.number,
        "head_sha": proposal.head_sha,
        "base_sha": build["base_sha"],
        "merge_sha": build["merge_sha"],
        "author": proposal.author,
        "cpu": build["cpu"][:100],
        "rules_sha": git.run("rev-parse", "HEAD"),
        "machinery": machinery().record(),
        "run_id": run,
        "run_url": github.run_url(),
        **{name: msgspec.to_builtins(getattr(case.found, name)) for name in KEPT},
        "checks": msgspec.to_builtins(case.checks),
        "summary": summary(case),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    place, html = case.manifest_sha256 or "unverified", said.encode()
    sha256 = hashlib.sha256(html).hexdigest()

    def files(seq: int) -> dict[str, Record | bytes]:
        name = f"{place}/{seq:08d}-{run}"
        where = {"path": f"reports/{name}.html", "sha256": sha256}
        whole = {**verdict, "report": where, "seq": seq}
        return {f"verdicts/{name}.json": whole, where["path"]: html}

    word = "pass" if case.passed else "refuse"
    return case.ledger.append(files, f"{word} {place[:12]} of #{proposal.number}")


def adopt(case: Case, proposal: Proposal, token: str) -> bool:
    """Let the App commit the lock that CI built; say whether it did."""
    if not token or not proposal.same_repository:
        return False
    path = "dvc.lock"
    content = base64.b64encode((case.challenger / path).read_bytes()).decode()
    fields: dict[str, Any] = {
        "message": "adopt the lock that CI built",
        "branch": proposal.branch,
        "content": content,
    }
    old = git.run(
        "rev-parse", "-q", "--verify", f"{proposal.head_sha}:{path}", check=False
    )
    if old:
        fields["sha"] = old
    ours = os.environ.get("GH_TOKEN")
    os.environ["GH_TOKEN"] = token
    try:
        github.api(f"contents/{path}", "PUT", fields)
    except github.GitHubError as error:
        print(f"the App could not commit the lock: {error}")
        return False
    finally:
        os.environ.pop("GH_TOKEN")
        if ours is not None:
            os.environ["GH_TOKEN"] = ours
    return True


def say(proposal: Proposal, facts: report.Facts) -> None:
    """Write comment, summary and status; the status last, since it can unblock."""
    body = report.render(facts)
    address = github.sticky_comment(proposal.number, report.MARKER, body)
    github.summary(body)
    page.write(facts)
    step = f"Passed. {facts.next}".replace("`", "")
    words = step if facts.state == "decide" else facts.verdict
    github.status(proposal.head_sha, CONTEXT, STATES[facts.state], words, address)
    print(f"{facts.state}: {words}\n{address}")
