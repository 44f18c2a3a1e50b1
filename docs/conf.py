"""How `make docs` builds a site of these pages; without it they read on GitHub.

The links of docs/README.md, in their order, are the site's contents.
"""

import re

from sphinx.application import Sphinx

project = "cookiecutter-ml-gitops"
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/*.md", "benchmarks/*.md"]
root_doc = "docs/README"
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # mermaid is drawn by GitHub
LINK = re.compile(r"\]\(((?:\.\./)?[\w/-]+)\.md\)")


def contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the list of pages that GitHub does not need."""
    if name == root_doc:
        pages = "\n".join(dict.fromkeys(LINK.findall(source[0])))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Tell Sphinx."""
    app.connect("source-read", contents)
