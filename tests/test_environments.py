"""A drill: the environment `qa`, by one line in params.yaml, played by act.

The workflows and the list are the template's own; what registers and deploys is a
stand-in that says where it went. tests/machinery/test_environments.py has the code.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import FOLDER, Bake
from machinery import lengths
from rehearsal.forge import Forge, Run
from test_forge import World, tools

__all__ = ["tools"]

COMMANDS = {
    "install": "",
    "alert": "",
    "register": """
import json, os
from mlgitops.release import environments
with open(os.environ["GITHUB_OUTPUT"], "a") as file:
    print(f"environments={json.dumps(environments.of_this_run())}", file=file)
    print("version=v1.0.0", file=file)
""",
    "deploy": """
import sys
from mlgitops.release import environments, target
where, version = sys.argv[1:]
environments.check_name(where)
print(f"{version} to {where} at [{target.address(where)}]")
sys.exit(target.address(where) == "broken")
""",
    "rollback": """
import sys
from mlgitops.release import environments, target
where, version, _ = sys.argv[1:]
name = environments.check_name(where)
print(f"{version} back to {name} at [{target.address(name)}]")
""",
}


def stand_in(body: str) -> str:
    """Return a command that does something."""
    return "def main() -> None:\n    " + (body.replace("\n", "\n    ") or "pass") + "\n"


def add(project: Path) -> set[str]:
    """Add `qa` as a person would; return the files that this changes or makes."""
    params = project / "params.yaml"
    text, count = re.subn(r"\[staging, production\]", "[staging, qa, production]",
                          params.read_text())  # fmt: skip
    assert count == 1
    params.write_text(text)
    changed = {"params.yaml"}
    for overlay in project.glob("deploy/kubernetes/overlays/staging/*"):
        new = overlay.parent.with_name("qa") / overlay.name
        new.parent.mkdir(exist_ok=True)
        new.write_text(overlay.read_text().replace("staging", "qa"))
        changed.add(str(new.relative_to(project)))
    return changed


@pytest.mark.bakes
@pytest.mark.parametrize(("target", "count"), [("host", 1), ("edge", 1), ("kubernetes", 2)])  # fmt: skip # noqa: E501
def test_an_environment_is_one_line_and_an_overlay(
    bake: Bake, target: str, count: int
) -> None:
    project = bake(deploy_target=target)
    assert len(add(project)) == count
    if target == "kubernetes" and shutil.which("kubectl"):
        command = ("kubectl", "kustomize", "deploy/kubernetes/overlays/qa")
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.stdout.count(" model-qa\n") == 7, done.stderr  # 6 in it, and itself


class Drill(World):
    """A forge whose repository has the template's own workflows."""

    def __init__(self, forge: Forge, folder: Path, template: Path) -> None:
        """Push the workflows, the machinery and the list."""
        super().__init__(forge, folder, ())
        source, mine = template / FOLDER, folder / "boss"
        for name in ("mlgitops", ".github"):
            shutil.copytree(source / name, mine / name)
        for path in (mine / ".github" / "workflows").iterdir():
            if path.stem not in ("deploy", "environment", "rollback"):
                path.unlink()
        for name in ("params.yaml", "contract.yaml"):
            shutil.copy(source / name, mine / name)
        commands = mine / "mlgitops" / "commands"
        for name, body in COMMANDS.items():
            (commands / f"{name}.py").write_text(stand_in(body))
        self.gh("boss", "environments/production", "PUT", reviewers=[self.me()])
        self.push()

    def me(self) -> dict[str, object]:
        """Return the owner as a reviewer."""
        command = ("gh", "api", "user", "--jq", ".id")
        env = self.forge.gh_env(self.tokens["boss"])
        done = subprocess.run(command, env=env, capture_output=True, check=True)
        return {"type": "User", "id": int(done.stdout)}

    def push(self) -> Run:
        """Push what is in the clone to main; return the run of `deploy`."""
        self.git("boss", "add", "-A")
        self.git("boss", "commit", "-qm", "change")
        self.git("boss", "push", "-q", "origin", "HEAD:main")
        self.forge.wait()
        return self.run("deploy")

    def changed(self) -> list[str]:
        """Return the files that the last commit changed."""
        return self.git("boss", "diff", "--name-only", "HEAD~1").splitlines()

    def decide(self, run: Run, state: str = "approved") -> None:
        """Approve or reject what a run waits for."""
        path = f"actions/runs/{run.id}/pending_deployments"
        ids = [wait["environment"]["id"] for wait in self.gh("boss", path)]
        self.gh("boss", path, "POST", environment_ids=ids, state=state, comment="go")
        self.forge.wait()

    def went(self, run: Run) -> list[str]:
        """Return where a run's deployments said they went, in their order."""
        return re.findall(r"\| v1\.0\.0 to (.+)", run.log_path.read_text())


def begins(run: Run) -> bool:
    """Return whether a run is the first of `deploy`, with which nothing changes."""
    return run.path.endswith("deploy.yml") and run.number == 1


@pytest.fixture
def drill(tmp_path: Path, tools: Path, template: Path) -> Iterator[Drill]:
    """Return a fresh drill; its first push, that of the files, is not deployed."""
    with Forge(tmp_path / "the forge", tools, left_out=begins) as forge:
        yield Drill(forge, tmp_path, template)


@pytest.mark.slow
def test_a_merge_goes_through_qa_and_waits_before_production(drill: Drill) -> None:
    for name in ("STAGING_URL", "QA_URL", "PRODUCTION_URL"):
        drill.forge.variable("acme/flights", name, f"http://{name[:2].lower()}")
    labels = '["Self-Hosted", "our-own-runner"]'
    drill.forge.variable("acme/flights", "RUNNER_TRUSTED", labels)
    add(drill.folder / "boss")
    run = drill.push()
    assert drill.changed() == ["params.yaml"]
    assert (run.status, run.waiting) == ("waiting", ["production"])
    before = ["staging at [http://st]", "qa at [http://qa]"]
    assert drill.went(run) == before
    assert list(run.jobs) == ["register", "staging / deploy", "qa / deploy"]
    drill.decide(run)
    assert run.conclusion == "success", run.log_path.read_text()
    assert drill.went(run) == [*before, "production at [http://pr]"]
    assert run.jobs["production / deploy"] == "success"
    names = {c["name"] for c in drill.forge.state.repositories["acme/flights"].checks}
    assert {"staging / deploy", "qa / deploy", "production / deploy"} <= names


@pytest.mark.slow
def test_a_merge_waits_behind_one_that_waits_for_its_approval(drill: Drill) -> None:
    """They share a group; a rollback has another group, so that it does not wait."""
    add(drill.folder / "boss")
    first = drill.push()
    (drill.folder / "boss" / "note").write_text("a newer commit")
    second = drill.push()
    assert (first.status, second.status) == ("waiting", "pending")
    path = "actions/workflows/rollback.yml/dispatches"
    given = {"version": "v1.0.0", "reason": "slow", "environment": "staging"}
    drill.gh("ann", path, "POST", ref="main", inputs=given)
    drill.forge.wait()
    assert drill.run("rollback").conclusion == "success"
    drill.decide(first, "rejected")
    assert (first.conclusion, second.waiting) == ("failure", ["production"])


def refuses(drill: Drill) -> Run:
    """Let the target of qa refuse what is deployed there."""
    drill.forge.variable("acme/flights", "QA_URL", "broken")
    run = drill.push()
    assert drill.went(run) == ["staging at []", "qa at [broken]"]
    assert run.jobs["qa / deploy"] == "failure"
    return run


def rejects(drill: Drill) -> Run:
    """Let a person reject what waits for qa."""
    drill.gh("boss", "environments/qa", "PUT", reviewers=[drill.me()])
    run = drill.push()
    assert run.waiting == ["qa"] and drill.went(run) == ["staging at []"]
    drill.decide(run, "rejected")
    assert drill.went(run) == ["staging at []"]
    return run


def is_closed(drill: Drill) -> Run:
    """Let the environment qa not be open to main."""
    closed = {"protected_branches": False, "custom_branch_policies": True}
    drill.gh("boss", "environments/qa", "PUT", deployment_branch_policy=closed)
    run = drill.push()
    assert run.jobs["qa / deploy"] == "failure"
    assert drill.went(run) == ["staging at []"]
    return run


@pytest.mark.slow
@pytest.mark.parametrize("end", lengths.turn([refuses, rejects, is_closed]))
def test_what_ends_in_qa_never_asks_for_production(
    drill: Drill, end: Callable[[Drill], Run]
) -> None:
    """Whoever ends it there: a server, a person or a rule, one of them each day."""
    add(drill.folder / "boss")
    run = end(drill)
    assert (run.status, run.conclusion) == ("completed", "failure")
    assert drill.went(run)[0] == "staging at []"
    assert not [where for where in drill.went(run) if where.startswith("production")]
    assert run.jobs["production / deploy"] == "cancelled"


@pytest.mark.slow
def test_where_nobody_reviews_production_is_left_to_a_dispatch(drill: Drill) -> None:
    drill.forge.variable("acme/flights", "PRODUCTION_BY_DISPATCH", "true")
    drill.gh("boss", "environments/production", "PUT", reviewers=[])
    add(drill.folder / "boss")
    run = drill.push()
    assert drill.went(run) == ["staging at []", "qa at []"]
    assert run.conclusion == "success"
    drill.gh("ann", "actions/workflows/deploy.yml/dispatches", "POST", ref="main")
    drill.forge.wait()
    assert drill.went(drill.run("deploy"))[-1] == "production at []"


@pytest.mark.slow
def test_a_rollback_chooses_among_the_environments(drill: Drill) -> None:
    drill.forge.variable("acme/flights", "QA_URL", "http://qa")
    path = "actions/workflows/rollback.yml/dispatches"
    given = {"version": "v1.0.0", "reason": "slow", "environment": "qa"}
    drill.refused(422, "ann", path, "POST", ref="main", inputs=given)
    drill.gh("boss", "environments/qa", "PUT", reviewers=[])
    drill.gh("ann", path, "POST", ref="main", inputs=given)
    drill.forge.wait()
    assert drill.run("rollback").conclusion == "failure"  # params.yaml lacks it
    add(drill.folder / "boss")
    drill.push()
    drill.gh("ann", path, "POST", ref="main", inputs=given)
    drill.forge.wait()
    assert "v1.0.0 back to qa at [http://qa]" in drill.log("rollback")
