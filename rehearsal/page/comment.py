"""One comment in its box, as GitHub shows it."""

from collections.abc import Collection

from rehearsal.page.facts import moment
from rehearsal.page.markdown import render
from rehearsal.page.markup import Html, el, html


def comment(
    author: object,
    body: str,
    time: object = None,
    anchors: Collection[str] = (),
    verb: str = "commented",
) -> Html:
    """Return one comment in its box, the body rendered as Markdown."""
    name = str(author or "ghost")
    head = el(
        "div",
        person(name),
        el("span", verb, " ", moment(time) if time else None, class_="muted"),
        class_="comment-head",
    )
    text = render(body, anchors) if body.strip() else el("em", "No description.")
    box = el("div", head, el("div", text, class_="markdown"), class_="comment-box")
    return el("div", avatar(name), box, class_="comment")


def person(name: str) -> Html:
    """Return a name, marked when it is a bot's."""
    bot = name.endswith("[bot]") or name == "github-actions"
    mark = el("span", "bot", class_="bot") if bot else None
    return html(el("b", name.removesuffix("[bot]")), " ", mark)


def avatar(name: str) -> Html:
    """Return initials in a circle whose colour follows from the name."""
    hue = sum(ord(letter) * 37 for letter in name) % 360
    style = f"--hue:{hue}"
    return el("span", name[:1].upper(), class_="avatar", style=style, aria_hidden=True)
