"""What GitHub's rules refuse: a new ref, a push, a release; each told in its words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import Target, World, git, roll_out, world
from machinery.world import target as serve
from mlgitops import github, storage
from mlgitops.commands import deploy, register, rollback
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.release import ReleaseError, assets, registry, target

# A workflow's token may make no ref whose workflow files differ from the main branch's.
WORKFLOW_FILES = """
while read -r old new ref; do
  case $old in *[!0]*) continue ;; esac
  files=$(git rev-parse -q --verify "$new:.github/workflows" || true)
  newest=$(git rev-parse -q --verify "refs/heads/main:.github/workflows" || true)
  if [ -n "$files" ] && [ "$files" != "$newest" ]; then
    echo "refusing to allow a GitHub App to create or update workflow" \\
      "\\`.github/workflows/ci.yml\\` without \\`workflows\\` permission" >&2
    exit 1
  fi
done
"""
# A ruleset of the organisation, whose words could be taken for a lost race.
RULESET = """
while read -r old new ref; do
  echo "error: GH013: Repository rule violations found for $ref." >&2
  echo "- stale info: an issue for it already exists; cannot lock" >&2
done
exit 1
"""


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a repository with workflows and two versions, the newer one deployed."""
    home = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        workflow(made, "on: push")
        for text in ("one", "two"):
            made.judged(text)
            roll_out()
        return made


@pytest.fixture
def here(
    two_versions: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it."""
    monkeypatch.setattr(target, "POLL", 0.05)
    with world(tmp_path, monkeypatch, two_versions) as made:
        yield made


def workflow(here: World, text: str) -> str:
    """Merge another workflow file, as Dependabot does every week."""
    path = here.clone / ".github/workflows/ci.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return here.commit(f"workflow {text}")


def current() -> dict[str, object]:
    """Return what production's targets follow."""
    return Ledger().release("production") or {}


def test_the_rule_refuses_a_tag_on_an_older_commit(here: World) -> None:
    """The control: what the machinery must not try."""
    old = here.commit("words")
    workflow(here, "on: pull_request")
    here.rule(WORKFLOW_FILES)
    with pytest.raises(ReleaseError, match="without `workflows` permission"):
        registry.register("flights", "d" * 64, old)
    registry.register("flights", "d" * 64, git("rev-parse", "HEAD"))


def test_a_rollback_to_a_version_with_other_workflows(here: World) -> None:
    workflow(here, "on: pull_request")
    here.rule(WORKFLOW_FILES)
    sentence = rollback.rollback("production", "v1.0.0", "slow")
    assert "production has flights@v1.0.0 again" in sentence
    assert (current()["action"], current()["version"]) == ("rollback", "v1.0.0")
    assert here.hub.kept["statuses/3"][-1]["state"] == "success"
    assert len(here.hub.kept["pulls"]) == 1


def test_a_version_is_taken_back_after_the_workflows_changed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.judged("three")
    version = register.register()
    assert isinstance(version, registry.Version)
    workflow(here, "on: pull_request")
    here.rule(WORKFLOW_FILES)
    monkeypatch.setenv("PRODUCTION_URL", "agent")
    server: Target
    with serve() as server:
        monkeypatch.setenv("PRODUCTION_URL", server.url)
        with pytest.raises(ReleaseError, match=r"has flights@v1\.1\.0 again"):
            deploy.deploy("production", version.version)
    assert here.hub.kept["statuses/3"][-1]["state"] == "failure"
    comments = [comment["body"] for comment in here.hub.kept["comments/7"]]
    assert any("taken back" in body for body in comments)
    assert len(here.hub.kept["pulls"]) == 1


def test_an_approval_that_comes_after_the_workflows_changed(here: World) -> None:
    here.judged("three")
    version = register.register()
    assert isinstance(version, registry.Version)
    workflow(here, "on: pull_request")
    here.rule(WORKFLOW_FILES)
    deploy.deploy("production", version.version)
    assert current()["version"] == "v1.2.0"
    assert here.hub.kept["statuses/3"][-1]["state"] == "success"


def test_an_older_run_leaves_the_version_to_the_run_that_may_tag(here: World) -> None:
    here.judged("three")
    old = git("rev-parse", "HEAD")
    workflow(here, "on: pull_request")
    here.rule(WORKFLOW_FILES)
    git("checkout", "-q", old)
    assert "main has moved on, and its newest commit" in str(register.register())
    git("checkout", "-q", "main")
    version = register.register()
    assert isinstance(version, registry.Version) and version.version == "v1.2.0"


def test_a_rule_against_the_ledger_is_told_once_and_in_its_words(here: World) -> None:
    log = here.rule(RULESET)
    with pytest.raises(LedgerError, match="GH013: Repository rule violations"):
        Ledger().append({"monitoring/1.json": {"seq": 1}}, "monitor")
    assert log.read_text() == "push\n"


def test_a_rule_against_a_tag_is_told_once_and_in_its_words(here: World) -> None:
    here.judged("three")
    log = here.rule(RULESET)
    with pytest.raises(ReleaseError, match="GH013: Repository rule violations"):
        register.register()
    assert log.read_text() == "push\n"
    assert git("tag", "-l", "flights@v1.2.0") == ""


def test_a_rule_against_the_storage_branch_is_told_once(here: World) -> None:
    (here.clone / ".dvc").mkdir()
    folder = here.clone / ".dvc/branch"
    config = f"['remote \"storage\"']\n    url = {folder}\n"
    (here.clone / ".dvc/config").write_text(config)
    storage._sync(here.clone)
    (folder / "object").write_text("bytes")
    log = here.rule(RULESET)
    with pytest.raises(storage.StorageError, match="GH013: Repository rule violations"):
        storage._publish(here.clone)
    assert log.read_text() == "push\n"


def test_a_lost_race_is_still_one(here: World) -> None:
    """The control: another writer was faster, twice, and nothing is lost."""
    ledger = Ledger()
    for number in (1, 2):
        other = Ledger()
        other.append(lambda seq, n=number: {f"monitoring/{n}.json": {"seq": seq}}, "m")
    seq = ledger.append(lambda seq: {"monitoring/3.json": {"seq": seq}}, "monitor")
    assert len(Ledger().paths("monitoring/")) == 3 and seq == Ledger().seq - 1


def test_a_push_whose_answer_was_lost_is_not_made_twice(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, push = Ledger(), Ledger._push

    def lost(self: Ledger, commit: str) -> bool:
        push(self, commit)
        return False

    monkeypatch.setattr(Ledger, "_push", lost)
    before = ledger.seq
    assert ledger.append({"monitoring/1.json": {"seq": before}}, "m") == before
    assert Ledger().seq == before + 1


def test_an_immutable_release_has_its_files_before_it_is_published(here: World) -> None:
    here.hub.immutable = True
    here.judged("three")
    version = roll_out()
    (release,) = [r for r in here.hub.kept["releases"] if r["tag_name"] == version.tag]
    assert release["immutable"] and release["draft"] is False
    assert {a["name"] for a in release["assets"]} > set(assets.FILES)
    before = dict(here.hub.data)
    register.register()
    assert here.hub.data == before


def test_a_run_that_died_before_it_published_is_finished(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.hub.immutable = True
    here.judged("three")
    with monkeypatch.context() as patch:
        patch.setattr(assets, "_publish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            register.register()
    assert assets.find("flights@v1.2.0") is None
    assert isinstance(register.register(), registry.Version)
    tags = [release["tag_name"] for release in here.hub.kept["releases"]]
    assert tags.count("flights@v1.2.0") == 1


def test_a_document_that_comes_later_is_named_and_a_missing_model_refuses(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    version = registry.get("flights", "v1.1.0")
    (release,) = [r for r in here.hub.kept["releases"] if r["tag_name"] == version.tag]
    release["immutable"] = True
    files = {name: here.hub.data[a["id"]] for a in release["assets"]
             if (name := a["name"]) in assets.FILES}  # fmt: skip
    assets.put(version, {**files, "server.cdx.json": b"{}"}, "notes")
    assert "without server.cdx.json" in capsys.readouterr().out
    release["assets"] = [a for a in release["assets"] if a["name"] != "model.onnx"]
    with pytest.raises(ReleaseError, match=r"immutable and has no model\.onnx"):
        assets.put(version, files, "notes")


def test_a_draft_of_a_slower_run_is_removed(here: World) -> None:
    """Two runs made a draft each: the first that publishes wins."""
    version = registry.get("flights", "v1.1.0")
    (release,) = [r for r in here.hub.kept["releases"] if r["tag_name"] == version.tag]
    files = {a["name"]: here.hub.data[a["id"]] for a in release["assets"]}
    draft = github.api("releases", "POST", {"tag_name": version.tag, "draft": True})
    assert assets._publish(version, draft, files)["id"] == release["id"]
    assert draft["id"] not in [r["id"] for r in here.hub.kept["releases"]]
