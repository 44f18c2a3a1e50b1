"""Sets the repository up on GitHub, as far as its plan and your rights allow.

    python -m mlgitops github        (make github)

It creates rulesets, environments and labels, and allows Actions to open pull requests.
What GitHub refuses is listed, with what that weakens. A second run changes nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgitops import github
from mlgitops.commands.expected import expected_errors
from mlgitops.release.environments import CHAMPION, RESERVED, names

RULESETS = Path(__file__).parent.parent / "rulesets"
LABELS = {"retraining": "0e8a16", "rollback": "d93f0b"}
MAIN_ONLY = {"protected_branches": False, "custom_branch_policies": True}
PLAN = (403, 404, 422)  # the statuses when plan or rights do not allow it


def main() -> None:
    """Set up every part and print the result; exit 1 if one was refused."""
    parts: tuple[tuple[str, Callable[[], str], str], ...] = (
        (
            "rulesets",
            rulesets,
            "main is not protected; `deploy` refuses unjudged bytes",
        ),
        ("environments", environments, "production waits for a dispatch of `deploy`"),
        ("pull requests by Actions", pull_requests, "workflows print a link instead"),
        ("labels", labels, "pull requests made by workflows carry no label"),
    )
    refused = 0
    with expected_errors():
        for name, set_up, weaker in parts:
            try:
                print(f"ok       {name}: {set_up()}")
            except github.GitHubError as error:
                if error.status not in PLAN:
                    raise
                refused += 1
                print(f"refused  {name}: {weaker} ({error})")
    if refused:
        raise SystemExit(
            f"{refused} of {len(parts)} refused; `make doctor` lists what is missing"
        )


def rulesets() -> str:
    """Create the rulesets that do not exist yet, by name."""
    created = []
    for ruleset in absent_rulesets():
        created.append(str(ruleset["name"]) + _relaxed(ruleset))
        github.api("rulesets", "POST", ruleset)
    return f"created {'; '.join(created)}" if created else "already exist"


def absent_rulesets() -> list[dict[str, Any]]:
    """Return the rulesets of mlgitops that GitHub lacks, by name."""
    present = {str(ruleset["name"]) for ruleset in github.pages("rulesets")}
    files = sorted(RULESETS.glob("*.json"))
    rulesets = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [ruleset for ruleset in rulesets if ruleset["name"] not in present]


def _relaxed(rules: dict[str, Any]) -> str:
    """Drop the required review where nobody else can give one; return a note."""
    reviews = [rule for rule in rules["rules"] if rule["type"] == "pull_request"]
    if not reviews or not alone():
        return ""
    for rule in reviews:
        rule["parameters"]["required_approving_review_count"] = 0
        rule["parameters"]["require_code_owner_review"] = False
    return (
        " (without a required review, as you are the only member: delete the ruleset "
        "and run this again when somebody joins)"
    )


def alone() -> bool:
    """Tell whether only one person may push here."""
    try:
        collaborators = github.pages("collaborators")
    except github.GitHubError:
        return False
    pushers = [p for p in collaborators if p.get("permissions", {}).get("push")]
    return len(pushers) == 1


def environments() -> str:
    """Create the environments; production waits for you where the plan allows it."""
    guarded = {str(e["name"]) for e in on_github() if _guarded(e)}
    listed = (*RESERVED, *names())
    refusals = [_create(name) for name in listed if name not in guarded]
    if not any(e["name"] == CHAMPION and _guarded(e) for e in on_github()):
        by_dispatch()
    if refusal := next(filter(None, refusals), None):
        raise refusal
    return f"{', '.join(listed)}; production waits for a reviewer"


def _create(name: str) -> github.GitHubError | None:
    """Create an environment with the rules that the plan allows; return a refusal.

    It is created without branch rules, too: otherwise nothing could be deployed.
    """
    path, main = f"environments/{name}", {"name": "main", "type": "branch"}
    you = None
    if name == CHAMPION:
        you = [{"type": "User", "id": github.api("/user")["id"]}]
    refusals = []
    without_reviewers = [(None, None)] if you else []
    for policy, reviewers in [(MAIN_ONLY, you), (None, you), *without_reviewers]:
        fields = {"deployment_branch_policy": policy, "reviewers": reviewers}
        try:
            github.api(path, "PUT", fields)
            if policy:
                github.api(f"{path}/deployment-branch-policies", "POST", main)
            break
        except github.GitHubError as error:
            if error.status not in PLAN:
                raise
            refusals.append(error)
    return refusals[1] if refusals[1:] else None


def by_dispatch() -> None:
    """Let production wait for a dispatch of `deploy`, unless that is already set."""
    variable = {"name": "PRODUCTION_BY_DISPATCH", "value": "true"}
    try:
        github.api("actions/variables", "POST", variable)
    except github.GitHubError as error:
        if error.status not in (*PLAN, 409):  # 409: already exists
            raise


def _guarded(environment: dict[str, Any]) -> bool:
    """Tell whether an environment has its rules: a workflow creates it without any."""
    kinds = [rule["type"] for rule in environment.get("protection_rules") or []]
    return environment["name"] != CHAMPION or "required_reviewers" in kinds


def on_github() -> list[dict[str, Any]]:
    """Return the environments on GitHub."""
    return list((github.api("environments") or {}).get("environments") or [])


def pull_requests() -> str:
    """Allow Actions to open pull requests, which GitHub forbids by default."""
    path = "actions/permissions/workflow"
    permissions = github.api(path)
    if permissions.get("can_approve_pull_request_reviews"):
        return "already allowed"
    fields = {
        "default_workflow_permissions": "read",
        "can_approve_pull_request_reviews": True,
    }
    github.api(path, "PUT", fields, raw=True)
    return "allowed"


def labels() -> str:
    """Create the labels that workflows put on pull requests."""
    for name, color in LABELS.items():
        try:
            github.api("labels", "POST", {"name": name, "color": color})
        except github.GitHubError as error:
            if error.status != 422:  # 422: already exists
                raise
    return ", ".join(LABELS)
