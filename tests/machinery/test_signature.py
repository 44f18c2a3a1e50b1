"""Tags and releases are signed where there is a key; what has no good one is refused.

The key is that of the job `register` alone: what it has verified, it signs.
"""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import Record, World, git, world
from mlgitops.commands import audit, deploy, register, rollback
from mlgitops.host import agent
from mlgitops.ledger import Ledger
from mlgitops.release import (
    HostError,
    ReleaseError,
    TargetError,
    consistency,
    image,
    package,
    registry,
    signature,
    target,
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("ssh-keygen") and shutil.which("openssl")),
    reason="no ssh-keygen or openssl: apt-get install openssh-client openssl",
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a repository with a judged model."""
    home = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        made.judged("one")
        return made


@pytest.fixture
def here(
    judged: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it."""
    monkeypatch.delenv("SIGNING_KEY", raising=False)
    with world(tmp_path, monkeypatch, judged) as made:
        yield made


def key(here: World, name: str) -> tuple[str, str]:
    """Return a new private key and its public half, as openssl writes them."""
    file = here.home / name
    make = ("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
    subprocess.run((*make, "-out", str(file)), check=True)
    show = ("openssl", "ec", "-in", str(file), "-pubout")
    done = subprocess.run(show, check=True, capture_output=True, text=True)
    return file.read_text(), done.stdout


def published(here: World, public: str) -> None:
    """Put a public key on main."""
    Path("signing.pub").write_text(public)
    here.commit("the key")


def promoted() -> registry.Version:
    """Register and deploy what main names, as the jobs do."""
    register.main()
    version = register.register()
    assert isinstance(version, registry.Version)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SIGNING_KEY", raising=False)
        deploy.deploy("production", version.version)
    return version


def current() -> Record:
    """Return what production's hosts follow."""
    return Ledger().release("production") or {}


@pytest.fixture
def ours(here: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give `register` a key whose public half is on main; return that half."""
    private, public = key(here, "ours")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    return public


def test_without_a_key_it_is_not_signed_and_the_audit_says_so(here: World) -> None:
    version = promoted()
    assert signature.state(version.tag) == signature.NONE
    assert "- tag: not signed" in audit.report(audit.audit())


def test_with_a_key_it_is_signed(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = key(here, "ours")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    version = promoted()
    assert signature.state(version.tag) == signature.GOOD
    message = here.origin("cat-file", "tag", version.tag)
    assert "BEGIN SSH SIGNATURE" in message and "tagger registry" in message
    assert f"manifest_sha256: {version.manifest_sha256}" in message
    assert "- tag: signed with the key of signing.pub" in audit.report(audit.audit())
    assert private.splitlines()[1] not in message


def test_a_tag_of_another_key_is_refused(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = key(here, "theirs")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    version = register.register()
    assert isinstance(version, registry.Version)
    published(here, key(here, "ours")[1])
    with pytest.raises(ReleaseError, match="does not belong to SIGNING_KEY"):
        register.register()
    with pytest.raises(ReleaseError, match="signed with another key"):
        deploy.deploy("production", version.version)
    assert Ledger().release("production") is None


def test_where_main_has_a_key_a_new_tag_has_to_be_signed(here: World) -> None:
    published(here, key(here, "ours")[1])
    with pytest.raises(ReleaseError, match="is not signed, and main has signing.pub"):
        promoted()


def test_a_version_older_than_the_key_can_be_brought_back(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted()
    here.judged("two")
    promoted()
    private, public = key(here, "ours")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    promoted()
    with pytest.raises(ReleaseError, match="older than the key returns by a pull"):
        rollback.rollback("production", "v1.0.0", "x")
    assert current()["version"] == "v1.1.0", "no host would follow it"
    here.model("one")
    here.verdict(Ledger().history("production")[0]["manifest_sha256"])
    assert promoted().version == "v1.0.0"
    assert signature.good(current())
    git("tag", "-f", "-m", "x", "unsigned")
    assert signature.state("unsigned") == signature.NONE


def openssl(public: str, release: Record, folder: Path) -> bool:
    """Tell whether a host agent takes a release as signed."""
    try:
        agent.check_signature(folder, public.encode(), release)
    except agent.RefusedError:
        return False
    return True


def test_a_release_is_signed_as_hosts_check_it(
    here: World, ours: str, tmp_path: Path
) -> None:
    """Whatever decides what a host runs is in it: one changed field breaks it."""
    promoted()
    release = current()
    assert agent.SIGNED == signature.FIELDS
    assert signature.good(release) and openssl(ours, release, tmp_path / "s")
    changes: Record = {name: "x" for name in signature.FIELDS}
    changes["server"] = {**release["server"], "commit": "f" * 40}
    changes |= {"signature": None, "image": f"x@sha256:{'0' * 64}"}
    for name, value in changes.items():
        forged = {**release, name: value}
        assert not signature.good(forged), name
        assert not openssl(ours, forged, tmp_path / "s"), name
    for odd in ("", "x", "é", 5, [], base64.b64encode(b"x" * 70).decode()):
        forged = {**release, "signature": odd}
        assert not signature.good(forged)
        assert not openssl(ours, forged, tmp_path / "s")
    theirs = key(here, "theirs")[1]
    assert not openssl(theirs, release, tmp_path / "s")
    assert consistency.disagreements(Ledger(), "flights") == []


def test_another_image_than_the_signed_one_is_not_deployed(
    here: World, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGE", f"ghcr.io/o/evil@sha256:{'0' * 64}")
    with pytest.raises(ReleaseError, match="with this server and image, is not signed"):
        promoted()
    assert current() == {}


def test_what_runs_when_the_key_comes_is_signed_by_the_next_run(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a change of the key; a run more finds nothing to do."""
    promoted()
    for name in ("ours", "newer"):  # no key has signed its tag
        private, public = key(here, name)
        monkeypatch.setenv("SIGNING_KEY", private)
        published(here, public)
        (sentence,) = consistency.disagreements(Ledger(), "flights")
        assert "production's release is not signed" in sentence
        promoted()
        assert signature.good(current())
        assert consistency.disagreements(Ledger(), "flights") == []
        assert "Nothing to do" in str(register.register())
    assert len(Ledger().signatures(current()["manifest_sha256"])) == 2


@pytest.mark.parametrize("error", [HostError("no answer"), TargetError("502")])
def test_what_ran_before_is_not_taken_out_for_a_new_signature(
    here: World, monkeypatch: pytest.MonkeyPatch, error: TargetError
) -> None:
    promoted()
    private, public = key(here, "ours")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    with monkeypatch.context() as patch:

        def fail(*_: object) -> str:
            raise error

        patch.setattr(target, "wait", fail)
        with pytest.raises(ReleaseError, match="stays in production"):
            promoted()
    assert signature.good(current()) and current()["action"] == "deploy"
    assert "revert" not in {r["action"] for r in Ledger().history("production")}
    promoted()
    assert current()["state"] != "failed" and "Nothing to do" in str(
        register.register()
    )


def test_what_is_not_signed_is_not_replaced_by_what_is(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not come back, as no host would follow it: the key is merged alone."""
    promoted()
    private, public = key(here, "ours")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    here.judged("two")
    with pytest.raises(ReleaseError, match="no host would follow it back"):
        promoted()
    for text, version in (("one", "v1.0.0"), ("two", "v1.1.0")):  # the way out
        here.model(text)
        assert promoted().version == version
        assert signature.good(current())


def test_a_version_outlives_the_key_of_its_tag(
    here: World, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted()
    private, public = key(here, "newer")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    version = promoted()
    assert signature.state(version.tag) == signature.BAD
    assert signature.good(current())


def test_a_rollback_carries_the_signature_of_its_first_deployment(
    here: World, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted()
    first = current()
    here.judged("two")
    promoted()
    monkeypatch.delenv("SIGNING_KEY")  # the job has none
    assert "has flights@v1.0.0 again" in rollback.rollback("production", "v1.0.0", "x")
    assert current()["signature"] == first["signature"]
    assert signature.good(current())


def test_what_was_pushed_to_the_ledger_is_neither_deployed_nor_signed(
    here: World, ours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forged record names an image, so that `register` takes it for its own."""
    promoted()
    evil = f"ghcr.io/o/r@sha256:{'0' * 64}"
    ledger = Ledger()
    forged = {**current(), "seq": ledger.seq, "image": evil}
    folder = "environments/production"
    history = f"{folder}/history/{ledger.seq:08d}.json"
    ledger.append({f"{folder}/release.json": forged, history: forged}, "mine")
    (sentence,) = consistency.disagreements(Ledger(), "flights")
    assert "find out who pushed it" in sentence
    monkeypatch.setattr(image, "registry", lambda: "ghcr.io/o/r")
    monkeypatch.setattr(image, "engine", lambda: False)
    version = registry.get("flights", "v1.0.0")
    with pytest.raises(ReleaseError, match="no container engine"):
        package.image_of(version)
    Path("signing.pub").unlink()  # the control: without a key the ledger is believed
    assert package.image_of(version) == evil


def test_what_is_no_key_is_one_sentence(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING_KEY", "not a key")
    with pytest.raises(ReleaseError, match=r"SIGNING_KEY cannot sign flights@v1\.0\.0"):
        register.register()
    assert here.tags() == []
    assert git("tag") == ""
