"""The workflow files of a commit, each with the one that it calls."""

from dataclasses import replace

from . import git
from .state import Repository
from .workflows import FOLDER, INPUT, LEG, Call, Workflow, WorkflowError, parse

LEVELS = ("none", "read", "write")


def at(repository: Repository, commit: str) -> tuple[list[Workflow], list[str]]:
    """Return the workflows of a commit, and the sentences of unusable files."""
    listing = git.git(repository.path, "ls-tree", "--name-only", commit, f"{FOLDER}/")
    paths = [p for p in listing.splitlines() if p.endswith((".yml", ".yaml"))]
    texts = {p: (git.show(repository.path, commit, p) or b"").decode() for p in paths}
    found, broken = [], []
    for path, text in texts.items():
        try:
            found.append(called(parse(path, text), texts))
        except WorkflowError as error:
            broken.append(str(error))
    return found, broken


def called(flow: Workflow, texts: dict[str, str]) -> Workflow:
    """Return a workflow with the one that it calls, if it calls one.

    Raises:
        WorkflowError: GitHub would not start it, or the forge does not know the shape.
    """
    calling = [job for job, about in flow.jobs.items() if "uses" in about]
    if not calling:
        return flow
    path = str(flow.jobs[calling[0]]["uses"]).removeprefix("./")
    if path not in texts:
        raise WorkflowError(f"{flow.path}: there is no workflow {path} to call")
    other = parse(path, texts[path])
    if len(calling) > 1 or not _known(flow, calling[0], other):
        raise WorkflowError(f"{flow.path}: the forge does not know this call of {path}")
    job, about = calling[0], flow.jobs[calling[0]]
    ((name, its),) = other.jobs.items()
    declared = (other.on["workflow_call"] or {}).get("inputs") or {}
    needed = {key for key, rule in declared.items() if rule.get("required")}
    if not needed <= set(about["with"]) <= set(declared):
        raise WorkflowError(f"{flow.path}: inputs of {path} are {sorted(declared)}")
    may = about.get("permissions", flow.permissions) or {}
    for scope, level in (its.get("permissions", other.permissions) or {}).items():
        if LEVELS.index(level) > LEVELS.index(may.get(scope, "none")):
            raise WorkflowError(f"{flow.path}: {path} asks for {scope}: {level}")
    return replace(flow, call=Call(job, other, name))


def _known(flow: Workflow, job: str, other: Workflow) -> bool:
    """Tell whether a call has the one shape that the forge plays."""
    about, its = flow.jobs[job], list(other.jobs.values())
    strategy, inputs = about.get("strategy") or {}, about.get("with") or {}
    waits = INPUT.fullmatch(str(its and its[0].get("environment")))
    return bool(
        strategy.get("max-parallel") == 1
        and strategy.get("fail-fast", True) is True
        and set(strategy.get("matrix") or {}) == {"environment"}
        and LEG.fullmatch(str(inputs.get("environment")))
        and waits and waits[1] == "environment"
        and "workflow_call" in other.on
        and len(its) == 1 and not other.jobs.keys() & flow.jobs.keys()
        and not any(job in flow.needs(each) for each in flow.jobs)
        and not isinstance(about.get("permissions", flow.permissions), str)
    )  # fmt: skip
