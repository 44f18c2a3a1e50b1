"""Takes what is of the example only out of README.md and pyproject.toml; pure.

Each passage goes where it stands as the template wrote it, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from mlgitops.report import text as inert
from mlgitops.table.plan import Plan

QUESTION = "Will this flight arrive 15 minutes late or more?"  # as long as nobody asked
REQUEST = """\
python -c 'import json; golden = json.load(open("build/manifest.json"))["golden"]
print(json.dumps({"rows": [golden[0]["row"]]}))' > build/row.json
"""
PASSAGES = {
    "  # your table; without it, the example stays": (
        "  # a newer file: what it would change"
    ),
    " The example is flights of 2013; `make data` brings your table.": "",
    "## From flights to your data": "## From your table to this model",
    " The flights are US government data: `data/README.md`.": (
        " Where the data come from: `data/README.md`."
    ),
}


def readme(text: str, plan: Plan) -> str:
    """Return README.md without the example."""
    for passage, instead in PASSAGES.items():
        text = text.replace(passage, instead)
    start = text.find('echo \'{"rows"')
    end = text.find("curl http://127.0.0.1:8080/predict", start)
    if start >= 0 and '"dest": "ORD"' in text[start:end]:
        text = text[:start] + REQUEST + text[end:]
    return text.replace(f"\n{QUESTION}\n", f"\n{_purpose(plan, inert)}\n")


def pyproject(text: str, plan: Plan) -> str:
    """Return pyproject.toml without the example."""
    line = f'description = "{QUESTION}"'
    return text.replace(line, f"description = {json.dumps(_purpose(plan))}")


def _purpose(plan: Plan, inert: Callable[[str], str] = str) -> str:
    """Say what the model does; `inert` is applied to what the table named."""
    name = " ".join(plan.target.name.split())
    return f"Predicts {inert(name)} ({plan.target.task})."
