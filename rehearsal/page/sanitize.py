"""The HTML that a comment may contain: an allow-list for the library nh3."""

import re
from collections.abc import Collection

import nh3

from rehearsal.page.markup import Html

PLAIN = (
    "b i em strong tt code pre kbd samp var sub sup del ins s strike q small mark "
    "h1 h2 h3 h4 h5 h6 p br hr ul ol li dl dt dd blockquote div span figure "
    "figcaption details summary table thead tbody tfoot tr th td caption a img"
)
REMOVED_WITH_CONTENT = (
    "script style iframe object embed noscript template textarea title svg math "
    "select xmp noembed noframes"
)
CLASSES = re.compile(
    r"mermaid|task|added|removed|scroll|alert alert-[a-z]+|alert-title|language-[\w+-]+"
)
RUN_OR_PULL = re.compile(r"https?://[^?#]*/(?:actions/(run)s|(pull))/(\d+)/?")


def in_page(address: str, anchors: Collection[str]) -> str:
    """Return the anchor of a pull request or run in this page instead of its URL."""
    named = RUN_OR_PULL.fullmatch(address)
    anchor = f"{named[1] or named[2]}-{named[3]}" if named else None
    return f"#{anchor}" if anchor in anchors else address


def sanitize(markup: str, anchors: Collection[str] = ()) -> Html:
    """Return untrusted HTML reduced to the allow-list, balanced, without comments."""

    def attribute(_: str, name: str, value: str) -> str | None:
        if name == "class":
            return value if CLASSES.fullmatch(value) else None
        return in_page(value, anchors) if name == "href" else value

    clean = nh3.clean(
        markup,
        tags=set(PLAIN.split()),
        clean_content_tags=set(REMOVED_WITH_CONTENT.split()),
        attributes={
            "*": {"align", "class", "title"},
            "a": {"href"},
            "details": {"open"},
            "img": {"alt"},  # a picture is named, never loaded
            "ol": {"start"},
            "td": {"colspan", "rowspan"},
            "th": {"colspan", "rowspan"},
        },
        tag_attribute_values={
            "a": {"target": {"_blank"}},
            "div": {"role": {"region"}, "tabindex": {"0"}, "aria-label": {"Table"}},
        },
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
        attribute_filter=attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Html(clean)
