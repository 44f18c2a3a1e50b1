"""A clean folder for one run: files, environment, token, secrets, stand-ins."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import act, processes, workflows
from .state import ACTIONS_APP, Json, Repository, Run, State
from .workflows import Workflow


@dataclass(frozen=True)
class Runner:
    """What the runs of one forge share on this machine."""

    state: State
    tools: Path  # put first on PATH: act, gh, python, uv
    programs: Path  # comes next there
    caches: Path  # holds the RUNNER_TOOL_CACHE of each worker
    tool_cache: Path | None  # the one of all workers, if they share it
    gh_config: Callable[[Path], None]  # points the gh of a folder at the forge
    mark: str  # in the environment of every process, so that each can be ended


LEG_STEPS = json.dumps([
    {
        "id": "forge",
        "env": {"IT": "${{ inputs.environment }}"},
        "run": f'echo "{act.LEG}=$IT" >> "$GITHUB_OUTPUT"',
    }
])  # fmt: skip


@dataclass(frozen=True)
class Scope:
    """What jobs reach; those of one scope run together, in one call of act."""

    permissions: tuple[tuple[str, str], ...]  # of their token
    environment: str  # whose secrets and variables they see, too


def scope(
    state: State, run: Run, workflow: Workflow, job: str, environment: str = ""
) -> Scope:
    """Return the scope of a job, or of one environment of a call."""
    repository = state.repositories[run.repository]
    default = str(repository.actions["default_workflow_permissions"])
    if environment and workflow.call:
        granted = workflows.permissions(workflow.call.called, default, run.fork)
    else:
        granted = workflows.permissions(workflow, default, run.fork, job)
        names = workflow.environments(run.payload.get("inputs") or {})
        environment = names.get(job, "")
    return Scope(tuple(sorted(granted.items())), environment)


def prepare(
    runner: Runner, run: Run, workflow: Workflow, jobs: set[str], reach: Scope,
    leg: str = "",
) -> act.Call:  # fmt: skip
    """Fill the folder of a run and return the call of act; only ``jobs`` do something.

    A RUNNER_TOOL_CACHE is kept from run to run, as on a runner of one's own: it is
    empty at first, and no other runner sees it, unless they share one.
    """
    state, repository = runner.state, runner.state.repositories[run.repository]
    folder = state.home / "runs" / str(run.id)
    for name in ("source", "home", "tmp", "gh", "outputs"):
        (folder / name).mkdir(parents=True)
    steps = _steps(run, workflow, workflow.jobs.keys() - run.jobs.keys() - jobs, folder)
    texts = {workflow.path: workflow.replaced(steps)}
    silent = set(steps)
    if call := workflow.call:
        emptied = {} if leg else {call.called_job: LEG_STEPS}
        texts[call.called.path] = call.called.replaced(emptied)
        silent |= set(emptied)
    for path, text in texts.items():
        file = folder / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    payload = folder / "event.json"
    payload.write_text(json.dumps(run.payload), encoding="utf-8")
    runner.gh_config(folder / "gh")
    cache = runner.caches / str(run.runner)
    artifacts = state.home / "artifacts" / str(run.id)
    for shared in (cache, artifacts):
        shared.mkdir(parents=True, exist_ok=True)
    if runner.tool_cache and not (cache / "tool_cache").is_symlink():
        runner.tool_cache.mkdir(parents=True, exist_ok=True)
        (cache / "tool_cache").symlink_to(runner.tool_cache)  # where act looks for it
    env = processes.environment(runner.tools, runner.programs) | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "GH_CONFIG_DIR": str(folder / "gh"),
        "FORGE_ARTIFACTS": str(artifacts),
        "FORGE_HEARD": str(folder / "heard"),
        processes.MARK: f"{runner.mark}-{run.id}",
    }
    own = _environment(repository, reach)
    every = repository.variables | own.get("variables", {})
    variables = {k: str(v["value"]) for k, v in every.items()}
    return act.Call(
        run.event, workflow.path, folder / "source", payload, cache, run.log_path,
        run.actor.login, env, _github(state, run),
        _secrets(state, run, repository, reach, bool(leg)),
        {} if run.fork else variables,
        _actions("\n".join(texts.values())), folder / "heard", silent, leg,
    )  # fmt: skip


def _steps(
    run: Run, workflow: Workflow, blocked: set[str], folder: Path
) -> dict[str, str]:
    """Return the jobs that get other steps.

    Jobs that have another scope, or are behind an approval, are emptied, which tells
    whether their conditions would let them start. Jobs that are done give their outputs
    and their result again, and do nothing else.
    """
    own = blocked - ({workflow.call.job} if workflow.call else set())
    steps: dict[str, str] = dict.fromkeys(own, "[{run: 'true'}]")
    for job in run.jobs.keys() & workflow.jobs.keys():
        replayed = [{"run": "true"}]
        for step, lines in run.outputs.get(job, {}).items():
            if step.isdigit():  # a step without an id: nobody can read its outputs
                continue
            file = folder / "outputs" / f"{job}-{step}"
            file.write_text(lines, encoding="utf-8")
            command = f'cat {shlex.quote(str(file))} >> "$GITHUB_OUTPUT"'
            replayed.append({"id": step, "run": command})
        if run.jobs[job] == "failure":
            replayed.append({"run": "exit 1"})
        steps[job] = json.dumps(replayed)
    return steps


def _github(state: State, run: Run) -> dict[str, str]:
    """Return what a run is told about itself."""
    return {
        "GITHUB_RUN_ID": str(run.id),
        "GITHUB_RUN_NUMBER": str(run.number),
        "GITHUB_RUN_ATTEMPT": str(run.attempt),
        "GITHUB_REPOSITORY": run.repository,
        "GITHUB_REPOSITORY_OWNER": run.repository.split("/")[0],
        "GITHUB_REF": run.ref,
        "GITHUB_REF_NAME": run.ref.split("/", 2)[2],
        "GITHUB_REF_TYPE": "tag" if run.ref.startswith("refs/tags/") else "branch",
        "GITHUB_SHA": run.sha,
        "SHA_REF": run.sha,  # the name under which act 0.2.89 reads GITHUB_SHA
        "GITHUB_SERVER_URL": state.url,
        "GITHUB_API_URL": state.url,
    }


def _environment(repository: Repository, reach: Scope) -> Json:
    """Return the environment of a scope; a plan without environments has none."""
    none: Json = {}
    if repository.lacks("pro"):
        return none
    return repository.environments.get(reach.environment, none)


def _secrets(
    state: State, run: Run, repository: Repository, reach: Scope, called: bool
) -> dict[str, str]:
    """Return the token of a scope, minted once, with the secrets that it may have.

    A called workflow has none of the repository's or of an environment's, unless its
    caller hands them on, which the forge does not play.
    """
    own = _environment(repository, reach).get("secrets", {})
    secrets = {} if run.fork or called else {**repository.secrets, **own}
    if str(reach) not in run.tokens:
        bot, granted = (
            state.person("github-actions[bot]", "Bot"),
            dict(reach.permissions),
        )
        run.tokens[str(reach)] = state.mint(
            bot,
            "ghs",
            permissions=granted,
            repository=run.repository,
            app=ACTIONS_APP,
            run=run.id,
        ).value
        for name, level in granted.items():
            if run.permissions.get(name) != "write":
                run.permissions[name] = level
        run.secrets = sorted({*run.secrets, *secrets})
        state.record("token", run=run.id, environment=reach.environment,
                     permissions=granted, secrets=sorted(secrets))  # fmt: skip
    return {**secrets, "GITHUB_TOKEN": run.tokens[str(reach)]}


def _actions(text: str) -> dict[str, str]:
    """Return a stand-in for every third-party action that a workflow uses."""
    stand_ins: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.strip().removeprefix("- ").split()
        if len(fields) > 1 and fields[0] == "uses:" and "@" in fields[1]:
            name = fields[1].split("@")[0]
            stand_ins[fields[1]] = str(act.STAND_INS / name.split("/")[-1])
    return stand_ins
