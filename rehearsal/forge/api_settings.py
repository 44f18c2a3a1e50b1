"""Settings: environments, variables, what workflow tokens may do, rulesets."""

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
    environment = request.state.environment(request.repo, name)
    people = {p.id for p in request.state.people.values()}
    reviewers = body.get("reviewers") or []
    if unknown := [r for r in reviewers if r["id"] not in people]:
        raise Refusal(422, f"Validation Failed: no such reviewer {unknown[0]}")
    environment |= {
        "reviewers": reviewers,
        "prevent_self_review": bool(body.get("prevent_self_review")),
        "deployment_branch_policy": body.get("deployment_branch_policy"),
    }
    by = request.token.person.login
    request.state.record("environment", name=name, reviewers=reviewers, by=by)
    return _environment(request, environment)


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
    return {"id": request.state.next_id(), "name": name, "type": "branch"}


@route("GET", "environments/{name}/deployment-branch-policies", READ)
def list_branches(request: Request) -> Reply:
    """List the branches that may deploy to an environment."""
    branches = _named(request)["branches"]
    policies = [{"name": name, "type": "branch"} for name in branches]
    return {"total_count": len(policies), "branch_policies": policies}


@route("GET", "actions/permissions/workflow", "administration:read", "admin")
def get_actions(request: Request) -> Reply:
    """Return what workflow tokens may do by default."""
    return request.repo.actions


@route("PUT", "actions/permissions/workflow", "administration:write", "admin", 204)
def put_actions(request: Request) -> Reply:
    """Change what workflow tokens may do by default."""
    settings = {k: v for k, v in request.body.items() if k in request.repo.actions}
    request.repo.actions |= settings
    return Response(204)


@route("GET", "actions/variables", "variables:read", "write")
def list_variables(request: Request) -> Reply:
    """List variables."""
    variables = list(request.repo.variables.values())
    return {"total_count": len(variables), "variables": variables}


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


@route("GET", "rulesets")
def list_rulesets(request: Request) -> Reply:
    """List rulesets."""
    return request.repo.rulesets


@route("POST", "rulesets", "administration:write", "admin", status=201)
def make_ruleset(request: Request) -> Reply:
    """Make a ruleset; its rules hold from now on."""
    name, enforcement = request.need("name", "enforcement")
    state, repo, body = request.state, request.repo, request.body
    if any(r["name"] == name for r in repo.rulesets):
        raise Refusal(422, "Validation Failed: Name must be unique")
    ruleset: Json = {
        "id": state.next_id(),
        "name": name,
        "target": body.get("target", "branch"),
        "source_type": "Repository",
        "source": repo.full_name,
        "enforcement": enforcement,
        "bypass_actors": body.get("bypass_actors") or [],
        "conditions": body.get("conditions") or {},
        "rules": body.get("rules") or [],
        "created_at": state.now(),
        "updated_at": state.now(),
    }
    repo.rulesets.append(ruleset)
    state.record(
        "ruleset", repository=repo.full_name, name=name, rules=ruleset["rules"]
    )
    return ruleset


@route("PUT", "rulesets/{id}", "administration:write", "admin")
def change_ruleset(request: Request) -> Reply:
    """Change a ruleset."""
    ruleset = request.find(request.repo.rulesets)
    keys = ("name", "enforcement", "bypass_actors", "conditions", "rules")
    ruleset |= {k: v for k, v in request.body.items() if k in keys}
    return ruleset
