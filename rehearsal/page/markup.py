"""HTML that is escaped unless it was built here: text cannot become markup."""

from html import escape
from urllib.parse import quote

VOID = {"br", "hr", "img", "input", "link", "meta"}


class Html(str):
    """Finished markup; any other string is text and gets escaped."""


def html(*children: object) -> Html:
    """Join children: `Html` as it is, lists flattened, None left out, text escaped."""
    return Html("".join(_escaped(child) for child in children))


def _escaped(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, (list, tuple)):
        return html(*child)
    return escape(str(child))


def el(tag: str, /, *children: object, **attributes: object) -> Html:
    """Return one element; `class_` and `aria_label` become `class` and `aria-label`.

    An attribute that is None or False is left out, True is written bare.
    """
    names = {key.rstrip("_").replace("_", "-"): v for key, v in attributes.items()}
    written = "".join(
        f" {name}" if value is True else f' {name}="{escape(str(value))}"'
        for name, value in names.items()
        if value is not None and value is not False
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{html(*children)}</{tag}>")


def icon(name: str, label: str | None = None) -> Html:
    """Return an octicon (a file of `vendor/octicons`), silent unless labelled."""
    hidden = None if label else "true"
    role = "img" if label else None
    return el(
        "span", class_=f"icon i-{name}", aria_hidden=hidden, aria_label=label, role=role
    )


def local(path: str) -> str | None:
    """Return the quoted link to a file beside the page, None if it points elsewhere."""
    segments = path.split("/")
    if ".." in segments or "" in segments or "\\" in path or ":" in segments[0]:
        return None
    return quote(path)
