"""Which rows main's split holds out, where the row itself says so; pure.

By a hash of its id (or group) and the seed, a row never changes sides: not when rows
are added, removed or in another order. So no row of a holdout was ever trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.settings import Prepare

if TYPE_CHECKING:
    import pandas as pd

BITS = 64  # of a hash


def column(contract: Contract, rules: Prepare) -> str:
    """Return the column that decides on which side a row is."""
    columns = {"group": contract.entity, "column": contract.part}
    return columns.get(rules.split, contract.id)


def held_out(
    frame: pd.DataFrame, contract: Contract, rules: Prepare
) -> NDArray[np.bool_]:
    """Return which rows are held out, [n], for any split but that by time."""
    import pandas as pd

    codes, values = pd.factorize(frame[column(contract, rules)].astype(object))
    texts = [text(value) for value in values]
    if rules.split == "column":
        sides = np.array([value in rules.holdout for value in texts], bool)
    else:
        sides = shares(texts, rules.seed) < rules.holdout_share
    return np.asarray(np.append(sides, False)[codes])  # the last is of a missing value


def shares(texts: Iterable[str], seed: int) -> NDArray[np.float64]:
    """Return a number from 0 to 1 per text, [n]: the same on any machine."""
    start = f"{seed}:".encode()
    hashes = [
        blake2b(start + text.encode("utf-8", "replace"), digest_size=BITS // 8).digest()
        for text in texts
    ]
    return np.frombuffer(b"".join(hashes), ">u8") / 2.0**BITS


def text(value: object) -> str:
    """Return a value as text, whatever its type: 3, 3.0 and "3" are the same."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
