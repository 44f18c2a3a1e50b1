"""What a reviewer has to look at beside the numbers, changes of the judge first."""

from pathlib import Path

from mlgitops import git, heartbeat, report, settings
from mlgitops.judge import identity, proposal
from mlgitops.judge.verdict import Facts
from mlgitops.ledger import Ledger
from mlgitops.settings import SettingsError


def built(
    changed: list[str], base: str, read: identity.Read, ledger: Ledger
) -> list[str]:
    """Return what a reviewer has to look at beside the numbers."""
    lines = _judging(changed, read("params.yaml"))
    if base != git.run("rev-parse", "HEAD"):
        lines.append("Main has moved on since it was built: update the branch.")
    if late := heartbeat.late(ledger):
        lines.append(f"{late[0].upper()}{late[1:]}.")
    return lines


def unbuilt(found: proposal.Proposal) -> list[str]:
    """Return what a proposal that has no model changes of its judge, if git knows."""
    head = found.head_sha
    try:
        spec = f"refs/pull/{found.number}/head"
        git.remote_run("fetch", "-q", "--no-tags", "origin", spec)
        base = git.run("merge-base", "HEAD", head)
        changed = git.run("diff", "--name-only", base, head).splitlines()
    except git.GitError:
        return []
    params = (git.show(commit, "params.yaml") for commit in (head, base))
    return _judging(changed, *params)


def _judging(
    changed: list[str], proposed: bytes | None, ours: bytes | None = None
) -> list[str]:
    """Name what a proposal changes of the rules that it is judged by."""
    files = judge_changes(changed) + settings_changed(proposed, ours)
    if files:
        named = ", ".join(map(report.code, files[:10]))
        more = f" and {len(files) - 10} more" if len(files) > 10 else ""
        return [
            f"**It changes what judges it:** {named}{more}. Main's rules judged it "
            "all the same; the owner has to agree to the change itself."
        ]
    return []


def judge_changes(paths: list[str]) -> list[str]:
    """Return those of the changed files that say what is good or how it is judged."""
    whole = {
        "contract.yaml",
        "behaviour.yaml",
        "CODEOWNERS",
        ".dvc/config",
        "dvc.yaml",
        "model/metrics.py",
        "model/prepare.py",
        "signing.pub",
    }
    folders = ("mlgitops/", ".github/", "requirements/")
    return [path for path in paths if path in whole or path.startswith(folders)]


def settings_changed(proposed: bytes | None, ours: bytes | None = None) -> list[str]:
    """Return the sections of params.yaml that rule the judge and are not main's."""
    mains, theirs = map(_parsed, (ours or Path("params.yaml").read_bytes(), proposed))
    sections = ("gates", "prepare", "evaluate", "business", "fairness", "override")
    return [f"params.yaml: {s}" for s in sections if mains.get(s) != theirs.get(s)]


def _parsed(text: bytes | None) -> Facts:
    """Return a stranger's params.yaml; what is no mapping has no sections."""
    try:
        return settings.load(text or b"")
    except SettingsError:
        return {}
