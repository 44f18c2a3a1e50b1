"""Programs that start in a moment: forks of a process that has the libraries loaded.

    env["PATH"] = warm.path(env["PATH"])
    monkeypatch.setattr(sys, "executable", warm.python())

A stage, a child of the judge and pytest load pandas and scikit-learn for two seconds
and then work for half of one; these tests run hundreds. Here a program `python` hands
their arguments, folder, environment and files to a fork of one such process. It loads
the machinery and `model/` anew from that folder, and what confines it, it sets itself;
only the libraries are there already. Every other command goes to the real Python.
Whether the child is confined is tried without this, in test_validate.py.
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
from typing import NoReturn

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
"-m mlgitops prepare" | "-m mlgitops train" | "-m mlgitops evaluate" | \\
"-m mlgitops.judge.intake "* | "-m mlgitops.judge.judge "* | \\
"-m mlgitops.judge.score "* | "-m mlgitops.judge.serve "* | "-m pytest "*)
    exec {python} -S {file} {address} "$0" "$@" ;;
esac
exec {python} "$@"
"""


def path(programs: str) -> str:
    """Return a PATH whose `python` starts stages in a moment."""
    return os.pathsep.join((str(Path(python()).parent), programs))


@functools.cache
def python() -> str:
    """Start the process to fork, once; return the program that asks it."""
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
    return str(program)


def _serve(address: str) -> None:
    """Fork for each program that is asked for, until stdin ends."""
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
                _answer(asked)
            asked.close()


def _answer(asked: socket.socket) -> NoReturn:
    """Run one program in a process of its own; tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, files, _, _ = socket.recv_fds(asked, 1_000_000, 3)
    program = os.fork()
    if not program:
        asked.close()
        os._exit(_run(files, *json.loads(data)))
    status = os.waitpid(program, 0)[1]
    asked.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(
    files: list[int], folder: str, arguments: list[str], environment: dict[str, str]
) -> int:
    """Run a module as `python -m` does; return its exit code."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable, _, module, *rest = arguments
    sys.path[0], sys.argv = folder, ["-m", *rest]
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
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
    """Have a module run with the files of this process; end as it ended."""
    data = json.dumps([os.getcwd(), arguments, dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [data], [0, 1, 2])
        code = int(server.recv(10) or b"1")
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        sys.exit(_ask(sys.argv[1], sys.argv[2:]))
