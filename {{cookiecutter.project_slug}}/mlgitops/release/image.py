"""The image of a release: built once from validated bytes, then named by digest only.

Everything goes through the program `docker`; without an engine that answers, there is
no image, and whoever asks is told so.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

from mlgitops import github
from mlgitops.release import Record, ReleaseError, server, target
from mlgitops.serving.verify import VerifyError, contract_path, sha256_file, verify

DOCKERFILE = Path("deploy/Dockerfile")
LABEL = "model.manifest.sha256"
HARD = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
START_SECONDS = 60.0


def docker(*arguments: str, data: bytes | None = None) -> str:
    """Run the program `docker` and return what it printed.

    Raises:
        ReleaseError: it failed; the last line that it printed.
    """
    env = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}  # one image, one digest
    command = ["docker", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, env=env)
    if done.returncode:
        output = (done.stderr + done.stdout).decode(errors="replace").strip()
        refusals = re.findall(r"refused: .*", output)
        reason = (refusals or output.splitlines()[-1:] or ["no message"])[0]
        raise ReleaseError(
            f"docker {arguments[0]} failed: {shorten(reason, 300, placeholder='…')}"
        )
    return done.stdout.decode().strip()


def engine() -> str:
    """Return the version of the container engine here; nothing if none answers."""
    if not shutil.which("docker"):
        return ""
    try:
        return docker("version", "--format", "{{.Server.Version}}")
    except ReleaseError:
        return ""


def build(folder: Path, version: str, server_sha256: str = "", base: str = "") -> str:
    """Build the image of a folder with a whole version; return the image's id.

    The server is the working tree's, known as `server_sha256`.

    Raises:
        ReleaseError: the bytes are not the manifest's, or do not answer as recorded.
    """
    try:
        manifest = verify(folder)
    except VerifyError as error:
        raise ReleaseError(f"no image: {error}") from error
    arguments = {
        "MANIFEST_SHA256": sha256_file(folder / "manifest.json"),
        "VERSION": version,
        "SERVER_SHA256": server_sha256,
        **({"BASE": base} if base else {}),
    }
    with TemporaryDirectory() as name:
        files = context(folder, Path(name), manifest["model"]["file"])
        return build_context(files, arguments)


def build_context(folder: Path, arguments: dict[str, str]) -> str:
    """Build what lies in a folder; return the image's id."""
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    file = ("--file", str(folder / DOCKERFILE))
    network = "--network=host"  # the package index, whatever network the engine has
    return docker("build", "--quiet", network, *file, *options, str(folder))


def context(version: Path, folder: Path, model: str = "model.onnx") -> Path:
    """Put what the Dockerfile takes into an empty folder: only that enters a build."""
    for name in (*server.PATHS, *server.STATED):
        source, copy = Path(name), folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    (folder / "build").mkdir()
    shutil.copy(contract_path(version), folder / "contract.yaml")
    shutil.copy(version / "manifest.json", folder / "build")
    shutil.copy(version / model, folder / "build/model.onnx")
    return folder


def check(image: str, manifest_sha256: str) -> None:
    """Refuse an image whose label, user or bytes are not a version's.

    Raises:
        ReleaseError: one of them differs; which one.
    """
    text = docker("image", "inspect", "--format", "{{json .Config}}", image)
    config = json.loads(text)
    label = (config.get("Labels") or {}).get(LABEL)
    if label != manifest_sha256:
        raise ReleaseError(
            f"the image {image} is labelled {label}, expected {manifest_sha256}"
        )
    if config.get("User") in (None, "", "root", "0", "0:0"):
        raise ReleaseError(f"the image {image} runs as root")
    run = ("run", "--rm", "--network=none", *HARD, "--entrypoint=python", image)
    docker(*run, "-m", "mlgitops.serving.smoke", "model", manifest_sha256)


def smoke(
    image: str, manifest: Record, manifest_sha256: str, server_sha256: str = ""
) -> float:
    """Run an image as strictly as a target does and ask it; return seconds to ready.

    Raises:
        ReleaseError: it does not start, names another version, answers its golden
            rows otherwise, or answers what it should refuse.
    """
    started = time.monotonic()
    listen = ("--host", "127.0.0.1", "--port", "0")
    container = docker("run", "--detach", "--network=host", *HARD, image, *listen)
    try:
        url = _address(container)
        status, ready = target.identify(url, manifest_sha256, server_sha256)
        seconds = time.monotonic() - started
        if not ready:
            raise ReleaseError(f"the image {image} is wrong: {status}")
        if problem := target.ask_golden(url, manifest["golden"], manifest_sha256):
            raise ReleaseError(f"the image {image} is wrong: {problem}")
        if not target.refuses(url, {"rows": [{"no such column": 1}]}):
            raise ReleaseError(f"the image {image} answers a row that breaks the rules")
        return seconds
    finally:
        docker("rm", "--force", container)


def _address(container: str) -> str:
    """Wait for the line in which a server prints where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        log = docker("logs", container)
        if match := re.search(r"serving on (http://[\w.:]+)", log):
            return match[1]
        if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
            end_of_log = " ".join(log.splitlines()[-3:])
            raise ReleaseError(f"the container ended at its start: {end_of_log}")
        time.sleep(0.1)
    raise ReleaseError(f"the container did not start within {START_SECONDS:g} s")


def registry() -> str:
    """Return where images are pushed to, without a tag; nothing for nowhere."""
    address = os.environ.get("IMAGE_REGISTRY", "").strip().rstrip("/").lower()
    if not address and Path("deploy/kubernetes").is_dir():
        address = "ghcr.io"  # a cluster runs images only; this one needs no account
    return f"{address}/{github.repo()}".lower() if address == "ghcr.io" else address


def push(image: str, repository: str, tag: str) -> str:
    """Push an image and return its name by digest."""
    login(repository.split("/")[0])
    docker("tag", image, f"{repository}:{tag}")
    docker("push", "--quiet", f"{repository}:{tag}")
    names = docker("image", "inspect", "--format", "{{json .RepoDigests}}", image)
    for name in json.loads(names):
        if name.startswith(f"{repository}@sha256:"):
            return str(name)
    raise ReleaseError(f"{repository} did not say which digest {tag} has")


def login(host: str) -> None:
    """Log in to a registry: GitHub's with the run's token, others as configured."""
    env = os.environ.get
    user, _, password = env("REGISTRY_LOGIN", "").strip().partition(":")
    if host == "ghcr.io" and not password:
        user, password = env("GITHUB_ACTOR", ""), env("GH_TOKEN", "")
    if user and password:
        command = ("login", "--username", user, "--password-stdin", host)
        docker(*command, data=password.encode())
