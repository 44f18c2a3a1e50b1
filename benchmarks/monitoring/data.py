"""Two real worlds: flights, whose rows drift, and a census, whose rows do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Column, Contract
from mlgitops.pipeline.data import inputs
from mlgitops.settings import train

PROJECT = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"
CENSUS = "nannyml/datasets/data/employment_MA_{}.pq"  # Apache-2.0; US Census data
START = pd.Timestamp("2015-01-01", tz="UTC")
REFERENCE = 20_000  # rows of a split; more would cost time and show the same
FOURTH = REFERENCE * 2 // 5  # of them are its holdout


@dataclass
class World:
    """A reference, rows that no part of it has seen, and the settings as shipped."""

    name: str
    reference: Reference
    rows: pd.DataFrame  # to draw windows from; with the model's probability
    params: dict[str, Any]


def settings(**changes: Any) -> dict[str, Any]:
    """Return the shipped params.yaml, with changes to its section ``monitor``."""
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["monitor"] |= changes
    return dict(params)


def silent(**changes: Any) -> dict[str, Any]:
    """Return settings without floors: what calibration does alone; row by row."""
    shifts = (f"min_shift_{kind}" for kind in ("number", "category", "prediction"))
    none = {**dict.fromkeys(shifts, 0.001), "max_missing": 0}
    fewest = {"min_rows": 30, "min_labels": 100, "block_days": 0, "max_fall": 0}
    return settings(**none | fewest | changes)


@dataclass
class Pool:
    """Rows of one time and place, to be split into a reference and windows at random.

    Whatever split is drawn, windows differ from their reference by chance alone. The
    model, whose probability stands beside each row, was fitted on none of them.
    """

    name: str
    contract: Contract
    rows: pd.DataFrame
    importance: dict[str, float]

    def world(self, seed: int) -> World:
        """Return a reference of `REFERENCE` rows, and the rows that are left."""
        rows = self.rows.sample(frac=1, random_state=seed)
        train, holdout = rows[: REFERENCE * 3 // 5], rows[REFERENCE * 3 // 5 :][:FOURTH]
        name, columns = f"{self.name} {seed}", list(self.contract.columns)
        found = Reference(
            "v1",
            name,
            {"columns": columns, "threshold": 0.3},
            self.contract,
            train.drop(columns="probability"),
            holdout,
            self.importance,
        )
        return World(self.name, found, rows[REFERENCE:], silent())


def flights() -> tuple[Contract, pd.DataFrame, pd.DataFrame]:
    """Return the contract, the first quarter and the rest of the year."""
    document = yaml.safe_load((PROJECT / "contract.yaml").read_text())
    contract = Contract.parse(document)
    known, later = (
        pd.read_parquet(PROJECT / f"{name}.parquet")
        for name in ("data/flights", "example/later")
    )
    return contract, known, later.sort_values(contract.time, ignore_index=True)


def fitted(rows: pd.DataFrame, contract: Contract) -> Any:
    """Return a function from rows to P(1), of a model that takes every column."""
    from mlgitops.pipeline import fitting as model

    columns = list(contract.columns)
    params = settings()
    params["train"] |= {"columns": columns}
    found = model.fit(rows, contract, train(params, contract.task))

    def score(some: pd.DataFrame) -> Any:
        return found.predict_proba(model.table(inputs(some, contract, columns)))[:, 1]

    return score


def reference(
    contract: Contract, train: pd.DataFrame, holdout: pd.DataFrame, score: Any
) -> Reference:
    """Return a version as the monitor loads it, by hand."""
    holdout = holdout.assign(probability=score(holdout))
    rng, some = np.random.default_rng(0), holdout.head(1000)
    before = score(some)
    moved = {}
    for name in contract.columns:
        other = some.assign(**{name: some[name].to_numpy()[rng.permutation(len(some))]})
        moved[name] = float(np.abs(score(other) - before).mean())
    weights = {name: value / sum(moved.values()) for name, value in moved.items()}
    manifest = {"columns": list(contract.columns), "threshold": 0.3}
    name = f"{len(train)}-{len(holdout)}-{holdout['probability'].sum():.9f}"
    return Reference(
        "v1", f"benchmark {name}", manifest, contract, train, holdout, weights
    )


def flights_pool() -> Pool:
    """Return the first quarter but for the rows that a model was fitted on."""
    contract, known, _ = flights()
    rows = packed(known.sample(frac=1, random_state=1), contract)
    score = fitted(rows[:20_000], contract)
    found = reference(contract, rows[:100], rows[20_000:21_000], score)
    rest = rows[20_000:].assign(probability=score(rows[20_000:]))
    return Pool("flights", contract, rest, found.importance)


def census_pool(folder: Path) -> Pool:
    """Return the census of 2015; the model and its probabilities came with the data.

    Its days are made up: a few less than a year of them, or else the monitor would
    leave out of the reference what a window, by chance, is not the season of.
    """
    known = census(folder).reference
    first, time = pd.concat([known.train, known.holdout]), known.contract.time
    first = first.assign(**{time: START + (first[time] - START) * 0.99})
    return Pool("census", known.contract, first, known.importance)


def packed(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the rows with their categories as such: the same, and quicker to count."""
    words = [n for n, c in contract.columns.items() if c.type == "category"]
    return rows.astype(dict.fromkeys(words, "category"))


def shuffled_flights() -> World:
    """Return the first quarter in random order: windows drawn from it do not drift."""
    return replace(
        flights_pool().world(1),
        params=settings(block_days=0, min_rows=30, min_labels=100),
    )


def twenty(world: World) -> World:
    """Return a world with more columns of mere noise, so that there are twenty."""
    known, rng = world.reference, np.random.default_rng(0)
    more = [f"noise {n}" for n in range(20 - len(known.contract.columns))]
    columns = {name: Column("number", True) for name in more}
    sides = [
        side.assign(
            **{name: rng.normal(size=len(side)).astype("float32") for name in more}
        )
        for side in (known.train, known.holdout, world.rows)
    ]
    contract = replace(known.contract, columns={**known.contract.columns, **columns})
    manifest = {**known.manifest, "columns": list(contract.columns)}
    name = f"{known.manifest_sha256} of twenty"
    found = Reference(
        "v1", name, manifest, contract, *sides[:2], dict(known.importance)
    )
    return replace(world, reference=found, rows=sides[2])


def census(folder: Path) -> World:
    """Return the census: the reference is 2015, the rows are 2016 to 2018."""
    first, later, truth = (
        pd.read_parquet(folder / CENSUS.format(name))
        for name in ("reference", "analysis", "analysis_target")
    )
    later = later.merge(truth, on="id")
    both = pd.concat([first, later], ignore_index=True)
    numbers = ["AGEP"]
    columns = [*first.columns[1:17]]
    document: dict[str, Any] = {
        "name": "census",
        "task": "binary",
        "id": "id",
        "time": "time",
        "target": "employed",
        "columns": {
            name: {"type": "number", "missing": True}
            if name in numbers
            else {
                "type": "category",
                "missing": True,
                "categories": sorted(both[name].astype(str).unique()),
            }
            for name in columns
        },
    }
    contract = Contract.parse(document)
    for name in columns:
        kind = "float32" if name in numbers else "category"
        values = both[name] if name in numbers else both[name].astype(str)
        both[name] = values.astype(kind)
    both["id"] = both["id"].astype(str)
    days = (both["year"] - 2015) * 365 + np.random.default_rng(0).uniform(
        0, 365, len(both)
    )
    both["time"] = START + pd.to_timedelta(days.round(4), unit="D")
    both = both.rename(columns={"predicted_probability": "probability"})
    first, later = both[both["year"] == 2015], both[both["year"] > 2015]
    manifest = {"columns": columns, "threshold": 0.5}
    even = dict.fromkeys(columns, 1 / len(columns))
    sides = (first[:40_000], first[40_000:])
    found = Reference("v1", "benchmark census", manifest, contract, *sides, even)
    return World("census", found, later.reset_index(drop=True), silent())


def weeks(seed: int) -> World:
    """Return flights of random weeks of the year: neither side is a season.

    Rows of one week resemble each other, so rows are no fair unit of chance. Each
    week of ``rows`` has its number beside it.
    """
    contract, known, later = flights()
    rows = packed(pd.concat([known, later], ignore_index=True), contract)
    week = ((rows[contract.time] - rows[contract.time].min()).dt.days // 7).to_numpy()
    order = np.random.default_rng(seed).permutation(52)
    place = np.argsort(order)[np.minimum(week, 51)]  # where a week is moved to
    shift = pd.to_timedelta((place - week) * 7, unit="D")
    rows = rows.assign(**{contract.time: rows[contract.time] + shift}, week=place)
    rows = rows[week < 52].sort_values(contract.time, ignore_index=True)
    # A fifth of the rows of each week: what a week is like shows in them as well.
    rows = rows[np.random.default_rng(seed).random(len(rows)) < 0.2]
    rows = rows.reset_index(drop=True)
    train, holdout = rows[rows["week"] < 16], rows[rows["week"].between(16, 27)]
    score = fitted(train, contract)
    found = reference(contract, train, holdout, score)
    found = replace(found, manifest_sha256=f"weeks {seed}")
    drawn = rows[rows["week"] >= 28].reset_index(drop=True)
    return World("weeks", found, drawn.assign(probability=score(drawn)), silent())
