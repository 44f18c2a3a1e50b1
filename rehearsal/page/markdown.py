"""GitHub's Markdown: tables, task lists, alerts, mermaid, `#1` and `@name`."""

import re
from collections.abc import Collection
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from rehearsal.page.markup import Html
from rehearsal.page.sanitize import in_page, sanitize

ALERT = re.compile(r"\[!(note|tip|important|warning|caution)\][ \t]*\n", re.I)
TASK = re.compile(r"\[([ xX])\][ \t]+")
WORD = re.compile(
    r"(?P<url>https?://[^\s<>\"']*[^\s<>\"'.,;:!?)\]*_~])"
    r"|(?<![\w/&])(?P<pull>\#\d+)\b"
    r"|(?<![\w/.`])(?P<user>@[A-Za-z\d][A-Za-z\d-]*)"
)

SCROLL = '<div class="scroll" tabindex="0" role="region" aria-label="Table">'


def _raw(markup: str) -> Token:
    return Token("html_inline", "", 0, content=markup)


def _alerts(state: StateCore) -> None:
    """Turn a quote that starts with `[!WARNING]` into an alert."""
    opened: list[Token] = []
    for index, token in enumerate(state.tokens):
        if token.type == "blockquote_open":
            opened.append(token)
            inline = state.tokens[index + 2] if index + 2 < len(state.tokens) else token
            match = inline.type == "inline" and ALERT.match(inline.content)
            if match:
                kind = match[1].lower()
                token.tag = "div"
                token.attrSet("class", f"alert alert-{kind}")
                token.meta["title"] = kind.capitalize()
                inline.content = inline.content[match.end() :]
        elif token.type == "blockquote_close":
            token.tag = opened.pop().tag


def _tasks(state: StateCore) -> None:
    """Let list items that start with `[ ]` or `[x]` start with a box."""
    for index in range(2, len(state.tokens)):
        item, inline = state.tokens[index - 2], state.tokens[index]
        if item.type != "list_item_open" or inline.type != "inline":
            continue
        match = TASK.match(inline.content)
        if match:
            box = "☐" if match[1] == " " else "☑"
            inline.content = f"{box} {inline.content[match.end() :]}"
            item.attrSet("class", "task")


def _links(state: StateCore) -> None:
    """Link pictures, bare addresses and pull requests; leave the page in a new tab."""
    anchors = state.env["anchors"]
    for token in state.tokens:
        children: list[Token] = []
        depth = 0
        for child in token.children or []:
            depth += {"link_open": 1, "link_close": -1}.get(child.type, 0)
            if child.type == "link_open":
                child.attrs = dict(_address(str(child.attrs["href"]), anchors))
            if child.type == "image":
                children.append(_picture(child, anchors, linked=depth > 0))
            elif child.type == "text" and depth == 0:
                children += _linked(child, anchors)
            else:
                children.append(child)
        token.children = children if token.children is not None else None


def _address(url: str, anchors: Collection[str]) -> dict[str, str]:
    """Return the attributes of a link."""
    href = in_page(url, anchors)
    return {"href": href} if href[:1] == "#" else {"href": href, "target": "_blank"}


def _picture(image: Token, anchors: Collection[str], linked: bool) -> Token:
    """Name a picture and link to it: the page loads none."""
    url = str(image.attrs["src"])
    name = escape(image.content or url)
    return _raw(name if linked else f"{_opened(_address(url, anchors))}{name}</a>")


def _opened(attributes: dict[str, str]) -> str:
    return "<a " + " ".join(f'{k}="{escape(v)}"' for k, v in attributes.items()) + ">"


def _linked(text: Token, anchors: Collection[str]) -> list[Token]:
    """Split a text at what is linked in it."""
    tokens, end = [], 0
    for match in WORD.finditer(text.content):
        if link := _link(match, anchors):
            tokens += [_text(text.content[end : match.start()]), _raw(link)]
            end = match.end()
    return [*tokens, _text(text.content[end:])]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _link(match: re.Match[str], anchors: Collection[str]) -> str | None:
    """Return the HTML of an address, a name or a pull request that is in the page."""
    label = escape(match[0])
    if match["url"]:
        return f"{_opened(_address(match['url'], anchors))}{label}</a>"
    if match["user"]:
        return f"<strong>{label}</strong>"
    anchor = f"pull-{match['pull'][1:]}"
    return f'<a href="#{anchor}">{label}</a>' if anchor in anchors else None


def _cells(state: StateCore) -> None:
    """Align cells by an attribute: no style passes the sanitizer."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open") and "style" in token.attrs:
            style = str(token.attrs.pop("style"))
            token.attrSet("align", style.removeprefix("text-align:"))


def _fence(renderer: Any, tokens: list[Token], index: int, _: Any, env: Any) -> str:
    """Write a code block; one of mermaid keeps its text for the browser to draw."""
    language = (tokens[index].info.split() or [""])[0].lower()
    code = escape(tokens[index].content)
    if language == "mermaid":
        return f'<pre class="mermaid">{code}</pre>\n'
    if language == "diff":
        code = "".join(map(_changed, code.splitlines(keepends=True)))
    return f'<pre><code class="language-{escape(language)}">{code}</code></pre>\n'


def _changed(line: str) -> str:
    """Mark a line that a diff adds or removes."""
    style = {"+": "added", "-": "removed"}.get(line[0])
    return f'<span class="{style}">{line}</span>' if style else line


def _quote(renderer: Any, tokens: list[Token], index: int, options: Any, _: Any) -> str:
    opening = str(renderer.renderToken(tokens, index, options, {}))
    title = tokens[index].meta.get("title")
    return opening + (f'<p class="alert-title">{title}</p>' if title else "")


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.core.ruler.before("inline", "alerts", _alerts)
    parser.core.ruler.before("inline", "tasks", _tasks)
    parser.core.ruler.push("links", _links)
    parser.core.ruler.push("cells", _cells)
    parser.add_render_rule("table_open", lambda *_: f"{SCROLL}<table>\n")
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("blockquote_open", _quote)
    return parser


PARSER = _parser()


def render(markdown: str, anchors: Collection[str] = ()) -> Html:
    """Return a comment as GitHub would show it.

    `#1`, and links to a pull request or a run, go to that part of the same page
    when `anchors` holds `pull-1` or `run-7`.
    """
    return sanitize(PARSER.render(markdown, {"anchors": anchors}), anchors)
