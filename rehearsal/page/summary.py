"""What frames the steps: the head, the rail of steps, the summary at the end."""

from rehearsal.page.facts import Entry, duration, equality, readings
from rehearsal.page.markup import Html, el, icon

Steps = list[Entry]


def mark(ok: object) -> Html:
    """Return the icon of a step that passed or failed."""
    name, alt = ("check-circle-fill", "passed") if ok else ("x-circle-fill", "failed")
    return el("span", icon(name, alt), class_="good" if ok else "bad")


def rail(steps: Steps) -> Html:
    """Return the list of steps beside the page."""
    items = [
        el(
            "li",
            el(
                "a",
                mark(step.get("ok")),
                el("span", step.get("title") or step.get("name")),
                el("small", duration(float(step.get("seconds") or 0))),
                href=f"#step-{number}",
            ),
        )
        for number, step in enumerate(steps, 1)
    ]
    end = el("li", el("a", icon("history"), el("span", "Summary"), href="#summary"))
    return el("nav", el("ol", items, end), class_="rail", aria_label="Steps")


def head(story: Entry, steps: Steps) -> Html:
    """Return title, verdict and counts."""
    passed = sum(bool(step.get("ok")) for step in steps)
    pulls = list((story.get("pulls") or {}).values())
    merged = sum(pull.get("state") == "merged" for pull in pulls)
    counts = [
        (f"{passed} of {len(steps)}", "steps passed"),
        (duration(float(story.get("seconds") or 0)), "in total"),
        (len(pulls), f"pull requests, {merged} merged"),
        (len(story.get("runs") or {}), "workflow runs"),
        (len(story.get("deployments") or {}), "deployments"),
    ]
    tiles = [el("div", el("dd", n), el("dt", unit)) for n, unit in counts]
    ok = story.get("ok")
    verdict = f"All {len(steps)} steps passed" if ok else "A step failed"
    return el(
        "header",
        el("p", mark(ok), verdict, class_=f"verdict {'good' if ok else 'bad'}"),
        el("h1", story.get("title")),
        el("p", story.get("subtitle"), class_="subtitle"),
        el("dl", tiles, class_="tiles"),
        class_="head",
    )


def summary(steps: Steps) -> Html:
    """Return the time of each step, and each hash that had to be equal everywhere."""
    longest = max([float(s.get("seconds") or 0) for s in steps] or [0]) or 1
    table = [_timed(n, step, longest) for n, step in enumerate(steps, 1)]
    equal = [
        el("div", el("p", step.get("title"), class_="muted"), equality(name, values))
        for step in steps
        for name, values in readings(step.get("facts") or {}).items()
    ]
    return el(
        "section",
        el("header", el("h2", "Summary")),
        el("ol", table, class_="times"),
        el("h3", "What was reviewed is what runs") if equal else None,
        equal,
        id="summary",
        class_="step",
    )


def _timed(number: int, step: Entry, longest: float) -> Html:
    seconds = float(step.get("seconds") or 0)
    title = step.get("title") or step.get("name")
    bar = el("span", style=f"width:{100 * seconds / longest:.1f}%", class_="bar")
    name = el("a", title, href=f"#step-{number}")
    return el("li", mark(step.get("ok")), name, el("b", duration(seconds)), bar)
