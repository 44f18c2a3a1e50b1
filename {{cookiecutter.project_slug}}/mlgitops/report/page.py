"""The same report as one HTML file: nothing is cut, plots are drawn, nothing is loaded.

Same facts, same order as the comment. No script, and a policy that allows none: what a
stranger wrote is inert twice.
"""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from mlgitops.report import plots
from mlgitops.report.document import document
from mlgitops.report.facts import Facts
from mlgitops.report.render import foot, head
from mlgitops.report.sections import SECTIONS
from mlgitops.report.text import details

STYLES = (Path(__file__).with_name("page.css"), plots.STYLE)
CHART = re.compile(r"^```mermaid\n.*?^```\n+", re.M | re.S)


def write(facts: Facts) -> Path:
    """Write the file to where `validate` hands it over from; return its path."""
    file = Path("build", "report.html")
    file.parent.mkdir(exist_ok=True)
    file.write_text(page(facts), encoding="utf-8")
    return file


def page(facts: Facts) -> str:
    """Return the whole file."""
    text = [part.replace("[!CAUTION]", "**⚠ Caution**<br>") for part in head(facts)]
    for section in SECTIONS:
        if body := section.body(facts):
            plot = section.plot(facts) if section.plot else ""
            text.append(
                details(section.title, plot + CHART.sub("", body), section.open)
            )
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = markdown.render("\n\n".join([*text, foot(facts)]))
    of = f" of #{facts.pull_request}" if facts.pull_request else ""
    return document(f"Validation report{of}", f"<main>\n{body}</main>", STYLES)
