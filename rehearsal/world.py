"""What the scenes share: the forge, the people, the machines, and queries."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from rehearsal.forge import Forge, Run
from rehearsal.people import Person
from rehearsal.play import Play, PlayError, Step, expect
from rehearsal.storages import Service
from rehearsal.targets import Target

MANIFEST = re.compile(r"manifest: `([0-9a-f]{64})`")
RELEASE_FILES = {"report.html", "README.md", "model.cdx.json", "openapi.json"}
RELEASE_FILES |= {"verdict.json", "manifest.json"}
TRICKS = {  # branches, and the titles of their pull requests
    "swallowed": "Let the build carry on",
    "forged": "Bring the verdict along",
}
TESTED = ("first-model", "retrain/")  # branches that even a brief play tests
REPORT = "<!-- validation report -->"  # how the comment with the report begins


def is_test(run: Run) -> bool:
    """Return whether no step waits for a run: tests go on while people read reports."""
    return Path(run.path).name == "ci.yml"


def nobody_waits(run: Run) -> bool:
    """Return whether a run tests what is on main already, or what is never merged."""
    trick = run.head_branch in TRICKS
    return is_test(run) and (run.pull is None or trick)


def repeats(run: Run) -> bool:
    """Return whether a run tests what another has: the same files, or other settings.

    Left are that of the first proposal, with the files of main, and those of other
    data.
    """
    return is_test(run) and not run.head_branch.startswith(TESTED)


@dataclass
class World:
    """A repository on the forge, with the people and machines around it."""

    play: Play
    forge: Forge
    repo: str  # owner/name
    dana: Person  # the data scientist, who proposes
    rita: Person  # the reviewer and owner, who decides
    finn: Person  # a stranger with a fork
    staging: Target
    production: Target
    service: Service | None = field(
        default=None, init=False
    )  # what storage is, where it needs a login
    pushed: dict[int, float] = field(default_factory=dict, init=False)  # pull: when

    def url(self, repo: str) -> str:
        """Return where git finds a repository."""
        return f"{self.forge.api_url}/{repo}.git"

    @property
    def folder(self) -> Path:
        """The folder that the rehearsal writes to."""
        return self.play.folder

    def propose(self, branch: str, title: str, body: str) -> int:
        """Push a branch of dana's and open a pull request; return its number."""
        began = time.monotonic()
        self.dana.git("push", "-q", "--force", "origin", branch)
        fields = {"title": title, "head": branch, "base": "main", "body": body}
        number = int(self.dana.api("pulls", "POST", fields)["number"])
        self.pushed[number] = began
        return number

    def settle(self, step: Step) -> None:
        """Wait for every run that was started, and show them on the page."""
        self.forge.wait(is_test)
        self._show_runs(step)

    def finish(self, step: Step) -> None:
        """Wait for every run, including tests."""
        self.forge.wait()
        self._show_runs(step)

    def _shown(self) -> set[object]:
        """Return the ids of what the steps show."""
        return {ref["id"] for s in self.play.steps for ref in s.refs if "id" in ref}

    def _show_runs(self, step: Step) -> None:
        """Show the runs that no step has shown yet."""
        shown = self._shown()
        for run in self.forge.runs:
            if run.id not in shown:
                step.show("run", id=run.id)

    def head(self, number: int) -> str:
        """Return the newest commit of a pull request."""
        return str(self.rita.api(f"pulls/{number}")["head"]["sha"])

    def status(self, number: int, context: str = "validate") -> str:
        """Return the state of a required status on a pull request's head."""
        statuses = self.rita.api(f"commits/{self.head(number)}/status")["statuses"]
        states = [s["state"] for s in statuses if s["context"] == context]
        return str(states[0]) if states else "absent"

    def expect_status(
        self, step: Step, number: int, state: str, fact: str = "validate"
    ) -> None:
        """Note the status `validate` of a pull request, which has to be ``state``.

        And how long its author has waited for it since the push.
        """
        actual = self.status(number)
        step.note(**{fact: actual})
        if number in self.pushed:
            seconds = time.monotonic() - self.pushed.pop(number)
            step.note(seconds_from_push=round(seconds, 1))
        expect(actual == state, f"validate of #{number} is {actual}, expected {state}")

    def report(self, number: int) -> str:
        """Return the validation report on a pull request."""
        comments = self.rita.api(f"issues/{number}/comments")
        bodies = [c["body"] for c in comments if c["body"].startswith(REPORT)]
        expect(len(bodies) == 1, f"#{number} has {len(bodies)} reports, expected 1")
        return str(bodies[0])

    def reviewed(self, number: int) -> str:
        """Return the manifest's sha256 as the report names it."""
        return _named(MANIFEST.search(self.report(number)), f"the report on #{number}")

    def merge(self, number: int) -> str:
        """Let rita review and merge; return the commit on main."""
        review = {"event": "APPROVE", "body": "Read the report. Agreed."}
        self.rita.api(f"pulls/{number}/reviews", "POST", review)
        head = self.head(number)
        self.forge.wait(lambda run: bool(run.head_sha != head))  # required: `ci`
        fields = {"sha": head, "merge_method": "squash"}
        merged = self.rita.api(f"pulls/{number}/merge", "PUT", fields)
        self.dana.git("switch", "-q", "main")
        self.dana.git("pull", "-q", "--ff-only", "origin", "main")
        return str(merged["sha"])

    def approve_deployments(self) -> int:
        """Let rita approve every job that waits for her; return how many."""
        waiting = [run for run in self.forge.runs if run.status == "waiting"]
        for run in waiting:
            path = f"actions/runs/{run.id}/pending_deployments"
            pending = self.rita.api(path)
            ids = [entry["environment"]["id"] for entry in pending]
            names = ", ".join(entry["environment"]["name"] for entry in pending)
            fields = {
                "environment_ids": ids,
                "state": "approved",
                "comment": f"{names}: go",
            }
            self.rita.api(path, "POST", fields)
        return len(waiting)

    def start_waiting_runs(self, number: int) -> int:
        """Press "Approve workflows to run" on a pull request of a bot or a fork."""
        head = self.head(number)
        held = [
            run
            for run in self.forge.runs
            if run.conclusion == "action_required" and run.head_sha == head
        ]
        for run in held:
            self.rita.api(f"actions/runs/{run.id}/approve", "POST", {})
        return len(held)

    def release(self, environment: str = "production") -> dict[str, Any]:
        """Return what the ledger says an environment runs."""
        return self.on_ledger(f"environments/{environment}/release.json")

    def on_ledger(self, path: str) -> dict[str, Any]:
        """Return a record of the ledger."""
        self.dana.git("fetch", "-q", "origin", "+ledger:refs/remotes/origin/ledger")
        return dict(json.loads(self.dana.git("show", f"origin/ledger:{path}")))

    def variable(self, name: str, value: str) -> None:
        """Let rita set a variable of the repository."""
        path = "actions/variables"
        known = {each["name"] for each in self.rita.api(path)["variables"]}
        fields = {"name": name, "value": value}
        if name in known:
            self.rita.api(f"{path}/{name}", "PATCH", fields)
        else:
            self.rita.api(path, "POST", fields)

    def tagged(self, tag: str) -> str:
        """Return the manifest's sha256 as the version's tag names it."""
        self.dana.git("fetch", "-q", "--tags", "--force", "origin")
        text = self.dana.git("for-each-ref", f"refs/tags/{tag}", "--format=%(contents)")
        return _named(re.search(r"\b([0-9a-f]{64})\b", text), f"the tag {tag}")

    def judged(self, path: str) -> str:
        """Return the manifest's sha256 as a verdict on the ledger names it."""
        verdict = json.loads(self.dana.git("show", f"origin/ledger:{path}"))
        return str(verdict["manifest_sha256"])

    def published(self, tag: str) -> str:
        """Return the manifest's sha256 as the text of a GitHub Release names it."""
        body = str(self.rita.api(f"releases/tags/{tag}")["body"])
        return _named(re.search(r"`([0-9a-f]{64})`", body), f"the release {tag}")

    def check_one_number(self, step: Step, number: int) -> str:
        """Read the manifest's sha256 from every source; all have to be equal."""
        reviewed = self.reviewed(number)
        expect(
            self.production.wait_for(reviewed),
            f"production answers with {self.production.info()}, not with {reviewed}",
        )
        release = self.release()
        hashes = {
            "comment": reviewed,
            "verdict": self.judged(release["verdict"]),
            "tag": self.tagged(release["tag"]),
            "release": self.published(release["tag"]),
            "ledger": release["manifest_sha256"],
            "info": self.production.info()["manifest_sha256"],
        }
        step.note(version=release["version"], manifest_sha256=hashes)
        expect(len(set(hashes.values())) == 1, f"the hashes differ: {hashes}")
        step.note(release_files=", ".join(self.packaged(release["tag"])))
        return str(release["version"])

    def packaged(self, tag: str) -> list[str]:
        """Return what a version's GitHub Release holds; its report is the ledger's."""
        assets = self.rita.api(f"releases/tags/{tag}")["assets"]
        numbers = {str(asset["name"]): asset["id"] for asset in assets}
        missing = sorted(RELEASE_FILES - numbers.keys())
        expect(not missing, f"the release {tag} lacks {missing}")
        verdict, page = (
            self.rita.download(f"releases/assets/{numbers[name]}")
            for name in ("verdict.json", "report.html")
        )
        reviewed = json.loads(verdict)["report"]["sha256"]
        digest = hashlib.sha256(page).hexdigest()
        expect(digest == reviewed, f"{tag} has another report than the ledger")
        return sorted(numbers)

    @contextmanager
    def timed(self, step: Step, number: int) -> Iterator[None]:
        """Note how long after the merge production itself answers with the version."""
        reviewed, merged, seconds = self.reviewed(number), time.monotonic(), []

        def watch() -> None:
            if self.production.wait_for(reviewed, 900):
                seconds.append(time.monotonic() - merged)

        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        yield
        watcher.join(60)
        step.note(seconds_from_merge=round(seconds[0], 1) if seconds else None)

    def merge_and_deploy(self, step: Step, number: int) -> None:
        """Merge a pull request; its manifest has to run, and be named everywhere."""
        step.show("pull", number=number)
        began = time.monotonic()
        self.merge(number)
        step.note(seconds_to_merge=round(time.monotonic() - began, 1))
        with self.timed(step, number):
            self.deployed(step)
        self.check_one_number(step, number)

    def open_pull(self, step: Step) -> dict[str, Any]:
        """Return the one open pull request, and show it on the page."""
        pulls = self.rita.api("pulls?state=open")
        expect(len(pulls) == 1, f"{len(pulls)} pull requests are open, expected 1")
        step.show("pull", number=int(pulls[0]["number"]))
        return dict(pulls[0])

    def deployed(self, step: Step) -> None:
        """Wait for deployments, approve production, and show them on the page."""
        self.settle(step)
        if self.approve_deployments():
            self.settle(step)

        shown = self._shown()
        for entry in self.releases():
            if entry["id"] not in shown:
                step.show("deployment", id=entry["id"])

    def records(self, folder: str) -> list[dict[str, Any]]:
        """Return the JSON records under a folder of the ledger, oldest first."""
        branch = "+ledger:refs/remotes/origin/ledger"
        if self.dana.attempt("git", "fetch", "-q", "origin", branch).returncode:
            return []  # nothing was judged yet
        names = self.dana.git("ls-tree", "--name-only", "origin/ledger", f"{folder}/")
        files = [name for name in names.splitlines() if name.endswith(".json")]
        return [json.loads(self.dana.git("show", f"origin/ledger:{f}")) for f in files]

    def releases(self) -> list[dict[str, Any]]:
        """Return every release so far, in the order of the ledger."""
        releases = []
        for environment in ("staging", "production"):
            for record in self.records(f"environments/{environment}/history"):
                releases.append({**record, "id": f"{environment}-{record['seq']}"})
        return sorted(releases, key=lambda record: int(record["seq"]))

    def environments(self) -> list[str]:
        """Return the environments, each of which has to be for main only.

        A run that names one makes it, open to every branch, as GitHub does.
        """
        names = [e["name"] for e in self.rita.api("environments")["environments"]]
        for name in names:
            path = f"environments/{name}/deployment-branch-policies"
            branches = [p["name"] for p in self.rita.api(path)["branch_policies"]]
            expect(branches == ["main"], f"{name} is open to {branches or 'anybody'}")
        return names

    @contextmanager
    def no_rules(self) -> Iterator[None]:
        """Switch the rules of the repository off for a moment, as rita, its owner."""
        rules = [rule["id"] for rule in self.rita.api("rulesets")]
        for state in ("disabled", "active"):
            for number in rules:
                self.rita.api(f"rulesets/{number}", "PUT", {"enforcement": state})
            if state == "disabled":
                yield

    def last_run(self, workflow: str) -> Run:
        """Return the newest run of a workflow file."""
        runs = [run for run in self.forge.runs if Path(run.path).name == workflow]
        expect(bool(runs), f"{workflow} never ran")
        return runs[-1]


def _named(match: re.Match[str] | None, source: str) -> str:
    """Return the manifest's sha256 that a source has to name."""
    if match is None:
        raise PlayError(f"{source} names no manifest")
    return match[1]
