"""A folder as the template generates it, and `make data` in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mlgitops import settings as every
from mlgitops.commands import data
from mlgitops.judge import gates
from mlgitops.pipeline import schema, settings
from mlgitops.pipeline.contract import Contract

ROOT = Path.cwd()
LEFT = (".git", ".venv", "build", "mlgitops", "cache", "tmp", "dvc.lock", "__pycache__")
LEFT += (".hypothesis", ".*_cache", "artifact", "logs", "reports")
NAMES = ("file", "target", "name", "id", "time", "group", "sensitive", "positive")
NAMES += ("part", "holdout")
NAMES += ("task", "drop", "split", "types", "unlabelled")


def copy(folder: Path) -> Path:
    """Copy what a new repository has, without the machinery and what is built later."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT))
    return folder


def make(file: Path | str, target: str, force: bool = False, **given: str) -> str:
    """Run `make data` here; return "" or what a refusal says."""
    options = {**dict.fromkeys(NAMES, ""), "file": str(file), "target": target, **given}
    try:
        data.run(options, force)
    except SystemExit as refusal:
        return str(refusal)
    return ""


def contract() -> dict[str, Any]:
    """Return contract.yaml, checked by the spec and by what reads it."""
    document = schema.mapping(Path("contract.yaml").read_bytes(), "contract.yaml")
    for name, entries in document["columns"].items():
        assert entries["type"] in (
            "number",
            "integer",
            "boolean",
            "category",
            "datetime",
            "text",
        )
        assert isinstance(entries["missing"], bool), name
        if entries["type"] == "integer":
            assert type(entries["min"]) is type(entries["max"]) is int
            assert -(2**24) <= entries["min"] < entries["max"] <= 2**24
        if entries["type"] == "category":
            assert entries["categories"] and all(
                isinstance(value, str) for value in entries["categories"]
            )
    Contract.parse(document)
    return document


def params(task: str) -> dict[str, Any]:
    """Return params.yaml, checked by all that reads it."""
    document = schema.mapping(Path("params.yaml").read_bytes(), "params.yaml")
    every.check(document, Contract.parse(contract()))
    gates.parse(document, task)
    recipe = settings.train(document, task)
    assert set(recipe.columns) <= set(contract()["columns"])
    assert "business" not in document
    assert "fairness" not in document or contract()["sensitive"]
    return document


def path() -> Path:
    """Return the path of the table that dvc.yaml names."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    (source,) = (d for d in stages["prepare"]["deps"] if d.endswith(".parquet"))
    assert source in stages["prepare"]["cmd"]
    return Path(source)


def table() -> pd.DataFrame:
    """Return the table that dvc.yaml names."""
    return pd.read_parquet(path())


def frame(count: int = 400, **columns: Any) -> pd.DataFrame:
    """Return a table with a target `y` that hangs on `x`, and other columns."""
    import numpy as np

    random = np.random.default_rng(5)
    x = random.normal(size=count).round(3)
    y = (x + random.normal(size=count) > 0).astype(int)
    return pd.DataFrame({"x": x, **columns, "y": y})
