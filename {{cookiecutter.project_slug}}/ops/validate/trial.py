"""What a challenger is tried on: rows, truth, and one or two models before the judge.

Each part of the judge has `add(trial)`: it appends checks, and leaves what the report
shows in `trial.found`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ops.validate import sandbox
from ops.validate.gates import Check, Gates, Refused
from pipeline import data
from pipeline.contract import Contract, ContractError

Scores = NDArray[np.float64]


@dataclass
class Side:
    """One model: its folder, its manifest, its P(y = 1) of the holdout, (rows,)."""

    folder: Path
    manifest: dict[str, Any]
    scores: Scores = field(default_factory=lambda: np.empty(0))
    latency: Scores = field(default_factory=lambda: np.empty(0))  # ms of one row
    golden: float = 0.0  # the worst difference to the manifest's golden answers

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """What the model decides on each row of the holdout."""
        return np.asarray(self.scores >= np.float32(self.manifest["threshold"]))


@dataclass
class Trial:
    """All that a part may look at; `rules` and `params` are main's."""

    contract: Contract
    params: dict[str, Any]
    rules: Gates
    holdout: pd.DataFrame  # rows that both models are new to
    challenger: Side
    champion: Side | None
    checks: list[Check]
    found: dict[str, Any]
    rows: pd.DataFrame  # all of the proposed data
    before: pd.DataFrame | None = None  # the champion's, where it is other data
    same_data: bool = True

    @property
    def y(self) -> NDArray[Any]:
        """The truth of the holdout."""
        return np.asarray(self.holdout[self.contract.target])

    @property
    def sides(self) -> dict[str, Side]:
        """The models by name, the champion first where there is one."""
        both = {"champion": self.champion, "challenger": self.challenger}
        return {who: side for who, side in both.items() if side is not None}


def score(side: Side, rows: pd.DataFrame, contract: Contract) -> None:
    """Fill in the side's scores of the rows and of its golden rows, and its latency.

    Raises:
        Refused: the file cannot be scored, or answers what is no probability.
    """
    golden = side.manifest["golden"]
    known = pd.DataFrame([item["row"] for item in golden], dtype=object)
    clock = side.folder / "clock.npy"
    answers = predict(side, [rows, known], contract, clock)
    wanted = np.array([float(item["probability"]) for item in golden])
    side.scores = answers[: len(rows)]
    side.golden = float(np.abs(answers[len(rows) :] - wanted).max())
    side.latency = np.load(clock, allow_pickle=False)


def predict(
    side: Side, tables: list[pd.DataFrame], contract: Contract, *clock: Path
) -> Scores:
    """Return P(y = 1), float64, of all rows of the tables, scored in one child.

    Raises:
        Refused: the file cannot be scored, or answers what is no probability.
    """
    columns = side.manifest["columns"]
    try:
        parts = [data.inputs(table, contract, columns) for table in tables]
    except (ContractError, KeyError, TypeError, ValueError) as error:
        why = f"main's contract does not give what the model needs: {error}"
        raise Refused("Model columns", why) from error
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in columns}
    plain = {n: a.astype(str) if a.dtype == object else a for n, a in arrays.items()}
    inputs, result = side.folder / "inputs.npz", side.folder / "scores.npy"
    np.savez(inputs, **plain)  # type: ignore[arg-type]
    model = side.folder / side.manifest["model"]["file"]
    sandbox.run("Model file", "ops.validate.score", model, inputs, result, *clock)
    answers = np.load(result, allow_pickle=False)
    if answers.shape != (sum(map(len, tables)),) or answers.dtype != np.float64:
        raise Refused("Predictions", "the model does not give one probability a row")
    good = (answers >= 0) & (answers <= 1)
    if not good.all():
        value = f"{int((~good).sum()):,} rows"
        why = "the model answers NaN or numbers that are no probability"
        raise Refused("Predictions", why, value, "0 rows")
    return np.asarray(answers)


def read(folder: Path) -> Side | None:
    """Return the model in a folder, if there is one."""
    file = folder / "manifest.json"
    return Side(folder, json.loads(file.read_bytes())) if file.is_file() else None
