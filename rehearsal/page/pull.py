"""A pull request as its page on GitHub shows it."""

from collections.abc import Collection

from rehearsal.page.comment import comment
from rehearsal.page.facts import Entry
from rehearsal.page.markdown import render
from rehearsal.page.markup import Html, el, html, icon

STATES = {
    "merged": ("git-merge", "Merged"),
    "closed": ("git-pull-request-closed", "Closed"),
    "open": ("git-pull-request", "Open"),
}
STATUSES = {
    "success": ("check-circle-fill", "good"),
    "failure": ("x-circle-fill", "bad"),
    "error": ("x-circle-fill", "bad"),
    "pending": ("dot-fill", "wait"),
}
REVIEWS = {
    "approved": ("check-circle-fill", "good", "approved these changes"),
    "changes_requested": ("x-circle-fill", "bad", "requested changes"),
    "dismissed": ("skip", "muted", "had their review dismissed"),
}


def state(pull: Entry) -> Html:
    """Return the pill that says merged, closed or open."""
    kind = str(pull.get("state", "open"))
    name, label = STATES.get(kind, STATES["open"])
    return el("span", icon(name), label, class_=f"state {label.lower()}")


def _review(review: Entry) -> Html:
    kind = str(review.get("state", "")).lower()
    name, style, phrase = REVIEWS.get(kind, ("eye", "muted", "reviewed"))
    reviewer = el("b", str(review.get("user") or "ghost"))
    body = str(review.get("body") or "")
    return html(
        el(
            "p", el("span", icon(name), class_=style), el("span", reviewer, " ", phrase)
        ),
        el("div", render(body), class_="markdown quoted") if body else None,
    )


def _statuses(pull: Entry) -> Html | None:
    """Return the box of checks, newest state of each, and what they add up to."""
    statuses = {str(s.get("context")): s for s in pull.get("statuses") or []}
    if not statuses:
        return None
    states = {str(status.get("state")) for status in statuses.values()}
    if states & {"failure", "error"}:
        name, style, verdict = "x-circle-fill", "bad", "Some checks were not successful"
    elif "pending" in states:
        name, style, verdict = "dot-fill", "wait", "Some checks have not completed yet"
    else:
        name, style, verdict = "check-circle-fill", "good", "All checks have passed"
    rows = [_status(context, status) for context, status in statuses.items()]
    title = el("p", el("span", icon(name), class_=style), el("b", verdict))
    return html(title, el("ul", rows, class_="rows"))


def _status(context: str, status: Entry) -> Html:
    name, style = STATUSES.get(str(status.get("state")), STATUSES["pending"])
    described = status.get("description")
    return el(
        "li",
        el("span", icon(name, str(status.get("state"))), class_=style),
        el("b", context),
        el("span", described, class_="muted") if described else None,
    )


def _outcome(pull: Entry) -> Html:
    kind = pull.get("state")
    if kind == "merged":
        merger = el("b", str(pull.get("merged_by") or "somebody"))
        sentence = html(
            merger, " merged this into ", el("code", pull.get("base", "main"))
        )
        return el(
            "p", el("span", icon("git-merge"), class_="done"), el("span", sentence)
        )
    failed = any(
        s.get("state") in ("failure", "error") for s in pull.get("statuses") or []
    )
    if kind == "closed":
        return _end("git-pull-request-closed", "bad", "Closed without being merged")
    if failed:
        return _end("x-circle-fill", "bad", "Merging is blocked")
    return _end("git-pull-request", "good", "Open")


def _end(name: str, style: str, sentence: str) -> Html:
    return el("p", el("span", icon(name), class_=style), el("span", sentence))


def card(pull: Entry, anchors: Collection[str] = ()) -> Html:
    """Return the whole pull request: heading, comments, reviews, checks, outcome."""
    number = int(pull["number"])
    author = str(pull.get("author") or "ghost")
    head = html(
        el("h3", pull.get("title"), " ", el("span", f"#{number}", class_="muted")),
        el("p", state(pull), _branches(pull, author), class_="branches"),
    )
    comments = [
        comment(c.get("author"), str(c.get("body") or ""), c.get("time"), anchors)
        for c in pull.get("comments") or []
    ]
    ends = [*map(_review, pull.get("reviews") or []), _statuses(pull), _outcome(pull)]
    return el(
        "article",
        el("header", head),
        comment(author, str(pull.get("body") or ""), anchors=anchors, verb="proposed"),
        comments,
        el("div", [el("div", end) for end in ends if end], class_="checks"),
        class_="pull",
        id=f"pull-{number}",
    )


def _branches(pull: Entry, author: str) -> Html:
    verb = "merged" if pull.get("state") == "merged" else "wants to merge"
    actor = pull.get("merged_by") if verb == "merged" else author
    fork = el("span", "from a fork", class_="tag") if pull.get("fork") else None
    head, base = el("code", pull.get("head")), el("code", pull.get("base", "main"))
    line = [el("b", actor or author), f" {verb} ", head, " into ", base, " ", fork]
    return el("span", line)


def link(pull: Entry) -> Html:
    """Return one line for a pull request that is shown in full elsewhere."""
    number = el("span", f"#{pull['number']}", class_="muted")
    title = el("a", pull.get("title"), href=f"#pull-{pull['number']}")
    return el("p", state(pull), el("span", title, " ", number), class_="again")
