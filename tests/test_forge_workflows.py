"""Which events start which workflows, and whether the template's fit the forge."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.forge.act import STAND_INS
from rehearsal.forge.files import called
from rehearsal.forge.state import Person, Run
from rehearsal.forge.workflows import (
    Workflow,
    WorkflowError,
    parse,
    permissions,
    starts,
)

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}" / ".github"
FILES = sorted((TEMPLATE / "workflows").glob("*.yml"))
JOB = "jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: 'true'\n"


@pytest.mark.parametrize(
    ("on", "event", "facts", "expected"),
    [
        ("push", "push", {"branch": "x", "paths": []}, True),
        ("push", "push", {"tag": "v1"}, True),
        ("[push, pull_request]", "pull_request", {"action": "opened"}, True),
        ("pull_request", "pull_request", {"action": "closed"}, False),
        ("pull_request", "push", {"branch": "main"}, False),
        (
            "{pull_request: {types: [closed]}}",
            "pull_request",
            {"action": "closed"},
            True,
        ),
        ("{push: {branches: [main]}}", "push", {"branch": "main", "paths": []}, True),
        ("{push: {branches: [main]}}", "push", {"branch": "x", "paths": []}, False),
        ("{push: {branches: [main]}}", "push", {"tag": "v1"}, False),
        ("{push: {tags: ['v*']}}", "push", {"tag": "v1"}, True),
        ("{push: {tags: ['v*']}}", "push", {"branch": "v1", "paths": []}, False),
        ("{push: {branches: ['re/**', '!re/x']}}", "push", {"branch": "re/a/b"}, True),
        ("{push: {branches: ['re/**', '!re/x']}}", "push", {"branch": "re/x"}, False),
        ("{push: {branches: ['*']}}", "push", {"branch": "a/b"}, False),
        ("{push: {branches-ignore: [ledger]}}", "push", {"branch": "ledger"}, False),
        ("{push: {branches-ignore: [ledger]}}", "push", {"branch": "main"}, True),
        (
            "{pull_request: {paths: ['data/**']}}",
            "pull_request",
            {"action": "opened", "paths": ["README.md"]},
            False,
        ),
        (
            "{pull_request: {paths: ['data/**']}}",
            "pull_request",
            {"action": "opened", "paths": ["README.md", "data/a.dvc"]},
            True,
        ),
        (
            "{workflow_run: {workflows: [train], types: [completed]}}",
            "workflow_run",
            {"action": "completed", "workflow": "ci", "branch": "x"},
            False,
        ),
        (
            "{workflow_run: {workflows: [train], types: [completed]}}",
            "workflow_run",
            {"action": "completed", "workflow": "train", "branch": "x"},
            True,
        ),
    ],
)
def test_filters(on: str, event: str, facts: dict[str, Any], expected: bool) -> None:
    assert starts(parse("a.yml", f"on: {on}\n{JOB}"), event, facts) is expected


def test_a_filter_that_nobody_implemented_is_not_ignored() -> None:
    with pytest.raises(WorkflowError, match="no filter"):
        parse("a.yml", f"on: {{push: {{moons: [full]}}}}\n{JOB}")
    with pytest.raises(WorkflowError, match=r"a\.yml is not a workflow"):
        parse("a.yml", "on: push\n")


@pytest.mark.parametrize(
    ("top", "job", "default", "fork", "expected"),
    [
        ("{}", None, "write", False, {}),
        (None, None, "read", False, {"contents": "read", "packages": "read"}),
        ("{contents: write}", None, "read", False, {"contents": "write"}),
        ("{contents: write}", "{issues: read}", "read", False, {"issues": "read"}),
        ("{contents: write}", None, "read", True, {"contents": "read"}),
        ("{id-token: write}", None, "read", True, {}),
        ("{contents: none}", None, "read", False, {}),
    ],
)
def test_a_token_holds_what_the_jobs_ask_for(
    top: str | None, job: str | None, default: str, fork: bool, expected: dict[str, str]
) -> None:
    text = "on: push\n" + (f"permissions: {top}\n" if top else "") + JOB
    text += f"    permissions: {job}\n" if job else ""
    granted = permissions(parse("a.yml", text), default, fork)
    assert granted == {"metadata": "read", **expected}


def test_write_all_is_still_read_only_for_a_fork() -> None:
    flow = parse("a.yml", f"on: push\npermissions: write-all\n{JOB}")
    assert set(permissions(flow, "read", True).values()) == {"read"}
    assert permissions(flow, "read", False)["contents"] == "write"


def test_steps_are_replaced_and_nothing_else() -> None:
    text = (
        f"on: push\n{JOB}  # why\n  b:\n    runs-on: x\n    steps:\n      - run: 'b'\n"
    )
    changed = parse("a.yml", text).replaced({"a": "[{run: 'no'}]"})
    before, after = yaml.safe_load(text), yaml.safe_load(changed)
    assert after["jobs"]["a"]["steps"] == [{"run": "no"}]
    before["jobs"]["a"]["steps"] = after["jobs"]["a"]["steps"]
    assert before == after
    assert parse("a.yml", text).replaced({}) == text


def test_an_environment_may_be_an_input() -> None:
    text = f"on: push\n{JOB}    environment: ${{{{ inputs.where }}}}\n"
    flow = parse("a.yml", text)
    assert flow.environments({"where": "production"}) == {"a": "production"}
    assert flow.environments({}) == {"a": ""}


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ("one", 7, "one"),
        ("P-${{ github.event.number || github.ref }}", 7, "p-7"),
        ("P-${{ github.event.number || github.ref }}", None, "p-refs/heads/main"),
        ("${{ github.event.no.such.thing }}", 7, ""),
        ("${{ github.event_name == 'PUSH' }}", 7, "true"),  # case makes no difference
        ("${{ github.event_name != 'push' || inputs.x }}", 7, ""),
    ],
)
def test_a_group_is_its_text(text: str, number: int | None, expected: str) -> None:
    flow = parse("a.yml", f'on: push\nconcurrency: "{text}"\n{JOB}')
    assert flow.group(run_of("push", {"number": number})) == expected


def run_of(event: str, payload: dict[str, Any]) -> Run:
    """Return a run on main."""
    return Run(
        1, 1, "w", "a.yml", event, "t", "o/r", "s", "main", "o/r", "s",
        "refs/heads/main", Person("ann", 1), payload, "", Path("log"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "event", "payload", "group", "replaces"),
    [
        ("ci", "pull_request", {"pull_request": {"number": 7}}, "ci-7", True),
        ("ci", "push", {}, "ci-refs/heads/main", False),
        ("train", "pull_request", {"pull_request": {"number": 7}}, "train-7", True),
        ("validate", "workflow_run", {"workflow_run": {"head_sha": "abc"}},
         "validate-abc", False),
        ("validate", "workflow_dispatch", {"inputs": {"pull_request": "7"}},
         "validate-7", False),
        ("deploy", "push", {}, "deploy", False),
        ("rollback", "workflow_dispatch", {"inputs": {"environment": "production"}},
         "rollback-production", False),
        ("monitor", "schedule", {}, "monitor", False),
        ("update", "schedule", {}, "update", True),
    ],
)  # fmt: skip
def test_the_templates_groups(
    name: str, event: str, payload: dict[str, Any], group: str, replaces: bool
) -> None:
    path = TEMPLATE / "workflows" / f"{name}.yml"
    flow, run = parse(path.name, path.read_text()), run_of(event, payload)
    assert (flow.group(run), flow.replaces(run)) == (group, replaces)


@pytest.mark.parametrize(
    "concurrency",
    [
        '"${{ format(github.ref) }}"',
        '"${{ github.event.a && github.event.b }}"',
        '"${{ secrets.KEY }}"',
        '"${{ github.reff }}"',
        "{group: a, queue: max}",
    ],
)
def test_a_group_that_would_be_evaluated_wrongly_is_refused(concurrency: str) -> None:
    with pytest.raises(WorkflowError, match="the forge does not know"):
        parse("a.yml", f"on: push\nconcurrency: {concurrency}\n{JOB}")
    with pytest.raises(WorkflowError, match="not of jobs"):
        parse("a.yml", f"on: push\n{JOB}    concurrency: x\n")


CALL = """
on: push
jobs:
  each:
    name: ${{ matrix.environment }}
    strategy: {max-parallel: 1, matrix: {environment: [a, b]}}
    permissions: {contents: write}
    uses: ./.github/workflows/called.yml
    with: {environment: "${{ matrix.environment }}", version: v1}
"""
CALLED = """
on:
  workflow_call:
    inputs: {environment: {required: true}, version: {required: true}, image: {}}
jobs:
  it:
    environment: ${{ inputs.environment }}
    permissions: {contents: write}
    runs-on: x
    steps: [{run: "true"}]
"""


def call(old: str = "", new: str = "") -> Workflow:
    """Return a workflow that calls another, after a change in either."""
    texts = {
        ".github/workflows/a.yml": CALL.replace(old, new),
        ".github/workflows/called.yml": CALLED.replace(old, new),
    }
    assert not old or old in CALL + CALLED
    return called(parse("a.yml", texts[".github/workflows/a.yml"]), texts)


def test_a_call_has_a_check_per_environment() -> None:
    flow = call()
    assert flow.call and (flow.call.job, flow.call.called_job) == ("each", "it")
    assert [flow.leg(name) for name in "ab"] == ["a / it", "b / it"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("workflows/called", "workflows/gone", "no workflow"),
        ("max-parallel: 1", "max-parallel: 2", "does not know"),
        ("max-parallel: 1", "fail-fast: false, max-parallel: 1", "does not know"),
        ("{environment: [a, b]}", "{os: [a], environment: [a]}", "does not know"),
        ('"${{ matrix.environment }}"', "a", "does not know"),
        ("${{ inputs.environment }}", "a", "does not know"),
        ("workflow_call", "push", "does not know"),
        ("  it:\n", "  each:\n", "does not know"),
        ("jobs:\n  each", "jobs:\n  x: {needs: each}\n  each", "does not know"),
        (", version: v1", "", "inputs of"),
        ("version: v1", "version: v1, picture: x", "inputs of"),
        ("write}\n    uses", "read}\n    uses", "asks for contents: write"),
        ("    permissions: {contents: write}\n    uses", "    uses", "asks for"),
        ("    uses:", "    secrets: inherit\n    uses:", "does not know"),
        ("on:\n  workflow_call", "concurrency: x\non:\n  workflow_call", "not know"),
    ],
)
def test_a_call_that_github_would_not_start_or_nobody_implemented(
    old: str, new: str, words: str
) -> None:
    with pytest.raises(WorkflowError, match=words):
        call(old, new)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_template_fits(file: Path) -> None:
    """The forge reads each workflow, and has a stand-in for each action it uses."""
    texts = {f".github/workflows/{each.name}": each.read_text() for each in FILES}
    path = f".github/workflows/{file.name}"
    flow = called(parse(path, texts[path]), texts)
    assert bool(flow.call) is (file.name == "deploy.yml")
    assert flow.on and flow.jobs
    for name in re.findall(r"uses: ([\w./-]+)@", file.read_text()):
        assert (STAND_INS / name.split("/")[-1] / "action.yml").is_file(), name


def test_every_input_given_to_a_stand_in_is_declared_there() -> None:
    for file in FILES:
        jobs = yaml.safe_load(file.read_text())["jobs"].values()
        for step in (step for job in jobs for step in job.get("steps", [])):
            if "@" in step.get("uses", ""):
                name = step["uses"].split("@")[0].split("/")[-1]
                action = yaml.safe_load((STAND_INS / name / "action.yml").read_text())
                assert set(step.get("with", {})) <= set(action["inputs"]), file
