"""Only judged bytes become a version; a version never changes."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery.world import World, git, registered, roll_out, world
from mlgitops import recipe, storage
from mlgitops.commands import register
from mlgitops.ledger import Ledger, LedgerError, lock_path
from mlgitops.release import ReleaseError, promote, registry


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository with a main branch and no model."""
    with world(tmp_path, monkeypatch) as made:
        yield made


def deployed(here: World, text: str) -> str:
    """Bring a judged model to production, as the workflow would."""
    manifest = here.judged(text)
    roll_out()
    return manifest


def test_before_the_first_merge_there_is_nothing_to_do(here: World) -> None:
    """A new repository is pushed before anything is proposed: that is no failure."""
    manifest = here.model("one")
    assert "nothing that was judged is merged yet" in str(register.register())
    here.hub.unmerged.add(7)
    here.verdict(manifest)
    assert "nothing that was judged is merged yet" in str(register.register())
    assert here.tags() == []


def test_a_judged_model_becomes_the_first_version(here: World) -> None:
    manifest = here.judged("one")
    version = registered()
    assert (version.version, version.manifest_sha256) == ("v1.0.0", manifest)
    assert here.tags() == ["flights@v1.0.0"]
    message = here.origin("tag", "-l", "--format=%(contents)", "flights@v1.0.0")
    assert f"manifest_sha256: {manifest}" in message
    assert f"commit: {git('rev-parse', 'flights@v1.0.0^{}')}" in message
    assets = here.hub.kept["releases"][0]["assets"]
    names = {"manifest.json", "model.onnx", "contract.yaml", "verdict.json"}
    names |= {"README.md", "model.cdx.json", "openapi.json", "report.html"}
    assert {asset["name"] for asset in assets} == names


def test_its_tag_adds_the_lock_to_mains_commit(here: World) -> None:
    """`git checkout v1.0.0 && dvc pull` brings it; no branch has the commit."""
    here.judged("one")
    version = registered()
    head = git("rev-parse", "HEAD")
    assert git("rev-list", "--parents", "-1", version.commit).split()[1:] == [head]
    assert (
        git("diff-tree", "-r", "--name-status", head, version.commit) == "A\tdvc.lock"
    )
    assert here.origin("show", "flights@v1.0.0:dvc.lock").encode() == here.lock.strip()
    assert here.origin("branch", "--contains", version.commit) == ""
    assert here.origin("rev-parse", "main") == head


def test_a_second_run_makes_the_same_commit(here: World) -> None:
    """A run that died before its push leaves nothing that stands in the way."""
    here.judged("one")
    head = git("rev-parse", "HEAD")
    commits = [registry.locked(head, here.lock) for _ in range(2)]
    assert commits[0] == commits[1] == registered().commit
    assert registry.locked(head, b"stages: {}\n") not in (head, commits[0])


def test_a_lock_that_main_has_itself_needs_no_commit(here: World) -> None:
    here.model("one")
    (here.clone / "dvc.lock").write_bytes(here.lock)
    head = here.commit("with its lock")
    here.verdict(here.manifest)
    assert registered().commit == head


def test_a_committed_lock_is_not_read(here: World) -> None:
    """Whatever it says, what CI built for main's recipe is registered."""
    here.model("one")
    (here.clone / "dvc.lock").write_text("no lock at all")
    here.commit("with a foreign lock")
    here.verdict(here.manifest)
    version = registered()
    assert version.manifest_sha256 == here.manifest
    assert here.origin("show", "flights@v1.0.0:dvc.lock").encode() == here.lock.strip()


def test_registering_again_changes_nothing(here: World) -> None:
    here.judged("one")
    first = register.register()
    before = here.tags(), dict(here.hub.data)
    git("tag", "-d", "flights@v1.0.0")
    assert register.register() == first
    assert (here.tags(), here.hub.data) == before
    assert here.hub.made("POST", "releases") == 9  # one release, eight files


def test_the_next_version_follows_the_highest_on_origin(here: World) -> None:
    deployed(here, "one")
    here.judged("two")
    version = registered()
    assert version.version == "v1.1.0"


@pytest.mark.parametrize(
    ("bump", "expected"),
    [("major", "v2.0.0"), ("minor", "v1.10.0"), ("patch", "v1.9.1")],
)
def test_the_bump_is_a_setting(bump: str, expected: str) -> None:
    known = [registry.Version(f"v1.{n}.0", "t", "c", "m") for n in (10, 2, 9)][1:]
    assert registry.following(known, bump) == expected
    assert registry.following([], bump) == "v1.0.0"


def test_what_production_has_is_not_deployed_again(here: World) -> None:
    deployed(here, "one")
    here.commit("words only")
    pulled = here.pulled
    assert "production has flights@v1.0.0" in str(register.register())
    assert here.pulled == pulled


def test_an_unfinished_deployment_is_taken_up_again(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = deployed(here, "one")
    monkeypatch.setenv("PRODUCTION_URL", "agent")  # published, and nobody has answered
    version = registered()
    assert version.manifest_sha256 == manifest


def refusal() -> str:
    """Return the sentence with which register refuses."""
    with pytest.raises((ReleaseError, LedgerError)) as caught:
        register.register()
    return str(caught.value)


def test_no_verdict_is_refused(here: World) -> None:
    deployed(here, "one")
    here.model("two")
    sentence = refusal()
    assert "there is no verdict on what main describes" in sentence
    assert "git commit --allow-empty" in sentence
    assert here.tags() == ["flights@v1.0.0"]


def test_a_main_that_moved_is_refused(here: World) -> None:
    """Two proposals, each judged alone: nobody judged the model of both together."""
    here.judged("one")
    (here.clone / "dvc.yaml").write_text('{"stages": {"train": {"cmd": "both"}}}')
    here.commit("merge the other, too")
    assert "there is no verdict on what main describes" in refusal()
    assert here.tags() == []


def test_what_was_judged_but_not_merged_is_refused(here: World) -> None:
    """Anybody may propose what main describes, and upload bytes that pass."""
    deployed(here, "one")
    here.hub.unmerged.add(8)
    here.verdict(here.model("two"), pull_request=8)
    assert "judged in #8 only, where no commit that was judged was merged" in refusal()
    assert here.tags() == ["flights@v1.0.0"]
    here.hub.unmerged.clear()
    assert registered().version == "v1.1.0", "the control"


@pytest.mark.parametrize("number", [6, 8], ids=["before", "after"])
def test_the_bytes_of_the_merged_pull_request_are_registered(
    here: World, number: int
) -> None:
    """Not those that a stranger's copy of it uploaded, before it or after it."""
    here.hub.unmerged.add(number)
    order = sorted((7, number))
    here.model("one")
    merged, locks = here.manifest, {7: here.lock}
    head, stranger = git("rev-parse", "HEAD"), here.model("a stranger's")
    locks[number] = here.lock
    git("reset", "-q", "--hard", head)
    git("push", "-q", "-f", "origin", "HEAD:main")
    for each in order:
        here.lock = locks[each]
        sha256 = merged if each == 7 else stranger
        here.verdict(sha256, pull_request=each)
    assert registered().manifest_sha256 == merged


def test_what_was_judged_before_the_merged_commit_is_refused(here: World) -> None:
    """A branch may carry what another proposes for a while, and words in the end."""
    deployed(here, "one")
    here.verdict(here.model("two"), pull_request=8)
    here.hub.heads[8] = "d" * 40
    assert "judged in #8 only, where no commit that was judged was merged" in refusal()
    assert here.tags() == ["flights@v1.0.0"]
    here.verdict(here.manifest, pull_request=8, head_sha="d" * 40)
    assert registered().version == "v1.1.0", "the control"


def test_a_copy_that_nobody_merged_does_not_say_that_it_is_deployed(
    here: World,
) -> None:
    """It may bring production's bytes for what another proposal describes."""
    first = deployed(here, "one")
    second = here.judged("two")
    here.hub.unmerged.add(8)
    here.verdict(first, pull_request=8)
    assert registered().manifest_sha256 == second


def test_a_lock_altered_on_the_ledger_is_refused(here: World) -> None:
    here.judged("one")
    sha256 = Ledger().on_recipe(recipe.at("HEAD"))[-1]["lock_sha256"]
    git("worktree", "add", "-q", "--detach", "../ledger", "origin/ledger")
    folder = here.home / "ledger"
    (folder / lock_path(sha256)).write_text("stages: {}\n")
    git("commit", "-qam", "alter a lock", cwd=folder)
    git("push", "-q", "origin", "HEAD:ledger", cwd=folder)
    assert "has other bytes than its name says" in refusal()
    assert here.tags() == []


def test_the_newest_verdict_decides(here: World) -> None:
    manifest = here.judged("one")
    here.verdict(manifest, passed=False)
    assert "#7 was refused, and main names what it proposed" in refusal()
    here.verdict(manifest)
    registered()


def test_a_refused_lock_is_told_before_its_missing_bytes(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise storage.StorageError("the object is not in storage")

    manifest = here.judged("one")
    monkeypatch.setattr(storage, "pull", gone)
    assert "not in storage" in refusal()
    here.verdict(manifest, passed=False)
    assert "was refused" in refusal()


def test_a_recipe_that_was_not_judged_is_refused(here: World) -> None:
    manifest = here.model("one")
    here.verdict(manifest, recipe="0" * 64)
    assert "there is no verdict on what main describes" in refusal()


def test_a_lock_that_the_ledger_lacks_is_refused(here: World) -> None:
    manifest = here.model("one")
    here.verdict(manifest, lock_sha256="0" * 64)
    assert "the ledger has no locks/" in refusal()


def test_a_champion_that_changed_is_refused(here: World) -> None:
    first = here.judged("one")
    here.verdict(first, champion="f" * 64)
    sentence = refusal()
    assert "the champion changed since the verdict" in sentence
    assert "git commit --allow-empty" in sentence


def test_missing_bytes_are_refused(here: World) -> None:
    here.judged("one")
    for file in here.objects.iterdir():
        file.unlink()
    assert "is not in storage" in refusal()


def test_altered_bytes_are_refused(here: World) -> None:
    here.judged("one")
    for file in here.objects.iterdir():
        if file.read_bytes() == b"one":
            file.write_bytes(b"two")
    assert "model.onnx is not the reviewed file" in refusal()
    assert here.tags() == []


def test_another_contract_is_refused(here: World) -> None:
    manifest = here.model("one")
    (here.clone / "contract.yaml").write_text("name: flights\n# looser\n")
    here.commit("loosen the contract")
    here.verdict(manifest)
    assert "contract.yaml is not the reviewed file" in refusal()


def test_a_commit_that_was_not_merged_is_refused(here: World) -> None:
    here.judged("one")
    git("commit", "-q", "--allow-empty", "-m", "on the side")
    assert "is not on main" in refusal()


def test_an_older_commit_leaves_the_work_to_the_newest(here: World) -> None:
    here.judged("one")
    old = git("rev-parse", "HEAD")
    here.judged("two")
    git("checkout", "-q", old)
    assert "main has moved on" in str(register.register())


def test_a_version_for_other_bytes_is_a_hard_stop(here: World) -> None:
    here.judged("one")
    other = registry.locked(git("rev-parse", "HEAD"), b"stages: {}\n")
    registry.register("flights", "a" * 64, other)
    tags = here.tags()
    assert "registered on this commit for other bytes" in refusal()
    assert here.tags() == tags


def test_a_moved_tag_is_a_hard_stop(here: World) -> None:
    deployed(here, "one")
    here.judged("two")
    message = here.origin("tag", "-l", "--format=%(contents)", "flights@v1.0.0")
    git("tag", "-f", "-a", "-m", message, "flights@v1.0.0", "HEAD")
    git("push", "-q", "-f", "origin", "flights@v1.0.0")
    assert "flights@v1.0.0 was moved" in refusal()


def test_a_moved_tag_that_lies_is_a_hard_stop(here: World) -> None:
    deployed(here, "one")
    here.judged("two")
    head = git("rev-parse", "HEAD")
    message = f"x\n\nmanifest_sha256: {'b' * 64}\ncommit: {head}\n"
    git("tag", "-f", "-a", "-m", message, "flights@v1.0.0", "HEAD")
    git("push", "-q", "-f", "origin", "flights@v1.0.0")
    assert "the ledger deployed" in refusal()


def test_a_deleted_tag_is_a_hard_stop(here: World) -> None:
    deployed(here, "one")
    here.judged("two")
    here.origin("tag", "-d", "flights@v1.0.0")
    assert "flights@v1.0.0 was deleted" in refusal()


def test_an_older_number_on_newer_work_is_a_hard_stop(here: World) -> None:
    """GTO takes an older number, and a person may type one."""
    deployed(here, "one")
    manifest, head = here.judged("two"), git("rev-parse", "HEAD")
    message = f"x\n\nmanifest_sha256: {manifest}\ncommit: {head}\n"
    git("tag", "-a", "-m", message, "flights@v0.9.0", head)
    git("push", "-q", "origin", "flights@v0.9.0")
    assert "flights@v0.9.0 has an older number than flights@v1.0.0" in refusal()


def test_an_older_version_that_main_names_again_keeps_its_number(here: World) -> None:
    """The negative control: reverted, judged again, and deployed as what it is."""
    first = deployed(here, "one")
    deployed(here, "two")
    assert here.judged("one") == first
    version = registered()
    assert version.version == "v1.0.0"


def test_a_foreign_tag_is_a_hard_stop(here: World) -> None:
    here.judged("one")
    here.origin("tag", "flights@v9.0.0", "main")
    assert "was not written by `register`" in refusal()


def test_a_release_with_other_bytes_is_a_hard_stop(here: World) -> None:
    here.judged("one")
    register.register()
    here.hub.alter("model.onnx", b"other")
    assert "holds another model.onnx" in refusal()


def test_a_partial_release_is_finished(here: World) -> None:
    here.judged("one")
    register.register()
    release = here.hub.kept["releases"][0]
    release["assets"][1]["state"] = "starter"  # GitHub's word for a broken upload
    release["assets"] = release["assets"][:3]
    register.register()
    assert len(release["assets"]) == 8
    assert all(asset["state"] == "uploaded" for asset in release["assets"])


def test_a_version_taken_back_needs_a_new_verdict(here: World) -> None:
    deployed(here, "one")
    bad = deployed(here, "two")
    ledger = Ledger()
    good = ledger.history("production")[0]

    def back(seq: int) -> dict[str, object]:
        why = {"action": "rollback", "reason": "slow", "previous": bad, "seq": seq}
        return {**good, **why}

    promote.write(ledger, back, "rollback")
    here.commit("an unrelated merge")
    assert "was taken out of production by a rollback (slow)" in refusal()
    here.verdict(bad)
    assert "brings it back on purpose" in refusal()
    here.verdict(bad, returns={"seq": ledger.history("production")[-1]["seq"]})
    registered()


def test_a_verdict_on_another_recipe_of_the_same_version_takes_nothing_away(
    here: World,
) -> None:
    """A pull request that changes only a setting of `evaluate` has the same model."""
    sha256 = here.judged("one")
    here.verdict(sha256, recipe="e" * 64, pull_request=8)
    here.verdict(sha256, passed=False, recipe="f" * 64, pull_request=9)
    assert registered().manifest_sha256 == sha256


def test_other_bytes_that_were_uploaded_for_a_recipe_do_not_condemn_it(
    here: World,
) -> None:
    """Anybody's artifact may be for main's own recipe."""
    sha256 = here.judged("one")
    main = recipe.at("HEAD")
    record = {"manifest_sha256": None, "recipe": main, "passed": False}
    record |= {"pull_request": 8, "summary": "Identity: other bytes."}
    path = "verdicts/unverified"
    Ledger().append(lambda n: {f"{path}/{n:08d}-1.json": {**record, "seq": n}}, "v")
    assert registered().manifest_sha256 == sha256


def _race(clone: Path, manifest: str, commit: str) -> None:
    """Register from one of two clones; the other does the same."""
    import os

    os.chdir(clone)
    registry.register("flights", manifest, commit)


def test_two_registrations_race(here: World) -> None:
    """One manifest from two runs: one tag, and both know it."""
    here.judged("one")
    commit = git("rev-parse", "HEAD")
    git("clone", "-q", "origin", "other", cwd=here.home)
    spawn = multiprocessing.get_context("fork")
    runs = [
        spawn.Process(target=_race, args=(clone, "a" * 64, commit))
        for clone in (here.clone, here.home / "other")
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    assert here.tags() == ["flights@v1.0.0"]


def test_the_loser_of_a_race_takes_the_next_number(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else takes v1.0.0 between the look and the push."""
    here.judged("one")
    first = git("rev-parse", "HEAD")
    here.judged("two")
    second = git("rev-parse", "HEAD")
    git("clone", "-q", "origin", "other", cwd=here.home)
    push, raced = registry._push, []

    def late(tag: str) -> bool:
        if not raced:
            raced.append(tag)
            message = f"x\n\nmanifest_sha256: {'c' * 64}\ncommit: {first}\n"
            other = here.home / "other"
            git("tag", "-a", "-m", message, "flights@v1.0.0", first, cwd=other)
            git("push", "-q", "origin", "flights@v1.0.0", cwd=other)
        return push(tag)

    monkeypatch.setattr(registry, "_push", late)
    version = registry.register("flights", "a" * 64, second)
    assert version.version == "v1.1.0"
    assert sorted(here.tags()) == ["flights@v1.0.0", "flights@v1.1.0"]
    assert registry.get("flights", "v1.0.0").manifest_sha256 == "c" * 64
