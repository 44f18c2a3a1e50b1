"""Scores rows with a stranger's model file, in a process that has nothing to steal.

Run by `mlgitops.judge.sandbox` with: model, inputs (.npz), result (.npy), the name of
the output, how many numbers it gives a row, and perhaps clock (.npy), for the
milliseconds that single rows take. External data and foreign operators are refused
before the runtime sees the file; a challenger's was read by `mlgitops.judge.serve`.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlgitops.judge import columns, operators
from mlgitops.judge.sandbox import confine, leave
from mlgitops.pipeline import words

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TIMED = 1_000  # rows predicted one by one,
FEWEST = 120  # or this many, once they have taken
PATIENCE = 3.0  # seconds
Sizes = NDArray[np.int64]  # [rows] bytes of text


def score(
    model: Path,
    inputs: Path,
    result: Path,
    output: str,
    width: int,
    clock: Path | None = None,
) -> None:
    """Write the predictions, float64 (rows,) or (rows, width), for the inputs' rows.

    If the inputs name changes, only the rows of each change are predicted, in order.
    With ``clock``, also the milliseconds, float64, that single rows took.
    """
    data = model.read_bytes()
    operators.read(data)
    from mlgitops.serving.model import input_names
    from mlgitops.serving.model import session as load

    session = load(data)
    table, sizes = columns.read(inputs)
    names = input_names(session, list(table))  # columns have their own, changes too
    parts = []
    most = words.ROWS if words.is_of_texts(data) else 0
    for feed in _feeds(table, sizes, columns.changes(inputs), most):
        rows = len(next(iter(feed.values())))
        named = dict(zip(names, feed.values(), strict=True))
        (predictions,) = session.run([output], named)
        if np.size(predictions) != rows * width:
            raise ValueError(f"the model does not give one {output} a row")
        shape = (rows, width) if width > 1 else (rows,)
        parts.append(np.asarray(predictions, dtype=np.float64).reshape(shape))
    np.save(result, np.concatenate(parts), allow_pickle=False)
    if clock:
        named = dict(zip(names, table.values(), strict=True))
        np.save(clock, _timed(session, named, output), allow_pickle=False)


def _feeds(
    table: columns.Columns,
    sizes: Sizes,
    changes: Iterator[columns.Change],
    most: int,
) -> Iterator[columns.Columns]:
    """Yield what one call of the runtime takes: the table's rows, or those of changes.

    At most so many of them, or as many as there may be (0).

    The rows that one change after another is of are gathered once.
    """
    change, last, plain = None, None, table
    for change in changes:
        size = sizes[change.rows] + sizes[change.source]
        for batch in columns.batches(size, most):
            rows, source = change.rows[batch], change.source[batch]
            if last is None or not np.array_equal(rows, last):
                last, plain = rows, {name: each[rows] for name, each in table.items()}
            yield {**plain, change.column: table[change.column][source]}
    if change is None:
        for batch in columns.batches(sizes, most):
            yield _rows(table, batch)


def _rows(table: columns.Columns, rows: slice) -> columns.Columns:
    """Return some rows of all columns."""
    return {name: column[rows] for name, column in table.items()}


def _timed(
    session: "InferenceSession", table: columns.Columns, output: str
) -> np.ndarray:
    """Return the milliseconds that single rows take, after a few to warm up."""
    taken: list[float] = []
    for row in range(min(TIMED, len(next(iter(table.values()))))):
        if row >= FEWEST and sum(taken) > PATIENCE * 1000:
            break
        feed = _rows(table, slice(row, row + 1))
        start = time.perf_counter()
        session.run([output], feed)
        taken.append((time.perf_counter() - start) * 1000)
    return np.array(taken[min(20, len(taken) // 2) :])


def main() -> None:
    """Confine this process, then score; a refusal is one sentence and exit 1."""
    confine()
    try:
        model, inputs, result, output, width, *clock = sys.argv[1:7]
        paths = (Path(model), Path(inputs), Path(result))
        score(*paths, output, int(width), *map(Path, clock))
    except Exception as error:  # the runtime's errors have no common class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SystemExit(lines[0][:300]) from None
    leave()


if __name__ == "__main__":
    main()
