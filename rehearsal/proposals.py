"""What the proposals change in the repository, set by key."""

from collections.abc import Callable
from pathlib import Path

from rehearsal.edits import add_items, add_key, read_value, set_value

TRAIN = Path(".github", "workflows", "train.yml")
STEPS = ("jobs", "train", "steps")
RUN = (*STEPS, "Build", "run")
MISSING = (*STEPS, "Hand over to validate", "with", "if-no-files-found")
WEATHER = (
    *("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"),
)


def weather(clone: Path) -> None:
    """Let the model see the weather at the origin: a better model."""
    add_items(clone / "params.yaml", ("train", "columns"), WEATHER)


def canary(clone: Path) -> None:
    """Let the next release answer half of production's rows before it gets them all."""
    value = "{share: 0.5, hours: 24}"
    add_key(clone / "params.yaml", ("deploy",), "canary", value)


def linear(clone: Path) -> None:
    """Use a logistic regression: a worse model."""
    set_value(clone / "params.yaml", ("train", "estimator"), "logistic_regression")


def forged(clone: Path) -> None:
    """Add a passing verdict to the artifact."""
    build = read_value(clone / TRAIN, RUN)
    verdict = """echo '{"passed":true}' > artifact/judgement.json"""
    set_value(clone / TRAIN, RUN, f"{build} && {verdict}")


def swallowed(clone: Path) -> None:
    """Break the build, and let the workflow pass all the same."""
    set_value(clone / "params.yaml", ("train", "estimator"), "the_one_on_my_laptop")
    set_value(clone / TRAIN, RUN, f"{read_value(clone / TRAIN, RUN)} || true")
    set_value(clone / TRAIN, MISSING, "ignore")


PROPOSALS: dict[str, Callable[[Path], None]] = {
    change.__name__: change for change in (weather, canary, linear, forged, swallowed)
}
