"""The page a person looks at after `make demo`: a repository's life, in order."""

import shutil
from itertools import groupby
from pathlib import Path

from rehearsal.page import pull, rows, summary
from rehearsal.page.document import MERMAID, document
from rehearsal.page.facts import Entry, duration, facts
from rehearsal.page.markdown import render
from rehearsal.page.markup import Html, el, html

GROUPS = {
    "run": "Workflow runs",
    "deployment": "Deployments",
    "report": "Reports",
    "monitoring": "Monitoring",
}


class _Story:
    """A story being written: knows what has been shown already."""

    def __init__(self, folder: Path, story: Entry) -> None:
        self.folder, self.story = folder, story
        self.shown: set[tuple[str, str]] = set()
        self.anchors = {
            f"{kind}-{key}"
            for kind in ("pull", "run")
            for key in story.get(f"{kind}s") or {}
        }

    def find(self, kind: str, key: object) -> Entry | None:
        """Return a pull, run or deployment, whether its key is a number or text."""
        for name, value in (self.story.get(f"{kind}s") or {}).items():
            if str(name) == str(key):
                return {"id": key, "number": key, **value}
        return None

    def first(self, kind: str, key: object) -> bool:
        """Return whether something is shown for the first time, and remember it."""
        seen = (kind, str(key)) in self.shown
        self.shown.add((kind, str(key)))
        return not seen

    def refs(self, refs: list[Entry]) -> Html:
        """Show what a step points at, in order, runs and the like in one list."""
        groups = groupby(refs, key=lambda ref: str(ref.get("kind")))
        return html([self.group(kind, list(group)) for kind, group in groups])

    def group(self, kind: str, refs: list[Entry]) -> Html:
        if kind == "pull":
            return html([self.pull(ref.get("number")) for ref in refs])
        if kind == "text":
            return html([rows.text(ref) for ref in refs])
        title = el("h3", GROUPS.get(kind, kind))
        items = el("ul", [self.row(kind, ref) for ref in refs], class_="rows")
        return el("div", title, items, class_="group")

    def pull(self, number: object) -> Html:
        entry = self.find("pull", number)
        if entry is None:
            return el("ul", rows.missing("pull request", number), class_="rows")
        if self.first("pull", number):
            return pull.card(entry, self.anchors)
        return pull.link(entry)

    def row(self, kind: str, ref: Entry) -> Html:
        if kind == "report":
            return rows.report(ref)
        if kind == "monitoring":
            return rows.decision(ref)
        entry = self.find(kind, ref.get("id"))
        if entry is None:
            return rows.missing(kind, ref.get("id"))
        if not self.first(kind, ref.get("id")):
            entry = {**entry, "id": f"{entry['id']}-{len(self.shown)}"}
        if kind == "run":
            return rows.run(entry, self.folder)
        return rows.deployment(entry)

    def not_shown(self) -> list[Entry]:
        """Return references to everything that no step has shown."""
        return [
            {"kind": kind, key: name}
            for kind, key in (("pull", "number"), ("run", "id"), ("deployment", "id"))
            for name in self.story.get(f"{kind}s") or {}
            if (kind, str(name)) not in self.shown
        ]


def _step(page: _Story, number: int, step: Entry) -> Html:
    ok, seconds = step.get("ok"), duration(float(step.get("seconds") or 0))
    title = step.get("title") or step.get("name")
    text = str(step.get("text") or "")
    return el(
        "section",
        el("span", number, class_=f"bead {'good' if ok else 'bad'}", aria_hidden=True),
        el(
            "header",
            el("h2", title),
            el("p", summary.mark(ok), seconds, class_="muted"),
        ),
        el("div", render(text, page.anchors), class_="markdown") if text else None,
        facts(step.get("facts") or {}),
        page.refs(step.get("refs") or []),
        id=f"step-{number}",
        class_="step",
    )


def write(folder: Path, story: Entry) -> Path:
    """Write `timeline.html` and `mermaid.js` into folder; return the page's path.

    The story is described in this package's `__init__`; whatever text it holds is
    shown as text, and comments as GitHub would show them.
    """
    page, steps = _Story(folder, story), list(story.get("steps") or [])
    sections = [_step(page, n, step) for n, step in enumerate(steps, 1)]
    rest = page.not_shown()
    heading = el("h2", "Also in this repository")
    more = el("section", el("header", heading), page.refs(rest), class_="step")
    main = el(
        "main", sections, more if rest else None, summary.summary(steps), id="main"
    )
    skip = el("a", "Skip to the first step", href="#step-1", class_="skip")
    columns = el("div", summary.rail(steps), main, class_="columns")
    body = html(skip, summary.head(story, steps), columns)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(MERMAID, folder / "mermaid.js")
    file = folder / "timeline.html"
    file.write_text(document(str(story.get("title")), body), encoding="utf-8")
    return file
