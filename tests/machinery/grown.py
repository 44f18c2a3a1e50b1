"""The next training data both ways: with all past rows in memory, and a few at a time.

They are held to be the same, as are what is said of them, and each refusal.
"""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import pytest

from mlgitops.monitor import training_data, training_file
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import check
from mlgitops.production_data import ProductionDataError

BATCHES = 4  # of past rows, and one that is not full


class Grown(NamedTuple):
    """The new table, and what is said of it."""

    table: pd.DataFrame
    counts: dict[str, int]
    until: str
    outside: tuple[str, ...]


def build(
    past: pd.DataFrame, labelled: pd.DataFrame, contract: Contract, *rules: Any
) -> Grown:
    """Return what `training_data.build` does; so does `training_file.build`."""
    given = (labelled, contract, training_data.Rules(*rules))
    with TemporaryDirectory() as name:
        file, out = Path(name, "past.parquet"), Path(name, "newer.parquet")
        past.to_parquet(file, index=False)
        batch = max(len(past) // BATCHES - 1, 1)
        try:
            table, said = training_data.build(past, *given)
        except (ContractError, ProductionDataError) as error:
            with pytest.raises(type(error)) as refused:
                training_file.build(file, batch, *given, out)
            assert str(refused.value) == str(error) and not out.exists()
            raise
        again = training_file.build(file, batch, *given, out)
        assert again == said and [*again.counts] == [*said.counts]
        read = pd.read_parquet(io.BytesIO(training_data.parquet(table)))
        pd.testing.assert_frame_equal(
            check(pd.read_parquet(out), contract), check(read, contract)
        )
        assert {path.name for path in out.parent.iterdir()} == {file.name, out.name}
        sizes = pq.ParquetFile(out).metadata
        groups = [sizes.row_group(n).num_rows for n in range(sizes.num_row_groups)]
        assert max(groups) <= batch and sum(groups) == len(table)
    return Grown(table, *said)
