"""How long a transfer waits for storage that is silent."""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from mlgitops import patience, storage
from mlgitops.store import switch

BODY = bytes(30_000_000)  # more than Linux keeps for a connection


@pytest.fixture
def unread() -> Iterator[str]:
    """Yield the address of a server that takes a connection and reads nothing."""
    kept = list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: kept.append(server.accept()[0]))
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/object"
        thread.join(60)
    for connection in kept:
        connection.close()


async def upload(address: str, seconds: float) -> None:
    waits = aiohttp.ClientTimeout(total=None, sock_connect=60, sock_read=1)
    async with aiohttp.ClientSession(timeout=waits) as session:
        await asyncio.wait_for(session.put(address, data=BODY), seconds)


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option"
)
@pytest.mark.parametrize("kind", sorted(patience.HTTP))
def test_an_upload_to_a_server_that_stops_reading_ends(
    unread: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ResponseHandler.connection_made
    monkeypatch.setattr(ResponseHandler, "connection_made", made)  # as it is afterwards
    monkeypatch.setattr("fsspec.config.conf", {})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    patience.apply(kind, 1)
    with pytest.raises(aiohttp.ClientOSError):
        asyncio.run(upload(unread, 120))


def test_without_patience_it_would_wait_on(unread: str) -> None:
    """The control: what aiohttp itself counts does not end it."""
    with pytest.raises(TimeoutError):
        asyncio.run(upload(unread, 4))


@pytest.mark.parametrize("own", [{}, {"read_timeout": "5"}], ids=["ours", "theirs"])
def test_storage_that_is_not_in_dvcs_settings_yet_waits_no_longer(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make storage` opens S3 by the settings of a login; those there come first."""
    opened = dict[str, str]()

    def get_cloud_fs(_: object, **settings: str) -> tuple[object, dict[str, str], str]:
        opened.update(settings)
        return lambda: SimpleNamespace(fs=None), {}, "bucket/folder"

    monkeypatch.setitem(
        sys.modules, "dvc.fs", SimpleNamespace(get_cloud_fs=get_cloud_fs)
    )
    monkeypatch.setattr(patience, "apply", lambda kind: None)
    address = "s3://bucket/folder"
    config = switch.settings(address, None)
    config[storage.SECTION].update(own)
    storage.connect(config, address, "target")
    waits = {**patience.settings("s3"), **own}
    assert waits.items() <= opened.items() and opened["url"] == address
