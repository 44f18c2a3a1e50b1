"""The table of API routes: each names what a token needs, as GitHub documents it."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from . import schemas
from .runs import Queue
from .state import APP_KEY, ROLES, Json, Refusal, Repository, State, Token


@dataclass
class Request:
    """One call of the API, with everything that a handler needs."""

    state: State
    queue: Queue
    token: Token
    args: dict[str, str]
    query: dict[str, str]
    data: bytes
    repo: Repository
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> Json:
        """Return the JSON of the request.

        Raises:
            Refusal: 400, it is not a JSON object.
        """
        try:
            body = json.loads(self.data or b"{}")
        except ValueError as error:
            raise Refusal(400, "Problems parsing JSON") from error
        if not isinstance(body, dict):
            raise Refusal(400, "Body should be a JSON object")
        return body

    def need(self, *keys: str) -> list[Any]:
        """Return fields of the body that GitHub requires."""
        body = self.body
        if missing := [key for key in keys if body.get(key) is None]:
            raise Refusal(422, f"Invalid request. {missing[0]!r} wasn't supplied.")
        return [body[key] for key in keys]

    def number(self, key: str = "n") -> int:
        """Return a number of the path."""
        return int(self.args[key])

    def find(self, entries: Iterable[Json], key: str = "id") -> Json:
        """Return the entry that the path names.

        Raises:
            Refusal: 404, there is none.
        """
        for entry in entries:
            if str(entry[key]) == self.args[key]:
                return entry
        raise Refusal(404, "Not Found")


@dataclass(frozen=True)
class Response:
    """A response that is not simply JSON with the route's status."""

    status: int
    data: object = None
    content_type: str = "application/json; charset=utf-8"
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)


Reply = Json | list[Json] | Response
Handler = Callable[[Request], Reply]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True)
class Route:
    """One row of the table."""

    method: str
    path: str
    handler: Handler
    needs: str  # "scope:level", alternatives with |; empty: metadata, for everyone
    role: str  # what a person needs instead
    status: int
    pattern: re.Pattern[str]
    pages: tuple[int, int]  # how many entries a page has, and has at most
    query: frozenset[str]  # what the query may name; GitHub would ignore a misspelt one


TABLE: list[Route] = []


def route(
    method: str,
    path: str,
    needs: str = "",
    role: str = "",
    status: int = 200,
    pages: tuple[int, int] = (30, 100),
    query: str = "",
) -> Callable[[H], H]:
    """Put a handler into the table.

    A path begins below ``/repos/{owner}/{repo}`` unless it begins with ``/``;
    ``{n}`` takes digits, ``{path}`` takes slashes, the others one segment.
    """
    full = path if path.startswith("/") else f"/repos/{{owner}}/{{repo}}/{path}"
    full = full.rstrip("/")
    kinds = {"n": r"\d+", "id": r"\d+", "path": ".+"}
    regex = re.sub(
        r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{kinds.get(m[1], '[^/]+')})", full
    )
    level = needs.split("|")[0].partition(":")[2]
    role = role or ("write" if level == "write" else "read")

    def add(handler: H) -> H:
        pattern = re.compile(regex)
        paged = ("per_page", "page") if method == "GET" else ()
        known = frozenset((*query.split(), *paged))
        row = Route(method, full, handler, needs, role, status, pattern, pages, known)
        TABLE.append(row)
        return handler

    return add


def allowed(route: Route, token: Token, repo: Repository) -> None:
    """Refuse a token that may not make this call.

    Raises:
        Refusal: 403 with GitHub's words; 404 where it may not even look.
    """
    if route.needs == "app" or token.value.startswith(APP_KEY):
        if route.needs != "app" or not token.value.startswith(APP_KEY):
            raise Refusal(401, "A JSON web token could not be decoded")
        return
    if token.permissions is None:
        role = repo.role(token.person)
        if role == "none":
            raise Refusal(404, "Not Found")
        if ROLES.index(role) < ROLES.index(route.role):
            raise Refusal(403, f"Must have {route.role} rights to Repository.")
        return
    if token.repository != repo.full_name:
        raise Refusal(403, "Resource not accessible by integration")
    for need in filter(None, route.needs.split("|")):
        scope, _, level = need.partition(":")
        granted = token.permissions.get(scope, "none")
        if granted == "write" or granted == level:
            return
    if route.needs:
        raise Refusal(403, "Resource not accessible by integration")


def respond(
    state: State, queue: Queue, token: Token | None, method: str, target: str,
    data: bytes, headers: dict[str, str],
) -> Response:  # fmt: skip
    """Return the response to one request of the API."""
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    try:
        if token is None:
            raise Refusal(401, "Bad credentials")
        _fail(state, method, url.path)
        row, match = _find(method, url.path)
        args = {key: unquote(value) for key, value in match.groupdict().items()}
        with state.changed:
            if token.run:
                state.run(token.run).requests += 1
            repo = _repository(state, token, args)
            allowed(row, token, repo)
            schemas.hold(f"{row.method} {row.path}", row.query, query, data)
            request = Request(state, queue, token, args, query, data, repo, headers)
            result = row.handler(request)
        if isinstance(result, Response):
            return result
        return Response(row.status, _page(result, query, row.pages))
    except Refusal as refusal:
        body = {"message": refusal.message, "status": str(refusal.status)}
        docs = "https://docs.github.com/rest"
        whole = body | {"documentation_url": docs}
        return Response(refusal.status, whole, headers=refusal.headers)


def _fail(state: State, method: str, path: str) -> None:
    """Fail as the next planned fault for a request says; each happens once.

    Raises:
        Refusal: the fault.
    """
    with state.changed:
        for fault in state.faults:
            if fault.method == method and re.search(fault.path, path):
                state.faults.remove(fault)
                raise Refusal(fault.status, fault.message, fault.headers)


def _find(method: str, path: str) -> tuple[Route, re.Match[str]]:
    """Return the route of a request."""
    for row in TABLE:
        if row.method == method and (match := row.pattern.fullmatch(path)):
            return row, match
    raise Refusal(404, f"Not Found: the forge has no {method} {path}")


def _repository(state: State, token: Token, args: dict[str, str]) -> Repository:
    """Return the repository of a path; a stand-in where the path names none."""
    if "repo" in args:
        return state.repository(f"{args['owner']}/{args['repo']}")
    return Repository(0, token.person, "", state.home)


def _page(
    result: Json | list[Json], query: dict[str, str], sizes: tuple[int, int]
) -> Json | list[Json]:
    """Cut a list, or the list inside an object that counts it, to one page."""
    default, most = sizes
    size = min(int(query.get("per_page", default)), most)
    start = (int(query.get("page", 1)) - 1) * size
    if isinstance(result, list):
        return result[start : start + size]
    if "total_count" not in result:
        return result
    end = start + size
    return {k: v if k == "total_count" else v[start:end] for k, v in result.items()}
