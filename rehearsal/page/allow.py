"""What a comment may contain: an allow-list of HTML, rebuilt tag by tag."""

import re
from collections.abc import Collection
from html import escape
from html.parser import HTMLParser

from rehearsal.page.markup import Html, local

PLAIN = (
    "b i em strong tt code pre kbd samp var sub sup del ins s strike q small mark "
    "h1 h2 h3 h4 h5 h6 p br hr ul ol li dl dt dd blockquote div span figure "
    "figcaption details summary table thead tbody tfoot tr th td caption a img input"
)
TAGS = frozenset(PLAIN.split())
VOID = frozenset({"br", "hr", "img", "input"})
DROPPED = frozenset(
    "script style iframe object embed noscript template textarea title svg math "
    "select xmp noembed noframes".split()
)
CLASSES = re.compile(
    r"mermaid|task|added|removed|alert alert-[a-z]+|alert-title|language-[\w+-]+"
)
ALIGN = re.compile(r"(?:text-align:\s*)?(left|right|center);?")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
SAFE = ("http:", "https:", "mailto:")
ELSEWHERE = re.compile(r"https?://[^?#]*/(?:actions/(run)s|(pull))/(\d+)/?")
WRAP = '<div class="scroll" tabindex="0" role="region" aria-label="Table">'


def _link(value: str) -> str | None:
    """Return an address a comment may link to, None for any other scheme."""
    address = re.sub(r"[\x00-\x20\x7f-\xa0]", "", value)
    scheme = SCHEME.match(address.lower())
    return address if scheme is None or scheme[0] in SAFE else None


def _here(address: str, anchors: Collection[str]) -> str:
    """Return a pull request's or run's place in this page instead of its address."""
    found = ELSEWHERE.fullmatch(address)
    anchor = f"{found[1] or found[2]}-{found[3]}" if found else None
    return f"#{anchor}" if anchor in anchors else address


def _attributes(tag: str, given: dict[str, str]) -> dict[str, str | None]:
    """Return what is allowed of a tag's attributes."""
    kept: dict[str, str | None] = {}
    if CLASSES.fullmatch(given.get("class", "")):
        kept["class"] = given["class"]
    aligned = ALIGN.fullmatch(given.get("align", "") or given.get("style", ""))
    if aligned:
        kept["align"] = aligned[1]
    for name in ("title", "width", "height", "colspan", "rowspan", "start"):
        if name in given and (name == "title" or given[name].rstrip("%").isdecimal()):
            kept[name] = given[name]
    if tag == "a" and (href := _link(given.get("href", ""))):
        kept |= {"href": href}
        if not href.startswith("#"):
            kept |= {"rel": "noopener noreferrer nofollow", "target": "_blank"}
    if tag == "details" and "open" in given:
        kept["open"] = None
    if tag == "pre":
        kept["tabindex"] = "0"
    return kept


def _tag(name: str, attributes: dict[str, str | None]) -> str:
    written = "".join(
        f" {key}" if value is None else f' {key}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>"


class _Rebuild(HTMLParser):
    """Writes allowed tags balanced, text escaped, and nothing else."""

    def __init__(self, anchors: Collection[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors = anchors
        self.out: list[str] = []
        self.open: list[str] = []
        self.dropping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED:
            self.dropping.append(tag)
        if self.dropping or tag not in TAGS:
            return
        given = {name: value or "" for name, value in reversed(attrs)}
        if "href" in given:
            given["href"] = _here(given["href"], self.anchors)
        if tag == "img":
            self.out.append(_image(given))
        elif tag == "input":
            self.out.append(_checkbox(given))
        else:
            self.out.append(WRAP if tag == "table" else "")
            self.out.append(_tag(tag, _attributes(tag, given)))
            if tag not in VOID:
                self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in DROPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.dropping:
            while self.dropping.pop() != tag:
                pass
        elif not self.dropping and tag in self.open:
            while self._end() != tag:
                pass

    def _end(self) -> str:
        tag = self.open.pop()
        self.out.append(f"</{tag}></div>" if tag == "table" else f"</{tag}>")
        return tag

    def handle_data(self, data: str) -> None:
        if not self.dropping:
            self.out.append(escape(data, quote=False))

    def finish(self) -> Html:
        self.close()
        while self.open:
            self._end()
        return Html("".join(self.out))


def _image(given: dict[str, str]) -> str:
    """Show a picture beside the page; name, but never load, one from elsewhere."""
    alt, src = given.get("alt", ""), given.get("src", "").strip()
    beside = local(src)
    if beside:
        return _tag("img", _attributes("img", given) | {"src": beside, "alt": alt})
    href = _link(src)
    if not href:
        return escape(alt)
    attributes = _attributes("a", {"href": href})
    return f"{_tag('a', attributes)}{escape(alt or href)}</a>"


def _checkbox(given: dict[str, str]) -> str:
    """Show the box of a task list; no other input."""
    if given.get("type") != "checkbox":
        return ""
    checked = " checked" if "checked" in given else ""
    return f'<input type="checkbox" disabled{checked}>'


def allowed(markup: str, anchors: Collection[str] = ()) -> Html:
    """Return untrusted HTML reduced to the allow-list, balanced, comments hidden."""
    parser = _Rebuild(anchors)
    parser.feed(markup)
    return parser.finish()
