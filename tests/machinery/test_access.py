"""Who may ask a server: nobody by accident, and no token is ever shown."""

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from machinery import tiny
from mlgitops.commands import simulate
from mlgitops.host import agent
from mlgitops.release import ReleaseError, target
from mlgitops.serving import __main__ as serving
from mlgitops.serving import access, tls
from mlgitops.serving.__main__ import bind, parse
from mlgitops.serving.connection import Bounds, Connections
from mlgitops.serving.routes import RefusalError

FIRST, SECOND = "first-token-of-the-test", "second.token/of+the~test=="
HASH = "sha256:" + hashlib.sha256(SECOND.encode()).hexdigest()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# who has which\n{FIRST}  # the web shop\n\n{HASH}\n")
    return path


def status(tokens: access.Tokens, *headers: bytes) -> int:
    try:
        tokens.check([(b"authorization", header) for header in headers])
    except RefusalError as error:
        name, value = error.headers[0]
        assert name == b"www-authenticate" and value.startswith(b"Bearer ")
        assert not any(word in str(error) for word in (FIRST, SECOND, "wrong"))
        return error.status
    return 200


def test_a_token_of_the_file_lets_in_and_nothing_else(file: Path) -> None:
    tokens = access.Tokens(file)
    first, second = FIRST.encode(), SECOND.encode()
    assert status(tokens, b"Bearer " + first) == 200
    assert status(tokens, b"bearer  " + second + b" ") == 200
    refused: list[tuple[bytes, ...]] = [(), (b"",), (b"Bearer",), (first,)]
    refused += [(b"Basic " + first,), (b"Bearer " + first[:-1],), (b"Bearer \xff",)]
    refused += [(b"Bearer " + HASH.encode(),), (b"Bearer " + HASH[7:].encode(),)]
    refused += [(b"Bearer " + first, b"Bearer " + first), (b"Bearer # who",)]
    assert {status(tokens, *headers) for headers in refused} == {401}


def test_tokens_are_read_again_when_the_file_changes(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that cannot be used changes nothing, and is reported without its text."""
    monkeypatch.setattr(access, "LOOK_SECONDS", 0.0)
    tokens, first = access.Tokens(file), b"Bearer " + FIRST.encode()
    new = file.with_name("new")
    new.write_text(HASH)
    new.rename(file)
    assert status(tokens, first) == 401
    assert status(tokens, b"Bearer " + SECOND.encode()) == 200
    for text in ("", "short-secret", "sha256:abc", "a token with spaces", "\0"):
        file.write_text(text)
        assert status(tokens, b"Bearer " + SECOND.encode()) == 200
        error = capsys.readouterr().err
        assert "What was read before stays" in error and str(file) in error
        assert not text or text not in error
    file.unlink()
    assert status(tokens, first) == 401
    file.write_text(FIRST)
    assert status(tokens, first) == 200


def test_a_file_that_may_be_read_again_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or a token that was taken away would go on letting in; it is said once."""
    monkeypatch.setattr(access, "LOOK_SECONDS", 0.0)
    tokens, first = access.Tokens(file), b"Bearer " + FIRST.encode()
    read = access.read_tokens

    def closed(path: Path) -> list[bytes]:
        raise access.AccessError(f"{path} cannot be read.")

    monkeypatch.setattr(access, "read_tokens", closed)
    file.write_text(HASH)
    assert status(tokens, first) == status(tokens, first) == 200
    monkeypatch.setattr(access, "read_tokens", read)  # by an owner that changes, say
    assert status(tokens, first) == 401
    assert capsys.readouterr().err.count("What was read before stays") == 1


def test_a_file_that_is_too_long_is_refused_whole(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was cut in two would let in who knows its beginning."""
    monkeypatch.setattr(access, "MAX_BYTES", len(file.read_bytes()))
    assert len(access.read_tokens(file)) == 2
    monkeypatch.setattr(access, "MAX_BYTES", len(file.read_bytes()) - 1)
    with pytest.raises(access.AccessError, match="fewer tokens"):
        access.read_tokens(file)


def options(*arguments: str) -> Namespace:
    return parse(["--model", "build", *arguments])


REFUSED = [
    (("--tokens", "missing"), "cannot be read"),
    (("--tokens", "empty"), "has no token"),
    (("--certificate", "a"), "--certificate and --key"),
    (("--client-ca", "a"), "needs both"),
    (("--certificate", "empty", "--key", "empty"), "are not a certificate"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_settings_that_cannot_be_used_get_a_sentence(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(access.AccessError, match=words):
        access.of(options(*arguments))


def test_other_machines_get_in_by_a_setting_only(file: Path) -> None:
    """The socket is asked, not the option: `--fd` and a name are addresses as well."""
    hosts = ("127.0.0.1", "localhost", "0.0.0.0")
    here, named, everywhere = (bind(host, 0) for host in hosts)
    with here, named, everywhere:
        with pytest.raises(access.AccessError, match="--open-to-anyone"):
            access.check_address(everywhere, access.of(options()))
        for listener in (here, named):
            access.check_address(listener, access.of(options()))
        for told in (("--open-to-anyone",), ("--tokens", str(file))):
            access.check_address(everywhere, access.of(options(*told)))
        only_tls = access.Access(context=lambda: ssl.create_default_context())
        with pytest.raises(access.AccessError, match="other machines"):
            access.check_address(everywhere, only_tls)
        access.check_address(everywhere, only_tls._replace(clients=True))


def ask(
    port: int,
    path: str,
    token: str | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send one request, perhaps with a token and over TLS."""
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    else:
        connection = http.client.HTTPSConnection(
            "localhost", port, timeout=60, context=context
        )
    body = json.dumps({"rows": [tiny.ROW]}) if path == "/predict" else None
    head = {} if token is None else {"Authorization": f"Bearer {token}"}
    with contextlib.closing(connection):
        connection.request("POST" if body else "GET", path, body, head)
        response = connection.getresponse()
        answer = json.loads(response.read())
        return response.status, answer, dict(response.getheaders())


def test_a_server_with_tokens(model: Path, file: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    given = ("--host", "0.0.0.0", "--tokens", str(file), "--log", f"{tmp_path}/log")
    given += ("--no-page",)
    with tiny.server(model, *given, errors=errors) as (port, process):
        for path in ("/predict", "/info", "/metrics", "/docs", "/healthy"):
            code, answer, head = ask(port, path)
            assert code == 401 and "token" in answer["error"]
            assert head["www-authenticate"].startswith("Bearer")
            assert ask(port, path, "x" * 20)[0] == 401
        assert ask(port, "/health/live")[0] == ask(port, "/health/ready")[0] == 200
        assert ask(port, "/predict", FIRST)[0] == ask(port, "/info", SECOND)[0] == 200
        assert ask(port, "/nowhere", FIRST)[0] == 404
        for path in ("/health/x", "/v2/health/..%2f", "/health/../info", "/"):
            code, answer, _ = ask(port, path)
            assert code == 401 and "/v2/models" not in str(answer)
        assert len(tiny.logged(tmp_path / "log")) == 1
        process.terminate()
        assert process.wait(120) == 0
    assert FIRST not in errors.read_text()


def test_a_server_does_not_listen_everywhere_untold(model: Path) -> None:
    command = ["--model", str(model), "--port", "0", "--host", "0.0.0.0"]
    done = subprocess.run(
        [sys.executable, "-m", "mlgitops.serving", *command],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("nothing was started: other machines can")


def test_a_private_port_is_of_this_machine_only(
    model: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for no token: with `--fd`, `--host` is no way in."""
    with bind("127.0.0.1", 0) as public:
        given = ["serve", "--model", str(model), "--tokens", str(file), "--port", "0"]
        given += ["--host", "0.0.0.0", "--fd", str(os.dup(public.fileno()))]
        monkeypatch.setattr(sys, "argv", given)
        monkeypatch.setattr(serving, "application", lambda *_: pytest.fail("started"))
        with pytest.raises(SystemExit, match=r"other machines can reach 0\.0\.0\.0"):
            serving.main()


def test_a_handed_over_socket_is_guarded_from_then_on(model: Path, file: Path) -> None:
    """Before, only the parent asks, on a port of this machine."""
    with bind("0.0.0.0", 0) as public:
        given = ("--fd", str(public.fileno()), "--tokens", str(file))
        with tiny.server(model, *given, shared=public.fileno()) as (port, process):
            assert ask(port, "/predict")[0] == 200
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("accept\n")
            process.stdin.flush()
            assert process.stdout.readline() == "accepting\n"
            shared = public.getsockname()[1]
            assert ask(shared, "/predict")[0] == 401
            assert ask(shared, "/predict", FIRST)[0] == 200


# TLS, with certificates as openssl makes them.


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, name: str, issuer: str = "") -> None:
    """Make `name`.pem and `name`.key, signed by an issuer or by itself."""
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    given = ("-nodes", "-days", "9", "-subj", f"/CN={name}", "-keyout", f"{name}.key")
    names = ("-addext", "subjectAltName=DNS:localhost", "-out", f"{name}.pem")
    by = ("-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key") if issuer else ()
    openssl(folder, *new, *given, *names, *by)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "ca")
    certificate(folder, "other")
    certificate(folder, "server", "ca")
    certificate(folder, "client", "ca")
    certificate(folder, "stranger", "other")
    return folder


@pytest.fixture(scope="module")
def guarded(model: Path, certificates: Path) -> Iterator[tuple[int, Any]]:
    """Return the port of a server that wants a certificate of its clients."""
    names = {"certificate": "server.pem", "key": "server.key", "client-ca": "ca.pem"}
    given = [f"--{name}={certificates / file}" for name, file in names.items()]
    with tiny.server(model, "--host", "0.0.0.0", *given) as server:
        yield server


def client(certificates: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if name is not None:
        context.load_cert_chain(
            certificates / f"{name}.pem", certificates / f"{name}.key"
        )
    return context


def test_a_certificate_lets_in_and_nothing_else(
    guarded: tuple[int, Any], certificates: Path
) -> None:
    port = guarded[0]
    context = client(certificates, "client")
    for _ in range(3):
        assert ask(port, "/predict", context=context)[0] == 200
    for name in (None, "stranger"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(port, "/predict", context=client(certificates, name))
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(port, "/health/live")  # without TLS
    assert ask(port, "/info", context=context)[0] == 200


def test_large_bodies_and_many_requests_pass_through_tls(
    guarded: tuple[int, Any], certificates: Path
) -> None:
    """More than one record of TLS each way, on one connection."""
    context = client(certificates, "client")
    connection = http.client.HTTPSConnection(
        "localhost", guarded[0], timeout=60, context=context
    )
    with contextlib.closing(connection):
        for count in (1, 900, 3):
            connection.request(
                "POST", "/predict", json.dumps({"rows": [tiny.ROW] * count})
            )
            response = connection.getresponse()
            assert len(json.loads(response.read())["predictions"]) == count
        connection.request("POST", "/predict", b" " * 2_000_000)
        assert connection.getresponse().status == 413


def test_a_request_that_comes_with_the_handshakes_end_is_answered(
    guarded: tuple[int, Any], certificates: Path
) -> None:
    """TLS 1.3 lets a client send at once: the last flight and the request together."""
    context = client(certificates, "client")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", guarded[0]), 60) as raw:
        while True:
            try:
                wrapped.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        wrapped.write(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        raw.sendall(outgoing.read())  # one packet
        answer = b""
        while b'"ok"' not in answer:
            incoming.write(raw.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    answer += wrapped.read(65536)
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_certificate_is_replaced_without_a_restart(
    certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LOOK_SECONDS", 0.0)
    pair = [tmp_path / "a.pem", tmp_path / "a.key"]
    for path, name in zip(pair, ("server.pem", "server.key"), strict=True):
        path.write_bytes((certificates / name).read_bytes())
    made = access.of(options("--certificate", str(pair[0]), "--key", str(pair[1])))
    assert made.context is not None
    first = made.context()
    assert made.context() is first
    pair[0].write_bytes((certificates / "client.pem").read_bytes())
    assert made.context() is first  # it does not fit the key yet
    pair[1].write_bytes((certificates / "client.key").read_bytes())
    assert made.context() is not first


async def _shaken(bounds: Any, certificates: Path, clients: int) -> list[bytes]:
    """Open connections that never shake hands; return what each one read at last."""
    context = access.tls(certificates / "server.pem", certificates / "server.key", None)
    connections = Connections(bounds)
    config = Config(app=lambda *_: None, lifespan="off")
    own = bind("127.0.0.1", 0)
    make = tls.maker(connections, config, ServerState(), {})
    listener = tls.Listener(own, connections, lambda: context, make)
    port = own.getsockname()[1]
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    for _, writer in opened:
        writer.write(b"\x16\x03\x01")  # the beginning of a ClientHello

    async def rest(reader: Any) -> bytes:
        try:
            return bytes(await reader.read())
        except ConnectionError:
            return b""

    found = await asyncio.gather(*(rest(reader) for reader, _ in opened))
    assert not connections.open and not connections.arriving and not connections.held
    for _, writer in opened:
        writer.close()
    listener.close()
    own.close()
    return list(found)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_client_that_never_shakes_hands_has_to_leave(
    kind: str, certificates: Path
) -> None:
    """In time, and at once where there are too many."""
    factory = uvloop.new_event_loop if kind == "uvloop" else None
    started = time.monotonic()
    with asyncio.Runner(loop_factory=factory) as runner:
        bounds = Bounds(connections=3, seconds=0.5)
        found = runner.run(_shaken(bounds, certificates, clients=7))
    assert len(found) == 7 and time.monotonic() - started < 9


# Who starts servers, and who asks them.


def test_what_listens_everywhere_says_so_in_words() -> None:
    for path in ("Dockerfile", "kubernetes/base/server.yaml"):
        file = tiny.ROOT / "deploy" / path
        assert not file.exists() or '"--open-to-anyone"]' in file.read_text()


def agent_options(*arguments: str) -> Namespace:
    given = agent.parse(["--git", "x", "--home", "x", *arguments])
    given.listen = bind(given.host, 0)
    return given


def test_an_agent_wants_the_same_words(file: Path) -> None:
    """And hands them on to its servers: in a container below a folder."""
    assert agent.guarded(agent_options())
    assert not agent.guarded(agent_options("--host", "0.0.0.0"))
    for told in (["--open-to-anyone"], ["--tokens", str(file)]):
        given = agent_options("--host", "0.0.0.0", *told)
        assert agent.guarded(given) and agent.access(given) == told
        assert access.of(options(*agent.access(given))).anyone == (len(told) == 1)
        given.listen.close()
    mounted = agent.access(given, Path("/access"))
    assert mounted == ["--tokens", "/access/tokens/tokens"]


def test_a_deployment_sends_the_environments_token(
    model: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never unencrypted to another machine."""
    with tiny.server(model, "--tokens", str(file)) as (port, _):
        url = f"http://127.0.0.1:{port}"
        assert "401" in target.identify(url, "a" * 64, "b" * 64)[0]
        monkeypatch.setenv("SERVER_TOKEN", SECOND)
        assert target.identify(url, "a" * 64, "b" * 64)[0].startswith("it runs ")
        with pytest.raises(ReleaseError, match="unencrypted"):
            target.identify("http://example.com", "a" * 64, "b" * 64)
        with pytest.raises(ReleaseError, match="unencrypted"):
            target.authorization("http://127.0.0.1:80@example.com/")
        with monkeypatch.context() as patch:
            patch.setenv("SERVER_TOKEN", f"{FIRST}\n{SECOND}")
            with pytest.raises(ReleaseError, match="not one token") as raised:
                target.identify(url, "a" * 64, "b" * 64)
            assert FIRST not in str(raised.value)
        batches = iter([[dict(tiny.ROW)]])
        assert simulate.send(url, batches, 1, "") == 1


@pytest.mark.parametrize(
    "option", ["--explain-rate -1", "--drain x", "--log-wait nan", "--max-rows 0"]
)
def test_a_number_that_an_option_cannot_have_is_named(option: str) -> None:
    name, value = option.split()
    with pytest.raises(SystemExit, match=f"{name}: .*got '{value}'"):
        parse(["--model", "build", f"{name}={value}"])
