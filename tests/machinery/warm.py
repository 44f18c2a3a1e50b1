"""Stages that start in a moment: forks of a process that has the libraries loaded.

    env["PATH"] = warm.path(env["PATH"])

A stage is a program that loads pandas and scikit-learn for two seconds and then works
for half of one, and these tests run hundreds. Here a program `python` hands a stage's
arguments, folder, environment and files to a fork of one such process. The fork loads
the machinery and `model/` anew from that folder; only the libraries are there already.
Every other command goes to the real Python, as does the judge's confined child.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

LIBRARIES = (
    "onnxruntime",
    "pandera.pandas",
    "pyarrow.parquet",
    "skl2onnx",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.pipeline",
    "sklearn.preprocessing",
)
PROGRAM = """\
#!/bin/sh
case "$1 $2 $3" in
"-m mlgitops prepare" | "-m mlgitops train" | "-m mlgitops evaluate")
    exec {python} -S {file} {address} "$@" ;;
esac
exec {python} "$@"
"""


def path(programs: str) -> str:
    """Return a PATH whose `python` starts stages in a moment."""
    return os.pathsep.join((str(_programs()), programs))


@functools.cache
def _programs() -> Path:
    """Start the process to fork, once; return the folder of its `python`."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = Path(folder.name) / "socket"
    command = (sys.executable, str(Path(__file__)), "serve", str(address))
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout and server.stdout.readline() == "ready\n"
    words = {"python": sys.executable, "file": __file__, "address": address}
    program = Path(folder.name) / "bin" / "python"
    program.parent.mkdir()
    program.write_text(
        PROGRAM.format(**{k: shlex.quote(str(v)) for k, v in words.items()})
    )
    program.chmod(0o755)
    atexit.register(folder.cleanup)
    atexit.register(server.communicate)  # its stdin ends, so it ends
    return program.parent


def _serve(address: str) -> None:
    """Fork for each stage that asks, until stdin ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        if not os.fork():
            sys.stdin.read()
            os.kill(os.getppid(), signal.SIGTERM)
            os._exit(0)
        print("ready", flush=True)
        while True:
            asked = listener.accept()[0]
            if not os.fork():
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                code = _stage(asked)
                asked.send(bytes([code]))
                os._exit(code)
            asked.close()


def _stage(asked: socket.socket) -> int:
    """Run one stage as `python -m` does; return its exit code."""
    data, files, _, _ = socket.recv_fds(asked, 1_000_000, 3)
    folder, arguments, environment = json.loads(data)
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv = ["-m", *arguments[2:]]
    code: object = 0
    try:
        runpy.run_module("mlgitops", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _ask(address: str, arguments: list[str]) -> int:
    """Have a stage run with the files of this process; return its exit code."""
    data = json.dumps([os.getcwd(), arguments, dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [data], [0, 1, 2])
        code = server.recv(1)
    return code[0] if code else 1


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        sys.exit(_ask(sys.argv[1], sys.argv[2:]))
