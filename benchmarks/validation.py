"""Time the judge on a large holdout, beside a plain bootstrap loop over scikit-learn.

Two real models (gradient boosting, exported by the template's own pipeline) on 15
made-up columns. Prints a table: rows, seconds, peak memory; then the anchor in the
same run, and both intervals side by side. `ROWS=1000000` chooses the largest size.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.cost import Page

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
LARGEST = int(os.environ.get("ROWS", "1000000"))
TRAINED = 50_000  # rows each model learns from
SECONDS, PEAK = 60, 2_000  # of the judge on a million rows
TITLE = "The judge on a large holdout"
RESAMPLES = 1_000  # of the loop; timed on a few, and multiplied
WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]


def table(rows: int, seed: int = 1, width: int = 12) -> pd.DataFrame:
    """Return rows of 3 categories and some numbers, and a target that needs a few."""
    random = np.random.default_rng(seed)
    frame: dict[str, Any] = {"id": [f"r{n}" for n in range(rows)]}
    start = pd.Timestamp("2025-01-01", tz="UTC").as_unit("us")
    frame["time"] = start + pd.to_timedelta(np.linspace(0, 40 * 86_400, rows), unit="s")
    for name in ("k1", "k2", "k3"):
        frame[name] = np.array(WORDS)[random.integers(0, 8, rows)]
    numbers = random.normal(size=(rows, width)).astype(np.float32)
    signal = numbers[:, :4].sum(axis=1) * 0.4 + (frame["k1"] == "a") * 0.7 - 1
    late = random.random(rows) < 1 / (1 + np.exp(-signal))
    frame |= {f"n{n:02}": numbers[:, n] for n in range(width)}
    return pd.DataFrame({**frame, "y": late.astype("int8")})


def project(folder: Path, width: int = 12) -> tuple[dict[str, Any], list[str]]:
    """Lay out what the judge runs from; return its params and the model's columns."""
    for name in ("mlgitops", "model"):
        shutil.copytree(TEMPLATE / name, folder / name)
    numbers = [f"n{n:02}" for n in range(width)]
    word = {"type": "category", "missing": False, "categories": WORDS}
    columns: dict[str, Any] = {name: word for name in ("k1", "k2", "k3")}
    columns |= {n: {"type": "number", "min": -99, "max": 99} for n in numbers}
    columns |= {n: {**columns[n], "missing": False} for n in numbers}
    contract = {
        "name": "big",
        "task": "binary",
        "id": "id",
        "time": "time",
        "target": "y",
        "sensitive": [],
        "columns": columns,
    }
    params = yaml.safe_load((TEMPLATE / "params.yaml").read_bytes())
    params["gates"]["roc_auc"]["min"] = 0.5
    del params["fairness"]  # it names a column of the flights
    (folder / "contract.yaml").write_text(json.dumps(contract))
    return params, list(columns)


def side(place: Path, frame: pd.DataFrame, columns: list[str], params: Any) -> None:
    """Train, export and describe one model as the pipeline does."""
    from mlgitops.pipeline import contract, data, manifest, parity, settings
    from mlgitops.pipeline import fitting as model

    place.mkdir(parents=True)
    text = Path("contract.yaml").read_text()
    document = yaml.safe_load(text)
    terms = contract.Contract.parse(document)
    train = {**params["train"], "columns": columns}
    recipe = settings.train({"train": train}, terms.task)
    fitted = model.fit(frame, terms, recipe)
    exported = model.export(fitted, terms, columns)
    (place / "model.onnx").write_bytes(exported)
    frame.to_parquet(place / "train.parquet")
    (place / "contract.yaml").write_text(text)
    proof = parity.parity(
        fitted, exported, data.inputs(frame[:2000], terms, columns), terms
    )
    version = manifest.manifest(
        terms,
        recipe,
        ("model.onnx", exported),
        contract={
            "sha256": manifest.sha256(text.encode()),
            "json_sha256": manifest.sha256(contract.plain(document)),
        },
        data=manifest.window(frame, terms),
        code=manifest.code({}),
        requirements={"sha256": manifest.sha256(b"")},
        claimed={"parity": proof},
        golden=parity.golden(exported, frame, terms, columns),
    )
    (place / "manifest.json").write_text(version)


def judged(folder: Path, rows: int, trained: int) -> tuple[float, float, Any]:
    """Judge a holdout of so many rows; return seconds, peak MB and what was found."""
    frame = table(trained + rows)
    frame.loc[: trained - 1, "time"] -= pd.Timedelta(days=20)
    frame.loc[trained:, "time"] += pd.Timedelta(days=60)
    frame.to_parquet(folder / "raw.parquet")
    program = (
        "import os, resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    judge = (sys.executable, "-m", "mlgitops.judge.judge", str(folder))
    start = time.perf_counter()
    done = subprocess.run(
        (sys.executable, "-c", program, *judge),
        cwd=folder / "project",
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    found = json.loads((folder / "judgement.json").read_bytes())
    return seconds, int(done.stdout.split()[-1]) / 1000, found


def loop(y: Any, old: Any, new: Any, resamples: int) -> tuple[float, Any]:
    """Resample rows with scikit-learn's ROC AUC; return seconds and the differences."""
    from sklearn.metrics import roc_auc_score

    random, found = np.random.default_rng(0), []
    start = time.perf_counter()
    for _ in range(resamples):
        rows = random.integers(0, len(y), len(y))
        area = (roc_auc_score(y[rows], p[rows]) for p in (new, old))
        found.append(next(area) - next(area))
    return time.perf_counter() - start, np.array(found)


def main() -> None:
    """Print the table, the anchor and the intervals; write benchmarks/validation.md."""
    page = Page("validation.md", TITLE, f"make validation ROWS={LARGEST}")
    with TemporaryDirectory(prefix="validation-") as name:
        folder = Path(name)
        home = folder / "project"
        home.mkdir()
        params, columns = project(home)
        os.chdir(home)
        sys.path.insert(0, str(home))
        learnt = table(TRAINED)
        learnt["time"] -= pd.Timedelta(days=20)
        side(folder / "champion", learnt, columns[:6], params)
        side(folder / "challenger", learnt, columns, params)
        params["prepare"]["holdout_days"] = 45
        (home / "params.yaml").write_text(yaml.safe_dump(params))
        page.say(f"{'holdout rows':>14} {'seconds':>8} {'peak MB':>8}")
        for rows in sorted({LARGEST // 100, LARGEST // 10, LARGEST}):
            seconds, peak, found = judged(folder, rows, TRAINED)
            page.say(f"{rows:>14,} {seconds:>8.1f} {peak:>8,.0f}")
        if "metrics" not in found:
            raise SystemExit(f"nothing was judged: {found['checks']}")
        frame = table(TRAINED + LARGEST)[TRAINED:]
        y = frame["y"].to_numpy()
        from mlgitops.pipeline import contract, data
        from mlgitops.pipeline import fitting as model

        text = (home / "contract.yaml").read_text()
        terms = contract.Contract.parse(yaml.safe_load(text))
        scores = []
        for who in ("champion", "challenger"):
            manifest = json.loads((folder / who / "manifest.json").read_bytes())
            fed = data.inputs(frame, terms, manifest["columns"])
            exported = (folder / who / "model.onnx").read_bytes()
            scores.append(model.score(exported, fed, "probability"))
        few = max(3, 2_000_000 // LARGEST)
        taken, _ = loop(y, *scores, few)
        whole = taken / few * RESAMPLES
        page.say(
            f"plain loop, ROC AUC alone, {RESAMPLES:,} resamples: {whole:,.0f} s "
            f"(from {few}); {whole / seconds:.0f}x the whole validation"
        )
        part = slice(0, 20_000)
        _, gaps = loop(y[part], scores[0][part], scores[1][part], 400)
        from mlgitops import metrics

        ours = metrics.paired.delong(y[part], scores[0][part], scores[1][part], 0.95)
        low, high = np.quantile(gaps, [0.025, 0.975])
        page.say(
            f"interval on 20,000 rows: loop [{low:+.4f}, {high:+.4f}], "
            f"DeLong [{ours.low:+.4f}, {ours.high:+.4f}]"
        )
        page.say(f"limits at {LARGEST:,} rows: {SECONDS} s, {PEAK:,} MB")
        page.write()


if __name__ == "__main__":
    main()
