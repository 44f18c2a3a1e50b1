"""Git plumbing in bare repositories."""

import os
import subprocess
import tempfile
from pathlib import Path

from .state import Person, Refusal

ZERO = "0" * 40
CLEAN = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
HOOK = """#!/bin/sh
# FORGE_REFUSED: why the rules refuse this push. FORGE_FORWARD: refs that may not go
# back. FORGE_WORKFLOWS: whether this token may change workflow files. FORGE_DEFAULT:
# the branch whose workflow files a new ref has to have, if it has any; a commit that is
# in the history already makes no difference. FORGE_COMMITS: rules for the new commits
# of a ref, one on each line: ref, type, pattern.
if [ -n "$FORGE_REFUSED" ]; then printf '%s\\n' "$FORGE_REFUSED" >&2; exit 1; fi
while read -r old new ref; do
  case $new in *[!0]*) ;; *) continue ;; esac
  case " $FORGE_FORWARD " in *" $ref "*) case $old in *[!0]*)
    if ! git merge-base --is-ancestor "$old" "$new"; then
      echo "GH013: Cannot force-push to this protected ref: $ref" >&2; exit 1
    fi ;; esac ;; esac
  broken=$(printf '%s\\n' "$FORGE_COMMITS" | while read -r its rule pattern; do
    [ "$its" = "$ref" ] || continue
    git rev-list "$new" --not --all | while read -r commit; do
      case $rule in
        required_signatures)
          git cat-file commit "$commit" | grep -q '^gpgsig' ||
            echo "- Commits must have verified signatures." ;;
        *)
          case $(git log -1 --format=%ae "$commit") in *"$pattern") ;; *)
            echo "- Author email must end with a matching pattern: $pattern" ;; esac ;;
      esac
    done
  done | sort -u)
  if [ -n "$broken" ]; then
    printf 'error: GH013: Repository rule violations found for %s.\\n%s\\n' \\
      "$ref" "$broken" >&2; exit 1
  fi
  [ "$FORGE_WORKFLOWS" = yes ] && continue
  touched=$(git rev-list "$new" --not --all |
    git diff-tree --stdin -r -m --root --name-only --no-commit-id -- .github/workflows)
  if [ -n "$touched" ]; then
    echo "refusing to allow a GitHub App to create or update workflow" \\
      "\\`$(echo "$touched" | head -n 1)\\` without \\`workflows\\` permission" >&2
    exit 1
  fi
  case $old in *[!0]*) continue ;; esac
  files=$(git rev-parse -q --verify "$new:.github/workflows" || true)
  newest=$(git rev-parse -q --verify "$FORGE_DEFAULT:.github/workflows" || true)
  if [ -n "$files" ] && [ "$files" != "$newest" ]; then
    echo "refusing to allow a GitHub App to create or update workflow" \\
      "\\`$(git diff --name-only "$FORGE_DEFAULT" "$new" -- .github/workflows |
        head -n 1)\\` without \\`workflows\\` permission" >&2
    exit 1
  fi
done
"""


def environment() -> dict[str, str]:
    """Return an environment in which nobody's Git settings count."""
    return {**os.environ, **CLEAN}


def git(
    path: Path, *args: str, check: bool = True, by: Person | None = None, data: str = ""
) -> str:
    """Run git in a repository and return what it printed, stripped.

    Raises:
        Refusal: 422 with git's words, when ``check`` is set and git fails.
    """
    env = environment()
    if by:
        mail = f"{by.id}+{by.login}@users.noreply.github.com"
        env |= {"GIT_AUTHOR_NAME": by.login, "GIT_AUTHOR_EMAIL": mail}
        env |= {"GIT_COMMITTER_NAME": "GitHub", "GIT_COMMITTER_EMAIL": mail}
    process = subprocess.run(
        ("git", *args), cwd=path, env=env, capture_output=True, input=data.encode()
    )
    if check and process.returncode:
        raise Refusal(422, process.stderr.decode(errors="replace").strip())
    if process.returncode:
        return ""
    return process.stdout.decode(errors="replace").strip()


def create(path: Path, source: Path | None = None) -> None:
    """Make a bare repository, empty or a copy of another's branches and tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    git(path.parent, "init", "-q", "--bare", "-b", "main", str(path))
    for key in ("http.receivepack", "uploadpack.allowAnySHA1InWant"):
        git(path, "config", key, "true")
    # Its readers are on this machine: packing tables tightly costs more than it saves.
    settings = {
        "gc.auto": "0",
        "core.compression": "0",
        "core.bigFileThreshold": "100k",
    }
    for key, value in settings.items():
        git(path, "config", key, value)
    hook = path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    if source:
        git(path, "fetch", "-q", str(source), "refs/heads/*:refs/heads/*", "--tags")


def sha(path: Path, ref: str) -> str:
    """Return the commit of a ref, branch, tag or (short) hash, or nothing."""
    return git(path, "rev-parse", "-q", "--verify", f"{ref}^{{commit}}", check=False)


def show(path: Path, commit: str, name: str) -> bytes | None:
    """Return a file's bytes at a commit, or None."""
    process = subprocess.run(
        ("git", "cat-file", "blob", f"{commit}:{name}"),
        cwd=path, env=environment(), capture_output=True,
    )  # fmt: skip
    return None if process.returncode else process.stdout


def other_workflows(path: Path, commit: str, branch: str) -> bool:
    """Return whether a commit has workflow files, and others than a branch's."""
    refs = (f"{commit}:.github/workflows", f"refs/heads/{branch}:.github/workflows")
    args = ("rev-parse", "-q", "--verify")
    files, newest = (git(path, *args, ref, check=False) for ref in refs)
    return files not in ("", newest)


def contains(path: Path, commit: str, ancestor: str) -> bool:
    """Return whether ``ancestor`` is in the history of ``commit``."""
    return not git(path, "rev-list", "-n", "1", ancestor, f"^{commit}", check=False)


def merge(path: Path, base: str, head: str, by: Person, message: str) -> str | None:
    """Return a merge commit that no ref names yet, or None on conflicts."""
    tree = git(path, "merge-tree", "--write-tree", base, head, check=False)
    return (tree and commit_tree(path, tree, [base, head], by, message)) or None


def commit_tree(
    path: Path, tree: str, parents: list[str], by: Person, message: str
) -> str:
    """Return a new commit."""
    links = [argument for parent in parents for argument in ("-p", parent)]
    return git(path, "commit-tree", tree, *links, by=by, data=message)


def rebase(path: Path, base: str, head: str, by: Person) -> str | None:
    """Return the last of the head's commits replayed on the base, or None."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        git(path, "worktree", "add", "-q", "--detach", str(work), head)
        try:
            git(work, "rebase", "-q", "--force-rebase", base, by=by)
            return git(work, "rev-parse", "HEAD")
        except Refusal:
            return None
        finally:
            git(path, "worktree", "remove", "--force", str(work))


def write_file(
    path: Path, parent: str, name: str, content: bytes, by: Person, message: str
) -> str:
    """Return a commit that changes one file of its parent."""
    with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory() as folder:
        Path(file.name).write_bytes(content)
        blob = git(path, "hash-object", "-w", file.name)
        index = {**environment(), "GIT_INDEX_FILE": f"{folder}/index"}
        mode = git(path, "ls-tree", parent, "--", name)[:6] or "100644"
        for args in (
            ("read-tree", parent),
            ("update-index", "--add", "--cacheinfo", f"{mode},{blob},{name}"),
        ):
            subprocess.run(("git", *args), cwd=path, env=index, check=True)
        process = subprocess.run(
            ("git", "write-tree"), cwd=path, env=index, check=True, capture_output=True
        )
    return commit_tree(path, process.stdout.decode().strip(), [parent], by, message)


def commit(path: Path, ref: str) -> dict[str, str | list[str]]:
    """Return sha, tree, parents, names, mails, dates and message of a commit."""
    layout = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
    text = git(path, "show", "-s", f"--format={layout}", ref)
    keys = "sha tree parents an ae ad cn ce cd message".split()
    fields: dict[str, str | list[str]] = dict(zip(keys, text.split("\0"), strict=True))
    fields["parents"] = str(fields["parents"]).split()
    return fields
