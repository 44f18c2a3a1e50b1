"""The server as a process: strict, honest about its state, and it loses nothing."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from machinery import pod, tiny
from machinery.lengths import times
from mlgitops.machinery import machinery
from mlgitops.serving.model import Model
from mlgitops.serving.rows import RowError

TIME = "2013-04-01T23:30:00-04:00"  # the 2nd of April in UTC


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return folder


@pytest.fixture(scope="module")
def port(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    log = str(tmp_path_factory.mktemp("log"))
    options = ("--version", "v1.0.0", "--log", log, "--max-rows", "50")
    with tiny.server(model, *options, "--max-bytes", "20000") as (port, _):
        yield port


def test_answers_are_the_models(port: int, model: Path) -> None:
    rows = [
        {"id": "a", "time": TIME} | tiny.ROW,
        {"id": 7, "carrier": "never seen", "distance": 1e5},
        {"carrier": "AA", "distance": 5, "temp": None, "seat": "a"},
    ]
    status, answer = tiny.call(port, "/predict", {"rows": rows})
    assert status == 200
    assert answer["manifest_sha256"] == Model(model).manifest_sha256
    assert answer["version"] == "v1.0.0"
    first, second, third = answer["predictions"]
    assert (first["id"], second["id"]) == ("a", 7) and len(third["id"]) == 32
    for row, given in zip(rows, answer["predictions"], strict=True):
        assert given["probability"] == pytest.approx(tiny.expected(row), abs=1e-6)
        assert given["decision"] is (given["probability"] >= 0.3)
    assert first["decision"] is True and third["decision"] is False


def test_health_and_info(port: int, model: Path) -> None:
    assert tiny.call(port, "/health/live") == (200, {"status": "ok"})
    assert tiny.call(port, "/health/ready") == (200, {"status": "ok"})
    info = tiny.call(port, "/info")[1]
    assert info.pop("log")["dropped"] == 0 and info.pop("refused") >= 0
    assert info == {
        "manifest_sha256": Model(model).manifest_sha256,
        "name": "flights",
        "version": "v1.0.0",
        "server_sha256": None,
        "environment": None,
        "machinery": str(machinery(part=True)),
        "task": "binary",
        "threshold": 0.3,
        "classes": None,
        "intervals": None,
        "pretrained": None,
        "ready": True,
    }


def rows(**changes: Any) -> dict[str, Any]:
    return {"rows": [tiny.ROW | changes]}


def text(old: str, new: str) -> bytes:
    return json.dumps(rows()).replace(old, new).encode()


REFUSED = [
    (422, rows(distance="1400"), "row 0: column 'distance' must be a number, not text"),
    (422, rows(distance=True), "true or false"),
    (422, rows(carrier=5), "column 'carrier' must be text, not a number"),
    (422, rows(distance=None), "row 0 lacks the column 'distance'"),
    (422, {"rows": [tiny.ROW, {"carrier": "AA"}]}, "row 1 lacks the column 'distance'"),
    (422, rows(carrier=""), "lacks the column 'carrier'"),
    (422, rows(distanze=3), "row 0 has the unknown column 'distanze'"),
    (422, rows(carrier="ü" * 257), "has 257 characters; at most 256 are allowed"),
    (422, rows(distance=1e39), "not a finite 32-bit number"),
    (422, rows(distance=10**400), "not a finite 32-bit number"),
    (422, rows(id=True), "'id' must be text"),
    (422, rows(id="x" * 201), "'id' must be text"),
    (422, rows(time="yesterday"), "'time' must be an ISO 8601 time"),
    (422, rows(time="0001-01-01T00:00:00+14:00"), "'time' must be"),
    (422, rows(time=5), "'time' must be"),
    (422, {"rows": []}, "0 rows"),
    (400, rows(carrier=["AA"]), "the body is not"),
    (400, rows(carrier={"a": 1}), "the body is not"),
    (400, {"rows": tiny.ROW}, "the body is not"),
    (400, {"rows": [tiny.ROW], "more": 1}, "the body is not"),
    (400, [], "the body is not"),
    (400, b"", "the body is not"),
    (400, b'{"rows": [', "the body is not"),
    (400, b"\xff\xfe\x00", "the body is not"),
    (400, text('"UA"', '"\\ud800"'), "the body is not"),
    (400, b"[" * 15_000, "the body is not"),
    (400, b'{"rows":[' + b'{"a":' * 3_000, "the body is not"),
    (422, text("1400", "NaN"), "row 0: column 'distance' is not a finite"),
    (422, text("1400", "-Infinity"), "row 0: column 'distance' is not a finite"),
    (422, text("1400", "1e999"), "row 0: column 'distance' is not a finite"),
    (422, text("1400", "9" * 5_000), "row 0: column 'distance' is not a finite"),
    (400, b'{"rows": [{"\\ud800": 1, "x": NaN}', "the body is not"),
    (413, {"rows": [tiny.ROW] * 51}, "51 rows; 1 to 50 are allowed"),
    (413, b" " * 20_001, "more than 20000 bytes"),
]


@pytest.mark.parametrize(("status", "body", "words"), REFUSED)
def test_odd_input_is_refused_with_a_sentence(
    port: int, status: Any, body: Any, words: str
) -> None:
    given, answer = tiny.call(port, "/predict", body)
    assert given in (status if isinstance(status, tuple) else (status,)), answer
    assert words in answer["error"]


ANSWERED = [
    rows(distance=-5),
    rows(distance=0),
    rows(distance=3.4e38),
    rows(carrier="\u0000|`@<b>'\"\\"),
    rows(carrier="ü" * 256),
    rows(temp=None, seat=None),
    rows(id=-(10**30)),
    rows(time="2013-04-01"),
    {"rows": [tiny.ROW] * 50},
    b" " * 10_000 + json.dumps(rows()).encode(),
]


@pytest.mark.parametrize("body", ANSWERED)
def test_odd_but_allowed_input_is_answered(port: int, body: Any) -> None:
    status, answer = tiny.call(port, "/predict", body)
    assert status == 200, answer


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/page", "GET", 404),
        ("/predict/", "POST", 404),
        ("/predict", "GET", 405),
        ("/info", "POST", 405),
        ("/health/live", "DELETE", 405),
        ("/../predict%00", "GET", 404),
    ],
)
def test_other_paths_and_methods(
    port: int, path: str, method: str, status: int
) -> None:
    given, answer = tiny.call(port, path, method=method)
    assert given == status and answer["error"].endswith(".")


def test_a_probe_may_ask_for_the_head_alone(port: int) -> None:
    """RFC 9110, 9.1: who answers GET answers HEAD."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for path in ("/health/live", "/health/ready", "/info"):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert int(answer.headers["content-length"]) > 0
    connection.close()


def head(port: int, size: int) -> tuple[bytes, int]:
    """Send a head with so long a header, a piece at a time; what came, what went."""
    piece, sent = b"a" * 8_192, 0
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        try:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: ")
            while sent < size:
                client.sendall(piece)
                sent += len(piece)
                time.sleep(0.001)
            client.sendall(b"\r\nConnection: close\r\n\r\n")
        except OSError:
            pass  # it hung up
        try:
            return client.recv(100), sent
        except OSError:
            return b"", sent


def test_a_head_without_end_is_refused_and_others_are_answered(port: int) -> None:
    assert head(port, 40_000)[0].startswith(b"HTTP/1.1 200")
    answer, sent = head(port, 50_000_000)
    assert answer.startswith(b"HTTP/1.1 431") or not answer
    assert sent < 10_000_000, "what was sent was read"
    assert tiny.call(port, "/health/live") == (200, {"status": "ok"})


def test_a_body_without_length_is_cut_at_the_cap(port: int) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        head = (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        peer.sendall(head)
        try:
            for _ in range(2_000):
                peer.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
                sent += 10_000
        except OSError:
            pass  # the server closed: what is beyond the cap is not read
        else:
            assert b" 413 " in peer.recv(1_000)
    assert tiny.call(port, "/health/live")[0] == 200


def _corrupt(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[50] ^= 1
    (folder / "model.onnx").write_bytes(data)


def _missing(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def _no_onnx(folder: Path) -> None:
    junk = b"not onnx"
    (folder / "model.onnx").write_bytes(junk)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["model"] |= {"sha256": tiny.sha256(junk), "bytes": len(junk)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _wrong_golden(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["golden"][0]["probability"] = 0.99
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _wrong_inputs(folder: Path) -> None:
    tiny.version(folder, columns=["distance", "carrier"])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_missing, "model.onnx cannot be read"),
        (_corrupt, "model.onnx is not the reviewed file"),
        (_no_onnx, "cannot be loaded"),
        (_wrong_golden, "golden rows differ"),
        (_wrong_inputs, "inputs are"),
    ],
)
def test_a_bad_model_is_alive_but_not_ready(
    tmp_path: Path, harm: Any, words: str
) -> None:
    tiny.version(tmp_path)
    harm(tmp_path)
    with tiny.server(tmp_path) as (port, _):
        assert tiny.call(port, "/health/live")[0] == 200
        status, answer = tiny.call(port, "/health/ready")
        assert status == 503 and words in answer["reason"]
        assert tiny.call(port, "/predict", rows())[0] == 503
        info = tiny.call(port, "/info")[1]
        assert (info["ready"], info["manifest_sha256"]) == (False, None)


def test_another_version_than_expected_is_not_served(model: Path) -> None:
    with tiny.server(model, "--expect", "0" * 64) as (port, _):
        status, answer = tiny.call(port, "/health/ready")
        assert status == 503 and "not the expected version" in answer["reason"]


def test_a_port_that_cannot_be_had_is_one_sentence(model: Path, tmp_path: Path) -> None:
    with tiny.server(model) as (taken, _):
        for port in (taken, 70_000):
            errors = tmp_path / "errors"
            with (
                pytest.raises(AssertionError),
                tiny.server(model, "--port", str(port), errors=errors),
            ):
                pass
            assert (
                "choose another with --port (make serve PORT=8080)"
                in errors.read_text()
            )
            assert "Traceback" not in errors.read_text()


def test_each_answer_is_logged_once_under_the_day_of_writing(
    model: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with tiny.server(model, "--log", str(log), "--version", "v2") as (port, process):
        day = datetime.now(UTC).date().isoformat()
        asked = [{"id": f"r{at}", "time": TIME} | tiny.ROW for at in range(20)]
        asked.append({"id": 5, "seat": "b"} | tiny.ROW)
        answer = tiny.call(port, "/predict", {"rows": asked})[1]["predictions"]
        tiny.call(port, "/predict", rows(distance="bad"))
        process.terminate()
        assert process.wait(120) == 0
    records = tiny.logged(log)
    assert [r["id"] for r in records] == [str(a["id"]) for a in answer]
    assert [r["probability"] for r in records] == [a["probability"] for a in answer]
    days = {day, datetime.now(UTC).date().isoformat()}  # it may have been midnight
    names = {path.name for path in log.iterdir()}
    assert names <= {f"predictions-{day}.jsonl" for day in days}
    first, last = records[0], records[-1]
    assert first["time"] == "2013-04-02T03:30:00+00:00" and last["time"] is None
    assert first["row"] == tiny.ROW and first["version"] == "v2"
    assert "seat" not in last["row"]  # the contract calls it sensitive


class Load:
    """Callers that keep their connections and note what was answered and lost."""

    def __init__(self, port: int, callers: int = 8, pause: float = 0.0) -> None:
        self.pause = pause  # of a caller between two requests, in seconds
        self.port, self.answered, self.lost = port, Counter[str](), list[str]()
        self.stop, self.heard = threading.Event(), set[int]()  # callers with an answer
        self.threads = [
            threading.Thread(target=self.run, args=(n,)) for n in range(callers)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, caller: int) -> None:
        connection, count = None, 0
        while not self.stop.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, 120)
                try:
                    connection.connect()
                except OSError:
                    return  # nobody listens any more: nothing was sent
            count += 1
            name = f"{caller}-{count}"
            try:
                connection.request("POST", "/predict", json.dumps(rows(id=name)))
                answer = connection.getresponse()
                body = json.loads(answer.read())
                assert answer.status == 200, body
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.lost.append(f"{name}: {error!r}")
                return
            self.answered[body["predictions"][0]["id"]] += 1
            self.heard.add(caller)
            if answer.headers.get("Connection") == "close":
                connection.close()
                return  # a load balancer would go elsewhere now
            self.stop.wait(self.pause)
        if connection is not None:
            connection.close()

    def until(self, count: int) -> None:
        """Wait until so many were answered, and each caller that goes on was.

        One that connects as the server stops may be in a queue that nobody empties.
        """
        end = time.monotonic() + 120
        while sum(self.answered.values()) < count or self._unheard():
            assert time.monotonic() < end, self.lost
            time.sleep(0.005)

    def _unheard(self) -> bool:
        """Return whether a caller still waits for its first answer."""
        return any(
            thread.is_alive() and caller not in self.heard
            for caller, thread in enumerate(self.threads)
        )

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(150)
            assert not thread.is_alive(), "a caller still waits"


@pytest.mark.parametrize("number", range(times(100, 1)))
def test_sigterm_under_load_loses_nothing(
    model: Path, tmp_path: Path, number: int
) -> None:
    """A hundred times with PROOF=1, each at another moment."""
    log, moment = tmp_path / "log", random.Random(number).uniform(0, 0.4)
    options = ("--log", str(log), "--drain", "2")  # a caller may have no turn for long
    with tiny.server(model, *options) as (port, process):
        load = Load(port)
        load.until(101)
        time.sleep(moment)
        process.terminate()
        assert process.wait(120) == 0
        load.end()
    assert load.lost == [] and sum(load.answered.values()) > 100
    assert Counter(r["id"] for r in tiny.logged(log)) == load.answered


@pytest.mark.slow
@pytest.mark.skipif(not pod.FOLDER.is_dir(), reason="there are no manifests here")
def test_a_pod_that_is_deleted_under_load_loses_nothing(
    model: Path, tmp_path: Path
) -> None:
    """In a kubelet's order and the manifest's times: pause, SIGTERM, drain, SIGKILL.

    Callers come until the server says that it leaves; each answer is in the log.
    """
    spec, log = pod.specification(), tmp_path / "log"
    pause, drain, grace = pod.seconds(spec)
    args = pod.arguments(spec, 0)
    args[args.index("--log") + 1] = str(log)
    with tiny.server(model, *args) as (port, process):
        load = Load(port, callers=6, pause=0.02)
        load.until(201)
        deleted = time.monotonic()
        time.sleep(pause)  # preStop: balancers learn of it, the server does not
        assert tiny.call(port, "/health/ready")[0] == 200
        during = sum(load.answered.values())
        process.terminate()
        late = Load(port, callers=2, pause=0.02)  # a balancer that has not heard of it
        assert process.wait(grace - pause) == 0
        assert time.monotonic() - deleted < pause + drain + 5 < grace
        load.end()
        late.end()
    answered = load.answered + late.answered
    assert load.lost == late.lost == [] and during > 200
    assert sum(load.answered.values()) > during and late.answered
    assert Counter(r["id"] for r in tiny.logged(log)) == answered


def test_ready_says_that_the_server_is_leaving(model: Path) -> None:
    with tiny.server(model, "--drain", "60") as (port, process):
        process.terminate()
        deadline = time.monotonic() + 55
        while tiny.call(port, "/health/ready")[0] != 503:
            assert time.monotonic() < deadline
        assert tiny.call(port, "/predict", rows())[0] == 200


def test_private_first_then_the_shared_socket(model: Path, tmp_path: Path) -> None:
    public = socket.socket()
    public.bind(("127.0.0.1", 0))
    os.set_inheritable(public.fileno(), True)
    port = public.getsockname()[1]
    log = tmp_path / "log"
    command = ("--fd", str(public.fileno()), "--log", str(log))
    with tiny.server(model, *command, shared=public.fileno()) as (private, process):
        assert tiny.call(private, "/predict", rows(id="check"))[0] == 200
        with pytest.raises(OSError):
            tiny.call(port, "/health/live")
        assert process.stdin and process.stdout
        process.stdin.write("accept\n")
        process.stdin.flush()
        assert process.stdout.readline() == "accepting\n"
        assert tiny.call(port, "/predict", rows(id="real"))[0] == 200
        with pytest.raises(OSError):
            tiny.call(private, "/health/live")
        process.stdin.close()  # its parent is gone
        assert process.wait(120) == 0
    assert [r["id"] for r in tiny.logged(log)] == ["real"]


def test_a_parent_that_dies_while_it_moves_leaves_no_traceback(
    model: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    with socket.socket() as public:
        public.bind(("127.0.0.1", 0))
        os.set_inheritable(shared := public.fileno(), True)
        command = ("--fd", str(shared))
        with tiny.server(model, *command, shared=shared, errors=words) as (_, process):
            assert process.stdin and process.stdout
            process.stdout.close()
            process.stdin.write("accept\n")
            process.stdin.close()
            assert process.wait(120) == 0
    assert "BrokenPipeError" not in words.read_text()


def test_a_server_whose_parent_died_at_its_start_leaves_no_traceback(
    model: Path, tmp_path: Path
) -> None:
    """Nobody reads its first line; its standard input ends, so it ends as well."""
    reader, writer = os.pipe()
    os.close(reader)
    words = tmp_path / "words"
    command = [sys.executable, "-m", "mlgitops.serving", "--model", str(model)]
    with socket.socket() as public, words.open("w") as errors:
        public.bind(("127.0.0.1", 0))
        os.set_inheritable(shared := public.fileno(), True)
        done = subprocess.run(
            [*command, "--port", "0", "--fd", str(shared)],
            input=b"",
            stdout=writer,
            stderr=errors,
            pass_fds=(shared,),
            timeout=60,
        )
    os.close(writer)
    assert done.returncode == 0 and "Error" not in words.read_text()


def test_killed_hard_then_started_again_the_log_has_no_torn_line(
    model: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with tiny.server(model, "--log", str(log)) as (port, process):
        load = Load(port, callers=4)
        load.until(100)
        process.send_signal(signal.SIGKILL)
        load.end()
    written = {r["id"] for r in tiny.logged(log)}
    assert written and len(load.lost) <= 4
    with tiny.server(model, "--log", str(log)) as (port, process):
        tiny.call(port, "/predict", rows(id="after"))
        process.terminate()
        process.wait(120)
    records = Counter(r["id"] for r in tiny.logged(log))
    assert "after" in records and set(records.values()) == {1}


def test_many_rows_and_one_row_are_answered_alike(model: Path) -> None:
    served = Model(model)
    many = [tiny.ROW | {"distance": d, "temp": d % 7} for d in range(300)]
    together = served.predict(many).tolist()
    assert together == [float(served.predict([row])[0]) for row in many]
    with pytest.raises(RowError):
        served.predict([tiny.ROW | {"distance": float("nan")}])
