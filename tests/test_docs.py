"""Every link of a page leads somewhere, to a heading too; the site's list has all."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
)
TEMPLATE = next(ROOT.glob("{{*}}"))
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


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


def sentences() -> Iterator[str]:
    """Yield what the machinery may print as patterns: anything where a value stands."""
    for file in sorted(TEMPLATE.glob("mlgitops/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            words = [p.value if isinstance(p, ast.Constant) else None for p in parts]
            if any(isinstance(word, str) and len(word) > 9 for word in words):
                yield "".join(
                    re.escape(w) if isinstance(w, str) else ".+" for w in words
                )


def printed(phrase: str, patterns: list[str]) -> bool:
    """Tell whether a phrase is part of what may be printed, or all of it."""
    part = re.escape(phrase)
    return any(part in each or re.fullmatch(each, phrase) for each in patterns)


def test_what_the_runbook_quotes_is_printed() -> None:
    """Who sees a message finds its line."""
    seen = [line.split("|")[1] for line in RUNBOOK.splitlines() if line[:1] == "|"]
    quoted = [phrase for cell in seen for phrase in re.findall(r'(?<!`)"(.+?)"', cell)]
    phrases, patterns = [q for q in quoted if " " in q], [*sentences()]
    assert len(phrases) >= 5
    assert [phrase for phrase in phrases if not printed(phrase, patterns)] == []
    assert not printed("the champion has changed", patterns)


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name
)
def test_each_command_of_a_page_exists(page: Path) -> None:
    """`make` of a repository or of the template; a workflow with these inputs."""
    text = page.read_text(encoding="utf-8")
    makefiles = "\n".join((f / "Makefile").read_text() for f in (ROOT, TEMPLATE))
    targets = set(re.findall(r"^([a-z]+):", makefiles, re.M))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.M)) <= targets
    entry = (TEMPLATE / "mlgitops" / "__main__.py").read_text(encoding="utf-8")
    commands = set(re.findall(r'^ +"([a-z-]+)": \(', entry, re.M))
    assert set(re.findall(r"python -m mlgitops ([a-z-]+)", text)) <= commands
    for name, rest in re.findall(
        r"gh workflow (?:run|enable) (\S+?)\.yml([^`]*)", text
    ):
        file = TEMPLATE / ".github" / "workflows" / f"{name}.yml"
        events = yaml.safe_load(file.read_text(encoding="utf-8"))[True]
        inputs = (events["workflow_dispatch"] or {}).get("inputs", {})
        assert set(re.findall(r"-f (\w+)=", rest)) <= set(inputs)


def test_after_a_merge_nothing_is_judged_again() -> None:
    """`validate` judges open pull requests only."""
    merged = RUNBOOK.partition("## After a merge")[2].partition("\n## ")[0]
    assert "deploy.yml" in merged and "validate.yml" not in merged
