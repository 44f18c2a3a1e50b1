"""What a step observed: a list of facts, and hashes that must be equal."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rehearsal.page.markup import Html, el, html, icon

Entry = Mapping[str, Any]  # of the story, or a part of it
SHA = re.compile(r"(?:sha256:)?[0-9a-f]{40,64}")


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def moment(time: object) -> Html:
    """Return a time element for an ISO time, the text itself when it is none."""
    text = str(time or "")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return el("span", text, class_="muted")
    readable = instant.strftime("%d %b %Y, %H:%M").lstrip("0")
    return el("time", readable, datetime=text, title=text)


def sha(value: str, length: int = 12) -> Html:
    """Return a hash, shortened; the whole of it is its title and can be selected."""
    bare = value.removeprefix("sha256:")
    return el("code", bare[:length], class_="sha", title=value)


def readings(facts: Entry) -> dict[str, dict[str, str]]:
    """Return the hashes read from several sources: {fact: {source: hash}}."""
    return {
        name: {str(source): str(digest) for source, digest in value.items()}
        for name, value in facts.items()
        if isinstance(value, Mapping)
        and len(value) > 1
        and any(SHA.fullmatch(str(digest)) for digest in value.values())
    }


def equality(name: str, values: Mapping[str, str]) -> Html:
    """Show a hash as read from several sources, and whether it is the same in all."""
    equal = len(set(values.values())) == 1
    sources = [
        el("li", icon("check-circle-fill"), el("span", source)) for source in values
    ]
    if equal:
        body = html(
            el("p", next(iter(values.values())), class_="number"),
            el("ul", sources, class_="sources"),
        )
    else:
        body = el(
            "dl", [_row(p, sha(v, 64)) for p, v in values.items()], class_="facts"
        )
    note = (
        f"equal in all {len(values)} sources" if equal else "NOT equal in all sources"
    )
    title = el("p", el("b", label(name)), el("span", note, class_="muted"))
    return el("div", title, body, class_=f"equality {'good' if equal else 'bad'}")


def label(name: object) -> str:
    """Return a fact's name as words."""
    return str(name).replace("_", " ")


def _row(name: object, value: object) -> Html:
    return el("div", el("dt", label(name)), el("dd", value))


def formatted(value: Any) -> Html:
    """Return one value as a person reads it."""
    if isinstance(value, bool):
        name, text = ("check-circle-fill", "yes") if value else ("skip", "no")
        return el("span", icon(name), text, class_="good" if value else "muted")
    if isinstance(value, float):
        return html(f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}")
    if isinstance(value, int):
        return html(f"{value:,}" if abs(value) >= 10_000 else value)
    if isinstance(value, Mapping):
        return el(
            "dl", [_row(k, formatted(v)) for k, v in value.items()], class_="facts"
        )
    if isinstance(value, Iterable) and not isinstance(value, str):
        return el("span", _list(value))
    text = str(value)
    return sha(text) if SHA.fullmatch(text) else html("none" if value is None else text)


def _list(values: Iterable[Any]) -> list[object]:
    items: list[object] = []
    for value in values:
        items += [", ", formatted(value)] if items else [formatted(value)]
    return items


def facts(observed: Entry) -> Html:
    """Show a step's facts: equalities first, then the rest as a list."""
    equal = readings(observed)
    others = [_row(k, formatted(v)) for k, v in observed.items() if k not in equal]
    return html(
        [equality(name, values) for name, values in equal.items()],
        el("dl", others, class_="facts") if others else None,
    )
