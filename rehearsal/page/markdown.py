"""GitHub's Markdown: tables, task lists, alerts, mermaid, `#1` and `@name`."""

import re
from collections.abc import Collection
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from rehearsal.page.allow import allowed
from rehearsal.page.markup import Html

ALERT = re.compile(r"\[!(note|tip|important|warning|caution)\][ \t]*\n", re.I)
TASK = re.compile(r"\[([ xX])\][ \t]+")
WORD = re.compile(
    r"(?P<url>https?://[^\s<>\"']*[^\s<>\"'.,;:!?)\]*_~])"
    r"|(?<![\w/&])(?P<pull>\#\d+)\b"
    r"|(?<![\w/.`])(?P<user>@[A-Za-z\d][A-Za-z\d-]*)"
)


def _raw(markup: str) -> Token:
    return Token("html_inline", "", 0, content=markup)


def _alerts(state: StateCore) -> None:
    """Turn a quote that starts with `[!WARNING]` into an alert."""
    opened: list[Token] = []
    for at, token in enumerate(state.tokens):
        if token.type == "blockquote_open":
            opened.append(token)
            inline = state.tokens[at + 2] if at + 2 < len(state.tokens) else token
            found = inline.type == "inline" and ALERT.match(inline.content)
            if found:
                kind = found[1].lower()
                token.tag = "div"
                token.attrSet("class", f"alert alert-{kind}")
                token.meta["title"] = kind.capitalize()
                inline.content = inline.content[found.end() :]
        elif token.type == "blockquote_close":
            token.tag = opened.pop().tag


def _tasks(state: StateCore) -> None:
    """Turn list items that start with `[ ]` or `[x]` into boxes."""
    for at in range(2, len(state.tokens)):
        item, inline = state.tokens[at - 2], state.tokens[at]
        if item.type != "list_item_open" or inline.type != "inline":
            continue
        found = TASK.match(inline.content)
        if found:
            checked = "" if found[1] == " " else " checked"
            inline.content = inline.content[found.end() :]
            inline.meta["box"] = f'<input type="checkbox"{checked}> '
            item.attrSet("class", "task")


def _boxes_and_links(state: StateCore) -> None:
    """Put the boxes in place and link bare addresses and pull requests."""
    for token in state.tokens:
        if token.type != "inline":
            continue
        children, depth = [], 0
        for child in token.children or []:
            depth += {"link_open": 1, "link_close": -1}.get(child.type, 0)
            linked = child.type == "text" and depth == 0
            children += _words(child, state.env) if linked else [child]
        if "box" in token.meta:
            children.insert(0, _raw(token.meta["box"]))
        token.children = children


def _words(text: Token, env: Any) -> list[Token]:
    tokens, end = [], 0
    for found in WORD.finditer(text.content):
        word = _word(found, env["anchors"])
        if word:
            tokens += [_text(text.content[end : found.start()]), _raw(word)]
            end = found.end()
    return [*tokens, _text(text.content[end:])]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _word(found: re.Match[str], anchors: Collection[str]) -> str | None:
    word = escape(found[0])
    if found["url"]:
        return f'<a href="{word}">{word}</a>'
    if found["user"]:
        return f"<strong>{word}</strong>"
    anchor = f"pull-{found['pull'][1:]}"
    return f'<a href="#{anchor}">{word}</a>' if anchor in anchors else None


def _fence(renderer: Any, tokens: list[Token], at: int, _: Any, env: Any) -> str:
    """Write a code block; one of mermaid keeps its text for the browser to draw."""
    language = (tokens[at].info.split() or [""])[0].lower()
    code = escape(tokens[at].content)
    if language == "mermaid":
        return f'<pre class="mermaid">{code}</pre>\n'
    if language == "diff":
        code = "".join(map(_changed, code.splitlines(keepends=True)))
    return f'<pre><code class="language-{escape(language)}">{code}</code></pre>\n'


def _changed(line: str) -> str:
    """Mark a line that a diff adds or removes."""
    look = {"+": "added", "-": "removed"}.get(line[0])
    return f'<span class="{look}">{line}</span>' if look else line


def _quote(renderer: Any, tokens: list[Token], at: int, options: Any, _: Any) -> str:
    opening = str(renderer.renderToken(tokens, at, options, {}))
    title = tokens[at].meta.get("title")
    return opening + (f'<p class="alert-title">{title}</p>' if title else "")


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.core.ruler.before("inline", "alerts", _alerts)
    parser.core.ruler.before("inline", "tasks", _tasks)
    parser.core.ruler.push("boxes_and_links", _boxes_and_links)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("blockquote_open", _quote)
    return parser


PARSER = _parser()


def render(markdown: str, anchors: Collection[str] = ()) -> Html:
    """Return a comment as GitHub would show it.

    `#1`, and links to a pull request or a run, go to that part of the same page
    when `anchors` holds `pull-1` or `run-7`.
    """
    return allowed(PARSER.render(markdown, {"anchors": anchors}), anchors)
