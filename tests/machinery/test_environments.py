"""An environment is one line in params.yaml, and none can be skipped."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import Target, World, registered, world
from machinery.world import target as serve
from mlgitops.commands import deploy, register, rollback
from mlgitops.ledger import Ledger
from mlgitops.release import (
    ReleaseError,
    consistency,
    environments,
    facts,
    registry,
    server,
    target,
)

CHAIN = ("staging", "qa", "production")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, World]:
    """Return repositories with three environments: without a version, and with one."""
    home = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        made.through(*CHAIN)
        bare = made.twin(tmp_path_factory.mktemp("bare"))
        made.judged("one")
        register.register()
        return {"bare": bare, "released": made}


@pytest.fixture
def here(
    request: pytest.FixtureRequest,
    worlds: dict[str, World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """Stand in a repository with three environments; look for answers quickly."""
    monkeypatch.setattr(target, "POLL", 0.05)
    like = worlds[getattr(request, "param", "bare")]
    with world(tmp_path, monkeypatch, like) as made:
        yield made


RELEASED = pytest.mark.parametrize("here", ["released"], indirect=True)


@pytest.fixture
def output(here: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give what a step hands to the next jobs."""
    path = here.home / "output"
    monkeypatch.setenv("GITHUB_OUTPUT", str(path))
    return path


def refused(version: str, environment: str) -> str:
    """Return why a deployment is refused, after seeing that nothing was touched."""
    before = Ledger().commit
    with pytest.raises(ReleaseError) as caught:
        deploy.deploy(environment, version)
    assert Ledger().commit == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("names", "noun"),
    [
        ("[]", "must be a list"),
        ("staging", "must be a list"),
        ("[no, production]", "deploy.environments[0]"),
        ("[Staging, production]", "'Staging'"),
        ("[a_b, production]", "'a_b'"),
        ("[qa-, production]", "'qa-'"),
        ("[../x, production]", "'../x'"),
        (f"[{'q' * 41}, production]", "at most 40"),
        ("[register, production]", "holds logins"),
        ("[qa, qa, production]", "each once"),
        ("[production, qa]", "must end with 'production'"),
        ("[qa]", "must end with 'production'"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    names: str, noun: str, here: World
) -> None:
    (here.clone / "params.yaml").write_text(f"deploy: {{environments: {names}}}\n")
    with pytest.raises(ReleaseError, match="deploy.environments") as caught:
        environments.names()
    assert noun in str(caught.value)


@pytest.mark.parametrize("names", [("production",), CHAIN, ("pre-prod", "production")])
def test_any_other_list_is_taken_as_it_is(names: tuple[str, ...], here: World) -> None:
    here.through(*names)
    assert environments.names() == names
    assert [environments.before(n) for n in names] == [None, *names[:-1]]


def test_without_a_list_it_is_staging_then_production(here: World) -> None:
    (here.clone / "params.yaml").write_text("deploy: {bump: minor}\n")
    assert environments.names() == ("staging", "production")


@RELEASED
def test_none_can_be_skipped(here: World) -> None:
    """The negative control is the same order, kept."""
    assert "staging runs nothing" in refused("v1.0.0", "qa")
    assert "qa runs nothing" in refused("v1.0.0", "production")
    deploy.deploy("staging", "v1.0.0")
    assert "qa runs nothing" in refused("v1.0.0", "production")
    for environment in CHAIN:
        deploy.deploy(environment, "v1.0.0")
    here.judged("two")
    register.register()
    deploy.deploy("staging", "v1.1.0")
    sentence = refused("v1.1.0", "production")
    assert "qa runs flights@v1.0.0" in sentence
    assert "no environment" in refused("v1.1.0", "moon")
    for environment in CHAIN[1:]:
        deploy.deploy(environment, "v1.1.0")
    assert all(Ledger().champion(e)["version"] == "v1.1.0" for e in CHAIN)  # type: ignore[index]


@RELEASED
def test_another_server_has_to_come_the_same_way(here: World) -> None:
    for environment in CHAIN[:2]:
        deploy.deploy(environment, "v1.0.0")
    (here.clone / "deploy").mkdir()
    (here.clone / "deploy" / "Dockerfile").write_text("FROM new\n")
    here.commit("another server")
    assert "another server" in refused("v1.0.0", "production")
    for environment in CHAIN:
        deploy.deploy(environment, "v1.0.0")


def test_what_an_environment_did_not_take_comes_no_further(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Target
    with serve() as made:
        monkeypatch.setenv("VARIABLES", json.dumps({"QA_URL": made.url}))
        made.manifest = here.judged("one")
        register.register()
        for environment in CHAIN:
            deploy.deploy(environment, "v1.0.0")
        here.judged("two")
        register.register()
        deploy.deploy("staging", "v1.1.0")
        with pytest.raises(ReleaseError, match="qa has flights@v1.0.0 again"):
            deploy.deploy("qa", "v1.1.0")
    assert "qa runs flights@v1.0.0" in refused("v1.1.0", "production")


@RELEASED
def test_what_is_not_confirmed_comes_no_further(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of qa died while it waited for its target."""
    deploy.deploy("staging", "v1.0.0")
    with monkeypatch.context() as patch:
        patch.setattr(target, "wait", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deploy.deploy("qa", "v1.0.0")
    assert "must be confirmed in qa" in refused("v1.0.0", "production")
    for environment in CHAIN[1:]:
        deploy.deploy(environment, "v1.0.0")


def test_a_run_goes_through_all_of_them(here: World, output: Path) -> None:
    here.judged("one")
    register.main()
    assert '\n["staging", "qa", "production"]\n' in output.read_text()


def test_a_run_leaves_production_to_a_dispatch(
    here: World, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "true")
    here.judged("one")
    register.main()
    assert '\n["staging", "qa"]\n' in output.read_text()
    monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_dispatch")
    register.main()
    assert output.read_text().count('"qa", "production"]\n') == 1


def test_a_run_with_nothing_to_do_goes_nowhere(here: World, output: Path) -> None:
    register.main()
    assert output.read_text().splitlines()[1:2] == ["[]"]


def test_a_new_environment_gets_what_production_has(here: World) -> None:
    here.through("staging", "production")
    here.judged("one")
    register.register()
    for environment in ("staging", "production"):
        deploy.deploy(environment, "v1.0.0")
    assert "Nothing to do" in str(register.register())
    here.through(*CHAIN)
    version = registered()
    for environment in CHAIN:
        deploy.deploy(environment, version.version)
    assert [len(Ledger().history(e)) for e in CHAIN] == [1, 1, 1]
    assert "Nothing to do" in str(register.register())


def test_a_way_back_leads_to_each(here: World) -> None:
    for text in ("one", "two"):
        here.judged(text)
        version = registered()
        for environment in CHAIN:
            deploy.deploy(environment, version.version)
    assert "qa has flights@v1.0.0 again" in rollback.rollback("qa", "v1.0.0", "slow")
    assert (Ledger().champion() or {})["version"] == "v1.1.0"
    assert server.last(Ledger(), "qa", registry.get("flights", "v1.1.0"))
    with pytest.raises(ReleaseError, match="names: staging, qa, production"):
        rollback.rollback("moon", "v1.0.0", "slow")


@RELEASED
def test_history_outlives_the_list(here: World) -> None:
    """What ran in an environment that is gone is still explained and compared."""
    for environment in CHAIN:
        deploy.deploy(environment, "v1.0.0")
    here.through("production")
    assert Ledger().environments() == sorted(CHAIN)
    assert consistency.disagreements(Ledger(), "flights") == []
    assert [v.version for v in facts.versions(Ledger(), [])] == ["v1.0.0"]
    slipped = {**(Ledger().release("qa") or {}), "tag": "x"}
    Ledger().append({"environments/qa/release.json": slipped}, "slipped in")
    said = consistency.disagreements(Ledger(), "flights")
    assert any(line.startswith("qa's release.json is not the newest") for line in said)


@pytest.mark.parametrize(
    ("environment", "name"),
    [("staging", "STAGING_URL"), ("qa", "QA_URL"), ("pre-prod", "PRE_PROD_URL")],
)
def test_a_variable_says_where_a_target_is(
    environment: str, name: str, monkeypatch: pytest.MonkeyPatch, here: World
) -> None:
    assert target.address(environment) == ""
    monkeypatch.setenv("VARIABLES", json.dumps({name: "http://a/ ", "OTHER": "x"}))
    assert target.address(environment) == "http://a"
    monkeypatch.setenv(name, "agent")
    assert target.address(environment) == "agent"
