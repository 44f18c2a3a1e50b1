"""Every link of a page leads somewhere, to a heading too; the site's list has all."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
)


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [part for token in tokens for part in token.children or ()]
    found = [part.attrGet("href") or part.attrGet("src") for part in inline]
    return [str(link) for link in found if link]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    headings = [
        tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"
    ]
    kept = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
    return {
        f"{k}-{kept[:i].count(k)}" if k in kept[:i] else k for i, k in enumerate(kept)
    }


def dead(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead nowhere here."""
    found = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = page.parent / path if path else page
        if not target.exists():
            found.append(link)
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_found() -> None:
    text = "[a](no.md) [b](README.md#no) [c](README.md#documentation)"
    assert dead(ROOT / "docs" / "x.md", text) == ["no.md", "README.md#no"]


def test_each_page_is_in_the_list() -> None:
    listed = links((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    own = ROOT / "docs" / "README.md"  # `make docs` refuses a page without a place
    assert {*PAGES} - {own} <= {(own.parent / link).resolve() for link in listed}
