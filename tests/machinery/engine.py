"""A real container engine and a real registry for the tests, where they can be had.

Root on Debian starts an engine of its own (`dockerd`, its data in a folder that goes
away) and makes a base with mmdebstrap, as no image can be pulled there. Elsewhere the
engine that answers is used, with the base that the Dockerfile names.
"""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rehearsal import ports

CA = Path("/etc/ssl/certs/ca-certificates.crt")
# `usr-is-merged` and its hook stand for `usrmerge`, which would bring all of Perl: what
# no test needs would be packed, stored and pushed with each image.
PACKAGES = "usr-is-merged,python3,python3-venv,ca-certificates"
MERGED = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
EXCLUDED = ("doc", "man", "locale")
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
    gone = [n for n in ("docker", "dockerd", "mmdebstrap") if not shutil.which(n)]
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


def base(home: Path, env: dict[str, str]) -> str:
    """Make a base image of Debian and its Python; return its name.

    Where runners keep a tool cache, the file system is kept there.
    """
    archive = Path(os.environ.get("RUNNER_TOOL_CACHE") or home, "base-small.tar")
    if not archive.exists():
        part = archive.with_name("part-small.tar")
        options = ["--quiet", "--variant=minbase", MERGED, f"--include={PACKAGES}"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{p}/*" for p in EXCLUDED]
        if CA.exists():  # the base trusts what this machine trusts
            options.append(f"--customize-hook=upload {CA} {CA}")
        run(("mmdebstrap", *options, "bookworm", str(part)))
        part.rename(archive)
    trust = f"ENV PIP_CERT={CA}"
    run(("docker", "import", "--change", trust, str(archive), "base:bookworm"), env)
    return "base:bookworm"


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
