"""Stage prepare: check the labelled rows and split them.

python -m mlgitops prepare ROWS TRAIN HOLDOUT
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from pathlib import Path

import pandas as pd

from mlgitops.pipeline import by_batch, folds, imports, purity, row_groups, settings
from mlgitops.pipeline.contract import Contract, ContractError, sentence
from mlgitops.pipeline.data import check, split
from mlgitops.pipeline.kinds import OfSomeRows
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.settings import check_split
from mlgitops.pipeline.task import TASKS
from model.prepare import prepare as clean

JOINED = (
    "the judge calls main's with a proposal's rows, and there is nothing else; join "
    "tables before, into the one that this stage reads"
)


def prepare(source: Path, train: Path, holdout: Path) -> None:
    """Write both parts; their attributes name the source's sha256 and the split."""
    contract = Contract.read(Path("contract.yaml").read_bytes())
    params = settings.load(Path("params.yaml").read_bytes())
    rules = settings.prepare(params)
    purity.demand(clean, JOINED)
    by_batch.clear(train)
    if rules.batch:
        _by_batch(source, (train, holdout), contract, rules)
        return
    rows = check(cleaned(_table(source)), contract)
    imports.demand_listed("prepare")
    attrs = _attributes(source, rules)
    for part, path in zip(split(rows, contract, rules), (train, holdout), strict=True):
        part.attrs = attrs
        path.parent.mkdir(parents=True, exist_ok=True)
        part.to_parquet(path, index=False, compression="zstd")
        print(f"{path}: {summary(part, contract)}")


def _by_batch(
    source: Path, outs: tuple[Path, Path], contract: Contract, rules: settings.Prepare
) -> None:
    """Write both parts with no more than `rules.batch` rows in memory."""
    check_split(rules, contract)
    by_batch.demand_by_batch(clean)
    size = int(rules.batch or 0)
    with by_batch.scratch(outs[0]) as folder:
        try:
            rows = row_groups.Rows(source, size)
        except ValueError as error:
            raise _unreadable(source) from error
        table = by_batch.prepared(rows, cleaned, contract, folder)
        imports.demand_listed("prepare")
        by_batch.write(table, rules, outs, _attributes(source, rules))
    for path in outs:
        print(f"{path}: {summary(row_groups.Rows(path, size), contract)}")


def cleaned(table: pd.DataFrame) -> pd.DataFrame:
    """Return what prepare() of model/prepare.py makes of a table.

    Raises:
        OfSomeRows: it fails, with the line and why.
        ContractError: it returns something else.
    """
    try:
        rows = clean(table)
    except (ContractError, OSError):
        raise
    except Exception as error:
        cause = one_line(f"{type(error).__name__}: {error}")
        raise OfSomeRows(
            f"{_line(error)}: prepare() of model/prepare.py fails on this table of "
            f"{len(table):,} rows ({cause}); correct that line, or the data."
        ) from error
    if not isinstance(rows, pd.DataFrame):
        raise ContractError(
            f"prepare() of model/prepare.py returns {type(rows).__name__}, not a "
            "table: end it with `return rows`, a pandas DataFrame."
        )
    return rows


def _line(error: Exception) -> str:
    """Return which line of the function, or of a file beside its own, fails.

    Not one of a library that it calls: that may be of Python, or compiled.
    """
    code = getattr(inspect.unwrap(clean), "__code__", cleaned.__code__)
    home = Path(code.co_filename).parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(home)]
    last = (own or frames)[-1]
    return purity.location(last.filename, last.lineno or 0)


def _attributes(source: Path, rules: settings.Prepare) -> dict[str, str]:
    """Return the attributes of both parts: the source's sha256, and the split."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"source_sha256": digest, folds.SPLIT: rules.split}


def summary(part: pd.DataFrame | row_groups.Rows, contract: Contract) -> str:
    """Say how many rows a part has, of when, of how many entities, and its target."""
    facts = [f"{len(part):,} rows"]
    if contract.time:
        times = part[contract.time]
        facts.append(f"{times.min():%Y-%m-%d} to {times.max():%Y-%m-%d}")
    if contract.entity:
        facts.append(f"{part[contract.entity].nunique():,} {contract.entity}")
    facts.append(TASKS[contract.task].summary(part[contract.target]))
    return ", ".join(facts)


def _table(source: Path) -> pd.DataFrame:
    """Return the table of a Parquet file, or raise ContractError."""
    try:
        return pd.read_parquet(source)
    except ValueError as error:
        raise _unreadable(source) from error


def _unreadable(source: Path) -> ContractError:
    """Return what to do with a file that is not Parquet."""
    return ContractError(
        f"{source} cannot be read as Parquet; type make pull, or write it again."
    )


def main() -> None:
    """Run the stage; a mistake in data or settings is one sentence, exit 1."""
    if len(sys.argv) != 4:
        raise SystemExit("Type: python -m mlgitops prepare ROWS TRAIN HOLDOUT")
    try:
        prepare(*map(Path, sys.argv[1:]))
    except (ContractError, OSError, ValueError) as error:
        raise SystemExit(f"prepare: {sentence(error)}") from None
