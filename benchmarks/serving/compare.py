"""The server beside what else serves a scikit-learn model: `make serving`.

    python -m benchmarks.serving.compare [NAME ...]

The same rows and the same estimator: here the exported file of a generated repository,
with its checks and its log; there scikit-learn's pipeline, in an environment of its own
with what each peer installs, compiled and kept in .venv/peers for the next time. A
server and all its processes have the first core, `wrk` has the second. Then come an
empty ASGI handler, and what the cost of a request depends on. Each measurement takes
SECONDS (3). Writes benchmarks/serving.md when it measured all of them.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.cost import PYTHON, project, run
from benchmarks.serving import bulk, shape
from benchmarks.serving.core import (
    CONNECTIONS,
    HERE,
    LUA,
    SECONDS,
    Speed,
    free,
    median,
    speed,
)

PAGE = HERE.parent / "serving.md"

ENVIRONMENTS = Path(".venv/peers").resolve()
SCIKIT_LEARN = ("scikit-learn==1.9.1", "pandas==3.1.1", "joblib==1.6.0", "pyarrow")
BULK = 1_000  # rows of a large body
STARTS, ROUNDS = 3, 2
TABLE = "data/flights.parquet"
Rows = list[dict[str, Any]]


class Peer(NamedTuple):
    """How a server is installed, started and asked."""

    requirements: tuple[str, ...]
    command: tuple[str, ...]  # in a folder with model.joblib; {port} is filled in
    path: str
    body: str  # the name of the rows, or how a body is made of them


PEERS = {
    "FastAPI": Peer(
        ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"),
        ("-m", "uvicorn", "fastapi_app:app", "--port={port}", "--no-access-log"),
        "/predict",
        "rows",
    ),
    "MLflow": Peer(
        ("mlflow==3.17.2",),
        ("-m", "mlflow", "models", "serve", "--model-uri=mlflow", "--port={port}",
         "--env-manager=local", "--workers=1"),
        "/invocations",
        "dataframe_records",
    ),
    "BentoML": Peer(
        ("bentoml==1.4.40",),
        ("-m", "bentoml", "serve", "bentoml_service:Flights", "--port={port}"),
        "/predict",
        "rows",
    ),
    "LitServe": Peer(
        ("litserve==0.2.19",), ("litserve_app.py", "{port}"), "/predict", "rows"
    ),
    "MLServer": Peer(
        ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"),
        ("-m", "mlserver.cli.main", "start", "."),
        "/v2/models/flights/infer",
        "inputs",
    ),
}  # fmt: skip


class Figures(NamedTuple):
    """What was measured of one server."""

    speeds: dict[int, Speed]  # by connections, one row a request
    bulk: float  # rows/s of JSON bodies with BULK rows
    start: float  # s from the command to the first prediction
    memory: float  # MB of all its processes, after the load
    size: float  # MB of its environment
    packages: int
    arrow: float = math.nan  # rows/s of Arrow bodies with BULK rows
    alone: float = math.nan  # rows/s of the model, without a server


def environment(
    name: str, requirements: tuple[str, ...], wanted: str
) -> tuple[Path, float, int]:
    """Install an environment; return its Python, its MB and its number of packages.

    One that was installed for the same text is used again.
    """
    home = ENVIRONMENTS / name
    note = home / "requirements.txt"
    if not note.is_file() or note.read_text() != wanted:
        subprocess.run(("uv", "-q", "venv", "--clear", str(home)), check=True)
        install = ("uv", "-q", "pip", "install", "--python", str(home), *requirements)
        subprocess.run((*install, "--compile-bytecode"), check=True)
        note.write_text(wanted)
    files = (f for f in home.rglob("*") if f.is_file() and f.suffix != ".pyc")
    size = sum(f.stat().st_size for f in files) / 1e6
    packages = len(list(home.glob("lib/*/site-packages/*.dist-info")))
    return home / "bin" / "python", size, packages


def request(peer: Peer, rows: Rows) -> str:
    """Return the body of a request for some rows."""
    if peer.body != "inputs":
        return json.dumps({peer.body: rows})
    inputs = [tensor(name, [row[name] for row in rows]) for name in rows[0]]
    frame = {"content_type": "pd"}
    outputs = [{"name": "predict_proba"}]
    return json.dumps({"inputs": inputs, "outputs": outputs, "parameters": frame})


def tensor(name: str, data: list[Any]) -> dict[str, Any]:
    """Return a column as MLServer reads it."""
    shape = [len(data), 1]
    if isinstance(data[0], str):
        text = {"datatype": "BYTES", "parameters": {"content_type": "str"}}
        return {"name": name, "shape": shape, "data": data, **text}
    return {"name": name, "shape": shape, "data": data, "datatype": "FP64"}


@contextmanager
def served(
    command: list[str], folder: Path, url: str, body: str
) -> Iterator[tuple[int, float]]:
    """Run a server on the first core; yield its session and seconds to an answer.

    Raises:
        SilentError: it does not answer; with what it printed last.
    """
    printed = folder / "printed.txt"
    began = time.monotonic()
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")  # of who measures
    clean = {name: text for name, text in os.environ.items() if name not in unwanted}
    with printed.open("w") as out:
        process = subprocess.Popen(
            ["taskset", "-c", "0", *command],
            cwd=folder,
            env=clean | {"PATH": path, "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        while not answers(url, body):
            if process.poll() is not None or time.monotonic() - began > 120:
                raise SilentError(f"{command} fails:\n{printed.read_text()[-3000:]}")
            time.sleep(0.02)
        yield process.pid, time.monotonic() - began
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for left in session(process.pid):  # children that outlive it
            os.kill(left, signal.SIGKILL)
        process.wait()
        while answers(url, body):
            time.sleep(0.1)


def session(leader: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended
            if int(stat.read_text().rsplit(")", 1)[1].split()[3]) == leader:
                found.append(int(stat.parent.name))
    return found


class SilentError(Exception):
    """A server gives no prediction."""


def answers(url: str, body: str) -> bool:
    """Tell whether a server gives a prediction."""
    asked = urllib.request.Request(  # noqa: S310
        url, body.encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as response:  # noqa: S310
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        if error.code in (404, 500, 503):  # not loaded yet
            return False
        raise SilentError(f"{url}: {error.code} {error.read()[:2000]!r}") from None
    except (OSError, http.client.HTTPException):
        return False


def memory(leader: int) -> float:
    """Return the MB of all processes of a session; shared pages count once."""
    total = 0
    for process in session(leader):
        with suppress(OSError):  # it ended
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0])
    return total / 1000


def measured(
    command: list[str], folder: Path, port: int, peer: Peer, rows: Rows
) -> tuple[dict[int, Speed], float, float, float]:
    """Return the speeds, rows/s in bulk, seconds of a start, and MB of a server."""
    url, one = f"http://127.0.0.1:{port}{peer.path}", request(peer, rows[:1])
    starts = []
    with served(command, folder, url, one):
        pass  # which compiles what is not yet
    for _ in range(STARTS):
        with served(command, folder, url, one) as (_, seconds):
            starts.append(seconds)
    with served(command, folder, url, one) as (leader, _):
        script, speeds = lua(folder / "one.lua", one), dict[int, Speed]()
        for connections in CONNECTIONS:
            where = (port, leader, connections, peer.path)
            rounds = [speed(script, *where) for _ in range(ROUNDS + 1)]
            speeds[connections] = median(rounds[1:])  # the first warms it up
        script = lua(folder / "bulk.lua", request(peer, rows))
        rate = in_bulk(script, port, leader, peer.path)
        return speeds, rate, sorted(starts)[1], memory(leader)


def in_bulk(script: Path, port: int, leader: int, path: str) -> float:
    """Return the rows/s of bodies with BULK rows, on one connection."""
    where = (port, leader, 1, path)
    return median([speed(script, *where) for _ in range(ROUNDS + 1)][1:]).rate * BULK


def lua(path: Path, body: str) -> Path:
    """Write what `wrk` sends."""
    path.write_text(LUA.replace("{body}", body))
    return path


def stream(path: Path, rows: Rows) -> Path:
    """Write what `wrk` sends as an Arrow stream, and asks for."""
    import pyarrow as pa

    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = path.with_suffix(".arrow")
    body.write_bytes(sink.getvalue())
    text = LUA.replace("[==[{body}]==]", f'io.open("{body}", "rb"):read("*a")')
    asks = f'wrk.headers["Accept"] = "{bulk.ARROW}"\n'
    path.write_text(asks + text.replace("application/json", bulk.ARROW))
    return path


def bare(python: Path, folder: Path, rows: Rows) -> float:
    """Return the rows/s of the model alone."""
    (folder / "rows.json").write_text(json.dumps(rows))
    command = (str(python), "-P", str(HERE / "bare.py"), "rows.json")
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True
    )
    return float(done.stdout)


def arrow(command: list[str], folder: Path, port: int, rows: Rows) -> float:
    """Return the rows/s of Arrow bodies, which only ours takes."""
    url, one = f"http://127.0.0.1:{port}/predict", json.dumps({"rows": rows[:1]})
    with served(command, folder, url, one) as (leader, _):
        script = stream(folder / "arrow.lua", rows)
        return in_bulk(script, port, leader, "/predict")


def figures(name: str, repository: Path, rows: Rows, scratch: Path) -> Figures:
    """Return the figures of a peer."""
    peer, folder, port = PEERS[name], scratch / name, free()
    requirements = (*peer.requirements, *SCIKIT_LEARN)
    wanted = "\n".join(requirements)
    python, size, packages = environment(name.lower(), requirements, wanted)
    shutil.copytree(HERE / "peers", folder)
    fit = (str(python), "fit.py", str(repository / TABLE), ".")
    subprocess.run(fit, cwd=folder, check=True, capture_output=True)
    settings(folder, port)
    command = [str(python), *(word.format(port=port) for word in peer.command)]
    return Figures(*measured(command, folder, port, peer, rows), size, packages)


def settings(folder: Path, port: int) -> None:
    """Write what MLServer reads."""
    server: dict[str, Any] = {"http_port": port, "host": "127.0.0.1", "debug": False}
    server |= {"grpc_port": free(), "metrics_port": free(), "parallel_workers": 0}
    model = {"name": "flights", "implementation": "mlserver_sklearn.SKLearnModel"}
    uri = {"parameters": {"uri": "./model.joblib"}}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model | uri))


def ours(repository: Path, rows: Rows, scratch: Path) -> Figures:
    """Return the figures of the server of a generated repository."""
    lock = repository / "mlgitops/requirements/serving.txt"
    hashed = (("--require-hashes", f"-r{lock}"), lock.read_text())
    python, _, _ = environment("ours", *hashed)
    for unused in python.parent.parent.rglob("libonnxruntime.so*"):
        unused.unlink()  # as the image does: Python loads another file
    python, size, packages = environment("ours", *hashed)
    folder, port = scratch / "ours", free()
    shutil.copytree(repository / "mlgitops", folder / "mlgitops")
    shutil.copytree(repository / "build", folder / "build")
    shutil.copy(repository / "contract.yaml", folder / "build")
    command = [str(python), "-m", "mlgitops.serving", "--model=build", "--log=log"]
    command += [f"--port={port}", "--drain=0"]
    asked = Peer((), (), "/predict", "rows")
    found = measured(command, folder, port, asked, rows)
    in_arrow, alone = arrow(command, folder, port, rows), bare(python, folder, rows)
    return Figures(*found, size, packages, in_arrow, alone)


def rows_of(repository: Path) -> Rows:
    """Return rows that every server takes, from the table of the repository."""
    import pandas as pd

    manifest = json.loads((repository / "build/manifest.json").read_bytes())
    table = pd.read_parquet(repository / TABLE, columns=manifest["columns"])
    rows: Rows = json.loads(table[:BULK].to_json(orient="records"))
    return rows


HEAD = (
    f"{'server':<10}" + "".join(f"{f'{c} conn/s':>11}" for c in CONNECTIONS)
    + "".join(f"{f'p99 ms {c}':>11}" for c in CONNECTIONS)
    + f"{'bulk rows/s':>13}{'start s':>9}{'MB':>7}{'env MB':>8}{'packages':>10}"
    + f"{'ours: rate':>12}{'bulk':>7}{'start':>7}{'MB':>6}"
)  # fmt: skip


def line(name: str, found: Figures, own: Figures | None = None) -> str:
    """Return a line of the table, for a peer with what ours is of it."""
    rates = "".join(f"{s.rate:>11,.0f}" for s in found.speeds.values())
    late = "".join(f"{s.p99:>11.2f}" for s in found.speeds.values())
    rest = f"{found.bulk:>13,.0f}{found.start:>9.2f}{found.memory:>7.0f}"
    text = f"{name:<10}{rates}{late}{rest}{found.size:>8.0f}{found.packages:>10}"
    if own is None:
        return text
    rate = own.speeds[16].rate / found.speeds[16].rate
    return (
        f"{text}{rate:>12.1f}{own.bulk / found.bulk:>7.1f}"
        f"{own.start / found.start:>7.2f}{own.memory / found.memory:>6.2f}"
    )


def compared(own: Figures, others: dict[str, Figures]) -> list[str]:
    """Return what the figures say, as ratios to the best of the others."""
    rate = own.speeds[16].rate / max(f.speeds[16].rate for f in others.values())
    most = max(f.bulk for f in others.values())
    start = min(f.start for f in others.values())
    least = min(f.memory for f in others.values())
    return [
        f"Requests/s at 16 connections: {rate:.1f} times the best.",
        f"Rows/s in bodies of {BULK:,} rows: {own.bulk / most:.1f} times the best; "
        f"in Arrow bodies {own.arrow:,.0f}, {own.arrow / most:.1f} times.",
        f"The model alone, on a core: {own.alone:,.0f} rows/s, "
        f"{own.alone / most:.1f} times the best.",
        f"To the first prediction: {own.start / start:.2f} of the fastest.",
        f"Memory: {own.memory / least:.2f} of the smallest.",
        f"Environment: {own.size:.0f} MB, {own.packages} packages.",
    ]


def beside_empty(own: Figures, scratch: Path) -> list[str]:
    """Return what ours is of an empty ASGI handler on the same server."""
    folder, port = scratch / "empty", free()
    folder.mkdir()
    command = [str(ENVIRONMENTS / "ours/bin/python"), str(HERE / "empty.py"), str(port)]
    url, lines = f"http://127.0.0.1:{port}/", list[str]()
    with served(command, folder, url, "{}") as (leader, _):
        script = lua(folder / "one.lua", "{}")
        for connections in CONNECTIONS:
            rounds = [speed(script, port, leader, connections) for _ in range(ROUNDS)]
            empty, ours_ = median(rounds), own.speeds[connections]
            lines.append(
                f"Of an empty ASGI handler, {connections:>2} connections: "
                f"{ours_.rate / empty.rate:.2f} of its {empty.rate:,.0f} requests/s, "
                f"{ours_.p99 / empty.p99:.1f} times its p99 of {empty.p99:.2f} ms."
            )
    return lines


def write(load: float, table: list[str], below: list[str]) -> None:
    """Write the page."""
    about = (__doc__ or "").split("\n\n")[2].strip()
    page = ["# The server beside others", "", "Written by `make serving`.", "", about]
    page += ["", f"{os.cpu_count()} cores, load {load:.1f} at the start.", ""]
    page += ["```text", *table, "", *below, "```", ""]
    PAGE.write_text("\n".join(page), encoding="utf-8")


def main() -> None:
    """Measure ours and the peers, print the table, write the page."""
    names, others = sys.argv[1:] or [*PEERS], dict[str, Figures]()
    with TemporaryDirectory() as name:
        repository = project(Path(name, "project"))
        run((PYTHON, "-m", "mlgitops", "repro"), repository)
        rows = rows_of(repository)
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, load {load:.1f}, {SECONDS} s each\n{HEAD}")
        own = ours(repository, rows, Path(name))
        table = [HEAD, line("ours", own)]
        print(table[-1], flush=True)
        for peer in names:
            try:
                others[peer] = figures(peer, repository, rows, Path(name))
                table.append(line(peer, others[peer], own))
            except (SilentError, SystemExit) as error:
                print(error, file=sys.stderr)
                table.append(
                    f"{peer:<10}    no figures: it did not answer all requests"
                )
            print(table[-1], flush=True)
        python = str(ENVIRONMENTS / "ours/bin/python")
        below = [*(compared(own, others) if others else ()), ""]
        below += [*beside_empty(own, Path(name)), "", *shape.table(repository, python)]
    print("", *below, sep="\n")
    if names == [*PEERS]:
        write(load, table, below)


if __name__ == "__main__":
    main()
