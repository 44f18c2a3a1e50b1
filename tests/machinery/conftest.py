"""What the machinery's tests share; they run in the folder of a generated repository.

Programs that they start find the machinery, `model/` and these tests as they do.
"""

import gc
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from machinery import drawn, engine, hypothesis_profile, lengths, tiny, warm
from mlgitops.serving.verify import VerifyError, verify

os.environ["PYTHONPATH"] = f"{Path.cwd()}{os.pathsep}{Path(__file__).parent.parent}"
# In the place of this machine's.
os.environ["GIT_CONFIG_SYSTEM"] = str(Path(__file__).with_name("gitconfig"))
# However pytest was started: programs find those of this environment first.
os.environ["PATH"] = warm.path(
    os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
)
sys.executable = warm.python()
hypothesis_profile.load()
drawn.share()
# Files that one process plays, as what they share is dear: the container engine, its
# base and the layers that both build and push.
TOGETHER = ("test_agent_docker.py", "test_image.py")


def pytest_configure(config: pytest.Config) -> None:
    """Let each of several processes begin to load at another file.

    pytest compiles each file for its asserts, all of them in 20 CPU seconds, and keeps
    what it has compiled: so a process compiles its share, and reads the others'.
    """
    here, worker = Path(__file__).parent, getattr(config, "workerinput", None)
    if worker and [Path(name) for name in config.args] == [here]:
        files = sorted(map(str, here.rglob("test_*.py")))
        number = int(worker["workerid"].removeprefix("gw"))
        first = len(files) * number // worker["workercount"]
        config.args = files[first:] + files[:first]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files with slow tests first, so that no process is left with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path))


def pytest_collection_finish() -> None:
    """Let the search for garbage pass over what stays: all tests, and the libraries.

    It was 7 of 100 CPU seconds.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let a process play whole files, and those that go together."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return TOGETHER[0] if Path(file).name in TOGETHER else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> str:
    """Say which variants are played."""
    return lengths.said()


class Engine(NamedTuple):
    """An engine that answers, the base to build on, and room for files."""

    base: str  # nothing: the one that the Dockerfile names
    home: Path


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """Yield an engine to which the program `docker` leads, or skip with the reason."""
    if why := engine.missing():
        pytest.skip(why)
    folder, patch = TemporaryDirectory(prefix="engine-"), pytest.MonkeyPatch.context()
    with folder as name, patch as m:
        home = Path(name)
        if engine.answers({}):
            yield Engine("", home)
            return
        with engine.private(home) as env:
            for key, value in env.items():
                m.setenv(key, value)
            yield Engine(engine.base(home, env), home)


@pytest.fixture(scope="session")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a version: the one in build/, or a tiny one."""
    folder = tmp_path_factory.mktemp("reviewed")
    try:
        whole = "probability" in verify("build")["golden"][0]
    except VerifyError:  # not built yet, or with another contract
        whole = False
    if whole:
        for name in ("build/manifest.json", "build/model.onnx", "contract.yaml"):
            shutil.copy(name, folder)
    else:
        tiny.version(folder)
    return folder


@pytest.fixture(scope="session")
def loopback(docker: Engine) -> Iterator[str]:
    """Yield the address of a real registry, or skip with the reason."""
    if not shutil.which("docker-registry"):
        pytest.skip("there is no docker-registry: apt-get install docker-registry")
    with engine.registry(docker.home) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The rehearsal's browser; it is not there where only the tests are."""
    path = Path(__file__).parents[2] / "rehearsal/page/browser.py"
    if not path.is_file() or not shutil.which("chromium"):
        pytest.skip("no Chromium here to look at the page with")
    spec = importlib.util.spec_from_file_location("browser", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Browser() as chromium:
        yield chromium
