"""The host agent with the runtime `docker`: a real engine, a registry, real images."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from machinery import test_agent, tiny
from machinery.conftest import Engine
from machinery.test_agent import Callers, World
from mlgitops.release import image
from mlgitops.release.image import docker as run

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
    world.until(lambda: (world.state()["failed"] or {}).get("seq") == world.seq, 60)
    assert words in world.state()["failed"]["reason"]


def test_images_are_switched_by_digest_without_losing_a_request(
    world: World, images: dict[str, str]
) -> None:
    one = publish(world, images, "v1.0.0", 0.001)
    with world.agent("--runtime", "docker"):
        world.until(lambda: world.settled(one), 60)
        assert tiny.call(world.port, "/info")[1]["server_sha256"] == SERVER["sha256"]
        callers = Callers(world.port)
        try:
            two = publish(world, images, "v1.1.0", 0.002)
            world.until(lambda: world.settled(two), 60)
            name(world, "v1.0.0", one, image=images["v1.1.0"])  # another's image
            refused(world, "the image is labelled")
            name(world, "v1.0.0", one)  # none at all
            refused(world, "has no image")
            name(world, "v1.0.0", one, image=images["v1.0.0"][:-64] + "0" * 64)
            refused(world, "sha256:0000")
            assert world.serves() == two
            name(world, "v1.0.0", one, image=images["v1.0.0"])  # rollback
            world.until(lambda: world.settled(one), 60)
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
        world.until(lambda: world.settled(one), 60)
        (container,) = containers(world)
        read = "{{.NetworkMode}} {{.ReadonlyRootfs}} {{.CapDrop}} {{.SecurityOpt}}"
        form = "{{with .HostConfig}}" + read + "{{end}} {{.Config.User}}"
        said = run("inspect", "--format", form, container)
    assert said.startswith("none true [ALL] [no-new-privileges] ")
    assert not said.endswith((" 0:0", " root", " "))


def test_killed_hard_it_leaves_no_container_and_resumes_without_a_registry(
    world: World, images: dict[str, str]
) -> None:
    one = publish(world, images, "v1.0.0", 0.001)
    with world.agent("--runtime", "docker") as agent:
        world.until(lambda: world.settled(one), 60)
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        world.until(lambda: not containers(world), 30)
    world.bare.rename(world.home / "away")
    world.api.broken = True
    with world.agent("--runtime", "docker"):
        world.until(lambda: world.settled(one), 60)
        (container,) = containers(world)
        run("kill", container)  # and one that dies is started again
        world.until(lambda: world.serves() == one and containers(world), 60)
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
