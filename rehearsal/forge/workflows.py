"""Workflow files: which of them an event starts, and what their jobs may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import yaml

from . import expressions
from .expressions import ExpressionError
from .state import Json, Run

INPUT = re.compile(r"\$\{\{\s*inputs\.([\w-]+)\s*\}\}")
LEG = re.compile(r"\$\{\{\s*matrix\.environment\s*\}\}")
FOLDER = ".github/workflows"
DEFAULT_TYPES = {"pull_request": ("opened", "synchronize", "reopened")}
KNOWN_FILTERS = {
    "branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore",
    "types", "workflows", "inputs",
}  # fmt: skip
SCOPES = (
    "actions", "attestations", "checks", "contents", "deployments", "discussions",
    "id-token", "issues", "models", "packages", "pages", "pull-requests",
    "security-events", "statuses",
)  # fmt: skip


class WorkflowError(Exception):
    """A workflow file that cannot be used; one sentence names the file."""


@dataclass(frozen=True)
class Call:
    """A job that calls a workflow of the same commit, once per environment.

    GitHub's rules for calls are many. The forge knows one shape, and says so of others:
    a matrix of environments, one at a time, that ends the workflow.
    """

    job: str  # that calls
    called: Workflow
    called_job: str  # its only one


@dataclass(frozen=True)
class Workflow:
    """One workflow file at one commit."""

    path: str
    name: str
    on: dict[str, Json]
    jobs: dict[str, Json]
    permissions: Any
    concurrency: Json
    text: str
    call: Call | None = None

    def environments(self, inputs: Json) -> dict[str, str]:
        """Return job id -> environment, for the jobs that name one (or an input)."""
        named = {key: job.get("environment") for key, job in self.jobs.items()}
        names = {k: e["name"] if isinstance(e, dict) else e for k, e in named.items()}
        return {
            key: INPUT.sub(lambda m: str(inputs.get(m[1], "")), str(name))
            for key, name in names.items()
            if name
        }

    def group(self, run: Run) -> str:
        """Return the text of a run's concurrency group, as GitHub compares it."""
        text = str(self.concurrency.get("group", ""))
        return expressions.fill(text, expressions.context(run)).lower()

    def replaces(self, run: Run) -> bool:
        """Return whether a run ends the one of its group that is on its way."""
        text = str(self.concurrency.get("cancel-in-progress", False))
        filled = expressions.fill(text, expressions.context(run))
        return filled.lower() == "true"

    def job_names(self) -> dict[str, str]:
        """Return job id -> the name of its check."""
        return {key: str(job.get("name", key)) for key, job in self.jobs.items()}

    def leg(self, environment: str) -> str:
        """Return the name of the check of one environment of a call."""
        assert self.call
        (name,) = self.call.called.job_names().values()
        return LEG.sub(environment, f"{self.job_names()[self.call.job]} / {name}")

    def actions(self) -> list[str]:
        """Return the actions of others that its jobs use, as ``owner/name``."""
        texts = [self.text, self.call.called.text if self.call else ""]
        lines = [
            line.strip().removeprefix("- ") for line in "\n".join(texts).splitlines()
        ]
        used = [line.split()[1] for line in lines if line.startswith("uses: ")]
        return [action.partition("@")[0] for action in used if "@" in action]

    def needs(self, job: str) -> set[str]:
        """Return every job that comes before a job."""
        direct = self.jobs[job].get("needs") or []
        direct = {direct} if isinstance(direct, str) else set(direct)
        return direct.union(*(self.needs(each) for each in direct))

    def replaced(self, steps: dict[str, str]) -> str:
        """Return the file's text with other steps in some jobs; the rest is kept."""
        text = self.text
        spans = {
            _steps(self.text, job): replacement for job, replacement in steps.items()
        }
        for (start, end), replacement in sorted(spans.items(), reverse=True):
            text = f"{text[:start]}{replacement}{text[end:]}"
        return text


def _steps(text: str, job: str) -> tuple[int, int]:
    """Return where the steps of a job begin and end."""
    node: Any = yaml.compose(text)
    for key in ("jobs", job, "steps"):
        node = next(v for k, v in node.value if k.value == key)
    start, end = node.start_mark.index, node.end_mark.index
    return start, start + len(text[start:end].rstrip())


def parse(path: str, text: str) -> Workflow:
    """Read a workflow file.

    Raises:
        WorkflowError: it is not YAML, or uses a filter that the forge does not know.
    """
    try:
        document = yaml.safe_load(text)
        on = document.get("on", document.get(True))
        if isinstance(on, str):
            on = {on: {}}
        elif isinstance(on, list):
            on = {key: {} for key in on}
        on = {event: rule or {} for event, rule in on.items()}
        group = document.get("concurrency") or {}
        name = str(document.get("name") or path)
        jobs = dict(document["jobs"])
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise WorkflowError(f"{path} is not a workflow: {error}") from error
    for event, rule in on.items():
        if isinstance(rule, dict) and (unknown := set(rule) - KNOWN_FILTERS):
            raise WorkflowError(f"{path}: the forge has no filter {unknown} ({event})")
    concurrency = group if isinstance(group, dict) else {"group": group}
    try:
        _check_concurrency(concurrency, jobs)
    except ExpressionError as error:
        raise WorkflowError(f"{path}: concurrency: {error}") from error
    return Workflow(
        path, name, on, jobs, document.get("permissions"), concurrency, text
    )


def _check_concurrency(concurrency: Json, jobs: Json) -> None:
    """Refuse what the forge would evaluate wrongly.

    Raises:
        ExpressionError: an unknown key or expression, or a group of a job.
    """
    if unknown := concurrency.keys() - {"group", "cancel-in-progress"}:
        raise ExpressionError(f"the forge does not know {', '.join(sorted(unknown))}")
    for text in concurrency.values():
        expressions.fill(str(text))
    if any("concurrency" in job for job in jobs.values()):
        raise ExpressionError("the forge knows groups of workflows, not of jobs")


def starts(workflow: Workflow, event: str, facts: Json) -> bool:
    """Return whether an event starts a workflow.

    ``facts`` holds what filters look at: action, branch or tag, paths, workflow.
    """
    if event not in workflow.on:
        return False
    rule = workflow.on[event]
    if not isinstance(rule, dict):
        return True
    types = rule.get("types", DEFAULT_TYPES.get(event))
    if types and facts.get("action") and facts["action"] not in types:
        return False
    if "workflows" in rule and facts.get("workflow") not in rule["workflows"]:
        return False
    if event == "push" and not _push(rule, facts):
        return False
    if "branch" in facts and not _matches(rule, "branches", [facts["branch"]]):
        return False
    return "paths" not in facts or _matches(rule, "paths", facts["paths"])


def _push(rule: Json, facts: Json) -> bool:
    """Only tags named: no branch starts it, and the other way round."""
    branches = {"branches", "branches-ignore"} & set(rule)
    tags = {"tags", "tags-ignore"} & set(rule)
    if "tag" in facts:
        return (not branches or bool(tags)) and _matches(rule, "tags", [facts["tag"]])
    return not tags or bool(branches)


def _matches(rule: Json, key: str, names: list[str]) -> bool:
    """Apply ``key`` and ``key-ignore`` as GitHub does; ``!`` takes away again."""
    patterns, ignored = rule.get(key), rule.get(f"{key}-ignore") or []
    considered = [n for n in names if not any(_glob(p, n) for p in ignored)]
    if patterns is None:
        return bool(considered) or not ignored
    for name in considered:
        hit = False
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if _glob(pattern.lstrip("!"), name):
                hit = not pattern.startswith("!")
        if hit:
            return True
    return False


def _glob(pattern: str, name: str) -> bool:
    """Match ``**`` over folders and ``*`` inside one."""
    if "**" not in pattern and pattern.count("/") != name.count("/"):
        return False
    return fnmatchcase(name, pattern.replace("**/", "*").replace("**", "*"))


def permissions(
    workflow: Workflow, default: str, fork: bool, *jobs: str
) -> dict[str, str]:
    """Return what the token of some jobs may do, or of all together.

    ``default`` is the repository's setting (read or write), which counts only where
    neither the job nor the workflow names permissions. A fork's token never writes.
    """
    granted: dict[str, str] = {"metadata": "read"}
    basic = {"contents": "read", "packages": "read"}
    fallback = dict.fromkeys(SCOPES, "write") if default == "write" else basic
    for job in jobs or workflow.jobs:
        named = workflow.jobs[job].get("permissions", workflow.permissions)
        if named in ("read-all", "write-all"):
            named = dict.fromkeys(SCOPES, str(named).removesuffix("-all"))
        for scope, level in (fallback if named is None else named).items():
            if fork and level == "write":
                level = "none" if scope == "id-token" else "read"
            if granted.get(scope) != "write" and level != "none":
                granted[scope] = level
    return granted
