"""Versions as annotated tags on origin; the only module that knows GTO.

A tag ``flights@v1.2.0`` stands on a commit of its own: main's, with the dvc.lock that
CI built, so that `dvc pull` there brings the version. It says in its message which
manifest it stands for and which commit it was put on: a moved tag contradicts itself.
GTO takes an older version, orders by clock and keeps the tag of a lost race: the next
number is taken from origin, the push decides, and the loser looks again.

What runs where is on the ledger only, not in stage tags as well: GitHub refuses a
workflow's token a new tag on a commit whose workflow files differ from those of today's
branches, so that a rollback could not write one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from importlib import import_module
from threading import Thread

from mlgitops import git
from mlgitops.release import MAIN, Record, ReleaseError, base, signature

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

    @classmethod
    def of(cls, record: Record) -> "Version":
        """Return the version of a release's record."""
        return cls(*(str(record[field.name]) for field in fields(cls)))

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, for ordering: (1, 2, 0) of v1.2.0."""
        return tuple(int(part) for part in self.version.removeprefix("v").split("."))


def fetch(name: str) -> None:
    """Make the tags of this model the ones that origin has, moved and deleted too."""
    git.remote_run("fetch", "-q", "--prune", "--no-tags", "origin", *specs(name))


def specs(name: str) -> list[str]:
    """Return what git is told to fetch for all tags of a model."""
    return [f"+refs/tags/{name}@*:refs/tags/{name}@*"]


def versions(name: str) -> list[Version]:
    """Return the registered versions, lowest first.

    Raises:
        ReleaseError: a tag was moved, or not written by `register`.
    """
    registered, problems = survey(name)
    if problems:
        raise ReleaseError(problems[0])
    return registered


def survey(name: str) -> tuple[list[Version], list[str]]:
    """Return the versions whose tags hold together, and what is wrong with others."""
    registered, problems = [], []
    for entry in _tags(f"{name}@"):
        try:
            registered.append(_version(*entry))
        except ReleaseError as error:
            problems.append(str(error))
    return sorted(registered, key=lambda version: version.number), problems


def get(name: str, version: str) -> Version:
    """Return one version.

    Raises:
        ReleaseError: origin has no such version.
    """
    registered = {each.version: each for each in versions(name)}
    if version not in registered:
        names = ", ".join(registered) or "none yet"
        raise ReleaseError(
            f"there is no version {version} of {name}; there are: {names}"
        )
    return registered[version]


def check_format(version: str) -> None:
    """Refuse what does not look like a version, without asking origin.

    Raises:
        ReleaseError: with what to type.
    """
    if not NUMBER.fullmatch(version):
        raise ReleaseError(
            f'"{version}" is not a version: type VERSION=v1.0.0, with its own numbers '
            "(`make audit` lists what was deployed)"
        )


def differences(registered: Iterable[Version], history: Iterable[Record]) -> list[str]:
    """Return where the tags and the ledger name different bytes, as sentences."""
    versions = {version.tag: version for version in registered}
    sentences = []
    for record in history:
        version = versions.get(record["tag"])
        if version is None:
            sentences.append(
                f"the tag {record['tag']} was deleted: the ledger deployed it from "
                f"{record['commit']}; restore it there before anything is deployed"
            )
        elif version.manifest_sha256 != record["manifest_sha256"]:
            sentences.append(
                f"the tag {version.tag} was moved: it stands for "
                f"{version.manifest_sha256}, the ledger deployed "
                f"{record['manifest_sha256']} under that name"
            )
    return list(dict.fromkeys(sentences))


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
        registered, tip = versions(name), git.fetch_branch(MAIN)
        for version in registered:
            if version.manifest_sha256 == manifest_sha256:
                return version
            if base(version.commit, tip) == base(commit, tip):
                raise ReleaseError(
                    f"{version.tag} is registered on this commit for other bytes "
                    f"({version.manifest_sha256}, not {manifest_sha256}): a version "
                    "never changes; find out who wrote that tag"
                )
        number = following(registered, bump)
        tag = f"{name}@{number}"
        message = (
            f"{name} {number}\n\nmanifest_sha256: {manifest_sha256}\ncommit: {commit}"
        )
        _gto("register", name=name, ref=commit, version=number, message=message)
        signature.sign(tag, commit, message)
        if _push(tag):
            return Version(number, tag, commit, manifest_sha256)
    raise ReleaseError(
        f"other runs took the next number {TRIES} times: run this one again"
    )


def locked(commit: str, lock_bytes: bytes) -> str:
    """Return the commit for a version's tag: main's, with the dvc.lock that CI built.

    A second call makes the same commit. Its workflow files are main's, as GitHub asks.
    """
    if git.show(commit, "dvc.lock") == lock_bytes:
        return commit
    date = git.run("show", "-s", "--format=%cI", commit)
    message = "Add the dvc.lock that CI built"
    author = TAGGER["author"]
    files = {"dvc.lock": lock_bytes}
    return git.commit(files, message, author, commit, date=date)


def in_order(name: str, version: Version) -> None:
    """Refuse an older number on newer work: `register` never gives one.

    Raises:
        ReleaseError: a higher version stands on a commit before this one's.
    """
    tip = git.fetch_branch(MAIN)
    for higher in versions(name):
        ends = [base(each.commit, tip) or "" for each in (higher, version)]
        if higher.number <= version.number or ends[0] == ends[1]:
            continue
        if git.run("merge-base", *ends, check=False) == ends[0]:
            raise ReleaseError(
                f"{version.tag} has an older number than {higher.tag}, but stands on "
                "newer work: it was not written by `register`; find out who wrote it"
            )


def following(registered: Iterable[Version], bump: str = "minor") -> str:
    """Return the version after the highest one: v1.0.0 first."""
    numbers = [version.number for version in registered]
    if not numbers:
        return "v1.0.0"
    major, minor, patch = max(numbers)
    later = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0)}
    return "v{}.{}.{}".format(*later.get(bump, (major, minor, patch + 1)))


def _tags(prefix: str) -> list[tuple[str, str, str, str]]:
    """Return tag, kind of object, commit and message of the tags with a prefix."""
    text = git.run("for-each-ref", f"refs/tags/{prefix}*", f"--format={FORM}")
    entries = [entry.strip("\n").split("\0") for entry in text.split("\1")]
    return [(e[0], e[1], e[2], e[3]) for e in entries if len(e) > 3]


def _version(tag: str, kind: str, commit: str, message: str) -> Version:
    """Read a version from its tag, or refuse a tag that contradicts itself."""
    manifest, stated = MANIFEST.search(message), COMMIT.search(message)
    version = tag.partition("@")[2]
    if kind != "tag" or not manifest or not stated or not NUMBER.fullmatch(version):
        raise ReleaseError(
            f"the tag {tag} was not written by `register`: delete it on origin with "
            f"`git push origin :refs/tags/{tag}`"
        )
    if stated[1] != commit:
        raise ReleaseError(
            f"the tag {tag} was moved: it stands on {commit}, but says {stated[1]}; "
            "put it back before anything is deployed"
        )
    return Version(version, tag, commit, manifest[1])


def warm() -> None:
    """Import GTO, which takes a second, beside work that waits for other programs."""
    Thread(target=import_module, args=("gto.api",)).start()


def _gto(verb: str, **fields: object) -> str:
    """Let GTO write an annotated tag here; return the tag.

    Imported here because that takes over a second.
    """
    import gto.api
    from gto.exceptions import GTOException

    try:
        return str(getattr(gto.api, verb)(".", **fields, **TAGGER).tag)
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
