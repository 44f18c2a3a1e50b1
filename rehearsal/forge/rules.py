"""Who may push where, and what a pull request needs before it is merged."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from . import git, owners
from .state import Issue, Json, Person, Pull, Repository, Token, Update

GOOD = ("success", "skipped", "neutral")
# The rules that the forge holds; a merge queue is only told, as nothing here uses one.
KNOWN = {
    "deletion", "non_fast_forward", "creation", "update", "pull_request",
    "required_status_checks", "required_signatures", "commit_author_email_pattern",
    "merge_queue",
}  # fmt: skip
ADMIN_ROLE = 5  # GitHub's number of the role "admin" in bypass_actors


def may_change_workflows(token: Token | None) -> bool:
    """Return whether a token may push changes below .github/workflows."""
    if token is None or token.permissions is None:
        return token is not None
    return token.permissions.get("workflows") == "write"


def active(repository: Repository, ref: str) -> Iterator[tuple[Json, Json]]:
    """Yield (ruleset, rule) for every rule in force on a ref."""
    for ruleset in repository.rulesets:
        prefix = f"refs/{'tags' if ruleset['target'] == 'tag' else 'heads'}/"
        names = ruleset["conditions"].get("ref_name", {})
        if ruleset["enforcement"] != "active" or not ref.startswith(prefix):
            continue
        include, exclude = names.get("include", []), names.get("exclude", [])
        if _any(repository, include, ref) and not _any(repository, exclude, ref):
            yield from ((ruleset, rule) for rule in ruleset["rules"])


def _any(repository: Repository, patterns: list[str], ref: str) -> bool:
    """Return whether one of a ruleset's patterns matches a ref."""
    default = f"refs/heads/{repository.default_branch}"
    return any(
        pattern == "~ALL"
        or (pattern == "~DEFAULT_BRANCH" and ref == default)
        or fnmatchcase(ref, pattern)
        for pattern in patterns
    )


def bypasses(repository: Repository, token: Token, ruleset: Json) -> bool:
    """Return whether a ruleset lets this token past (bypass_actors)."""
    for actor in ruleset.get("bypass_actors") or []:
        kind, number = actor["actor_type"], actor.get("actor_id")
        admin = token.permissions is None and repository.role(token.person) == "admin"
        if kind == "OrganizationAdmin" or (kind, number) == (
            "RepositoryRole",
            ADMIN_ROLE,
        ):
            if admin:
                return True
        if kind == "Integration" and number == token.app:
            return True
    return False


def refuse_push(repository: Repository, token: Token | None, update: Update) -> str:
    """Return why a push may not move a ref, or nothing.

    ``refs/pull`` belongs to the forge. A rule names the ref as GitHub does (GH013).
    """
    if update.ref.startswith("refs/pull/"):
        return f"GH003: {update.ref} is read-only"
    for ruleset, rule in active(repository, update.ref):
        if token and bypasses(repository, token, ruleset):
            continue
        if sentence := _broken(repository, rule, update):
            return (
                f"GH013: Repository rule violations found for {update.ref}. {sentence}"
            )
    return ""


def _broken(repository: Repository, rule: Json, update: Update) -> str:
    """Return the sentence of a rule that a push breaks, or nothing."""
    created, deleted = update.before == git.ZERO, update.after == git.ZERO
    kind = rule["type"]
    if kind == "creation" and created:
        return "Cannot create ref due to creations being restricted."
    if kind == "deletion" and deleted:
        return "Cannot delete this protected ref."
    if kind == "update" and not created and not deleted:
        return "Cannot update this protected ref."
    if kind == "pull_request" and not created:
        return "Changes must be made through a pull request."
    if kind == "required_status_checks" and not created and not deleted:
        required = rule["parameters"]["required_status_checks"]
        states = [check(repository, update.after, c) for c in required]
        if any(s != "success" for s in states):
            return f"{len(required)} required status checks are expected."
    return ""


def forward_only(repository: Repository, token: Token | None, ref: str) -> bool:
    """Return whether a push may only add commits to a ref, never drop any."""
    return any(
        rule["type"] == "non_fast_forward"
        and not (token and bypasses(repository, token, ruleset))
        for ruleset, rule in active(repository, ref)
    )


def commit_rules(
    repository: Repository, token: Token | None, pushed: list[Update]
) -> str:
    """Return the rules about new commits, one on each line: ref, type, pattern.

    Only Git sees the commits, so the hook holds them.
    """
    lines = []
    for update in pushed:
        for ruleset, rule in active(repository, update.ref):
            if rule["type"] == "required_signatures":
                pattern = "-"
            elif rule["type"] == "commit_author_email_pattern":
                pattern = rule["parameters"]["pattern"]
            else:
                continue
            if not (token and bypasses(repository, token, ruleset)):
                lines.append(f"{update.ref} {rule['type']} {pattern}")
    return "\n".join(lines)


def unknown(rule: Json) -> str:
    """Return what of a rule the forge does not know, or nothing."""
    if rule["type"] not in KNOWN:
        return str(rule["type"])
    operator = (rule.get("parameters") or {}).get("operator", "ends_with")
    return "" if operator == "ends_with" else f"{rule['type']}: {operator}"


def check(repository: Repository, sha: str, required: Json) -> str:
    """Return success, failure, pending or expected for one required context.

    A context is a commit status or a job of a workflow run; both count when both
    are there. ``integration_id`` binds it to one app.
    """
    name, app = required["context"], required.get("integration_id")
    states: list[str] = []
    statuses = [s for s in repository.statuses if s["sha"] == sha]
    for status in reversed(statuses):
        if status["context"] == name and app in (None, status["app"]):
            states.append(status["state"])
            break
    checks = [c for c in repository.checks if c["head_sha"] == sha]
    for job in reversed(checks):
        if job["name"] == name and app in (None, job["app"]):
            result = job["conclusion"] or "pending"
            states.append("success" if result in GOOD else result)
            break
    for state in states:
        if state != "success":
            return "pending" if state == "pending" else "failure"
    return "success" if states else "expected"


def refuse_merge(
    repository: Repository, people: dict[str, Person], issue: Issue, pull: Pull
) -> str:
    """Return why a pull request may not be merged now, or nothing."""
    for _, rule in active(repository, f"refs/heads/{pull.base_ref}"):
        parameters: dict[str, Any] = rule.get("parameters", {})
        if rule["type"] == "required_status_checks":
            sentence = _checks(repository, pull, parameters)
        elif rule["type"] == "pull_request":
            sentence = _reviews(repository, people, issue, pull, parameters)
        else:
            continue
        if sentence:
            return f"Repository rule violations found\n\n{sentence}"
    return ""


def _checks(repository: Repository, pull: Pull, parameters: Json) -> str:
    """Return what is missing of the required checks."""
    base = git.sha(repository.path, f"refs/heads/{pull.base_ref}")
    if parameters.get("strict_required_status_checks_policy"):
        if not git.contains(repository.path, pull.head_sha, base):
            return "The head branch is not up to date with the base branch."
    for required in parameters["required_status_checks"]:
        state = check(repository, pull.head_sha, required)
        phrases = {"failure": "is failing", "pending": "is in progress"}
        if state != "success":
            return (
                f'Required status check "{required["context"]}" '
                f"{phrases.get(state, 'is expected')}."
            )
    return ""


def _reviews(
    repository: Repository,
    people: dict[str, Person],
    issue: Issue,
    pull: Pull,
    parameters: Json,
) -> str:
    """Return what is missing of the required reviews."""
    latest: dict[str, Json] = {}
    for review in pull.reviews:
        if review["state"] in ("APPROVED", "CHANGES_REQUESTED"):
            latest[review["login"]] = review
    if parameters.get("dismiss_stale_reviews_on_push"):
        latest = {k: r for k, r in latest.items() if r["commit_id"] == pull.head_sha}
    writers = {
        login: review["state"]
        for login, review in latest.items()
        if review["role"] in ("write", "admin") and login != issue.user.login
    }
    if "CHANGES_REQUESTED" in writers.values():
        return "Changes were requested by a reviewer."
    approvers = set(writers)
    others = approvers - {pull.pushed_by}
    needed = parameters.get("required_approving_review_count", 0)
    if len(approvers) < needed:
        return f"At least {needed} approving review is required by reviewers."
    if parameters.get("require_last_push_approval") and not others:
        return "The most recent push must be approved by someone else."
    if parameters.get("require_code_owner_review"):
        return owners.missing(repository, people, issue, pull, approvers)
    return ""
