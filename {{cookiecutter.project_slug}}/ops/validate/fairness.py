"""How alike groups are treated: the columns that main's section `fairness` names.

The vocabulary is Fairlearn's: selection rate, true and false positive rates, and the
equalized odds difference, which is the larger gap of those two. A gap is that between
the highest and the lowest group. Refused is a model whose gap is surely above its
limit: some pair of groups has an interval that lies above it, each interval so wide
that all of them hold together (Bonferroni). A gap that may be above is a caution.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ops.validate import compare, slices
from ops.validate.gates import Check
from ops.validate.trial import Side, Trial
from pipeline.contract import ContractError

KEYS = {"columns", "min_rows", "selection_rate_max", "equalized_odds_max"}
RATES = ("selection rate", "true positive rate", "false positive rate")
LIMITS = ("selection_rate_max", "equalized_odds_max", "equalized_odds_max")


@dataclass(frozen=True)
class Gap:
    """The largest gap of one rate, and the one that is surest to be large."""

    rate: str
    size: float
    low: float
    high: float
    pair: tuple[str, str]  # the group with the higher rate first
    surely: float  # the highest lower end of all pairs
    limit: float


def add(trial: Trial) -> None:
    """Add rates and gaps of each named column, with a check or a caution."""
    section = parse(trial.params.get("fairness"), trial)
    for column in section["columns"] if section else ():
        _column(trial, column, section)


def parse(section: Any, trial: Trial) -> Any:
    """Read the section; None when a project has none.

    Raises:
        SystemExit: a setting is missing, unknown or no number.
        ContractError: a column that the contract does not have.
    """
    if section is None:
        return None
    if not isinstance(section, Mapping) or set(section) != KEYS:
        raise SystemExit(
            f"params.yaml: section fairness has to name {', '.join(sorted(KEYS))} and "
            "nothing else; or leave the section out"
        )
    for name in sorted(KEYS - {"columns"}):
        value = section[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not value >= 0:
            raise SystemExit(f"params.yaml: fairness.{name} has to be 0 or more")
    if not isinstance(section["columns"], list):
        raise SystemExit("params.yaml: fairness.columns has to be a list of columns")
    for name in section["columns"]:
        if name not in trial.contract.columns:
            raise ContractError(
                f'params.yaml: fairness.columns names "{name}", which contract.yaml '
                "does not have"
            )
    return section


def _column(trial: Trial, column: str, section: Mapping[str, Any]) -> None:
    """Add what one column shows."""
    codes, labels = slices.parts(trial.holdout[column])
    if column in trial.contract.sensitive:  # its values are never written
        labels = [f"group {n}" for n in range(1, len(labels) + 1)]
    counts = np.bincount(codes, minlength=len(labels))
    groups = np.flatnonzero(counts >= max(section["min_rows"], 1))
    if len(groups) < 2:
        trial.found.setdefault("cautions", []).append(
            f"Nothing can be said about fairness across {column}: fewer than two "
            f"groups have {section['min_rows']:,} rows of the holdout."
        )
        return
    names = [labels[group] for group in groups]
    counted = {who: _counts(trial, s, codes) for who, s in trial.sides.items()}
    gaps = {
        who: [
            gap
            for place, rate in enumerate(RATES)
            if (gap := _gap(trial, place, rate, each[:, :, groups], names, section))
        ]
        for who, each in counted.items()
    }
    trial.found.setdefault("fairness", []).append(
        {
            "column": column,
            "groups": [
                {
                    "group": name,
                    "rows": int(counts[group]),
                    **{who: _rates(c[:, :, group]) for who, c in counted.items()},
                }
                for group, name in zip(groups, names, strict=True)
            ],
            "gaps": [
                _shown(gap, gaps.get("champion", [])) for gap in gaps["challenger"]
            ],
        }
    )
    _judge(trial, column, gaps["challenger"], len(groups))


def _counts(trial: Trial, side: Side, codes: Any) -> Any:
    """Return [hits and rows, rate, group]: how often "yes" was said, of how many."""
    y, yes = trial.y == 1, side.decisions
    groups = int(codes.max()) + 1
    among = (np.ones(len(y), bool), y, ~y)
    found = [
        [np.bincount(codes[rows & chosen], minlength=groups) for rows in among]
        for chosen in (yes, np.ones(len(y), bool))
    ]
    return np.array(found, dtype=np.float64)


def _rates(counts: Any) -> list[float | None]:
    """Return the three rates of one group; None where there was no row."""
    hits, rows = counts
    return [float(h / n) if n else None for h, n in zip(hits, rows, strict=True)]


def _gap(
    trial: Trial,
    place: int,
    rate: str,
    counts: Any,
    names: list[str],
    section: Mapping[str, Any],
) -> Gap | None:
    """Return the gap of one rate; None when fewer than two groups have it."""
    hits, rows = counts[:, place]
    known = [n for n in range(len(names)) if rows[n]]
    pairs = np.array(list(combinations(known, 2)))
    if not len(pairs):
        return None
    shares = hits / np.maximum(rows, 1)
    swap = shares[pairs[:, 0]] < shares[pairs[:, 1]]
    pairs[swap] = pairs[swap, ::-1]
    high, low = pairs.T
    level = 1 - (1 - trial.rules.confidence) / (len(pairs) * len(RATES))
    difference, least, most = compare.rates(
        hits[high], rows[high], hits[low], rows[low], level
    )
    widest = int(np.argmax(difference))
    return Gap(
        rate,
        float(difference[widest]),
        float(least[widest]),
        float(most[widest]),
        (names[high[widest]], names[low[widest]]),
        float(least.max()),
        float(section[LIMITS[place]]),
    )


def _shown(gap: Gap, champion: list[Gap]) -> dict[str, Any]:
    """Return what the report shows of a gap."""
    before = next((each.size for each in champion if each.rate == gap.rate), None)
    return {
        "rate": gap.rate,
        "champion": before,
        "challenger": gap.size,
        "low": gap.low,
        "high": gap.high,
        "pair": list(gap.pair),
        "limit": gap.limit,
    }


def _judge(trial: Trial, column: str, gaps: list[Gap], groups: int) -> None:
    """Add the check of a column, and a caution for what may be above its limit."""
    surely = [gap for gap in gaps if gap.surely > gap.limit]
    maybe = [gap for gap in gaps if gap.size > gap.limit and gap not in surely]
    worst = max(gaps, key=lambda gap: gap.size - gap.limit)
    why = f"no gap between the {groups} groups is surely above its limit"
    if surely:
        worst = max(surely, key=lambda gap: gap.surely - gap.limit)
        why = _sentence(worst, "surely")
    trial.found.setdefault("cautions", []).extend(
        f"Fairness across {column}: {_sentence(gap, 'perhaps')}. A person decides."
        for gap in maybe
    )
    value, limit = f"{worst.rate} gap {worst.size:.3f}", f"≤ {worst.limit:g} surely"
    trial.checks.append(
        Check(f"Fairness: {column}", not surely, value, limit, why, True)
    )


def _sentence(gap: Gap, how: str) -> str:
    """Say who is treated differently, by how much."""
    more, less = gap.pair
    return (
        f"the {gap.rate} of {more} is {gap.size:.3f} above that of {less}, {how} more "
        f"than {gap.limit:g}"
    )
