"""Alerts reach a real receiver, once each, and fail nothing that they tell about."""

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from machinery import traffic
from machinery.world import World, world
from mlgitops import settings
from mlgitops.alert import facts, message, webhook
from mlgitops.alert.facts import Fact
from mlgitops.commands import alert, doctor
from mlgitops.ledger import Ledger

ROOT = Path.cwd()
SECRET_PATH = "/services/T0/B0/hush"
FACT = Fact("runs/1-production", "failure", "A <title>", "It *failed*, [see](x)", "u")


class Receiver:
    """A web server that keeps what it gets, and answers what it is told."""

    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}{SECRET_PATH}"
        self.got: list[Any] = []
        self.answers: list[int] = []  # of the next requests; then 200
        self.paths: list[str] = []
        self.delay = 0.0


@contextmanager
def receiver(certificate: Path | None = None) -> Iterator[Receiver]:
    """Run a receiver; with a certificate, over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            made.got.append(json.loads(self.rfile.read(size)))
            made.paths.append(self.path)
            time.sleep(made.delay)
            status = made.answers.pop(0) if made.answers else 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{made.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:  # how a followed redirect would come
            made.paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made = Receiver(server.server_port, "https" if certificate else "http")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository that asks for alerts, in a job of production."""
    with world(tmp_path, monkeypatch) as made:
        sections = {"monitor": traffic.SECTION, "alerts": {"format": "json"}}
        Path("params.yaml").write_text(yaml.safe_dump(sections))
        monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
        monkeypatch.setenv("GITHUB_RUN_ID", "77")
        monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.01))
        monkeypatch.delenv("OUTCOME", raising=False)
        yield made


def now(days: float = 0) -> str:
    """Return a time, some days ago."""
    return (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")


def verdict(decision: str = "retrain", seq: int = 1, **changes: Any) -> None:
    """Put a verdict of the monitor on the ledger."""
    entry = {"decision": decision, "sentence": f"Say {decision}.", "seq": seq}
    entry |= {"run_url": f"https://github.com/o/r/actions/runs/{seq}", "time": now()}
    files = {f"monitoring/{seq:08d}.json": {**entry, **changes}}
    Ledger().append(files, "monitor")


def release(seq: int, **changes: Any) -> None:
    """Put a release of production on the ledger."""
    entry = {"environment": "production", "tag": "m@v1.0.0", "state": "confirmed"}
    entry |= {"action": "revert", "reason": "it did not start", "seq": seq}
    entry |= {"deployment_id": 5, "previous": "bad", "time": now(), "run_url": "u1"}
    folder, entry = "environments/production", {**entry, **changes}
    files = {f"{folder}/{n}.json": entry for n in ("release", f"history/{seq:08d}")}
    Ledger().append(files, "revert")


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    *job: str,
) -> str:
    """Run the command as a job does; return what it prints. It never fails."""
    monkeypatch.setenv(webhook.SECRET, url)
    monkeypatch.setattr("sys.argv", ["alert", *job])
    alert.main()
    out = capsys.readouterr()
    said = out.out + out.err
    assert "hush" not in said and "/services/" not in said, "the address is a secret"
    return said


@pytest.fixture
def told(
    here: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Return the function that runs the command for an address and a job."""
    return lambda url, *job: run(monkeypatch, capsys, url, *job)


def test_a_verdict_is_sent_once_whatever_runs_again(told: Any) -> None:
    with receiver() as there:
        verdict("none")
        assert told(there.url, "monitor") == ""
        verdict("not enough data", 2)
        assert told(there.url, "monitor") == "" and there.got == []
        verdict("stop", 3)
        assert "Sent: The monitor says: stop" in told(there.url, "monitor")
        assert "Sent before" in told(there.url, "monitor")
        verdict("stop", 4)
        assert "Sent: " in told(there.url, "monitor")
    assert [body["name"] for body in there.got] == [
        "monitoring/00000003",
        "monitoring/00000004",
    ]
    assert there.got[0] == {
        "schema": 1,
        "repository": "o/r",
        "name": "monitoring/00000003",
        "kind": "monitor",
        "title": "The monitor says: stop",
        "sentence": "Say stop.",
        "url": "https://github.com/o/r/actions/runs/3",
    }
    assert there.paths == [SECRET_PATH] * 2
    noted = Ledger().read("alerts/monitoring/00000003.json")
    assert noted and noted["title"] == "The monitor says: stop"
    assert "hush" not in str(noted)


def test_a_release_taken_back_is_sent_once_with_its_confirmation(told: Any) -> None:
    with receiver() as there:
        release(1, action="deploy")
        assert told(there.url, "production") == ""
        release(2, state="published")
        assert "Sent: production: revert" in told(there.url, "production")
        release(3)  # the same, confirmed
        assert "Sent before" in told(there.url, "production")
        release(4, action="deploy", deployment_id=6, previous="good")
        release(5)  # the same version failed once more
        assert "Sent: production: revert" in told(there.url, "production")
        release(6, action="rollback", reason="by hand", state="failed")
        assert "Sent: production: rollback" in told(there.url, "production")
        release(7, previous="worse", time=now(days=8))
        assert told(there.url, "production") == "", "news of last month are none"
    assert [body["sentence"] for body in there.got] == [
        "it did not start",
        "it did not start",
        "by hand",
    ]
    assert "nothing to go back to" in there.got[2]["title"]


def test_a_canary_taken_back_is_sent_once_by_whoever_comes_first(told: Any) -> None:
    record = {"state": "running", "tag": "m@v2.0.0", "seq": 0, "time": now()}
    record |= {"reason": "its ROC AUC is lower", "run_url": "u"}
    path = "environments/production/canary.json"
    with receiver() as there:
        Ledger().append({path: record}, "canary")
        assert told(there.url, "monitor") == ""
        Ledger().append({path: {**record, "state": "taken back", "seq": 1}}, "canary")
        assert "Sent: The canary m@v2.0.0" in told(there.url, "monitor")
        assert "Sent before" in told(there.url, "production")
        assert told(there.url, "staging") == ""
    assert [body["kind"] for body in there.got] == ["canary"]


def test_a_failed_job_is_sent_once_a_run_unless_the_ledger_tells_it(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTCOME", "success")
    with receiver() as there:
        assert told(there.url, "register") == ""
        monkeypatch.setenv("OUTCOME", "failure")
        assert "Sent: The job register failed" in told(there.url, "register")
        assert "Sent before" in told(there.url, "register"), "its second attempt"
        assert "Sent: The job production failed" in told(there.url, "production")
        verdict("stop", 77)  # this run's own
        assert told(there.url, "monitor").count("Sent") == 1
    names = [body["name"] for body in there.got]
    assert names == ["runs/77-register", "runs/77-production", "monitoring/00000077"]
    assert there.got[0]["url"] == "https://github.com/o/r/actions/runs/77"


def test_a_job_that_took_too_long_is_sent_once(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub cancels a job at its `timeout-minutes`; what is skipped did not run."""
    monkeypatch.setenv("OUTCOME", "cancelled")
    with receiver() as there:
        assert "Sent: The job staging was cancelled" in told(there.url, "staging")
        assert "Sent before" in told(there.url, "staging")
        release(77, run_url="https://github.com/o/r/actions/runs/77")
        assert told(there.url, "production").count("Sent") == 1, "the ledger tells it"
        monkeypatch.setenv("OUTCOME", "skipped")
        assert told(there.url, "staging") == ""
    assert [body["kind"] for body in there.got] == ["failure", "deployment"]
    assert "timeout-minutes" in there.got[0]["sentence"]


def test_a_monitor_that_stopped_is_sent_once_for_each_silence(told: Any) -> None:
    with receiver() as there:
        assert told(there.url, "--heartbeat") == "", "it never ran"
        verdict("none", 1)
        assert told(there.url, "--heartbeat") == ""
        verdict("none", 2, time=now(days=40))
        assert "Sent: The monitor does not run" in told(there.url, "--heartbeat")
        assert "Sent before" in told(there.url, "--heartbeat")
        verdict("none", 3, time=now(days=30))
        assert "Sent: The monitor does not run" in told(there.url, "--heartbeat")
    assert "last ran 40 days ago" in there.got[0]["sentence"]
    assert len(there.got) == 2


@pytest.mark.parametrize(
    ("answers", "reason", "tries"),
    [
        ([500] * 3, "answers 500", 3),
        ([503, 200], "", 2),
        ([429, 429, 200], "", 3),
        ([302], "redirects to another address", 1),
        ([307], "redirects to another address", 1),
        ([404], "the webhook was removed", 1),
        ([400], "answers 400", 1),
    ],
)
def test_what_is_not_taken_is_a_warning_and_tried_by_the_next_run(
    answers: list[int], reason: str, tries: int, told: Any
) -> None:
    verdict()
    with receiver() as there:
        there.answers = list(answers)
        said = told(there.url, "monitor")
        assert len(there.got) == tries and set(there.paths) == {SECRET_PATH}
        assert ("not sent" in said) == bool(reason) and reason in said
        assert "Sent" in told(there.url, "monitor")
        assert len(there.got) == tries + bool(reason)


def test_a_receiver_that_is_silent_or_absent_is_a_warning(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict()
    monkeypatch.setattr(webhook, "PATIENCE", 0.1)
    with receiver() as there:
        there.delay = 0.4
        assert "may have come or not" in told(there.url, "monitor")
        assert len(there.got) == 1, "another try could be a second alert"
    assert "nothing listens there" in told(there.url, "monitor")
    assert "not sent" in told("https://no.such.host.invalid/hush", "monitor")


def test_a_certificate_that_nobody_trusts_is_refused(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "both.pem"
    command = "openssl req -x509 -nodes -days 2 -newkey ec -subj /CN=127.0.0.1 "
    command += "-pkeyopt ec_paramgen_curve:prime256v1 "
    command += "-addext subjectAltName=IP:127.0.0.1"
    files = ("-out", str(made), "-keyout", str(made))
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    key = made.read_text()
    verdict()
    with receiver(made) as there:
        said = told(there.url, "monitor")
        assert "certificate is not trusted" in said and there.got == []
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(key[key.index("-----BEGIN CERT") :])
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert "Sent: " in told(there.url, "monitor") and len(there.got) == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://hooks.example.com/services/hush",
        "hooks.example.com/services/hush",
        "file:///services/hush",
        "https://hooks.example.com/services/hush\nX: y",
        "https://[hush/services/",
        "https:///services/hush",
    ],
)
def test_an_address_that_could_be_read_on_its_way_is_refused(
    address: str, told: Any
) -> None:
    verdict()
    assert "https://" in told(address, "monitor")
    assert Ledger().paths("alerts/") == []


def test_a_trial_arrives_and_is_noted_nowhere(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the address is an error here, not a warning."""
    with receiver() as there:
        assert "Sent, as json" in told(there.url, "--trial")
        assert "Sent" in told(there.url, "--trial"), "each time"
        there.answers = [404]
        with pytest.raises(SystemExit, match="webhook was removed"):
            told(there.url, "--trial")
    assert [body["kind"] for body in there.got] == ["trial"] * 3
    assert Ledger().paths("alerts/") == []
    with pytest.raises(SystemExit):
        told("", "--trial")
    Path("params.yaml").write_text(yaml.safe_dump({"monitor": traffic.SECTION}))
    with pytest.raises(SystemExit):
        told(there.url, "--trial")
    with pytest.raises(SystemExit):
        told(there.url, "--trial", "--heartbeat")


def test_without_the_section_or_the_secret_nothing_is_sent(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict()
    assert "gh secret set ALERT_WEBHOOK --env monitor" in told("", "monitor")
    Path("params.yaml").write_text(yaml.safe_dump({"monitor": traffic.SECTION}))
    monkeypatch.setattr(alert, "Ledger", None)  # it is not even fetched
    with receiver() as there:
        assert "no section `alerts`" in told(there.url, "monitor")
    assert there.got == []


@pytest.mark.parametrize(
    "text", ["alerts: {format: slak}", "alerts: {format: json, to: x}", "alerts: [", ""]
)
def test_what_is_wrong_elsewhere_is_a_warning_too(text: str, told: Any) -> None:
    Path("params.yaml").write_text(text)
    said = told("https://x.invalid", "monitor")
    assert "warning" in said or "No alerts" in said
    Path("params.yaml").unlink()
    assert "warning" in told("https://x.invalid", "monitor")


def test_a_ledger_that_cannot_be_written_is_a_warning(
    told: Any, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict()
    monkeypatch.setattr(Ledger, "_push", lambda *_: False)
    monkeypatch.setattr("mlgitops.ledger.TRIES", 2)
    with receiver() as there:
        said = told(there.url, "monitor")
    assert "may be sent again" in said and len(there.got) == 1


def test_each_receiver_gets_what_it_takes() -> None:
    slack = message.FORMATS["slack"](FACT, "o/r")
    assert slack == {
        "text": "*o/r: A &lt;title&gt;*\nIt *failed*, [see](x)\n<u|Look at it>"
    }
    teams = message.FORMATS["teams"](FACT, "o/r")
    card = teams["attachments"][0]
    assert teams["type"] == "message"
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["type"] == "AdaptiveCard"
    texts = [block["text"] for block in card["content"]["body"]]
    assert texts == ["o/r: A <title>", r"It \*failed\*, \[see\]\(x\)"]
    assert card["content"]["actions"][0]["url"] == "u"
    without = Fact("n", "monitor", "t", "s", "")
    assert "actions" not in message.teams(without, "o/r")["attachments"][0]["content"]
    assert "|" not in message.slack(without, "o/r")["text"]
    formats = get_args(get_type_hints(settings.Alerts)["format"])
    assert set(formats) == set(message.FORMATS)


def test_a_title_of_two_lines_is_no_command_of_the_runner(told: Any) -> None:
    """A line that begins with `::` would be one."""
    verdict("stop\n::set-output name=x::y")
    with receiver() as there:
        said = told("", "monitor") + told(there.url, "monitor")
        said += told(there.url, "monitor")
    assert "not sent" in said and "Sent: " in said and "Sent before: " in said
    lines = [line for line in said.splitlines() if line.startswith("::")]
    assert all(line.startswith("::warning::") for line in lines)


def test_a_long_sentence_is_cut() -> None:
    found = facts._fact("p.json", "monitor", "t", "x" * 9_999, {"run_url": "u"})
    assert len(found.sentence) == facts.LONGEST


def test_only_jobs_that_run_main_have_the_address() -> None:
    """Each in an environment, in its last step, which fails nothing."""
    found = {}
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            holding = [s for s in job.get("steps", []) if webhook.SECRET in str(s)]
            if holding:
                assert job["environment"] and holding == job["steps"][-1:], path
                assert job["permissions"]["contents"] == "write", "the ledger's note"
                found[path.stem] = holding[0]
    assert set(found) == {"deploy", "environment", "monitor", "rollback", "update"}
    update = found.pop("update")
    assert update["run"].endswith("--heartbeat")
    for step in found.values():
        assert step["if"] == "always()" and step["continue-on-error"] is True
        assert step["env"]["OUTCOME"] == "${{ job.status }}"


def test_doctor_says_which_job_lacks_the_address(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.through("staging", "production")
    text = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    text["alerts"] = {"format": "teams"}
    Path("params.yaml").write_text(yaml.safe_dump(text))
    known = {"monitor", "register", "production"}
    monkeypatch.setattr(
        doctor, "secrets", lambda name: [webhook.SECRET] if name in known else []
    )
    ((state, said),) = doctor.alerts()
    assert state == doctor.WEAK and "in environment staging:" in said
    known.add("staging")
    ((state, said),) = doctor.alerts()
    assert state == doctor.GOOD and "teams" in said
    del text["alerts"]
    Path("params.yaml").write_text(yaml.safe_dump(text))
    assert list(doctor.alerts()) == []
