"""Several workers on one port: one log, one set of numbers, and no request lost."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.test_serving import Load
from mlgitops.host import agent
from mlgitops.serving.__main__ import bind, parse
from mlgitops.serving.metrics import Counts
from mlgitops.serving.reasons import Reason
from mlgitops.serving.team import Team, memory
from mlgitops.serving.workers import WorkerError, Workers
from rehearsal import ports

COLUMNS = {"carrier": {"type": "category", "categories": ["AA"]}}


def test_what_cannot_be_added_stays_with_its_worker() -> None:
    file = memory(2)
    counts = counted(2)
    counts.label = object()  # type: ignore[attr-defined]
    Team(file, 0).publish(counts, 0, None)
    sums = Team(file, 1).all(counted(1), 0, None)[0]
    assert sums.rows == 3 and not hasattr(sums, "label")
    os.close(file)


def counted(rows: int, seconds: float = 0.001) -> Counts:
    counts = Counts(COLUMNS)
    for _ in range(rows):
        counts.responded("/predict", seconds)
        counts.predicted([{"carrier": "??"}])
    counts.refused("other", 404, Reason.NOT_FOUND)
    return counts


def test_numbers_of_all_workers_are_added() -> None:
    """Those of a dead one stay, but for what it had not done yet."""
    file = memory(3)
    log = {"written": 5, "queued": 2, "dropped": 0, "lost": 0}
    one, two = Team(file, 0), Team(file, 1)
    one.publish(counted(5), 1, log)
    two.publish(counted(7, seconds=3.0), 2, None)
    sums, refused, logged = Team(file, 2).all(counted(1), 0, log)
    assert (sums.rows, refused, sums.unknown) == (13, 3, Counter(carrier=13))
    assert sums.responses == Counter({("/predict", 200): 13, ("other", 404): 3})
    assert sums.reasons == Counter({Reason.NOT_FOUND: 3})
    assert sum(sums.durations) == 13 and sums.seconds == pytest.approx(21.006)
    assert logged == {"written": 10, "queued": 4, "dropped": 0, "lost": 0}
    assert sums.columns == (["carrier"], [])
    again = Team(file, 0)
    sums, refused, logged = again.all(counted(1), 0, {"written": 1, "queued": 0})
    assert (sums.rows, refused) == (13, 3)
    assert logged is not None and (logged["written"], logged["queued"]) == (6, 0)
    again.publish(counted(1), 0, {"written": 1, "queued": 0})
    assert two.all(counted(7), 2, None)[0].rows == 13
    os.close(file)


def test_lines_that_the_next_log_counts_are_not_counted_twice() -> None:
    """A worker that died while the disk was full has left their number there."""
    file = memory(2)
    log = {"written": 5, "queued": 2, "dropped": 3, "lost": 1, "unrecorded": 3}
    Team(file, 0).publish(counted(1), 0, log)
    again, other = Team(file, 0), Team(file, 1)
    taken = {"written": 0, "queued": 0, "dropped": 0, "lost": 3 + 2}  # and two queued
    expected = {"written": 5, "queued": 0, "dropped": 1, "lost": 5}
    assert again.all(counted(0), 0, taken)[2] == expected
    again.publish(counted(0), 0, taken | {"unrecorded": 5})
    assert other.all(counted(0), 0, None)[2] == expected
    os.close(file)


def test_a_slot_that_is_being_written_does_not_mislead() -> None:
    file = memory(2)
    one, two = Team(file, 0), Team(file, 1)
    assert two.all(counted(0), 0, None)[0].rows == 0
    one.publish(counted(5), 0, None)
    assert two.all(counted(0), 0, None)[0].rows == 5
    os.pwrite(file, b"torn", 20)
    assert two.all(counted(0), 0, None)[0].rows == 5
    os.close(file)


@pytest.mark.parametrize("number", ["0", "-1", "two", "1000", "1.5"])
def test_odd_numbers_of_workers_get_a_sentence(number: str) -> None:
    for option in ("workers", "threads"):
        with pytest.raises(SystemExit, match=f"--{option}: .* 1 to 999"):
            parse(["--model", "x", f"--{option}={number}"])


@pytest.mark.parametrize("sha256", ["zz", "", "0" * 63, "0" * 65, "G" * 64, "٣" * 64])
def test_what_is_no_sha256_is_not_expected(sha256: str) -> None:
    """Nothing could be it: the server would never be ready."""
    for option in ("--expect", "--shadow-expect", "--canary-expect"):
        challenger = ["--log", "l", "--shadow", "b", "--canary", "b"]
        with pytest.raises(SystemExit, match=f"{option}: .* 64 hexadecimal digits"):
            parse(["--model", "a", *challenger, option, sha256])
    assert parse(["--model", "a", "--expect", "a" * 64]).expect == "a" * 64


def test_an_image_without_an_identity_expects_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_SHA256", "")
    assert parse(["--model", "a"]).expect is None


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Any, Path]]:
    folder = tmp_path_factory.mktemp("workers")
    tiny.version(folder / "model")
    number = str(ports.free())  # a port that has a number, as a server's has
    options = ("--workers", "2", "--port", number, "--log", str(folder / "log"))
    errors = folder / "errors"
    with tiny.server(folder / "model", *options, errors=errors) as (port, process):
        yield port, process, folder


def workers(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [*map(int, path.read_text().split())]


def metric(port: int, name: str) -> float:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read()
    (number,) = re.findall(rf"^{re.escape(name)} ([\d.]+)$", text.decode(), re.M)
    return float(number)


def ask(port: int, count: int) -> None:
    for _ in range(count):
        assert tiny.call(port, "/predict", {"rows": [tiny.ROW]})[0] == 200


def until(port: int, rows: float) -> None:
    """Wait until the workers have told one another, as they do twice a second.

    A worker that is asked says at once what it has not told yet: it has to stay so.
    """
    end = time.monotonic() + 120
    since = time.monotonic()
    while time.monotonic() - since < 2:
        assert time.monotonic() < end
        if metric(port, "model_rows_total") != rows:
            since = time.monotonic()
        time.sleep(0.1)


def test_workers_count_as_one_die_and_stop(served: tuple[int, Any, Path]) -> None:
    """In one go, as a start costs: kill -9 of one loses no line and no number."""
    port, process, folder = served
    ask(port, 20)
    first = workers(process)
    assert len(first) == 2
    end = time.monotonic() + 120
    while tiny.call(port, "/info")[1]["log"]["written"] != 20:
        assert time.monotonic() < end
        time.sleep(0.1)
    until(port, 20)
    os.kill(first[0], signal.SIGKILL)
    end = time.monotonic() + 120
    while running(first[0]):  # a moment more, in which it may take a connection
        assert time.monotonic() < end
    ask(port, 10)  # by the other
    while "was started again" not in (folder / "errors").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    ask(port, 10)
    until(port, 40)
    assert len(tiny.logged(folder / "log")) == 40
    assert "worker 0 ended with status -9" in (folder / "errors").read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    assert not list((folder / "log").glob("losses-*"))


def test_a_worker_that_cannot_start_is_one_death(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others go on answering; it is tried again until it is no accident."""
    commands = [["sleep", "60"]] * 2 + [["false"]] * 9

    def start(self: Workers, number: int) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(commands.pop(0), stdin=pipe, stdout=pipe)

    monkeypatch.setattr(Workers, "_start", start)
    team = Workers([], bind("127.0.0.1", 0), 2)
    team.processes[0].kill()
    team.processes[0].wait()
    team._replace()
    assert "ended at its start" in capsys.readouterr().err
    assert team.processes[1].poll() is None
    with pytest.raises(WorkerError, match="5 times"):
        for _ in range(4):
            team._replace()
    team._end(5.0)


def test_a_worker_that_dies_before_the_move_moves_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it prints first is read before it is told to accept."""
    code = "echo serving on here; read line; echo accepting; sleep 60"

    def start(self: Workers, number: int) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(["sh", "-c", code], stdin=pipe, stdout=pipe)

    monkeypatch.setattr(Workers, "_start", start)
    team = Workers([], bind("127.0.0.1", 0), 2, bind("127.0.0.1", 0))
    team.address = "here"
    try:
        for process in team.processes:
            team._wait_ready(process)
        team.processes[0].kill()
        team.processes[0].wait()
        team._replace()
        team._accept_all()
    finally:
        team._end(5.0)


def test_workers_that_die_again_and_again_end_the_server(tmp_path: Path) -> None:
    tiny.version(tmp_path / "model")
    errors = tmp_path / "errors"
    options = ("--workers", "2")
    with tiny.server(tmp_path / "model", *options, errors=errors) as (_, process):
        end = time.monotonic() + 60
        while process.poll() is None:
            assert time.monotonic() < end
            for worker in workers(process):
                with suppress(ProcessLookupError):  # its parent knows already
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.05)
        assert process.returncode == 1
    assert "stopped: " in errors.read_text()
    assert "Traceback" not in errors.read_text()


def test_a_parent_checks_workers_on_a_private_port_first(tmp_path: Path) -> None:
    """As one server: `accept` moves all of them, and the end is a drain."""
    tiny.version(tmp_path / "model")
    log, errors = tmp_path / "log", tmp_path / "errors"
    with bind("127.0.0.1", 0) as public:
        os.set_inheritable(number := public.fileno(), True)
        port = public.getsockname()[1]
        options = ("--workers", "2", "--fd", str(number), "--log", str(log))
        options += ("--drain", "30")  # a caller may have no turn for long
        given = {"shared": number, "errors": errors}
        with tiny.server(tmp_path / "model", *options, **given) as (private, process):
            ask(private, 4)
            with pytest.raises(OSError):
                ask(port, 1)
            assert process.stdin and process.stdout
            process.stdin.write("accept\n")
            process.stdin.flush()
            assert process.stdout.readline() == "accepting\n"
            with pytest.raises(OSError):
                ask(private, 1)
            load = Load(port, callers=4, pause=0.005)
            load.until(20)
            assert load.lost == []
            process.stdin.close()  # its parent is gone
            assert process.wait(120) == 0
            load.end()
    assert load.lost == [] and load.answered
    assert Counter(each["id"] for each in tiny.logged(log)) == load.answered
    assert "Traceback" not in errors.read_text()


def test_a_container_can_read_a_challenger_whatever_the_umask_of_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder of the way there, as the container mounts the first of them."""
    model = tmp_path / "releases/name/model"
    model.mkdir(parents=True)
    (model / "model.onnx").touch()
    paths = [model.parent.parent, model.parent, model, model / "model.onnx"]
    for path in paths:
        path.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    container = object.__new__(agent.Container)
    container.options = agent.argparse.Namespace(home=tmp_path)
    assert container.path(model) == "/releases/name/model"
    modes = [path.stat().st_mode & 0o777 for path in paths]
    assert modes == [0o755, 0o755, 0o755, 0o644]


def test_a_server_that_is_killed_takes_its_workers_along() -> None:
    """Also those that hang, which a closed pipe would not end."""
    server = object.__new__(agent.Server)
    server.process = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"])
    end = time.monotonic() + 120
    while len(started := agent.children(server.process.pid)) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    server.kill()
    while any(Path(f"/proc/{pid}").exists() and running(pid) for pid in started):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert server.process.poll() is not None and not agent.children(1 << 30)


def running(pid: int) -> bool:
    """Return whether a process is more than its exit status."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_an_agent_refuses_what_workers_cannot_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--git", "x", "--home", "y", "--log", "z"]
    assert agent.workers(agent.parse(given)) == []
    assert agent.workers(agent.parse([*given, "--workers=2"])) == ["--workers", "2"]
    for wrong in (["--workers=0"], ["--workers=2", "--canary"], ["--workers=1000"]):
        with pytest.raises(SystemExit):
            agent.parse([*given, *wrong])
        assert "--workers" in capsys.readouterr().err.splitlines()[-1]
