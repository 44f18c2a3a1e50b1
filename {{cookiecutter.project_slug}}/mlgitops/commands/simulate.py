"""Simulates production: sends later rows to a server, then writes due labels.

    python -m mlgitops simulate --from 2013-04-01 --until 2013-06-30 \
        --url http://127.0.0.1:8080 --labels labels.csv

Rows are sent in the order of their events; both days are included. A label is due
``--label-delay`` days after its event: the newest labels are written by the next call.
A second run repeats no label. Where the contract has no time, all rows are sent, in the
order of the table, and their labels written at once: leave the days out.

``--drift temp=15`` adds 15 to a number, ``--drift carrier=UA`` sets half of the rows to
one category or one text, ``--drift late=0.3`` flips that share of the labels, which is
concept drift; it flips that share of a boolean, and adds that many days to a datetime.
The option may be repeated.

Without the example, the rows are those of your own table, and without days the ones
that the split of params.yaml holds out: the model has not learnt from them.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import urlsplit

import numpy as np

from mlgitops import lock
from mlgitops.monitor.labels import id_column
from mlgitops.monitor.wording import plural
from mlgitops.pipeline import golden, settings
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import check, moments, split
from mlgitops.prediction_log import metadata
from mlgitops.release import ReleaseError
from mlgitops.release.target import authorization

if TYPE_CHECKING:
    import pandas as pd

TRIES = 5  # per batch, while the server is busy or being replaced
STEPS = 10  # lines of progress
T = TypeVar("T")


EXAMPLE = Path("example", "later.parquet")


def later() -> Path:
    """Return the example's later rows, or the table of yours that the stages read."""
    inputs = [] if EXAMPLE.parent.exists() else lock.inputs()
    own = [out for out in inputs if lock.is_table(out.path)]
    return Path(own[0].path) if own else EXAMPLE


class SimulateError(Exception):
    """The traffic could not be sent: one sentence."""


def span(
    table: pd.DataFrame, column: str, start: datetime, end: datetime
) -> pd.DataFrame:
    """Return the rows with ``start`` <= time < ``end``, oldest first."""
    rows = table[(table[column] >= start) & (table[column] < end)]
    return rows.sort_values(column, kind="stable")


def drifted(
    rows: pd.DataFrame, changes: Sequence[tuple[str, str]], contract: Contract
) -> pd.DataFrame:
    """Return the rows with drift; numbers stay within the contract's range.

    Raises:
        SimulateError: the contract has no such column, or no such category.
    """
    import pandas as pd

    rng, rows = np.random.default_rng(0), rows.copy()
    for name, change in changes:
        column = contract.columns.get(name)
        try:
            if column is not None and column.type == "category":
                if change not in column.categories:
                    raise ValueError
                rows[name] = rows[name].mask(rng.random(len(rows)) < 0.5, change)
            elif column is not None and column.type == "text":
                if not 0 < len(change) <= column.max_length:
                    raise ValueError
                rows[name] = rows[name].mask(rng.random(len(rows)) < 0.5, change)
            elif column is not None and column.type == "datetime":
                moved = rows[name] + pd.Timedelta(days=float(change))
                rows[name] = moved.clip(*moments(column))
            elif column is not None and column.type == "boolean":
                turned = rng.random(len(rows)) < float(change)
                rows[name] = rows[name].mask(turned, 1 - rows[name])
            elif column is not None:
                step = float(change)
                step = round(step) if column.type == "integer" else step
                moved = (rows[name] + step).clip(column.min, column.max)
                rows[name] = moved.astype(rows[name].dtype)
            elif name == contract.target and contract.task == "binary":
                turned = rng.random(len(rows)) < float(change)
                rows[name] = rows[name].mask(turned, 1 - rows[name])
            elif name == contract.target and contract.task == "regression":
                rows[name] = rows[name] + float(change)
            else:
                raise ValueError
        except ValueError:
            raise SimulateError(
                f"--drift {name}={change}: type a column of contract.yaml and a "
                "number, one of its categories, or a text that it may hold"
            ) from None
    return rows


def requests(
    table: pd.DataFrame, contract: Contract, size: int
) -> Iterator[list[dict[str, object]]]:
    """Yield the rows of each request: id, time, columns; missing values are null."""
    id_name, time_name = metadata(contract.columns)
    for first in range(0, len(table), size):
        part = table.iloc[first : first + size]
        about = {id_name: part[contract.id]}
        if contract.time:
            about[time_name] = part[contract.time].map(lambda m: m.isoformat())
        rows = zip(*about.values(), golden.requests(part, contract), strict=True)
        yield [{**dict(zip(about, row, strict=False)), **row[-1]} for row in rows]


def send(
    url: str, batches: Iterator[list[dict[str, object]]], total: int, time_name: str
) -> int:
    """Post every batch to ``url``/predict and return how many rows were answered.

    ``time_name`` is what a row calls its time; "" where it has none.

    Raises:
        SimulateError: the server refuses a batch, or is not there.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=60)
    row_count = printed = 0
    started = time.monotonic()
    for rows in batches:
        body = json.dumps({"rows": rows}).encode()
        row_count += _post(connection, f"{parts.path.rstrip('/')}/predict", body, url)
        if row_count * STEPS // total > printed:
            printed = row_count * STEPS // total
            seconds = time.monotonic() - started
            day = f"{rows[-1][time_name]!s:.10}  " if time_name else ""
            print(f"{day}{row_count:,} of {total:,} answered in {seconds:.1f} s")
    connection.close()
    return row_count


def labelled(path: Path, contract: Contract) -> set[str]:
    """Return the ids in the label file; none if there is no file yet."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {row[id_column(contract)] for row in csv.DictReader(file)}


def add_labels(path: Path, due: pd.DataFrame, contract: Contract) -> int:
    """Append the labels that the file lacks; return their number."""
    written = labelled(path, contract)
    added = due[~due[contract.id].isin(written)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            names = [contract.target, *contract.labelled_only]
            writer.writerow([id_column(contract), *names])
        names = [contract.id, contract.target, *contract.labelled_only]
        writer.writerows(added[names].itertuples(index=False))
    return len(added)


def main() -> None:
    """Send the rows and write the labels; a failure is one sentence."""
    try:
        file = Path("contract.yaml")
        contract = Contract.read(file.read_bytes()) if file.exists() else None
        timed = contract is None or bool(contract.time)
        _simulate(_arguments(timed, own=not EXAMPLE.parent.exists()))
    except (SimulateError, ContractError, ReleaseError) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; no label was written") from None


def _simulate(args: argparse.Namespace) -> None:
    """Send the rows and write the labels."""
    import pandas as pd

    source = args.data or later()
    if not source.exists():
        raise SimulateError(f"{source} does not exist: run `make pull`")
    contract = Contract.read(Path("contract.yaml").read_bytes())
    table = check(pd.read_parquet(source), contract)
    rows = _chosen(table, contract, args)
    if args.sample and args.sample < len(rows):
        rows = rows.sample(args.sample, random_state=0)
        rows = rows.sort_values(contract.time) if contract.time else rows.sort_index()
    if args.drift:
        # Drift the whole table: labels of earlier days are written now, too.
        table = drifted(table, args.drift, contract)
        rows = table.loc[rows.index]
    batches = requests(rows, contract, args.batch or len(rows))
    time_name = metadata(contract.columns, bool(contract.time))[1]
    row_count = send(args.url, batches, len(rows), time_name)
    due, waiting = _due(table, rows, contract, args) if contract.time else (rows, 0)
    label_count = add_labels(args.labels, due, contract)
    earlier = (
        f", {len(due) - label_count:,} there before" if len(due) > label_count else ""
    )
    print(
        f"{plural(row_count, 'row')} answered, {plural(label_count, 'label')} written "
        f"to {args.labels}{earlier}, {plural(waiting, 'label')} still to come"
    )


def _chosen(
    table: pd.DataFrame, contract: Contract, args: argparse.Namespace
) -> pd.DataFrame:
    """Return the rows to send: those of the days, or those that show what is new."""
    if not args.start:
        rows = table
        if not args.data and later() != EXAMPLE:
            rules = settings.prepare(settings.load(Path("params.yaml").read_bytes()))
            held = split(table, contract, rules)[1]
            rows = table[table[contract.id].isin(held[contract.id])]
            print(
                f"{plural(len(rows), 'row')} that the split of params.yaml holds out: "
                "the model has not learnt from them"
            )
        if contract.time:
            rows = rows.sort_values(contract.time, kind="stable")
            first, last = rows[contract.time].iloc[[0, -1]]
            args.start, args.until = first.normalize(), last.normalize()
        return rows
    start, until = args.start, args.until
    rows = span(table, contract.time, start, until + timedelta(days=1))
    if rows.empty:
        first, last = table[contract.time].min(), table[contract.time].max()
        raise SimulateError(
            f"there are no rows from {start:%Y-%m-%d} until "
            f"{until:%Y-%m-%d}: choose days from {first:%Y-%m-%d} to "
            f"{last:%Y-%m-%d}"
        )
    return rows


def _due(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    contract: Contract,
    args: argparse.Namespace,
) -> tuple[pd.DataFrame, int]:
    """Return the rows whose label is due, and how many of those sent still wait."""
    import pandas as pd

    delay, end = timedelta(days=args.label_delay), args.until + timedelta(days=1)
    written = table[table[contract.id].isin(labelled(args.labels, contract))]
    # Events of earlier calls whose labels were not due then.
    since = written[contract.time].max() if len(written) else args.start
    due = pd.concat([span(table, contract.time, since, args.start), rows])
    waiting = int((rows[contract.time] >= end - delay).sum())
    return due[due[contract.time] < end - delay], waiting


def _post(
    connection: http.client.HTTPConnection, path: str, body: bytes, url: str
) -> int:
    """Post one batch, again while the server is busy; return the rows answered."""
    reason = ""
    for attempt in range(TRIES):
        try:
            head = {"Content-Type": "application/json"}
            head |= authorization(url)
            connection.request("POST", path, body, head)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = str(error) or type(error).__name__
            if attempt:
                time.sleep(0.5)
            continue
        if response.status == 200:
            return len(json.loads(text)["predictions"])
        reason = f"{response.status} {text.decode(errors='replace')[:200]}"
        if response.status != 503:
            break
        time.sleep(float(response.getheader("Retry-After") or 0.5))
    raise SimulateError(
        f"{url} did not answer: {reason}; start a server with `make serve`"
    )


class _Parser(argparse.ArgumentParser):
    """Reports a mistake on the command line in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with the sentence."""
        raise SystemExit(f"nothing was sent: {message.removeprefix('argument ')}")


def _checked(parse: Callable[[str], T | None], hint: str) -> Callable[[str], T]:
    """Return a type for the command line; ``hint`` is added to what it refuses."""

    def checked(text: str) -> T:
        with suppress(ValueError):
            if (parsed := parse(text)) is not None:
                return parsed
        problem = f"{text} is not {hint}" if text else f"it must be {hint}"
        raise argparse.ArgumentTypeError(problem)

    return checked


def _day(text: str) -> datetime:
    """Parse a day."""
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


def _file(text: str) -> Path | None:
    """Parse the file of labels."""
    return Path(text) if text and not Path(text).is_dir() else None


def _count(text: str) -> int | None:
    """Parse a number of rows; 0 is all."""
    return int(text) if text.isascii() and text.isdecimal() else None


def _url(text: str) -> str | None:
    """Parse the server's address."""
    parts = urlsplit(text)
    valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    return text if valid else None


def _change(text: str) -> tuple[str, str] | None:
    """Parse a drift."""
    name, _, change = text.partition("=")
    return (name, change) if name and change else None


def _day_or_none(text: str) -> datetime | str:
    """Parse a day; none is the days of the rows that are held out."""
    return _day(text) if text else text


def _no_day(text: str) -> str | None:
    """Parse the absence of a day."""
    return None if text else ""


def _arguments(timed: bool, own: bool) -> argparse.Namespace:
    """Read the command line; days have a meaning where rows have a time."""
    parser = _Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    day: Callable[[str], object]
    hint = "a day: type FROM=2013-04-01 UNTIL=2013-06-30"
    day = _checked(_day_or_none if own else _day, hint)
    if not timed:
        day = _checked(_no_day, "of a row: contract.yaml has no time, leave days out")
    file = _checked(_file, "a file for the labels: type LABELS=build/labels.csv")
    url = _checked(_url, "an address: type URL=http://127.0.0.1:8080")
    count = _checked(_count, "a number of rows such as 1000")
    change = _checked(_change, "a drift such as temp=15")
    needed = timed and not own
    parser.add_argument("--from", dest="start", type=day, required=needed)
    parser.add_argument("--until", type=day, required=needed)
    parser.add_argument("--url", type=url, required=True)
    parser.add_argument("--labels", type=file, required=True)
    parser.add_argument("--data", type=Path, help="rows to send")
    parser.add_argument("--sample", type=count, default=0, help="rows; 0 sends all")
    parser.add_argument("--batch", type=count, default=1000, help="rows a request")
    parser.add_argument("--label-delay", type=float, default=1.0, help="days")
    parser.add_argument("--drift", type=change, action="append", metavar="COLUMN=...")
    args = parser.parse_args()
    if bool(args.start) != bool(args.until):
        parser.error(f"--from and --until belong together; each is {hint}")
    return args
