"""Brings a later machinery into this repository, as one commit on a branch.

python -m mlgitops update            looks whether there is one; an issue says so
python -m mlgitops update --apply    makes the branch here (make update)
python -m mlgitops update --propose  opens a pull request; GH_TOKEN has to be one that
                                     may change workflows, such as an App's

What comes from the template is `mlgitops/` and `.github/`, copied as they are: so an
update needs no answers and no tool but git. It merges three states: the template's at
the version that is here, the template's newest, and what this repository has. No other
file is touched, and one `git revert` takes it back.
"""

import argparse
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgitops import git, github
from mlgitops.commands import changelog, selftest
from mlgitops.commands.expected import expected_errors
from mlgitops.commands.selftest import FENCE, SelftestError
from mlgitops.machinery import SUMS
from mlgitops.storage import masked

MARKER = "<!-- template update -->"
TITLE = "The template has moved on"
PREFIX = "update/"  # of branches
PARTS = ("mlgitops", ".github")  # what comes from the template
CRUFT = ".cruft.json"  # of a repository that cruft made
PROJECT = FENCE.rpartition("/")[0]
LONGEST = 50_000  # characters of the CHANGELOG in an issue or a pull request
# What git prints where it would ask for a login, or GitHub hides what may not be read.
PRIVATE = re.compile(r"could not read Username|Authentication failed|not found|denied")
BOT = ("-c", "user.name=mlgitops", "-c", "user.email=mlgitops@localhost")
NEXT = "Type `make lock setup`, and commit what changes."
BEFORE = (
    f"there is no mlgitops/{SUMS} here, so an update has nothing to replace; if this "
    "repository is from before that folder, what is yours moves to a new repository "
    'by hand: docs/update.md of the template, "From before mlgitops/"'
)


class UpdateError(Exception):
    """The template's changes cannot be applied: one sentence."""


@dataclass(frozen=True)
class Newer:
    """The template's newest state, beside the one that this repository has."""

    template: str
    base: str  # commit
    commit: str
    version: str
    changes: str  # of the CHANGELOG

    @property
    def branch(self) -> str:
        """The branch that an update is made on."""
        return f"{PREFIX}{self.version}-{self.commit[:12]}"

    @property
    def title(self) -> str:
        """The first line of the commit, and the pull request's."""
        return f"Update the machinery to {self.version} ({self.commit[:12]})"

    @property
    def message(self) -> str:
        """The message of the commit."""
        return f"{self.title}\n\nFrom {self.template}, {self.base} to {self.commit}.\n"


def main() -> None:
    """Look, apply or propose."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--apply", action="store_true", help="make the branch here")
    parser.add_argument("--propose", action="store_true", help="open a pull request")
    parser.add_argument("--template", default="", help="address or folder")
    parser.add_argument("--base", default="", help="the template's commit that is here")
    parser.add_argument("--to", default="HEAD", help="the template's commit or tag")
    options = parser.parse_args()
    chosen = (options.template, options.base, options.to)
    with expected_errors("", UpdateError, SelftestError):
        if options.apply:
            return print(apply(*chosen))
        github.tell(propose(*chosen) if options.propose else update())


def apply(template: str = "", base: str = "", to: str = "HEAD") -> str:
    """Make a branch with the update in this folder; return what to do next.

    Raises:
        UpdateError: there are changes without a commit, the branch is there already,
            or both sides changed the same lines.
        SelftestError: the template cannot be fetched, or its commit is not known.
    """
    if git.run("status", "--porcelain"):
        raise UpdateError("there are changes without a commit: commit them first")
    with TemporaryDirectory(prefix="template-") as name:
        newer = fetch(template, base, to, Path(name, "template"))
        if newer is None:
            return "Up to date with the template."
        if git.run("rev-parse", "-q", "--verify", newer.branch, check=False):
            raise UpdateError(
                f"there is a branch {newer.branch} already: merge it, or delete it "
                f"with `git branch -D {newer.branch}`"
            )
        picked = bring(newer, Path(name, "template"))
        start = git.run("symbolic-ref", "-q", "--short", "HEAD", check=False)
        back = (start,) if start else ("--detach", git.run("rev-parse", "HEAD"))
        git.run("switch", "--quiet", "--create", newer.branch)
        try:
            conflicts = merge(newer, picked, Path())
        except git.GitError:  # a signature or a name is missing, say
            git.run("cherry-pick", "--abort", check=False)
            git.run("switch", "--quiet", "--discard-changes", *back)
            git.run("branch", "-D", newer.branch)
            raise
    print(f"{newer.changes or 'CHANGELOG.md has nothing new.'}\n")
    if conflicts:
        raise UpdateError(
            f"both this repository and the template changed {', '.join(conflicts)}: "
            "choose the lines, then `git add` these files and `git cherry-pick "
            "--continue`; or `git cherry-pick --abort` and `git switch "
            f"{' '.join(back)}`"
        )
    return (
        f"{newer.branch} has the update, as one commit. {NEXT} "
        f"Then `git push -u origin {newer.branch}`, and open a pull request. "
        "`git revert` of the commit takes the update back."
    )


def propose(template: str = "", base: str = "", to: str = "HEAD") -> str:
    """Open a pull request with the update on main; return what was done.

    One that a person closed is not opened again for the same commit.

    Raises:
        UpdateError: both sides changed the same lines, or the branch has others.
        SelftestError: the template cannot be fetched, or its commit is not known.
    """
    with TemporaryDirectory(prefix="template-") as name:
        clone, folder = Path(name, "template"), Path(name, "main")
        newer = fetch(template, base, to, clone)
        if newer is None:
            return "Up to date with the template."
        pulls = _proposals()
        for pull in pulls:
            if pull["head"]["ref"] == newer.branch:
                return f"#{pull['number']} proposed this already ({pull['state']})."
        tip = git.fetch_branch("main")
        if tip is None:
            raise UpdateError("origin has no branch `main`: push it first")
        picked = bring(newer, clone)
        git.run("worktree", "add", "--quiet", "--detach", str(folder), tip)
        try:
            if conflicts := merge(newer, picked, folder):
                raise UpdateError(
                    "both this repository and the template changed "
                    f"{', '.join(conflicts)}: type `make update` in a clone"
                )
            made = git.run("rev-parse", "HEAD", cwd=folder)
        finally:
            git.run("worktree", "remove", "--force", str(folder))
    _push(made, newer.branch)
    return _open(newer, [pull for pull in pulls if pull["state"] == "open"])


def fetch(template: str, base: str, to: str, clone: Path) -> Newer | None:
    """Clone the template; return what it has that is newer, or None.

    Raises:
        UpdateError: this repository has no machinery in `mlgitops/`.
        SelftestError: it cannot be fetched, or which of its commits is here is not
            known.
    """
    if not Path("mlgitops", SUMS).is_file():
        raise UpdateError(BEFORE)
    template = template or selftest.address()
    selftest.fetch(template, clone)
    try:
        commit = git.run("rev-parse", "--verify", f"{to}^{{commit}}", cwd=clone)
    except git.GitError as error:
        raise SelftestError(f"{template} has no {to}: {error}") from error
    start = git.run("rev-parse", base, cwd=clone) if base else _base(clone, template)
    if all(_tree(clone, start, part) == _tree(clone, commit, part) for part in PARTS):
        return None
    version = git.show(commit, f"{FENCE}/VERSION", clone) or b"unknown"
    logs = (git.show(c, "CHANGELOG.md", clone) or b"" for c in (start, commit))
    before, after = (log.decode(errors="replace") for log in logs)
    changes = changelog.newer(before, after)
    return Newer(masked(template), start, commit, version.decode().strip(), changes)


def bring(newer: Newer, clone: Path) -> str:
    """Bring the update into this repository's objects, as a commit to pick.

    It has only what comes from the template, and so has its parent.
    """
    parent = ""
    for commit in (newer.base, newer.commit):
        listing = (f"040000 tree {_tree(clone, commit, p)}\t{p}\n" for p in PARTS)
        tree = git.run("mktree", cwd=clone, data="".join(listing).encode())
        after = ("-p", parent) if parent else ()
        words = (*BOT, "commit-tree", tree, *after, "-m", newer.message)
        parent = git.run(*words, cwd=clone)
    git.run("update-ref", "refs/heads/mlgitops-update", parent, cwd=clone)
    git.run("fetch", "-q", "--no-tags", str(clone), "refs/heads/mlgitops-update")
    return git.run("rev-parse", "FETCH_HEAD")


def merge(newer: Newer, picked: str, folder: Path) -> list[str]:
    """Merge the update into a working tree, as one commit; return what conflicts.

    Raises:
        GitError: git cannot, or would change what is not the template's.
    """
    options = ("--keep-redundant-commits", "-X", "no-renames")
    before = git.run("rev-parse", "HEAD", cwd=folder)
    named = git.run("config", "user.email", cwd=folder, check=False)
    who = () if named and not os.environ.get("GITHUB_ACTIONS") else BOT
    try:
        git.run(*who, "cherry-pick", *options, picked, cwd=folder)
    except git.GitError:
        unmerged = git.run("diff", "--name-only", "--diff-filter=U", cwd=folder)
        if not unmerged:
            raise
        _record(newer, folder)
        return sorted(set(unmerged.splitlines()))
    if _record(newer, folder):
        git.run(*who, "commit", "-q", "--amend", "--no-edit", "--no-verify", cwd=folder)
    changed = git.run("diff", "--name-only", before, "HEAD", cwd=folder).splitlines()
    allowed = (*(f"{part}/" for part in PARTS), CRUFT)
    if foreign := [path for path in changed if not path.startswith(allowed)]:
        git.run("reset", "--hard", before, cwd=folder)
        raise git.GitError(f"the update would change {foreign[0]}, which is yours")
    return []


def _record(newer: Newer, folder: Path) -> bool:
    """Write the commit into the file by which cruft would update.

    False where there is none, or one that nobody can read.
    """
    file = folder / CRUFT
    try:
        link = json.loads(file.read_text(encoding="utf-8")) | {"commit": newer.commit}
    except (OSError, ValueError, TypeError):
        return False
    file.write_text(json.dumps(link, indent=2) + "\n", encoding="utf-8")
    git.run("add", "--", CRUFT, cwd=folder)
    return True


def _base(clone: Path, template: str) -> str:
    """Return the template's commit that this repository has.

    It is the one that cruft recorded, if it has the SHA256SUMS of here; else, of all
    that have it, the one whose files differ least, the newest of equal ones.
    """
    vendored = selftest.blob(Path("mlgitops", SUMS))
    commits = git.run("rev-list", "--all", cwd=clone).split()
    sums = _objects(clone, [f"{commit}:{FENCE}/{SUMS}" for commit in commits])
    same = [c for c, found in zip(commits, sums, strict=True) if found == vendored]
    if not same:
        raise SelftestError(
            f"no commit of {template} has the mlgitops/{SUMS} that is here, so it is "
            "not known what came since: name the commit that this repository came "
            "from, `python -m mlgitops update --apply --base COMMIT`"
        )
    with suppress(OSError, ValueError, KeyError, TypeError):
        recorded = str(json.loads(Path(CRUFT).read_text(encoding="utf-8"))["commit"])
        if recorded in same:
            return recorded
    trees = {
        tuple(_tree(clone, commit, part) for part in PARTS): commit
        for commit in reversed(same)
    }
    here = _files(Path(), "HEAD")
    newest_first = [commit for commit in same if commit in trees.values()]
    return min(newest_first, key=lambda c: len(here ^ _files(clone, c, f"{PROJECT}/")))


def _objects(clone: Path, names: list[str]) -> list[str]:
    """Return the id of each object that is named as `commit:path`; "" for none."""
    asked = "".join(f"{name}\n" for name in names).encode()
    check = ("cat-file", "--batch-check=%(objectname)")
    lines = git.run(*check, cwd=clone, data=asked).splitlines()
    return ["" if line.endswith(" missing") else line for line in lines]


def _files(folder: Path, commit: str, start: str = "") -> set[tuple[str, str]]:
    """Return the id and the path of each file of a commit that is the template's."""
    files = set()
    for part in PARTS:
        listing = git.run("ls-tree", "-r", f"{commit}:{start}{part}", cwd=folder)
        for line in listing.splitlines():
            about, _, path = line.partition("\t")
            files.add((about.split()[2], f"{part}/{path}"))
    return files


def _tree(clone: Path, commit: str, part: str) -> str:
    """Return the tree of a part of what the template generates.

    Raises:
        SelftestError: the commit is from before there was such a part.
    """
    (tree,) = _objects(clone, [f"{commit}:{PROJECT}/{part}"])
    if not tree:
        raise SelftestError(
            f"the template has no {part}/ at its commit {commit[:12]}: name a later "
            "commit, as --base or --to"
        )
    return tree


def _proposals() -> list[dict[str, Any]]:
    """Return every pull request from a branch of updates of this repository."""
    return [
        pull
        for pull in github.pages("pulls", {"state": "all"})
        if pull["head"]["ref"].startswith(PREFIX)
        and (pull["head"].get("repo") or {}).get("full_name") == github.repo()
    ]


def _push(made: str, branch: str) -> None:
    """Push the update; a branch that an earlier run left is as good.

    Raises:
        UpdateError: a branch of this name has something else.
    """
    if git.push(f"{made}:refs/heads/{branch}"):
        return
    found = git.fetch_branch(branch)
    trees = {git.run("rev-parse", f"{commit}^{{tree}}") for commit in (made, found)}
    if len(trees) > 1:
        raise UpdateError(
            f"origin has a branch {branch} already, with something else than the "
            "update: open a pull request from it, or delete it with `git push origin "
            f"--delete {branch}`"
        )


def _open(newer: Newer, others: list[dict[str, Any]]) -> str:
    """Open the pull request, in place of open ones with an older state."""
    fields = {
        "title": newer.title,
        "body": body(newer, f"{NEXT} One `git revert` takes the update back."),
        "head": newer.branch,
        "base": "main",
    }
    pull = github.api("pulls", "POST", fields)
    for other in others:
        comment = {"body": f"#{pull['number']} has a newer state of the template."}
        github.api(f"issues/{other['number']}/comments", "POST", comment)
        github.api(f"pulls/{other['number']}", "PATCH", {"state": "closed"})
    return f"opened #{pull['number']}: {pull['html_url']}"


def body(newer: Newer, last: str) -> str:
    """Return the text of an issue or a pull request."""
    changes = newer.changes[:LONGEST] or "CHANGELOG.md has nothing new."
    return (
        f"The machinery of `{newer.template}` went from `{newer.base}` to "
        f"`{newer.commit}`, version {newer.version}. Only `mlgitops/` and "
        f"`.github/` change.\n\n{changes}\n\n{last}\n"
    )


def update() -> str:
    """Return the result as a sentence, after writing the issue if one is needed."""
    try:
        template = selftest.address()
        shown = masked(template)
    except SelftestError:
        return "Not compared: the template's address is not recorded."
    if not template.startswith(("https://", "http://", "git@", "ssh://", "gh:", "gl:")):
        return f"Not checked: the template is a folder ({shown}), not an address."
    try:
        with TemporaryDirectory(prefix="template-") as name:
            newer = fetch(template, "", "HEAD", Path(name, "template"))
    except SelftestError as error:
        if not PRIVATE.search(str(error)):
            raise
        return (
            f"Not checked: {shown} is private, and this workflow has no login; "
            "type `make update` where you have one."
        )
    if newer is None:
        return "Up to date with the template."
    return f"The template has moved on to {newer.commit[:12]}: {announce(newer)}"


@github.repeated
def announce(newer: Newer) -> str:
    """Open the one issue, or update it; return its address."""
    last = (
        "To get a branch with it, type\n\n```\nmake update\n```\n\n"
        "To skip this update, close this issue: it is opened again with the template's "
        "next change."
    )
    return github.announce(MARKER, TITLE, body(newer, last), [newer.commit])
