"""What one row costs in the server, beside an empty handler on the same stack.

    python -m benchmarks.serving.core REPOSITORY [REPOSITORY ...]

Each REPOSITORY is a generated one with a version in build/; of two, such as the one
before a change and the one after, both are measured in the same run. Each server has
the first core, `wrk` the second, and they take turns for `ROUNDS` rounds of `SECONDS`
at each number of connections; the log is on. Then the steps of one row are timed in the
process, the fastest of several repeats.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

HERE = Path(__file__).parent
CONNECTIONS = (1, 16, 64)
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("SECONDS", "3"))
LUA = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"""


class Speed(NamedTuple):
    """What a server does at a number of connections."""

    rate: float  # requests/s
    cpu: float  # microseconds of the processor per request, which others change less
    p50: float  # ms
    p99: float  # ms


def free() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def started(
    command: list[str],
    folder: Path,
    port: int,
    cores: str = "0",
    python: str = sys.executable,
) -> Iterator[int]:
    """Run a server on the first core until the block ends; yield its number."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        ["taskset", "-c", cores, python, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(1_200):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit(f"{command} does not listen")
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def used(process: int) -> float:
    """Return the seconds of the processor that a process and its children took.

    The scheduler counts them to the nanosecond; those of `stat` are samples.
    """
    tasks = list(Path(f"/proc/{process}/task").iterdir())
    own = sum(int((t / "schedstat").read_text().split()[0]) for t in tasks) / 1e9
    children = " ".join((task / "children").read_text() for task in tasks).split()
    return own + sum(used(int(child)) for child in children)


def speed(
    script: Path, port: int, process: int, connections: int, path: str = "/predict"
) -> Speed:
    """Return what `wrk` on the second core sees; SystemExit where a request fails."""
    address = f"http://127.0.0.1:{port}{path}"
    for seconds in (SECONDS, 5 * SECONDS, 25 * SECONDS):  # a slow one needs longer
        before = used(process)
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=60s"]
        ran = subprocess.run(
            ["taskset", "-c", "1", "wrk", *options, "-s", str(script), address],
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", ran.stdout)
        if not found or found[5] != "0":
            break
        count, duration, p50, p99, _ = map(int, found.groups())
        if count:
            cpu = (used(process) - before) / count * 1e6
            return Speed(count / duration * 1e6, cpu, p50 / 1000, p99 / 1000)
    raise SystemExit(f"requests failed:\n{ran.stdout}")


def body(repository: Path) -> str:
    """Return a request for the first golden row, with an id and a time."""
    manifest = json.loads((repository / "build/manifest.json").read_bytes())
    row = manifest["golden"][0]["row"]
    row = {"id": "row-1", "time": "2013-04-01T23:30:00Z", **row}
    return json.dumps({"rows": [row]})


def measure(repositories: list[Path]) -> dict[tuple[str, int], list[Speed]]:
    """Return the rounds of each server at each number of connections."""
    speeds: dict[tuple[str, int], list[Speed]] = {}
    with TemporaryDirectory() as name:
        scratch = Path(name)
        script = scratch / "post.lua"
        script.write_text(LUA.replace("{body}", body(repositories[0])))
        for number in range(ROUNDS):
            servers: list[tuple[str, list[str], Path]] = [("empty", [], HERE)]
            for repository in repositories:
                log = str(scratch / f"{repository.name}-{number}")
                options = ["-m", "mlgitops.serving", "--model", "build", "--log", log]
                servers.append(
                    (str(repository), [*options, "--drain", "0"], repository)
                )
            for server, options, folder in servers:
                port = free()
                own = [str(HERE / "empty.py"), str(port)]
                command = [*options, "--port", str(port)] if options else own
                with started(command, folder, port) as process:
                    for connections in CONNECTIONS:
                        found = speed(script, port, process, connections)
                        speeds.setdefault((server, connections), []).append(found)
    return speeds


def median(rounds: list[Speed]) -> Speed:
    """Return the median of each number."""
    return Speed(*(statistics.median(column) for column in zip(*rounds, strict=True)))


def main() -> None:
    """Print the speeds as a table, with ratios to the empty handler, then the steps."""
    repositories = [Path(argument).resolve() for argument in sys.argv[1:]]
    if not repositories:
        raise SystemExit("usage: python -m benchmarks.serving.core REPOSITORY ...")
    speeds = {key: median(rounds) for key, rounds in measure(repositories).items()}
    print(f"{os.cpu_count()} cores, {ROUNDS} rounds of {SECONDS} s, one row, log on")
    print(f"{'':<20}{'connections':>12}{'requests/s':>11}{'CPU us':>8}{'p50 ms':>8}"
          f"{'p99 ms':>8}   of empty: rate, CPU, p99")  # fmt: skip
    for (server, connections), found in speeds.items():
        empty = speeds["empty", connections]
        print(
            f"{Path(server).name:<20}{connections:>12}{found.rate:>11.0f}"
            f"{found.cpu:>8.1f}{found.p50:>8.2f}{found.p99:>8.2f}"
            f"{found.rate / empty.rate:>17.2f}{empty.cpu / found.cpu:>6.2f}"
            f"{found.p99 / empty.p99:>6.1f}"
        )
    for repository in repositories:
        print(
            f"\n{repository.name}: microseconds of one row, in the process", flush=True
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(repository)
        command = ["taskset", "-c", "0", sys.executable, str(HERE / "steps.py")]
        command += [body(repository)]
        subprocess.run(command, cwd=repository, env=environment, check=True)


if __name__ == "__main__":
    main()
