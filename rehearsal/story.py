"""Collects what the page shows: the last state of pulls, runs and deployments."""

import shutil
from pathlib import Path
from typing import Any

from rehearsal.world import World


def collect(world: World) -> dict[str, Any]:
    """Return the story that ``rehearsal.page.write`` draws."""
    play = world.play
    return {
        "title": "The life of one model",
        "subtitle": "Every pull request, report and deployment of one rehearsal, "
        "through the real git, dvc, act and gh",
        "ok": play.ok,
        "seconds": play.seconds(),
        "steps": [vars(step) for step in play.steps],
        "pulls": {pull["number"]: _pull(world, pull) for pull in _pulls(world)},
        "runs": {run.id: _run(world, run) for run in world.forge.runs},
        "deployments": {entry["id"]: entry for entry in world.releases()},
    }


def _pulls(world: World) -> list[dict[str, Any]]:
    """Return all pull requests, oldest first."""
    pulls = world.rita.api("pulls?state=all&per_page=100")
    return sorted(pulls, key=lambda pull: int(pull["number"]))


def _pull(world: World, pull: dict[str, Any]) -> dict[str, Any]:
    """Return one pull request with its comments, reviews and statuses."""
    number, head = pull["number"], pull["head"]
    comments = world.rita.api(f"issues/{number}/comments")
    for comment in comments[:1]:  # as a file too: README's picture is one of them
        file = world.folder / "reports" / f"pull-{number}.md"
        file.parent.mkdir(exist_ok=True)
        file.write_text(comment["body"], encoding="utf-8")
    reviews = world.rita.api(f"pulls/{number}/reviews")
    statuses = world.rita.api(f"commits/{head['sha']}/status")["statuses"]
    details = world.rita.api(f"pulls/{number}")
    return {
        "number": number,
        "title": pull["title"],
        "author": pull["user"]["login"],
        "head": head["ref"],
        "base": pull["base"]["ref"],
        "state": "merged" if pull.get("merged_at") else pull["state"],
        "body": pull["body"] or "",
        "comments": [
            {"author": c["user"]["login"], "body": c["body"], "time": c["created_at"]}
            for c in comments
        ],
        "statuses": [
            {k: s.get(k) or "" for k in ("context", "state", "description")}
            for s in statuses
        ],
        "reviews": [{"user": r["user"]["login"], "state": r["state"]} for r in reviews],
        "merged_by": (details.get("merged_by") or {}).get("login"),
        "fork": bool(head["repo"]["fork"]),
    }


def _run(world: World, run: Any) -> dict[str, Any]:
    """Return one workflow run, its log copied beside the page."""
    logs = world.folder / "logs"
    logs.mkdir(exist_ok=True)
    copy = logs / f"{run.id}-{Path(run.path).stem}.txt"
    if Path(run.log_path).is_file():
        shutil.copyfile(run.log_path, copy)
    return {
        "id": run.id,
        "workflow": Path(run.path).name,
        "event": run.event,
        "title": run.title,
        "conclusion": run.conclusion or run.status,
        "seconds": run.seconds,
        "log": copy.relative_to(world.folder).as_posix(),
    }
