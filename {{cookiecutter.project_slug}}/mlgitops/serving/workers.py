"""Runs several servers on one port; each is a process of its own.

They share one listening socket, so that a request waits for whichever is free, and none
is lost with a worker. Nobody listens before all of them have loaded the version. One
that dies is started again; if they die again and again, all end and the exit status
says so. Without this process they end: their standard input does.

With a private socket they serve there first, so that the parent, such as the host
agent, can check them; on the line `accept` all move to the shared one, where the next
server takes over what they leave.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time

from mlgitops.serving.team import memory

START_SECONDS = 60.0  # for a worker to load the version
STOP_SECONDS = 30.0  # beyond the drain, before a worker is killed
DEATHS = 5  # of workers within `DEATH_SECONDS`: then it is no accident
DEATH_SECONDS = 60.0
LOOK_SECONDS = 0.1
LOADED = "loaded"  # what a worker prints that waits for the line `accept`


class WorkerError(Exception):
    """The workers cannot go on: one sentence."""


def announce(line: str) -> None:
    """Tell whoever started this server; nobody need be there to read it."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


class Workers:
    """The processes of a server."""

    def __init__(
        self,
        arguments: list[str],
        listener: socket.socket,
        count: int,
        private: socket.socket | None = None,
    ):
        """Start them with a server's arguments, on a bound socket or a private one."""
        self.arguments, self.listener, self.private = arguments, listener, private
        self.followed = private is not None  # by another server on this socket
        self.address = ""
        self.memory = memory(count)
        self.stopping = False
        self.deaths: list[float] = []
        self.processes = [self._start(number) for number in range(count)]

    def run(self, address: str, drain: float) -> None:
        """Serve until a signal; WorkerError where the workers do not stay."""
        self.address = address
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for process in self.processes:
                self._wait_ready(process)
            if self.private is None:
                self._accept_all()
            if not self.stopping:
                announce(f"serving on {address}")
            while not self.stopping:
                self._replace()
                if self.followed:
                    self._obey()
                else:
                    time.sleep(LOOK_SECONDS)
        finally:
            self._end(drain + STOP_SECONDS)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        """Start a worker; it loads, and waits for its line."""
        fds = [self.listener.fileno(), self.memory]
        own = ["--workers", "1", "--fd", str(fds[0]), "--team", f"{fds[1]}:{number}"]
        own += ["--followed", "--sockets", ""] if self.followed else []
        if self.private is not None:
            fds.append(self.private.fileno())
            own += ["--private", str(fds[2])]
        return subprocess.Popen(
            [sys.executable, "-m", "mlgitops.serving", *self.arguments, *own],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            start_new_session=True,  # Ctrl-C comes to this process, which tells them
        )

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until a worker can be told to accept."""
        self._wait(process, f"serving on {self.address}" if self.private else LOADED)

    def _wait(self, process: subprocess.Popen[bytes], line: str) -> None:
        """Wait for a worker's line."""
        assert process.stdout is not None
        end = time.monotonic() + START_SECONDS
        while not self.stopping and time.monotonic() < end:
            if select.select([process.stdout], [], [], LOOK_SECONDS)[0]:
                if process.stdout.readline().decode().strip() == line or self.stopping:
                    return
                raise WorkerError("a worker ended at its start.")
        if not self.stopping:
            raise WorkerError(f"a worker did not start within {START_SECONDS:g} s.")

    def _accept_all(self) -> None:
        """Let all workers take requests."""
        for process in self.processes:
            self._accept(process)

    def _obey(self) -> None:
        """Wait a moment for what the parent says; without it all end."""
        if not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
            return
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            self._stop(signal.SIGTERM, None)
        elif b"accept" in data.split() and self.private is not None:
            self._accept_all()
            self.private.close()
            self.private = None
            announce("accepting")

    def _accept(self, process: subprocess.Popen[bytes]) -> None:
        """Let a worker take requests."""
        assert process.stdin is not None
        if not self.stopping:
            try:
                process.stdin.write(b"accept\n")
                process.stdin.flush()
            except OSError:
                if self.stopping:
                    return
                raise WorkerError("a worker ended at its start.") from None
            self._wait(process, "accepting")

    def _replace(self) -> None:
        """Start a worker for each that has ended."""
        for number, process in enumerate(self.processes):
            if (status := process.poll()) is None:
                continue
            moment = time.monotonic()
            self.deaths = [t for t in self.deaths if moment - t < DEATH_SECONDS] + [
                moment
            ]
            print(f"worker {number} ended with status {status}", file=sys.stderr)
            if len(self.deaths) >= DEATHS:
                raise WorkerError(
                    f"workers ended {DEATHS} times within {DEATH_SECONDS:g} s."
                )
            _close(process)
            process = self.processes[number] = self._start(number)
            try:
                self._wait_ready(process)
                if self.private is None:
                    self._accept(process)
            except WorkerError as error:  # one death more; the others go on
                print(f"worker {number}: {error}", file=sys.stderr, flush=True)
                process.kill()
                process.wait()
            else:
                print(f"worker {number} was started again", file=sys.stderr, flush=True)

    def _stop(self, number: int, _frame: object) -> None:
        """Note that it is time to leave, and tell the workers."""
        self.stopping = True
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def _end(self, seconds: float) -> None:
        """End the workers; kill those that do not end in time."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process)
        self.listener.close()
        os.close(self.memory)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a process."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
