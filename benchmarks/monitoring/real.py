"""The real year: where performance falls, where the alarm comes, what cures it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.monitoring.data import World, fitted, flights, reference, settings
from benchmarks.monitoring.look import evidence
from mlgitops.metrics import delong, roc_auc
from mlgitops.monitor import drift, performance
from mlgitops.monitor.decide import decide
from mlgitops.settings import monitor

KEEP = 104  # days that a version learns from and is judged on, as shipped


def months() -> list[dict[str, Any]]:
    """Return flights month by month: a champion, and challengers on the next month."""
    contract, known, later = flights()
    time, target = contract.time, contract.target
    every = pd.concat([known, later], ignore_index=True).sort_values(time)
    cut = known[time].max() - pd.Timedelta(days=14)
    train = known[(known[time] <= cut)]
    score = fitted(train, contract)
    champion = reference(contract, train, known[known[time] > cut], score)
    every = every.assign(probability=score(every))
    params, found = settings(), []
    for month in range(4, 13):
        end = pd.Timestamp(2013 + month // 12, month % 12 + 1, 1, tz="UTC")
        window = every[(every[time] < end) & (every[time] >= end - _days(28))]
        window = window.reset_index(drop=True)
        seen = evidence(window, champion, params)
        compared = drift.compare(window, window[target], champion, monitor(params))
        seen.confirmed = drift.confirmed(
            compared, window, champion, monitor(params).confirm_parts
        )
        recent = every[(every[time] < end) & (every[time] >= end - _days(KEEP))]
        labelled = recent[[contract.id, time, *contract.columns, target]]
        seen.gain = performance.gain(
            champion.rows,
            labelled,
            window,
            contract,
            params | {"train": params["train"] | {"columns": [*contract.columns]}},
            seen.metric,
        )
        entry: dict[str, Any] = {
            "window until": str((end - _days(1)).date()),
            "ROC AUC": roc_auc(window[target], window["probability"]),
            "decision": decide(seen, monitor(params)).decision,
            "drifted": ", ".join(d.column for d in seen.drifted[:4]),
            "expected gain": seen.gain.difference if seen.gain else None,
        }
        ahead = every[(every[time] >= end) & (every[time] < end + _days(28))]
        if len(ahead) > 1000 and ahead[target].nunique() == 2:
            fresh = fitted(recent, contract)(ahead)
            gain = delong(ahead[target], ahead["probability"], fresh)
            entry |= {
                "next month, champion": gain.champion,
                "retrained": gain.challenger,
                "gain": gain.difference,
                "low": gain.low,
            }
        print(entry, flush=True)
        found.append(entry)
    return found


def census_years(world: World) -> list[dict[str, Any]]:
    """Return the census year by year, as shipped: it should be silent."""
    params = settings(block_days=0)
    time, found = world.reference.contract.time, []
    for year in (2016, 2017, 2018):
        rows = world.rows[world.rows["year"] == year].sort_values(time)
        whole = evidence(rows.reset_index(drop=True), world.reference, params)
        pieces = np.array_split(np.arange(len(rows)), 52)
        said = []
        for piece in pieces:
            part = rows.iloc[piece].reset_index(drop=True)
            seen = evidence(part, world.reference, params)
            said.append(decide(seen, monitor(params)).decision)
        entry = {
            "year": year,
            "rows": len(rows),
            "whole year": decide(whole, monitor(params)).decision,
            "ROC AUC": whole.fall.window if whole.fall else None,
            "weekly windows with an alarm": f"{52 - said.count('none')} of 52",
        }
        print(entry, flush=True)
        found.append(entry)
    return found


def _days(count: int) -> pd.Timedelta:
    return pd.Timedelta(days=count)
