"""Sets the repository up on GitHub, as far as its plan and your rights allow.

    python -m mlgitops github        (make github)

It creates rulesets, environments and labels, and allows Actions to open pull requests.
What GitHub refuses is listed, with what that weakens. A second run changes nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgitops import github, registered_runners, runners
from mlgitops.commands.expected import expected_errors
from mlgitops.commands.logins import lacking
from mlgitops.release import MAIN
from mlgitops.release.environments import CHAMPION, RESERVED, names

RULESETS = Path(__file__).parent.parent / "rulesets"
LABELS = {"retraining": "0e8a16", "rollback": "d93f0b"}
MAIN_ONLY = {"protected_branches": False, "custom_branch_policies": True}
# the statuses when the plan, the rights or the organisation do not allow it
PLAN = (403, 404, 409, 422)


def main() -> None:
    """Set up every part and print the result; exit 1 if one was refused."""
    parts: tuple[tuple[str, Callable[[], str], str], ...] = (
        (
            "rulesets",
            rulesets,
            "main is not protected; `deploy` refuses unjudged bytes",
        ),
        ("environments", environments, "its rules are weaker: `make doctor` says how"),
        ("pull requests by Actions", pull_requests, "workflows print a link instead"),
        ("labels", labels, "pull requests made by workflows carry no label"),
    )
    refused = 0
    with expected_errors():
        for name, set_up, weaker in parts:
            try:
                print(f"ok       {name}: {set_up()}")
            except Weaker as what_follows:
                refused += 1
                print(f"refused  {name}: {what_follows}")
            except github.GitHubError as error:
                if error.status not in PLAN:
                    raise
                refused += 1
                print(f"refused  {name}: {weaker} ({error})")
        if problem := lacking_owner():
            print(f"weaker   code owners: {problem}")
        for problem in without_login():
            print(f"missing  login to storage: {problem}")
        for problem in runner_problems():
            print(f"weaker   runners: {problem}")
    if refused:
        raise SystemExit(
            f"{refused} of {len(parts)} refused; `make doctor` lists what is missing"
        )


@github.repeated
def rulesets() -> str:
    """Create the rulesets that do not exist yet, by name."""
    created = []
    for ruleset in absent_rulesets():
        created.append(str(ruleset["name"]) + _relaxed(ruleset))
        github.api("rulesets", "POST", ruleset)
    return f"created {'; '.join(created)}" if created else "already exist"


def absent_rulesets() -> list[dict[str, Any]]:
    """Return the rulesets of mlgitops that GitHub lacks, by name."""
    present = {str(ruleset["name"]) for ruleset in own_rulesets()}
    return [ruleset for ruleset in wanted_rulesets() if ruleset["name"] not in present]


def disabled_rulesets() -> list[str]:
    """Return the names of the rulesets of mlgitops that somebody has switched off."""
    wanted = {str(ruleset["name"]) for ruleset in wanted_rulesets()}
    off = [r for r in own_rulesets() if r.get("enforcement", "active") != "active"]
    return sorted(str(r["name"]) for r in off if r["name"] in wanted)


def wanted_rulesets() -> list[dict[str, Any]]:
    """Return the rulesets that come with mlgitops."""
    files = sorted(RULESETS.glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def own_rulesets() -> list[dict[str, Any]]:
    """Return the repository's own rulesets: an organisation's may be named the same."""
    return github.pages("rulesets", {"includes_parents": "false"})


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
    return len(pushers()) == 1


def pushers() -> list[str]:
    """Return who may push here; nobody where GitHub does not tell."""
    try:
        collaborators = github.pages("collaborators")
    except github.GitHubError:
        return []
    return [
        str(person.get("login"))
        for person in collaborators
        if person.get("permissions", {}).get("push")
    ]


def without_login() -> list[str]:
    """Return which logins to storage GitHub lacks; none where it does not tell."""
    try:
        return lacking()
    except github.GitHubError as error:
        if error.status not in PLAN:
            raise
        return []


def runner_problems() -> list[str]:
    """Return what is wrong with the runners; nothing where GitHub does not tell."""
    try:
        variables = github.variables()
    except github.GitHubError as error:
        if error.status not in PLAN:
            raise
        return []
    own = runners.own_labels(variables)
    problems = [*runners.unknown(variables), *runners.unseen(own)]
    if own:
        present, _ = registered_runners.listed()
        problems += runners.shared(own, present)
        problems += runners.weaknesses(own, present)
    return problems


class Weaker(Exception):
    """The plan lacks some of what was to be set up; the message says what follows."""


def lacking_owner() -> str:
    """Return why nobody could agree to some change of what judges, or nothing."""
    text = Path("CODEOWNERS").read_text(encoding="utf-8")
    try:
        errors = github.api("codeowners/errors", fields={"ref": MAIN})["errors"]
    except github.GitHubError as error:
        if error.status not in PLAN:
            raise
        return f"GitHub does not check CODEOWNERS: {error}"
    if errors:
        line = str(errors[0]["source"]).strip()
        return (
            f"GitHub takes no owner from line {errors[0]['line']} of CODEOWNERS "
            f"({' '.join(line.split())}), so these files have none: name people, or a "
            "team as @organisation/team, who may push here (an organisation itself "
            "cannot own code)"
        )
    owners = {o for line in text.splitlines() for o in line.split("#")[0].split()[1:]}
    known = {owner.lower() for owner in owners}
    others = [f"@{name}" for name in pushers() if f"@{name}".lower() not in known]
    if len(owners) != 1 or "/" in min(owners) or not others:
        return ""
    owner = min(owners)
    return (
        f"{owner} is the only code owner, so nobody can agree to what {owner} itself "
        f"proposes there: let {others[0]} propose a CODEOWNERS that names {others[0]} "
        f"beside {owner} on each line, and {owner} approve it; then each agrees to "
        "what the other proposes"
    )


def environments() -> str:
    """Close the environments to all branches but main; production waits for you.

    What the plan does not allow is left out, and told when the rest is done.

    Raises:
        Weaker: the plan lacks a rule, and what follows.
    """
    present = {str(each["name"]): each for each in on_github()}
    listed = (*RESERVED, *names())
    lacks = {rule for name in listed for rule in _protect(name, present.get(name))}
    if "reviewers" in lacks:
        by_dispatch()
    if "branches" in lacks:
        raise Weaker(NO_BRANCHES)
    if lacks:
        raise Weaker("production waits for a dispatch of `deploy`: the plan has no "
                     "required reviewers")  # fmt: skip
    return f"{', '.join(listed)}: for {MAIN} only; production waits for a reviewer"


NO_BRANCHES = (
    "production waits for a dispatch of `deploy`, and a workflow on any branch can use "
    "each environment, or the plan has none at all: keep no login or key in secrets "
    "here that may not be read by everybody who may push"
)


def _protect(name: str, present: dict[str, Any] | None) -> set[str]:
    """Give an environment the rules that the plan allows; return what it lacks.

    What somebody else has set there, such as other reviewers, is kept. It is created
    without rules, too: otherwise nothing could be deployed.
    """
    path, rules = f"environments/{name}", kept(present)
    if name == CHAMPION and not rules["reviewers"]:
        rules["reviewers"] = [{"type": "User", "id": github.api("/user")["id"]}]
    elif present and open_to(present) == [MAIN]:
        return set()
    branches = {**rules, "deployment_branch_policy": MAIN_ONLY}
    wanted: list[tuple[dict[str, Any], set[str]]] = [
        (branches, set()),
        ({"deployment_branch_policy": MAIN_ONLY}, {"reviewers"}),
        (rules, {"branches"}),
        ({"deployment_branch_policy": None}, {"branches", "reviewers"}),
    ]
    for fields, lacks in wanted:
        try:
            github.api(path, "PUT", fields)
            if fields.get("deployment_branch_policy"):
                _only_main(path)
            return lacks if name == CHAMPION else lacks - {"reviewers"}
        except github.GitHubError as error:
            if error.status not in PLAN:
                raise
    return {"branches", "reviewers"}


def kept(present: dict[str, Any] | None) -> dict[str, Any]:
    """Return the rules that an environment has, as GitHub wants to be told them."""
    rules: dict[str, Any] = {"reviewers": None}
    for rule in (present or {}).get("protection_rules") or []:
        if rule["type"] == "wait_timer":
            rules["wait_timer"] = rule["wait_timer"]
        elif rule["type"] == "required_reviewers":
            rules["prevent_self_review"] = bool(rule.get("prevent_self_review"))
            rules["reviewers"] = [
                {"type": each["type"], "id": each["reviewer"]["id"]}
                for each in rule.get("reviewers") or []
            ]
    return rules


def _only_main(path: str) -> None:
    """Let main deploy to an environment, and no other branch or tag."""
    policies = f"{path}/deployment-branch-policies"
    present = github.entries(policies, "branch_policies")
    if not any(_is_main(policy) for policy in present):
        github.api(policies, "POST", {"name": MAIN, "type": "branch"})
    for policy in present:
        if not _is_main(policy):
            github.remove(f"{policies}/{policy['id']}")


def _is_main(policy: dict[str, Any]) -> bool:
    """Tell whether a policy of an environment lets in main."""
    return (policy["name"], policy.get("type", "branch")) == (MAIN, "branch")


def open_to(environment: dict[str, Any]) -> list[str]:
    """Return the branches that may deploy to an environment; "*" is any branch."""
    policy = environment.get("deployment_branch_policy") or {}
    if not policy.get("custom_branch_policies"):
        return ["*"]
    path = f"environments/{environment['name']}/deployment-branch-policies"
    policies = github.entries(path, "branch_policies")
    return sorted(MAIN if _is_main(p) else str(p["name"]) for p in policies)


@github.repeated
def by_dispatch() -> None:
    """Let production wait for a dispatch of `deploy`, unless that is already set."""
    variable = {"name": "PRODUCTION_BY_DISPATCH", "value": "true"}
    try:
        github.api("actions/variables", "POST", variable)
    except github.GitHubError as error:
        if error.status not in (*PLAN, 409):  # 409: already exists
            raise


def on_github() -> list[dict[str, Any]]:
    """Return the environments on GitHub."""
    return github.entries("environments", "environments")


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


@github.repeated
def labels() -> str:
    """Create the labels that workflows put on pull requests."""
    for name, color in LABELS.items():
        try:
            github.api("labels", "POST", {"name": name, "color": color})
        except github.GitHubError as error:
            if error.status != 422:  # 422: already exists
                raise
    return ", ".join(LABELS)
