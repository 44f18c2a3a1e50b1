"""The forge refuses what GitHub refuses: each difference that once hid a bug.

Most need no workflow; those that play one go through the real act.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rehearsal.forge import Forge
from test_forge import CHECKOUT, PROTECTION, REPO, World, having, tools, world

__all__ = ["tools", "world"]
ROOT = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}"
pytestmark = pytest.mark.slow

SCOPES = f"""
name: scopes
on: workflow_dispatch
permissions: {{}}
jobs:
  reader:
    name: reader
    runs-on: ubuntu-latest
    permissions: {{contents: read}}
    outputs: {{word: "${{{{ steps.word.outputs.word }}}}"}}
    steps:
      - uses: {CHECKOUT}
      - id: word
        run: echo "word=hello" >> "$GITHUB_OUTPUT"
      - run: |
          gh api "repos/$GITHUB_REPOSITORY/issues" -f title=reader || echo refused
          echo "reader sees [$LOGIN] [$PLACE]"
        env:
          GH_TOKEN: ${{{{ github.token }}}}
          LOGIN: ${{{{ secrets.LOGIN }}}}
          PLACE: ${{{{ vars.PLACE }}}}
  writer:
    name: writer
    needs: reader
    runs-on: ubuntu-latest
    environment: register
    permissions: {{issues: write}}
    steps:
      - run: |
          gh api "repos/$GITHUB_REPOSITORY/issues" -f title=writer
          gh api "repos/$GITHUB_REPOSITORY/contents/model" || echo "no contents"
          echo "writer heard $WORD and sees [$LOGIN] [$PLACE]"
        env:
          GH_TOKEN: ${{{{ github.token }}}}
          WORD: ${{{{ needs.reader.outputs.word }}}}
          LOGIN: ${{{{ secrets.LOGIN }}}}
          PLACE: ${{{{ vars.PLACE }}}}
  broken:
    name: broken
    runs-on: ubuntu-latest
    permissions: {{contents: read}}
    steps:
      - run: exit 1
  never:
    name: never
    needs: broken
    runs-on: ubuntu-latest
    permissions: {{issues: write}}
    steps:
      - run: echo "never comes"
  sum:
    name: sum
    needs: [reader, broken, never]
    if: always()
    runs-on: ubuntu-latest
    steps:
      - run: echo "sum of $RESULTS"
        env: {{RESULTS: "${{{{ join(needs.*.result, ' ') }}}}"}}
"""


def test_a_job_has_its_own_permissions_secrets_and_variables(world: World) -> None:
    world.forge.secret(REPO, "LOGIN", "key-of-register", environment="register")
    world.forge.variable(REPO, "PLACE", "there", environment="register")
    world.write("boss", {".github/workflows/scopes.yml": SCOPES})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    world.gh("boss", "actions/workflows/scopes.yml/dispatches", "POST", ref="main")
    world.forge.wait()
    run, log = world.run("scopes"), world.log("scopes")
    assert "reader sees [] [here]" in log
    assert "writer heard hello and sees [***] [there]" in log
    assert "refused" in log and "no contents" in log
    assert [i["title"] for i in world.gh("boss", "issues")] == ["writer"]
    assert "sum of success failure skipped" in log and "never comes" not in log
    jobs = {"reader": "success", "writer": "success", "broken": "failure"}
    assert run.jobs == jobs | {"never": "skipped", "sum": "success"}
    assert run.conclusion == "failure"
    names = world.gh("boss", "environments/register/secrets")["secrets"]
    assert [secret["name"] for secret in names] == ["LOGIN"]


@having("ci")
def test_a_workflow_token_makes_no_ref_with_other_workflow_files(world: World) -> None:
    """Even on a commit that main has in its history; a person's token may."""
    clone = world.folder / "boss"
    old = world.git("boss", "rev-parse", "HEAD")
    path = ".github/workflows/ci.yml"
    world.write("boss", {path: (clone / path).read_text() + "# newer\n"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    new = world.git("boss", "rev-parse", "HEAD")
    state = world.forge.state
    grants = {"contents": "write", "metadata": "read"}
    bot = state.mint(state.person("github-actions[bot]", "Bot"), "ghs",
                     permissions=grants, repository=REPO)  # fmt: skip
    world.tokens["run"] = bot.value
    for name in ("tags/x@v1.0.0", "heads/topic"):
        push = ("push", world.url, f"{old}:refs/{name}")
        said = world.git("run", *push, cwd=clone, ok=False)
        assert "without `workflows` permission" in said and "remote rejected" in said
        world.git("run", "push", world.url, f"{new}:refs/{name}", cwd=clone)
    body = {"tag_name": "y@v1.0.0", "target_commitish": old}
    world.refused(403, "run", "releases", "POST", **body)
    world.gh("run", "releases", "POST", **(body | {"target_commitish": new}))
    world.git(
        "run", "push", world.url, f"{old}:refs/tags/x@v1.0.0", cwd=clone, ok=False
    )
    world.git("boss", "push", "origin", f"{old}:refs/tags/by-a-person")
    world.write("boss", {"records": "1"})
    world.git("boss", "checkout", "-q", "--orphan", "ledger")
    world.git("boss", "rm", "-rqf", "--cached", ".")
    world.git("boss", "commit", "-qm", "no workflow", "--allow-empty")
    world.git("run", "push", world.url, "HEAD:refs/heads/ledger", cwd=clone)


def test_an_organisation_and_a_stranger_are_no_code_owners(world: World) -> None:
    owners = "/model @boss\n/judge.sh @acme # the organisation\n/propose.sh @eve\n"
    world.write("boss", {"CODEOWNERS": owners})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    errors = world.gh("boss", "codeowners/errors")["errors"]
    assert [(e["line"], e["kind"]) for e in errors] == [
        (2, "Unknown owner"), (3, "Unknown owner"),
    ]  # fmt: skip
    rules = [r for r in PROTECTION["rules"] if r["type"] == "pull_request"]
    world.gh("boss", "rulesets", "POST", **(PROTECTION | {"rules": rules}))
    world.branch("ann", "soft", {"judge.sh": "exit 0\n"})
    number = world.open("ann", "soft")
    world.gh("bob", f"pulls/{number}/reviews", "POST", event="APPROVE")
    assert world.gh("bob", f"pulls/{number}/merge", "PUT")["merged"]  # nobody owns it


def test_the_only_owner_merges_when_another_owner_is_named(world: World) -> None:
    """What `make github` tells a team of two: nobody agrees to their own proposal."""
    world.write("boss", {"CODEOWNERS": "/CODEOWNERS @boss\n/judge.sh @boss\n"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    rules = [r for r in PROTECTION["rules"] if r["type"] == "pull_request"]
    nobody = {"rules": rules, "bypass_actors": []}
    world.gh("boss", "rulesets", "POST", **(PROTECTION | nobody))
    world.branch("boss", "mine", {"judge.sh": "exit 0\n"})
    stuck = world.open("boss", "mine")
    world.gh("ann", f"pulls/{stuck}/reviews", "POST", event="APPROVE")
    words = world.refused(405, "boss", f"pulls/{stuck}/merge", "PUT")
    assert "code owner review from @boss" in words
    both = "/CODEOWNERS @boss @ann\n/judge.sh @boss @ann\n"
    world.branch("ann", "owners", {"CODEOWNERS": both})
    number = world.open("ann", "owners")
    world.gh("boss", f"pulls/{number}/reviews", "POST", event="APPROVE")
    assert world.gh("ann", f"pulls/{number}/merge", "PUT")["merged"]
    assert world.gh("boss", f"pulls/{stuck}/merge", "PUT")["merged"]


def test_plans_and_organisations_refuse(world: World) -> None:
    repo = world.forge.state.repositories[REPO]
    me = {"type": "User", "id": world.forge.state.people["boss"].id}
    policy = {"protected_branches": False, "custom_branch_policies": True}
    path = "environments/production"
    repo.private, repo.plan = True, "pro"
    world.refused(422, "boss", path, "PUT", reviewers=[me])
    world.gh("boss", path, "PUT", deployment_branch_policy=policy)
    world.gh("boss", "rulesets", "POST", **PROTECTION)
    (listed,) = world.gh("boss", "rulesets")
    assert "rules" not in listed
    assert len(world.gh("boss", f"rulesets/{listed['id']}")["rules"]) == 4
    kinds = [rule["type"] for rule in world.gh("ann", "rules/branches/main")]
    assert "required_status_checks" in kinds
    repo.plan = "free"
    world.refused(422, "boss", path, "PUT", deployment_branch_policy=policy)
    world.refused(403, "boss", "rulesets", "GET")
    repo.pull_requests_by_actions = False
    allow = {"can_approve_pull_request_reviews": True}
    world.refused(409, "boss", "actions/permissions/workflow", "PUT", **allow)
    repo.allowed_actions = "local_only"
    assert world.gh("boss", "actions/permissions")["allowed_actions"] == "local_only"


def test_a_policy_of_an_environment_can_be_removed(world: World) -> None:
    policy = {"protected_branches": False, "custom_branch_policies": True}
    world.gh("boss", "environments/e", "PUT", deployment_branch_policy=policy)
    path = "environments/e/deployment-branch-policies"
    for name in ("main", "other"):
        world.gh("boss", path, "POST", name=name, type="branch")
    other = world.gh("boss", path)["branch_policies"][1]
    world.gh("boss", f"{path}/{other['id']}", "DELETE")
    world.refused(404, "boss", f"{path}/{other['id']}", "DELETE")
    assert [p["name"] for p in world.gh("boss", path)["branch_policies"]] == ["main"]


def upload(world: World, release: dict[str, Any], name: str) -> int:
    """Add a file to a release; return gh's exit code."""
    url = release["upload_url"].replace("{?name,label}", f"?name={name}")
    done = subprocess.run(
        ("gh", "api", "-X", "POST", url, "--input", "-"), input=b"x",
        env=world.forge.gh_env(world.tokens["ann"]), capture_output=True,
    )  # fmt: skip
    return done.returncode


def test_an_immutable_release_is_filled_while_it_is_a_draft(world: World) -> None:
    world.forge.state.repositories[REPO].immutable_releases = True
    first = world.gh("ann", "releases", "POST", tag_name="m@v1", draft=True)
    second = world.gh("ann", "releases", "POST", tag_name="m@v1", draft=True)
    world.refused(404, "ann", "releases/tags/m@v1", "GET")
    assert len(world.gh("ann", "releases")) == 2 and world.gh("eve", "releases") == []
    assert upload(world, first, "model.onnx") == 0
    assert world.gh("ann", f"releases/{first['id']}", "PATCH", draft=False)["immutable"]
    assert world.gh("ann", "commits/m@v1")["sha"]  # the tag came with it
    world.refused(422, "ann", f"releases/{second['id']}", "PATCH", draft=False)
    assert upload(world, first, "late.txt") == 1
    (asset,) = world.gh("ann", "releases/tags/m@v1")["assets"]
    world.refused(422, "ann", f"releases/assets/{asset['id']}", "DELETE")
    world.gh("ann", f"releases/{second['id']}", "DELETE")
    assert len(world.gh("ann", "releases")) == 1


@having("ci")
def test_a_deleted_fork_leaves_nothing_but_null(world: World) -> None:
    world.gh("eve", "forks", "POST")
    url = f"{world.forge.api_url}/eve/flights.git"
    world.git("boss", "clone", "-q", url, str(world.folder / "eve"), cwd=world.folder)
    world.write("eve", {"model": "good-2\n"})
    world.git("eve", "push", "-q", "origin", "HEAD:main")
    number = world.open("eve", "eve:main")
    world.forge.delete("eve/flights")
    assert world.gh("ann", f"pulls/{number}")["head"]["repo"] is None
    run = world.gh("ann", "actions/runs?event=pull_request")["workflow_runs"][0]
    assert run["head_repository"] is None
    world.write("boss", {"other": "1"})
    world.git("boss", "push", "-q", "origin", "HEAD:main")  # the proposal stays


def test_pages_are_as_short_as_githubs(world: World) -> None:
    for number in range(35):
        world.forge.variable(REPO, f"N{number}", "x")
    sizes = [
        len(world.gh("ann", f"actions/variables{query}")["variables"])
        for query in ("", "?per_page=100", "?per_page=100&page=2")
    ]
    assert sizes == [10, 30, 6]
    for number in range(31):
        world.gh("boss", f"environments/e{number}", "PUT", reviewers=[])
    found = world.gh("ann", "environments")
    assert (found["total_count"], len(found["environments"])) == (31, 30)


def test_a_comment_stays_its_authors_whoever_edits_it(world: World) -> None:
    """A stranger who was first with the marker may change what a bot wrote there."""
    world.branch("ann", "x", {"a": "1"})
    number = world.open("ann", "x")
    made = world.gh("eve", f"issues/{number}/comments", "POST", body="<!-- report -->")
    path = f"issues/comments/{made['id']}"
    state = world.forge.state
    grants = {"pull-requests": "write"}
    bot = state.mint(state.person("github-actions[bot]", "Bot"), "ghs",
                     permissions=grants, repository=REPO)  # fmt: skip
    world.tokens["run"] = bot.value
    assert world.gh("run", path, "PATCH", body="good")["user"]["login"] == "eve"
    assert world.gh("eve", path, "PATCH", body="better")["body"] == "better"


CALL = """
import sys, time
pauses = []
time.sleep = pauses.append
from mlgitops import github
print(github.api("labels"), github.api("/user")["login"], pauses)
try:
    github.api("labels", "POST", {"name": "x"})
except github.GitHubError as error:
    print(error.status, error.passing)
"""


def test_the_machinery_waits_as_the_real_gh_is_told(world: World, tools: Path) -> None:
    """Status and headers come through the real gh, whatever it prints beside them."""
    forge: Forge = world.forge
    forge.fail("GET", "/labels$", 502, times=2)
    forge.fail("GET", "/user$", 403, Retry_After="7")
    forge.fail("POST", "/labels$", 500)
    env = forge.gh_env(world.tokens["ann"]) | {"GITHUB_REPOSITORY": REPO}
    done = subprocess.run(
        (sys.executable, "-c", CALL), cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["[] ann [1.0, 2.0, 7.0]", "500 True"], done
    assert forge.state.faults == []
    seen = json.dumps(world.gh("ann", "labels"))
    assert seen == "[]"
