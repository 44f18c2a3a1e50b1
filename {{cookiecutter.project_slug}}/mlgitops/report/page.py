"""The same report as one HTML file: nothing is cut, plots are drawn, nothing is loaded.

Same facts, same order as the comment. No script, and a policy that allows none: what a
stranger wrote is inert twice.
"""

import re
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.render import foot, head
from mlgitops.report.sections import SECTIONS
from mlgitops.report.text import details

STYLES = (Path(__file__).with_name("page.css"), plots.STYLE)
CHART = re.compile(r"^```mermaid\n.*?^```\n+", re.M | re.S)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


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
    style = "".join(path.read_text() for path in STYLES)
    of = f" of #{facts.pull_request}" if facts.pull_request else ""
    title = f"Validation report{of}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body><main>\n{body}</main></body>\n</html>\n"
    )
