"""A rollback checks the way back first, leaves a trace, and stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import Target, World, git, registered, roll_out, world
from machinery.world import target as serve
from mlgitops.commands import deploy, register, rollback
from mlgitops.ledger import Ledger
from mlgitops.release import (
    HostError,
    ReleaseError,
    TargetError,
    canary,
    challengers,
    registry,
    revert,
    server,
    target,
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make a repository where v1.0.0 was followed by v1.1.0."""
    home = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        for text in ("one", "two"):
            made.judged(text)
            roll_out()
    yield made


@pytest.fixture
def here(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it."""
    monkeypatch.setattr(target, "POLL", 0.05)
    with world(tmp_path / "twin", monkeypatch, first) as made:
        yield made


def current() -> dict[str, object]:
    """Return what production's targets follow."""
    return Ledger().release("production") or {}


def test_a_rollback_leaves_its_trace_everywhere(here: World) -> None:
    left = current()["manifest_sha256"]
    beside = {"tag": "flights@v1.2.0", "manifest_sha256": "d" * 64, "share": 0.1}
    beside |= {"champion": left, "state": "running"}
    Ledger().append({canary.FILE: beside}, "a canary")
    sentence = rollback.rollback("production", "v1.0.0", "late | answers")
    assert "production has flights@v1.0.0 again" in sentence
    record = current()
    assert (record["action"], record["version"]) == ("rollback", "v1.0.0")
    assert (record["reason"], record["author"]) == ("late | answers", "eve")
    assert record["previous"] == left
    assert (Ledger().read(canary.FILE) or {})["state"] == "replaced"
    assert here.hub.kept["deployments"][-1]["description"].startswith("rollback")
    assert here.hub.kept["statuses/3"][-1]["state"] == "success"
    pull = here.hub.kept["pulls"][0]
    assert pull["head"] == f"rollback/v1.0.0-{record['seq']}"
    assert "late | answers" in pull["body"]
    assert "Approve workflows to run" in pull["body"]


def test_no_fault_of_a_challenger_stops_a_rollback(
    here: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a `deploy.shadow` that names no environment: main is reverted as well."""

    def refuse(*_: object) -> None:
        raise ReleaseError("there is no environment nowhere")

    monkeypatch.setattr(challengers, "follow", refuse)
    assert "has flights@v1.0.0 again" in rollback.rollback("production", "v1.0.0", "-")
    assert here.hub.kept["pulls"] and "nowhere" in capsys.readouterr().out


def test_a_rollback_that_the_host_could_not_do_is_done_again(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own fault or not: the version that was left stays withdrawn by neither."""
    left = current()
    with monkeypatch.context() as patch:
        patch.setenv("PRODUCTION_URL", "agent")  # which is off
        with pytest.raises(ReleaseError) as caught:
            rollback.rollback("production", "v1.0.0", "slow")
    assert "make rollback VERSION=v1.0.0 ENVIRONMENT=production" in str(caught.value)
    assert (current()["fault"], current()["version"]) == ("host", "v1.1.0")
    code = server.of(left).sha256
    assert Ledger().withdrawal(str(left["manifest_sha256"]), code) is None
    assert "v1.0.0 again" in rollback.rollback("production", "v1.0.0", "slow")


@pytest.mark.parametrize("kind", [HostError, TargetError])
def test_what_was_taken_back_and_returned_is_brought_with_its_image(
    here: World, monkeypatch: pytest.MonkeyPatch, kind: type[TargetError]
) -> None:
    image = f"ghcr.io/o/r@sha256:{'d' * 64}"
    manifest = here.judged("three")
    version = registered()
    monkeypatch.setenv("IMAGE", image)
    deploy.deploy("production", version.version)
    revert.put_back(Ledger(), current(), kind("it is down"))
    way_back = rollback.way_back(Ledger(), "production", version)
    assert way_back[1] == (image if kind is HostError else None)
    here.verdict(manifest, returns={"seq": current()["seq"]})
    deploy.deploy("production", version.version)
    monkeypatch.delenv("IMAGE")
    here.judged("four")
    roll_out()
    assert rollback.way_back(Ledger(), "production", version)[1] == image


def test_a_second_run_changes_nothing(here: World) -> None:
    rollback.rollback("production", "v1.0.0", "slow")
    before = Ledger().commit, here.tags(), len(here.hub.kept["pulls"])
    rollback.rollback("production", "v1.0.0", "slow")
    assert (Ledger().commit, here.tags(), len(here.hub.kept["pulls"])) == before


def test_what_runs_already_is_left_alone(here: World) -> None:
    before = Ledger().commit
    assert "Nothing to do" in rollback.rollback("production", "v1.1.0", "slow")
    assert Ledger().commit == before
    assert "pulls" not in here.hub.kept


def test_an_unrelated_merge_does_not_bring_it_again(here: World) -> None:
    rollback.rollback("production", "v1.0.0", "slow")
    (here.clone / "README.md").write_text("words\n")
    here.commit("an unrelated merge")
    with pytest.raises(ReleaseError, match="taken out of production by a rollback"):
        register.register()
    assert current()["version"] == "v1.0.0"


def test_a_verdict_on_an_unrelated_pull_request_does_not_bring_it_again(
    here: World,
) -> None:
    """It says that the model is better than the champion, as it was the first time."""
    left = str(current()["manifest_sha256"])
    rollback.rollback("production", "v1.0.0", "slow")
    here.verdict(left, pull_request=8, recipe="e" * 64)  # not merged yet
    (here.clone / "README.md").write_text("words\n")
    here.commit("an unrelated merge")
    here.verdict(left, pull_request=9)
    with pytest.raises(ReleaseError, match="brings it back on purpose"):
        register.register()
    assert current()["version"] == "v1.0.0"

    end = Ledger().withdrawal(left, server.at("HEAD").sha256) or {}
    returns = {"seq": end["seq"], "by": None, "reason": None}
    here.verdict(left, passed=False, returns=returns, recipe="e" * 64)
    here.verdict(left, returns={**returns, "seq": end["seq"] - 1})
    with pytest.raises(ReleaseError, match="brings it back on purpose"):
        register.register()
    here.verdict(left, returns=returns)
    here.verdict(left, pull_request=10)  # names nothing, and takes nothing away
    deploy.deploy("production", registered().version)
    assert current()["manifest_sha256"] == left
    assert Ledger().withdrawal(left, server.at("HEAD").sha256) is None


def test_rolled_forward_again_it_may_be_deployed(here: World) -> None:
    """By the same command, with a reason: that is on purpose, too."""
    left = str(current()["manifest_sha256"])
    for version in ("v1.0.0", "v1.1.0"):
        rollback.rollback("production", version, "slow, then mended")
    assert Ledger().withdrawal(left, server.at("HEAD").sha256) is None
    file = here.clone / "mlgitops/serving/app.py"
    file.parent.mkdir(parents=True)
    file.write_text("# another server\n")
    here.commit("a server")
    here.verdict(left)
    assert registered().version == "v1.1.0"


def test_after_the_revert_is_merged_main_and_production_agree(here: World) -> None:
    rollback.rollback("production", "v1.0.0", "slow")
    branch = here.hub.kept["pulls"][0]["head"]
    git("fetch", "-q", "origin")
    git("merge", "-q", "--no-edit", f"origin/{branch}")
    git("push", "-q", "origin", "main")
    assert "Nothing to do: production has flights@v1.0.0" in str(register.register())


def test_afterwards_everything_agrees(here: World) -> None:
    """Ledger, deployment, main and audit; the revert is merged in between."""
    from mlgitops.commands import audit

    rollback.rollback("production", "v1.0.0", "slow")
    old = registry.get("flights", "v1.0.0")
    (said,) = audit.audit()["disagreements"]
    assert "merge the revert pull request" in said
    git("fetch", "-q", "origin")
    git("merge", "-q", "--no-edit", f"origin/{here.hub.kept['pulls'][0]['head']}")
    git("push", "-q", "origin", "main")
    assert audit.audit()["disagreements"] == []
    record = current()
    assert (record["version"], record["commit"]) == ("v1.0.0", old.commit)
    newest = here.hub.kept["deployments"][-1]
    assert (newest["sha" if "sha" in newest else "ref"]) == old.commit
    assert here.hub.kept[f"statuses/{newest['id']}"][-1]["state"] == "success"
    (here.clone / "README.md").write_text("words\n")
    here.commit("the next unrelated merge")
    assert "Nothing to do: production has flights@v1.0.0" in str(register.register())
    assert audit.audit()["disagreements"] == []


def refused(version: str = "v1.0.0", environment: str = "production") -> str:
    """Return why a rollback is refused, after seeing that nothing was touched."""
    before = Ledger().commit
    with pytest.raises(ReleaseError) as caught:
        rollback.rollback(environment, version, "slow")
    assert Ledger().commit == before
    return str(caught.value)


def test_an_unknown_version_is_refused(here: World) -> None:
    assert "there are: v1.0.0, v1.1.0" in refused("v0.9.0")
    assert 'there is no environment "moon"' in refused(environment="moon")
    here.through("staging", "production")
    assert "staging runs nothing yet" in refused(environment="staging")


def test_missing_bytes_in_storage_are_refused(here: World) -> None:
    for file in here.objects.iterdir():
        if file.read_bytes() == b"one":
            file.unlink()
    assert "no rollback to flights@v1.0.0" in refused()


def test_altered_bytes_in_storage_are_refused(here: World) -> None:
    for file in here.objects.iterdir():
        if file.read_bytes() == b"one":
            file.write_bytes(b"owe")
    assert "model.onnx is not the reviewed file" in refused()


def test_altered_bytes_on_the_release_are_refused(here: World) -> None:
    for number, data in here.hub.data.items():
        if data == b"one":
            here.hub.data[number] = b"owe"
    assert "the release flights@v1.0.0 is altered" in refused()


def test_a_release_without_its_model_is_refused(here: World) -> None:
    release = here.hub.kept["releases"][0]
    release["assets"] = [a for a in release["assets"] if a["name"] != "model.onnx"]
    assert "gh release upload flights@v1.0.0 model.onnx" in refused()


def test_a_version_nobody_let_pass_is_refused(here: World) -> None:
    here.model("three")
    commit = git("rev-parse", "HEAD")
    registry.register("flights", "d" * 64, commit)
    assert "has no passing verdict" in refused("v1.2.0")


def test_a_moved_tag_is_refused(here: World) -> None:
    message = here.origin("tag", "-l", "--format=%(contents)", "flights@v1.0.0")
    git("tag", "-f", "-a", "-m", message, "flights@v1.0.0", "HEAD")
    git("push", "-q", "-f", "origin", "flights@v1.0.0")
    assert "flights@v1.0.0 was moved" in refused()


def test_a_target_that_refuses_keeps_what_it_ran(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as server:
        server.manifest = str(current()["manifest_sha256"])
        monkeypatch.setenv("PRODUCTION_URL", server.url)
        with pytest.raises(ReleaseError, match=r"has flights@v1\.1\.0 again"):
            rollback.rollback("production", "v1.0.0", "slow")
    assert (current()["action"], current()["version"]) == ("revert", "v1.1.0")


def test_killed_before_the_pull_request_a_rerun_opens_it(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(revert, "pull_request", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rollback.rollback("production", "v1.0.0", "slow")
    rollback.rollback("production", "v1.0.0", "slow")
    assert len(here.hub.kept["pulls"]) == 1
    assert len(here.hub.kept["deployments"]) == 3


def test_a_strangers_pull_request_of_that_name_is_not_the_revert(here: World) -> None:
    """A branch's name can be foreseen, and a fork may have the same owner."""
    here.hub.add("pulls", {"head": f"rollback/v1.0.0-{Ledger().seq}", "source": "o/x"})
    rollback.rollback("production", "v1.0.0", "slow")
    assert len(here.hub.kept["pulls"]) == 2


def test_a_confirmed_rollback_keeps_its_branch(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The confirmation is a newer record; the pull request is still the same."""
    server: Target
    with serve() as server:
        server.manifest = registry.get("flights", "v1.0.0").manifest_sha256
        monkeypatch.setenv("PRODUCTION_URL", server.url)
        for _ in range(2):
            rollback.rollback("production", "v1.0.0", "slow")
    assert current()["state"] == "confirmed"
    assert len(here.hub.kept["pulls"]) == 1


def test_asking_for_a_rollback_starts_the_workflow(here: World) -> None:
    here.through("staging", "production")
    rollback.request("v1.0.0", "staging", "slow")
    asked = here.hub.kept["actions/workflows/rollback.yml/dispatches"][0]
    inputs = {"environment": "staging", "version": "v1.0.0", "reason": "slow"}
    assert (asked["ref"], asked["inputs"]) == ("main", inputs)
