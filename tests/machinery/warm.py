"""Programs that start in a moment: forks of a process that has the libraries loaded.

DVC, a stage, a child of the judge and pytest load their libraries for up to two seconds
and then work for half of one; these tests run hundreds. Here a program `python` hands
their arguments, folder, environment and files to a fork of one such process. It loads
the machinery and `model/` anew from that folder, and what confines it, it sets itself;
only the libraries are there already. A file of them that is byte for byte one of this
repository's, as in a clone, is not compiled again. Every other command goes to the real
Python, and so does one with a seed of hashes or more threads than one, which a process
reads when it starts, and which a fork would not heed.

`sys.executable` and PATH lead to it in all tests (`conftest.py`). A test that needs the
real one takes `COLD`: the wheel, confinement, and what limits a child from outside.
"""

import _imp
import atexit
import functools
import gc
import importlib
import marshal
import os
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

COLD = sys.executable
ASK = Path(__file__).with_name("warm_ask.py")
STARTED = "WARM_PYTHON"  # the variable that tells workers who is asked, and for whom
DVC = (  # and what its commands load, but libgit2, which reads HOME when it is loaded
    "configobj",
    "dulwich.ignore",
    "dulwich.index",
    "dulwich.line_ending",
    "dulwich.worktree",
    "dvc._debug",
    "dvc.cachemgr",
    "dvc.cli.parser",
    "dvc.commands.repro",
    "dvc.data_cloud",
    "dvc.dirs",
    "dvc.lock",
    "dvc.repo",
    "dvc.repo.artifacts",
    "dvc.repo.brancher",
    "dvc.repo.datasets",
    "dvc.repo.graph",
    "dvc.repo.index",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.stage",
    "dvc.repo.trie",
    "dvc.repo.worktree",
    "dvc.rwlock",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.index",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "dvc_data.index.checkout",
    "dvc_data.index.push",
    "fsspec.implementations.memory",
    "networkx",
    "rich.console",
    "rich.status",
    "ruamel.yaml",
    "scmrepo.git.backend.pygit2",
)
LEARNING = (
    "graphlib",
    "markdown_it",
    "msgspec",
    "narwhals._pandas_like.namespace",
    "narwhals.stable.v2",
    "onnxruntime",
    "pandera.backends.pandas.builtin_hypotheses",
    "pandera.backends.pandas.register",
    "pandera.pandas",
    "pandera.strategies.pandas_strategies",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "scipy.special",
    "skl2onnx",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "statistics",
    "urllib.request",
    "yaml",
)
TESTING = (*LEARNING, "hypothesis", "pytest", "_pytest.terminal", "xdist.plugin")
WATCHING = (*LEARNING, "evidently")  # which alone takes six CPU seconds
LIBRARIES = {  # of a module, or its command
    "dvc": DVC,
    "mlgitops.dvc_session": DVC,
    "mlgitops monitor": WATCHING,
    "pytest": TESTING,
}
STORAGES = {  # what DVC loads for a kind of storage, if it is installed
    "azure": ("adlfs", "azure.identity.aio", "dvc_azure"),
    "gs": ("dvc_gs", "gcsfs"),
    "s3": ("dvc_s3", "s3fs"),
    "ssh": ("dvc_ssh", "sshfs"),
}
PLAIN = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}  # as storage has it
OURS = ("mlgitops", "model")  # what each program loads anew
PROGRAM = """\
#!/bin/sh
# What Python and its libraries read only when they start.
case "${{PYTHONHASHSEED-}} ${{OMP_NUM_THREADS-1}}" in
" 1") ;;
*) exec {python} "$@" ;;
esac
case "$1 $2 $3 " in
"-m dvc "* | "-m pytest "* | "-m mlgitops.judge."[a-z]*" "* | \\
"-m mlgitops.serving.smoke "* | "-m mlgitops.commands.release_page "* | \\
"-m mlgitops build "* | "-m mlgitops.dvc_session "* | \\
"-m mlgitops prepare "* | "-m mlgitops train "* | "-m mlgitops evaluate "* | \\
"-m mlgitops data "* | "-m mlgitops edge "* | "-m mlgitops explain "* | \\
"-m mlgitops monitor "* | \\
"-m mlgitops retrain "* | "-m mlgitops validate "* | \\
"-m mlgitops register "* | "-m mlgitops deploy "* | "-m mlgitops rollback "* | \\
"-m mlgitops alert "* | "-m mlgitops image "* | \\
"-P "*"/mlgitops/patience.py "*)
    exec {python} -IS {ask} {address} "$0" "$@" ;;
esac
exec {python} "$@"
"""


def path(programs: str) -> str:
    """Return a PATH whose `python` starts stages in a moment."""
    return os.pathsep.join((str(Path(python()).parent), programs))


@functools.cache
def python() -> str:
    """Start the process to fork, once; return the program that asks it.

    Workers of pytest-xdist ask that of the process which started them.
    """
    known, _, program = os.environ.get(STARTED, "").rpartition(os.pathsep)
    if known == COLD and "PYTEST_XDIST_WORKER" in os.environ:
        return program
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    server, text = serving(COLD, Path(folder.name))
    programs = Path(folder.name) / "bin"
    shutil.copytree(Path(COLD).parent, programs, copy_function=os.symlink)
    for name in ("python", "python3"):
        program = programs / name
        program.unlink(missing_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    atexit.register(folder.cleanup)
    atexit.register(server.communicate)  # its stdin ends, so it ends
    program = str(programs / "python")
    os.environ[STARTED] = os.pathsep.join((COLD, program))
    return program


def serving(
    python: str, folder: Path, root: Path | None = None
) -> "tuple[subprocess.Popen[str], str]":
    """Start the process to fork; return it, and the text of the program that asks it.

    Who asks before it has started waits for it. ``root`` has the repository whose files
    it compiles once, if not this folder.
    """
    address = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        server = subprocess.Popen(
            (python, __file__, str(listener.fileno())),
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1", **PLAIN},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            pass_fds=(listener.fileno(),),
        )
    words = {"python": python, "ask": ASK, "address": address}
    text = PROGRAM.format(**{k: shlex.quote(str(v)) for k, v in words.items()})
    return server, text


def compiled(root: Path) -> dict[bytes, CodeType]:
    """Return the code of each of our files in a folder, by the file's bytes."""
    files = (file for name in OURS for file in (root / name).rglob("*.py"))
    return {f.read_bytes(): compile(f.read_bytes(), f, "exec", 0, True) for f in files}


def reuse(codes: dict[bytes, CodeType]) -> None:
    """Let this process take the code of files that it has seen; write none."""
    compile_anew = SourceFileLoader.source_to_code

    def source_to_code(loader: Any, data: Any, path: Any, **options: Any) -> CodeType:
        if isinstance(data, bytes) and (code := codes.get(data)):
            _imp._fix_co_filename(code, path)
            return code
        return compile_anew(loader, data, path, **options)

    SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign]
    sys.dont_write_bytecode = True


def libraries(arguments: list[str]) -> tuple[str, ...]:
    """Return what a program loads that its fork is to have already."""
    module, command = arguments[2], " ".join(arguments[2:4])
    if arguments[1] == "-P":  # DVC, for a kind of storage
        return (*DVC, *STORAGES.get(arguments[3], ()))
    return LIBRARIES.get(module) or LIBRARIES.get(command, LEARNING)


class Server:
    """Forks for each program that is asked for, until stdin ends.

    Libraries are loaded when a program first needs them.
    """

    def __init__(self, listener: int) -> None:
        """`listener` is the number of a socket that somebody may ask already."""
        self.running: dict[int, socket.socket] = {}  # who waits, by process
        self.codes: dict[bytes, CodeType] = {}  # of this repository, as it is now
        self.loaded: set[str] = set()
        self.listener = socket.socket(fileno=listener)
        self.ended, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.detach())
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Start programs, and tell how they end; one that nobody awaits is killed."""
        with selectors.DefaultSelector() as selector:
            for file in (sys.stdin, self.listener, self.ended):
                selector.register(file, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if sys.stdin in ready:
                    return
                if self.ended in ready:
                    self.ended.recv(100)
                    for asked, status in self._endings():
                        selector.unregister(asked)
                        with asked, suppress(OSError):
                            code = os.waitstatus_to_exitcode(status)
                            asked.send(str(code).encode())
                if self.listener in ready:
                    asked = self.listener.accept()[0]
                    self.running[self._start(asked)] = asked
                    selector.register(asked, selectors.EVENT_READ)
                for process, asked in self.running.items():
                    if asked in ready:
                        os.kill(process, signal.SIGKILL)

    def _endings(self) -> Iterator[tuple[socket.socket, int]]:
        """Yield who waits for the processes that have ended, and their statuses."""
        with suppress(ChildProcessError):
            while (ending := os.waitpid(-1, os.WNOHANG))[0]:
                yield self.running.pop(ending[0]), ending[1]

    def _start(self, asked: socket.socket) -> int:
        """Return the process that runs a program."""
        data, files, _, _ = socket.recv_fds(asked, 1_000_000, 3)
        folder, arguments, environment = marshal.loads(data)
        for name in libraries(arguments):
            if name not in self.loaded:
                self.loaded.add(name)
                with suppress(ModuleNotFoundError):  # a smaller environment's
                    importlib.import_module(name)
                gc.freeze()  # a fork need not copy them to look for garbage
        if not self.codes:
            self.codes = compiled(Path.cwd())
            gc.freeze()
        process = os.fork()
        if not process:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (self.listener, self.ended, asked, *self.running.values()):
                each.close()
            reuse(self.codes)
            os._exit(_run(files, folder, arguments, environment))
        for file in files:
            os.close(file)
        return process


def _run(
    files: list[int], folder: str, arguments: list[str], environment: dict[str, str]
) -> int:
    """Run a module as `python -m` does, or a file; return its exit code."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(folder)
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.executable, flag, program, *rest = arguments
    is_file = flag == "-P"
    sys.path[:] = [
        *(() if is_file else (folder,)),
        *filter(None, paths),
        *(each for each in sys.path[1:] if each not in before),
    ]
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # another TMPDIR
    sys.argv = [program if is_file else flag, *rest]
    code: object = 0
    try:
        if is_file:
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = 0 if error.code is None else error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    Server(int(sys.argv[1])).serve()
