"""A real container engine and a real registry for the tests, where they can be had.

Root on Debian starts an engine of its own (`dockerd`, its data in a folder that goes
away), and makes a base of the Debian packages that this machine has, as no image can be
pulled there. Elsewhere the engine that answers is used, with the base that the
Dockerfile names.
"""

import os
import re
import shutil
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal import ports

CA = Path("/etc/ssl/certs/ca-certificates.crt")
# Beside what Debian calls essential; the last is what images of Python have, too.
PACKAGES = ("python3", "python3-venv", "bash", "libstdc++6")
WHOLE = "installed"  # the state of a package
EXCLUDED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/")
TAG = re.compile(r"/python3\.(\d+)/")
LINKS = ("bin", "lib", "lib64", "sbin")  # of a Debian whose /usr is merged
ACCOUNTS = {"etc/passwd": "passwd.master", "etc/group": "group.master"}
REGISTRY = """\
version: 0.1
storage: {filesystem: {rootdirectory: ROOT}}
http: {addr: ADDRESS}
"""


def missing() -> str:
    """Return why there can be no engine here; nothing if there can."""
    if answers({}):
        return ""
    if os.getuid():
        return "no container engine answers, and only root may start one"
    gone = [n for n in ("docker", "dockerd", "dpkg-query") if not shutil.which(n)]
    gone += [] if gone else sorted({*PACKAGES} - {*installed()})
    if gone:
        return f"no container engine answers, and there is no {', '.join(gone)}"
    return ""


def answers(env: dict[str, str]) -> bool:
    """Tell whether an engine answers."""
    if not shutil.which("docker"):
        return False
    command = ("docker", "version", "--format", "{{.Server.Version}}")
    return not subprocess.run(
        command, env=os.environ | env, capture_output=True
    ).returncode


@contextmanager
def private(home: Path) -> Iterator[dict[str, str]]:
    """Run an engine of our own; yield the environment that leads to it."""
    folder = home / "engine"
    folder.mkdir()
    env = {"DOCKER_HOST": f"unix://{folder}/sock", "DOCKER_BUILDKIT": "0"}
    for driver in ("overlay2", "vfs"):
        places = (("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid"))
        options = [f"--{name}={folder / place}" for name, place in places]
        options += [f"--storage-driver={driver}", f"--host={env['DOCKER_HOST']}"]
        with (folder / "log").open("ab") as log:
            daemon = subprocess.Popen(
                ["dockerd", "--iptables=false", "--bridge=none", *options],
                stdout=log,
                stderr=log,
            )
        try:
            end = time.monotonic() + 60
            while daemon.poll() is None and not answers(env):
                assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            if daemon.poll() is None:
                yield env
                return
        finally:
            daemon.terminate()
            daemon.wait(60)
            for line in Path("/proc/mounts").read_text().splitlines():
                if line.split()[1].startswith(f"{folder}/"):
                    subprocess.run(["umount", "--lazy", line.split()[1]])
    raise AssertionError((folder / "log").read_text()[-2000:])


def installed() -> dict[str, bool]:
    """Return the packages that this machine has; tell of each if it is essential."""
    form = "${db:Status-Status} ${Package} ${Essential}\\n"
    listed = run(("dpkg-query", "--show", f"--showformat={form}")).splitlines()
    words = [line.split() for line in listed]
    return {name: more == ["yes"] for state, name, *more in words if state == WHOLE}


def packages() -> set[str]:
    """Return the packages of a base, with all that they need."""
    present = installed()
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    command = ("apt-cache", "depends", "--recurse", "--installed")
    options = [f"--no-{kind}" for kind in kinds]
    essential = [name for name, needed in present.items() if needed]
    return {*run((*command, *options, *PACKAGES, *essential)).splitlines()} & {*present}


def files() -> list[str]:
    """Return the files and folders of a base, with the bytecode of its Python."""
    listed = run(("dpkg-query", "--listfiles", *packages())).splitlines()
    named = {line for line in listed if line.startswith("/")} - {"/."}
    named |= {f"/{name}" for name in LINKS} | {"/usr/bin/sh"}
    named |= {
        str(path.parent / "__pycache__" / f"{path.stem}.cpython-3{tag}.pyc")
        for path in map(Path, named)
        if path.suffix == ".py"
        for tag in TAG.findall(str(path))
    }
    found = {
        os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        for path in named
        if os.path.lexists(path) and not path.startswith(EXCLUDED)
    }
    return sorted(path.removeprefix("/") for path in found)


def base(home: Path, env: dict[str, str]) -> str:
    """Make a base image of Debian and its Python; return its name."""
    archive = home / "base.tar"
    with tarfile.open(archive, "w") as tar:
        for path in files():
            tar.add(f"/{path}", path, recursive=False)
        for path, master in ACCOUNTS.items():
            tar.add(f"/usr/share/base-passwd/{master}", path)
        if CA.exists():  # the base trusts what this machine trusts
            tar.add(CA.resolve(), str(CA).removeprefix("/"))
    trust = f"ENV PIP_CERT={CA}"
    run(("docker", "import", "--change", trust, str(archive), "base:debian"), env)
    return "base:debian"


@contextmanager
def registry(home: Path) -> Iterator[str]:
    """Run a registry on loopback; yield its host and port."""
    address = f"127.0.0.1:{ports.free()}"
    text = REGISTRY.replace("ROOT", str(home / "registry")).replace("ADDRESS", address)
    (home / "registry.yml").write_text(text)
    with (home / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(home / "registry.yml")],
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/v2/", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < end, (home / "registry.log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def run(command: tuple[str, ...], env: dict[str, str] | None = None) -> str:
    """Run a program that has to succeed and return what it printed."""
    done = subprocess.run(
        command, env=os.environ | (env or {}), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()
