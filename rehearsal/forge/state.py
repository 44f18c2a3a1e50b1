"""The forge's state: people, tokens, repositories, pull requests and runs."""

import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ROLES = ("none", "read", "write", "admin")
APP_KEY = "key"  # how an app's private key begins
ACTIONS_APP = 15368  # GitHub's own id of the app "GitHub Actions"


class Refusal(Exception):
    """A request that GitHub would refuse: an HTTP status and a sentence."""

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None
    ) -> None:
        """Keep the status beside the sentence."""
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


@dataclass
class Fault:
    """What GitHub itself answers to one request, such as 502, or 403 for a limit.

    ``path`` is a regular expression.
    """

    method: str
    path: str
    status: int
    message: str = "Server Error"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Person:
    """An account: a person, an organisation, or an app's bot."""

    login: str
    id: int
    type: str = "User"
    admin: bool = False
    gone: bool = False  # deleted: nobody is told who it was


@dataclass
class Token:
    """A credential; ``permissions`` is None for a person, who has roles instead."""

    value: str
    person: Person
    permissions: dict[str, str] | None = None
    repository: str = ""
    app: int = 0  # 0: a person, ACTIONS_APP: a run, else an app
    run: int = 0  # whose it is, if it is a run's


@dataclass
class Pull:
    """The part of a pull request that an issue does not have."""

    base_ref: str
    head_repo: str
    head_ref: str
    head_sha: str = ""
    base_sha: str = ""
    test_merge: str | None = None  # the commit at refs/pull/N/merge
    merged_by: Person | None = None
    merged_at: str | None = None
    merge_sha: str | None = None
    pushed_by: str = ""
    reviews: list[Json] = field(default_factory=list)


@dataclass
class Issue:
    """An issue, or a pull request when ``pull`` is set: they share numbers."""

    id: int
    number: int
    title: str
    body: str
    user: Person
    created_at: str
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    comments: list[Json] = field(default_factory=list)
    closed_at: str | None = None
    pull: Pull | None = None


@dataclass
class Run:
    """One run of one workflow."""

    id: int
    number: int
    workflow: str
    path: str
    event: str
    title: str
    repository: str
    head_sha: str
    head_branch: str
    head_repository: str
    sha: str  # GITHUB_SHA
    ref: str  # GITHUB_REF
    actor: Person
    payload: Json
    created_at: str
    log_path: Path
    pull: int | None = None
    fork: bool = False
    group: str = ""  # of its concurrency: one is on its way, and one pending
    runner: int = 0  # which it is on, from 1
    status: str = "queued"  # pending, queued, in_progress, waiting, completed
    conclusion: str | None = None
    attempt: int = 1
    seconds: float = 0.0
    jobs: dict[str, str] = field(default_factory=dict)  # job id -> result
    approvals: list[Json] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # environments
    outputs: Json = field(default_factory=dict)  # job id -> step id -> its outputs
    legs: dict[str, str] = field(default_factory=dict)  # of a matrix: environments
    deployments: dict[str, Json] = field(default_factory=dict)  # GitHub's own, by job
    tokens: dict[str, str] = field(default_factory=dict)  # one for each kind of job
    permissions: dict[str, str] = field(default_factory=dict)  # of all its tokens
    secrets: list[str] = field(default_factory=list)  # names of those it was given
    requests: int = 0  # of the API, which GitHub counts: 1,000 an hour for all runs
    summary: str = ""
    updated_at: str = ""

    @property
    def token(self) -> str:
        """Return the newest of its tokens."""
        return list(self.tokens.values())[-1]


@dataclass
class Update:
    """One ref that a push wants to move; all zeros for nothing."""

    before: str
    after: str
    ref: str


@dataclass
class Repository:
    """A bare Git repository and everything that GitHub keeps beside it."""

    id: int
    owner: Person
    name: str
    path: Path
    private: bool = False
    default_branch: str = "main"
    parent: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    labels: dict[str, Json] = field(default_factory=dict)
    statuses: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    rulesets: list[Json] = field(default_factory=list)
    environments: dict[str, Json] = field(default_factory=dict)
    deployments: list[Json] = field(default_factory=list)
    releases: list[Json] = field(default_factory=list)
    workflows: dict[str, Json] = field(default_factory=dict)
    # what its plan, its organisation or its owner decided
    plan: str = "enterprise"  # of a private one: free, pro, enterprise
    immutable_releases: bool = False
    pull_requests_by_actions: bool = True  # whether the organisation lets one choose
    allowed_actions: str = "all"  # all, local_only, selected: then what comes next
    selected_actions: Json = field(
        default_factory=lambda: {
            "github_owned_allowed": True,
            "verified_allowed": False,
            "patterns_allowed": [],
        }
    )
    actions: Json = field(
        default_factory=lambda: {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": False,
        }
    )

    @property
    def full_name(self) -> str:
        """Return ``owner/name``."""
        return f"{self.owner.login}/{self.name}"

    def role(self, person: Person) -> str:
        """Return what a person may do here: none, read, write or admin."""
        if person.admin or person.login == self.owner.login:
            return "admin"
        return self.roles.get(person.login, "none" if self.private else "read")

    def lacks(self, plan: str) -> bool:
        """Return whether a private repository's plan is below another."""
        plans = ("free", "pro", "enterprise")
        return self.private and plans.index(self.plan) < plans.index(plan)

    def allows(self, actions: list[str]) -> bool:
        """Return whether workflows may use these actions, as ``owner/name``."""
        if self.allowed_actions == "all":
            return True
        owned = self.allowed_actions == "selected" and bool(
            self.selected_actions["github_owned_allowed"]
        )
        return all(owned and a.split("/")[0] == "actions" for a in actions)

    def pull(self, number: int) -> Issue:
        """Return a pull request."""
        issue = self.issues.get(number)
        if issue is None or issue.pull is None:
            raise Refusal(404, "Not Found")
        return issue

    def pulls(self) -> list[tuple[Issue, Pull]]:
        """Return all pull requests, newest first."""
        pulls = [(i, i.pull) for i in self.issues.values() if i.pull]
        return sorted(pulls, key=lambda pair: -pair[0].number)


class State:
    """Everything, behind one lock; each change is a line in the journal."""

    def __init__(self, home: Path) -> None:
        """Start empty, with the journal at ``home/events.jsonl``."""
        self.home, self.url = home, ""
        self.changed = threading.Condition(threading.RLock())
        self.people: dict[str, Person] = {}
        self.tokens: dict[str, Token] = {}
        self.apps: dict[str, Json] = {}
        self.repositories: dict[str, Repository] = {}
        self.runs: list[Run] = []
        self.blobs: dict[str, Path] = {}
        self.faults: list[Fault] = []  # that are still to come
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._ids, self._lines = count(1001), count(1)

    def next_id(self) -> int:
        """Return a number that was never given before."""
        return next(self._ids)

    def now(self) -> str:
        """Return the time as GitHub writes it."""
        return self.clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def record(self, kind: str, **facts: Any) -> None:
        """Append one line to the journal: a counter, a time, what happened."""
        with self.changed:
            line = {"seq": next(self._lines), "time": self.now(), "kind": kind}
            with (self.home / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | facts, default=str) + "\n")
            self.changed.notify_all()

    def person(self, login: str, type: str = "User") -> Person:
        """Return an account, made when it is new."""
        if login not in self.people:
            self.people[login] = Person(login, self.next_id(), type)
        return self.people[login]

    def mint(self, person: Person, prefix: str = "ghp", **fields: Any) -> Token:
        """Return a new token."""
        token = Token(f"{prefix}_{secrets.token_hex(20)}", person, **fields)
        self.tokens[token.value] = token
        return token

    def repository(self, name: str) -> Repository:
        """Return a repository by ``owner/name``."""
        if name not in self.repositories:
            raise Refusal(404, f"Not Found: there is no repository {name}")
        return self.repositories[name]

    def environment(self, repo: Repository, name: str) -> Json:
        """Return an environment, made when a job names it first."""
        created = {
            "id": self.next_id(),
            "name": name,
            "reviewers": [],
            "prevent_self_review": False,
            "deployment_branch_policy": None,
            "branches": [],
            "secrets": {},
            "variables": {},
            "created_at": self.now(),
        }
        return repo.environments.setdefault(name, created)

    def ruleset(self, repo: Repository, fields: Json) -> Json:
        """Keep a new ruleset, the repository's own or its organisation's."""
        ruleset: Json = {
            "id": self.next_id(),
            "name": fields["name"],
            "target": fields.get("target", "branch"),
            "source_type": fields["source_type"],
            "source": fields["source"],
            "enforcement": fields["enforcement"],
            "bypass_actors": fields.get("bypass_actors") or [],
            "conditions": fields.get("conditions") or {},
            "rules": fields.get("rules") or [],
            "created_at": self.now(),
            "updated_at": self.now(),
        }
        repo.rulesets.append(ruleset)
        return ruleset

    def variable(self, repo: Repository, name: str, value: str) -> None:
        """Set a variable of a repository."""
        time = self.now()
        variable = {"name": name, "value": value, "created_at": time}
        repo.variables[name] = variable | {"updated_at": time}

    def run(self, id: int) -> Run:
        """Return a run."""
        for run in self.runs:
            if run.id == id:
                return run
        raise Refusal(404, "Not Found")
