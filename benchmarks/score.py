"""What `make score` costs beside others that score the same file: `make score`.

A Parquet file with 20 columns, 15 numbers and 5 categories, and an id. Each way is a
process of its own, reads the file in batches, and writes id, probability
and decision to another one:

    pandas     scikit-learn's own `predict_proba` of chunks of a data frame
    bare       onnxruntime on batches of Arrow, without a check of any kind
    make score the server's checks of every value, parts that survive a kill -9,
               repeated ids counted; `with a log` also writes the prediction log

Each runs on a tenth of the rows and on all of them. Rows/s are those of the difference,
so that starting Python counts for nobody: by CPU time, on which the ratios are, and by
the clock, where `make score` uses every core. `ROWS=` chooses another size. The goals:
5 times pandas, 0.8 of bare, and memory that does not grow with the rows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cost import PYTHON, Cost, Page, project, run

ROWS = int(os.environ.get("ROWS", "10000000"))
CHUNK = 50_000  # rows of a batch, as in mlgitops/batch/job.py
FITTED = 50_000
NUMBERS = [f"n{n}" for n in range(15)]
CATEGORIES = {f"k{n}": [f"{chr(97 + n)}{i}" for i in range(2**n + 2)] for n in range(5)}
COLUMNS = [*CATEGORIES, *NUMBERS]
ESTIMATORS = ("logistic_regression", "hist_gradient_boosting")
WAYS = ("pandas", "bare", "make score", "with a log")
PANDAS, BARE, GROWTH = 5, 0.8, 1.2  # the goals; memory of all rows over a tenth's


def contract() -> dict[str, Any]:
    """Return the contract of the table."""
    columns: dict[str, Any] = {
        name: {"type": "category", "categories": values, "missing": False}
        for name, values in CATEGORIES.items()
    }
    number = {"type": "number", "min": -99, "max": 99, "missing": True}
    columns |= {name: dict(number) for name in NUMBERS}
    head = {"name": "many", "task": "binary", "id": "row", "target": "y"}
    return {**head, "sensitive": [], "columns": columns}


def chunks(rows: int, seed: int = 1) -> Iterator[Any]:
    """Yield a table of Arrow in parts; a hundredth of the numbers is missing."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(seed)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        columns = {"row": pa.array(np.arange(start, start + count))}
        for name, values in CATEGORIES.items():
            codes = pa.array(random.integers(0, len(values), count).astype("int8"))
            columns[name] = pa.DictionaryArray.from_arrays(codes, values).cast("string")
        for name in NUMBERS:
            numbers = random.normal(size=count).astype("float32").astype("float64")
            columns[name] = pa.array(numbers, mask=random.random(count) < 0.01)
        yield pa.table(columns)


def write(path: Path, tables: Iterator[Any]) -> None:
    """Write tables of Arrow into one Parquet file."""
    import pyarrow.parquet as pq

    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def fit(folder: Path, name: str) -> None:
    """Fit an estimator for scikit-learn alone, and a version with the same one."""
    import joblib
    import numpy as np
    import pandas as pd
    import yaml
    from sklearn.pipeline import make_pipeline

    from mlgitops.pipeline import data, fitting, manifest, parity
    from mlgitops.pipeline.contract import Contract, plain
    from mlgitops.pipeline.settings import train
    from model.estimator import CLASSIFIERS

    folder.mkdir()
    frame = pd.concat([t.to_pandas() for t in chunks(FITTED, 2)], ignore_index=True)
    chance = 1 / (1 + np.exp(-frame["n0"].fillna(0) - (frame["k1"] == "b1") * 2))
    drawn = np.random.default_rng(3).random(FITTED)
    frame["y"] = (drawn < chance).astype("int8")
    terms, document = Contract.parse(contract()), contract()
    section = {"seed": 1, "estimator": name, "columns": COLUMNS, "threshold": 0.5}
    recipe = train({"train": {**section, "parity": 1e-4}}, "binary")
    checked = data.check(frame, terms)
    fitted = fitting.fit(checked, terms, recipe)
    exported = fitting.export(fitted, terms, COLUMNS)
    text = yaml.safe_dump(document, sort_keys=False).encode()
    hashes = {"sha256": manifest.sha256(text)}
    hashes["json_sha256"] = manifest.sha256(plain(document))
    written = manifest.manifest(
        terms,
        recipe,
        ("model.onnx", exported),
        contract=hashes,
        code={"sha256": "0" * 64},
        requirements={"sha256": "1" * 64},
        golden=parity.golden(exported, checked[:100], terms, COLUMNS),
    )
    (folder / "contract.yaml").write_bytes(text)
    (folder / "model.onnx").write_bytes(exported)
    (folder / "manifest.json").write_text(written)
    features, estimator = CLASSIFIERS[name]
    model = make_pipeline(features(terms, COLUMNS), estimator)
    joblib.dump(model.fit(checked[COLUMNS], checked["y"]), folder / "model.joblib")


def batches(source: Path) -> Iterator[Any]:
    """Yield the rows of a Parquet file as batches of Arrow."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        yield from file.iter_batches(CHUNK, columns=["row", *COLUMNS])


def pandas(source: Path, out: Path, folder: Path) -> None:
    """Score with scikit-learn's own estimator, a chunk of a data frame at a time."""
    import joblib
    import pyarrow as pa

    model = joblib.load(folder / "model.joblib")

    def scored() -> Iterator[pa.Table]:
        for batch in batches(source):
            frame = batch.to_pandas()
            scores = model.predict_proba(frame[COLUMNS])[:, 1]
            found = {"id": frame["row"], "probability": scores}
            yield pa.table({**found, "decision": scores >= 0.5})

    write(out, scored())


def bare(source: Path, out: Path, folder: Path) -> None:
    """Score with onnxruntime alone: no check, no part, no log."""
    import numpy as np
    import onnxruntime
    import pyarrow as pa

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    names = [node.name for node in session.get_inputs()]

    def array(values: pa.Array) -> Any:
        if not pa.types.is_string(values.type):
            numbers = values.to_numpy(zero_copy_only=False)
            return numbers.astype(np.float32).reshape(-1, 1)
        coded = values.dictionary_encode()
        texts = np.array(coded.dictionary.to_pylist(), dtype=object)
        return texts[coded.indices.to_numpy()].reshape(-1, 1)

    def scored() -> Iterator[pa.Table]:
        for batch in batches(source):
            inputs = [array(batch[name]) for name in COLUMNS]
            feeds = dict(zip(names, inputs, strict=True))
            scores = session.run(["probability"], feeds)[0].reshape(-1)
            found = {"id": batch["row"], "probability": scores}
            yield pa.table({**found, "decision": scores >= np.float32(0.5)})

    write(out, scored())


def cost(way: str, source: Path, home: Path, version: Path) -> Cost:
    """Return what one way costs, in a repository; what it wrote is checked."""
    import numpy as np
    import pyarrow.parquet as pq

    out = home.parent / "scores.parquet"
    paths = (str(source), str(out), str(version))
    command: tuple[str, ...] = (PYTHON, "-W", "ignore", "-m", "benchmarks.score")
    command += (way, *paths)
    if way in ("make score", "with a log"):
        command = (PYTHON, "-m", "mlgitops", "score", f"--in={source}", f"--out={out}")
        command += (f"--model={version}",)
        command += (f"--log={home.parent / 'log'}",) if way == "with a log" else ()
    found = run(command, home)
    scores = pq.read_table(out, columns=["probability"])[0].to_numpy()[:CHUNK]
    expected = home.parent / f"{version.name}-{source.stem}.npy"
    if way == WAYS[0]:
        np.save(expected, scores)
    elif np.abs(scores - np.load(expected)).max() > 1e-4:
        raise SystemExit(f"{way} predicts otherwise than {WAYS[0]}")
    out.unlink()
    for path in (home.parent / "log").glob("*"):
        path.unlink()
    return found


def measured(name: str, sources: list[Path], home: Path) -> dict[str, list[Cost]]:
    """Return what each way costs on each file, for one estimator."""
    version = home.parent / name
    run((PYTHON, "-W", "ignore", "-m", "benchmarks.score", "fit", str(version)), home)
    return {way: [cost(way, s, home, version) for s in sources] for way in WAYS}


def head(name: str, rows: list[int]) -> str:
    """Return the line above an estimator's figures."""
    names = (
        "rows/CPU s",
        "rows/s",
        "x pandas",
        "x bare",
        *(f"MB {n:.0e}" for n in rows),
    )
    return f"{name:<24}" + "".join(f"{title:>11}" for title in names)


def said(costs: dict[str, list[Cost]], rows: list[int]) -> Iterator[str]:
    """Yield lines with what was measured, and the ratios."""
    count = rows[1] - rows[0]
    rates = {way: count / (many.cpu - few.cpu) for way, (few, many) in costs.items()}
    for way, (few, many) in costs.items():
        rate, wall = rates[way], count / (many.wall - few.wall)
        ratios = f"{rate / rates['pandas']:>11.1f}{rate / rates['bare']:>11.2f}"
        memory = f"{few.peak:>11,.0f}{many.peak:>11,.0f}"
        yield f"{way:>24}{rate:>11,.0f}{wall:>11,.0f}{ratios}{memory}"


def main() -> None:
    """Measure all, print the tables, and write benchmarks/score.md."""
    page = Page("score.md", "`make score` beside others", f"make score ROWS={ROWS}")
    rows = [ROWS // 10, ROWS]
    cores = len(os.sched_getaffinity(0))
    page.say(f"20 columns, {cores} cores, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory(prefix="score-") as folder:
        home = project(Path(folder, "project"))
        sources = [Path(folder, f"{count}.parquet") for count in rows]
        for source, count in zip(sources, rows, strict=True):
            write(source, chunks(count))
        for name in ESTIMATORS:
            page.say("")
            page.say(head(name, rows))
            for line in said(measured(name, sources, home), rows):
                page.say(line)
    page.say(f"\ngoals: {PANDAS} x pandas, {BARE} x bare, memory at most x {GROWTH}")
    page.write()


PARTS = {"pandas": pandas, "bare": bare}

if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        fit(Path(sys.argv[2]), Path(sys.argv[2]).name)
    elif sys.argv[1:]:
        PARTS[sys.argv[1]](*map(Path, sys.argv[2:]))
    else:
        main()
