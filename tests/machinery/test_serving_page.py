"""Blocks of docs/requests.md and docs/serving.md, typed as the example's user does."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import described, tiny

DOCS = Path(__file__).parents[2] / "docs"
OWN_TEST = "tritonclient"  # not installed here: test_open_inference_client.py
GH = '#!/bin/sh\necho "$@" >> gh.txt\n'


def blocks(name: str) -> list[tuple[str, str]]:
    """Return each block of a page: its kind, and its text."""
    if not DOCS.is_dir():
        pytest.skip("only the tests are here")
    return re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / name).read_text(), re.M | re.S)


def typed(folder: Path, commands: str) -> str:
    """Type commands in a folder, in one shell; return what they print."""
    programs = folder / "programs"
    programs.mkdir()
    (programs / "gh").write_text(GH)
    (programs / "gh").chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python").chmod(0o755)
    env = os.environ | {"PYTHONPATH": str(tiny.ROOT)}
    env["PATH"] = f"{programs}:{env['PATH']}"
    done = subprocess.run(
        ("bash", "-e", "-c", commands), cwd=folder, env=env, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.decode()


def test_each_block_works(tmp_path: Path) -> None:
    """Commands in the order of the pages, so that later ones use what earlier made."""
    contract = (tiny.ROOT / "contract.yaml").read_text(encoding="utf-8")
    if yaml.safe_load(contract)["name"] != "flights":
        pytest.skip("the page has the columns of the example")
    described.version(tmp_path / "build", contract)
    found = blocks("serving.md")
    assert {kind for kind, _ in found} == {"console", "python", "yaml"}
    names: dict[str, Any] = {}
    log = ("--log", f"{tmp_path}/build/log", "--log-wait", "60")  # shipped just after
    with tiny.server(tmp_path / "build", *log) as (port, _):
        for block in (b for kind, b in found if kind == "python" and OWN_TEST not in b):
            exec(block.replace(":8080", f":{port}"), names)
        pages = blocks("requests.md") + found
        commands = "".join(block for kind, block in pages if kind == "console")
        commands = commands.replace("curl -s", "curl -sf").replace(":8080", f":{port}")
        out = typed(tmp_path, commands.replace("s3://bucket/log", "shipped"))
    assert names["predictions"].column("id").to_pylist() == ["a", "b"]
    assert '"contributions"' in out and '"predictions"' in out
    assert "shipped 4 lines" in out and [*tmp_path.glob("shipped/day=*/*.parquet")]
    assert (tmp_path / "build/openapi.json").stat().st_size > 10_000
    assert (tmp_path / "build/tokens").read_text().startswith("sha256:")
    assert "PREDICTION_LOG" in (tmp_path / "gh.txt").read_text()
    for kind, block in found:
        if kind == "yaml":
            assert yaml.safe_load(block)["kind"] == "InferenceService"
