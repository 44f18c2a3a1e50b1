"""How long storage may be silent before a transfer has failed, whatever its kind.

The packages of the clouds wait for minutes or for ever, and DVC has a setting for S3
only. The others are told where their file systems are made, in this process (`apply`)
and in that of DVC: run as a program, this file does so and then is DVC. What
.dvc/config says for S3 comes first.
"""

import contextlib
import logging
import os
import socket
import sys
from typing import Any

SILENT = 20  # seconds without a byte, or without a connection
# Tries of a request. Azure's package makes as many by itself. Google's makes six, also
# where a busy server says to come later, and has one number for both: they stay.
TRIES = 4
# Tries of S3's two packages, the one around the other: by themselves they make 25.
BOTOCORE, S3FS = 2, TRIES // 2  # what S3 refuses, what breaks off
DOWNLOAD = "_get_file_concurrent"  # of gcsfs: tries all again, for 36 tries of each
HTTP = {"s3", "gs", "azure"}  # kinds whose packages speak it through aiohttp
PROGRAM = __file__


def settings(kind: str) -> dict[str, str]:
    """Return DVC's settings of a remote of this kind."""
    names = ("connect_timeout", "read_timeout") if kind == "s3" else ()
    return dict.fromkeys(names, str(SILENT))


def apply(kind: str, silent: int | None = None) -> None:
    """Let the file systems of a kind of storage, opened from now on, be told.

    Where its packages are not installed, DVC says so, and how to install them.
    """
    with contextlib.suppress(ImportError):
        _tell(kind, SILENT if silent is None else silent)


def _tell(kind: str, silent: int) -> None:
    """Tell the packages of a kind of storage; ImportError without them."""
    from fsspec.config import conf

    if kind in HTTP:
        _http(silent)
    if kind == "s3":
        os.environ.setdefault("AWS_MAX_ATTEMPTS", str(BOTOCORE))
        from s3fs import S3FileSystem

        S3FileSystem.retries = S3FS
    elif kind == "azure":
        _azure(silent)
    elif kind == "gs":
        from aiohttp import ClientTimeout

        wait = ClientTimeout(total=None, sock_connect=silent, sock_read=silent)
        conf.setdefault("gs", {})["requests_timeout"] = wait
        _gcsfs()
        # It logs a traceback for each failure, which its caller tells in a sentence.
        logging.getLogger("gcsfs").addHandler(logging.NullHandler())
    elif kind == "ssh":
        _ssh(silent)


def _azure(silent: int) -> None:
    """Let each request end; adlfs hands its own settings on to uploads only."""
    from azure.storage.blob._shared import base_client_async as client

    client.CONNECTION_TIMEOUT = client.READ_TIMEOUT = silent


def _gcsfs() -> None:
    """Let the requests of a download be tried again, and not all of it beside."""
    from gcsfs.core import GCSFileSystem

    once = getattr(getattr(GCSFileSystem, DOWNLOAD, None), "__wrapped__", None)
    if once is not None:
        setattr(GCSFileSystem, DOWNLOAD, once)


def _http(silent: int) -> None:
    """Let Linux end a connection whose other side takes nothing; aiohttp has no name.

    aiohttp counts the seconds of a read only once a request is written: an upload to a
    server that reads no further would wait for ever. See TCP_USER_TIMEOUT in tcp(7).
    """
    from aiohttp.client_proto import ResponseHandler

    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    protocol: Any = ResponseHandler
    made = protocol.connection_made

    def impatient(self: Any, transport: Any) -> None:
        made(self, transport)
        connection = transport.get_extra_info("socket")
        if option is not None and connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, silent * 1000)

    if made.__name__ != impatient.__name__:
        protocol.connection_made = impatient


def _ssh(silent: int) -> None:
    """Let ssh ask a silent host whether it is there; fsspec has no name for it."""
    from dvc_ssh import SSHFileSystem

    told = {"keepalive_interval": silent / 2, "keepalive_count_max": 2}
    told |= {"connect_timeout": silent, "login_timeout": silent}
    prepare = SSHFileSystem._prepare_credentials

    def patient(self: Any, **config: Any) -> dict[str, Any]:
        return {**prepare(self, **config), **told}

    if prepare.__name__ != patient.__name__:
        SSHFileSystem._prepare_credentials = patient


def main() -> None:
    """Be DVC, for a kind of storage and a number of seconds, the first arguments."""
    apply(sys.argv.pop(1), int(sys.argv.pop(1)))
    from dvc.cli import main as dvc

    sys.exit(dvc(sys.argv[1:]))


if __name__ == "__main__":
    main()
