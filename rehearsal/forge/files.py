"""The workflow files of a commit, each with the one that it calls."""

from dataclasses import replace

from . import git
from .state import Repository
from .workflows import FOLDER, INPUT, LEG, Call, Workflow, WorkflowError, parse

LEVELS = ("none", "read", "write")


def at(repository: Repository, commit: str) -> tuple[list[Workflow], list[str]]:
    """Return the workflows of a commit, and an error message per unusable file."""
    listing = git.git(repository.path, "ls-tree", "--name-only", commit, f"{FOLDER}/")
    paths = [p for p in listing.splitlines() if p.endswith((".yml", ".yaml"))]
    texts = {p: (git.show(repository.path, commit, p) or b"").decode() for p in paths}
    flows, errors = [], []
    for path, text in texts.items():
        try:
            flows.append(called(parse(path, text), texts))
        except WorkflowError as error:
            errors.append(str(error))
    return flows, errors


def called(flow: Workflow, texts: dict[str, str]) -> Workflow:
    """Return a workflow with the one that it calls, if it calls one.

    Raises:
        WorkflowError: GitHub would not start it, or the forge does not know the shape.
    """
    callers = [job for job, definition in flow.jobs.items() if "uses" in definition]
    if not callers:
        return flow
    path = str(flow.jobs[callers[0]]["uses"]).removeprefix("./")
    if path not in texts:
        raise WorkflowError(f"{flow.path}: there is no workflow {path} to call")
    callee = parse(path, texts[path])
    if len(callers) > 1 or not _supported(flow, callers[0], callee):
        raise WorkflowError(f"{flow.path}: the forge does not know this call of {path}")
    caller = flow.jobs[callers[0]]
    ((name, job),) = callee.jobs.items()
    declared = (callee.on["workflow_call"] or {}).get("inputs") or {}
    required = {key for key, rule in declared.items() if rule.get("required")}
    if not required <= set(caller["with"]) <= set(declared):
        raise WorkflowError(f"{flow.path}: inputs of {path} are {sorted(declared)}")
    granted = caller.get("permissions", flow.permissions) or {}
    for scope, level in (job.get("permissions", callee.permissions) or {}).items():
        if LEVELS.index(level) > LEVELS.index(granted.get(scope, "none")):
            raise WorkflowError(f"{flow.path}: {path} asks for {scope}: {level}")
    return replace(flow, call=Call(callers[0], callee, name))


def _supported(flow: Workflow, job: str, callee: Workflow) -> bool:
    """Return whether a call has the one shape that the forge plays."""
    caller, jobs = flow.jobs[job], list(callee.jobs.values())
    strategy, inputs = caller.get("strategy") or {}, caller.get("with") or {}
    gate = INPUT.fullmatch(str(jobs and jobs[0].get("environment")))
    return bool(
        strategy.get("max-parallel") == 1
        and strategy.get("fail-fast", True) is True
        and set(strategy.get("matrix") or {}) == {"environment"}
        and LEG.fullmatch(str(inputs.get("environment")))
        and gate and gate[1] == "environment"
        and "workflow_call" in callee.on
        and "secrets" not in caller and not callee.concurrency
        and len(jobs) == 1 and not callee.jobs.keys() & flow.jobs.keys()
        and not any(job in flow.needs(each) for each in flow.jobs)
        and not isinstance(caller.get("permissions", flow.permissions), str)
    )  # fmt: skip
