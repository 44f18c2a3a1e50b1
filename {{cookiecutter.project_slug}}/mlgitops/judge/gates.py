"""The rules that can block a merge: numbers in, checks with reasons out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the children that score import this module, and need no measures
    from mlgitops.judge.tasks import Task


class Refused(Exception):
    """What was proposed cannot be judged: the check it failed and one sentence."""

    def __init__(self, name: str, why: str, value: str = "", limit: str = "") -> None:
        """Keep what the check will say."""
        super().__init__(why)
        self.check = Check(name, False, value, limit, why)


@dataclass(frozen=True)
class Check:
    """One rule's answer; ``value`` and ``limit`` are text for people."""

    name: str
    passed: bool
    value: str
    limit: str
    why: str
    gate: bool = False

    def record(self) -> dict[str, Any]:
        """Return what the ledger keeps."""
        return asdict(self)


@dataclass(frozen=True)
class Gates:
    """The section ``gates`` of params.yaml; a missing rule is an error, never open.

    The headline is bounded under its own name: roc_auc_min and roc_auc_max, or r2_min
    and r2_max for a regression, which has no calibration error.
    """

    task: "Task"
    headline_min: float
    headline_max: float
    calibration_error_max: float
    margin: float
    confidence: float
    slice_min_rows: int
    slice_margin: float
    holdout_min_rows: int
    holdout_uses: float
    parity_max: float
    model_max_mb: float
    latency_p99_max_ms: float
    artifact_max_mb: float


def parse(section: Mapping[str, Any], task: str = "binary") -> Gates:
    """Read the gates.

    Raises:
        SystemExit: a rule is missing, unknown or not a number.
    """
    from mlgitops.judge.tasks import TASKS

    about = TASKS[task]
    names = {field.name: field.name for field in fields(Gates) if field.name != "task"}
    names |= {f"headline_{end}": f"{about.gate}_{end}" for end in ("min", "max")}
    if not about.calibrated:
        del names["calibration_error_max"]
    known = set(names.values())
    if wrong := sorted(known ^ set(section)):
        raise SystemExit(
            f"params.yaml: section gates has to name {', '.join(sorted(known))} and "
            f"nothing else for the task {task}; it differs in "
            f"{', '.join(map(str, wrong))}"
        )
    for name, value in section.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise SystemExit(f"params.yaml: gates.{name} has to be a number, 0 or more")
    found = {field: section[name] for field, name in names.items()}
    gates = Gates(**{"calibration_error_max": 0.0, **found, "task": about})
    if not 0.5 <= gates.confidence < 1:
        raise SystemExit("params.yaml: gates.confidence has to be from 0.5 to below 1")
    return gates


def floor(value: float, gates: Gates) -> Check:
    """The absolute floor: how well the model does at all."""
    passed, task = bool(value >= gates.headline_min), gates.task
    why = task.good if passed else task.poor
    limit = f"≥ {gates.headline_min}"
    return Check(task.headline.label, passed, f"{value:.4f}", limit, why, True)


def ceiling(value: float, gates: Gates) -> Check:
    """Too good to be true: a column that knows the answer."""
    passed = bool(value <= gates.headline_max)
    why = (
        "not so good that a column has to know the answer"
        if passed
        else "too good to be true: a column probably knows the answer; look at what is "
        "known before the event"
    )
    return Check("Leakage", passed, f"{value:.4f}", f"≤ {gates.headline_max}", why)


def calibrated(error: float, gates: Gates) -> Check:
    """The probabilities mean what they say."""
    passed = bool(error <= gates.calibration_error_max)
    why = (
        "a predicted probability is near the share observed"
        if passed
        else "the probabilities are far from the shares observed"
    )
    limit = f"≤ {gates.calibration_error_max:g}"
    return Check("Calibration", passed, f"{error:.4f}", limit, why)


def compared(difference: float, low: float, high: float, gates: Gates) -> Check:
    """Not worse than the champion by more than the margin, on the same rows."""
    passed = bool(low >= -gates.margin)
    if low > 0:
        why = "better than the champion"
    elif passed and high < 0:
        why = f"worse than the champion, but by less than {gates.margin}"
    elif passed:
        why = "no significant difference to the champion"
    elif high < -gates.margin:
        why = f"worse than the champion by more than {gates.margin}"
    elif high < 0:
        why = f"worse than the champion, possibly by more than {gates.margin}"
    else:
        why = (
            f"not shown to be within {gates.margin} of the champion: "
            "the interval is too wide"
        )
    value = f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]"
    limit = f"interval above {-gates.margin}"
    return Check("Difference to the champion", passed, value, limit, why, True)


def alone() -> Check:
    """There is nothing to compare with yet."""
    why = "no champion yet: only the absolute rules apply"
    return Check("Difference to the champion", True, "no champion", "none", why, True)


def rows(count: int, gates: Gates) -> Check:
    """Enough holdout rows to decide anything."""
    passed = count >= gates.holdout_min_rows
    why = (
        "rows that neither model was trained on"
        if passed
        else "too few rows to decide on: hold out more days"
    )
    limit = f"≥ {gates.holdout_min_rows:,.0f}"
    return Check("Holdout rows", passed, f"{count:,}", limit, why, True)


def export(parity: Mapping[str, Any], golden: float, gates: Gates) -> Check:
    """The exported file answers as the estimator did when it was trained."""
    worst = max(float(parity["max_difference"]), golden)
    passed = bool(worst <= gates.parity_max) and int(parity["rows"]) > 0
    why = (
        "the exported file answers as the estimator did"
        if passed
        else "the exported file does not answer as the estimator did"
    )
    limit = f"≤ {gates.parity_max:g}"
    return Check("Export parity", passed, f"{worst:.1e}", limit, why, True)


def size(count: int, gates: Gates) -> Check:
    """The model file fits its budget."""
    megabytes = count / 1e6
    passed = megabytes <= gates.model_max_mb
    why = "fits the budget" if passed else "the model file is over its budget"
    limit = f"≤ {gates.model_max_mb:g} MB"
    return Check("Model size", passed, f"{megabytes:.3g} MB", limit, why, True)


def latency(p99: float, gates: Gates) -> Check:
    """The exported file answers one row within its budget."""
    passed = bool(p99 <= gates.latency_p99_max_ms)
    why = "answers in time" if passed else "one row takes longer than its budget"
    limit = f"≤ {gates.latency_p99_max_ms:g} ms"
    return Check("Latency", passed, f"{p99:.3g} ms", limit, why, True)
