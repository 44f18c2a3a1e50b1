"""A release is a version and its server: a change of the server alone rolls out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery import tiny
from machinery.world import Record, Target, World, git, registered, world
from machinery.world import target as serve
from mlgitops.commands import deploy, register, rollback
from mlgitops.host import agent
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError, eligibility, facts, image, server, target


@pytest.fixture
def asked() -> Iterator[Target]:
    """Give a production server that the deployment asks."""
    with serve() as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a world where production runs a version with its first server."""
    home = tmp_path_factory.mktemp("running")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        with serve() as asked:
            patch.setenv("PRODUCTION_URL", asked.url)
            code(made, "one")
            asked.manifest, asked.server = made.judged("a"), server.at("HEAD").sha256
            roll_out()
        return made


@pytest.fixture
def here(
    running: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Target
) -> Iterator[World]:
    """Stand in a copy of it."""
    monkeypatch.setattr(target, "POLL", 0.05)
    with world(tmp_path, monkeypatch, running) as made:
        monkeypatch.setenv("PRODUCTION_URL", asked.url)
        asked.manifest, asked.server = made.manifest, server.at("HEAD").sha256
        yield made


def code(here: World, text: str) -> None:
    """Merge a change of the server's code; the model stays."""
    file = here.clone / "mlgitops" / "serving" / "app.py"
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(f"# {text}\n")
    here.commit(f"server {text}")


def roll_out(environment: str = "production") -> Record:
    """Do what the workflow `deploy` does after a merge."""
    version = registered()
    return deploy.deploy(environment, version.version)


def test_a_change_of_the_server_alone_rolls_out(here: World, asked: Target) -> None:
    before = Ledger().release("production") or {}
    code(here, "two")
    asked.server = server.at("HEAD").sha256
    record = roll_out()
    assert record["state"] == "confirmed"
    assert record["version"] == before["version"] == "v1.0.0"
    assert record["server"]["sha256"] != before["server"]["sha256"]
    assert record["previous_server"] == before["server"]["sha256"]
    assert record["deployment_id"] != before["deployment_id"]
    assert "Nothing to do" in str(register.register())
    periods = facts.served(Ledger().history("production"))
    assert [period.version for period in periods] == ["v1.0.0", "v1.0.0"]
    assert periods[0].until == periods[1].began


def test_a_change_of_the_threshold_alone_rolls_out(here: World, asked: Target) -> None:
    """The same model and another threshold are another version."""
    before = {a["name"]: a["id"] for a in here.hub.kept["releases"][0]["assets"]}
    assert isinstance(register.register(), str)  # the negative control: nothing to do
    asked.manifest = here.model("a", threshold=0.7)
    here.verdict(asked.manifest)
    record = roll_out()
    assert (record["version"], record["state"]) == ("v1.1.0", "confirmed")
    after = {a["name"]: a["id"] for a in here.hub.kept["releases"][1]["assets"]}
    same = {n for n in before if here.hub.data[before[n]] == here.hub.data[after[n]]}
    assert "model.onnx" in same and "manifest.json" not in same


def test_one_commit_checked_out_is_enough(
    here: World, asked: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the workflow does: main's history is fetched, the storage branch is not."""
    changed = server.at("HEAD")
    git("push", "-q", "origin", "HEAD:refs/heads/storage")
    asked.manifest = here.judged("b")
    for number in range(2):  # the second run finds nothing to do
        place = here.home / f"runner{number}"
        origin = f"file://{here.home}/origin"
        git("clone", "-q", "--depth=1", "--no-tags", origin, str(place))
        git("remote", "set-branches", "origin", "main", cwd=place)
        monkeypatch.chdir(place)
        assert server.at("HEAD").commit != changed.commit  # history is missing here
        version = register.register()
        if isinstance(version, str):
            break
        record = deploy.deploy("production", version.version)
        assert record["server"] == {"commit": changed.commit, "sha256": changed.sha256}
        assert git("rev-parse", "--is-shallow-repository") == "false"
        assert "storage" not in git("branch", "-r")
    assert "Nothing to do: production has flights@v1.1.0" in str(version)


def test_other_changes_do_not(here: World) -> None:
    (here.clone / "README.md").write_text("words\n")
    here.commit("words")
    (here.clone / "requirements").mkdir()
    (here.clone / "requirements" / "dev.txt").write_text("pytest\n")
    here.commit("a tool")
    for name in (*server.STATED, "mlgitops/ledger.py"):
        (here.clone / name).write_text("another release of the machinery\n")
    here.commit("the machinery beside the server")
    assert "Nothing to do: production has flights@v1.0.0" in str(register.register())
    known = server.at("HEAD")
    assert known.commit != git("rev-parse", "HEAD", cwd=here.clone)
    assert known.sha256 == server.at(known.commit).sha256


@pytest.mark.parametrize(
    "path",
    [
        "mlgitops/requirements/serving.txt",
        "mlgitops/machinery.py",
        "deploy/Dockerfile",
    ],
)
def test_requirements_and_image_are_the_servers(here: World, path: str) -> None:
    (here.clone / path).parent.mkdir(parents=True, exist_ok=True)
    (here.clone / path).write_text("new\n")
    here.commit("part of the server")
    registered()


def test_the_agent_brings_the_code_by_which_a_server_is_known() -> None:
    """Beside it what names the machinery; the Dockerfile is of images only."""
    brought = {f"mlgitops/{name}" for name in agent.SERVER}
    assert brought == set(server.PATHS) - {"deploy/Dockerfile"}
    assert {f"mlgitops/{name}" for name in agent.STATED} == set(server.STATED)
    for name in (*brought, *server.STATED):
        assert Path(name).exists(), name


def test_an_image_is_made_of_the_same(tmp_path: Path) -> None:
    """What is built, what the Dockerfile takes and what enters agree."""
    if not Path("deploy/Dockerfile").exists():
        pytest.skip("this target has no image")
    tiny.version(tmp_path / "m")
    place = image.context(tmp_path / "m", tmp_path / "context")
    own = {"deploy/Dockerfile"}
    carried = ({*server.PATHS, *server.STATED}) - own
    assert all((place / name).exists() for name in carried)
    lines = Path("deploy/Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = {w for line in lines if line.startswith("COPY ") for w in line.split()}
    folders = {"mlgitops/", "mlgitops/requirements/"}
    assert {w for w in copied if w.startswith("mlgitops/")} - folders == carried
    entered = {str(p.relative_to(place)) for p in place.rglob("*") if p.is_file()}
    entered -= {"contract.yaml", "build/manifest.json", "build/model.onnx"}
    known = [*carried, *own]
    outside = [p for p in entered if not any(Path(p).is_relative_to(k) for k in known)]
    assert outside == []


def test_the_old_server_confirms_nothing_and_comes_back(
    here: World, asked: Target
) -> None:
    before = Ledger().release("production") or {}
    code(here, "bad")  # and the target keeps saying that it runs the one before
    with pytest.raises(ReleaseError, match="with server .* has flights@v1.0.0 again"):
        roll_out()
    record = Ledger().release("production") or {}
    assert (record["action"], record["server"]) == ("revert", before["server"])
    first = here.hub.kept[f"statuses/{before['deployment_id']}"]
    assert [status["state"] for status in first] == ["success"]
    with pytest.raises(ReleaseError, match="taken out of production by a revert"):
        register.register()
    pull = here.hub.kept["pulls"][0]
    git("fetch", "-q", "origin")
    git("merge", "-q", "--no-edit", f"origin/{pull['head']}", cwd=here.clone)
    git("push", "-q", "origin", "main", cwd=here.clone)
    assert (here.clone / "mlgitops/serving/app.py").read_text() == "# one\n"
    assert "Nothing to do" in str(register.register())


def test_the_way_back_has_no_file_that_the_server_had_dropped(
    here: World, asked: Target
) -> None:
    """The model's commit still has it, and both are parts of the machinery."""
    dropped = here.clone / "mlgitops/serving/dropped.py"
    dropped.write_text("# in the server that came with the model\n")
    here.commit("one more")
    asked.manifest, asked.server = here.judged("b"), server.at("HEAD").sha256
    assert roll_out()["state"] == "confirmed"
    dropped.unlink()
    here.commit("one less")
    asked.server = server.at("HEAD").sha256
    assert roll_out()["state"] == "confirmed"
    code(here, "bad")
    with pytest.raises(ReleaseError, match=r"has flights@v1\.1\.0 again"):
        roll_out()
    pull = here.hub.kept["pulls"][0]
    tree = ("ls-tree", "-r", "--name-only", pull["head"], "mlgitops/serving")
    assert here.origin(*tree).split() == ["mlgitops/serving/app.py"]


def test_a_better_server_is_deployed_after_its_own_verdict(
    here: World, asked: Target
) -> None:
    code(here, "bad")
    with pytest.raises(ReleaseError):
        roll_out()
    code(here, "good")
    asked.server = server.at("HEAD").sha256
    here.verdict(asked.manifest)
    assert roll_out()["state"] == "confirmed"


def test_an_unrelated_verdict_does_not_bring_a_server_back(
    here: World, asked: Target
) -> None:
    """The model stayed; what was taken back is the server."""
    first = asked.server
    code(here, "bad")
    bad = server.at("HEAD").sha256
    with pytest.raises(ReleaseError):
        roll_out()
    here.verdict(asked.manifest)
    with pytest.raises(ReleaseError, match="brings it back on purpose"):
        register.register()
    end = Ledger().withdrawal(asked.manifest, bad) or {}
    assert end["action"] == "revert"
    assert Ledger().withdrawal(asked.manifest, str(first)) is None
    here.verdict(asked.manifest, returns={"seq": end["seq"]})
    asked.server = bad
    assert roll_out()["state"] == "confirmed"
    assert Ledger().withdrawal(asked.manifest, bad) is None


def test_a_newer_server_on_main_is_left_to_its_own_run(here: World) -> None:
    code(here, "two")
    version = registered()
    code(here, "three")
    git("checkout", "-q", "HEAD^", cwd=here.clone)
    assert "main has moved on" in str(register.register())
    with pytest.raises(ReleaseError, match="newer server"):
        deploy.deploy("production", version.version)


def test_a_rollback_brings_the_server_along(here: World, asked: Target) -> None:
    first = Ledger().release("production") or {}
    code(here, "two")
    asked.manifest, asked.server = here.judged("b"), server.at("HEAD").sha256
    roll_out()
    asked.manifest, asked.server = first["manifest_sha256"], first["server"]["sha256"]
    said = rollback.rollback("production", "v1.0.0", "slow")
    assert "flights@v1.0.0 again: confirmed" in said
    record = Ledger().release("production") or {}
    assert record["server"] == first["server"]
    assert eligibility.locked(record["commit"]) == eligibility.locked(first["commit"])


def test_the_version_that_runs_goes_back_to_its_server_before(
    here: World, asked: Target
) -> None:
    first = Ledger().release("production") or {}
    code(here, "two")
    asked.server = server.at("HEAD").sha256
    roll_out()
    asked.server = first["server"]["sha256"]
    said = rollback.rollback("production", "v1.0.0", "leaks memory")
    record = Ledger().release("production") or {}
    assert (record["action"], record["server"]) == ("rollback", first["server"])
    commit = Ledger().commit
    assert rollback.rollback("production", "v1.0.0", "leaks memory") == said
    assert Ledger().commit == commit, "a second run goes neither back nor forth"
