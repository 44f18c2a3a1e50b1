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
        ReleaseError: it failed; the last line that it said.
    """
    plain = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}  # one image, one digest
    done = subprocess.run(
        ["docker", *arguments], input=data, capture_output=True, env=os.environ | plain
    )
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        refused = re.findall(r"refused: .*", said)
        words = refused or said.splitlines()[-1:] or ["no word"]
        raise ReleaseError(f"docker {arguments[0]} failed: {words[0][:300]}")
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
    sha256 = sha256_file(folder / "manifest.json")
    arguments = {"MANIFEST_SHA256": sha256, "VERSION": version}
    arguments |= {"SERVER_SHA256": server_sha256}
    arguments |= {"BASE": base} if base else {}
    with TemporaryDirectory() as name:
        place = context(folder, Path(name), manifest["model"]["file"])
        return build_context(place, arguments)


def build_context(place: Path, arguments: dict[str, str]) -> str:
    """Build what lies in a folder; return the image's id."""
    given = [w for k, v in arguments.items() for w in ("--build-arg", f"{k}={v}")]
    file = ("--file", str(place / DOCKERFILE))
    network = "--network=host"  # the package index, whatever network the engine has
    return docker("build", "--quiet", network, *file, *given, str(place))


def context(folder: Path, place: Path, model: str = "model.onnx") -> Path:
    """Put what the Dockerfile takes into an empty folder: only that enters a build."""
    for name in (*server.PATHS, *server.STATED):
        source, goal = Path(name), place / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, goal)
    (place / "build").mkdir()
    shutil.copy(contract_path(folder), place / "contract.yaml")
    shutil.copy(folder / "manifest.json", place / "build")
    shutil.copy(folder / model, place / "build/model.onnx")
    return place


def check(image: str, manifest_sha256: str) -> None:
    """Refuse an image whose label, user or bytes are not a version's.

    Raises:
        ReleaseError: one of them differs; which one.
    """
    said = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    label = (said.get("Labels") or {}).get(LABEL)
    if label != manifest_sha256:
        raise ReleaseError(
            f"the image {image} is labelled {label}, expected {manifest_sha256}"
        )
    if said.get("User") in (None, "", "root", "0", "0:0"):
        raise ReleaseError(f"the image {image} runs as root")
    words = ("-m", "mlgitops.serving.smoke", "model", manifest_sha256)
    docker("run", "--rm", "--network=none", *HARD, "--entrypoint=python", image, *words)


def smoke(
    image: str, manifest: Record, manifest_sha256: str, server_sha256: str = ""
) -> float:
    """Run an image as strictly as a target does and ask it; return seconds to ready.

    Raises:
        ReleaseError: it does not start, names another version, answers its golden
            rows otherwise, or answers what it should refuse.
    """
    started = time.monotonic()
    where = ("--host", "127.0.0.1", "--port", "0")
    container = docker("run", "--detach", "--network=host", *HARD, image, *where)
    try:
        place = _address(container)
        words, right = target.asked(place, manifest_sha256, server_sha256)
        seconds = time.monotonic() - started
        if not right:
            raise ReleaseError(f"the image {image} is wrong: {words}")
        if problem := target.ask_golden(place, manifest["golden"], manifest_sha256):
            raise ReleaseError(f"the image {image} is wrong: {problem}")
        if not target.refuses(place, {"rows": [{"no such column": 1}]}):
            raise ReleaseError(f"the image {image} answers a row that breaks the rules")
        return seconds
    finally:
        docker("rm", "--force", container)


def _address(container: str) -> str:
    """Wait for the line in which a server says where it listens."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        log = docker("logs", container)
        if found := re.search(r"serving on (http://[\w.:]+)", log):
            return found[1]
        if docker("inspect", "--format", "{{.State.Running}}", container) != "true":
            raise ReleaseError(f"the container ended at its start: {log[-300:]}")
        time.sleep(0.1)
    raise ReleaseError(f"the container did not start within {START_SECONDS:g} s")


def registry() -> str:
    """Return where images are pushed to, without a tag; nothing for nowhere."""
    place = os.environ.get("IMAGE_REGISTRY", "").strip().rstrip("/").lower()
    if not place and Path("deploy/kubernetes").is_dir():
        place = "ghcr.io"  # a cluster runs images only; this one needs no account
    return f"{place}/{github.repo()}".lower() if place == "ghcr.io" else place


def push(image: str, place: str, tag: str) -> str:
    """Push an image and return its name by digest."""
    login(place)
    docker("tag", image, f"{place}:{tag}")
    docker("push", "--quiet", f"{place}:{tag}")
    names = docker("image", "inspect", "--format", "{{json .RepoDigests}}", image)
    for name in json.loads(names):
        if name.startswith(f"{place}@sha256:"):
            return str(name)
    raise ReleaseError(f"{place} did not say which digest {tag} has")


def login(place: str) -> None:
    """Log in to a registry: GitHub's with the run's token, others as configured."""
    host, given = place.split("/")[0], os.environ.get
    user, _, password = (given("REGISTRY_LOGIN") or "").strip().partition(":")
    if host == "ghcr.io" and not password:
        user, password = given("GITHUB_ACTOR") or "", given("GH_TOKEN") or ""
    if user and password:
        words = ("login", "--username", user, "--password-stdin", host)
        docker(*words, data=password.encode())
