"""A silent Google Cloud Storage, by its own package: how often a request is sent."""

import json
import socketserver
import threading
import urllib.request
from pathlib import Path
from typing import ClassVar

import pytest

from user import ROOT, Project

pytestmark = pytest.mark.slow

UV = str(ROOT / ".venv" / "bin" / "uv")
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
LOCKS = ("ops", "storage-gs")
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
        "requests_timeout": aiohttp.ClientTimeout(total=None, sock_read=0.2)}
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


CONTENT = b"?alt=media"
OBJECT = json.dumps({"name": "object", "bucket": "models", "size": "3"}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


class Silent(socketserver.BaseRequestHandler):
    """Says what an object is, and nothing to who asks for its content."""

    asked: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        request = self.request.recv(65_536).split(b" ")[1]
        self.asked.append(request)
        if request.endswith(CONTENT):
            self.request.recv(1)  # until who asked hangs up
        else:
            length = f"Content-Length: {len(OBJECT)}\r\n\r\n".encode()
            self.request.sendall(HEAD + length + OBJECT)


@pytest.mark.parametrize(("who", "tries"), [("patient", 12), ("as it comes", 42)])
def test_a_silent_server_is_asked_for_a_download_no_more_often(
    who: str, tries: int, tmp_path: Path
) -> None:
    """Six times each for a content and a download; by itself gcsfs asks 6 and 36."""
    project = Project(tmp_path, tmp_path)
    project.run(UV, "venv", "--quiet", ".venv")
    sync = (UV, "pip", "install", "--quiet", "--python", ".venv", "--require-hashes")
    for name in LOCKS:
        lock = TEMPLATE / "mlgitops" / "requirements" / f"{name}.txt"
        project.run(*sync, "-r", str(lock))
    Silent.asked = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.daemon = True
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        command = (".venv/bin/python", "-W", "ignore", "-c", ASKED, address, who)
        try:
            said = project.run(*command, env={"PYTHONPATH": str(TEMPLATE), **QUIET})
            urllib.request.urlopen(f"{address}/last").close()  # each before is taken
        finally:
            server.shutdown()
    assert said.split().count("next") == 2
    assert sum(request.endswith(CONTENT) for request in Silent.asked) == tries
