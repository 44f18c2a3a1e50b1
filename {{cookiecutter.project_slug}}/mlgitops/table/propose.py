"""Puts what grows in the contract on a branch of its own.

Main's contract judges the rows of a pull request, so a contract that has to let more in
comes first. The commit is made from objects: the working tree stays as it is.
"""

from __future__ import annotations

from mlgitops import git

CONTRACT = "contract.yaml"
AFTER = "git pull --rebase origin main && git push -u origin newer-rows"


def judged(contract: str) -> bool:
    """Tell whether a contract is committed, in a repository whose proposals are judged.

    Before that nothing rules a proposal, and all can be one commit.
    """
    known = ("rev-parse", "-q", "--verify", "HEAD^{commit}")
    if not git.has_remote() or not git.run(*known, check=False):
        return False
    return git.show("HEAD", CONTRACT) == contract.encode()


def branch(contract: str) -> str:
    """Put a contract on a branch, on top of HEAD; return the branch's name."""
    files = {CONTRACT: contract.encode()}
    commit = git.commit(files, "Let the contract take newer rows", "", "HEAD")
    blob = git.run("rev-parse", f"{commit}:{CONTRACT}")
    name = f"contract/{blob[:8]}"
    git.run("branch", "--force", name, commit)
    return name


def steps(grown: str) -> str:
    """Return what to type, after the rows are written; `grown` is a branch or ""."""
    rows = "git add --all && git commit -m 'Take newer rows' && make push"
    pull = "gh pr create --fill"
    if not grown:
        return (
            "To propose it:\n  git switch -c newer-rows && "
            f"{rows}\n  git push -u origin newer-rows && {pull}"
        )
    return (
        "This takes two pull requests, as main's contract.yaml judges the rows. The "
        f"first has the contract alone, on the branch {grown}:\n"
        f"  git push -u origin {grown} && {pull} --head {grown}\n"
        "The second has the rows:\n"
        f"  git switch -c newer-rows && git reset --soft {grown}\n"
        f"  {rows}\n"
        f"and, once the first is merged:\n  {AFTER} && {pull}"
    )
