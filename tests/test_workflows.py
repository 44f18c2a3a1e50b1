"""Workflows pass the strictest linters, in place and as generated."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from conftest import FOLDER, Bake
from machinery import lengths

ROOT = Path(__file__).parent.parent
TARGETS = ["host", "kubernetes", "edge"]
STORAGES = json.loads((ROOT / "cookiecutter.json").read_text())["storage"]


def lint(folder: Path) -> str:
    """Return what zizmor and actionlint find in a folder with workflows."""
    found = ""
    for command in (
        ("zizmor", "--offline", "--no-progress", "--quiet", "--persona=auditor"),
        ("actionlint", "-no-color"),
    ):
        with TemporaryDirectory() as name:  # a repository: workflows call each other
            copy = Path(shutil.copytree(folder / ".github", Path(name, ".github")))
            (copy.parent / ".git").mkdir()
            workflows = sorted(map(str, (copy / "workflows").glob("*.yml")))
            assert workflows
            what = [str(copy)] if command[0] == "zizmor" else workflows
            done = subprocess.run(
                (*command, *what), cwd=name, capture_output=True, text=True
            )
        quiet = done.returncode == 0
        found += "" if quiet else done.stdout + done.stderr or command[0]
    return found


@pytest.mark.parametrize("name", [".", FOLDER])
def test_in_place(template: Path, name: str) -> None:
    assert lint(template / name) == ""


def test_the_one_to_copy(template: Path, tmp_path: Path) -> None:
    """docs/fleet.md: it stands in a repository of its own."""
    file = template / "docs" / "fleet" / "fleet.yml"
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    shutil.copy(file, folder)
    assert lint(tmp_path) == ""
    flow = yaml.safe_load(file.read_text())
    assert flow["permissions"] == {}
    actions = re.findall(r"uses: (\S+)", file.read_text())
    used = (template / FOLDER / ".github" / "workflows").glob("*.yml")
    known = {
        uses for path in used for uses in re.findall(r"uses: (\S+)", path.read_text())
    }
    assert actions and set(actions) <= known, "one pin for each action"


# Each is byte for byte as in place (test_bake.py): of each target one, with the storage
# of the day.
@pytest.mark.bakes
@pytest.mark.parametrize(
    "choices",
    lengths.turn(
        itertools.product(STORAGES, TARGETS), lambda choices: choices[1], len(STORAGES)
    ),
    ids="-".join,
)
def test_as_generated(bake: Bake, choices: tuple[str, str]) -> None:
    storage, target = choices
    assert lint(bake(storage=storage, deploy_target=target)) == ""


def test_linters_find_what_they_should(bake: Bake) -> None:
    """A check that could not fail would prove nothing."""
    project = bake()
    flow = project / ".github" / "workflows" / "ci.yml"
    bad = "        run: echo ${{ github.head_ref }}\n"
    flow.write_text(re.sub(r" +run: make test\n", bad, flow.read_text()))
    found = lint(project)
    assert "template-injection" in found and "untrusted" in found


def test_a_call_that_does_not_fit_is_found(bake: Bake) -> None:
    project = bake()
    flow = project / ".github" / "workflows" / "deploy.yml"
    flow.write_text(
        flow.read_text().replace("      image: ${{ needs", "      picture: ${{ needs")
    )
    assert 'input "picture" is not defined' in lint(project)


def test_three_ignores_and_their_reasons(template: Path) -> None:
    ignored = [
        line.partition("zizmor: ")[2]
        for path in (template / FOLDER / ".github").rglob("*.yml")
        for line in path.read_text().splitlines()
        if "zizmor: ignore" in line
    ]
    assert not list((template / FOLDER).rglob("zizmor.y*ml")), "no rule is switched off"
    reasons = dict(re.findall(r"ignore\[([\w-]+)\] (\w+ \w+ .+)", "\n".join(ignored)))
    rules = {"dangerous-triggers", "self-repository", "secrets-outside-env"}
    assert set(reasons) == rules
    assert len(ignored) == len(rules) + 1  # two steps of `train` read storage


def test_the_workflows_have_one_pin_for_each_action(template: Path) -> None:
    pins: dict[str, set[str]] = {}
    for path in (
        *(template / FOLDER / ".github").rglob("*.yml"),
        *(template / ".github").rglob("*.yml"),
    ):
        for action, pin in re.findall(r"uses: (actions/[\w-]+)@(.*)", path.read_text()):
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), path
            pins.setdefault(action, set()).add(pin)
    assert pins and all(len(pin) == 1 for pin in pins.values()), pins


def test_each_schedule_has_a_file_of_its_own_and_runs_one_at_a_time(
    template: Path,
) -> None:
    """GitHub switches a schedule off with every other trigger of its file."""
    found = {}
    for path in (template / FOLDER / ".github" / "workflows").glob("*.yml"):
        document = yaml.safe_load(path.read_text())
        triggers = document[True]  # YAML reads the key `on` as yes
        if "schedule" in triggers:
            found[path.stem] = len(triggers["schedule"])
            assert set(triggers) == {"schedule", "workflow_dispatch"}, path
            assert document["concurrency"]["group"] == path.stem
    assert found == {"monitor": 2, "reproduce": 1, "score": 1, "update": 1}


def test_each_line_of_the_monitors_schedule_starts_one_job(template: Path) -> None:
    """A canary is looked at often, and only where there can be one."""
    path = template / FOLDER / ".github" / "workflows" / "monitor.yml"
    flow = yaml.safe_load(path.read_text())
    often = flow[True]["schedule"][1]["cron"]
    weekly, canary = (flow["jobs"][name] for name in ("monitor", "canary"))
    assert weekly["if"] == f"github.event.schedule != '{often}'"
    assert canary["if"].startswith(f"github.event.schedule == '{often}' && ")
    assert canary["if"].endswith("vars.PRODUCTION_BY_DISPATCH == 'true'")
    assert canary["permissions"] == {"contents": "write", "id-token": "write"}


def test_workflow_fits_the_gap_between_act_and_github(template: Path) -> None:
    """Act 0.2.89 rejects a whole workflow that uses one of these new keys."""
    for path in (template / FOLDER / ".github").rglob("*.yml"):
        assert not re.search(
            r"^\s*(queue|cache-mode|artifact-metadata):", path.read_text(), re.M
        )


def test_machinery_is_tested_only_where_it_was_modified(template: Path) -> None:
    """Released machinery was tested where it was made: a team waits for its own."""
    flow = template / FOLDER / ".github" / "workflows" / "ci.yml"
    steps = yaml.safe_load(flow.read_text())["jobs"]["test"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs[-2:] == ["make test", "python -m mlgitops machinery || make selftest"]


def test_each_class_of_jobs_has_a_variable_for_its_runners(template: Path) -> None:
    """What runs a proposal's code never asks for a runner of jobs that may write.

    A job that is called runs where the called file says.
    """
    asking: dict[str, set[str]] = {}
    proposals = set()
    for path in (template / FOLDER / ".github" / "workflows").glob("*.yml"):
        document = yaml.safe_load(path.read_text())
        for name, job in document["jobs"].items():
            if "pull_request" in document[True]:  # YAML reads the key `on` as yes
                proposals.add(f"{path.stem}.{name}")
            if "uses" not in job:
                for variable in runner_variables(job["runs-on"]):
                    asking.setdefault(variable, set()).add(f"{path.stem}.{name}")
    assert asking.pop("RUNNER_TRAIN") == {"train.train"}
    assert asking.pop("RUNNER_CHECK") == proposals - {"train.train"}
    assert asking.pop("RUNNER_REPRODUCE") == {"reproduce.reproduce"}
    trusted = asking.pop("RUNNER_TRUSTED")
    assert len(trusted) >= 12 and not trusted & proposals and not asking


def runner_variables(expression: str) -> list[str]:
    """Return the variables that may have the labels, a JSON list; the first decides."""
    form = r"""\$\{\{ fromJSON\(((?:vars\.\w+ \|\| )+)'\["ubuntu-latest"\]'\) \}\}"""
    found = re.fullmatch(form, expression)
    assert found, f"{expression} is of another form"
    return re.findall(r"vars\.(\w+)", found[1])


@pytest.mark.parametrize("name", [".", FOLDER])
def test_dependabot_looks_where_the_pins_are(template: Path, name: str) -> None:
    """For actions in a folder's workflows, or in `.github/workflows` of the root."""
    text = (template / name / ".github" / "dependabot.yml").read_text()
    found: dict[str, set[Path]] = {}
    for update in yaml.safe_load(text)["updates"]:
        folders = update.get("directories") or [update["directory"]]
        for folder in (template / name / each.lstrip("/") for each in folders):
            if update["package-ecosystem"] == "github-actions":
                at_root = folder == template / name
                folder = folder / ".github" / "workflows" if at_root else folder
                assert list(folder.glob("*.yml")), folder
            else:
                assert list(folder.glob("*.txt")), folder
            found.setdefault(update["package-ecosystem"], set()).add(folder)
    pinned = {
        path.parent
        for path in (template / name / ".github").rglob("*.yml")
        if "uses: actions/" in path.read_text()
    }
    if name == ".":
        pinned.add(template / FOLDER / ".github" / "workflows")
    assert found["github-actions"] == pinned
