"""Logins to storage: by role without a key, or stored; what they may do is tried."""

import errno
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from machinery.world import git
from mlgitops import github, login, machine, storage
from mlgitops.commands import build, logins
from mlgitops.storage import StorageError
from mlgitops.store import rights

CONFIG = """['remote "storage"']
    url = {url}
"""
ROOT = Path.cwd()
DEPLOYED = ("staging", "production")
AWS = "arn:aws:iam::123456789012:role/flights-reader"
POOL = "projects/12/locations/global/workloadIdentityPools/github/providers/flights"
TENANT, CLIENT = (f"{n}{n}000000-0000-0000-0000-000000000000" for n in (1, 2))


class Tokens(BaseHTTPRequestHandler):
    """Answers as GitHub does: the token names its audience here."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "bearer right"
        audience = parse_qs(urlsplit(self.path).query).get("audience", [""])[0]
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"value": f"token for {audience}"}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def tokens() -> Iterator[str]:
    """Run the server; yield its address as a job gets it."""
    with HTTPServer(("127.0.0.1", 0), Tokens) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token?api-version=2"
        server.shutdown()
        thread.join()


@pytest.fixture
def run(tokens: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in a job that has the right to a token; return how to name a role."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", tokens)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "right")
    return lambda role: monkeypatch.setenv(login.ROLE, role)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a repository whose storage is a folder."""
    (tmp_path / "here" / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    stored_at("../../store")
    return tmp_path


def stored_at(url: str) -> None:
    """Set the address of storage."""
    Path(".dvc", "config").write_text(CONFIG.format(url=url))


def test_aws_finds_the_role_and_its_token(run: Any, tmp_path: Path) -> None:
    run(AWS)
    env = login.environment("s3", tmp_path)
    assert env["AWS_ROLE_ARN"] == AWS
    file = Path(env["AWS_WEB_IDENTITY_TOKEN_FILE"])
    assert file.read_text() == "token for sts.amazonaws.com"
    assert file.stat().st_mode & 0o777 == 0o600
    login.environment("s3", tmp_path)  # again, as a token lasts for minutes


def test_azure_finds_the_role_and_its_token(run: Any, tmp_path: Path) -> None:
    run(f"{TENANT}/{CLIENT}")
    env = login.environment("azure", tmp_path)
    assert (env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"]) == (TENANT, CLIENT)
    token = Path(env["AZURE_FEDERATED_TOKEN_FILE"]).read_text()
    assert token == "token for api://AzureADTokenExchange"


@pytest.mark.parametrize("account", ["", "reader@flights.iam.gserviceaccount.com"])
def test_google_is_told_where_to_ask(run: Any, account: str, tmp_path: Path) -> None:
    run(f"{POOL} {account}".strip())
    env = login.environment("gs", tmp_path)
    said = json.loads(Path(env["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert said["audience"] == f"//iam.googleapis.com/{POOL}"
    asked = parse_qs(urlsplit(said["credential_source"]["url"]).query)
    assert asked["audience"] == [f"https://iam.googleapis.com/{POOL}"]
    impersonates = said.get("service_account_impersonation_url", "")
    assert bool(account) is (account in impersonates and bool(impersonates))


@pytest.mark.parametrize(
    ("kind", "role", "words"),
    [
        ("s3", "flights-reader", "arn:aws"),
        ("gs", AWS, "workloadIdentityPools"),
        ("azure", CLIENT, "TENANT-ID/CLIENT-ID"),
        ("ssh", AWS, "ssh storage has no roles"),
        ("", AWS, "no roles"),
    ],
)
def test_a_role_that_does_not_fit_is_refused(
    run: Any, kind: str, role: str, words: str, tmp_path: Path
) -> None:
    run(role)
    with pytest.raises(login.LoginError, match=words):
        login.environment(kind, tmp_path)


def test_a_job_without_the_right_to_a_token_is_told(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(AWS)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "wrong")
    with pytest.raises(login.LoginError, match="GitHub gave no token"):
        login.environment("s3", tmp_path)
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL")
    with pytest.raises(login.LoginError, match="id-token: write"):
        login.environment("s3", tmp_path)


def test_without_a_role_nothing_is_asked_or_written(tmp_path: Path) -> None:
    assert login.environment("s3", tmp_path) == {} and not list(tmp_path.iterdir())


def test_code_of_a_proposal_sees_no_login(run: Any, tmp_path: Path) -> None:
    run(AWS)
    for kind, role in (("s3", AWS), ("gs", POOL), ("azure", f"{TENANT}/{CLIENT}")):
        run(role)
        with pytest.MonkeyPatch.context() as patch:
            names = login.environment(kind, tmp_path)
            for name, value in names.items():
                patch.setenv(name, value)
            assert not set(names) & set(machine.environment())
    assert not [n for n in machine.environment() if n.startswith("ACTIONS_")]


def test_a_stored_login_brings_its_files_along(here: Path) -> None:
    """The key of ssh, and the host's: a runner has neither."""
    stored_at("ssh://machine:2222/srv/models")
    key = here / "key"
    key.write_text("-----BEGIN\nkey\n")
    Path(".dvc/config.local").write_text(
        f"['remote \"storage\"']\n    user = dvc\n    keyfile = {key}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logins, "host_keys", lambda address: "machine ssh-ed25519 AA\n")
        text = logins.text(storage.LOCAL)
        Path(".dvc/config.local").unlink()
        patch.setenv(login.LOGIN, text)
        key.unlink()
        config = storage._config(".")
    settings, folder = config[storage.SECTION], here / "login"
    storage._unpack(config, folder)
    assert Path(settings["keyfile"]).read_text() == "-----BEGIN\nkey\n"
    assert Path(settings["keyfile"]).stat().st_mode & 0o777 == 0o600
    assert login.HOSTS not in settings  # DVC knows no such setting
    assert login.environment("ssh", folder) == {"HOME": str(folder)}
    hosts = folder / ".ssh" / "known_hosts"
    assert hosts.read_text() == "machine ssh-ed25519 AA\n"


def test_a_damaged_file_of_a_login_is_not_printed(here: Path) -> None:
    text = "['remote \"storage\"']\n    keyfile = base64:geheim!\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(login.LOGIN, text)
        with pytest.raises(StorageError, match="keyfile") as error:
            storage._unpack(storage._config("."), here / "login")
    assert "geheim" not in str(error.value)


def test_a_host_that_this_machine_does_not_know_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> Any:
        return subprocess.CompletedProcess((), 1, stdout="")

    monkeypatch.setattr(subprocess, "run", unknown)
    with pytest.raises(StorageError, match=r"\[machine\]:2222.*ssh machine -p 2222"):
        logins.host_keys("ssh://dvc@machine:2222/srv/models")


def test_an_object_is_written_read_and_deleted(here: Path) -> None:
    tried = rights.probe()
    assert not (tried.write or tried.read or tried.delete)
    assert list((here / "store").iterdir()) == []


def test_storage_that_refuses_or_alters_is_told(here: Path) -> None:
    (here / "store").write_text("a file where the folder should be")
    assert rights.probe().write
    (here / "store").unlink()

    class Altering:
        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: b"other"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "filesystem", lambda *_: (Altering(), "store"))
        assert "other bytes" in rights.probe().read


def test_a_branch_is_tried_by_a_push(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "-q", "--bare", "-b", "main", "../origin")
    git("init", "-q", "-b", "main", ".")
    git("remote", "add", "origin", "../origin")
    stored_at("branch")
    tried = rights.probe()
    assert not (tried.write or tried.read or tried.delete)
    assert git("branch", "--list", cwd=here / "origin") == ""
    git("remote", "set-url", "origin", "../nowhere")
    assert rights.probe().write


def test_train_refuses_a_login_that_may_write(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything of the proposal runs; without a login nothing is tried."""
    rights.demand_reader()
    assert not (here / "store").exists()
    monkeypatch.setenv(login.LOGIN, "['remote \"storage\"']\n")
    with pytest.raises(StorageError, match=login.READ_LOGIN):
        rights.demand_reader()
    monkeypatch.setattr(build, "use_storage_of", lambda base: None)
    with pytest.raises(StorageError, match=login.READ_LOGIN):
        build.build("0" * 40, 1)
    for error in (PermissionError("Access Denied"), OSError(errno.EROFS, "read-only")):
        refusing(monkeypatch, error)
        rights.demand_reader()
    refusing(monkeypatch, ConnectionError("reset"))  # which says nothing of rights
    with pytest.raises(StorageError, match="cannot be tried.*reset"):
        rights.demand_reader()


def refusing(patch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let storage refuse whatever is written."""

    class Refusing:
        def makedirs(self, *_: object, **__: object) -> None:
            raise error

    patch.setattr(storage, "filesystem", lambda *_: (Refusing(), "store"))


@pytest.mark.parametrize(
    ("error", "denied"),
    [
        (type("HttpError", (Exception,), {"code": 403})("no"), True),
        (type("HttpError", (Exception,), {"code": 503})("busy"), False),
        (Exception("This request is not authorized to perform this operation"), True),
        (TimeoutError(), False),
        (FileNotFoundError("no such bucket"), False),
    ],
)
def test_a_refusal_is_told_from_a_failure(error: Exception, denied: bool) -> None:
    """As Google's and Azure's packages raise them."""
    assert rights._is_denial(error) is denied


@pytest.fixture
def hub(here: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what GitHub has, by path: names of variables and secrets."""
    known: dict[str, list[str]] = {}

    def api(path: str, *_: object, **__: object) -> Any:
        key = path.rpartition("/")[2]
        return {key: [{"name": n, "value": "x"} for n in known.get(path, [])]}

    monkeypatch.setattr(github, "api", api)
    monkeypatch.setattr(github, "repo", lambda: "acme/flights")
    Path("params.yaml").write_text("deploy: {environments: [staging, production]}\n")
    return known


def test_a_role_is_the_first_choice_and_a_stored_login_the_second(hub: Any) -> None:
    assert logins.lacking() == []  # a folder needs none
    stored_at("s3://bucket/flights")
    environments, reader = logins.lacking()
    assert "validate, monitor" in environments and "STORAGE_WRITE_ROLE" in environments
    assert login.READ_LOGIN in reader
    hub["actions/variables"] = [login.READ_ROLE]
    (problem,) = logins.lacking()
    assert f"gh variable set {login.WRITE_ROLE}" in problem
    hub["actions/variables"].append(login.WRITE_ROLE)
    assert logins.lacking() == []
    stored_at("ssh://machine/srv")
    (problem,) = logins.lacking()
    assert "ssh has no roles" in problem
    hub["actions/variables"].clear()
    assert "ROLE" not in "".join(logins.lacking())


def test_only_logins_that_were_tried_are_sent(
    hub: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        logins, "_set", lambda name, _, *where: sent.append((name, *where))
    )
    with pytest.raises(StorageError, match="dvc remote modify --local"):
        logins.send()
    for name in (storage.LOCAL, rights.READER):
        Path(".dvc", name).write_text("['remote \"storage\"']\n    user = dvc\n")
    with pytest.raises(StorageError, match="may write"):
        logins.send()
    assert {name for name, *_ in sent} == {login.LOGIN}
    assert {where[-1] for _, *where in sent} >= {"validate", "production"}
    sent.clear()
    writing = rights.Rights(write="denied")
    monkeypatch.setattr(rights, "probe", lambda *_: writing)
    with pytest.raises(StorageError, match="denied"):
        logins.send()
    assert sent == []
    Path(".dvc", storage.LOCAL).unlink()
    with pytest.raises(StorageError, match="not sent.*cannot be tried: denied"):
        logins.send()
    assert sent == [], "what fails for another reason says nothing"
    writing = rights.Rights(write="denied", denied=True)
    assert logins.send() == [f"{login.READ_LOGIN}: sent; it cannot write"]
    assert sent == [(login.READ_LOGIN,)]


@pytest.mark.parametrize(
    ("role", "file"), [("READ", "reader-trust.json"), ("WRITE", "writer-trust.json")]
)
def test_each_job_may_have_the_role_that_it_asks_for(role: str, file: str) -> None:
    """The subjects that docs/storage.md lists are those of the workflows' jobs."""
    asked = set()
    for path in Path(ROOT, ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            steps = job.get("steps", [])
            roles = [step.get("env", {}).get(login.ROLE, "") for step in steps]
            if any(f"STORAGE_{role}_ROLE" in text for text in roles):
                name = str(job.get("environment", "pull_request"))
                asked |= {*DEPLOYED} if "inputs." in name else {name}
    guide = (Path(__file__).parents[2] / "docs/storage.md").read_text()
    listed = guide.partition(f"`{file}`")[2]
    if role == "READ":
        named = set(re.findall(r"repo:OWNER/NAME:(?:environment:)?(\w+)", listed))
    else:
        named = set(re.findall(r"`(\w+)`", listed.partition(", without")[0]))
    assert asked and asked <= named
