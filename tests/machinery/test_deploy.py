"""A deployment ends confirmed, or with the last good version back."""

import contextlib
import functools
import urllib.error
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.world import GOLDEN, Target, World, registered, roll_out, world
from machinery.world import target as serve
from mlgitops import github, recipe
from mlgitops.commands import audit, deploy, register
from mlgitops.ledger import Ledger
from mlgitops.release import (
    HostError,
    Record,
    ReleaseError,
    TargetError,
    canary,
    consistency,
    deployments,
    promote,
    registry,
    revert,
    target,
)

Grow = Callable[[World, Target | None], None]


@pytest.fixture
def server(here: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """Give a production server that the deployment asks; it has what runs already."""
    with serve() as made:
        made.manifest = getattr(here, "runs", "")
        monkeypatch.setenv("PRODUCTION_URL", made.url + "/")
        yield made


def bring(here: World, text: str, server: Target | None = None) -> str:
    """Merge, register and deploy a judged model; return its manifest."""
    manifest = here.judged(text)
    if server:
        server.manifest = manifest
    roll_out()
    return manifest


def one(made: World, server: Target | None) -> None:
    """Let production run v1.0.0."""
    made.runs = bring(made, "one", server)  # type: ignore[attr-defined]


def two(made: World, server: Target | None) -> None:
    """Let production run v1.0.0, and a second version be registered."""
    one(made, server)
    made.judged("two")
    register.register()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """Return a function that gives the world after what takes long, made once."""

    @functools.cache
    def after(grow: Grow, asked: bool) -> World:
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
            made = stack.enter_context(world(tmp_path_factory.mktemp("grown"), patch))
            server = stack.enter_context(serve()) if asked else None
            if server:
                patch.setenv("PRODUCTION_URL", server.url + "/")
            grow(made, server)
            return made

    return after


@pytest.fixture
def here(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    grown: Callable[..., World],
) -> Iterator[World]:
    """Stand in a repository, a new one or a grown one; look for answers quickly."""
    monkeypatch.setattr(target, "POLL", 0.05)
    like = grown(*request.param) if hasattr(request, "param") else None
    with world(tmp_path, monkeypatch, like) as made:
        yield made


def after(grow: Grow, asked: bool = True) -> pytest.MarkDecorator:
    """Let a test begin after something; the server is asked whether it came up."""
    names = [grow.__name__]
    return pytest.mark.parametrize("here", [(grow, asked)], indirect=True, ids=names)


def current() -> dict[str, object]:
    """Return what production's targets follow."""
    return Ledger().release("production") or {}


def last(here: World, deployment: int) -> str:
    """Return the newest state of a deployment."""
    return str(here.hub.kept[f"statuses/{deployment}"][-1]["state"])


def test_without_a_target_it_is_published_and_says_so(here: World) -> None:
    manifest = bring(here, "one")
    record = current()
    assert (record["state"], record["action"]) == ("published", "deploy")
    assert record["manifest_sha256"] == manifest
    assert record["tag"] == "flights@v1.0.0"
    assert record["previous"] is None
    assert "published, unconfirmed" in deploy.sentence(record)
    assert here.tags() == ["flights@v1.0.0"]
    deployment = here.hub.kept["deployments"][0]
    assert deployment["required_contexts"] == []
    assert deployment["auto_merge"] is False
    assert last(here, 1) == "success"


def test_the_merged_pull_request_names_the_image_that_runs(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By digest, where it runs, and brought up to date: one comment for a version."""
    here.through("staging", "production")
    manifest = here.judged("one")
    register.register()
    image = f"ghcr.io/o/r@sha256:{'d' * 64}"
    monkeypatch.setenv("IMAGE", image)
    edited: list[str] = []
    api = here.hub.api

    def watch(path: str, method: str = "GET", fields: Any = None, **more: Any) -> Any:
        if method == "PATCH" and path.startswith("issues/comments/"):
            edited.append(fields["body"])
        return api(path, method, fields, **more)

    monkeypatch.setattr(github, "api", watch)
    deploy.deploy("staging", "v1.0.0")
    (comment,) = here.hub.kept["comments/7"]
    assert comment["body"].startswith("<!-- released flights@v1.0.0 -->")
    assert f"manifest: `{manifest}`" in comment["body"]
    assert "| staging | published, unconfirmed | <code>" in comment["body"]
    assert f"`{image}`" in comment["body"] and "production" not in comment["body"]
    deploy.deploy("production", "v1.0.0")
    assert len(here.hub.kept["comments/7"]) == 1
    assert "| staging |" in edited[-1] and "| production |" in edited[-1]


def test_without_an_image_the_comment_says_none(here: World) -> None:
    bring(here, "one")
    (comment,) = here.hub.kept["comments/7"]
    assert "</code> | none |" in comment["body"]


def test_a_comment_that_github_refuses_stops_no_deployment(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    here.hub.refused["POST", "issues/7/comments"] = 403
    bring(here, "one")
    assert current()["state"] == "published" and last(here, 1) == "success"
    assert "#7 was not told of flights@v1.0.0" in capsys.readouterr().out


def test_staging_and_production_have_their_own_record(here: World) -> None:
    here.through("staging", "production")
    here.judged("one")
    register.register()
    deploy.deploy("staging", "v1.0.0")
    assert Ledger().champion() is None
    deploy.deploy("production", "v1.0.0")
    assert {r["environment"] for r in Ledger().releases()} == {"staging", "production"}


def test_a_server_that_answers_confirms(here: World, server: Target) -> None:
    manifest = bring(here, "one", server)
    record = current()
    assert (record["state"], record["manifest_sha256"]) == ("confirmed", manifest)
    states = [r["state"] for r in Ledger().history("production")]
    assert states == ["published", "confirmed"]
    assert last(here, 1) == "success"


def test_approvers_come_from_reviews_and_the_run(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_RUN_ID", "5")
    place = {"name": "production"}
    here.hub.approvals = [
        {"state": "approved", "user": {"login": "dan"}, "environments": [place]},
        {"state": "rejected", "user": {"login": "fay"}, "environments": [place]},
    ]
    said = [("bob", "APPROVED"), ("cat", "APPROVED"), ("cat", "CHANGES_REQUESTED")]
    here.hub.reviews = [{"user": {"login": who}, "state": s} for who, s in said]
    bring(here, "one")
    assert current()["approvers"] == ["bob", "dan"]
    assert current()["author"] == "ann"


@after(one)
def test_running_it_again_changes_nothing(here: World, server: Target) -> None:
    before = Ledger().commit, here.tags()
    deploy.deploy("production", "v1.0.0")
    assert (Ledger().commit, here.tags()) == before
    assert len(here.hub.kept["deployments"]) == 1
    assert len(here.hub.kept["statuses/1"]) == 1


@after(one)
def test_a_confirmed_version_is_not_taken_back_by_a_rerun(
    here: World, server: Target
) -> None:
    manifest, server.manifest = server.manifest, "down"
    deploy.deploy("production", "v1.0.0")
    assert current()["manifest_sha256"] == manifest


@pytest.mark.parametrize("states", [("success",), ("success", "inactive")])
def test_an_agent_reports_by_deployment_status(
    here: World, monkeypatch: pytest.MonkeyPatch, states: tuple[str, ...]
) -> None:
    """Also where a later job of the environment made the report inactive already."""
    monkeypatch.setenv("PRODUCTION_URL", "agent")
    ask = deployments.reported

    def agent(deployment: int | None) -> dict[str, str]:
        if f"statuses/{deployment}" not in here.hub.kept and "1" in str(deployment):
            if Ledger().release("production"):
                for state in states:
                    here.hub.add(f"statuses/{deployment}", {"state": state})
        return ask(deployment)

    monkeypatch.setattr(deployments, "reported", agent)
    bring(here, "one")
    assert current()["state"] == "confirmed"
    assert len(here.hub.kept["statuses/1"]) == len(states)  # the agent's own


def test_a_deployment_that_another_run_closed_did_not_come_up(here: World) -> None:
    """The control: inactive alone says that nothing was deployed by it."""
    here.hub.add("statuses/4", {"state": "inactive"})
    assert deployments.reported(4)["state"] == "inactive"
    here.hub.add("statuses/5", {"state": "success", "description": "up"})
    here.hub.add("statuses/5", {"state": "inactive"})
    assert deployments.reported(5) == {"state": "success", "description": "up"}


def fails(version: str = "v1.1.0", environment: str = "production") -> str:
    """Return the sentence with which a deployment ends."""
    with pytest.raises(ReleaseError) as caught:
        deploy.deploy(environment, version)
    return str(caught.value)


@after(one)
def test_a_version_that_does_not_come_up_is_taken_back(
    here: World, server: Target
) -> None:
    good = server.manifest
    for name in ("mlgitops/pipeline", "mlgitops/serving"):
        (here.clone / name).mkdir(parents=True)
        (here.clone / name / "fitting.py").write_text("# bad\n")
    (here.clone / "README.md").write_text("newer words\n")
    bad = here.judged("two")
    register.register()
    sentence = fails()
    assert "did not come up with v1.1.0 within 1 s" in sentence
    assert "production has flights@v1.0.0 again" in sentence
    record = current()
    assert (record["action"], record["manifest_sha256"]) == ("revert", good)
    assert record["previous"] == bad
    assert record["commit"] == registry.get("flights", "v1.0.0").commit
    assert last(here, 2) == "failure"
    comment = here.hub.kept["comments/7"][-1]["body"]
    assert "flights@v1.1.0 was deployed to production and taken back" in comment
    pull = here.hub.kept["pulls"][0]
    assert "Approve workflows to run" in pull["body"]
    branch = pull["head"]
    files = here.origin("ls-tree", "-r", "--name-only", branch).split()
    assert not [name for name in files if "fitting.py" in name]  # of the bad version
    assert here.origin("show", f"{branch}:README.md") == "newer words"
    assert "dvc.lock" not in files
    origin = here.home / "origin"
    assert recipe.at(branch, origin) == recipe.at("flights@v1.0.0", origin)


@pytest.mark.parametrize("stages", [False, True], ids=["judge", "stages"])
@after(one)
def test_a_newer_judge_stays_unless_the_stages_changed_too(
    here: World, server: Target, stages: bool
) -> None:
    for name in ("judge", "pipeline") if stages else ("judge",):
        (here.clone / "mlgitops" / name).mkdir(parents=True)
        (here.clone / "mlgitops" / name / "newer.py").write_text("# newer\n")
    here.judged("two")
    register.register()
    fails()
    branch = here.hub.kept["pulls"][0]["head"]
    files = here.origin("ls-tree", "-r", "--name-only", branch).split()
    newer = [name for name in files if name.endswith("newer.py")]
    assert newer == ([] if stages else ["mlgitops/judge/newer.py"])


@after(two)
def test_wrong_answers_are_taken_back_at_once(here: World, server: Target) -> None:
    good = server.manifest
    server.manifest = here.manifest
    server.shift = 0.001
    assert "away from what was reviewed" in fails()
    assert current()["manifest_sha256"] == good


def test_what_should_be_refused_and_is_not_shows(
    server: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The image's smoke test: an answer is no refusal, and neither is a crash."""
    bad = {"rows": [{"no such column": 1}]}
    assert not target.refuses(server.url, bad)  # it falls over
    monkeypatch.setattr(server, "answer", lambda path, body: {"predictions": []})
    assert not target.refuses(server.url, bad)  # it answers
    tiny.version(tmp_path / "m")
    with tiny.server(tmp_path / "m") as (port, _):
        assert target.refuses(f"http://127.0.0.1:{port}", bad)


@after(two)
def test_the_version_before_may_answer_while_they_are_switched(
    here: World, server: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hold the socket for a moment: /info is the new one's, /predict the old's."""
    old = server.manifest
    server.manifest = here.manifest
    asked, answer = [], server.answer

    def switching(path: str, body: Record) -> Record:
        found = answer(path, body)
        if path == "/predict":
            asked.append(path)
            if len(asked) < 3:
                wrong = [{"probability": 0.9} for _ in found["predictions"]]
                return {"manifest_sha256": old, "predictions": wrong}
        return found

    monkeypatch.setattr(server, "answer", switching)
    deploy.deploy("production", "v1.1.0")
    assert len(asked) == 3 and current()["manifest_sha256"] == server.manifest


@after(two)
def test_an_agents_failure_is_taken_back_at_once(
    here: World, server: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = promote.publish

    def agent(*args: Any) -> dict[str, Any]:
        record = published(*args)
        note = {"state": "failure", "description": "health check"}
        here.hub.add(f"statuses/{len(here.hub.kept['deployments'])}", note)
        return record

    monkeypatch.setattr(promote, "publish", agent)
    assert "the target reported a failure: health check" in fails()


def agent_says(patch: pytest.MonkeyPatch, here: World, state: str) -> None:
    """Let a host's agent report what it made of each release; nothing if it is off."""
    patch.setenv("PRODUCTION_URL", "agent")
    published = promote.publish

    def report(*args: Any) -> dict[str, Any]:
        record = published(*args)
        if state:
            note = {"state": state, "description": "the disk is full"}
            here.hub.add(f"statuses/{record['deployment_id']}", note)
        return record

    patch.setattr(promote, "publish", report)


@pytest.mark.parametrize("merge", [False, True], ids=["again", "next merge"])
@pytest.mark.parametrize("state", ["error", ""], ids=["reported", "silent"])
@after(two, asked=False)
def test_a_fault_of_the_host_withdraws_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch, state: str, merge: bool
) -> None:
    """Production gets the old version back, the run is red, and that is all."""
    good, bad = current()["manifest_sha256"], here.manifest
    version = registry.get("flights", "v1.1.0")
    with monkeypatch.context() as patch:
        agent_says(patch, here, state)
        sentence = fails()
    assert ("the host is at fault: the disk is full" in sentence) == bool(state)
    assert "production has flights@v1.0.0 again" in sentence
    assert "not withdrawn" in sentence and "`gh workflow run deploy.yml`" in sentence
    record = current()
    assert (record["action"], record["manifest_sha256"]) == ("revert", good)
    assert (record["fault"], record["previous"]) == ("host", bad)
    assert last(here, 2) == "error"
    assert "pulls" not in here.hub.kept, "main goes on naming it"
    comment = here.hub.kept["comments/7"][-1]["body"]
    assert "a fault of its host" in comment and "not withdrawn" in comment
    (disagreement,) = consistency.disagreements(Ledger(), "flights")
    assert "mend it, then type `gh workflow run deploy.yml`" in disagreement
    if merge:
        here.commit("an unrelated merge")
    told = audit.report(audit.audit())
    assert ("revert to v1.0.0: the host is at fault" in told) == bool(state)
    assert registered() == version
    agent_says(monkeypatch, here, "success")
    assert deploy.deploy("production", "v1.1.0")["state"] == "confirmed"
    assert current()["manifest_sha256"] == bad and "fault" not in current()
    assert consistency.disagreements(Ledger(), "flights") == []


@after(two, asked=False)
def test_a_fault_of_the_release_withdraws_it(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the agent refused it for what it is."""
    bad = here.manifest
    agent_says(monkeypatch, here, "failure")
    sentence = fails()
    assert "reported a failure: the disk is full" in sentence
    assert "revert pull request: pulls/1" in sentence
    assert (current()["fault"], current()["previous"]) == ("release", bad)
    with pytest.raises(ReleaseError, match="brings it back on purpose"):
        register.register()


def test_a_first_version_may_come_once_its_host_is_mended(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = here.judged("one")
    register.register()
    with monkeypatch.context() as patch:
        agent_says(patch, here, "error")
        assert "nothing ran before it; the version is not" in fails("v1.0.0")
    assert (current()["state"], Ledger().champion()) == ("failed", None)
    agent_says(monkeypatch, here, "success")
    roll_out()
    assert Ledger().champion() == current()
    assert current()["manifest_sha256"] == manifest


@after(two, asked=False)
def test_an_own_fault_before_is_not_forgiven_by_a_hosts(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken back, returned on purpose, and was stopped by its host."""
    bad = here.manifest
    with monkeypatch.context() as patch:
        agent_says(patch, here, "failure")
        fails()
    with monkeypatch.context() as patch:
        agent_says(patch, here, "error")
        assert "brings it back on purpose" in fails(), "nobody named it"
        here.verdict(bad, returns={"seq": current()["seq"]})
        assert "not withdrawn" in fails()
    agent_says(monkeypatch, here, "success")
    deploy.deploy("production", "v1.1.0")
    assert current()["manifest_sha256"] == bad


@pytest.mark.parametrize(
    ("status", "kind"), [(0, HostError), (503, TargetError), (404, TargetError)]
)
def test_where_nothing_answers_no_release_is_at_fault(
    status: int, kind: type[TargetError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a refusal: the host is off, or the network is."""
    error: OSError = urllib.error.URLError("no route to host")
    if status:
        error = urllib.error.HTTPError("http://x", status, "", Message(), None)

    def get(*_: object) -> None:
        raise error

    monkeypatch.setattr(target, "_get", get)
    monkeypatch.setattr(target, "address", lambda _: "http://x")
    monkeypatch.setattr(deployments, "reported", lambda _: {"state": ""})
    record = {"environment": "production", "version": "v1", "deployment_id": 1}
    record |= {"manifest_sha256": "0" * 64, "server": {"sha256": "1" * 64}}
    with pytest.raises(TargetError, match="did not come up") as caught:
        target.wait(record, [], 0)
    assert type(caught.value) is kind
    answers: list[dict[str, object]] = [{}]  # of the release before it

    def get_once(*_: object) -> dict[str, object]:
        if answers:
            return answers.pop()
        raise error

    monkeypatch.setattr(target, "_get", get_once)
    with pytest.raises(TargetError, match="did not come up") as caught:
        target.wait(record, [], 0)
    assert type(caught.value) is TargetError, "it ended what answered before"


def test_a_first_version_that_fails_leaves_no_champion(
    here: World, server: Target
) -> None:
    here.judged("one")
    register.register()
    assert "nothing ran before it" in fails("v1.0.0")
    assert current()["state"] == "failed"
    assert Ledger().champion() is None
    assert "no earlier version" in here.hub.kept["comments/7"][0]["body"]
    with pytest.raises(ReleaseError, match="brings it back on purpose"):
        register.register()


@after(two)
def test_what_was_taken_back_is_refused_until_validated(
    here: World, server: Target
) -> None:
    bad = here.manifest
    promoted = {"tag": "flights@v1.1.0", "manifest_sha256": bad, "share": 0.1}
    promoted |= {"champion": current()["manifest_sha256"], "state": "running"}
    Ledger().append({canary.FILE: promoted}, "it is the canary")
    fails()
    assert (Ledger().read(canary.FILE) or {})["state"] == "taken back"
    here.commit("an unrelated merge")
    with pytest.raises(ReleaseError, match="taken out of production by a revert"):
        register.register()
    assert "brings it back on purpose" in fails()
    server.manifest = bad
    here.verdict(bad)
    assert "brings it back on purpose" in fails()
    here.verdict(bad, returns={"seq": current()["seq"]})
    deploy.deploy("production", "v1.1.0")
    assert current()["manifest_sha256"] == bad


def test_a_champion_that_changed_while_waiting_is_refused(here: World) -> None:
    """Somebody else's version went to production during the approval."""
    here.judged("one")
    register.register()
    bring(here, "two")
    here.model("one")  # main names it again
    before = Ledger().commit
    assert "the champion changed since the verdict" in fails("v1.0.0")
    assert Ledger().commit == before


def test_main_that_moved_on_is_refused(here: World) -> None:
    here.judged("one")
    register.register()
    here.judged("two")
    assert "is no longer the one that main names" in fails("v1.0.0")


def test_an_unknown_version_is_refused(here: World) -> None:
    here.judged("one")
    assert "no version v3.0.0 of flights; there are: none yet" in fails("v3.0.0")


def test_an_altered_release_is_refused_before_anything(
    here: World, server: Target
) -> None:
    here.judged("one")
    register.register()
    here.hub.alter("model.onnx", b"onex")
    assert "the release flights@v1.0.0 is altered" in fails("v1.0.0")
    assert current() == {}


@after(two)
def test_actions_that_may_not_open_pull_requests_get_a_link(
    here: World, server: Target
) -> None:
    here.hub.refused["POST", "pulls"] = 403
    assert "/compare/main...rollback/v1.0.0-" in fails()


def test_where_nobody_can_approve_production_waits_for_a_dispatch(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "true")
    monkeypatch.setenv("GITHUB_EVENT_NAME", "push")
    here.judged("one")
    summary = here.home / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    register.main()
    assert "gh workflow run deploy.yml" in summary.read_text()
    assert "production waits" in fails("v1.0.0")
    assert current() == {}
    monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_dispatch")
    deploy.deploy("production", "v1.0.0")
    assert (current()["version"], current()["approvers"]) == ("v1.0.0", ["eve"])


def test_who_starts_a_run_approves_nothing_where_reviewers_do(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_dispatch")
    bring(here, "one")
    assert current()["approvers"] == []


@pytest.mark.parametrize("gone", [True, False])
@after(two, asked=False)
def test_f14_without_a_verified_way_back_nothing_is_replaced(
    here: World, gone: bool
) -> None:
    """The release of what runs is altered or gone: deploy says so, and stops."""
    good = current()["manifest_sha256"]
    release = here.hub.kept["releases"][0]
    (model,) = [a for a in release["assets"] if a["name"] == "model.onnx"]
    if gone:
        release["assets"].remove(model)
    else:
        here.hub.data[model["id"]] = b"owe"
    sentence = fails()
    assert "could not be restored" in sentence and "model.onnx" in sentence
    assert current()["manifest_sha256"] == good
    release["assets"] = [a for a in release["assets"] if a["name"] != "model.onnx"]
    release["assets"].append(here.hub._asset(1, "model.onnx", b"one"))
    deploy.deploy("production", "v1.1.0")  # repaired
    assert current()["version"] == "v1.1.0"


class KilledError(BaseException):
    """What a kill looks like from inside."""


STEPS = {
    "before the record": (deployments, "find_or_open"),
    "after the deployment": (promote, "write"),
    "before the wait": (target, "wait"),
    "before the confirmation": (promote, "confirm"),
    "before the last status": (promote, "close"),
}


def kill(patch: pytest.MonkeyPatch, module: object, name: str) -> None:
    """Let a step die before it does anything."""

    def die(*args: object, **kwargs: object) -> None:
        raise KilledError

    patch.setattr(module, name, die)


@pytest.mark.parametrize("step", STEPS)
def test_killed_between_two_steps_a_rerun_finishes(
    step: str, here: World, server: Target
) -> None:
    manifest = here.judged("one")
    server.manifest = manifest
    with pytest.MonkeyPatch.context() as patch:
        register.register()
        kill(patch, *STEPS[step])
        with pytest.raises(KilledError):
            deploy.deploy("production", "v1.0.0")
    outcome = register.register()
    if not isinstance(outcome, str):
        deploy.deploy("production", "v1.0.0")
    record = current()
    assert (record["state"], record["manifest_sha256"]) == ("confirmed", manifest)
    assert len(here.hub.kept["deployments"]) == 1
    assert here.tags() == ["flights@v1.0.0"]
    assert "Nothing to do" in str(register.register())


TAKING_BACK = {
    "before the record": (promote, "write"),
    "before the status": (promote, "close"),
    "before the comment": (revert, "tell"),
    "before the pull request": (revert, "pull_request"),
    "after the pull request": (github, "sticky_comment"),
}


@pytest.mark.parametrize("step", TAKING_BACK)
@after(two)
def test_killed_while_taking_back_a_rerun_finishes(
    step: str, here: World, server: Target
) -> None:
    good = server.manifest
    with pytest.MonkeyPatch.context() as patch:
        wait = target.wait

        def then_die(*args: object) -> str:
            kill(patch, *TAKING_BACK[step])
            return wait(*args)  # type: ignore[arg-type]

        patch.setattr(target, "wait", then_die)
        with pytest.raises(KilledError):
            deploy.deploy("production", "v1.1.0")
    with pytest.raises(ReleaseError):
        register.register()
        deploy.deploy("production", "v1.1.0")
    assert current()["manifest_sha256"] == good
    assert current()["commit"] == registry.get("flights", "v1.0.0").commit
    assert last(here, 2) == "failure"
    starts = [c["body"].splitlines()[0] for c in here.hub.kept["comments/7"]]
    assert starts == [
        "<!-- released flights@v1.0.0 -->",
        "<!-- reverted production flights@v1.1.0 -->",
    ]
    assert len(here.hub.kept["pulls"]) == 1


def test_golden_rows_come_from_the_release(here: World) -> None:
    here.judged("one")
    version = registered()
    assert deploy.golden_rows(version) == GOLDEN
