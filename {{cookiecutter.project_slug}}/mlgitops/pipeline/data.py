"""Checks rows against the contract and splits them; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlgitops.pipeline import kinds, sides
from mlgitops.pipeline.contract import WHOLE, Column, Contract, ContractError
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.settings import Prepare, check_split
from mlgitops.pipeline.task import TASKS
from mlgitops.pipeline.words import words

if TYPE_CHECKING:  # pandas and pandera cost a second each: import them where used
    import pandas as pd
    import pandera.pandas as pa


TRUTH = {"true": True, "false": False}  # as a text may say it
NOUNS = {  # what values of a type are called
    "integer": f"whole numbers from -{WHOLE:,} to {WHOLE:,}",
    "boolean": "true or false",
    "text": "text",
}
ADVICE = "correct the data or edit contract.yaml"
STRAY = 0.01  # of all rows; fewer, at the newest end, are taken for a mistake
NO_ROWS = "The data have 0 rows; correct the data."


RULES = ("not_nullable", "field_uniqueness")  # pandera's, in its order; then checks


class BrokenColumn(ContractError):
    """A column with values that the contract does not allow: how many, of so many rows.

    ``order`` is where `check` finds it: of all that is wrong it tells the first.
    """

    def __init__(
        self, order: tuple[int, ...], column: str, count: int, rows: int, problem: str
    ) -> None:
        super().__init__(
            f'Column "{column}": {count:,} of {rows:,} values are {problem}.'
        )
        self.order, self.column, self.count = order, column, count
        self.problem = problem

    @property
    def untyped(self) -> bool:
        """Whether a value is not of its type: then ids were not looked at."""
        return self.order[0] == 0


class Newest(NamedTuple):
    """The last row of a table by time: its time and id, and how many rows there are."""

    time: pd.Timestamp
    id: object
    rows: int


def schema(
    contract: Contract, target: bool = True, unique: bool = True
) -> pa.DataFrameSchema:
    """Return the pandera schema of a table as `check` returns it."""
    import pandera.pandas as pa

    columns = {contract.id: pa.Column(unique=unique)}
    columns |= {contract.time: pa.Column()} if contract.time else {}
    columns |= {name: pa.Column() for name in contract.labelled_only if target}
    for name, column in contract.columns.items():
        if column.type == "category":
            problem = "not a category of the contract"
            rule = pa.Check.isin(column.categories, error=problem)
        elif column.type == "text":
            problem = f"longer than {column.max_length:,} characters"
            longest = column.max_length
            rule = pa.Check(lambda v, n=longest: v.map(len) <= n, error=problem)
        elif column.type == "boolean":
            rule = pa.Check.isin((0, 1), error="neither true nor false")
        elif column.type == "datetime":
            low, high = moments(column)
            problem = f"outside {low:%Y-%m-%d %H:%M} to {high:%Y-%m-%d %H:%M}"
            rule = pa.Check.in_range(low, high, error=problem)
        else:
            problem = f"outside {column.min:g} to {column.max:g}"
            rule = pa.Check.in_range(column.min, column.max, error=problem)
        columns[name] = pa.Column(checks=rule, nullable=column.missing)
    if target:
        task, classes = TASKS[contract.task], contract.classes
        rule = pa.Check(lambda values: task.allowed(values, classes), error=task.wrong)
        columns[contract.target] = pa.Column(checks=rule)
    return pa.DataFrameSchema(columns, strict=True)


def check(
    frame: pd.DataFrame, contract: Contract, target: bool = True, unique: bool = True
) -> pd.DataFrame:
    """Return the rows typed and in the contract's column order, or raise ContractError.

    Numbers, integers and booleans become float32, times UTC. Without `target`, as in a
    request, the columns of the target, and of an entity or a part that is not an input,
    are left out. Without `unique`, as for a part of the rows, ids are not compared.
    """
    from pandera.errors import SchemaErrors

    rules = schema(contract, target, unique)
    expected = list(rules.columns)
    allowed = (*expected, contract.target, *contract.labelled_only)
    missing = [c for c in expected if c not in frame.columns]
    unknown = [c for c in frame.columns if c not in allowed]
    if missing:
        raise ContractError(_absent(missing[0], frame))
    if (twins := frame.columns[frame.columns.duplicated()]).size:
        raise ContractError(
            f'Column "{one_line(twins[0])}" is in the table twice; remove or rename '
            "one in model/prepare.py, or correct the data."
        )
    if unknown:
        raise ContractError(
            f'Column "{one_line(unknown[0])}" is unknown; correct the data or edit '
            "contract.yaml."
        )
    typed = _typed(frame[expected], contract)
    for name in (contract.id, *contract.labelled_only):
        if name in typed:
            kinds.demand_one(typed[name], name)
    try:
        rules.validate(typed, lazy=True)
    except SchemaErrors as errors:
        raise _broken(errors.failure_cases, expected, len(typed), contract) from errors
    return typed


def _absent(name: str, frame: pd.DataFrame) -> str:
    """Return why a column of the contract is not in a table, and what to do."""
    column = f'Column "{one_line(name)}"'
    if name in frame.index.names:
        return (
            f"{column} is the table's index; write the file again after "
            "`reset_index()`, or return `rows.reset_index()` in model/prepare.py."
        )
    advice = "correct the data or edit contract.yaml."
    if twin := _same_text(name, frame.columns):
        return f"{column} is missing: the data spell it {_codes(twin)}; {advice}"
    return f"{column} is missing; {advice}"


def _same_text(value: object, others: Iterable[object]) -> str:
    """Return the text that looks like the value and has other characters, or "".

    Unicode writes "ü" as one character, or as "u" and a mark above it.
    """
    composed = unicodedata.normalize("NFC", str(value))
    twins = (str(o) for o in others if unicodedata.normalize("NFC", str(o)) == composed)
    return next((twin for twin in twins if twin != value), "")


def _codes(text: str) -> str:
    """Return a text with its characters beyond ASCII as codes."""
    return one_line(ascii(text))


def _typed(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return a copy with the contract's types; values that cannot be cast raise."""
    import pandas as pd

    columns = list(contract.columns)
    datetimes = {contract.time, *contract.kind("datetime", columns)}
    categories = contract.kind("category", columns) + contract.kind("text", columns)
    texts, cast = {*categories, *contract.labelled_only}, {}
    for position, name in enumerate(frame.columns):
        values, finite = kinds.without_arrays(frame[name]), 0
        if name in datetimes:
            typed = times(values)
        elif name in texts:
            typed = values.where(values.notna() & (values != ""), None)
            if _type(contract, name) == "text":
                typed = typed.where(typed.map(lambda v: isinstance(v, str)), None)
        elif name == contract.id:
            typed = values
        elif name == contract.target:
            typed = TASKS[contract.task].typed(values)
        else:
            typed = _numbers(values, contract.columns[name].type)
        broken = typed.isna() & values.notna() & (values != "")
        kind = (
            "times"
            if name in datetimes
            else NOUNS.get(_type(contract, name), "numbers")
        )
        if name in contract.columns and name not in {*texts, *datetimes}:
            column = contract.columns[name]
            if not broken.any():  # a range without an end would let these pass
                finite = 1
                broken = np.isinf(typed) & typed.between(column.min, column.max)
                kind = "finite 32-bit numbers"
        if broken.any():
            example = one_line(values[broken].iloc[0])
            problem = f"not {kind} (such as {example}); correct the data"
            count = int(broken.sum())
            raise BrokenColumn((0, position, finite), name, count, len(frame), problem)
        cast[name] = typed
    target = cast.get(contract.target)
    if target is not None and set(target.unique()) <= {0, 1}:
        cast[contract.target] = target.astype("int8")
    return pd.DataFrame(cast)


def _type(contract: Contract, name: str) -> str:
    """Return the type of a column, "" of one that is not an input."""
    return contract.columns[name].type if name in contract.columns else ""


def times(values: pd.Series) -> pd.Series:
    """Return times in UTC, NaT for what is none; a number says no unit."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        values = pd.Series(pd.NaT, values.index)
    elif values.dtype == object:
        numbers = values.map(lambda v: isinstance(v, int | float | np.number))
        values = values.mask(numbers.astype(bool), None)
    typed = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    return typed.astype("datetime64[us, UTC]")


def _numbers(values: pd.Series, kind: str) -> pd.Series:
    """Return numbers as float32, NaN for values that are not of this type."""
    import pandas as pd

    if kind == "boolean" and not pd.api.types.is_numeric_dtype(values):
        values = values.map(lambda v: TRUTH.get(v.lower(), v) if type(v) is str else v)
    typed = pd.to_numeric(values, errors="coerce")
    if kind == "integer":  # before float32 merges them with others
        exact = typed.astype("float64")
        typed = exact.where((exact == exact.round()) & (exact.abs() <= WHOLE))
    elif kind == "boolean":
        typed = typed.astype("float64")
        typed = typed.where(typed.isin((0, 1)))
    with np.errstate(over="ignore"):  # too large becomes infinite: `_typed` refuses it
        return typed.astype("float32")


def moments(column: Column) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the ends of a column of times."""
    import pandas as pd

    low, high = (
        pd.Timestamp(round(end * 1e6), unit="us", tz="UTC")
        for end in (column.min, column.max)
    )
    return low, high


def seconds(moments: pd.Series) -> np.ndarray:
    """Return times, or texts of them, as seconds since 1970, float64 [n], or NaN."""
    import pandas as pd

    typed = pd.to_datetime(moments, utc=True, format="ISO8601")
    micro = typed.astype("datetime64[us, UTC]").to_numpy("datetime64[us]")
    known = ~np.isnat(micro)
    return np.where(known, micro.astype(np.int64) / 1e6, np.nan)


def _broken(
    failures: pd.DataFrame, names: list[str], rows: int, contract: Contract
) -> BrokenColumn:
    """Return the first failed rule: column, number of values, problem, example."""
    rule, name, value = failures[["check", "column", "failure_case"]].iloc[0]
    count = int(((failures["column"] == name) & (failures["check"] == rule)).sum())
    return breach(str(rule), str(name), names, value, (count, rows), contract)


def breach(
    rule: str,
    name: str,
    names: list[str],
    value: object,
    counts: tuple[int, int],
    contract: Contract,
) -> BrokenColumn:
    """Return a failed rule of a column of `names`; `counts` are values and rows."""
    wording = {"not_nullable": "missing", "field_uniqueness": "repeated"}
    problem = wording.get(rule, rule)
    column = contract.columns.get(name)
    if problem != "missing" and not (column and column.type == "text"):
        problem += f" (such as {one_line(value)})"
    if column and (twin := _same_text(value, column.categories)):
        problem += (
            f", written as {_codes(str(value))}, while the contract has {_codes(twin)} "
            '(`.str.normalize("NFC")` in model/prepare.py makes such texts one)'
        )
    rank = RULES.index(rule) if rule in RULES else len(RULES)
    order = (1, names.index(name), rank)
    return BrokenColumn(order, name, *counts, f"{problem}; {ADVICE}")


def _as_values(column: pd.Series) -> pd.Series:
    """Return a column; of categories, which have an order of a file's, the values."""
    import pandas as pd

    of_file = isinstance(column.dtype, pd.CategoricalDtype)
    return column.astype(object) if of_file else column


def split(
    frame: pd.DataFrame, contract: Contract, rules: Prepare
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout) by the rules of the section `prepare`.

    By time those are the newest `holdout_days`, and `train_days` before them; else each
    row says on which side it is. Both are sorted by time (where there is one), then id,
    so that the order of the input does not matter.
    """
    check_split(rules, contract)
    refuse_empty(len(frame), (n for n in frame if frame[n].notna().any()), contract)
    order = sort_keys(contract)
    table = frame.sort_values(order, ignore_index=True, key=_as_values)
    last = table.iloc[-1]
    newest = Newest(last.get(contract.time), last[contract.id], len(table))
    if rules.split == "time":
        refuse_stray(table[contract.time], contract, rules, newest)
    parts = [table[rows] for rows in in_parts(table, contract, rules, newest)]
    for name, part in zip(("train", "holdout"), parts, strict=True):
        values = partial(_different, table, sides.column(contract, rules))
        refuse_lacking(name, part[contract.target], contract, rules, newest, values)
    train, holdout = (part.reset_index(drop=True) for part in parts)
    return train, holdout


def sort_keys(contract: Contract) -> list[str]:
    """Return the columns that rows are sorted by."""
    return [name for name in (contract.time, contract.id) if name]


def _different(table: pd.DataFrame, column: str) -> Iterable[object]:
    """Return the different values of a column."""
    return list(table[column].unique())


def refuse_empty(rows: int, filled: Iterable[str], contract: Contract) -> None:
    """Refuse a table without rows, or a column without a value.

    Raises:
        ContractError: with what to do.
    """
    if not rows:
        raise ContractError(NO_ROWS)
    present = set(filled)
    for name in contract.columns:
        if name not in present:
            raise ContractError(
                f'Column "{name}" is missing in all {rows:,} rows; correct the '
                "data, or remove it from contract.yaml."
            )


def in_parts(
    table: pd.DataFrame, contract: Contract, rules: Prepare, newest: Newest
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are trained on, and which held out, each [n]."""
    import pandas as pd

    if rules.split != "time":
        held = sides.held_out(table, contract, rules)
        return ~held, held
    times = table[contract.time]
    border = newest.time - pd.Timedelta(days=rules.holdout_days)
    oldest = border - pd.Timedelta(days=rules.train_days)
    late = (times > border).to_numpy()
    return ~late & (times > oldest).to_numpy(), late


def refuse_lacking(
    name: str,
    target: pd.Series,
    contract: Contract,
    rules: Prepare,
    newest: Newest,
    values: Callable[[], Iterable[object]],
) -> None:
    """Refuse a part of the split that lacks a class, and say what to do.

    `values` gives the different ones of the column that the split goes by.

    Raises:
        ContractError: it does.
    """
    if lack := TASKS[contract.task].lacking(target, contract.classes):
        about = f'has {len(target):,} rows and {lack} of "{contract.target}"'
        raise ContractError(_advice(name, about, contract, rules, newest, values))


def _advice(
    name: str,
    about: str,
    contract: Contract,
    rules: Prepare,
    newest: Newest,
    values: Callable[[], Iterable[object]],
) -> str:
    """Say that a part of the split lacks a class, and what to do."""
    if rules.split == "time":
        return (
            f"The {name} window {about}. The newest row, "
            f"{one_line(newest.id)}, is of "
            f"{newest.time:%Y-%m-%d %H:%M}, and windows end there: "
            "correct its time, add data, or change prepare.holdout_days or "
            "prepare.train_days."
        )
    column, different = sides.column(contract, rules), list(values())
    count = len(different)
    if rules.split == "column":
        known = ", ".join(sorted(map(sides.text, different))[:5])
        return (
            f'The {name} part {about}. Rows are held out where "{column}" is '
            f"{' or '.join(rules.holdout)}, and the data have {count:,} values of it "
            f"({one_line(known)}): correct that column, or change prepare.holdout."
        )
    groups = f", the rows of each of {count:,} {column} together"
    return (
        f"The {name} part {about}. {rules.holdout_share:.6g} of the rows are held out "
        f"at random{groups if rules.split == 'group' else ''}: add data, or change "
        "prepare.holdout_share."
    )


def refuse_stray(
    times: pd.Series,
    contract: Contract,
    rules: Prepare,
    newest: Newest,
    start: int = 0,
    before: pd.Timestamp | None = None,
) -> None:
    """Refuse a few rows so much later than all others that they alone are held out.

    Their times are wrong, as a rule: no clock is needed to see that. `times` are sorted
    and are all of the table's, or those from the row `start` on; `before` is the last
    one before them.

    Raises:
        ContractError: there are such rows.
    """
    import pandas as pd

    gaps = times.diff()
    if before is not None:
        gaps.iloc[0] = times.iloc[0] - before
    wide = gaps > pd.Timedelta(days=rules.holdout_days)
    after_a_gap, count = start + np.flatnonzero(wide), newest.rows
    for position in after_a_gap[count - after_a_gap < STRAY * count][:1]:
        gap = gaps.iloc[position - start]
        raise ContractError(
            f'Column "{contract.time}": {count - position:,} of {count:,} rows are '
            f"{gap.days:,} days later than all others (such as "
            f"{newest.time:%Y-%m-%d %H:%M} of {one_line(newest.id)}), and would be "
            "held out alone; correct their times, or raise prepare.holdout_days."
        )


def truth(frame: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Return the target of checked rows as the metrics take it, [n]."""
    values = frame[contract.target]
    return TASKS[contract.task].truth(values, contract.classes)


def inputs(
    frame: pd.DataFrame, contract: Contract, columns: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the inputs of the ONNX model: an [n, 1] array per column.

    Numbers (integers and booleans too) are float32, categories are strings, datetimes
    are float64, in seconds since 1970, texts their words, joined by spaces; missing
    values are NaN and "".
    """
    categories = set(contract.kind("category", columns))
    datetimes = set(contract.kind("datetime", columns))
    free_texts = set(contract.kind("text", columns))
    arrays = {}
    for name in columns:
        if name in categories or name in free_texts:
            values = frame[name].to_numpy(object)
            texts = ["" if v is None or v != v else str(v) for v in values]
            texts = texts if name in categories else [*map(words, texts)]
            array = np.array(texts, dtype=object)
        elif name in datetimes:
            array = seconds(frame[name])
        else:
            array = frame[name].to_numpy(np.float32, na_value=np.nan)
        arrays[name] = array.reshape(-1, 1)
    return arrays
