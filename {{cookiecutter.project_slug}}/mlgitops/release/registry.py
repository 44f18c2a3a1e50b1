"""Versions and stages as annotated tags on origin; the only module that knows GTO.

A tag ``flights@v1.2.0`` says in its message which manifest it stands for and which
commit it was put on, so that a moved tag contradicts itself. GTO takes an older
version, orders by clock and keeps the tag of a lost race: the next number is taken
from origin, the push decides, and the loser looks again.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any

from mlgitops import git
from mlgitops.release import Record, ReleaseError, signature

TRIES = 20
FORM = "%(refname:strip=2)%00%(objecttype)%00%(*objectname)%00%(contents)%00%01"
MANIFEST = re.compile(r"^manifest_sha256: ([0-9a-f]{64})$", re.MULTILINE)
COMMIT = re.compile(r"^commit: ([0-9a-f]{40,64})$", re.MULTILINE)
NUMBER = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
TAGGER = {"author": "registry", "author_email": "registry@localhost"}


@dataclass(frozen=True)
class Version:
    """A registered version: its tag, its commit and the manifest it stands for."""

    version: str
    tag: str
    commit: str
    manifest_sha256: str

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, for ordering."""
        return _number(self.version)


def fetch(name: str) -> None:
    """Make the tags of this model the ones that origin has, moved and deleted too."""
    git.remote_run("fetch", "-q", "--prune", "--no-tags", "origin", *specs(name))


def specs(name: str) -> list[str]:
    """Return what git is told to fetch for all tags of a model."""
    return [f"+refs/tags/{name}{mark}*:refs/tags/{name}{mark}*" for mark in "@#"]


def versions(name: str) -> list[Version]:
    """Return the registered versions, lowest first.

    Raises:
        ReleaseError: a tag was moved, or not written by `register`.
    """
    found, problems = survey(name)
    if problems:
        raise ReleaseError(problems[0])
    return found


def survey(name: str) -> tuple[list[Version], list[str]]:
    """Return the versions whose tags hold together, and what is wrong with others."""
    found, problems = [], []
    for entry in _tags(f"{name}@"):
        try:
            found.append(_version(*entry))
        except ReleaseError as error:
            problems.append(str(error))
    return sorted(found, key=lambda version: version.number), problems


def get(name: str, version: str) -> Version:
    """Return one version.

    Raises:
        ReleaseError: origin has no such version.
    """
    known = versions(name)
    for candidate in known:
        if candidate.version == version:
            return candidate
    names = ", ".join(v.version for v in known) or "none yet"
    raise ReleaseError(f"there is no version {version} of {name}; there are: {names}")


def spelt(version: str) -> None:
    """Refuse what is not spelt like a version, without asking origin.

    Raises:
        ReleaseError: with what to type.
    """
    if not NUMBER.fullmatch(version):
        raise ReleaseError(
            f'"{version}" is not spelt like a version: type VERSION=v1.0.0, with its '
            "own numbers (`make audit` lists what was deployed)"
        )


def agree(known: Iterable[Version], history: Iterable[Record]) -> None:
    """Compare the tags with what the ledger says was deployed.

    Raises:
        ReleaseError: a tag was deleted, or stands for other bytes than before.
    """
    if found := differences(known, history):
        raise ReleaseError(found[0])


def differences(known: Iterable[Version], history: Iterable[Record]) -> list[str]:
    """Return where the tags and the ledger name different bytes, as sentences."""
    tags = {version.tag: version for version in known}
    said = []
    for record in history:
        tag = tags.get(record["tag"])
        if tag is None:
            said.append(
                f"the tag {record['tag']} was deleted: the ledger deployed it from "
                f"{record['commit']}; restore it there before anything is deployed"
            )
        elif tag.manifest_sha256 != record["manifest_sha256"]:
            said.append(
                f"the tag {tag.tag} was moved: it stands for {tag.manifest_sha256}, "
                f"the ledger deployed {record['manifest_sha256']} under that name"
            )
    return list(dict.fromkeys(said))


def register(
    name: str, manifest_sha256: str, commit: str, bump: str = "minor"
) -> Version:
    """Return the version of a manifest on origin, after tagging it if it has none.

    Raises:
        ReleaseError: the commit carries a version for other bytes, or origin
            cannot be reached.
    """
    for _ in range(TRIES):
        fetch(name)
        known = versions(name)
        for version in known:
            if version.manifest_sha256 == manifest_sha256:
                return version
            if version.commit == commit:
                raise ReleaseError(
                    f"{version.tag} is registered on this commit for other bytes "
                    f"({version.manifest_sha256}, not {manifest_sha256}): a version "
                    "never changes; find out who wrote that tag"
                )
        new = following(known, bump)
        _gto_register(name, new, commit, manifest_sha256)
        if _push(f"{name}@{new}"):
            return Version(new, f"{name}@{new}", commit, manifest_sha256)
    raise ReleaseError(f"origin refused the tag {TRIES} times: run it again")


def in_order(name: str, version: Version) -> None:
    """Refuse an older number on newer work: `register` never gives one.

    Raises:
        ReleaseError: a higher version stands on a commit before this one's.
    """
    for other in versions(name):
        if other.number <= version.number or other.commit == version.commit:
            continue
        args = ("merge-base", other.commit, version.commit)
        if git.run(*args, check=False) == other.commit:
            raise ReleaseError(
                f"{version.tag} has an older number than {other.tag}, but stands on "
                "newer work: it was not written by `register`; find out who wrote it"
            )


def following(known: Iterable[Version], bump: str = "minor") -> str:
    """Return the version after the highest one: v1.0.0 first."""
    if not (numbers := [version.number for version in known]):
        return "v1.0.0"
    major, minor, patch = max(numbers)
    later = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0)}
    return "v{}.{}.{}".format(*later.get(bump, (major, minor, patch + 1)))


def assign(name: str, stage: str, version: Version, note: str) -> str:
    """Give a stage to a version on origin and return the stage's newest tag."""
    for _ in range(TRIES):
        fetch(name)
        if (newest := holder(name, stage)) and newest[1] == version.commit:
            return newest[0]
        tag = _gto_assign(name, stage, version.version, note)
        if _push(tag):
            return tag
    raise ReleaseError(f"origin refused the tag {TRIES} times: run it again")


def holder(name: str, stage: str) -> tuple[str, str] | None:
    """Return the newest tag of a stage, by its counter, and its commit."""
    found = [(_counter(tag), tag, commit) for tag, _, commit, _ in _tags(f"{name}#")]
    mine = [entry for entry in found if entry[1].startswith(f"{name}#{stage}#")]
    return max(mine)[1:] if mine else None


def _tags(prefix: str) -> list[tuple[str, str, str, str]]:
    """Return tag, kind of object, commit and message of the tags with a prefix."""
    text = git.run("for-each-ref", f"refs/tags/{prefix}*", f"--format={FORM}")
    entries = [entry.strip("\n").split("\0") for entry in text.split("\1")]
    return [(e[0], e[1], e[2], e[3]) for e in entries if len(e) > 3]


def _version(tag: str, kind: str, commit: str, message: str) -> Version:
    """Read a version from its tag, or refuse a tag that contradicts itself."""
    manifest, said = MANIFEST.search(message), COMMIT.search(message)
    version = tag.partition("@")[2]
    if kind != "tag" or not manifest or not said or not NUMBER.fullmatch(version):
        raise ReleaseError(
            f"the tag {tag} was not written by `register`: delete it on origin with "
            f"`git push origin :refs/tags/{tag}`"
        )
    if said[1] != commit:
        raise ReleaseError(
            f"the tag {tag} was moved: it stands on {commit}, but says {said[1]}; "
            "put it back before anything is deployed"
        )
    return Version(version, tag, commit, manifest[1])


def _number(version: str) -> tuple[int, ...]:
    """Return (1, 2, 0) of v1.2.0."""
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def _counter(tag: str) -> int:
    """Return 7 of flights#production#7."""
    last = tag.rsplit("#", 1)[-1]
    return int(last) if last.isdigit() else 0


def _gto_register(name: str, version: str, commit: str, manifest: str) -> None:
    """Write the annotated tag of a version here, signed if there is a key."""
    lines = (f"manifest_sha256: {manifest}", f"commit: {commit}")
    message = f"{name} {version}\n\n" + "\n".join(lines)
    _gto("register", name=name, ref=commit, version=version, message=message)
    signature.sign(f"{name}@{version}", commit, message)


def _gto_assign(name: str, stage: str, version: str, note: str) -> str:
    """Write the annotated tag of a stage here and return its name."""
    fields = {"name": name, "stage": stage, "version": version, "message": note}
    return str(_gto("assign", **fields, force=True).tag)


def warm() -> None:
    """Import GTO, which takes a second, beside work that waits for other programs."""
    Thread(target=import_module, args=("gto.api",)).start()


def _gto(verb: str, **fields: Any) -> Any:
    """Call GTO; imported here because that takes over a second."""
    import gto.api
    from gto.exceptions import GTOException

    try:
        return getattr(gto.api, verb)(".", **fields, **TAGGER)
    except GTOException as error:
        raise ReleaseError(f"gto {verb} refused: {error}") from error


def _push(tag: str) -> bool:
    """Push one tag; on rejection drop it here and say False."""
    pushed = False
    try:
        pushed = git.push("--atomic", f"refs/tags/{tag}:refs/tags/{tag}")
    except git.GitError as error:
        raise ReleaseError(f"the tag {tag} was not pushed: {error}") from error
    finally:
        if not pushed:
            git.run("tag", "-d", tag)
    return pushed
