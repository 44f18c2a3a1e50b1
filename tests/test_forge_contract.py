"""Every answer of the forge, held against GitHub's own OpenAPI description."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from rehearsal.forge import Forge
from rehearsal.forge.routes import TABLE
from rehearsal.forge.schemas import DESCRIPTION, wrong

REPO = "acme/flights"
TOOLS = Path(sys.executable).parent
WORKFLOW = """
name: flow
on:
  pull_request:
  workflow_dispatch:
permissions: {}
jobs:
  build:
    name: build
    runs-on: ubuntu-latest
    steps:
      - run: python -m zipfile -c "$FORGE_ARTIFACTS/thing.zip" "$GITHUB_EVENT_PATH"
  live:
    name: live
    needs: build
    if: github.event_name == 'workflow_dispatch'
    environment: production
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""
AFTER = """
name: after
on:
  push:
  workflow_run: {workflows: [flow], types: [completed]}
permissions: {}
jobs:
  after: {name: after, runs-on: ubuntu-latest, steps: [run: "true"]}
"""


class Caller:
    """Calls the API and holds each answer against the description."""

    def __init__(self, forge: Forge) -> None:
        """Start with nothing called."""
        self.forge, self.token, self.seen = forge, "", set[str]()

    def __call__(self, method: str, path: str, **fields: Any) -> Any:
        """Call, check, and return the JSON."""
        raw = fields.pop("raw", None)
        full = path if path.startswith("/") else f"/repos/{REPO}/{path}".rstrip("/")
        request = Request(self.forge.api_url + full, method=method)
        request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        if raw or method != "GET":
            request.data = raw or json.dumps(fields).encode()
        with urlopen(request) as answer:
            content, status = answer.read(), answer.status
        bare = urlsplit(full).path
        row = next(r for r in TABLE if r.method == method and r.pattern.fullmatch(bare))
        name = f"{row.method} {row.path}"
        operation = DESCRIPTION["operations"][name]
        self.seen.add(name)
        if name.endswith("/zip"):
            return content  # the redirect was followed
        assert str(status) in operation["statuses"], (name, status)
        value = json.loads(content or "null")
        assert wrong(operation["schema"], value) == [], name
        return value


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Caller]:
    """Return a caller on a forge with one repository of two branches."""
    for program in ("act", "gh"):
        if not (TOOLS / program).exists():
            pytest.skip(f"no {program} beside {sys.executable}: run make test")
    with Forge(tmp_path / "forge", TOOLS) as forge:
        caller = Caller(forge)
        caller.token = forge.user("ann", admin=True)
        forge.user("bob")
        url, env = forge.repository("acme", "flights"), forge.gh_env(caller.token)
        work = tmp_path / "work"
        (work / ".github/workflows").mkdir(parents=True)
        (work / ".github/workflows/flow.yml").write_text(WORKFLOW)
        for line in (
            "init -q -b main", "add .", "commit -qm one", f"push -q {url} main",
            "commit -q --allow-empty -m two", f"push -q {url} HEAD:topic",
        ):  # fmt: skip
            if "two" in line:
                (work / "model").write_text("1\n")
                subprocess.run(("git", "add", "."), cwd=work, env=env, check=True)
            subprocess.run(("git", *line.split()), cwd=work, env=env, check=True)
        yield caller


def test_every_route_answers_as_github_describes(call: Caller) -> None:
    _people_and_settings(call)
    number = _pull_request(call)
    _runs(call)
    sha = call("PUT", f"pulls/{number}/merge", merge_method="rebase")["sha"]
    assert call("GET", f"commits/{sha}/pulls")[0]["number"] == number
    _issues(call)
    _deployments(call, sha)
    _releases(call)
    number, key = call.forge.app(REPO, "adopter", {"contents": "write"})
    call.token = key
    made = call("POST", f"/app/installations/{number}/access_tokens")
    assert made["token"].startswith("ghs_")
    assert {f"{r.method} {r.path}" for r in TABLE} == call.seen


def _people_and_settings(call: Caller) -> None:
    me = call("GET", "/user")
    assert call("GET", "/users/ann") == me
    assert call("GET", "")["default_branch"] == "main"
    assert call("GET", "collaborators/bob/permission")["permission"] == "read"
    assert call("POST", "forks")["parent"]["full_name"] == REPO
    call("PUT", "actions/permissions/workflow", default_workflow_permissions="read")
    call("GET", "actions/permissions/workflow")
    call("POST", "actions/variables", name="A", value="1")
    call("PATCH", "actions/variables/A", value="2")
    assert call("GET", "actions/variables")["variables"][0]["value"] == "2"
    assert call("GET", "actions/organization-variables")["variables"] == []
    assert call("GET", "actions/runners")["runners"] == []
    reviewers = [{"type": "User", "id": me["id"]}]
    call("PUT", "environments/production", reviewers=reviewers)
    rules = call("GET", "environments/production")["protection_rules"]
    assert rules[0]["reviewers"][0]["reviewer"]["login"] == "ann"
    assert call("GET", "environments")["total_count"] == 1
    policy = {"protected_branches": False, "custom_branch_policies": True}
    call("PUT", "environments/e", deployment_branch_policy=policy)
    path = "environments/e/deployment-branch-policies"
    call("POST", path, name="main", type="branch")
    (branch,) = call("GET", path)["branch_policies"]
    assert branch["name"] == "main"
    call("DELETE", f"{path}/{branch['id']}")
    call.forge.secret(REPO, "LOGIN", "x", environment="e")
    assert call("GET", "environments/e/secrets")["secrets"][0]["name"] == "LOGIN"
    assert call("GET", "actions/permissions")["allowed_actions"] == "all"
    call.forge.state.repositories[REPO].allowed_actions = "selected"
    selected = call("GET", "actions/permissions/selected-actions")
    assert selected["github_owned_allowed"] is True
    assert call("GET", "codeowners/errors")["errors"] == []
    assert call("GET", "/meta")["verifiable_password_authentication"] is False
    assert call("GET", "collaborators")[0]["permissions"]["push"] is True
    names = {"ref_name": {"include": ["refs/heads/none"], "exclude": []}}
    made = call("POST", "rulesets", name="r", target="branch", enforcement="active",
                conditions=names, rules=[{"type": "deletion"}])  # fmt: skip
    call("PUT", f"rulesets/{made['id']}", enforcement="disabled")
    assert call("GET", "rulesets")[0]["enforcement"] == "disabled"
    assert call("GET", f"rulesets/{made['id']}")["rules"] == [{"type": "deletion"}]
    call("PUT", f"rulesets/{made['id']}", enforcement="active")
    assert call("GET", "rules/branches/none")[0]["type"] == "deletion"


def _pull_request(call: Caller) -> int:
    number = int(
        call("POST", "pulls", title="T", head="topic", base="main", body="b")["number"]
    )
    call.forge.wait()
    pull = call("GET", f"pulls/{number}")
    assert pull["mergeable"] is True
    assert call("GET", "pulls?head=acme:topic&state=open")[0]["number"] == number
    assert call("PATCH", f"pulls/{number}", title="U")["title"] == "U"
    assert call("GET", f"pulls/{number}/files")[0]["filename"] == "model"
    call("POST", f"pulls/{number}/reviews", event="COMMENT", body="hm")
    assert call("GET", f"pulls/{number}/reviews")[0]["state"] == "COMMENTED"
    sha = pull["head"]["sha"]
    call("POST", f"statuses/{sha}", state="success", context="validate")
    assert call("GET", f"commits/{sha}/status")["state"] == "success"
    assert call("GET", f"commits/{sha}/statuses")[0]["context"] == "validate"
    assert call("GET", f"commits/{sha}")["sha"] == sha
    made = call("POST", f"issues/{number}/comments", body="1")
    call("PATCH", f"issues/comments/{made['id']}", body="2")
    assert call("GET", f"issues/{number}/comments")[0]["body"] == "2"
    call("DELETE", f"issues/comments/{made['id']}")
    assert call("GET", f"issues/{number}/comments") == []
    return number


def _runs(call: Caller) -> None:
    run = call("GET", "actions/runs?event=pull_request")["workflow_runs"][0]
    assert run["conclusion"] == "success"
    assert call("GET", "actions/workflows/flow.yml/runs")["total_count"] == 1
    artifact = call("GET", f"actions/runs/{run['id']}/artifacts")["artifacts"][0]
    zipped = call("GET", f"actions/artifacts/{artifact['id']}/zip")
    assert len(zipped) == artifact["size_in_bytes"]
    call("POST", "actions/workflows/flow.yml/dispatches", ref="main")
    call.forge.wait()
    waiting = call.forge.runs[-1]
    path = f"actions/runs/{waiting.id}"
    assert call("GET", path)["status"] == "waiting"
    environment = call("GET", f"{path}/pending_deployments")[0]["environment"]
    ids = [environment["id"]]
    call("POST", f"{path}/pending_deployments", environment_ids=ids, state="approved",
         comment="go")  # fmt: skip
    call.forge.wait()
    assert call("GET", f"{path}/approvals")[0]["state"] == "approved"
    held = call.forge.runs[0]
    held.conclusion = "action_required"
    call("POST", f"actions/runs/{held.id}/approve")
    call.forge.wait()
    call("POST", "actions/workflows/flow.yml/dispatches", ref="main")
    call("POST", f"actions/runs/{call.forge.runs[-1].id}/cancel")
    call.forge.wait()
    assert call.forge.runs[-1].conclusion == "cancelled"


def _issues(call: Caller) -> None:
    call("POST", "labels", name="monitor", color="ff0000")
    assert call("GET", "labels")[0]["name"] == "monitor"
    number = call("POST", "issues", title="T", body="b", labels=["monitor"])["number"]
    call("POST", f"issues/{number}/labels", labels=["x"])
    assert call("GET", "issues?labels=x")[0]["number"] == number
    call("PATCH", f"issues/{number}", state="closed")
    assert call("GET", f"issues/{number}")["state"] == "closed"
    seen = call("GET", "contents/model")
    change = {"message": "m", "content": base64.b64encode(b"2").decode()}
    call("PUT", "contents/model", **change, branch="main", sha=seen["sha"])


def _deployments(call: Caller, sha: str) -> None:
    made = call("POST", "deployments", ref=sha, environment="e", required_contexts=[])
    path = f"deployments/{made['id']}"
    call("POST", f"{path}/statuses", state="success", description="d")
    assert call("GET", f"{path}/statuses")[0]["state"] == "success"
    assert call("GET", path)["sha"] == sha
    assert call("GET", "deployments?environment=e")[0]["id"] == made["id"]


def _releases(call: Caller) -> None:
    made = call("POST", "releases", tag_name="m@v1", name="n", body="b")
    call("POST", f"releases/{made['id']}/assets?name=model.onnx", raw=b"\0\1")
    asset = call("GET", "releases/tags/m@v1")["assets"][0]
    assert call("GET", f"releases/assets/{asset['id']}")["size"] == 2
    assert call("GET", "releases")[0]["tag_name"] == "m@v1"
    call("GET", f"releases/{made['id']}/assets")
    draft = call("POST", "releases", tag_name="m@v2", draft=True)
    assert call("PATCH", f"releases/{draft['id']}", draft=False)["draft"] is False
    call("DELETE", f"releases/{draft['id']}")
    call("DELETE", f"releases/assets/{asset['id']}")
    assert call("GET", "releases")[0]["assets"] == []


def test_queries_and_pages_are_those_of_github() -> None:
    for row in TABLE:
        query = DESCRIPTION["operations"][f"{row.method} {row.path}"]["query"]
        paging = {"per_page", "page"} - query.keys()  # of what GitHub does not cut
        assert row.query - paging <= query.keys(), row.path
        if row.method == "GET" and "per_page" in query:
            assert row.pages[0] == query["per_page"], row.path


def test_every_payload_is_one_that_github_sends(call: Caller) -> None:
    _pull_request(call)
    content = base64.b64encode(AFTER.encode()).decode()
    path = ".github/workflows/after.yml"
    call("PUT", f"contents/{path}", message="m", content=content, branch="main")
    call.forge.wait()
    call("POST", "actions/workflows/flow.yml/dispatches", ref="main")
    call.forge.wait()
    seen = {run.event: run.payload for run in call.forge.runs}
    assert set(seen) == set(DESCRIPTION["events"])
    for event, schema in DESCRIPTION["events"].items():
        problems = wrong(schema, seen[event])
        assert not problems, (event, problems)


def test_an_invented_key_of_a_payload_is_seen() -> None:
    schema = DESCRIPTION["events"]["pull_request"]
    assert wrong(schema, {"number": 1}) == []
    assert wrong(schema, {"numbr": 1}) == ["$.numbr: GitHub has no such key"]
    assert wrong(schema, {"pull_request": {"merged": "yes"}}) != []


@pytest.mark.parametrize(
    ("method", "path", "fields", "words"),
    [
        ("POST", "issues", {"title": "x", "lables": []}, "$.lables: GitHub has no"),
        ("POST", "issues", {"body": "x"}, "$.title: GitHub needs it"),
        ("POST", "pulls", {"title": "x", "head": 1, "base": "main"}, "$.head: 1 is"),
        ("POST", "deployments", {"ref": "main", "auto_merge": "no"}, "$.auto_merge"),
        ("PUT", "environments/e", {"wait_timer": "5"}, "$.wait_timer: '5' is not"),
        ("POST", "statuses/main", {"state": "green"}, "$.state: must be one of"),
        ("GET", "pulls?status=open", {}, "no query 'status'"),
        ("GET", "actions/runs?sha=1", {}, "no query 'sha'"),
    ],
)
def test_a_request_that_github_does_not_know_is_refused(
    call: Caller, method: str, path: str, fields: Any, words: str
) -> None:
    with pytest.raises(HTTPError) as refused:
        call(method, path, **fields)
    assert refused.value.code == 422
    assert words in json.load(refused.value)["message"]


def test_without_a_token_nothing_is_answered(call: Caller) -> None:
    call.token = "ghp_guessed"
    for path in ("/user", "", "pulls"):
        with pytest.raises(HTTPError, match="401"):
            call("GET", path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"number": "1"}, "$.number: '1' is not of type integer"),
        ({"number": True}, "$.number: True is not of type integer"),
        ({"nonsense": 1}, "$.nonsense: GitHub has no such key"),
        (
            {"state": "merged"},
            "$.state: must be one of ['open', 'closed'], got 'merged'",
        ),
        ({"user": {"login": 1}}, "$.user.login: 1 is not of type string"),
        ({"title": None}, "$.title: None is not of type string"),
    ],
)
def test_the_check_sees_what_github_would_not_answer(value: Any, words: str) -> None:
    operation = "GET /repos/{owner}/{repo}/pulls/{n}"
    assert words in wrong(DESCRIPTION["operations"][operation]["schema"], value)
