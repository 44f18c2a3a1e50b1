"""Puts what has to come before newer rows on a branch of its own.

Main's contract judges the rows of a pull request, so a contract that has to let more in
comes first, and so does a model that no longer reads a column which is gone. The
commit is made from objects: the working tree stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mlgitops import git
from mlgitops.pipeline.schema import one_line
from mlgitops.table import amend

CONTRACT, PARAMS = "contract.yaml", "params.yaml"
AFTER = "git pull --rebase origin main && git push -u origin newer-rows"


def judged(contract: str) -> bool:
    """Tell whether a contract is committed, in a repository whose proposals are judged.

    Before that nothing rules a proposal, and all can be one commit.
    """
    known = ("rev-parse", "-q", "--verify", "HEAD^{commit}")
    if not git.has_remote() or not git.run(*known, check=False):
        return False
    return git.show("HEAD", CONTRACT) == contract.encode()


def trained_without(gone: Collection[str]) -> dict[str, str]:
    """Return HEAD's params.yaml for a model that does not read these columns."""
    before = (git.show("HEAD", PARAMS) or b"").decode()
    after = amend.without(before, gone)
    return {PARAMS: after} if after != before else {}


def branch(files: Mapping[str, str], gone: Collection[str] = ()) -> str:
    """Put files on a branch, on top of HEAD; return the branch's name."""
    content = {name: text.encode() for name, text in files.items()}
    message = "Let the contract take newer rows"
    if gone:
        message = f"Train without {', '.join(map(one_line, gone))}"
    commit = git.commit(content, message, "", "HEAD")
    name = f"contract/{git.run('rev-parse', f'{commit}^{{tree}}')[:8]}"
    git.run("branch", "--force", name, commit)
    return name


def steps(grown: str, files: Collection[str] = (CONTRACT,)) -> str:
    """Return what to type, after the rows are written; `grown` is a branch or "".

    `files` are those of the branch.
    """
    rows = "git add --all && git commit -m 'Take newer rows' && make push"
    pull = "gh pr create --fill"
    if not grown:
        return (
            "To propose it:\n  git switch -c newer-rows && "
            f"{rows}\n  git push -u origin newer-rows && {pull}"
        )
    return (
        "This takes two pull requests, as main's contract.yaml judges the rows. The "
        f"first has {' and '.join(sorted(files))} alone, on the branch {grown}:\n"
        f"  git push -u origin {grown} && {pull} --head {grown}\n"
        "The second has the rows:\n"
        f"  git switch -c newer-rows && git reset --soft {grown}\n"
        f"  {rows}\n"
        f"and, once the first is merged:\n  {AFTER} && {pull}"
    )
