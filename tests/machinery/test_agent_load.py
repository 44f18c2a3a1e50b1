"""The host agent under load and under kill -9: no request lost, nothing half.

A share of the swaps and kills here; 1,000 swaps, fifty of them to bad versions, and a
hundred kills with PROOF=1 (`lengths.py`).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.lengths import PROOF, times
from machinery.test_agent import Api, Callers, World, children, gone
from mlgitops.host.agent import children as processes
from mlgitops.serving.verify import sha256_file, verify

pytestmark = pytest.mark.slow

SWAPS, BAD = times(1_000, 6), times(50, 1)
KILLS = times(100, 3)
WORKER_SWAPS = times(100, 1)
CONNECTIONS = 16
PAUSE = 10 if PROOF else 40  # ms of a connection between two requests
# One row, again and again, a moment apart; answers are counted by model and value.
SCRIPT = """
wrk.method = "POST"
wrk.body = [[%s]]
seen = {}
function setup(thread) worker = thread end
function delay() return %d end
function response(status, headers, body)
  local model = body:match('"manifest_sha256": ?"(%%x+)"') or "nobody"
  local answer = body:match('"probability": ?([%%d.e-]+)') or "nothing"
  local key = status .. " " .. model .. " " .. answer
  seen[key] = (seen[key] or 0) + 1
end
function done(summary)
  for key, count in pairs(worker:get("seen")) do
    io.write("seen ", key, " ", count, "\\n")
  end
  local e = summary.errors
  io.write("lost ", e.connect + e.read + e.write + e.timeout + e.status, "\\n")
  io.write("requests ", summary.requests, "\\n")
end
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    api = Api()
    try:
        yield World(tmp_path, api)
    finally:
        api.shutdown()
        api.server_close()


@contextmanager
def wrk(port: int, folder: Path) -> Iterator[Path]:
    """Ask a server from sixteen connections; what was seen is in a file afterwards."""
    script, said = folder / "ask.lua", folder / "wrk.txt"
    script.write_text(SCRIPT % (json.dumps({"rows": [tiny.ROW]}), PAUSE))
    place = f"http://127.0.0.1:{port}/predict"
    command = ("wrk", "-t1", f"-c{CONNECTIONS}", "-d20000s", "--timeout", "60s")
    with said.open("w") as output:
        load = subprocess.Popen((*command, "-s", str(script), place), stdout=output)
        try:
            yield said
        finally:
            load.send_signal(signal.SIGINT)  # it ends, and says what it saw
            load.wait(120)


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk: apt-get install wrk")
def test_f29_swaps_under_load_lose_no_request(world: World) -> None:
    """Sixteen connections; some versions are bad, and never answer."""
    chance = random.Random(1)
    slopes = {world.release("v1.0.0", 0.001)["manifest_sha256"]: 0.001}
    bad = set(chance.sample(range(1, SWAPS), BAD))
    refused = set()
    with world.agent():
        world.until(lambda: world.settled(next(iter(slopes))))
        with wrk(world.port, world.home) as said:
            for number in range(1, SWAPS + 1):
                slope = 0.0005 + number / 1_000_000
                wrong = {"golden": [{"row": tiny.ROW, "probability": 0.01}]}
                changes: dict[str, Any] = wrong if number in bad else {}
                found = world.release(f"v1.{number}.0", slope, **changes)
                identity = found["manifest_sha256"]
                if number in bad:
                    refused.add(identity)
                    world.until(
                        lambda seq=found["seq"]: (
                            (world.state()["failed"] or {}).get("seq") == seq
                        ),
                    )
                    continue
                slopes[identity] = slope
                world.until(lambda identity=identity: world.settled(identity))
            time.sleep(0.5)
    lines = [line.split() for line in said.read_text().splitlines()]
    assert ["lost", "0"] in lines, said.read_text()
    seen = [line[1:] for line in lines if line[:1] == ["seen"]]
    answered = 0
    for status, identity, probability, count in seen:
        assert status == "200" and identity not in refused
        assert (
            abs(float(probability) - tiny.expected(tiny.ROW, slopes[identity])) < 1e-5
        )
        answered += int(count)
    assert {identity for _, identity, _, _ in seen} == set(slopes)
    (total,) = [int(line[1]) for line in lines if line[:1] == ["requests"]]
    assert answered == total > 100 * SWAPS
    paths = [*(world.home / "log").glob("predictions-*")]
    assert sum(path.read_bytes().count(b"\n") for path in paths) >= answered
    print(f"{SWAPS} swaps, {BAD} bad, {total} requests, 0 lost")


def test_workers_are_swapped_and_replaced_under_load(world: World) -> None:
    """Two processes a server: they come and go as one does, and one may die."""
    one = world.release("v0.1.0", 0.001)["manifest_sha256"]
    with world.agent("--workers", "2") as agent:
        world.until(lambda: world.settled(one))
        callers = Callers(world.port)
        expected = {one}
        try:
            world.until(lambda: callers.seen[one])
            for number in range(1, WORKER_SWAPS + 1):
                slope = 0.001 + number / 100_000
                new = world.release(f"v1.{number}.0", slope)["manifest_sha256"]
                world.until(lambda new=new: world.settled(new) and callers.seen[new])
                expected.add(new)
            golden = [{"row": tiny.ROW, "probability": 0.01}]
            world.release("v2.0.0", 0.004, golden=golden)
            world.until(lambda: world.state()["failed"])
            time.sleep(0.5)
        finally:
            callers.end()
        # Until those that were replaced, and the one that was refused, are gone.
        world.until(lambda: [len(processes(pid)) for pid in children(agent)] == [2])
        (server,) = children(agent)
        os.kill(processes(server)[0], signal.SIGKILL)
        world.until(lambda: "was started again" in world.words())
        assert world.serves() in expected and world.state()["running"]
    assert callers.errors == [] and set(callers.seen) == expected
    assert len(tiny.logged(world.home / "log")) == sum(callers.seen.values())
    assert "golden rows differ" in world.words()
    assert (
        "Traceback" not in world.words() and "the server ended (" not in world.words()
    )


def test_killed_at_random_moments_it_resumes_whole(world: World) -> None:
    """Kill -9 somewhere in a switch: one of the two serves; the next start ends it."""
    chance = random.Random(2)
    old = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(old))
    for number in range(1, KILLS + 1):
        with world.agent() as agent:
            world.until(lambda: world.serves())
            new = world.release(f"v1.{number}.0", 0.001 + number / 9_000)
            time.sleep(chance.uniform(0, 2))
            mine = children(agent)
            agent.send_signal(signal.SIGKILL)
            agent.wait()
            world.until(lambda mine=mine: all(gone(pid) for pid in mine))
        running = world.state()["running"]["manifest_sha256"]
        assert running in (old, new["manifest_sha256"])
        for folder in (world.home / "agent/releases").iterdir():
            if folder.suffix != ".part":
                verify(folder / "model")
                manifest = sha256_file(folder / "model/manifest.json")
                assert folder.name.startswith(manifest[:16])
        old = new["manifest_sha256"]
        with world.agent():
            world.until(lambda old=old: world.settled(old))
            assert world.state()["failed"] is None
    assert "Traceback" not in world.words()
