"""A silent Google Cloud Storage, by its own package: how often a request is sent."""

import re
import socketserver
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from user import ROOT, Project

pytestmark = pytest.mark.slow

UV = str(ROOT / ".venv" / "bin" / "uv")
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
LOCK = TEMPLATE / "mlgitops" / "requirements" / "storage-gs.txt"
QUIET = {"PYTHONDONTWRITEBYTECODE": "1"}
ASKED = """
import asyncio, logging, sys
import aiohttp, fsspec, gcsfs.retry
from mlgitops import patience
logging.getLogger("gcsfs").addHandler(logging.NullHandler())
if sys.argv[2] == "patient":
    patience.apply("gs", 1)
else:
    fsspec.config.conf["gs"] = {
        "requests_timeout": aiohttp.ClientTimeout(total=None, sock_read=1)}
sleep = asyncio.sleep
gcsfs.retry.asyncio.sleep = lambda seconds: sleep(min(seconds, 0.05))
system = fsspec.filesystem("gs", token="anon", endpoint_url=sys.argv[1])
for function in (system.cat_file, lambda path: system.get_file(path, "object")):
    try:
        function("models/object")
    except Exception as error:
        print(type(error).__name__, flush=True)
    print("next", flush=True)
"""


class Silent(socketserver.BaseRequestHandler):
    """Takes a request and says nothing, until who asked hangs up."""

    asked: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.asked.append(self.request.recv(65_536))
        self.request.recv(1)


@pytest.mark.parametrize(("who", "tries"), [("patient", 4), ("as it comes", 6)])
def test_a_silent_server_is_asked_as_often_as_s3(
    who: str, tries: int, tmp_path: Path
) -> None:
    """Of a download too, which gcsfs tries again as a whole: 36 requests by itself."""
    project = Project(tmp_path, tmp_path)
    project.run(UV, "venv", "--quiet", ".venv")
    sync = (UV, "pip", "install", "--quiet", "--python", ".venv")
    version = re.search(r"^gcsfs==\S+", LOCK.read_text(), re.M)
    assert version
    project.run(*sync, version[0])
    Silent.asked = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        command = (".venv/bin/python", "-W", "ignore", "-c", ASKED, address, who)
        said = project.run(*command, env={"PYTHONPATH": str(TEMPLATE), **QUIET})
        server.shutdown()
    assert said.split().count("next") == 2
    sent = [each.split(b" ")[1] for each in Silent.asked if each.startswith(b"GET")]
    assert sent.count(b"/download/storage/v1/b/models/o/object?alt=media") == tries
    about = sent.count(b"/storage/v1/b/models/o/object")
    assert about == tries if who == "patient" else about > tries
