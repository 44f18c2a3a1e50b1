"""The forge refuses what GitHub refuses: each difference that once hid a bug.

Most need no workflow; those that play one go through the real act.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rehearsal.forge import Forge, Run
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
    (line,) = re.findall(r"\| sum of (.*)", log)  # in any order, as act has it
    assert sorted(line.split()) == ["failure", "skipped", "success"]
    assert "never comes" not in log
    jobs = {"reader": "success", "writer": "success", "broken": "failure"}
    assert run.jobs == jobs | {"never": "skipped", "sum": "success"}
    assert run.conclusion == "failure"
    assert run.requests == 3  # each counts on GitHub, also one that is refused
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
    for closed in ("rulesets", f"rulesets/{listed['id']}", "rules/branches/main"):
        world.refused(403, "boss", closed, "GET")
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


GATED = """
name: NAME
on: {workflow_dispatch: {inputs: {place: {required: true}}}}
concurrency: {group: "GROUP", cancel-in-progress: CANCEL}
jobs:
  job:
    name: job
    runs-on: ubuntu-latest
    steps:
      - run: until [ -e "$GATE" ]; do sleep 0.05; done
        env: {GATE: "${{ vars.GATE }}"}
"""


def gated(group: str, cancel: str = "false", name: str = "gated") -> dict[str, str]:
    """Return a workflow of that group whose runs last until the gate is opened."""
    text = GATED.replace("GROUP", group).replace("CANCEL", cancel)
    return {f".github/workflows/{name}.yml": text.replace("NAME", name)}


class Gate:
    """A world with two runners, whose runs last until somebody opens it."""

    def __init__(self, world: World, *flows: dict[str, str]) -> None:
        """Push the workflows."""
        self.world, self.forge = world, world.forge
        self.file = world.folder / "gate"
        self.forge.variable(REPO, "GATE", str(self.file))
        for flow in flows:
            world.write("boss", flow)
        world.git("boss", "push", "-q", "origin", "HEAD:main")

    def start(self, place: str = "x", name: str = "gated") -> Run:
        """Dispatch a run."""
        path = f"actions/workflows/{name}.yml/dispatches"
        self.world.gh("ann", path, "POST", ref="main", inputs={"place": place})
        return self.forge.runs[-1]

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for a state, at most a minute."""
        with self.forge.state.changed:
            assert self.forge.state.changed.wait_for(ready, 60)

    def open(self) -> None:
        """Let all runs end."""
        self.file.touch()
        self.forge.wait()


@pytest.fixture
def two(tmp_path: Path, tools: Path) -> Iterator[World]:
    """Return a world with two runners."""
    with Forge(tmp_path / "the forge", tools, workers=2) as forge:
        yield World(forge, tmp_path, ())


def test_a_workflow_overlaps_itself_where_the_texts_of_groups_differ(
    two: World,
) -> None:
    gate = Gate(two, gated("Gated-${{ inputs.place }}"))
    first, pending, newest = (gate.start("x") for _ in range(3))
    other = gate.start("y")
    gate.until(lambda: first.status == other.status == "in_progress")
    assert (pending.status, pending.conclusion) == ("completed", "cancelled")
    assert (newest.status, newest.conclusion) == ("pending", None)
    assert {first.runner, other.runner} == {1, 2}  # each with a tool cache of its own
    gate.open()
    runs = (first, newest, other)
    assert [run.conclusion for run in runs] == ["success"] * 3
    caches = two.forge.home / "runner"
    assert sorted(path.name for path in caches.iterdir()) == ["1", "2"]


def both_in_progress(forge: Forge) -> bool:
    """Return whether both runs are on their way."""
    return [run.status for run in forge.runs] == ["in_progress"] * 2


def test_runners_may_share_a_tool_cache_and_leave_it_to_the_next_forge(
    tmp_path: Path, tools: Path
) -> None:
    shared = tmp_path / "shared"
    flow = gated("${{ inputs.place }}")
    (path,) = flow
    keep = 'touch "$RUNNER_TOOL_CACHE/${{ inputs.place }}"; until'
    assert flow[path].count("until") == 1
    flow[path] = flow[path].replace("until", keep)
    for number in range(2):
        home = tmp_path / str(number)
        with Forge(home / "forge", tools, workers=2, tool_cache=shared) as forge:
            gate = Gate(World(forge, home, ()), flow)
            for place in "xy":
                gate.start(f"{place}{number}")
            gate.until(partial(both_in_progress, forge))
            gate.open()
            assert {run.runner for run in forge.runs} == {1, 2}
    assert sorted(file.name for file in shared.iterdir()) == ["x0", "x1", "y0", "y1"]


def test_two_workflows_share_a_group_of_the_same_text(two: World) -> None:
    gate = Gate(two, gated("Same"), gated("same", name="other"))
    first = gate.start()
    gate.until(lambda: first.status == "in_progress")
    second = gate.start(name="other")
    assert second.status == "pending"
    gate.open()
    assert first.conclusion == second.conclusion == "success"


def test_a_run_ends_the_one_of_its_group_if_it_says_so(two: World) -> None:
    ends = "\"${{ github.event_name == 'workflow_dispatch' }}\""
    gate = Gate(two, gated("one", ends))
    first = gate.start()
    gate.until(lambda: first.status == "in_progress")
    second = gate.start()
    gate.open()
    assert (first.conclusion, second.conclusion) == ("cancelled", "success")


APPROVED = """
name: approved
on: workflow_dispatch
concurrency: {group: approved, cancel-in-progress: false}
jobs:
  job:
    name: job
    environment: production
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""


def test_a_run_that_waits_for_an_approval_holds_its_group(world: World) -> None:
    me = {"type": "User", "id": world.forge.state.people["boss"].id}
    world.gh("boss", "environments/production", "PUT", reviewers=[me])
    world.write("boss", {".github/workflows/approved.yml": APPROVED})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    for _ in range(2):
        world.gh("ann", "actions/workflows/approved.yml/dispatches", "POST", ref="main")
        world.forge.wait()  # does not wait for ever
    first, second = world.forge.runs
    assert (first.status, second.status) == ("waiting", "pending")
    ids = [world.forge.state.repositories[REPO].environments["production"]["id"]]
    verdict = {"environment_ids": ids, "state": "rejected", "comment": "too late"}
    path = f"actions/runs/{first.id}/pending_deployments"
    world.gh("boss", path, "POST", **verdict)
    world.forge.wait()
    assert (first.conclusion, second.status) == ("failure", "waiting")
    waits = world.gh("ann", "deployments?environment=production")
    states = [
        [s["state"] for s in world.gh("ann", f"deployments/{d['id']}/statuses")]
        for d in waits
    ]
    assert states == [["waiting"], ["failure", "waiting"]]


@having("deploy")
def test_each_job_with_an_environment_makes_a_deployment(world: World) -> None:
    """They stand among those of the API, and a success makes earlier ones inactive."""
    made = world.gh("ann", "deployments", "POST", ref="main", environment="staging",
                    required_contexts=[])  # fmt: skip
    mine, known = f"deployments/{made['id']}/statuses", world.gh("ann", "deployments")
    world.gh("ann", mine, "POST", state="success")
    world.gh("ann", "actions/workflows/deploy.yml/dispatches", "POST", ref="main")
    world.forge.wait()
    assert world.run("deploy").conclusion == "success"
    assert [s["state"] for s in world.gh("ann", mine)] == ["inactive", "success"]
    found = [d for d in world.gh("ann", "deployments") if d not in known]
    bot = "github-actions[bot]"
    assert {d["creator"]["login"] for d in found} == {bot}
    names = [d["environment"] for d in found]
    assert sorted(names) == ["production", "production", "staging"]  # one by the API
    (own,) = [d for d in found if d["environment"] == "staging"]
    statuses = world.gh("ann", f"deployments/{own['id']}/statuses")
    assert [s["state"] for s in statuses] == ["success", "in_progress"]
    assert own["payload"] == {} and own["sha"] == world.run("deploy").sha


CALLER = """
name: caller
on: workflow_dispatch
permissions: {}
jobs:
  each:
    name: ${{ matrix.environment }}
    strategy: {max-parallel: 1, matrix: {environment: [staging]}}
    uses: ./.github/workflows/called.yml
    with: {environment: "${{ matrix.environment }}"}
"""
CALLED = """
name: called
on: {workflow_call: {inputs: {environment: {type: string, required: true}}}}
permissions: {}
jobs:
  it:
    name: it
    environment: ${{ inputs.environment }}
    runs-on: ubuntu-latest
    steps:
      - run: echo "called sees [$KEY] [$LOGIN] [${{ vars.PLACE }}]"
        env: {KEY: "${{ secrets.KEY }}", LOGIN: "${{ secrets.LOGIN }}"}
"""
ALONE = CALLED.replace("workflow_call", "workflow_dispatch")
ALONE = ALONE.replace("name: called", "name: alone")


def test_a_called_workflow_and_a_free_plan_have_no_secrets(world: World) -> None:
    """The first unless its caller hands them on, the second none of environments."""
    world.forge.secret(REPO, "LOGIN", "key-of-staging", environment="staging")
    world.forge.variable(REPO, "PLACE", "there", environment="staging")
    flows = {"caller": CALLER, "called": CALLED, "alone": ALONE}
    world.write("boss", {f".github/workflows/{n}.yml": t for n, t in flows.items()})
    world.git("boss", "push", "-q", "origin", "HEAD:main")
    world.gh("ann", "actions/workflows/caller.yml/dispatches", "POST", ref="main")
    world.forge.wait()
    assert "called sees [] [] [there]" in world.log("caller")
    alone = ("actions/workflows/alone.yml/dispatches", "POST")
    fields = {"ref": "main", "inputs": {"environment": "staging"}}
    world.gh("ann", *alone, **fields)
    world.forge.wait()
    assert "called sees [***] [***] [there]" in world.log("alone")
    repo = world.forge.state.repositories[REPO]
    repo.private, repo.plan, known = True, "free", len(repo.deployments)
    world.gh("ann", *alone, **fields)
    world.forge.wait()
    assert "called sees [***] [] [here]" in world.log("alone")
    assert len(repo.deployments) == known  # nor deployments of its own


@having("ci", "train")
def test_a_workflow_with_an_action_that_is_not_allowed_never_starts(
    world: World,
) -> None:
    repo = world.forge.state.repositories[REPO]
    repo.allowed_actions = "selected"
    for allowed, conclusion in ((False, "startup_failure"), (True, "success")):
        repo.selected_actions["github_owned_allowed"] = allowed
        head = world.branch("ann", f"x{allowed}", {"model": f"good-{allowed}\n"})
        world.open("ann", f"x{allowed}")
        assert (world.run("train").conclusion, world.run("ci").conclusion) == (
            conclusion, "success",
        )  # fmt: skip
        checks = [c["name"] for c in repo.checks if c["head_sha"] == head]
        assert checks == ["ci", "train"][: 2 if allowed else 1]


PUSH = """
import sys, time
pauses = []
time.sleep = pauses.append
from mlgitops import git
try:
    git.push("HEAD:refs/heads/ledger", cwd=sys.argv[1])
except git.GitError as error:
    print(pauses, error)
"""


def test_a_rule_of_the_organisation_is_told_in_its_words(world: World) -> None:
    """A push that it refuses is not tried again, and the machinery shows why."""
    mail = {"operator": "ends_with", "pattern": "@acme.example"}
    world.forge.organisation_rules(
        REPO, "who", {"type": "required_signatures"},
        {"type": "commit_author_email_pattern", "parameters": mail},
        ref="refs/heads/ledger",
    )  # fmt: skip
    world.git("boss", "push", "-q", "origin", "HEAD:refs/heads/ledger")  # nothing new
    world.write("boss", {"records": "1"})
    world.git("boss", "push", "-q", "origin", "HEAD:refs/heads/other")  # no such rule
    world.write("boss", {"records": "2"})
    env = world.forge.gh_env(world.tokens["boss"])
    done = subprocess.run(
        (sys.executable, "-c", PUSH, str(world.folder / "boss")),
        cwd=ROOT, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("[] "), done
    for words in ("GH013: Repository rule violations", "verified signatures",
                  "Author email must end with", "remote rejected"):  # fmt: skip
        assert words in done.stdout, words
    listed = world.gh("boss", "rulesets")
    assert [r["source_type"] for r in listed] == ["Organization"]
    assert world.gh("boss", "rulesets?includes_parents=false") == []
    world.refused(
        404, "boss", f"rulesets/{listed[0]['id']}", "PUT", enforcement="disabled"
    )
    own = {"name": "who", "enforcement": "active", "target": "branch"}
    world.gh("boss", "rulesets", "POST", **own, rules=[{"type": "deletion"}])
    strange = {"rules": [{"type": "required_linear_history"}]}
    words = world.refused(
        422, "boss", "rulesets", "POST", **own | {"name": "b"}, **strange
    )
    assert "required_linear_history" in words
    (rule, *_) = world.gh("ann", "rules/branches/ledger")
    assert rule["ruleset_source"] == "acme"


def test_who_left_is_told_as_nobody(world: World) -> None:
    world.branch("bob", "x", {"a": "1"})
    number = world.open("bob", "x")
    world.gh("eve", f"issues/{number}/comments", "POST", body="<!-- report -->")
    world.gh("ann", f"pulls/{number}/reviews", "POST", event="APPROVE")
    for name in ("eve", "ann", "bob"):
        world.forge.leave(name)
    (comment,) = world.gh("boss", f"issues/{number}/comments")
    (review,) = world.gh("boss", f"pulls/{number}/reviews")
    pull = world.gh("boss", f"pulls/{number}")
    assert comment["user"] is review["user"] is pull["user"] is None
    assert review["state"] == "APPROVED"
