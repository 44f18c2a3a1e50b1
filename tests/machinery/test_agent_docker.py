"""The host agent with the runtime `docker`: a real engine, a registry, real images."""

import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from machinery import pod, test_agent, tiny
from machinery import test_kubernetes_challengers as pods
from machinery.conftest import Engine
from machinery.test_agent import Callers, World
from mlgitops.release import challengers, image
from mlgitops.release.image import docker as run
from rehearsal import ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("deploy/Dockerfile").exists(), reason="this target has no image"
    ),
]
world = test_agent.world
SERVER = {"commit": "", "sha256": "5" * 64}


@pytest.fixture(scope="module")
def images(
    docker: Engine, loopback: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Push the images of two versions; return their names by digest."""
    found = {}
    for version, slope in (("v1.0.0", 0.001), ("v1.1.0", 0.002)):
        folder = tmp_path_factory.mktemp("version")
        tiny.version(folder, slope)
        built = image.build(folder, version, SERVER["sha256"], docker.base)
        found[version] = image.push(built, f"{loopback}/flights", version)
    return found


def containers(world: World) -> list[str]:
    home = f"label=model.agent={world.home / 'agent'}"
    return run("ps", "-aq", "--filter", home).split()


def publish(world: World, images: dict[str, str], version: str, slope: float) -> str:
    """Name a version and its image in the ledger; return its manifest."""
    folder = world.home / "published" / version
    identity = tiny.version(folder, slope)
    world.api.releases[f"flights@{version}"] = folder
    return name(world, version, identity, image=images[version])


def name(world: World, version: str, identity: str, **changes: Any) -> str:
    code = SERVER | {"commit": world.commit}
    world.name(version, identity, server=code, **changes)
    return identity


def refused(world: World, words: str) -> None:
    world.until(lambda: (world.state()["failed"] or {}).get("seq") == world.seq)
    assert words in world.state()["failed"]["reason"]


def test_images_are_switched_by_digest_without_losing_a_request(
    world: World, images: dict[str, str]
) -> None:
    one = publish(world, images, "v1.0.0", 0.001)
    with world.agent("--runtime", "docker"):
        world.until(lambda: world.settled(one))
        assert tiny.call(world.port, "/info")[1]["server_sha256"] == SERVER["sha256"]
        callers = Callers(world.port)
        try:
            two = publish(world, images, "v1.1.0", 0.002)
            world.until(lambda: world.settled(two))
            name(world, "v1.0.0", one, image=images["v1.1.0"])  # another's image
            refused(world, "the image is labelled")
            name(world, "v1.0.0", one)  # none at all
            refused(world, "has no image")
            name(world, "v1.0.0", one, image=images["v1.0.0"][:-64] + "0" * 64)
            refused(world, "sha256:0000")
            assert world.serves() == two
            name(world, "v1.0.0", one, image=images["v1.0.0"])  # rollback
            world.until(lambda: world.settled(one))
            time.sleep(0.5)
        finally:
            callers.end()
        world.until(lambda: len(containers(world)) == 1)
    assert callers.errors == []
    assert set(callers.seen) == {one, two}
    assert containers(world) == []
    assert "Traceback" not in world.words()
    assert len(tiny.logged(world.home / "log")) == sum(callers.seen.values())


def test_a_container_has_no_network_and_no_rights(
    world: World, images: dict[str, str]
) -> None:
    one = publish(world, images, "v1.0.0", 0.001)
    with world.agent("--runtime", "docker"):
        world.until(lambda: world.settled(one))
        (container,) = containers(world)
        read = "{{.NetworkMode}} {{.ReadonlyRootfs}} {{.CapDrop}} {{.SecurityOpt}}"
        form = "{{with .HostConfig}}" + read + "{{end}} {{.Config.User}}"
        said = run("inspect", "--format", form, container)
    assert said.startswith("none true [ALL] [no-new-privileges] ")
    assert not said.endswith((" 0:0", " root", " "))


def test_a_container_runs_a_shadow_and_a_canary(
    world: World, images: dict[str, str]
) -> None:
    """Their files are mounted, read only; both come and go while it runs."""
    one = publish(world, images, "v1.0.0", 0.001)
    about = {"version": "v1.1.0", "tag": "flights@v1.1.0"}
    two = tiny.version(folder := world.home / "published/v1.1.0", 0.002)
    world.api.releases["flights@v1.1.0"] = folder

    def tell(path: str, **changes: Any) -> None:
        release = world.work / "environments/production/release.json"
        fields = json.loads(release.read_text()) | about | {"manifest_sha256": two}
        # a challenger's files are brought by commit, and not by image
        fields |= changes | {"image": None}
        file = world.work / "environments" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(fields))
        world.git("add", "-A")
        world.git("commit", "-qm", path)
        world.git("push", "-q", str(world.bare), "ledger")

    def state(role: str) -> dict[str, Any]:
        return dict(tiny.call(world.port, "/info")[1].get(role) or {})

    rows = [tiny.ROW | {"id": f"r{n}"} for n in range(50)]
    terms = {"champion": one, "share": 0.5, "state": "running"}
    terms["until"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with world.agent("--runtime", "docker", "--shadow", "staging", "--canary"):
        world.until(lambda: world.settled(one))
        tell("staging/release.json")
        world.until(lambda: state("shadow").get("state") == "ready")
        tiny.call(world.port, "/predict", {"rows": rows})
        world.until(lambda: state("shadow").get("rows") == 50)
        tell("production/canary.json", **terms)
        world.until(lambda: state("canary").get("answers"))
        answer = tiny.call(world.port, "/predict", {"rows": rows})[1]
        assert {row.get("manifest_sha256") for row in answer["predictions"]} == {
            two,
            None,
        }
        (container,) = containers(world)
        code = "open('/releases/x', 'w')"
        done = subprocess.run(
            ("docker", "exec", container, "python", "-c", code),
            capture_output=True,
            text=True,
        )
        assert "Read-only file system" in done.stderr
        tell("production/canary.json", **terms | {"state": "taken back"})
        world.until(lambda: not state("canary"))
        assert world.serves() == one
    assert len(tiny.logged(world.home / "log/shadow")) >= 50
    assert world.state()["failed"] is None


@pytest.mark.skipif(not pod.FOLDER.is_dir(), reason="no folder of Kubernetes")
def test_a_container_engine_runs_what_the_pod_says(
    images: dict[str, str], tmp_path: Path
) -> None:
    """Init containers copy from the version's image; the server runs with both."""
    names = [images[version] for version in ("v1.0.0", "v1.1.0")]
    identity = tiny.version(tmp_path / "version", 0.002)
    about = {"image": names[1], "manifest_sha256": identity}
    chosen = {
        "shadow": pods.OTHER | about,
        "canary": pods.CANARY | about | {"share": 0.5},
    }
    spec = pods.specification(challengers.place(pods.manifests(), chosen))
    volume, log = tmp_path / "volume", tmp_path / "log"
    context = spec["securityContext"]
    user = f"{context['runAsUser']}:{context['runAsGroup']}"
    for path in (volume, log):
        path.mkdir()
        shutil.chown(path, context["runAsUser"], context["fsGroup"])
    hard = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    mounted = f"--mount=type=bind,src={volume},dst=/challengers"
    for container in spec["initContainers"]:
        program, *rest = container["command"]
        entry = ("--rm", "--network=none", f"--entrypoint={program}", f"--user={user}")
        run("run", *entry, *hard, mounted, container["image"], *rest)
    port, (server,) = ports.free(), spec["containers"]
    arguments = pod.arguments(spec, port)
    logged = f"--mount=type=bind,src={log},dst=/log"
    started = ("run", "--detach", "--network=host", f"--user={user}", *hard)
    memory = server["resources"]["limits"]["memory"].removesuffix("Mi")
    limits = (f"--memory={memory}m", f"--memory-swap={memory}m")
    container = run(
        *started, *limits, f"{mounted},readonly", logged, names[0], *arguments
    )
    rows = [tiny.ROW | {"id": f"r{n}"} for n in range(50)]
    try:
        pod.probe(spec, "startup", port)
        end = time.monotonic() + 120
        info: dict[str, Any] = {}
        while (info.get("shadow") or {}).get("rows") != 50:
            assert time.monotonic() < end, json.dumps(info)
            info = tiny.call(port, "/info")[1]
            if (info["shadow"] or {}).get("state") == "ready" and not answered(log):
                said = tiny.call(port, "/predict", {"rows": rows})[1]["predictions"]
            time.sleep(0.1)
        versions = {row.get("manifest_sha256") for row in said}
        assert versions == {identity, None}
        assert info["canary"]["answers"]
    finally:
        run("rm", "--force", container)


def answered(log: Path) -> bool:
    """Tell whether a row was logged."""
    return any(path.stat().st_size for path in log.glob("predictions-*"))


def test_killed_hard_it_leaves_no_container_and_resumes_without_a_registry(
    world: World, images: dict[str, str]
) -> None:
    one = publish(world, images, "v1.0.0", 0.001)
    with world.agent("--runtime", "docker") as agent:
        world.until(lambda: world.settled(one))
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        world.until(lambda: not containers(world))
    world.bare.rename(world.home / "away")
    world.api.broken = True
    with world.agent("--runtime", "docker"):
        world.until(lambda: world.settled(one))
        (container,) = containers(world)
        run("kill", container)  # and one that dies is started again
        world.until(lambda: world.serves() == one and containers(world))
        assert containers(world) != [container]


def test_without_an_engine_it_says_so(world: World, tmp_path: Path) -> None:
    done = subprocess.run(
        world.command("--runtime", "docker"),
        capture_output=True,
        text=True,
        env=os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none"},
    )
    assert done.returncode == 1 and "use --runtime process" in done.stderr
    assert "Traceback" not in done.stderr
