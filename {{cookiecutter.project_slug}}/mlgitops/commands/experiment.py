"""Tries settings and compares them with the current ones: `make experiment`.

params.yaml says which, in `experiment`. Each trial is scored by folds of the training
rows: no holdout is read, as that is the judge's. Every trial is recorded beside the
current commit (`dvc exp show`); the working tree stays as it is. Stopped, by Ctrl-C or
otherwise, it goes on where it was.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import pandas as pd
from threadpoolctl import threadpool_limits

from mlgitops import git, lock, settings
from mlgitops.cluster.backend import Backend, ClusterError, Each, Local, opened
from mlgitops.cluster.shipment import locked
from mlgitops.commands.expected import expected_errors
from mlgitops.metrics import METRICS, Metric
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.folds import SPLIT
from mlgitops.pipeline.manifest import sha256
from mlgitops.search import page, record, score, strategies
from mlgitops.search.journal import Journal, depends
from mlgitops.search.outcome import Outcome, Row, compared
from mlgitops.search.record import Experiments
from mlgitops.search.trial import CURRENT, Trial
from mlgitops.space import Experiment
from mlgitops.table.engine import bar

PAGE = Path("build", "search.html")


class OutOfTimeError(Exception):
    """The minutes of the search are over."""


@dataclass
class Search:
    """One search: its rows, what it found, and until when it may go on."""

    what: Experiment
    params: settings.Params
    rows: score.Rows
    journal: Journal
    experiments: Experiments
    start: float = field(default_factory=lambda: time.monotonic())
    made: dict[str, Trial] = field(default_factory=dict)  # by key
    current: Trial = field(default_factory=lambda: Trial(CURRENT, {}))
    score_folds: Each[tuple[Trial, int], score.FoldScore] = field(init=False)
    begun: dict[str, Iterator[score.FoldScore]] = field(default_factory=dict)  # by key

    def __post_init__(self) -> None:
        """Score in this process."""
        self.use(Local())

    def use(self, backend: Backend) -> None:
        """Score the folds of trials there."""
        task = score.Task(self.params, self.rows, self.what.options.resource)
        self.score_folds = backend.over(score.score_fold, task)

    def announce(self, trials: Sequence[Trial]) -> None:
        """Let a cluster begin trials; this process begins one when it is run."""
        for trial in trials:
            key = self.journal.key(trial)
            if key not in self.begun and not self.journal.trial(trial):
                self.begun[key] = self.score_folds(score.fits(trial, self.rows))

    def begin(self) -> None:
        """Score the current settings, with which all others are compared.

        Raises:
            ContractError: they cannot be fitted.
        """
        bar("current settings")
        self.current = self._trial(self.current)
        if self.current.problem:
            raise ContractError(
                f"the current settings cannot be fitted: {self.current.problem}"
            )

    def run(self, trial: Trial) -> Trial:
        """Make a trial and record it, unless it is the same as an earlier one.

        Raises:
            OutOfTimeError: its minutes are over.
        """
        key = self.journal.key(trial)
        if key == self.journal.key(self.current):
            return replace(trial, scores=self.current.scores)
        if key not in self.made:
            self._show()
            self.made[key] = self._trial(trial)
            if self.made[key].ranked:
                self.experiments.record(self.row(self.made[key]), self.metric.key)
        return self.made[key]

    def _trial(self, trial: Trial) -> Trial:
        """Return a trial with its scores, new ones only if it was never made."""
        if not (found := self.journal.trial(trial)):
            minutes = self.what.options.minutes
            if minutes and time.monotonic() - self.start > 60 * minutes and self.made:
                raise OutOfTimeError
            self.announce([trial])
            begun = self.begun.pop(self.journal.key(trial))
            resource = self.what.options.resource
            found = score.make(trial, self.params, self.rows, resource, begun)
            self.journal.add(found)
        return found

    @property
    def metric(self) -> Metric:
        """What trials are ranked by."""
        return METRICS[self.rows.contract.task][0]

    def row(self, trial: Trial) -> Row:
        """Return a trial compared with the current settings."""
        sizes = [len(left_out) / len(fit) for fit, left_out in self.rows.folds]
        confidence = _confidence(self.params)
        return compared(trial, self.current, confidence, fmean(sizes))

    def _show(self) -> None:
        """Show how far it is, and the best so far."""
        total, done = strategies.planned(self.what), len(self.made)
        best = max([t.mean for t in self.made.values() if t.ranked], default=0.0)
        drawn = "█" * round(20 * min(1.0, done / total))
        spent = (time.monotonic() - self.start) / 60
        about = f"{best:.4f}" if best else ""
        bar(f"trial {done + 1} of {total} [{drawn:20}] best {about} {spent:.1f} min")

    def outcome(self) -> Outcome:
        """Return what was found so far."""
        made = list(self.made.values())
        return Outcome(
            metric=self.metric.label,
            kind=self.what.options.search,
            split=str(self.rows.searched.attrs.get(SPLIT, "")),
            current=self.current,
            rows=[self.row(trial) for trial in made if trial.ranked],
            failed=[trial for trial in made if trial.problem],
            dropped=sum(t.part < 1 and not t.problem for t in made),
            confidence=_confidence(self.params),
            confirming=len(self.rows.confirming),
        )

    def confirmed(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what the rows kept apart say of the best."""
        if not (best := outcome.best):
            return outcome
        if not (found := self.journal.difference(best.trial)):
            bar("the best, on rows that no trial saw")
            looks = self.journal.looks() + 1
            confidence = 1 - (1 - outcome.confidence) / looks
            found, _ = score.confirm(best.trial, self.params, self.rows, confidence)
            self.journal.add_difference(best.trial, found)
        return replace(outcome, confirmed=found, looks=self.journal.looks())


def _confidence(params: settings.Params) -> float:
    """Return the confidence of main's intervals."""
    gates = params.get("gates")
    found = gates.get("confidence") if isinstance(gates, dict) else None
    return found if isinstance(found, float) and 0.5 <= found < 1 else 0.95


def prepared() -> Path:
    """Return the file with the training rows, as the stage `prepare` writes it now.

    Only what the stage reads, and this file, are looked at: never its holdout.

    Raises:
        ContractError: it is not there, or the stage would write another.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    stages = lock.stages()
    wrote = {out: stage.name for stage in stages for out in stage.outs}
    read = [d for stage in stages if stage.name == "train" for d in stage.deps]
    if not (path := next((dep for dep in read if dep in wrote), "")):
        raise ContractError("dvc.yaml has no stage train that reads prepared rows")
    advice = f"type make repro (or dvc repro {wrote[path]}), then make experiment"
    if not Path(path).is_file():
        raise ContractError(f"there are no training rows, {path}, yet: {advice}")
    try:
        with Repo() as repo, repo.lock:
            [stage] = repo.stage.collect(wrote[path])
            own = [out for out in stage.outs if out.fs_path.endswith(path)]
            changed = stage.changed_deps() or any(o.changed_checksum() for o in own)
    except DvcException as error:
        raise ContractError(f"DVC cannot tell how old {path} is: {error}") from error
    if changed:
        raise ContractError(f"{path} is not what params.yaml and data give: {advice}")
    return Path(path)


def started() -> Search:
    """Return the search that params.yaml describes.

    Raises:
        ContractError: there is nothing to compare, or a setting is wrong.
    """
    if git.run("status", "--porcelain", "--untracked-files=no"):
        raise ContractError(
            "there are changes that are not committed, so a trial would not say what "
            "it compares with; commit them, then type make experiment."
        )
    params = settings.load(Path("params.yaml").read_bytes())
    what = settings.experiment(params)
    contract = Contract.read(Path("contract.yaml").read_bytes())
    seed = settings.train(params, contract.task).seed
    data = prepared().read_bytes()
    table = pd.read_parquet(io.BytesIO(data))
    rows = score.divide(table, contract, what.options.folds, seed)
    key = depends(data, params, what.options.folds)
    journal = Journal(sha256(data), key, params, what.options.resource)
    journal.read()
    return Search(what, params, rows, journal, Experiments())


def search() -> Outcome:
    """Make the trials, print the table, write the page; return what was found."""
    now, note, stopped = started(), "", False
    try:
        with opened(settings.backend(now.params), locked("pipeline")) as backend:
            now.use(backend)
            now.begin()
            seed = int(now.params["train"]["seed"])
            strategies.search(now.what, seed, now.run, now.announce)
    except OutOfTimeError:
        note = f"Its {now.what.options.minutes:g} minutes are over after "
    except KeyboardInterrupt:
        note, stopped = "Stopped after ", True
    bar("")
    if note:
        count = f"{len(now.made)} of {strategies.planned(now.what)} trials"
        print(f"{note}{count}; type make experiment to go on.")
    if stopped and not now.made:
        raise SystemExit(130)
    found = now.outcome() if stopped else now.confirmed(now.outcome())
    own = now.row(now.current)  # beside the experiments in `dvc exp show`
    record.FILE.write_bytes(record.scores(own, now.metric.key))
    PAGE.write_text(page.page(found), encoding="utf-8")
    print(f"{page.terminal(found)}\nWith plots: {PAGE}")
    if stopped:
        raise SystemExit(130)
    return found


def main() -> None:
    """Run the search on one thread, as the stage train; a mistake is one sentence."""
    try:
        expected = expected_errors("experiment: ", OSError, ClusterError)
        with expected, threadpool_limits(1):
            search()
    except KeyboardInterrupt:  # before the first trial, or after the last
        raise SystemExit(130) from None
