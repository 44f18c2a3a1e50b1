"""What a run cannot tell: without a time, of columns of times, and of texts; pure.

What cannot be compared is said in the record and in the report: a check that is left
out without a word reads as one that passed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from mlgitops.monitor.comparable import TOPICS, first_time, show_weekdays
from mlgitops.monitor.drift import arrival_blocks
from mlgitops.monitor.wording import listed, plural
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd


def of(
    contract: Contract,
    valid: pd.DataFrame,
    limits: Monitor,
    sensitive: Sequence[str] = (),
) -> list[str]:
    """Return what cannot be told from a window's valid rows, a sentence each.

    `sensitive` are the columns that the log never holds.
    """
    arrivals = valid[contract.time]
    sentences = [] if contract.time else _without_time(contract, arrivals, limits)
    if sensitive:
        sentences.append(
            f"Nothing of {listed(list(sensitive))} was compared, as the prediction log "
            "never holds it (sensitive in contract.yaml)."
        )
    if texts := contract.kind("text", [*contract.columns]):
        sentences.append(_of_texts(texts))
    if times := contract.kind("datetime", [*contract.columns]):
        sentences.append(_of_times(contract, times))
        if not show_weekdays(arrivals):
            sentences.append(
                f"The weekdays of {listed(times)} were not compared, as the window is "
                "not a number of whole weeks: it would have some weekdays more often."
            )
    return sentences


def trained(ids: pd.Series, of_training: Iterable[object]) -> list[str]:
    """Return a sentence where rows of a window were trained on, by their ids."""
    count = int(ids.isin(set(of_training)).sum())
    if not count:
        return []
    return [
        f"{count:,} of {plural(len(ids), 'row')} have the id of a row that this "
        "version was trained on. On those a model does better than on new ones, so "
        "performance, calibration and slices look better than they are."
    ]


def drawn(
    counts: tuple[int, int], kept: tuple[pd.DataFrame, pd.DataFrame]
) -> list[str]:
    """Return a sentence where samples stand for the rows trained on or held out."""
    names = ("rows trained on", "rows held out")
    parts = [
        f"{len(rows):,} of the {count:,} {name}"
        for name, count, rows in zip(names, counts, kept, strict=True)
        if count > len(rows)
    ]
    if not parts:
        return []
    return [
        f"A random sample, the same at each run, stands for the reference: "
        f"{' and '.join(parts)}."
    ]


def sampled(share: float, shares: Collection[float] = ()) -> list[str]:
    """Return a sentence where servers logged a share of their rows only.

    ``shares`` are those of the rows in the window: different ones distort it.
    """
    if share >= 1:
        return []
    low, high = min(shares, default=share), max(shares, default=share)
    mixed = (
        f"Rows of this window were logged with different shares, from {low:.1%} to "
        f"{high:.1%}: times and servers with a larger one weigh more in every number "
        "here, which can look like drift. Keep --log-sample as it is for a window."
    )
    return [mixed] * (low < high) + [
        f"Servers logged about {share:.1%} of the rows that they answered, by the hash "
        "of their ids (--log-sample): numbers of rows are estimates, and fewer rows "
        "were compared than were answered."
    ]


def _without_time(
    contract: Contract, arrivals: pd.Series, limits: Monitor
) -> list[str]:
    """Return what cannot be told without the time of the events."""
    sentences = [
        "contract.yaml names no time, so the window, its parts, the cool-down and the "
        "delay of labels go by the arrival of requests. Events that were sent late, "
        "or a second time under another id, count as new.",
        "The training data have no times: the window is compared with all of them, "
        "not with the same season, and a trend within them cannot be seen. A change "
        "that comes every year looks like drift.",
    ]
    if arrival_blocks(arrivals.dt.tz_localize(None), limits)[0] is not None:
        sentences.append(
            "The rate of false alarms allows for what the days of this window differ "
            "by. A cause that lasts longer, such as a campaign of weeks, may raise "
            "more."
        )
    else:
        reason = "the window has fewer than 8 days of arrivals"
        if not limits.block_days:
            reason = "monitor.block_days is 0"
        sentences.append(
            "Rows that arrived together may share a cause, so the rate of false alarms "
            f"may be higher than stated: {reason}, so this was not allowed for."
        )
    return sentences


def _of_texts(texts: list[str]) -> str:
    """Say what is compared of texts."""
    return (
        f"Of {listed(texts)}, the length, the share of words that no other row of the "
        f"training data has, and the least common one of {TOPICS} frequent words in "
        "each were compared: the same words in another order, or with another meaning, "
        "cannot be told."
    )


def _of_times(contract: Contract, times: list[str]) -> str:
    """Say what is compared of columns of times."""
    start, others = first_time(contract), [*times]
    compared = "the hour and the weekday (UTC)"
    if start in others:
        others.remove(start)
    if others:
        compared += f", and the days of {listed(others)} after {start}"
    sentence = (
        f"Of {listed(times)}, {compared} were compared: a date itself moves on in "
        "every window."
    )
    if contract.time:
        return sentence
    return (
        f"{sentence} How old {start} was when a request arrived is not compared, as "
        "the training data have no arrival."
    )
