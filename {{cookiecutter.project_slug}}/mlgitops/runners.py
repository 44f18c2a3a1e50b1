"""Which runner each class of jobs asks for, and whether proposed code has its own.

A variable, of the repository or its organisation, has the labels of a class as a JSON
list. A runner takes a job if it has all of them:

    gh variable set RUNNER_TRAIN --body '["self-hosted", "gpu"]'

Without it the class is on GitHub's own runners, each of which is fresh for its job.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from mlgitops import storage
from mlgitops.registered_runners import Runner

PROPOSED = {"RUNNER_CHECK": "ci", "RUNNER_TRAIN": "train"}  # run a proposal's code
TRUSTED = {  # run main's code, and most of them may write
    "RUNNER_TRUSTED": "validate, deploy, rollback, monitor, score, update",
    "RUNNER_REPRODUCE": "reproduce",
}
CLASSES = {**PROPOSED, **TRUSTED}
HOSTED = re.compile(r"(ubuntu|windows|macos)-[\w.-]+")  # GitHub's own
Labels = frozenset[str]  # in lower case, as GitHub compares them


class RunnerError(Exception):
    """The wrong runner, or none, would take a job; the message says of which class."""


def own_labels(variables: Mapping[str, str]) -> dict[str, Labels]:
    """Return the labels of each class that is not on GitHub's own runners, by variable.

    Raises:
        RunnerError: a value is not a JSON list of labels.
    """
    labels = {n: _labels(n, variables[n]) for n in CLASSES if variables.get(n)}
    return {name: own for name, own in labels.items() if not _hosted(own)}


def _labels(name: str, value: str) -> Labels:
    """Return the labels that a variable has."""
    try:
        labels = json.loads(value)
    except (ValueError, RecursionError):
        labels = None
    texts = labels if isinstance(labels, list) else []
    if texts and all(isinstance(text, str) and text.strip() for text in texts):
        return frozenset(text.lower() for text in texts)
    example = json.dumps(re.findall(r"[\w.-]+", value) or ["self-hosted"])
    raise RunnerError(
        f"{name} is {value!r}, and has to be a JSON list of labels: type `gh variable "
        f"set {name} --body '{example}'`"
    )


def _hosted(labels: Labels) -> bool:
    """Tell whether these are the labels of a runner of GitHub's own."""
    return len(labels) == 1 and all(map(HOSTED.fullmatch, labels))


def unknown(variables: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with variables that look like a class, and are none."""
    for name in sorted(variables):
        if name.split("_")[0] == "RUNNER" and name not in CLASSES:
            yield (
                f"no workflow reads the variable {name}: the classes of jobs are "
                f"{', '.join(CLASSES)}; set one, then type `gh variable delete {name}`"
            )


def shared(
    labels: Mapping[str, Labels], registered: Iterable[Runner] = ()
) -> Iterator[str]:
    """Yield by which runners a proposal's code would meet jobs that may write."""
    runners = list(registered)
    pairs = [(p, t) for p in PROPOSED for t in TRUSTED if {p, t} <= labels.keys()]
    for proposed, trusted in pairs:
        union = labels[proposed] | labels[trusted]
        names = ", ".join(runner.name for runner in runners if union <= runner.labels)
        if union in (labels[proposed], labels[trusted]):
            subject = f"a runner with the labels {_text(union)}"
        elif names:
            subject = f"the runner {names}"
        else:
            continue
        yield (
            f"{subject} takes the jobs of {proposed} and of {trusted}: what a proposal "
            "leaves there could judge it, and use every login. Give each class a label "
            "that no runner of the other has, or type `gh variable delete "
            f"{trusted}`"
        )


def demand_apart(variables: str) -> None:
    """Refuse to build a proposal on runners that jobs which may write ask for, too.

    ``variables`` is the JSON of all that the workflow has; "" where there are none.

    Raises:
        RunnerError: the labels of two classes do not keep them apart.
    """
    for problem in shared(own_labels(json.loads(variables or "{}") or {})):
        raise RunnerError(f"nothing of the proposal was built: {problem}")


def weaknesses(
    labels: Mapping[str, Labels], registered: Iterable[Runner]
) -> Iterator[str]:
    """Yield which classes have no runner, or one that is kept from job to job."""
    runners = list(registered)
    for name, own in labels.items():
        takers = [runner for runner in runners if own <= runner.labels]
        if not any(runner.online for runner in takers):
            state = "is offline" if takers else "is not registered here"
            yield (
                f"{name}: a runner with the labels {_text(own)} {state}, and a job "
                "waits a day for one (where each is started for its job, or GitHub's "
                "larger ones are meant, that is as it should be)"
            )
        if kept := ", ".join(runner.name for runner in takers if not runner.ephemeral):
            yield f"{name}: the runner {kept} is kept from job to job; {_kept(name)}"


def _kept(name: str) -> str:
    """Return what a runner that is not fresh means for a class of jobs."""
    if name in PROPOSED:
        return (
            "what a proposal leaves there can change what another one builds: register "
            "it with `--ephemeral`, on a machine that is made anew for each job"
        )
    return (
        "who may push can ask for its labels in a workflow of a branch, and leave "
        "something there, unless it is in a runner group of the organisation that "
        f"takes only workflows of main: else type `gh variable delete {name}`"
    )


def unseen(labels: Iterable[str]) -> Iterator[str]:
    """Yield which jobs cannot see storage, where that is a folder."""
    absent = [n for n in ("RUNNER_TRAIN", "RUNNER_TRUSTED") if n not in labels]
    if absent and not (storage.kind() or storage.branch_folder()):
        yield (
            f"storage is a folder, which GitHub's runners do not see: set "
            f"{' and '.join(absent)} (docs/runners.md of the template)"
        )


def _text(labels: Labels) -> str:
    """Return labels as a sentence has them."""
    return ", ".join(sorted(labels))
