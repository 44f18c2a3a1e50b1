"""A table beyond memory goes from a file to a monitored model, by two settings.

`prepare.batch` and `train.batch` through all commands on the way, on a table of many
batches. Of a larger table `prepare` takes far less memory than without.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from machinery import lengths, tables
from machinery.test_table_life import here, judged, run
from machinery.test_table_monitor import asked, play, watch

pytest.importorskip("duckdb")  # the group `data`
pytestmark = pytest.mark.skipif(
    not find_spec("xgboost"), reason="xgboost is not installed"
)
__all__ = ["here"]  # a fixture: stand in a new repository
COUNT = lengths.times(200_000, 8_000)
BATCH = max(COUNT // 20, 1_000)  # the smallest that is taken
MORE, TIMES = lengths.times(400_000, 60_000), 4  # rows, and how many times as many
WIDTH = 12
IMPORT = "from sklearn.linear_model import LogisticRegression, Ridge\n"
BOOSTING = """
CLASSIFIERS["boosting"] = (for_trees, XGBClassifier(n_estimators=30, n_jobs=1))
"""
TOLD = """
from mlgitops.__main__ import main
main()
print(open("/proc/self/status").read())
"""
GROW = """
import sys
from pathlib import Path
from mlgitops.commands import retrain
from mlgitops.monitor.training_data import Rules
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.row_groups import Rows
source, out, batch = sys.argv[1:]
contract = Contract.read(Path("contract.yaml").read_bytes())
fresh = next(Rows(Path(source), 50).batches()).assign(probability=0.5)
fresh["order_id"] = [f"new{n}" for n in range(50)]
given = (fresh, contract, Rules(3_000, 0.5), int(batch) or None)
print(retrain.build(Path(source), *given, Path(out)).counts["new"], "new rows")
print(open("/proc/self/status").read())
"""
TRAIN, HOLDOUT = Path("build/train.parquet"), Path("build/holdout.parquet")


def orders(count: int) -> pd.DataFrame:
    """Return rows in no order, with a time, a category, gaps and a target."""
    random = np.random.default_rng(6)
    seconds = np.arange(count) * (500 * 86_400 // count)
    start = pd.Timestamp("2023-01-01")
    frame = pd.DataFrame({"order_id": [f"o{n:07d}" for n in range(count)]})
    frame["ordered"] = start + pd.to_timedelta(seconds, unit="s")
    frame["shop"] = random.choice(["north", "south", "east"], count)
    for name in (f"n{n}" for n in range(WIDTH)):
        frame[name] = random.normal(0, 10, count).round(3).clip(-45, 45)
    signal = frame["n0"] + 6 * (frame["shop"] == "east") + random.normal(0, 9, count)
    frame["returned"] = np.where(signal > 4, "yes", "no")
    frame["n1"] = frame["n1"].where(random.random(count) > 0.1)
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def params(**sections: dict[str, Any]) -> None:
    """Set keys of sections of params.yaml; None removes one."""
    document = yaml.safe_load(Path("params.yaml").read_bytes())
    for section, keys in sections.items():
        document[section] |= keys
        for name in [n for n, value in keys.items() if value is None]:
            del document[section][name]
    Path("params.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def in_batches() -> None:
    """Turn both settings on, as docs/large.md says."""
    params(prepare={"batch": BATCH}, train={"estimator": "boosting", "batch": BATCH})
    gates = yaml.safe_load(Path("params.yaml").read_bytes())["gates"]
    params(gates={"latency": {**gates["latency"], "p99_max_ms": 999}})  # a busy machine
    file = Path("model/prepare.py")
    file.write_text(
        file.read_text().replace("\n\n\ndef", "\n\nBY_BATCH = True\n\n\ndef")
    )
    file = Path("model/estimator.py")
    text = file.read_text().replace(
        IMPORT, f"{IMPORT}from xgboost import XGBClassifier\n"
    )
    file.write_text(text + BOOSTING)


def groups(path: Path) -> list[int]:
    """Return how many rows each row group of a file has."""
    about = pq.ParquetFile(path).metadata
    return [about.row_group(n).num_rows for n in range(about.num_row_groups)]


def peak(program: str, *words: object) -> float:
    """Run Python in a new process; return its memory, in MB."""
    done = run(sys.executable, "-c", program, *map(str, words))
    return int(re.findall(r"VmHWM:\s+(\d+) kB", done)[-1]) / 1000


def larger(times: int) -> Path:
    """Return a file with so many times MORE rows of the table, each with its own id."""
    table = tables.table()
    rows = table.iloc[np.arange(times * MORE) % len(table)].reset_index(drop=True)
    rows["order_id"] = [f"o{n:09d}" for n in range(len(rows))]
    path = Path(f"../larger-{times}.parquet")
    rows.to_parquet(path, row_group_size=BATCH)
    return path


@pytest.mark.slow
def test_both_settings_go_through_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    orders(COUNT).to_csv("../table.csv", index=False)
    named = {"id": "order_id", "time": "ordered", "positive": "yes"}
    assert not tables.make("../table.csv", "returned", **named)
    in_batches()
    assert "Passes here" in judged()
    for path in (TRAIN, HOLDOUT):
        assert max(groups(path)) <= BATCH and len(groups(path)) > 1
    for words in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)):
        run(sys.executable, "-m", *words, "model")  # make check
    (served,) = asked()["predictions"]
    assert 0 <= served["probability"] <= 1
    words = ("score", f"--in={tables.path()}", "--out=../scores.parquet")
    said = run(sys.executable, "-m", "mlgitops", *words)
    assert f"{COUNT:,}" in said
    scores = pd.read_parquet("../scores.parquet")
    assert len(scores) == COUNT and scores["probability"].between(0, 1).all()
    capsys.readouterr()
    play(monkeypatch, "quiet", f"--sample={min(COUNT, 3_000)}")
    capsys.readouterr()
    watch(monkeypatch, "quiet")
    found = capsys.readouterr().out
    assert "# Monitoring: nothing to do" in found and "performance holds" in found
    assert not re.search("trained on", found), found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_memory_hardly_grows_with_the_rows(tmp_path: Path) -> None:
    """Of `prepare` and of retraining: by a fraction of what it does without a setting.

    What the fit and `evaluate` hold: test_out_of_core.py, test_pipeline.py.
    """
    orders(COUNT).to_csv("../table.csv", index=False)
    named = {"id": "order_id", "time": "ordered", "positive": "yes"}
    assert not tables.make("../table.csv", "returned", **named)
    in_batches()
    sources = [larger(times) for times in (1, TIMES)]
    grown: dict[str, list[float]] = {"prepare": [], "retrain": []}
    newer = Path("../newer.parquet")
    for batch in (MORE // 3, None):
        params(prepare={"batch": batch})
        few, many = (peak(TOLD, "prepare", file, TRAIN, HOLDOUT) for file in sources)
        grown["prepare"].append(many - few)
        few, many = (peak(GROW, file, newer, batch or 0) for file in sources)
        grown["retrain"].append(many - few)
        assert len(pd.read_parquet(newer, columns=["order_id"])) == TIMES * MORE + 50
    assert all(batches < whole / 3 for batches, whole in grown.values()), grown
