"""A version's tag is signed where there is a key, and another key is refused."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import World, git, world
from mlgitops.commands import audit, deploy, register, rollback
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError, registry, signature

pytestmark = pytest.mark.skipif(
    not (shutil.which("ssh-keygen") and shutil.which("openssl")),
    reason="no ssh-keygen or openssl: apt-get install openssh-client openssl",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository with a judged model."""
    monkeypatch.delenv("SIGNING_KEY", raising=False)
    with world(tmp_path, monkeypatch) as made:
        made.judged("one")
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
    """Register and deploy what main names."""
    version = register.register()
    assert isinstance(version, registry.Version)
    deploy.deploy("production", version.version)
    return version


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
    private, public = key(here, "ours")
    monkeypatch.setenv("SIGNING_KEY", private)
    published(here, public)
    here.judged("two")
    promoted()
    assert "has flights@v1.0.0 again" in rollback.rollback("production", "v1.0.0", "x")
    git("tag", "-f", "-m", "x", "unsigned")
    assert signature.state("unsigned") == signature.NONE


def test_what_is_no_key_is_one_sentence(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING_KEY", "not a key")
    with pytest.raises(ReleaseError, match=r"SIGNING_KEY cannot sign flights@v1\.0\.0"):
        register.register()
    assert here.tags() == []
    assert git("tag") == ""
