"""Storage and prediction log in S3, a real server of its protocol on loopback.

One secret, the text of .dvc/config.local, is the login for both.
"""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
        server.wait(20)


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
    assert "1 files stay in build/log" in str(error), error
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
