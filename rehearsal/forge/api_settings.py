"""Settings: environments, variables, what workflow tokens may do, rulesets."""

from . import rules
from .api_actions import READ, reviewers_of, short
from .routes import Reply, Request, Response, route
from .state import Json, Refusal


def _environment(request: Request, environment: Json) -> Json:
    """Return an environment with its protection rules."""
    rule = {
        "id": environment["id"],
        "type": "required_reviewers",
        "prevent_self_review": environment["prevent_self_review"],
        "reviewers": reviewers_of(request, environment),
    }
    return short(request, environment) | {
        "created_at": environment["created_at"],
        "updated_at": environment["created_at"],
        "protection_rules": [rule] if environment["reviewers"] else [],
        "deployment_branch_policy": environment["deployment_branch_policy"],
    }


def _named(request: Request) -> Json:
    """Return the environment of the path."""
    return request.find(request.repo.environments.values(), "name")


@route("GET", "environments", READ)
def list_environments(request: Request) -> Reply:
    """List environments."""
    environments = [
        _environment(request, e) for e in request.repo.environments.values()
    ]
    return {"total_count": len(environments), "environments": environments}


@route("GET", "environments/{name}", READ)
def get_environment(request: Request) -> Reply:
    """Return an environment."""
    return _environment(request, _named(request))


@route("PUT", "environments/{name}", "administration:write", "admin")
def put_environment(request: Request) -> Reply:
    """Make or change an environment: its reviewers, by their numbers."""
    name, body = request.args["name"], request.body
    people = {p.id for p in request.state.people.values()}
    reviewers = body.get("reviewers") or []
    _in_plan(request, body)
    if unknown := [r for r in reviewers if r["id"] not in people]:
        raise Refusal(422, f"Validation Failed: no such reviewer {unknown[0]}")
    environment = request.state.environment(request.repo, name)
    environment |= {
        "reviewers": reviewers,
        "prevent_self_review": bool(body.get("prevent_self_review")),
        "deployment_branch_policy": body.get("deployment_branch_policy"),
    }
    by = request.token.person.login
    request.state.record("environment", name=name, reviewers=reviewers, by=by)
    return _environment(request, environment)


def _in_plan(request: Request, rules: Json) -> None:
    """Refuse the rules of an environment that a private repository's plan lacks."""
    repo = request.repo
    if repo.lacks("pro") and any(rules.values()):
        raise Refusal(422, "Failed to create the environment protection rule.")
    if repo.lacks("enterprise") and (rules.get("reviewers") or rules.get("wait_timer")):
        sentence = "Please ensure the billing plan supports the required reviewers"
        raise Refusal(422, f"{sentence} protection rule.")


@route(
    "POST",
    "environments/{name}/deployment-branch-policies",
    "administration:write",
    "admin",
)
def add_branch(request: Request) -> Reply:
    """Let a branch deploy to an environment that asks for named branches."""
    environment = _named(request)
    policy = environment["deployment_branch_policy"] or {}
    if not policy.get("custom_branch_policies"):
        raise Refusal(404, "Not Found")
    (name,) = request.need("name")
    if name in environment["branches"]:
        raise Refusal(303, "The branch policy is there already")
    environment["branches"].append(name)
    return _policy(environment, name)


def _policy(environment: Json, name: str) -> Json:
    """Return a branch policy; its number stays the same."""
    number = environment["id"] * 1000 + sum(map(ord, name))
    return {"id": number, "name": name, "type": "branch"}


@route(
    "DELETE",
    "environments/{name}/deployment-branch-policies/{id}",
    "administration:write",
    "admin",
    status=204,
)
def remove_branch(request: Request) -> Reply:
    """Close an environment to a branch."""
    environment, number = _named(request), request.number("id")
    branches = environment["branches"]
    environment["branches"] = [
        name for name in branches if _policy(environment, name)["id"] != number
    ]
    if environment["branches"] == branches:
        raise Refusal(404, "Not Found")
    return Response(204)


@route("GET", "environments/{name}/deployment-branch-policies", READ)
def list_branches(request: Request) -> Reply:
    """List the branches that may deploy to an environment."""
    environment = _named(request)
    policies = [_policy(environment, name) for name in environment["branches"]]
    return {"total_count": len(policies), "branch_policies": policies}


@route("GET", "environments/{name}/secrets", "environments:read", "write")
def list_secrets(request: Request) -> Reply:
    """List the names of an environment's secrets."""
    names, time = _named(request)["secrets"], request.state.now()
    secrets = [{"name": n, "created_at": time, "updated_at": time} for n in names]
    return {"total_count": len(secrets), "secrets": secrets}


@route("GET", "actions/permissions/workflow", "administration:read", "admin")
def get_actions(request: Request) -> Reply:
    """Return what workflow tokens may do by default."""
    return request.repo.actions


@route("PUT", "actions/permissions/workflow", "administration:write", "admin", 204)
def put_actions(request: Request) -> Reply:
    """Change what workflow tokens may do by default."""
    wanted = request.body.get("can_approve_pull_request_reviews")
    if wanted and not request.repo.pull_requests_by_actions:
        raise Refusal(409, "Conflict: the organization forbids it")
    settings = {k: v for k, v in request.body.items() if k in request.repo.actions}
    request.repo.actions |= settings
    return Response(204)


@route("GET", "actions/permissions", "administration:read", "admin")
def get_allowed(request: Request) -> Reply:
    """Return which actions workflows may use."""
    return {"enabled": True, "allowed_actions": request.repo.allowed_actions}


@route("GET", "actions/permissions/selected-actions", "administration:read", "admin")
def get_selected(request: Request) -> Reply:
    """Return which actions are allowed, where they are named one by one."""
    if request.repo.allowed_actions != "selected":
        raise Refusal(409, "Conflict: all or no actions are allowed here")
    return request.repo.selected_actions


@route("GET", "actions/variables", "variables:read", "write", pages=(10, 30))
def list_variables(request: Request) -> Reply:
    """List variables."""
    variables = list(request.repo.variables.values())
    return {"total_count": len(variables), "variables": variables}


@route(
    "GET", "actions/organization-variables", "variables:read", "write", pages=(10, 30)
)
def list_shared_variables(request: Request) -> Reply:
    """List the variables that the organisation shares: a person has none."""
    return {"total_count": 0, "variables": []}


@route("GET", "actions/runners", "administration:read", "admin")
def list_runners(request: Request) -> Reply:
    """List runners of the owner's own: those of the forge are GitHub's."""
    return {"total_count": 0, "runners": []}


@route("POST", "actions/variables", "variables:write", status=201)
def make_variable(request: Request) -> Reply:
    """Make a variable; one that exists is refused."""
    name, value = request.need("name", "value")
    if name in request.repo.variables:
        raise Refusal(409, "Already exists - Variable already exists")
    request.state.variable(request.repo, name, value)
    return {}


@route("PATCH", "actions/variables/{name}", "variables:write", status=204)
def change_variable(request: Request) -> Reply:
    """Change a variable."""
    variable = request.find(request.repo.variables.values(), "name")
    variable |= {"value": request.need("value")[0], "updated_at": request.state.now()}
    return Response(204)


@route("GET", "rulesets", query="includes_parents")
def list_rulesets(request: Request) -> Reply:
    """List rulesets, also the organisation's: their rules are told one by one only."""
    _rulesets_in_plan(request)
    omitted = ("rules", "conditions", "bypass_actors")
    every = request.query.get("includes_parents", "true") == "true"
    rulesets = request.repo.rulesets if every else _own(request)
    return [{k: v for k, v in r.items() if k not in omitted} for r in rulesets]


def _own(request: Request) -> list[Json]:
    """Return the rulesets that the repository itself may change."""
    kind = "Repository"
    return [r for r in request.repo.rulesets if r["source_type"] == kind]


@route("GET", "rulesets/{id}", query="includes_parents")
def get_ruleset(request: Request) -> Reply:
    """Return a ruleset with its rules."""
    _rulesets_in_plan(request)
    return request.find(request.repo.rulesets)


@route("GET", "rules/branches/{path}")
def rules_of_branch(request: Request) -> Reply:
    """List the rules in force on a branch, whoever made them."""
    _rulesets_in_plan(request)
    ref = f"refs/heads/{request.args['path']}"
    return [
        rule
        | {
            "ruleset_id": ruleset["id"],
            "ruleset_source_type": ruleset["source_type"],
            "ruleset_source": ruleset["source"],
        }
        for ruleset, rule in rules.active(request.repo, ref)
    ]


def _rulesets_in_plan(request: Request) -> None:
    """Refuse rulesets where a private repository's plan lacks them."""
    if request.repo.lacks("pro"):
        sentence = "Upgrade to GitHub Pro or make this repository public to enable this"
        raise Refusal(403, f"{sentence} feature.")


@route("POST", "rulesets", "administration:write", "admin", status=201)
def make_ruleset(request: Request) -> Reply:
    """Make a ruleset; its rules hold from now on."""
    _rulesets_in_plan(request)
    name, enforcement = request.need("name", "enforcement")
    state, repo, body = request.state, request.repo, request.body
    if any(r["name"] == name for r in _own(request)):
        raise Refusal(422, "Validation Failed: Name must be unique")
    _known(body)
    own = {"source_type": "Repository", "source": repo.full_name}
    ruleset = state.ruleset(repo, {**body, **own, "enforcement": enforcement})
    state.record(
        "ruleset", repository=repo.full_name, name=name, rules=ruleset["rules"]
    )
    return ruleset


@route("PUT", "rulesets/{id}", "administration:write", "admin")
def change_ruleset(request: Request) -> Reply:
    """Change a ruleset of the repository's own."""
    _rulesets_in_plan(request)
    ruleset = request.find(_own(request))
    _known(request.body)
    keys = ("name", "enforcement", "bypass_actors", "conditions", "rules")
    ruleset |= {k: v for k, v in request.body.items() if k in keys}
    return ruleset


def _known(ruleset: Json) -> None:
    """Refuse a rule that the forge would not hold."""
    for rule in ruleset.get("rules") or []:
        if name := rules.unknown(rule):
            raise Refusal(422, f"Invalid request. The forge has no rule {name!r}.")
