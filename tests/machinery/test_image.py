"""The image, built and run by a real engine, pushed to a real registry by digest."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machinery import pod, tiny
from machinery.conftest import Engine
from machinery.world import World, world
from mlgitops.commands import image as program
from mlgitops.ledger import Ledger
from mlgitops.machinery import machinery
from mlgitops.release import ReleaseError, image, package, server, target
from mlgitops.release.image import docker as run
from mlgitops.release.registry import Version
from mlgitops.serving.verify import sha256_file
from rehearsal import ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("deploy/Dockerfile").exists(), reason="this target has no image"
    ),
]
BEYOND_MB = 120


@pytest.fixture(scope="module")
def manifest(reviewed: Path) -> dict[str, Any]:
    return dict(json.loads((reviewed / "manifest.json").read_bytes()))


@pytest.fixture(scope="module")
def identity(reviewed: Path) -> str:
    return sha256_file(reviewed / "manifest.json")


@pytest.fixture(scope="module")
def built(docker: Engine, reviewed: Path) -> str:
    """Build the image once."""
    return image.build(reviewed, "v1.0.0", base=docker.base)


def inside(built: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the image, as its user, without a network."""
    entry = ("--rm", "--network=none", *image.HARD, "--entrypoint=python")
    command = ("docker", "run", *entry, built, "-c", code)
    return subprocess.run(command, capture_output=True, text=True)


def test_it_answers_as_reviewed_and_refuses_what_is_wrong(
    built: str, manifest: dict[str, Any], identity: str
) -> None:
    image.check(built, identity)
    assert image.smoke(built, manifest, identity) < 30


def test_a_server_that_answers_otherwise_fails_the_smoke_test(
    built: str, manifest: dict[str, Any], identity: str
) -> None:
    with pytest.raises(ReleaseError, match="it runs"):
        image.smoke(built, manifest, "0" * 64)
    first = manifest["golden"][0]
    wrong = [{**first, "probability": first["probability"] / 2 + 0.4}]
    with pytest.raises(ReleaseError, match="golden"):
        image.smoke(built, manifest | {"golden": wrong}, identity)


def test_it_is_healthy_without_a_network(built: str) -> None:
    quick = ("--health-interval=1s", "--health-start-period=0s")
    container = run("run", "--detach", "--network=none", *quick, *image.HARD, built)
    try:
        state, end = "", time.monotonic() + 120
        while state != "healthy" and time.monotonic() < end:
            time.sleep(0.3)
            words = ("inspect", "--format", "{{.State.Health.Status}}", container)
            state = run(*words)
        assert state == "healthy"
    finally:
        run("rm", "--force", container)


def test_a_stopped_container_leaves_without_being_killed(built: str) -> None:
    container = run("run", "--detach", "--network=none", *image.HARD, built)
    try:
        end = time.monotonic() + 120
        while "serving on" not in run("logs", container):
            assert time.monotonic() < end
            time.sleep(0.1)
        run("stop", "--time=120", container)
        assert run("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    finally:
        run("rm", "--force", container)


@pytest.mark.skipif(not pod.FOLDER.is_dir(), reason=f"there is no {pod.FOLDER}")
@pytest.mark.parametrize(
    "uid", [None, 1_000_680_000], ids=["its user", "a random user"]
)
def test_it_runs_as_its_pod_says(
    built: str, manifest: dict[str, Any], identity: str, uid: int | None
) -> None:
    """User, groups, limits, volumes, probes and arguments as the manifest has them."""
    spec, port = pod.specification(), ports.free()
    options = pod.options(spec, uid)
    started = ("run", "--detach", "--network=host", *options, built)
    container = run(*started, *pod.arguments(spec, port))
    try:
        for name in ("startup", "readiness", "liveness"):
            pod.probe(spec, name, port)
        url = f"http://127.0.0.1:{port}"
        assert target.identify(url, identity, "")[1]
        assert not target.ask_golden(url, manifest["golden"], identity)
        log = run(
            "exec", container, "python", "-c", "import os; print(os.listdir('/log'))"
        )
        assert "predictions-" in log  # the volume is its to write
        status = run("exec", container, "cat", "/proc/1/status")
        for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status, status
        user = uid or spec["securityContext"]["runAsUser"]
        assert f"Uid:\t{user}\t" in status
        limit = spec["containers"][0]["resources"]["limits"]["memory"]
        found = int(run("inspect", "--format", "{{.HostConfig.Memory}}", container))
        assert found == int(limit.removesuffix("Mi")) * 2**20
        _, drain, grace = pod.seconds(spec)
        begun = time.monotonic()
        run("stop", f"--time={int(grace)}", container)
        assert time.monotonic() - begun < drain + 10
        assert run("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
        assert not json.loads(
            run("inspect", "--format", "{{.State.OOMKilled}}", container)
        )
    finally:
        run("rm", "--force", container)


@pytest.mark.skipif(not pod.FOLDER.is_dir(), reason=f"there is no {pod.FOLDER}")
def test_what_the_pod_does_not_allow_fails(built: str) -> None:
    """The context is really there: nothing can be written, and no memory beyond it."""
    options = pod.options(pod.specification())
    wrong = {"/srv/x": False, "/tmp/x": False, "/log/x": True}
    code = f"""if True:
        for path, allowed in {wrong}.items():
            try:
                open(path, "w").close()
                assert allowed, path
            except OSError:
                assert not allowed, path
        print("as it should be", flush=True)
        held = [b"x" * 2**26 for _ in range(16)]
    """
    entry = ("--rm", "--network=none", "--entrypoint=python", built, "-c", code)
    command = ("docker", "run", *options, *entry)
    done = subprocess.run(command, capture_output=True, text=True)
    assert "as it should be" in done.stdout, done.stderr
    assert done.returncode == 137, "1 GB was held within a limit of 512 MiB"


def test_it_carries_the_version_and_nothing_to_build_with(
    built: str, identity: str
) -> None:
    said = json.loads(run("image", "inspect", "--format", "{{json .Config}}", built))
    assert said["Labels"][image.LABEL] == identity
    assert said["Labels"]["org.opencontainers.image.version"] == "v1.0.0"
    code = """if True:
        import importlib.util as u, os, shutil, sys
        packages = "pandas sklearn pip scipy onnx dvc pyarrow setuptools".split()
        programs = "gcc cc c++ make ld pip pip3 uv git apt-key".split()
        print([name for name in packages if u.find_spec(name)],
              [name for name in programs[:-1] if shutil.which(name)], os.getuid())
        try:
            open("/srv/model/model.onnx", "ab")
        except OSError:
            print("read only")
    """
    done = inside(built, code)
    assert done.stdout.split("\n")[:2] == ["[] [] 10001", "read only"], done.stderr


def test_it_names_its_machinery(built: str, reviewed: Path, tmp_path: Path) -> None:
    """The same files as on a host, so that both say the same."""
    code = "from mlgitops.machinery import machinery as m; print(m(part=True))"
    done = inside(built, code)
    place = image.context(reviewed, tmp_path / "context")
    said = machinery(place / "mlgitops", part=True)
    assert done.stdout == f"{said}\n", done.stderr


def test_its_size_beyond_the_base(
    docker: Engine, built: str, capsys: pytest.CaptureFixture[str]
) -> None:
    size = program.megabytes(built, docker.base or program.base())
    with capsys.disabled():
        print(f"\nimage: {size:.1f} MB compressed beyond its base")
    assert 5 < size < BEYOND_MB


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_altered_bytes_build_no_image(
    docker: Engine, reviewed: Path, tmp_path: Path, identity: str, name: str
) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(reviewed, folder)
    place = image.context(reviewed, Path(shutil.copytree(reviewed, tmp_path / "c")))
    for where in (folder, place / "build"):
        with (where / name).open("ab") as file:
            file.write(b"\n")
    if name == "model.onnx":
        with pytest.raises(ReleaseError, match=rf"{name} is not the reviewed file"):
            image.build(folder, "v1.0.0", base=docker.base)
    given = {"MANIFEST_SHA256": identity, "VERSION": "v1.0.0"}
    given |= {"BASE": docker.base} if docker.base else {}
    with pytest.raises(ReleaseError, match=rf"{name} is not the"):
        image.build_context(place, given)  # the Dockerfile's own check, too


def test_a_wrong_identity_builds_no_image(
    docker: Engine, reviewed: Path, tmp_path: Path
) -> None:
    place = image.context(reviewed, tmp_path)
    given = {"MANIFEST_SHA256": "0" * 64, "VERSION": "v1.0.0"}
    given |= {"BASE": docker.base} if docker.base else {}
    with pytest.raises(ReleaseError, match="not the expected version"):
        image.build_context(place, given)


def derived(built: str, place: Path, *lines: str) -> str:
    """Build an image on top of another."""
    (place / "Dockerfile").write_text("\n".join((f"FROM {built}", *lines)) + "\n")
    return run("build", "--quiet", str(place))


def test_an_image_whose_label_and_content_disagree_is_refused(
    built: str, tmp_path: Path, identity: str
) -> None:
    label = derived(built, tmp_path, f"LABEL {image.LABEL}={'0' * 64}")
    with pytest.raises(ReleaseError, match="is labelled 0000"):
        image.check(label, identity)
    with pytest.raises(ReleaseError, match="not the expected version"):
        image.check(label, "0" * 64)
    lines = ("USER root", "RUN echo >> model/model.onnx", "USER 10001:10001")
    with pytest.raises(ReleaseError, match=r"model\.onnx is not the reviewed"):
        image.check(derived(built, tmp_path, *lines), identity)
    with pytest.raises(ReleaseError, match="runs as root"):
        image.check(derived(built, tmp_path, "USER root"), identity)
    image.check(derived(built, tmp_path, "LABEL other=1"), identity)


def test_a_digest_leads_to_the_same_bytes(
    built: str, loopback: str, reviewed: Path, tmp_path: Path
) -> None:
    name = image.push(built, f"{loopback}/flights", "v1.0.0")
    assert re.fullmatch(rf"{re.escape(loopback)}/flights@sha256:[0-9a-f]{{64}}", name)
    if not shutil.which("skopeo"):
        pytest.skip("there is no skopeo: apt-get install skopeo")
    plain = ("--tls-verify=false", f"docker://{loopback}/flights:v1.0.0")
    found = json.loads(output("skopeo", "inspect", *plain))
    assert name.endswith(found["Digest"])
    pulled = tmp_path / "pulled"
    source = ("--src-tls-verify=false", f"docker://{name}")
    output("skopeo", "copy", "--quiet", *source, f"dir:{pulled}")
    assert f"sha256:{sha256_file(pulled / 'manifest.json')}" == found["Digest"]
    for layer in found["Layers"]:
        blob = pulled / layer.removeprefix("sha256:")
        assert f"sha256:{sha256_file(blob)}" == layer
        archive = ("tar", "-C", str(tmp_path), "-xf", str(blob))
        subprocess.run((*archive, "srv/model"), capture_output=True)
    for file in ("model.onnx", "manifest.json", "contract.yaml"):
        unpacked = tmp_path / "srv/model" / file
        assert unpacked.read_bytes() == (reviewed / file).read_bytes()
    run("rmi", "--force", f"{loopback}/flights:v1.0.0", name)
    run("pull", "--quiet", name)
    assert json.loads(run("image", "inspect", name))[0]["Id"] == built


def with_server(here: World, base: str) -> str:
    """Put the server on main, on a base of one's own if there is one."""
    for name in (*server.PATHS, *server.STATED):
        source, goal = tiny.ROOT / name, here.clone / name
        goal.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, goal)
    if base:
        file = here.clone / "deploy/Dockerfile"
        file.write_text(re.sub(r"ARG BASE=.*", f"ARG BASE={base}", file.read_text()))
    return here.commit("server")


def bringing(reviewed: Path) -> Callable[[Version, Path], dict[str, Any]]:
    """Return what brings a version from its release: here, from a folder."""

    def bring(_: Version, folder: Path) -> dict[str, Any]:
        shutil.copytree(reviewed, folder, dirs_exist_ok=True)
        return dict(json.loads((reviewed / "manifest.json").read_bytes()))

    return bring


def test_a_base_that_cannot_be_fetched_stops_deploy_and_not_train(
    docker: Engine,
    reviewed: Path,
    identity: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with world(tmp_path, monkeypatch) as here:
        commit = with_server(here, f"127.0.0.1:1/gone@sha256:{'0' * 64}")
        program.main()
        said = capsys.readouterr().out
        assert "its base cannot be fetched (docker" in said
        monkeypatch.setattr(package.assets, "bring", bringing(reviewed))
        monkeypatch.setenv("IMAGE_REGISTRY", "127.0.0.1:1/released")
        version = Version("v1.0.0", "flights@v1.0.0", commit, identity)
        with pytest.raises(ReleaseError, match="docker build failed"):
            package.image_of(version)


def test_a_release_has_its_image_built_once(
    docker: Engine,
    loopback: str,
    reviewed: Path,
    identity: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `register` does with IMAGE_REGISTRY, up to the digest in the ledger."""
    with world(tmp_path, monkeypatch) as here:
        commit = with_server(here, docker.base)
        monkeypatch.setattr(package.assets, "bring", bringing(reviewed))
        monkeypatch.setenv("IMAGE_REGISTRY", f"{loopback}/released")
        version = Version("v1.0.0", "flights@v1.0.0", commit, identity)
        named = package.image_of(version)
        assert named and named.startswith(f"{loopback}/released@sha256:")
        said = run("image", "inspect", "--format", "{{json .Config.Labels}}", named)
        code = server.at("HEAD")
        assert json.loads(said)["model.server.sha256"] == code.sha256
        record = {
            "seq": 0,
            "environment": "staging",
            "manifest_sha256": identity,
            "server": {"commit": code.commit, "sha256": code.sha256},
            "image": named,
        }
        path = "environments/staging/history/00000000.json"
        Ledger().append({path: record}, "staging has it")
        monkeypatch.setattr(package.image, "build", None)  # and it is not built again
        assert package.image_of(version) == named


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
