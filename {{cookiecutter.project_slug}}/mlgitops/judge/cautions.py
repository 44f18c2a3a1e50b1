"""What a reviewer has to look at beside the numbers, changes of the judge first."""

from pathlib import Path

from mlgitops import git, heartbeat, report, settings
from mlgitops.judge import identity
from mlgitops.judge.proposal import Proposal, fetch_head
from mlgitops.ledger import Ledger

FILES = {  # that say what is good or how it is judged
    "contract.yaml",
    "behaviour.yaml",
    "CODEOWNERS",
    ".dvc/config",
    "dvc.yaml",
    "signing.pub",
}
FOLDERS = ("mlgitops/", ".github/", "model/", "requirements/")
TRAINING = {"model/estimator.py", "model/features.py"}  # judged by what they give
SECTIONS = ("gates", "prepare", "evaluate", "business", "fairness", "override")


def built(
    changed: list[str], base: str, read_file: identity.ReadFile, ledger: Ledger
) -> list[str]:
    """Return what a reviewer has to look at beside the numbers."""
    cautions = _judge_changed(changed, read_file("params.yaml"))
    cautions += training_changed(changed)
    if base != git.run("rev-parse", "HEAD"):
        cautions.append("Main has moved on since it was built: update the branch.")
    if late := heartbeat.late(ledger):
        cautions.append(f"{late[0].upper()}{late[1:]}.")
    return cautions


def unbuilt(proposal: Proposal) -> list[str]:
    """Return what a proposal without a model changes of its judge, if git can tell."""
    head = proposal.head_sha
    try:
        fetch_head(proposal.number)
        base = git.run("merge-base", "HEAD", head)
        changed = git.run("diff", "--name-only", base, head).splitlines()
    except git.GitError:
        return []
    params = (git.show(commit, "params.yaml") for commit in (head, base))
    return _judge_changed(changed, *params)


def _judge_changed(
    changed: list[str], proposed: bytes | None, main: bytes | None = None
) -> list[str]:
    """Name what a proposal changes of the rules that it is judged by."""
    names = judge_changes(changed) + settings_changed(proposed, main)
    if not names:
        return []
    listed = ", ".join(map(report.code, names[:10]))
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [
        f"**It changes what judges it:** {listed}{more}. Main's rules judged it "
        "all the same; the owner has to agree to the change itself."
    ]


def judge_changes(paths: list[str]) -> list[str]:
    """Return those of the changed files that say what is good or how it is judged."""
    judges = (p for p in paths if p in FILES or p.startswith(FOLDERS))
    return [path for path in judges if path not in TRAINING]


def training_changed(paths: list[str]) -> list[str]:
    """Name what a proposal changes of the code that fits the model."""
    names = [path for path in paths if path in TRAINING]
    if not names:
        return []
    return [
        f"**It changes the code that trains:** {', '.join(map(report.code, names))}. "
        "In CI its stage sees the training rows and no other data, if `dvc.yaml` names "
        "none for it; read what it does."
    ]


def settings_changed(proposed: bytes | None, main: bytes | None = None) -> list[str]:
    """Return the sections of params.yaml that rule the judge and are not main's."""
    texts = (main or Path("params.yaml").read_bytes(), proposed)
    current, changed = map(_sections, texts)
    differing = (name for name in SECTIONS if current.get(name) != changed.get(name))
    return [f"params.yaml: {name}" for name in differing]


def _sections(text: bytes | None) -> settings.Params:
    """Return a stranger's params.yaml; what is not a mapping has no sections."""
    try:
        return settings.load(text or b"")
    except settings.SettingsError:
        return {}
