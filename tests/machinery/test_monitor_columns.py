"""A shipped log read by its columns: every figure as when it is read by line."""

import json
import pickle
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from machinery.traffic import MONITOR, SHA, limits
from mlgitops.cluster.backend import ClusterError
from mlgitops.monitor import columns, scan, window
from mlgitops.monitor.window import Log, read_log
from mlgitops.prediction_log import LONGEST, PATTERN, Entry, file_name, line, parse
from mlgitops.production_data import ProductionDataError, _local_file, lines
from mlgitops.shipping.ship import ship

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OTHER = "b" * 64
ODD = (  # what a line may hold beside what a server writes
    lambda fields: {**fields, "time": None},
    lambda fields: {**fields, "id": f"golden-{len(fields['id'])}", "time": None},
    lambda fields: {**fields, "time": (NOW + timedelta(days=400)).isoformat()},
    lambda fields: {**fields, "time": "1999-01-01"},
    lambda fields: {**fields, "time": fields["time"].replace("+00:00", "-11:30")},
    lambda fields: {**fields, "time": fields["time"].replace("+00:00", "")},
    lambda fields: {**fields, "logged_at": "soon"},
    lambda fields: {**fields, "logged_at": None},
    lambda fields: {**fields, "manifest_sha256": OTHER, "version": 7},
    lambda fields: {**fields, "id": None},
    lambda fields: {**fields, "id": "\u2028é\u0000"},
    lambda fields: {**fields, "row": {"text": "x" * 3000}},
    lambda fields: {**fields, "sample": 0.25},
    lambda fields: {**fields, "value": float("inf")},
    lambda fields: {**fields, "probability": 2},
)


def hostile(rows: int, seed: int = 0) -> list[bytes]:
    """Return the lines of a log with whatever a log may hold, in an odd order."""
    rng, made = random.Random(seed), list[bytes]()
    for number in range(rows):
        time = NOW - timedelta(minutes=rng.randrange(60 * 24 * 60))
        answer = {"id": f"r{rng.randrange(rows)}", "probability": 0.5, "decision": True}
        logged_at = (time + timedelta(seconds=number)).isoformat()
        fields = line(answer, time, SHA, "v1", logged_at, {"temp": number})
        if rng.random() < 0.4:
            fields = rng.choice(ODD)(fields)
        data = f"{json.dumps(fields)}\n".encode()
        if rng.random() < 0.05:
            data = rng.choice((data[:40] + b"\n", b"\xff\xfe\n", b"{}\n"))
        if number == 13:
            data = b"x" * (LONGEST + 9) + b"\n"
        made.append(data)
    return made


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ship a hostile log of four days, each in two parts, and a torn end."""
    place = tmp_path_factory.mktemp("columns")
    (place / "log").mkdir()
    rows = hostile(800)
    for part in range(8):
        day = f"2026-02-{1 + part // 2:02}"
        data = b"".join(rows[part * 100 : part * 100 + 100])
        end = len(data) - 1 if part == 7 else len(data)
        (place / "log" / file_name(day)).write_bytes(data[:end])
        ship(place / "log", str(place / "sink"))
    return str(place / "sink")


class Pickled:
    """A cluster as tasks see it: they begin early, and all is a pickle on its way."""

    def over(self, function: Any, shared: Any, ahead: int | None = None) -> Any:
        def run(item: Any) -> Any:
            sent = pickle.loads(pickle.dumps((function, shared, item)))
            return pickle.dumps(sent[0](*sent[1:]))

        def each(items: Iterable[Any]) -> Iterator[Any]:
            rest = map(run, items)
            begun = deque(islice(rest, ahead and 2 * ahead))
            while begun:
                result = begun.popleft()
                begun.extend(islice(rest, 1))
                yield pickle.loads(result)

        return each


@pytest.fixture
def pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the parts of any log on such a cluster, where `backend` is not local."""
    monkeypatch.setattr(scan, "FEW", 0)
    monkeypatch.setattr(scan, "TOGETHER", 2)
    monkeypatch.setattr(scan, "connected", lambda *_: nullcontext(Pickled()))


def by_line(
    source: str, days: float | None, by_arrival: bool
) -> tuple[list[Entry], Counter[str], float]:
    """Read a log as it was read before it had columns: each line, in its order."""
    log, keys = Log(by_arrival=by_arrival), set[tuple[str, str]]()
    max_hash, prune_at, size = 2**32, window.PRUNE, 0.0
    for text in lines(source, PATTERN):
        log.counts["lines"] += 1
        entry = parse(text)
        if entry is None:
            log.counts["corrupt"] += 1
            continue
        if by_arrival and entry.is_golden:
            log.counts["asked by a deployment"] += 1
            continue
        entry.time = entry.arrival if by_arrival else entry.time
        key = entry.id, entry.manifest_sha256
        if entry.time is None:
            log.counts["without a time"] += 1
        elif columns.id_hash(entry.id) >= max_hash:
            log.counts["not looked at"] += 1
        elif key in keys:
            log.counts["duplicate"] += 1
        else:
            keys.add(key)
            log.entries.append(entry)
            size += len(text)
            full = len(log.entries) >= min(prune_at, window.MAX_ENTRIES)
            if full or size > window.MAX_CHARACTERS:
                mean = size / len(log.entries)
                log.keep_newest(days)
                most = min(window.MAX_ENTRIES, window.MAX_CHARACTERS / mean)
                while len(log.entries) > window.ROOM * most:
                    max_hash //= 2
                    log.entries = [
                        e for e in log.entries if columns.id_hash(e.id) < max_hash
                    ]
                keys = {(e.id, e.manifest_sha256) for e in log.entries}
                prune_at = max(window.PRUNE, 2 * len(log.entries))
                size = mean * len(log.entries)
    log.keep_newest(days)
    return log.entries, log.counts, max_hash / 2**32


BOUNDS = ({}, {"PRUNE": 50}, {"MAX_ENTRIES": 90}, {"MAX_CHARACTERS": 40_000})
ALL = limits(max_corrupt=1.0, max_duplicate=1.0)


@pytest.mark.parametrize("by_arrival", [False, True])
@pytest.mark.parametrize("days", [None, 28, 3])
@pytest.mark.parametrize("bounds", BOUNDS, ids=lambda bounds: "".join(bounds) or "none")
def test_a_hostile_log_has_every_figure_as_by_line(
    bounds: dict[str, int],
    days: float | None,
    by_arrival: bool,
    sink: str,
    pickled: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Entries, their order, every count, and the share; on a cluster, too."""
    for name, value in bounds.items():
        monkeypatch.setattr(window, name, value)
    expected = by_line(sink, days, by_arrival)
    sources = ((sink, "local"), (f"file://{sink}", "local"), (sink, "dask"))
    for source, where in sources:
        log = read_log(source, ALL, days, by_arrival=by_arrival, backend=where)
        share = log.share / log.sample
        assert log.entries == expected[0]
        assert [type(entry) for entry in log.entries] == [Entry] * len(log.entries)
        assert {**log.counts} == {**expected[1]}
        assert share == pytest.approx(expected[2], rel=1e-12)
    kinds = {"corrupt", "duplicate", "without a time"}
    assert kinds <= {*expected[1]} and expected[0], "the log has what it should"
    if "MAX_ENTRIES" in bounds and days is None:
        assert expected[1]["not looked at"] > 0


def test_only_lines_of_rows_that_stay_are_parsed(
    sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a line of each row, as it was, would be 700 of them."""
    parsed = Counter[str]()

    def counting(kind: str, function: Callable[[str], Any]) -> Callable[[str], Any]:
        def counted(text: str) -> Any:
            parsed[kind] += 1
            return function(text)

        return counted

    monkeypatch.setattr(columns, "parse", counting("rows", parse))
    monkeypatch.setattr(window, "parse", counting("lines", parse))
    monkeypatch.setattr(window, "MAX_ENTRIES", 90)
    log = read_log(sink, ALL, 28)
    assert parsed["rows"] == len(log.entries) <= 90
    assert parsed["lines"] < 100 < log.counts["lines"]


@pytest.mark.parametrize("fails", [0, 3])
@pytest.mark.parametrize("function", ["_pieces", "_entries"])
def test_what_a_worker_cannot_read_is_read_here(
    function: str,
    fails: int,
    sink: str,
    pickled: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said, and every figure is the same; no more parts go to the workers."""
    begun, original = list[str](), getattr(scan, function)

    def without_a_login(log: scan.Log, part: scan.Part) -> Any:
        begun.append(part.path)
        return "no login" if len(begun) > fails else original(log, part)

    monkeypatch.setattr(Pickled, "over", _unpickled)
    monkeypatch.setattr(scan, function, without_a_login)
    log = read_log(sink, ALL, 28, backend="dask")
    entries, counts, _ = by_line(sink, 28, False)
    assert log.entries == entries and log.counts == counts
    assert capsys.readouterr().err.count("no login") == 1
    assert len(begun) <= fails + scan.TOGETHER


def _unpickled(self: Pickled, function: Any, shared: Any, ahead: int) -> Any:
    return lambda items: (function(shared, item) for item in items)


@pytest.mark.parametrize("lost_at", [None, 0, 2])
def test_a_cluster_that_is_lost_leaves_the_log_to_be_read_here(
    lost_at: int | None,
    sink: str,
    pickled: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before it begins, or later: a monitor, or a canary, waits for no cluster."""

    def connected(*_: object) -> None:
        raise ClusterError("no scheduler answers")

    def over(self: Pickled, function: Any, shared: Any, ahead: int) -> Any:
        def each(items: Iterable[Any]) -> Iterator[Any]:
            for n, item in enumerate(items):
                if n == lost_at:
                    raise ClusterError("the scheduler is gone")
                yield function(shared, item)

        return each

    monkeypatch.setattr(Pickled, "over", over)
    if lost_at is None:
        monkeypatch.setattr(scan, "connected", connected)
    log = read_log(sink, ALL, 28, backend="dask")
    entries, counts, _ = by_line(sink, 28, False)
    assert log.entries == entries and log.counts == counts
    assert capsys.readouterr().err.count("the scheduler is gone") == (
        lost_at is not None
    )


def test_another_file_by_the_name_of_a_part_is_told(
    sink: str, pickled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on another machine may have a log of its own in the same folder."""
    other = Path(rewrite(Path(sink), tmp_path / "other", lambda table: table[::-1]))
    original = scan.opener

    def elsewhere(address: str) -> Callable[[str], Any]:
        return lambda path: original(address)(path.replace(sink, str(other)))

    monkeypatch.setattr(scan, "opener", elsewhere)
    part = next(
        p for p in sorted(Path(sink).rglob("*.parquet")) if "-unr" not in p.name
    )
    mark = scan.marked(sink, str(part), _local_file)
    log, known = scan.Log(sink, False), scan.Part(str(part), mark)
    assert "another file" in scan.read_pieces(log, [known])[0]
    monkeypatch.setattr(scan, "opener", original)
    assert isinstance(scan.read_pieces(log, [known])[0], list), "the control"


def test_a_short_log_connects_to_no_cluster(
    sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(scan, "connected", connected)
    read_log(sink, ALL, backend="dask")
    monkeypatch.setattr(scan, "FEW", 2)
    with pytest.raises(ZeroDivisionError):
        read_log(sink, ALL, backend="dask")


def rewrite(source: Path, target: Path, change: Callable[[pa.Table], pa.Table]) -> str:
    """Copy the parts of a sink, changed."""
    for path in source.rglob("*.parquet"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(path)
        apart = "-unreadable" in path.name
        pq.write_table(table if apart else change(table), copy, row_group_size=64)
    return str(target)


@pytest.mark.parametrize("columns_left", [("line",), (*columns.NAMES, "line")])
def test_parts_that_lack_columns_are_read_all_the_same(
    columns_left: tuple[str, ...], sink: str, tmp_path: Path
) -> None:
    """Those of an earlier machinery have no sizes; others' may have lines alone."""
    old = rewrite(Path(sink), tmp_path, lambda table: table.select([*columns_left]))
    log = read_log(old, ALL, 28)
    entries, counts, _ = by_line(sink, 28, False)
    assert log.entries == entries and log.counts == counts


@pytest.mark.parametrize(
    ("name", "value"),
    [("id", "x"), ("manifest_sha256", OTHER), ("time", "soon"), ("time", "2026-02-28")],
)
def test_columns_that_are_not_of_their_lines_are_refused(
    name: str, value: str, sink: str, tmp_path: Path
) -> None:
    """Somebody changed a part: no figure of it can be believed."""

    def changed(table: pa.Table) -> pa.Table:
        values = [value] * len(table)
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    altered = rewrite(Path(sink), tmp_path, changed)
    with pytest.raises(ProductionDataError, match="was changed since it was shipped"):
        read_log(altered, ALL, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("logged_at", None), ("logged_at", 3), ("id", 7), ("manifest_sha256", 1.5)],
)
def test_columns_that_are_no_texts_are_refused(
    name: str, value: Any, sink: str, tmp_path: Path
) -> None:
    """By every reader of them, before a value of theirs is compared with a text."""

    def changed(table: pa.Table) -> pa.Table:
        values = [value] * len(table)
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    altered = Path(rewrite(Path(sink), tmp_path, changed))
    with pytest.raises(ProductionDataError, match="was changed since it was shipped"):
        read_log(str(altered), ALL, None, by_arrival=True)
    part = str(next(p for p in altered.rglob("*.parquet") if "-unr" not in p.name))
    with pytest.raises(ProductionDataError, match="was changed since it was shipped"):
        list(columns.candidates(part, _local_file, "", bool) or ())


def test_a_part_that_got_shorter_meanwhile_is_a_sentence(sink: str) -> None:
    """Rows of it were erased between the two readings."""
    part = str(next(p for p in Path(sink).rglob("*.parquet") if "-unr" not in p.name))
    row = columns.Pending("a", NOW, SHA, None, 0.0, None, "", {}, path=part, index=9999)
    with pytest.raises(ProductionDataError, match="was changed since it was shipped"):
        read = (columns.entries_of(p, _local_file, n) for p, n in [(part, [9999])])
        columns.filled([row], lambda wanted: read)


def test_a_piece_of_which_no_row_counts_is_read(sink: str) -> None:
    """Of an hour in which only deployments asked, or whose ids are thinned out."""
    part = next(
        p for p in sorted(Path(sink).rglob("*.parquet")) if "-unr" not in p.name
    )
    (piece,) = columns.pieces(str(part), _local_file, False, lambda ids: [])
    assert piece is not None and piece.counts["lines"] and not piece.indices
    sent = pickle.loads(pickle.dumps(piece))
    assert sent.rows.schema == piece.rows.schema and not sent.rows.num_rows


def test_a_part_that_is_torn_is_a_sentence(sink: str, tmp_path: Path) -> None:
    """As it is for a file of lines."""
    torn = Path(rewrite(Path(sink), tmp_path, lambda table: table))
    part = next(p for p in sorted(torn.rglob("*.parquet")) if "-unr" not in p.name)
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(ProductionDataError, match=rf"{part.name} cannot be read"):
        read_log(str(torn), MONITOR)
