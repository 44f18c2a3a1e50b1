"""Writes a fleet as a static site, as one JSON file and as CSV."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import datetime
from math import isfinite
from operator import attrgetter
from pathlib import Path
from shutil import rmtree
from typing import Any

import msgspec

from mlgitops import git
from mlgitops.fleet import FleetError, compliance, page
from mlgitops.fleet.compliance import Cell, Row
from mlgitops.fleet.model import LEVELS, Model
from mlgitops.machinery import machinery

MARK = ".fleet"  # in a folder that may be replaced, as it was written here
DATA = "fleet.json"  # written last: without it a fleet is not whole
PAGES = "gh-pages"  # the branch that GitHub Pages serves
EXPLAINED = "explain"  # the folder of pages that explain a version
CELLS = attrgetter(*(each.name for each in fields(Row)))  # of a threshold
PAGE = re.compile(r"[\w.-]+-([0-9a-f]{12})\.html")  # of one of them


def write(models: Sequence[Model], folder: Path, moment: datetime, date: str) -> Path:
    """Write all files of a fleet; return the first page.

    One that breaks off is neither published nor checked, and can be written again.

    Raises:
        FleetError: the folder holds something that is not a fleet.
    """
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names - {EXPLAINED} and MARK not in names:
        raise FleetError(f"{folder} holds other files: name a new folder with --out")
    written, files = moment.isoformat(timespec="seconds"), file_names(models)
    pages = explanations(folder)
    texts = {
        "index.html": page.index(models, files, written),
        "compliance.html": page.compliance(models, date),
        "compliance.csv": compliance.text(_cells(models)),
    }
    for model, name in zip(models, files, strict=True):
        texts[f"models/{name}"] = page.of_model(model, date, pages)
    texts[DATA] = json.dumps(document(models, written), indent=1, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    (folder / DATA).unlink(missing_ok=True)
    if "models" in names:
        rmtree(folder / "models")  # one that has left the fleet leaves its page, too
    (folder / "models").mkdir()
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(folder / name)
    return folder / "index.html"


def explanations(folder: Path) -> dict[str, str]:
    """Return the pages that explain a version, by the start of its manifest's sha256.

    `python -m mlgitops explain --out FOLDER/explain` writes them; they are kept.
    """
    names = [path.name for path in sorted((folder / EXPLAINED).glob("*.html"))]
    found = ((PAGE.fullmatch(name), name) for name in names)
    return {match[1]: f"{EXPLAINED}/{name}" for match, name in found if match}


def document(models: Sequence[Model], written: str) -> dict[str, Any]:
    """Return the fleet as JSON has it, without the thresholds: they are in the CSV."""
    listed = []
    for model in models:  # asdict and astuple would copy each number by itself
        facts = msgspec.to_builtins(replace(model, thresholds=[]))
        del facts["thresholds"]
        listed.append(facts | {"state": model.level})
    record = machinery().record()
    listed = [_finite(each) for each in listed]
    return {"schema": 1, "made": written, "machinery": record, "models": listed}


def _finite(value: Any) -> Any:
    """Return data without numbers that JSON lacks: a refused model may have them."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not isfinite(value) else value


def file_names(models: Sequence[Model]) -> list[str]:
    """Return the name of each model's page: its own where it can be one, else numbered.

    Two models may have the same name, and a name may be any text.
    """
    names, taken = list[str](), set[str]()
    for model in models:
        plain = (
            re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")[:60] or "model"
        )
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names.append(f"{name}.html")
    return names


def failing(folder: Path) -> list[str]:
    """Return the names of the models that fail, by what was written.

    Raises:
        FleetError: nothing was.
    """
    models = json.loads(_written(folder).read_bytes())["models"]
    return [str(model["name"]) for model in models if model["state"] == LEVELS[0]]


def _written(folder: Path) -> Path:
    """Return the JSON of a fleet that was written."""
    if not (folder / MARK).is_file() or not (folder / DATA).is_file():
        raise FleetError(f"{folder} holds no whole fleet: name its repositories first")
    return folder / DATA


def publish(folder: Path) -> str:
    """Put the site on the branch `gh-pages` of origin: one commit without a past.

    Raises:
        FleetError: nothing was written, or that branch has other pages, such as a
            monitor's.
    """
    _written(folder)
    tip = git.fetch_branch(PAGES)
    if tip and git.show(tip, MARK) is None:
        raise FleetError(
            f"origin's branch {PAGES} has pages that are no fleet's: publish from a "
            "repository of its own"
        )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}
    commit = git.commit({**files, ".nojekyll": b""}, "Fleet", "fleet")
    git.remote_run("push", "-q", "--force", "origin", f"{commit}:refs/heads/{PAGES}")
    return f"pushed to the branch {PAGES}"


def _cells(models: Sequence[Model]) -> Iterator[tuple[Cell, ...]]:
    """Give every threshold of every model, with whose it is."""
    for model in models:
        for row in model.thresholds:
            about = (model.name, model.address, model.owner, model.risk)
            yield (*about, *CELLS(row))
