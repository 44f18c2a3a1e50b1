"""Real storage servers on loopback: each is started, given two logins, and stopped.

One login may write, the other only reads. What tells them apart is the server itself
for ssh (`internal-sftp -R`); the clouds' stand-ins know no rights, so their reader asks
a server in front of them that refuses whatever is no reading.
"""

import getpass
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

from rehearsal import ports
from rehearsal.play import PlayError
from rehearsal.reading import only_reading

BUCKET = "models"
PACKAGES = {"s3": "moto[server]==5.2.2", "gs": "gcp-storage-emulator==2026.7.19"}
AZURITE = "azurite@3.35.0"
WAIT = 60.0  # seconds for a server to answer
KEY = (  # of Azurite's one account; it is in its documentation
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True)
class Service:
    """A storage that answers: its address, and the settings of both logins."""

    kind: str
    url: str
    writer: dict[str, str]
    reader: dict[str, str]
    known_hosts: str = ""

    def text(self, settings: dict[str, str]) -> str:
        """Return a login as .dvc/config.local has it."""
        lines = "".join(f"    {name} = {value}\n" for name, value in settings.items())
        return f"['remote \"storage\"']\n{lines}"

    def home(self, folder: Path) -> dict[str, str]:
        """Return the variable that makes a folder a home that knows the host."""
        if not self.known_hosts:
            return {}
        (folder / ".ssh").mkdir(parents=True, exist_ok=True)
        (folder / ".ssh" / "known_hosts").write_text(self.known_hosts)
        return {"HOME": str(folder)}

    def secret(self, settings: dict[str, str]) -> str:
        """Return a login as `python -m mlgitops logins --send` sends it."""
        whole = dict(settings)
        if "keyfile" in whole:
            whole["keyfile"] = _inline(Path(whole["keyfile"]).read_text())
        if self.known_hosts:
            whole["known_hosts"] = _inline(self.known_hosts)
        return self.text(whole)


@contextmanager
def serving(kind: str, folder: Path, tools: Path) -> Iterator[Service]:
    """Run the server of a kind of storage in a folder, with uv from ``tools``."""
    folder.mkdir(parents=True, exist_ok=True)
    start = {"s3": _s3, "gs": _gs, "azure": _azure, "ssh": _ssh}[kind]
    port = ports.free()
    command, service = start(folder, tools, port)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        _answers(server, port, folder / "server.log")
        if kind == "ssh":
            yield service
            return
        _make_bucket(kind, folder, port)
        with only_reading(port) as reader:
            yield replace(service, reader=_at(service.writer, port, reader))
    finally:
        _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End a server and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(10)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _at(settings: dict[str, str], port: int, other: int) -> dict[str, str]:
    """Return settings with another port of loopback."""
    return {k: v.replace(f":{port}", f":{other}") for k, v in settings.items()}


def _answers(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Wait until something listens on the port.

    Raises:
        PlayError: the server ended, or does not answer in time.
    """
    end = time.monotonic() + WAIT
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise PlayError(f"the storage server did not start: see {log}")


def _venv(kind: str, folder: Path, tools: Path) -> Path:
    """Install a server's package into an environment of its own."""
    home = folder / "server"
    if not (home / "bin" / "python").exists():
        uv = str(tools / "uv")
        python = ("--python", str(home))
        subprocess.run((uv, "venv", "--quiet", str(home)), check=True)
        command = (uv, "pip", "install", "--quiet", *python, PACKAGES[kind])
        subprocess.run((*command, "setuptools<80"), check=True)
    return home / "bin"


def _s3(folder: Path, tools: Path, port: int) -> tuple[list[str], Service]:
    """Return how moto is started, and how it is reached."""
    server = str(_venv("s3", folder, tools) / "moto_server")
    login = {"endpointurl": f"http://127.0.0.1:{port}", "region": "us-east-1"}
    login |= {"access_key_id": "anna", "secret_access_key": '"open#sesame"'}
    command = [server, "-H", "127.0.0.1", "-p", str(port)]
    return command, Service("s3", f"s3://{BUCKET}/flights", login, login)


def _gs(folder: Path, tools: Path, port: int) -> tuple[list[str], Service]:
    """Return how the emulator of Google's storage is started and reached."""
    server = str(_venv("gs", folder, tools) / "gcp-storage-emulator")
    command = [server, "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    login = {"endpointurl": f"http://127.0.0.1:{port}"}
    login |= {"allow_anonymous_login": "true"}
    return command, Service("gs", f"gs://{BUCKET}/flights", login, login)


def _azure(folder: Path, tools: Path, port: int) -> tuple[list[str], Service]:
    """Return how Azurite is started, and how it is reached."""
    server = folder / "node_modules" / ".bin" / "azurite-blob"
    if not shutil.which("npm"):
        raise PlayError("there is no npm: apt-get install npm")
    if not server.exists():
        install: tuple[str, ...] = (
            "npm",
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        )
        install = (*install, "--silent", "--prefix", str(folder), AZURITE)
        subprocess.run(install, cwd=folder, check=True, capture_output=True)
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    options += ["--location", str(folder / "blobs"), "--skipApiVersionCheck"]
    endpoint = f"http://127.0.0.1:{port}/devstoreaccount1"
    login = {
        "connection_string": '"DefaultEndpointsProtocol=http;'
        f'AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint={endpoint};"'
    }
    service = Service("azure", f"azure://{BUCKET}/flights", login, login)
    return [str(server), *options], service


def _ssh(folder: Path, _: Path, port: int) -> tuple[list[str], Service]:
    """Return how sshd is started: two keys that may do nothing but move files."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists():
        raise PlayError("there is no sshd: apt-get install openssh-server")
    for name in ("host", "writer", "reader"):
        if not (folder / name).exists():
            key = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f")
            subprocess.run((*key, str(folder / name)), check=True)
    allowed = ""
    for name, may in (("writer", "internal-sftp"), ("reader", "internal-sftp -R")):
        public = (folder / f"{name}.pub").read_text().strip()
        allowed += f'restrict,command="{may}" {public}\n'
    (folder / "authorized_keys").write_text(allowed)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile none\n"
        "Subsystem sftp internal-sftp\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin forced-commands-only\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    public = " ".join((folder / "host.pub").read_text().split()[:2])
    hosts = f"[127.0.0.1]:{port} {public}\n"
    login = {"user": getpass.getuser()}
    writer, reader = (
        {**login, "keyfile": str(folder / name)} for name in ("writer", "reader")
    )
    url = f"ssh://127.0.0.1:{port}{folder / 'store'}"
    (folder / "store").mkdir(exist_ok=True)
    command = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
    return command, Service("ssh", url, writer, reader, hosts)


def _make_bucket(kind: str, folder: Path, port: int) -> None:
    """Create the bucket, or container, as an administrator would."""
    url, body, method, headers = f"http://127.0.0.1:{port}", b"", "PUT", {}
    if kind == "s3":
        url += f"/{BUCKET}"
    elif kind == "gs":
        url, method = f"{url}/storage/v1/b?project=p", "POST"
        body, headers = (
            b'{"name": "%s"}' % BUCKET.encode(),
            {"Content-Type": "application/json"},
        )
    else:
        url += f"/devstoreaccount1/{BUCKET}?restype=container"
        headers = _signed(f"/devstoreaccount1/devstoreaccount1/{BUCKET}")
    request = urllib.request.Request(  # noqa: S310  only our own loopback address
        url, data=body, method=method, headers=headers
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        raise PlayError(f"the storage server made no bucket: {error}") from error


def _signed(resource: str) -> dict[str, str]:
    """Return the headers by which Azure knows its account.

    Source: learn.microsoft.com, "Authorize with Shared Key".
    """
    date, version = formatdate(usegmt=True), "2021-12-02"
    form = "application/x-www-form-urlencoded"
    names = f"x-ms-date:{date}\nx-ms-version:{version}\n"
    text = f"PUT\n\n\n\n\n{form}\n\n\n\n\n\n\n{names}{resource}\nrestype:container"
    digest = hmac.new(b64decode(KEY), text.encode(), hashlib.sha256).digest()
    signature = b64encode(digest).decode()
    return {
        "x-ms-date": date,
        "x-ms-version": version,
        "Content-Type": form,
        "Authorization": f"SharedKey devstoreaccount1:{signature}",
    }


def _inline(text: str) -> str:
    """Return the content of a file as the setting that names it."""
    return "base64:" + b64encode(text.encode()).decode()


STORAGES: tuple[str, ...] = ("s3", "gs", "azure", "ssh")
Start = Callable[[Path, Path, int], tuple[list[str], Service]]
