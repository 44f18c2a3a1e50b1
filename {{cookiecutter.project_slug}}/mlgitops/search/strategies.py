"""Which settings to try next: grid, random, successive halving, Optuna; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.contract import ContractError
from mlgitops.search.trial import Trial, named
from mlgitops.space import Experiment, Range, Values

if TYPE_CHECKING:
    import optuna

FACTOR = 3  # one in so many goes on, with so many times as much: scikit-learn's default
DIGITS = 3  # of a number that is drawn: more would only look exact

Run = Callable[[Trial], Trial]  # makes a trial, unless it was made before
Announce = Callable[[Sequence[Trial]], None]  # says which trials come next


def search(
    what: Experiment, seed: int, run: Run, announce: Announce | None = None
) -> None:
    """Make all trials; with the same seed the same ones.

    Those of which none depends on another are announced first, so that a cluster makes
    them at once.

    Raises:
        ContractError: Optuna is not installed.
    """
    announce = announce or (lambda trials: None)
    if what.options.search == "optuna":
        return with_optuna(what, seed, run)
    if what.options.search == "grid":
        trials = grid(what.space)
    else:
        trials = drawn(what.space, what.options.count, seed)
    if what.options.search == "halving":
        return halve(trials, run, announce)
    announce(trials)
    for trial in trials:
        run(trial)


def planned(what: Experiment) -> int:
    """Return how many trials that will be at most."""
    lists = [v for v in what.space.values() if not isinstance(v, Range)]
    combinations = math.prod(len(values) for values in lists)
    endless = len(lists) < len(what.space)
    if what.options.search == "grid":
        return combinations
    count = what.options.count
    if what.options.search != "optuna" and not endless:
        count = min(count, combinations)
    if what.options.search == "halving":
        return sum(size for size, _ in rungs(count))
    return count


def grid(space: Mapping[str, Values]) -> list[Trial]:
    """Return every combination of the values; the last setting changes fastest."""
    from sklearn.model_selection import ParameterGrid

    order = list(space)
    lists = {f"{n:04}": list(_list(space[path])) for n, path in enumerate(order)}
    found = ParameterGrid(lists)
    return [named(dict(zip(order, _in_order(c), strict=True))) for c in found]


def _in_order(combination: Mapping[str, object]) -> list[object]:
    """Return values by the number that each setting has: scikit-learn sorts by name."""
    return [combination[name] for name in sorted(combination)]


def _list(values: Values) -> tuple[object, ...]:
    """Return the values of a list."""
    assert not isinstance(values, Range)
    return values


def drawn(space: Mapping[str, Values], count: int, seed: int) -> list[Trial]:
    """Return trials drawn at random; of lists alone none twice."""
    from sklearn.model_selection import ParameterSampler

    order = list(space)
    parts = {f"{n:04}": _distribution(space[path]) for n, path in enumerate(order)}
    if not any(isinstance(values, Range) for values in space.values()):
        sizes = (len(_list(values)) for values in space.values())
        count = min(count, math.prod(sizes))
    found = [
        {
            path: plain(value, space[path])
            for path, value in zip(order, _in_order(combination), strict=True)
        }
        for combination in ParameterSampler(parts, count, random_state=seed)
    ]
    return [named(changes) for changes in found]


def _distribution(values: Values) -> Any:
    """Return what scikit-learn draws from."""
    from scipy import stats

    if not isinstance(values, Range):
        return list(values)
    if values.log:
        return stats.loguniform(values.min, values.max)
    if values.whole:
        return stats.randint(int(values.min), int(values.max) + 1)
    return stats.uniform(values.min, values.max - values.min)


def plain(value: Any, values: Values) -> object:
    """Return a value as a person would write it: whole, or with three digits."""
    if not isinstance(values, Range):
        return value
    if values.whole:
        return round(value)
    rounded = float(f"{value:.{DIGITS}g}")
    return min(max(rounded, float(values.min)), float(values.max))


def rungs(count: int) -> list[tuple[int, float]]:
    """Return for each rung how many trials it has, and which part of the resource.

    Jamieson and Talwalkar (2016), AISTATS: each rung keeps the best third, and gives
    it three times as much; those of the last have all of it.
    """
    last = int(math.log(count) / math.log(FACTOR) + 1e-9)
    return [
        (math.ceil(count / FACTOR**n), FACTOR ** float(n - last))
        for n in range(last + 1)
    ]


def halve(trials: Sequence[Trial], run: Run, announce: Announce) -> None:
    """Make all trials with a part of the resource, and the best again with more."""
    for size, part in rungs(len(trials)):
        rung = [trial.at(part) for trial in trials[:size]]
        announce(rung)
        made = [run(trial) for trial in rung]
        order = np.argsort([-trial.mean for trial in made], kind="stable")
        trials = [made[index] for index in order if made[index].scores]


def with_optuna(what: Experiment, seed: int, run: Run) -> None:
    """Let Optuna's TPE propose each trial from those before it.

    Raises:
        ContractError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ContractError(
            "experiment.search is optuna, which is not installed: add "
            '{include-group = "search"} to the group dev in pyproject.toml, then type '
            "make lock setup; or take search: random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(what.options.count):
        asked = study.ask()
        changes = {path: _asked(asked, path, v) for path, v in what.space.items()}
        trial = run(named(changes))
        if trial.scores:
            study.tell(asked, trial.mean)
        else:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)


def _asked(trial: optuna.Trial, path: str, values: Values) -> object:
    """Return the value that Optuna proposes for a setting."""
    if not isinstance(values, Range):  # by its place: a value may be a list
        return values[trial.suggest_categorical(path, range(len(values)))]
    if values.whole:
        low, high = int(values.min), int(values.max)
        return trial.suggest_int(path, low, high, log=values.log)
    found = trial.suggest_float(path, values.min, values.max, log=values.log)
    return plain(found, values)
