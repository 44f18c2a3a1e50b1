"""Sets the repository up on GitHub, as far as its plan and your rights allow.

    python -m mlgitops github        (make github)

Rulesets, environments, the permission for Actions to open pull requests, labels. What
GitHub refuses is said, with what it weakens; running it again changes nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgitops import git, github
from mlgitops.release import ReleaseError
from mlgitops.release.environments import CHAMPION, RESERVED, names

RULESETS = Path(__file__).parent.parent / "rulesets"
LABELS = {"retraining": "0e8a16", "rollback": "d93f0b"}
MAIN_ONLY = {"protected_branches": False, "custom_branch_policies": True}
PLAN = (403, 404, 422)  # what GitHub answers when plan or rights do not allow it


def main() -> None:
    """Do every part and say how each went; exit 1 if one was refused."""
    parts: tuple[tuple[str, Callable[[], str], str], ...] = (
        (
            "rulesets",
            rulesets,
            "main is not protected by GitHub; `deploy` still refuses what was not "
            "validated",
        ),
        (
            "environments",
            environments,
            "no approvals: production waits for `gh workflow run deploy.yml` instead",
        ),
        (
            "pull requests by Actions",
            pull_requests,
            "retraining and rollback push their branch and print a link instead",
        ),
        ("labels", labels, "pull requests made by workflows carry no label"),
    )
    refused = 0
    for name, do, weaker in parts:
        try:
            print(f"ok       {name}: {do()}")
        except github.GitHubError as error:
            if error.status not in PLAN:
                raise SystemExit(str(error)) from error
            refused += 1
            print(f"refused  {name}: {weaker} ({error})")
        except (git.GitError, ReleaseError) as error:
            raise SystemExit(str(error)) from error
    if refused:
        raise SystemExit(f"{refused} of {len(parts)} refused; `make doctor` tells more")


def rulesets() -> str:
    """Create the rulesets that are not there, by name."""
    there = {str(one["name"]) for one in github.pages("rulesets")}
    made = []
    for file in sorted(RULESETS.glob("*.json")):
        rules = json.loads(file.read_text(encoding="utf-8"))
        if rules["name"] not in there:
            made.append(str(rules["name"]) + _relaxed(rules))
            github.api("rulesets", "POST", rules)
    return f"made {'; '.join(made)}" if made else "there already"


def _relaxed(rules: dict[str, Any]) -> str:
    """Ask for no review where nobody else could give one; return the words for it."""
    reviews = [rule for rule in rules["rules"] if rule["type"] == "pull_request"]
    if not reviews or not alone():
        return ""
    for rule in reviews:
        rule["parameters"]["required_approving_review_count"] = 0
        rule["parameters"]["require_code_owner_review"] = False
    return " (without a review, as you are alone: delete it when somebody joins)"


def alone() -> bool:
    """Tell whether one person only may push here."""
    try:
        found = github.pages("collaborators")
    except github.GitHubError:
        return False
    return sum(bool(one.get("permissions", {}).get("push")) for one in found) == 1


def environments() -> str:
    """Create the environments; production waits for you where the plan allows it."""
    there = {str(e["name"]) for e in _environments() if _guarded(e)}
    refused: github.GitHubError | None = None
    wanted = (*RESERVED, *names())
    for name in wanted:
        if name in there:
            continue
        fields: dict[str, Any] = {"deployment_branch_policy": MAIN_ONLY}
        if name == CHAMPION:
            you = {"type": "User", "id": github.api("/user")["id"]}
            fields["reviewers"] = [you]
        try:
            github.api(f"environments/{name}", "PUT", fields)
            main = {"name": "main", "type": "branch"}
            github.api(f"environments/{name}/deployment-branch-policies", "POST", main)
        except github.GitHubError as error:
            if error.status not in PLAN:
                raise
            # without a rule for branches, or nothing could be deployed at all
            kept = {"reviewers": fields.get("reviewers")}
            refused = _bare(name, {**kept, "deployment_branch_policy": None}) or refused
    if not any(e["name"] == CHAMPION and _guarded(e) for e in _environments()):
        by_dispatch()
    if refused:
        raise refused
    return f"{', '.join(wanted)}; production waits for a reviewer"


def by_dispatch() -> None:
    """Let production wait for a dispatch of `deploy`, unless that is set already."""
    variable = {"name": "PRODUCTION_BY_DISPATCH", "value": "true"}
    try:
        github.api("actions/variables", "POST", variable)
    except github.GitHubError as error:
        if error.status not in (*PLAN, 409):  # 409 is GitHub's word for "there already"
            raise


def _guarded(place: dict[str, Any]) -> bool:
    """Tell whether an environment is as it should be: a first run makes a bare one."""
    kinds = [rule["type"] for rule in place.get("protection_rules") or []]
    return place["name"] != CHAMPION or "required_reviewers" in kinds


def _bare(name: str, fields: dict[str, Any]) -> github.GitHubError | None:
    """Create an environment with what the plan allows; return what it refused."""
    try:
        github.api(f"environments/{name}", "PUT", fields)
    except github.GitHubError as error:
        if error.status not in PLAN:
            raise
        if fields["reviewers"]:
            _bare(name, {"reviewers": None, "deployment_branch_policy": None})
        return error
    return None


def _environments() -> list[dict[str, Any]]:
    """Return the environments that are there."""
    return list((github.api("environments") or {}).get("environments") or [])


def pull_requests() -> str:
    """Allow Actions to open pull requests, which GitHub forbids at first."""
    place = "actions/permissions/workflow"
    now = github.api(place)
    if now.get("can_approve_pull_request_reviews"):
        return "allowed already"
    fields = {
        "default_workflow_permissions": "read",
        "can_approve_pull_request_reviews": True,
    }
    github.api(place, "PUT", fields, raw=True)
    return "allowed"


def labels() -> str:
    """Create the labels that workflows put on pull requests."""
    for name, color in LABELS.items():
        try:
            github.api("labels", "POST", {"name": name, "color": color})
        except github.GitHubError as error:
            if error.status != 422:  # 422 is GitHub's word for "there already"
                raise
    return ", ".join(LABELS)
