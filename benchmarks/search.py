"""What a search costs beside its fits, and what choosing by the holdout would claim.

`PARTS=cost`: `make experiment` with 20 trials of the flights, drawn at random, as a
whole (imports, DVC, recording, page), over the fits inside it. `PARTS=overfit`: 30
models of noise in each of `WORLDS` tables, chosen by the holdout and by the search.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
PARTS = os.environ.get("PARTS", "cost,overfit").split(",")
WORLDS = int(os.environ.get("WORLDS", "60"))
TRIALS, COLUMNS, FOLDS = 30, 3, 3  # models of noise in a world, and columns of each
LIMIT = 1.3  # of the whole over the fits
FLIGHTS = """\
experiment:
  search: random
  trials: 20
  train.hist_gradient_boosting.learning_rate: {min: 0.02, max: 0.3, log: true}
  train.hist_gradient_boosting.max_leaf_nodes: {min: 7, max: 63}
  train.hist_gradient_boosting.l2_regularization: [0.0, 1.0, 10.0]
  train.columns:
    - [carrier, origin, dest, weekday, minute, distance]
    - [carrier, origin, dest, weekday, minute, distance, temp, wind_speed, precip]

"""
FILES = ("mlgitops", "model", "data", "requirements", ".dvc", ".dvcignore")
FILES += ("contract.yaml", "dvc.yaml", "params.yaml", ".gitignore")
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0")


def project(folder: Path) -> None:
    """Write the flights' repository, with its training rows and the search."""
    for name in FILES:
        source = TEMPLATE / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    text = (folder / "params.yaml").read_text()
    start, end = text.index("experiment:"), text.index("gates:")
    (folder / "params.yaml").write_text(text[:start] + FLIGHTS + text[end:])
    for command in (
        (*GIT, "init", "--quiet", "--initial-branch=main"),
        (*GIT, "add", "."),
        (*GIT, "commit", "--quiet", "--message", "flights"),
        (sys.executable, "-m", "dvc", "repro", "--quiet", "prepare"),
    ):
        subprocess.run(command, cwd=folder, check=True)


def inside() -> None:
    """Run the search, and print the seconds and the CPU seconds of its fits."""
    from mlgitops.commands import experiment
    from mlgitops.pipeline import fitting

    fit, spent = fitting.fit, [0.0, 0.0, 0]

    def timed(*arguments: Any) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        try:
            return fit(*arguments)
        finally:
            spent[0] += time.perf_counter() - wall
            spent[1] += time.process_time() - processor
            spent[2] += 1

    fitting.fit = timed
    experiment.main()
    print("fits", *spent)


def cost() -> None:
    """Print the whole search beside its fits."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        project(folder)
        path = os.pathsep.join([str(folder), str(ROOT)])
        program = "from benchmarks.search import inside; inside()"
        start, used = time.perf_counter(), processor_seconds()
        done = subprocess.run(
            (sys.executable, "-c", program),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        wall, processor = time.perf_counter() - start, processor_seconds() - used
    fits = [float(word) for word in done.stdout.split("fits")[-1].split()]
    print(done.stdout.rsplit("fits", 1)[0])
    print(f"| 20 trials of the flights, {fits[2]:.0f} fits | whole | fits | ratio |")
    print("|---|---|---|---|")
    for unit, whole, alone in zip(
        ("seconds", "CPU seconds"), (wall, processor), fits[:2], strict=True
    ):
        print(f"| {unit} | {whole:.1f} | {alone:.1f} | {whole / alone:.2f} |")
    print(f"\nAt most {LIMIT}: {'yes' if processor <= LIMIT * fits[1] else 'NO'}\n")


def processor_seconds() -> float:
    """Return the CPU seconds of all programs that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def overfit() -> None:
    """Print how often the best of noise is called better, by each way to choose."""
    sys.path[:0] = [str(ROOT / "tests"), str(TEMPLATE)]
    from mlgitops.search import score

    score.predictions = fitted_by_scikit_learn
    found = np.array([world(seed) for seed in range(WORLDS)], float)
    names = ("score that it was chosen by", "on 4,000 other rows", "called better")
    print(
        f"| best of {TRIALS} models of noise, {WORLDS} tables | {' | '.join(names)} |"
    )
    print("|---|---|---|---|")
    ways = ("by the holdout", "make experiment, by folds", "its rows kept apart")
    for way, values in zip(ways, found.mean(axis=0), strict=True):
        chosen, worth, better = values
        called = f"{better:.0%} of tables" if better == better else "–"
        print(f"| {way} | {chosen:.3f} | {worth:.3f} | {called} |")


def fitted_by_scikit_learn(fit: Any, others: Any, _: Any, recipe: Any) -> np.ndarray:
    """Return predictions as the stage's, without its graph: 20 times as fast."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = list(recipe.columns)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(fit[columns].to_numpy(), fit["y"])
    return model.predict_proba(others[columns].to_numpy())[:, 1]


def world(seed: int) -> list[list[float]]:
    """Return for each way: the winner's score, its worth, and whether it is called so.

    500 rows to train on, and 200 held out, of which the target depends on no column.
    """
    from machinery import searched
    from mlgitops.metrics import PAIRED, binary
    from mlgitops.pipeline import settings
    from mlgitops.pipeline.data import truth
    from mlgitops.search import score, strategies
    from mlgitops.search.trial import changed

    terms, params = searched.TERMS, settings.load(searched.PARAMS)
    rows, holdout, later = (
        searched.table(count, 3 * seed + n) for n, count in enumerate((500, 200, 4_000))
    )
    choices = tuple(searched.subsets(TRIALS, COLUMNS, seed))
    trials = strategies.grid({"train.columns": choices})

    def predicted(changes: Any, others: Any) -> np.ndarray:
        recipe = settings.train(changed(params, changes), "binary")
        return score.predictions(rows, others, terms, recipe)

    def area(changes: Any, others: Any) -> float:
        return binary.roc_auc(truth(others, terms), predicted(changes, others))

    best = max(trials, key=lambda trial: area(trial.changes, holdout))
    pair = [predicted(changes, holdout) for changes in ({}, best.changes)]
    held = PAIRED["binary"](truth(holdout, terms), *pair, 0.95)
    parts = score.divide(rows, terms, FOLDS, 1)
    made = [score.make(trial, params, parts) for trial in trials]
    first = max(made, key=lambda trial: trial.mean)
    confirmed, _ = score.confirm(first, params, parts, 0.95)
    worth = area(first.changes, later)
    return [
        [held.challenger, area(best.changes, later), held.low > 0],
        [first.mean, worth, float("nan")],
        [confirmed.challenger, worth, confirmed.low > 0],
    ]


if __name__ == "__main__":
    for part in PARTS:
        {"cost": cost, "overfit": overfit}[part]()
