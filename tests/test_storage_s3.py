"""Storage and prediction log in S3, a real server of its protocol on loopback.

One secret, the text of .dvc/config.local, is the login for both.
"""

import json
import re
import socket
import socketserver
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rehearsal import ports
from user import ROOT, Project, generate

pytestmark = pytest.mark.slow

UV = str(ROOT / ".venv" / "bin" / "uv")
SERVER = "moto[server]==5.2.2"  # of a test only: it is in no lock
LOGIN = """\
['remote "storage"']
    endpointurl = {address}
    access_key_id = anna
    secret_access_key = "open#sesame"
    region = eu-north-1
"""
MAKE_BUCKET = """
import sys, boto3
boto3.client(
    "s3", endpoint_url=sys.argv[1], aws_access_key_id="anna",
    aws_secret_access_key="open#sesame", region_name="us-east-1",
).create_bucket(Bucket="models")
"""
THERE_AND_BACK = """
from pathlib import Path
from mlgitops import storage
Path("data/rows.txt").write_text("1, 2, 3")
out = storage.add("data/rows.txt")
storage.push({Path("data/rows.txt"): out})
Path("data/rows.txt").unlink()
print(storage.pull([out])[0].read_text())
"""
WRITE_LOG = """
from mlgitops import storage
files, path = storage.filesystem("s3://models/log")
with files.open(f"{path}/predictions-2026-01-02.jsonl", "w") as file:
    file.write("one line\\n")
"""
ROWS = """
from pathlib import Path
import pandas as pd
from mlgitops.batch.addresses import AddressError, send
from mlgitops.batch.tables import Input
for day in (1, 2):
    rows = pd.DataFrame({"id": [f"r{day}", "x"], "distance": [100.5, None]})
    rows.to_parquet("rows.parquet")
    send(Path("rows.parquet"), f"s3://models/rows/day={day}/a.parquet")
source = Input("s3://models/rows")
(batch,) = source.batches(["id", "distance"], 50)
print(source.rows(), *batch.table.select(["id", "distance"]).to_pydict().values())
print(*(entry[:2] for entry in source.mark))
try:
    send(Path("rows.parquet"), "s3://nowhere/rows.parquet")
except AddressError as error:
    print(f"refused: {error}")
"""
READ_LOG = """
from mlgitops import production_data
try:
    print(*production_data.lines("s3://models/log", "predictions-*.jsonl"))
except production_data.ProductionDataError as error:
    print(f"refused: {error}")
"""


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a repository with storage in S3, and the packages that it installs."""
    folder, home = (tmp_path_factory.mktemp(name) for name in ("s3", "home"))
    answers = {"storage": "s3", "storage_url": "s3://models/flights"}
    made = generate(template, folder, home, **answers)
    made.run("git", "init", "--quiet")
    made.run(UV, "venv", "--quiet", ".venv")
    locks = made.run("python3", "-m", "mlgitops", "install", "--list", "ops").split()
    assert "mlgitops/requirements/storage-s3.txt" in locks
    sync = (UV, "pip", "install", "--quiet", "--python", ".venv")
    made.run(*sync, "--require-hashes", *(f"-r{lock}" for lock in locks))
    made.run(*sync, SERVER)
    return made


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    """Run the server; yield its address."""
    port = ports.free()
    url = f"http://127.0.0.1:{port}"
    command = (".venv/bin/moto_server", "-H", "127.0.0.1", "-p", str(port))
    with (project.folder.parent / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=project.folder, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.2)
        project.run(".venv/bin/python", "-c", MAKE_BUCKET, url)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def python(project: Project, code: str, **env: str) -> str:
    """Run code with the packages of the repository; return what it printed."""
    return project.run(".venv/bin/python", "-W", "ignore", "-c", code, env=env).strip()


def test_objects_go_there_and_back_with_the_login_of_the_workflows(
    project: Project, address: str
) -> None:
    login = LOGIN.format(address=address)
    assert python(project, THERE_AND_BACK, STORAGE_LOGIN=login) == "1, 2, 3"


def test_the_prediction_log_is_read_with_the_same_login(
    project: Project, address: str
) -> None:
    login = LOGIN.format(address=address)
    python(project, WRITE_LOG, STORAGE_LOGIN=login)
    assert python(project, READ_LOG, STORAGE_LOGIN=login) == "one line"
    without = login.replace("access_key_id", "#").replace("secret_access_key", "#")
    refusal = python(project, READ_LOG, STORAGE_LOGIN=without)
    assert refusal.startswith("refused: s3://models/log cannot be read")


def test_a_login_that_cannot_be_read_is_not_printed(project: Project) -> None:
    said = python(project, READ_LOG, STORAGE_LOGIN="secret_access_key = opensesame")
    assert said.startswith("refused:") and "STORAGE_LOGIN" in said
    assert "opensesame" not in said


def test_rows_to_score_come_from_there_and_predictions_go_there(
    project: Project, address: str
) -> None:
    login = LOGIN.format(address=address)
    read, marks, refusal = python(project, ROWS, STORAGE_LOGIN=login).splitlines()
    assert read == "4 ['r1', 'x', 'r2', 'x'] [100.5, None, 100.5, None]"
    assert marks.count("a.parquet") == 2
    assert refusal.startswith("refused: s3://nowhere/rows.parquet cannot be written")


SHIP = """
import json
from pathlib import Path
from mlgitops import prediction_log, production_data
from mlgitops.shipping.ship import ShipError, ship
lines = [json.dumps({"id": str(n), "time": None, "manifest_sha256": "a" * 64,
                     "value": n, "row": {}}) + "\\n" for n in range(3)]
log = Path("build/log")
log.mkdir(parents=True, exist_ok=True)
(log / prediction_log.file_name("2026-01-02")).write_text("".join(lines))
try:
    ship(log, "s3://no-such-bucket/log")
except ShipError as error:
    assert "1 file stays in build/log" in str(error), error
print(ship(log, "s3://models/shipped"))
read = production_data.lines("s3://models/shipped", prediction_log.PATTERN)
assert [*read] == lines
print(ship(log, "s3://models/shipped", keep_days=1))
"""


def test_the_log_is_shipped_with_the_same_login(project: Project, address: str) -> None:
    printed = python(project, SHIP, STORAGE_LOGIN=LOGIN.format(address=address))
    assert printed.splitlines() == [
        "shipped 3 lines in 1 parts",
        "shipped 0 lines in 0 parts; 1 old parts deleted",
    ]


MARKED = """
from mlgitops import storage
from mlgitops.monitor import scan
from mlgitops.production_data import opener
address = "s3://models/marked"
path = "models/marked/part.parquet"
def mark():
    return scan.marked(address, path, opener(address))
def write(content):
    storage.filesystem(address)[0].pipe_file(path, content)
    storage.filesystem(address)[0].invalidate_cache()
write(b"x" * 100)
first = mark()
assert first == mark(), (first, mark())
system, _ = storage.filesystem(address)
(listed,) = system.ls("models/marked", detail=True)
assert first == f"100 {listed['ETag'].strip(chr(34))}", (first, listed)
write(b"y" + b"x" * 99)
assert mark().split()[0] == first.split()[0] and mark() != first
write(b"x" * 100)
assert mark() == first
print("told apart")
"""


def test_a_rewritten_part_of_equal_size_is_another_one(
    project: Project, address: str
) -> None:
    """So that a worker of a cluster reads what the list was made of, or says so."""
    login = LOGIN.format(address=address)
    assert python(project, MARKED, STORAGE_LOGIN=login).strip() == "told apart"


ASKED = """
from mlgitops.store import objects
try:
    objects.here().has("0" * 32)
except objects.StorageError as error:
    print(f"refused: {error}")
"""


def test_a_silent_server_is_asked_four_times(project: Project) -> None:
    """By itself one of its packages asks five times, and the other that again."""
    asked = list[bytes]()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(65_536))
            self.request.recv(1)  # until who asked hangs up

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        login = LOGIN.format(address=f"http://127.0.0.1:{server.server_address[1]}")
        login += "    read_timeout = 1\n"
        said = python(project, ASKED, STORAGE_LOGIN=login)
        with socket.create_connection(server.server_address) as last:
            last.sendall(b"the last")
            last.shutdown(socket.SHUT_WR)
            assert last.recv(1) == b""  # so each before it is taken, too
        server.shutdown()
    assert said.startswith("refused: object 0")
    assert len(asked) == 4 + 1


MAKE_ROLES = """
import sys, boto3
iam = boto3.client(
    "iam", endpoint_url=sys.argv[1], aws_access_key_id="anna",
    aws_secret_access_key="open#sesame", region_name="us-east-1",
)
trust, may = sys.argv[2:]
for name in ("reader", "writer"):
    if name == "writer":
        may = may.replace('"s3:GetObject"', '["s3:GetObject", "s3:PutObject"]')
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    iam.put_role_policy(RoleName=name, PolicyName="storage", PolicyDocument=may)
    print(role["Role"]["Arn"])
"""
PROBE = """
from mlgitops.storage import StorageError
from mlgitops.store import rights
tried = rights.probe()
print(tried.write or "written", tried.read or "read", tried.denied)
print(tried.delete or "deleted")
try:
    rights.demand_reader()
    print("goes on")
except StorageError as error:
    print(f"refused: {error}")
"""


def enforce(address: str, after: str) -> None:
    """Let the server check rights after that many calls."""
    request = urllib.request.Request(
        f"{address}/moto-api/reset-auth", after.encode(), {"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture
def github(address: str) -> Iterator[dict[str, str]]:
    """Hand out tokens as GitHub does, and pass on to the server who takes a role.

    The server checks rights of everything but that, which nobody signs: moto fails.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(json.dumps({"value": "token.of.a.run"}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {"Content-Type": self.headers["Content-Type"]}
            headers["Host"] = "sts.amazonaws.com"
            enforce(address, "inf")
            request = urllib.request.Request(address, body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
            enforce(address, "0")
            self.answer(text)

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        here = f"http://127.0.0.1:{server.server_port}"
        yield {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{here}/token?api-version=2",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "right",
            "AWS_ENDPOINT_URL_STS": here,
            "AWS_ENDPOINT_URL_S3": address,
        }
        server.shutdown()
    enforce(address, "inf")


def test_a_role_may_do_what_its_policy_says(
    project: Project, address: str, github: dict[str, str]
) -> None:
    """With those of docs/storage.md: the reader cannot write, the writer not delete."""
    page = (ROOT / "docs" / "storage.md").read_text().replace("BUCKET", "models")
    policies = re.findall(r"```json\n(.*?)```", page, re.S)
    assert len(policies) == 2
    made = project.run(".venv/bin/python", "-c", MAKE_ROLES, address, *policies)
    reader, writer = made.split()
    enforce(address, "0")
    lines = python(project, PROBE, **github, STORAGE_ROLE=reader).splitlines()
    assert lines[0] == "Access Denied read True" and lines[2] == "goes on"
    lines = python(project, PROBE, **github, STORAGE_ROLE=writer).splitlines()
    assert lines[0] == "written read False" and lines[1] == "Access Denied"
    assert "STORAGE_READ_ROLE" in lines[2]


def test_storage_moves_there_with_a_login_of_its_own(
    project: Project, address: str, tmp_path: Path
) -> None:
    """From a folder: verified, the login apart, and the same command goes on."""
    config = project.folder / ".dvc" / "config"
    before = config.read_text()
    config.write_text(before.replace("s3://models/flights", str(tmp_path / "store")))
    try:
        assert python(project, THERE_AND_BACK) == "1, 2, 3"
        login = tmp_path / "login"
        login.write_text(LOGIN.format(address=address))
        move = (".venv/bin/python", "-W", "ignore", "-m", "mlgitops", "storage")
        move = (*move, "--to", "s3://models/moved", "--login", str(login))
        assert "1 object copied, 1 read back" in project.run(*move)
        assert "0 objects copied, 1 read back" in project.run(*move)
        assert "open#sesame" not in config.read_text() and address in config.read_text()
        pull = (".venv/bin/python", "-m", "mlgitops", "pull")
        (project.folder / "data" / "rows.txt").unlink()
        assert "1 object" in project.run(*pull)
        assert (project.folder / "data" / "rows.txt").read_text() == "1, 2, 3"
    finally:
        config.write_text(before)
        (project.folder / ".dvc" / "config.local").unlink(missing_ok=True)
        (project.folder / "data" / "rows.txt.dvc").unlink(missing_ok=True)
