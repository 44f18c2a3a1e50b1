"""The forge: a pull request's whole way, with tiny workflows through the real act."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from rehearsal.forge import Forge, Run, workspace
from rehearsal.forge.act import STAND_INS

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"
UPLOAD = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a"
REPO = "acme/flights"
pytestmark = pytest.mark.slow  # each test plays a small repository through act
TOOLS = Path(sys.executable).parent

WORKFLOWS = {
    "ci": """
on:
  pull_request:
  push:
    branches: [main]
permissions: {}
jobs:
  ci:
    name: ci
    runs-on: ubuntu-latest
    steps:
      - run: test -n "$GITHUB_RUN_ID"
""",
    "train": f"""
on: pull_request
permissions: {{}}
concurrency:
  group: train-${{{{ github.event.pull_request.number }}}}
  cancel-in-progress: true
jobs:
  train:
    name: train
    runs-on: ubuntu-latest
    permissions:
      contents: read
    steps:
      - uses: {CHECKOUT} # v7
        with:
          persist-credentials: false
          fetch-depth: 0
      - run: |
          mkdir out && git rev-list --parents -n1 HEAD > out/merge && cp model out
          git status --porcelain | grep -v out || true
          git rev-parse origin/main
          echo "### seen" >> "$GITHUB_STEP_SUMMARY"
          echo "secret=[${{{{ secrets.KEY }}}}] var=[${{{{ vars.PLACE }}}}]"
      - run: |
          gh api "repos/$GITHUB_REPOSITORY/statuses/$GITHUB_SHA" -f state=success
        continue-on-error: true
        env:
          GH_TOKEN: ${{{{ github.token }}}}
      - run: |
          server="http://x:$GH_TOKEN@${{GITHUB_SERVER_URL#http://}}"
          git push -q "$server/$GITHUB_REPOSITORY" HEAD:x
        continue-on-error: true
        env:
          GH_TOKEN: ${{{{ github.token }}}}
      - uses: {UPLOAD} # v7
        with:
          name: challenger
          path: out
          if-no-files-found: error
""",
    "validate": f"""
on:
  workflow_run: # zizmor: ignore
    workflows: [train]
    types: [completed]
permissions: {{}}
jobs:
  validate:
    name: validate
    if: github.event.workflow_run.conclusion == 'success'
    runs-on: ubuntu-latest
    permissions:
      contents: write
      actions: read
      pull-requests: write
      statuses: write
    steps:
      - uses: {CHECKOUT} # v7
        with:
          persist-credentials: false
      - run: bash judge.sh
        env:
          GH_TOKEN: ${{{{ github.token }}}}
          RUN: ${{{{ github.event.workflow_run.id }}}}
          HEAD: ${{{{ github.event.workflow_run.head_sha }}}}
          OWNER: ${{{{ github.event.workflow_run.head_repository.owner.login }}}}
          BRANCH: ${{{{ github.event.workflow_run.head_branch }}}}
""",
    "deploy": """
on:
  push:
    branches: [main]
  workflow_dispatch:
permissions: {}
jobs:
  register:
    name: register
    runs-on: ubuntu-latest
    outputs:
      version: ${{ steps.version.outputs.version }}
    steps:
      - id: version
        run: echo "version=v1" >> "$GITHUB_OUTPUT"
  staging:
    name: staging
    needs: register
    environment: staging
    runs-on: ubuntu-latest
    steps:
      - run: echo "staging ${{ needs.register.outputs.version }}"
  production:
    name: production
    needs: [register, staging]
    environment:
      name: production
    permissions:
      deployments: write
    runs-on: ubuntu-latest
    steps:
      - run: echo "production ${{ needs.register.outputs.version }}"
      - run: >-
          gh api "repos/$GITHUB_REPOSITORY/deployments" -f ref=main
          -f environment=production -F "required_contexts[]"
        env:
          GH_TOKEN: ${{ github.token }}
  after:
    name: after
    needs: production
    runs-on: ubuntu-latest
    steps:
      - run: echo done
  never:
    name: never
    needs: register
    if: needs.register.outputs.version == 'v2'
    environment: production
    runs-on: ubuntu-latest
    steps:
      - run: exit 1
""",
    "monitor": f"""
on:
  schedule:
    - cron: "17 5 * * *"
  workflow_dispatch:
    inputs:
      version:
        type: string
        required: true
      where:
        type: choice
        options: [staging, production]
        default: staging
permissions: {{}}
jobs:
  monitor:
    name: monitor
    runs-on: ubuntu-latest
    permissions:
      contents: write
      pull-requests: write
    steps:
      - uses: {CHECKOUT} # v7
      - run: echo "inputs=[${{{{ inputs.version }}}}] [${{{{ inputs.where }}}}]"
      - if: github.event_name == 'schedule'
        run: bash propose.sh
        env:
          GH_TOKEN: ${{{{ github.token }}}}
""",
}
JUDGE = """
set -eu
api="repos/$GITHUB_REPOSITORY"
number=$(gh api "$api/pulls?state=open&head=$OWNER:$BRANCH" --jq '.[0].number')
id=$(gh api "$api/actions/runs/$RUN/artifacts" --jq '.artifacts[0].id')
gh api "$api/actions/artifacts/$id/zip" > challenger.zip
python -m zipfile -e challenger.zip challenger
cat challenger/model
state=success
grep -q good challenger/model || state=failure
gh api "$api/issues/$number/comments" -f body="verdict: $state" --silent
gh api "$api/statuses/$HEAD" -f context=validate -f state=$state --silent
git switch -q --orphan ledger
echo "$state" > verdict
git add verdict
git -c user.name=x -c user.email=x@x commit -qm verdict
echo "runner: $RUNNER_TOOL_CACHE"
if gh api "$api/issues" -f title=no; then exit 1; fi
"""
PROPOSE = """
set -eu
git switch -q -c retrain/1
echo good-3 > model
git -c user.name=x -c user.email=x@x commit -qam retrain
git push -q origin retrain/1
gh api "repos/$GITHUB_REPOSITORY/pulls" -f title=Retrain -f head=retrain/1 \
  -f base=main --jq .number
mkdir -p .github/workflows
echo "on: push" > .github/workflows/evil.yml
git add .github
git -c user.name=x -c user.email=x@x commit -qm evil
if git push -q origin retrain/1; then exit 1; fi
"""
PROTECTION: dict[str, Any] = {
    "name": "main",
    "target": "branch",
    "enforcement": "active",
    "bypass_actors": [
        {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
    ],
    "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
    "rules": [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {
            "type": "pull_request",
            "parameters": {
                "required_approving_review_count": 1,
                "dismiss_stale_reviews_on_push": True,
                "require_code_owner_review": True,
                "require_last_push_approval": False,
                "required_review_thread_resolution": False,
            },
        },
        {
            "type": "required_status_checks",
            "parameters": {
                "strict_required_status_checks_policy": True,
                "required_status_checks": [{"context": "ci"}, {"context": "validate"}],
            },
        },
    ],
}


class World:
    """A forge with one repository and four people."""

    def __init__(self, forge: Forge, folder: Path, workflows: tuple[str, ...]) -> None:
        """Push the first commit, with those workflows."""
        self.forge, self.folder = forge, folder
        self.tokens = {
            "boss": forge.user("boss", admin=True),
            "ann": forge.user("ann"),
            "bob": forge.user("bob"),
            "eve": forge.user("eve"),
        }
        self.url = forge.repository("acme", "flights")
        for name in ("ann", "bob"):
            forge.collaborator(REPO, name)
        forge.variable(REPO, "PLACE", "here")
        forge.secret(REPO, "KEY", "hush-hush")
        files = {
            f".github/workflows/{name}.yml": f"name: {name}{WORKFLOWS[name]}"
            for name in workflows
        }
        files |= {"judge.sh": JUDGE, "propose.sh": PROPOSE, "model": "good-1\n"}
        self.git("boss", "clone", "-q", self.url, str(folder / "boss"), cwd=folder)
        self.write("boss", files)
        self.git("boss", "push", "-q", "origin", "HEAD:main")
        forge.wait()

    def git(
        self, who: str, *args: str, cwd: Path | None = None, ok: bool = True
    ) -> str:
        """Run git as somebody, in their clone."""
        done = subprocess.run(
            ("git", *args), cwd=cwd or self.folder / who, capture_output=True,
            text=True, env=self.forge.gh_env(self.tokens[who]),
        )  # fmt: skip
        assert (done.returncode == 0) is ok, done.stderr
        return (done.stdout + done.stderr).strip()

    def write(self, who: str, files: dict[str, str]) -> None:
        """Commit files."""
        for name, text in files.items():
            path = self.folder / who / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git(who, "add", "-A")
        self.git(who, "commit", "-qm", f"change {min(files)}")

    def branch(self, who: str, name: str, files: dict[str, str], url: str = "") -> str:
        """Push a branch from a fresh clone; return its commit."""
        shutil.rmtree(self.folder / who, ignore_errors=True)
        self.git(
            "boss", "clone", "-q", self.url, str(self.folder / who), cwd=self.folder
        )
        self.git(who, "switch", "-qc", name)
        self.write(who, files)
        self.git(who, "push", "-q", url or "origin", f"HEAD:{name}")
        return self.git(who, "rev-parse", "HEAD")

    def gh(self, who: str, path: str, method: str = "GET", **fields: Any) -> Any:
        """Call the API through the real gh."""
        command = ["gh", "api", f"repos/{REPO}/{path}".rstrip("/"), "-X", method]
        done = subprocess.run(
            command + (["--input", "-"] if fields else []),
            env=self.forge.gh_env(self.tokens[who]),
            input=json.dumps(fields) if fields else None, capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return json.loads(done.stdout or "null")

    def refused(
        self, status: int, who: str, path: str, method: str, **fields: Any
    ) -> str:
        """Call the API and expect an HTTP status; return the words."""
        with pytest.raises(AssertionError, match=f"HTTP {status}") as caught:
            self.gh(who, path, method, **fields)
        return str(caught.value)

    def open(self, who: str, head: str, title: str = "Better") -> int:
        """Open a pull request and let everything run that it starts."""
        made = self.gh(who, "pulls", "POST", title=title, head=head, base="main")
        self.forge.wait()
        return int(made["number"])

    def run(self, workflow: str) -> Run:
        """Return the newest run of a workflow."""
        return [r for r in self.forge.runs if r.workflow == workflow][-1]

    def log(self, workflow: str) -> str:
        """Return the log of the newest run of a workflow."""
        return self.run(workflow).log_path.read_text()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with act and gh."""
    for program in ("act", "gh"):
        if not (TOOLS / program).exists():
            pytest.skip(f"no {program} beside {sys.executable}: run make test")
    return TOOLS


@pytest.fixture
def world(
    request: pytest.FixtureRequest, tmp_path: Path, tools: Path
) -> Iterator[World]:
    """Return a fresh world with the workflows that a test names."""
    with Forge(tmp_path / "the forge", tools) as forge:
        yield World(forge, tmp_path, getattr(request, "param", ()))


def having(*workflows: str) -> pytest.MarkDecorator:
    """Give a test's world some workflows."""
    return pytest.mark.parametrize(
        "world", [workflows], indirect=True, ids=["-".join(workflows)]
    )


def results(world: World) -> dict[str, str | None]:
    """Return what became of the newest run of each workflow."""
    return {run.workflow: run.conclusion or run.status for run in world.forge.runs}


@having("ci", "train", "validate", "deploy")
def test_a_pull_request_goes_all_the_way(world: World) -> None:
    world.gh("boss", "rulesets", "POST", **PROTECTION)
    head = world.branch("ann", "better", {"model": "good-2\n"})
    number = world.open("ann", "better")
    seen = results(world)
    assert (seen["ci"], seen["train"], seen["validate"]) == ("success",) * 3
    assert world.gh("ann", f"commits/{head}/status")["state"] == "success"
    comments = world.gh("ann", f"issues/{number}/comments")
    assert [c["body"] for c in comments] == ["verdict: success"]
    assert comments[0]["user"]["login"] == "github-actions[bot]"
    assert "At least 1 approving" in world.refused(
        405, "ann", f"pulls/{number}/merge", "PUT"
    )
    world.refused(422, "ann", f"pulls/{number}/reviews", "POST", event="APPROVE")
    world.gh("bob", f"pulls/{number}/reviews", "POST", event="APPROVE", body="fine")
    world.refused(409, "bob", f"pulls/{number}/merge", "PUT", sha="0" * 40)
    merged = world.gh("bob", f"pulls/{number}/merge", "PUT", merge_method="squash")
    world.forge.wait()
    deploy = world.run("deploy")
    assert (deploy.sha, deploy.event) == (merged["sha"], "push")
    assert deploy.conclusion == "success"
    found = world.gh("ann", f"commits/{merged['sha']}/pulls")
    assert [p["number"] for p in found] == [number]
    assert world.gh("ann", "deployments")[0]["environment"] == "production"


@having("train", "validate")
def test_the_proposal_is_built_from_the_merge_with_a_read_only_token(
    world: World,
) -> None:
    world.branch("ann", "better", {"model": "good-2\n"})
    world.open("ann", "better")
    run, log = world.run("train"), world.log("train")
    assert (run.seconds > 0, run.summary) == (True, "### seen\n")
    assert log.count("HTTP 403") == 1 and "Resource not accessible" in log, log
    assert "The requested URL returned error: 403" in log, log
    assert "secret=[***] var=[here]" in log and "hush-hush" not in log
    assert "runner/1/" in world.log("validate")  # the one runner's, whoever uses it
    artifact = world.gh("ann", f"actions/runs/{run.id}/artifacts")["artifacts"][0]
    assert artifact["name"] == "challenger"
    zipped = subprocess.run(
        ("gh", "api", f"repos/{REPO}/actions/artifacts/{artifact['id']}/zip"),
        env=world.forge.gh_env(world.tokens["ann"]), capture_output=True, check=True,
    ).stdout  # fmt: skip
    (world.folder / "a.zip").write_bytes(zipped)
    shutil.unpack_archive(world.folder / "a.zip", world.folder / "a")
    commit, *parents = (world.folder / "a/merge").read_text().split()
    assert commit == run.sha and len(parents) == 2 and run.head_sha in parents


@having("validate", "train")
def test_the_token_of_a_run_is_gone_when_it_ends(world: World) -> None:
    world.branch("ann", "better", {"model": "good-2\n"})
    world.open("ann", "better")
    token = world.run("validate").token
    assert token.startswith("ghs_")
    request = Request(f"{world.forge.api_url}/repos/{REPO}")
    request.add_header("Authorization", f"Bearer {token}")
    with pytest.raises(HTTPError, match="401"):
        urlopen(request)


@having("ci", "train", "validate")
def test_a_red_status_blocks_the_merge(world: World) -> None:
    world.gh("boss", "rulesets", "POST", **PROTECTION)
    world.branch("ann", "worse", {"model": "bad\n"})
    number = world.open("ann", "worse")
    world.gh("bob", f"pulls/{number}/reviews", "POST", event="APPROVE")
    words = world.refused(405, "boss", f"pulls/{number}/merge", "PUT")
    assert 'Required status check \\"validate\\" is failing' in words
    world.write("ann", {"model": "good-2\n"})
    world.git("ann", "push", "-q", "origin", "worse")
    world.forge.wait()
    words = world.refused(405, "bob", f"pulls/{number}/merge", "PUT")
    assert "approving review" in words  # the new commit made the old review stale
    world.gh("bob", f"pulls/{number}/reviews", "POST", event="APPROVE")
    assert world.gh("bob", f"pulls/{number}/merge", "PUT")["merged"]


@having("ci")
def test_a_branch_behind_main_and_one_with_conflicts(world: World) -> None:
    rules = [deepcopy(r) for r in PROTECTION["rules"] if "strict" in str(r)]
    rules[0]["parameters"]["required_status_checks"] = [{"context": "ci"}]
    world.gh("boss", "rulesets", "POST", **(PROTECTION | {"rules": rules}))
    world.branch("ann", "behind", {"other": "x\n"})
    world.branch("bob", "clash", {"model": "good-2\n"})
    behind, clash = world.open("ann", "behind"), world.open("bob", "clash")
    world.write("boss", {"model": "good-9\n"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    assert "not up to date" in world.refused(405, "ann", f"pulls/{behind}/merge", "PUT")
    assert world.gh("ann", f"pulls/{clash}")["mergeable"] is False
    assert "conflicts" in world.refused(405, "ann", f"pulls/{clash}/merge", "PUT")
    runs = len(world.forge.runs)
    world.write("bob", {"model": "good-3\n"})
    world.git("bob", "push", "-q", "origin", "clash")
    assert not [r for r in world.forge.runs[runs:] if r.event == "pull_request"]


def test_code_owners_decide_about_their_files(world: World) -> None:
    owners = "* @bob\n/judge.sh @boss\n/propose.sh @eve\n"  # eve may not write
    world.write("boss", {"CODEOWNERS": owners})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    rules = [r for r in PROTECTION["rules"] if r["type"] == "pull_request"]
    world.gh("boss", "rulesets", "POST", **(PROTECTION | {"rules": rules}))
    world.branch("ann", "soft", {"judge.sh": "exit 0\n", "propose.sh": "exit 0\n"})
    number = world.open("ann", "soft")
    world.gh("bob", f"pulls/{number}/reviews", "POST", event="APPROVE")
    assert "code owner" in world.refused(405, "bob", f"pulls/{number}/merge", "PUT")
    world.gh("boss", f"pulls/{number}/reviews", "POST", event="APPROVE")
    assert world.gh("bob", f"pulls/{number}/merge", "PUT")["merged"]


@having("train", "validate")
def test_a_fork_gets_neither_secrets_nor_write_rights(world: World) -> None:
    fork = world.gh("eve", "forks", "POST")
    assert fork["full_name"] == "eve/flights" and fork["parent"]["full_name"] == REPO
    evil = WORKFLOWS["train"].replace("contents: read", "contents: write")
    evil = evil.replace("permissions: {}", "permissions: write-all")
    files = {".github/workflows/train.yml": f"name: train{evil}", "model": "good-2\n"}
    url = f"{world.forge.api_url}/eve/flights.git"
    world.git("boss", "clone", "-q", url, str(world.folder / "eve"), cwd=world.folder)
    world.write("eve", files)
    world.git("eve", "push", "-q", "origin", "HEAD:main")
    assert world.git("eve", "push", world.url, "HEAD:refs/heads/x", ok=False)
    number = world.open("eve", "eve:main")
    held = world.run("train")
    assert held.conclusion == "action_required"  # a stranger's first proposal
    world.refused(403, "eve", f"actions/runs/{held.id}/approve", "POST")
    world.gh("bob", f"actions/runs/{held.id}/approve", "POST")
    world.forge.wait()
    assert (held.secrets, set(held.permissions.values())) == ([], {"read"})
    log = world.log("train")
    assert "secret=[] var=[]" in log
    assert log.count("HTTP 403") == 1 and "returned error: 403" in log, log
    payload = world.run("validate").payload["workflow_run"]
    assert payload["pull_requests"] == []
    assert payload["head_repository"]["owner"]["login"] == "eve"
    comments = world.gh("eve", f"issues/{number}/comments")
    assert [c["body"] for c in comments] == ["verdict: success"]
    world.refused(403, "eve", f"pulls/{number}/merge", "PUT")


@having("deploy")
def test_an_environment_waits_for_its_reviewer(world: World) -> None:
    boss = json.loads(subprocess.run(
        ("gh", "api", "user"), env=world.forge.gh_env(world.tokens["boss"]),
        capture_output=True, check=True,
    ).stdout)["id"]  # fmt: skip
    world.refused(403, "ann", "environments/production", "PUT", reviewers=[])
    world.gh("boss", "environments/production", "PUT",
             reviewers=[{"type": "User", "id": boss}])  # fmt: skip
    world.gh("ann", "actions/workflows/deploy.yml/dispatches", "POST", ref="main")
    world.forge.wait()
    run = world.run("deploy")
    assert (run.status, run.conclusion) == ("waiting", None)
    assert run.jobs == {"register": "success", "staging": "success"}
    assert "staging v1" in world.log("deploy") and "production v1" not in world.log(
        "deploy"
    )
    path = f"actions/runs/{run.id}/pending_deployments"
    waits = world.gh("boss", path)
    assert [w["environment"]["name"] for w in waits] == ["production"]
    verdict = {
        "environment_ids": [waits[0]["environment"]["id"]],
        "state": "approved",
        "comment": "go",
    }
    world.refused(403, "ann", path, "POST", **verdict)
    world.gh("boss", path, "POST", **verdict)
    world.forge.wait()
    assert run.conclusion == "success"
    assert run.jobs["production"] == run.jobs["after"] == "success"
    assert run.jobs["never"] == "skipped"
    log = world.log("deploy")
    assert log.count("  | staging v1") == log.count("  | production v1") == 1
    assert log.count("Set up job") == 2 * 4  # begun and done: no trace of a replay
    approvals = world.gh("ann", f"actions/runs/{run.id}/approvals")
    assert [(a["user"]["login"], a["state"]) for a in approvals] == [
        ("boss", "approved")
    ]
    world.gh("ann", "actions/workflows/deploy.yml/dispatches", "POST", ref="main")
    world.forge.wait()
    again = world.run("deploy")
    path = f"actions/runs/{again.id}/pending_deployments"
    world.gh("boss", path, "POST", **(verdict | {"state": "rejected"}))
    assert (again.status, again.conclusion) == ("completed", "failure")


@having("monitor", "train", "validate")
def test_a_schedule_proposes_and_its_pull_request_waits_for_a_person(
    world: World,
) -> None:
    world.forge.tick(REPO, "monitor.yml")
    world.forge.wait()
    assert world.run("monitor").conclusion == "failure"
    assert "not permitted to create" in world.log("monitor")
    world.git("boss", "push", "-q", "origin", ":retrain/1")
    world.gh("boss", "actions/permissions/workflow", "PUT",
             can_approve_pull_request_reviews=True)  # fmt: skip
    world.forge.tick(REPO, "monitor.yml")
    world.forge.wait()
    monitor, train = world.run("monitor"), world.run("train")
    assert (monitor.event, monitor.conclusion) == ("schedule", "success")
    assert monitor.payload["schedule"] == "17 5 * * *"
    assert "without `workflows` permission" in world.log("monitor")
    assert (train.status, train.conclusion) == ("completed", "action_required")
    listed = world.gh(
        "ann", f"actions/runs?event=pull_request&head_sha={train.head_sha}"
    )
    for run in listed["workflow_runs"]:
        world.refused(403, "eve", f"actions/runs/{run['id']}/approve", "POST")
        world.gh("bob", f"actions/runs/{run['id']}/approve", "POST")
    world.forge.wait()
    assert (
        train.conclusion == "success" and world.run("validate").conclusion == "success"
    )
    assert world.gh("ann", "pulls")[0]["user"]["login"] == "github-actions[bot]"


@having("monitor")
def test_a_dispatch_checks_and_passes_its_inputs(world: World) -> None:
    path = "actions/workflows/monitor.yml/dispatches"
    world.refused(422, "ann", path, "POST", ref="main", inputs={})
    world.refused(
        422, "ann", path, "POST", ref="main", inputs={"version": "1", "x": "1"}
    )
    bad = {"version": "1", "where": "moon"}
    world.refused(422, "ann", path, "POST", ref="main", inputs=bad)
    world.refused(422, "ann", path, "POST", ref="nowhere", inputs={"version": "1"})
    world.refused(403, "eve", path, "POST", ref="main", inputs={"version": "1"})
    world.gh("ann", path, "POST", ref="main", inputs={"version": "v1"})
    world.forge.wait()
    assert "inputs=[v1] [staging]" in world.log("monitor")


def test_only_an_admin_pushes_past_the_rules(world: World) -> None:
    world.gh("boss", "rulesets", "POST", **PROTECTION)
    tags = {
        "name": "versions",
        "target": "tag",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": ["refs/tags/*@v*"], "exclude": []}},
        "rules": [{"type": "deletion"}, {"type": "non_fast_forward"}],
    }
    world.gh("boss", "rulesets", "POST", **tags)
    world.branch("ann", "x", {"a": "1"})
    assert "GH013" in world.git("ann", "push", "origin", "HEAD:main", ok=False)
    world.git("ann", "push", "-q", "origin", "HEAD:refs/tags/flights@v1.0.0")
    world.git("ann", "commit", "-q", "--amend", "-m", "other")
    moved = ("push", "-f", "origin", "HEAD:refs/tags/flights@v1.0.0")
    assert "GH013" in world.git("ann", *moved, ok=False)
    assert "GH013" in world.git("boss", *moved, cwd=world.folder / "ann", ok=False)
    gone = ("push", "origin", ":refs/tags/flights@v1.0.0")
    assert "GH013" in world.git("ann", *gone, ok=False)
    world.git("ann", "push", "-q", "origin", "HEAD:refs/tags/nightly")
    world.git("boss", "commit", "-q", "--amend", "-m", "rewritten")
    world.git("boss", "push", "-qf", "origin", "HEAD:main")
    assert world.gh("ann", "commits/main")["commit"]["message"] == "rewritten"
    assert "GH003" in world.git(
        "ann", "push", "origin", "HEAD:refs/pull/1/head", ok=False
    )


@having("ci")
def test_contents_are_written_only_over_the_blob_one_has_seen(world: World) -> None:
    seen = world.gh("ann", "contents/model")
    change = {"message": "m", "content": "Z29vZC01Cg==", "branch": "main"}
    world.refused(422, "ann", "contents/model", "PUT", **change)
    world.refused(409, "ann", "contents/model", "PUT", **change, sha="0" * 40)
    world.gh("ann", "contents/model", "PUT", **change, sha=seen["sha"])
    world.forge.wait()
    assert world.gh("ann", "contents/model")["content"] == "Z29vZC01Cg==\n"
    assert world.run("ci").event == "push"


def test_releases_keep_files(world: World) -> None:
    made = world.gh("ann", "releases", "POST", tag_name="flights@v1.0.0", name="v1")
    (world.folder / "model.onnx").write_bytes(bytes(range(256)))
    upload = made["upload_url"].replace("{?name,label}", "?name=model.onnx")
    for code in (0, 1):  # a name is used once
        done = subprocess.run(
            ("gh", "api", "-X", "POST", upload, "--input", "model.onnx"),
            cwd=world.folder, env=world.forge.gh_env(world.tokens["ann"]),
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    asset = world.gh("ann", "releases/tags/flights@v1.0.0")["assets"][0]
    request = Request(asset["url"], headers={"Accept": "application/octet-stream"})
    login = ("Authorization", f"Bearer {world.tokens['eve']}")
    request.add_unredirected_header(*login)
    with urlopen(request) as answer:
        assert answer.read() == bytes(range(256))
        used = answer.url  # the storage's, good for once
    with pytest.raises(HTTPError, match="404"):
        urlopen(used)
    request.add_header(*login)  # goes on to the storage, which is not GitHub
    with pytest.raises(HTTPError, match="400"):
        urlopen(request)


def test_issues_labels_variables(world: World) -> None:
    issue = world.gh("eve", "issues", "POST", title="Drift", labels=["monitor"])
    assert [label["name"] for label in issue["labels"]] == ["monitor"]
    world.refused(422, "ann", "labels", "POST", name="monitor")
    world.gh("ann", "labels", "POST", name="model", color="ff0000")
    path = f"issues/{issue['number']}"
    assert len(world.gh("ann", f"{path}/labels", "POST", labels=["model"])) == 2
    assert len(world.gh("ann", "issues?labels=monitor,model")) == 1
    world.gh("ann", path, "PATCH", state="closed")
    assert world.gh("ann", "issues") == []
    comment = world.gh("ann", f"{path}/comments", "POST", body="1")
    changed = world.gh("ann", f"issues/comments/{comment['id']}", "PATCH", body="2")
    assert changed["body"] == "2"
    world.refused(403, "eve", f"issues/comments/{comment['id']}", "PATCH", body="3")
    world.gh("ann", "actions/variables", "POST", name="A", value="1")
    world.refused(409, "ann", "actions/variables", "POST", name="A", value="1")
    world.gh("ann", "actions/variables/A", "PATCH", value="2")
    found = world.gh("ann", "actions/variables")["variables"]
    assert {v["name"]: v["value"] for v in found} == {"PLACE": "here", "A": "2"}
    assert world.gh("ann", "collaborators/eve/permission")["permission"] == "read"


@having("ci")
def test_an_app_acts_for_itself(world: World) -> None:
    grants = {"contents": "write", "pull_requests": "write"}
    number, key = world.forge.app(
        REPO, "adopter", {k.replace("_", "-"): v for k, v in grants.items()}
    )
    output = world.folder / "output"
    asked = {f"permission-{k.replace('_', '-')}": v for k, v in grants.items()}
    exchange = STAND_INS / "create-github-app-token" / "exchange.py"
    env = {"GITHUB_API_URL": world.forge.api_url, "APP": number, "KEY": key}
    env |= {"GITHUB_OUTPUT": str(output), "ASKED": json.dumps(asked)}
    subprocess.run((sys.executable, str(exchange)), env=os.environ | env, check=True)
    world.tokens["app"] = output.read_text().strip().removeprefix("token=")
    head = world.branch("ann", "better", {"model": "good-2\n"})
    world.open("ann", "better")
    runs = len(world.forge.runs)
    world.git(
        "app", "commit", "-q", "--allow-empty", "-m", "adopt", cwd=world.folder / "ann"
    )
    world.git("app", "push", "-q", "origin", "better", cwd=world.folder / "ann")
    world.forge.wait()
    started = [r for r in world.forge.runs[runs:] if r.event == "pull_request"]
    assert started and all(r.conclusion == "success" for r in started)
    world.refused(403, "app", f"statuses/{head}", "POST", state="success")


@having("ci")
def test_the_journal_counts_every_change(world: World) -> None:
    lines = (world.forge.home / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert {"repository", "push", "run"} <= {e["kind"] for e in events}
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", e["time"]) for e in events
    )


def test_leaving_ends_every_child(tmp_path: Path, tools: Path) -> None:
    sleep = "on: push\njobs:\n  s:\n    runs-on: ubuntu-latest\n    steps:\n" + (
        "      - run: |\n          (setsid sleep 987 &)\n          sleep 987\n"
    )
    with Forge(tmp_path / "the forge", tools) as forge:
        token, url = forge.user("ann", admin=True), forge.repository("ann", "x")
        env = forge.gh_env(token)
        for args in (("init", "-q", "-b", "main"), ("remote", "add", "o", url)):
            subprocess.run(("git", *args), cwd=tmp_path, env=env, check=True)
        (tmp_path / ".github/workflows").mkdir(parents=True)
        (tmp_path / ".github/workflows/s.yml").write_text(sleep)
        for args in (
            ("add", ".github"),
            ("commit", "-qm", "x"),
            ("push", "-q", "o", "main"),
        ):
            subprocess.run(("git", *args), cwd=tmp_path, env=env, check=True)
        while len(_children(forge)) < 3:
            assert forge.runs[0].status != "completed", forge.runs[
                0
            ].log_path.read_text()
    assert _children(forge) == []


def _children(forge: Forge) -> list[str]:
    """Return the processes that a forge's runs have left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FORGE_RUN={forge.queue.runner.mark}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text())
        except OSError:
            continue
    return found


SLOW = """
on: pull_request
concurrency:
  group: slow-${{ github.event.pull_request.number }}
  cancel-in-progress: true
jobs:
  slow:
    runs-on: ubuntu-latest
    steps:
      - run: test -e quick || sleep 600
"""


def test_node_is_not_started_to_say_where_it_is(
    tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As act asks it to in every job; what a step starts is the real one."""
    node, started = tmp_path / "bin" / "node", tmp_path / "started"
    node.parent.mkdir()
    node.write_text(f'#!/bin/sh\necho "$@" >> "{started}"\n')
    node.chmod(0o755)
    monkeypatch.setenv("PATH", f"{node.parent}{os.pathsep}{os.environ['PATH']}")
    with Forge(tmp_path / "the forge", tools) as forge:
        world = World(forge, tmp_path, ())
        job = JOB_OF.replace("STEP", "node of-a-step")
        world.write("boss", {".github/workflows/a.yml": f"name: a{job}"})
        world.git("boss", "push", "-q", "origin", "HEAD:main")
        forge.wait()
        assert results(world) == {"a": "success"}
    assert started.read_text() == "of-a-step\n"


def test_the_last_words_of_a_step_that_fails_are_in_the_log(world: World) -> None:
    """Also when it says more, and faster, than act reads; also without a line's end."""
    step = "seq 20000; printf 'the last word' >&2; exit 7"
    job = JOB_OF.replace("STEP", step)
    world.write("boss", {".github/workflows/a.yml": f"name: a{job}"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    world.forge.wait()
    said = re.findall(r"(?m)^\[a\]  \| (.*)$", world.log("a"))
    assert said == [*map(str, range(1, 20_001)), "the last word"]
    assert "[a] exit status 7\n" in world.log("a") and results(world) == {
        "a": "failure"
    }


def test_steps_that_fail_side_by_side_have_each_its_last_words(world: World) -> None:
    """Jobs of one run play at once."""
    step = 'seq 5000 | sed "s/^/$GITHUB_JOB /"; exit 7'
    start, _, steps = JOB_OF.replace("STEP", step).partition("  a:")
    jobs = "".join(f"  {name}:{steps}" for name in "abc")
    world.write("boss", {".github/workflows/a.yml": f"name: a{start}{jobs}"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    world.forge.wait()
    log = world.log("a")
    assert [log.count(f"| {name} 5000\n") for name in "abc"] == [1, 1, 1]


def test_a_newer_commit_cancels_the_older_run(world: World) -> None:
    flow = {".github/workflows/slow.yml": f"name: slow{SLOW}"}
    world.branch("ann", "x", flow)
    made = world.gh("ann", "pulls", "POST", title="x", head="x", base="main")
    text = SLOW.replace("test -e quick || sleep 600", "true")
    world.write("ann", {".github/workflows/slow.yml": f"name: slow{text}"})
    world.git("ann", "push", "-q", "origin", "x")
    world.forge.wait()
    old, new = world.forge.runs
    assert (old.conclusion, new.conclusion) == ("cancelled", "success")
    assert old.head_sha == made["head"]["sha"] != new.head_sha


def test_a_run_that_is_cancelled_before_act_is_there_does_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it runs yet, so nothing could be ended when it was cancelled."""
    prepare, wrote = workspace.prepare, world.folder / "wrote"

    def cancelled(runner: Any, run: Run, *more: Any) -> Any:
        call = prepare(runner, run, *more)
        world.forge.queue.cancel(run)
        return call

    monkeypatch.setattr(workspace, "prepare", cancelled)
    job = JOB_OF.replace("STEP", f"sleep 2; touch '{wrote}'")
    world.write("boss", {".github/workflows/a.yml": f"name: a{job}"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    world.forge.wait()
    assert results(world) == {"a": "cancelled"} and not wrote.exists()


def test_a_machine_reaches_only_what_it_was_given(world: World) -> None:
    world.tokens["host"] = world.forge.machine(
        REPO, "host", {"contents": "read", "deployments": "write"}
    )
    made = world.gh("ann", "deployments", "POST", ref="main", required_contexts=[])
    path = f"deployments/{made['id']}/statuses"
    world.gh("host", path, "POST", state="success")
    assert world.gh("ann", path)[0]["creator"]["login"] == "host"
    world.refused(403, "host", "issues", "POST", title="x")
    world.git("host", "ls-remote", world.url, cwd=world.folder / "boss")
    pushed = ("push", world.url, "HEAD:refs/heads/x")
    assert "403" in world.git("host", *pushed, cwd=world.folder / "boss", ok=False)


def test_a_deployment_waits_for_green_checks(world: World) -> None:
    sha = world.gh("ann", "commits/main")["sha"]
    world.gh("ann", f"statuses/{sha}", "POST", state="pending", context="slow")
    world.refused(409, "ann", "deployments", "POST", ref="main")
    world.gh("ann", f"statuses/{sha}", "POST", state="success", context="slow")
    assert world.gh("ann", "deployments", "POST", ref="main")["sha"] == sha


def test_a_proposal_pushed_to_its_base_counts_as_merged(world: World) -> None:
    head = world.branch("ann", "x", {"model": "good-2\n"})
    number = world.open("ann", "x")
    world.git("boss", "push", "-q", "origin", f"{head}:main", cwd=world.folder / "ann")
    pull = world.gh("ann", f"pulls/{number}")
    assert (pull["merged"], pull["merge_commit_sha"]) == (True, head)
    assert (pull["state"], pull["merged_by"]["login"]) == ("closed", "boss")


@having("deploy")
def test_an_environment_may_be_closed_to_a_branch(world: World) -> None:
    policy = {"protected_branches": False, "custom_branch_policies": True}
    world.gh("boss", "environments/staging", "PUT", deployment_branch_policy=policy)
    path = "environments/staging/deployment-branch-policies"
    world.gh("boss", path, "POST", name="main", type="branch")
    world.branch("ann", "x", {"a": "1"})
    for branch, expected in (("x", "failure"), ("main", "success")):
        start = "actions/workflows/deploy.yml/dispatches"
        world.gh("ann", start, "POST", ref=branch)
        world.forge.wait()
        run = world.run("deploy")
        assert (run.jobs["staging"], run.conclusion) == (expected, expected)
        assert ("  | staging v1" in world.log("deploy")) is (expected == "success")


def test_what_comes_last_starts_when_no_other_run_is_left(
    tmp_path: Path, tools: Path
) -> None:
    flows = {f".github/workflows/{n}.yml": f"name: {n}{JOB_OF}" for n in "ab"}
    home = tmp_path / "forge"
    with Forge(home, tools, 2, lambda run: run.workflow == "a") as forge:
        world = World(forge, tmp_path, ())
        world.write("boss", flows)
        world.git("boss", "push", "-q", "origin", "HEAD:main")
        forge.wait()
    lines = (home / "events.jsonl").read_text().splitlines()
    seen = [e for e in map(json.loads, lines) if e["kind"] == "run"]
    told = [(e["workflow"], e["status"]) for e in seen if e["status"] != "queued"]
    went = ("in_progress", "completed")
    assert told == [(name, status) for name in "ba" for status in went]


def test_what_is_left_out_is_skipped_and_holds_no_merge_up(
    tmp_path: Path, tools: Path
) -> None:
    """Its checks, too: nothing waits for them, so that another refusal is seen."""
    job = JOB_OF.replace("STEP", "true")
    flows = {f".github/workflows/{n}.yml": f"name: {n}{job}" for n in "ab"}
    home = tmp_path / "forge"
    with Forge(home, tools, left_out=lambda run: run.workflow == "a") as forge:
        world = World(forge, tmp_path, ())
        world.write("boss", flows)
        world.git("boss", "push", "-q", "origin", "HEAD:main")
        forge.wait()
        ended = {run.workflow: run.conclusion for run in forge.runs}
        (repository,) = forge.state.repositories.values()
        checks = [check["conclusion"] for check in repository.checks]
        held = next(run for run in forge.runs if run.workflow == "a")
        held.conclusion = "action_required"  # as of a bot's: somebody lets it start
        forge.queue.release(held)
        assert held.conclusion == "skipped" and forge.queue.idle()
    assert ended == {"a": "skipped", "b": "success"}
    assert sorted(checks) == ["skipped", "success"]


JOB_OF = """
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: STEP
"""
