"""A search chooses inside the training rows, goes on after a stop, and is honest."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from machinery import searched, test_folds
from mlgitops import git, settings
from mlgitops.commands import experiment
from mlgitops.metrics import PAIRED, binary
from mlgitops.pipeline.contract import ContractError
from mlgitops.pipeline.data import truth
from mlgitops.search import page, score, strategies
from mlgitops.search.journal import Journal
from mlgitops.search.outcome import Outcome, compared
from mlgitops.search.trial import Trial, changed, named
from mlgitops.space import Experiment, Options, Range

GRID = {"folds": 2, "train.columns": [["x1"], ["x2"], ["x1", "x2"]]}
Searcher = Callable[[Mapping[str, object]], Outcome]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searcher:
    """Return what searches 150 rows of noise, in a repository of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "prepared", searched.prepared)

    def run(what: Mapping[str, object]) -> Outcome:
        searched.write(tmp_path, searched.table(150, 1), what)
        return experiment.search()

    return run


def made(monkeypatch: pytest.MonkeyPatch, stop: object = None, after: int = 9) -> list:
    """Note each trial that is made; do something instead of the one after some."""
    names, make = [], score.make

    def noted(trial: Trial, *rest: object) -> Trial:
        if len(names) == after and callable(stop):
            stop()
        names.append(trial.name)
        return make(trial, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(score, "make", noted)
    return names


def results(outcome: Outcome) -> list[tuple[str, tuple[float, ...]]]:
    return [(row.trial.name, row.trial.scores) for row in outcome.rows]


def test_no_holdout_is_read(search: Searcher, tmp_path: Path) -> None:
    """Without one, with one, and with one that cannot be read: the same."""
    first = search(GRID)
    holdout, journal = tmp_path / "build/holdout.parquet", Path("build/search.jsonl")
    for spoil in (lambda: holdout.write_bytes(b"no table"), holdout.mkdir):
        holdout.unlink(missing_ok=True)
        journal.unlink()
        spoil()
        again = search(GRID)
        assert results(again) == results(first)
        assert again.confirmed == first.confirmed


def test_nothing_that_a_trial_calls_can_open_a_file() -> None:
    """Folds are cut from the rows that it is given: there is nothing else to read."""
    for module in (score, strategies):
        source = Path(str(module.__file__)).read_text()
        assert "Path(" not in source and "read_" not in source and "open(" not in source


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_search_goes_on(
    search: Searcher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        first = made(patch, interrupt, 3)
        with pytest.raises(SystemExit) as stopped:
            search(GRID)
        assert stopped.value.code == 130 and len(first) == 3
        assert "Stopped after 2 of 3 trials" in capsys.readouterr().out
    names = made(monkeypatch)
    whole = search(GRID)
    assert len(names) == 1, "only the trial that was not made"
    Path("build/search.jsonl").unlink()
    assert results(search(GRID)) == results(whole)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_search_goes_on(
    search: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had made is on the disk, whatever was cut off behind it."""
    child = os.fork()
    if not child:
        with monkeypatch.context() as patch:
            made(patch, kill, 3)
            search(GRID)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with Path("build/search.jsonl").open("ab") as file:
        file.write(b'{"key": "cut of')
    names = made(monkeypatch)
    assert len(search(GRID).rows) == 3
    assert len(names) == 1
    refs = git.run("for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    assert len(refs) == 3, "those before it was killed, too"
    assert len(search(GRID).rows) == 3 and len(names) == 1, "the next line was whole"


def test_other_rows_or_settings_are_other_trials(
    search: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(GRID)
    names = made(monkeypatch)
    search({**GRID, "folds": 3})
    assert len(names) == 4


def test_a_trial_that_fails_stops_nothing(search: Searcher) -> None:
    outcome = search({"folds": 2, "train.logistic_regression.C": [-1.0, 0.1]})
    assert [trial.name for trial in outcome.failed] == ["C--1.0"]
    assert [row.trial.name for row in outcome.rows] == ["C-0.1"]
    assert "failed: C--1.0" in page.terminal(outcome)


def test_what_changes_no_fit_is_no_trial(
    search: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments of an estimator that is not taken, and the current settings."""
    names = made(monkeypatch)
    estimators = ["logistic_regression", "hist_gradient_boosting"]
    what = {
        "folds": 2,
        "train.estimator": estimators,
        "train.hist_gradient_boosting.max_iter": [2, 3],
    }
    outcome = search(what)
    assert len(names) == 3, "the current settings, and two of the other estimator"
    assert len(outcome.rows) == 2


def test_a_search_ends_when_its_minutes_are_over(
    search: Searcher, capsys: pytest.CaptureFixture
) -> None:
    """After one trial at least; it can be typed again."""
    what = {**GRID, "minutes": 0.01}
    clock = iter([0.0, *[60.0] * 99])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.time, "monotonic", lambda: next(clock))
        assert len(search(what).rows) == 1
    assert "minutes are over after 1 of 3" in capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.time, "monotonic", lambda: 0.0)
        assert len(search(what).rows) == 3


def test_changes_that_are_not_committed_are_refused(search: Searcher) -> None:
    search(GRID)
    with Path("params.yaml").open("a") as file:
        file.write("\n")
    with pytest.raises(ContractError, match="not committed"):
        experiment.search()


@pytest.mark.parametrize("split", ["time", "group", "random"])
def test_what_confirms_the_choice_is_apart_as_the_holdout_is(split: str) -> None:
    """Later rows, other groups, or other rows: no fold has one of them."""
    frame = test_folds.rows(split, 240)
    parts = score.divide(frame, test_folds.TERMS, 3, 1)
    apart = set(parts.confirming["order"])
    for fit, left_out in parts.folds:
        assert not apart & {*fit["order"], *left_out["order"]}
    assert not apart & set(parts.searched["order"]) and len(apart) >= 240 / 5 - 1
    if split == "time":
        assert parts.confirming["at"].min() > parts.searched["at"].max()
    if split == "group":
        customers = (
            set(part["customer"]) for part in (parts.confirming, parts.searched)
        )
        assert not set.intersection(*customers)


def test_a_resource_is_part_of_what_a_score_depends_on() -> None:
    params = settings.load(searched.PARAMS)
    trees, rows = Journal("", "", params, "train.x"), Journal("", "", params)
    trial = named({"train.seed": 2})
    assert trees.key(trial) == rows.key(trial)
    assert trees.key(trial.at(0.5)) != rows.key(trial.at(0.5)) != rows.key(trial)


def test_a_confirmation_is_against_the_settings_that_it_was_made_with() -> None:
    """Else an old difference would be shown as one to today's settings."""
    trial = named({"train.seed": 2})

    def keys(**changes: Any) -> list[str]:
        params: Any = {"train": {"seed": 1, "estimator": "a"}}
        params["gates"] = {"confidence": 0.9}
        params["train"] |= changes.get("train", {})
        params["gates"] |= changes.get("gates", {})
        kept = Journal("", "", params)
        return [kept.key(trial), kept.key(trial, "confirm")]

    was = keys()
    assert keys(gates={"confidence": 0.95})[0] == was[0]
    assert keys(gates={"confidence": 0.95})[1] != was[1]
    assert keys(train={"seed": 3})[0] == was[0], "the trial's own settings"
    assert keys(train={"seed": 3})[1] != was[1]


# What each kind of search tries.

SPACE = {
    "train.logistic_regression.C": Range(0.001, 10, log=True),
    "train.seed": Range(3, 9),
    "train.columns": (["x0"], ["x1", "x2"]),
}


def good(trial: Trial) -> Trial:
    """Score a trial by its C: the nearer to 1, the better."""
    distance = abs(float(np.log(trial.changes["train.logistic_regression.C"])))
    return replace(trial, scores=(-distance, -distance))


def tried(kind: str, count: int = 20, seed: int = 1) -> list[Trial]:
    found: list[Trial] = []

    def run(trial: Trial) -> Trial:
        found.append(good(trial))
        return found[-1]

    what = Experiment(SPACE, Options(search=kind, trials=count))  # type: ignore[arg-type]
    strategies.search(what, seed, run)
    assert len(found) == strategies.planned(what)
    return found


KINDS = ["random", "halving", "optuna"]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_within_the_ranges_and_the_same_again(kind: str) -> None:
    if kind == "optuna":
        pytest.importorskip("optuna")
    found = tried(kind)
    for trial in found:
        c = trial.changes["train.logistic_regression.C"]
        assert 0.001 <= c <= 10 and c == float(f"{c:.3g}")  # type: ignore[operator]
        assert trial.changes["train.seed"] in range(3, 10)
        assert trial.changes["train.columns"] in SPACE["train.columns"]  # type: ignore[operator]
    assert found == tried(kind)
    assert found != tried(kind, seed=2)


def test_successive_halving_gives_the_best_third_three_times_as_much() -> None:
    found = tried("halving")
    parts = [(sum(t.part == part for t in found)) for part in (1 / 9, 1 / 3, 1.0)]
    assert parts == [20, 7, 3]
    first = [trial.mean for trial in found[:20]]
    assert sorted(first)[-3:] == sorted(trial.mean for trial in found[-3:])
    assert strategies.rungs(1) == [(1, 1.0)]


def test_optuna_learns_from_what_it_tried() -> None:
    pytest.importorskip("optuna")
    means = [trial.mean for trial in tried("optuna", 40)]
    assert np.mean(means[-15:]) > np.mean(means[:10]) + 0.5


def test_without_optuna_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ContractError, match="include-group"):
        tried("optuna")


def test_successive_halving_fits_on_fewer_rows_or_trees(
    search: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alike in each class; and only what had all of it is compared."""
    rows = searched.table(3_000, 1)
    part = score._share(rows, searched.TERMS, 0.1, 1)
    assert len(part) == pytest.approx(300, abs=2)
    assert part["y"].mean() == pytest.approx(rows["y"].mean(), abs=0.01)
    assert set(part["row"]) <= set(score._share(rows, searched.TERMS, 0.3, 1)["row"])
    resource = "train.hist_gradient_boosting.max_iter"
    outcome = search(
        {
            "search": "halving",
            "trials": 3,
            "folds": 2,
            "resource": resource,
            "train.columns": [["x1"], ["x2"], ["x1", "x2"]],
        }
    )
    assert len(outcome.rows) == 1 and outcome.dropped == 3


# What is made of the scores.


def test_the_interval_of_a_difference_is_paired_and_widened() -> None:
    """Nadeau and Bengio: by hand, for four folds of a quarter."""
    current = Trial("a", {}, (0.6, 0.7, 0.8, 0.9))
    row = compared(Trial("b", {}, (0.61, 0.72, 0.83, 0.94)), current, 0.95, 1 / 3)
    error = np.std([0.01, 0.02, 0.03, 0.04], ddof=1) * np.sqrt(1 / 4 + 1 / 3)
    assert row.difference == pytest.approx(0.025)
    assert row.high - row.difference == pytest.approx(3.1824463 * error)


HOLDOUT = 15  # a seed: on one such holdout in four, the best of noise looks like a gain


def auc(trial: Trial, params: settings.Params, fit, others) -> tuple[float, np.ndarray]:  # type: ignore[no-untyped-def]
    """Return what a trial's model has on other rows, and its predictions."""
    recipe = settings.train(changed(params, trial.changes), "binary")
    p = score.predictions(fit, others, searched.TERMS, recipe)
    return binary.roc_auc(truth(others, searched.TERMS), p), p


@pytest.mark.slow
def test_an_overfit_search_is_seen_and_a_signal_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty models of noise: the holdout's best is luck, and looks like a gain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "prepared", searched.prepared)
    rows, holdout = searched.table(500, 11), searched.table(200, HOLDOUT)
    later = searched.table(4_000, 13)
    params = settings.load(searched.PARAMS)
    choices = searched.subsets(30, 3, 1)
    trials = [named({"train.columns": columns}) for columns in choices]
    _, before = auc(Trial("", {}), params, rows, holdout)
    scored = [auc(trial, params, rows, holdout) for trial in trials]
    best = int(np.argmax([value for value, _ in scored]))
    winner, after = scored[best]
    found = PAIRED["binary"](truth(holdout, searched.TERMS), before, after, 0.95)
    assert found.low > 0, "ranked by the holdout, the best of noise is 'significant'"
    assert winner > 0.58
    assert auc(trials[best], params, rows, later)[0] < 0.52, "and worth nothing"

    what = {"folds": 3, "train.columns": choices}
    searched.write(tmp_path, rows, what)
    outcome = experiment.search()
    assert not outcome.distinguished
    text = page.terminal(outcome)
    assert "cannot be distinguished" in text and "To propose it" not in text

    searched.write(
        tmp_path,
        searched.table(500, 11, signal=1.0),
        {
            "folds": 3,
            "train.columns": [*choices[:2], ["x0", "x29"]],
        },
    )
    outcome = experiment.search()
    assert outcome.distinguished and outcome.best
    assert outcome.best.trial.changes == {"train.columns": ["x0", "x29"]}
    text = page.terminal(outcome)
    assert "better than the current settings there, too" in text
    assert "dvc exp apply columns-x0+x29" in text


def test_each_look_at_the_rows_kept_apart_widens_the_interval(search: Searcher) -> None:
    first = search({"folds": 2, "train.columns": [["x1"], ["x2"], ["x3"], ["x4"]]})
    again = search({"folds": 2, "train.columns": [["x5"], ["x6"], ["x7"], ["x8"]]})
    assert first.confirmed and again.confirmed
    assert (first.looks, again.looks) == (1, 2)
    assert first.confirmed.confidence == 0.95
    assert again.confirmed.confidence == pytest.approx(0.975)
    assert "asked about 2 choices" in page.terminal(again)


def test_the_page_holds_nothing_but_text(search: Searcher) -> None:
    outcome = search({"folds": 2, "train.columns": [["x1"], ["x2"]]})
    row = replace(outcome.rows[0], trial=replace(outcome.rows[0].trial, name="<b>x"))
    text = page.page(replace(outcome, rows=[row, *outcome.rows[1:]]))
    assert "<b>x" not in text and "&lt;b&gt;x" in text
    assert "<svg" in text and "<script" not in text and "http:" not in text
