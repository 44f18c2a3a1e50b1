"""A stand-in for the model server, for thousands of starts: it is there in no time.

It has the options, the lines and the paths that the host agent knows. Its model is a
text: the number that it adds to each golden prediction, or `crash`, or `silent`.
"""

import argparse
import hashlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


def respond(options: argparse.Namespace, path: str) -> dict[str, Any]:
    """Return what a path answers."""
    data = (options.model / "manifest.json").read_bytes()
    identity = hashlib.sha256(data).hexdigest()
    if path == "/predict":
        offset = float((options.model / "model.onnx").read_text())
        golden = [entry["probability"] for entry in json.loads(data)["golden"]]
        predictions = [{"probability": value + offset} for value in golden]
        return {"manifest_sha256": identity, "predictions": predictions}
    code, environment = os.environ["SERVER_SHA256"], os.environ.get("MODEL_ENVIRONMENT")
    about = {"server_sha256": code, "environment": environment}
    return {"manifest_sha256": identity, "version": options.version} | about


def answer(connection: socket.socket, options: argparse.Namespace) -> None:
    """Answer one request."""
    connection.settimeout(2)
    try:
        head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        while len(body) < int(length or b"0"):
            body += connection.recv(65_536)
        data = json.dumps(respond(options, head.split()[1].decode())).encode()
        start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n"
        connection.sendall(start.encode() + b"Connection: close\r\n\r\n" + data)
    except (OSError, IndexError, ValueError):  # a model of nonsense does not answer
        pass
    finally:
        connection.close()


def main() -> None:
    """Serve until standard input or SIGTERM ends it."""
    parser = argparse.ArgumentParser()
    for name in ("host", "version", "expect", "log"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--fd", type=int)
    options = parser.parse_args()
    kind = (options.model / "model.onnx").read_text()
    if kind == "crash":
        raise SystemExit(1)
    if kind == "silent":
        time.sleep(600)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listening = socket.create_server((options.host, options.port))
    print(f"serving on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    while True:
        ready = select.select([listening, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            if not os.read(sys.stdin.fileno(), 100):
                return
            listening.close()
            listening = socket.socket(fileno=options.fd)
            listening.listen(128)
            listening.setblocking(False)
            print("accepting", flush=True)
        elif listening in ready:
            try:
                connection = listening.accept()[0]
            except BlockingIOError:  # the other server had it
                continue
            answer(connection, options)


if __name__ == "__main__":
    main()
