"""Five monitors at once, as processes, on the local forge: one pull request."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from test_generated import Project

from rehearsal.forge import Forge

REPO = "acme/flights"
TOOLS = Path(sys.executable).parent

# The generated repository's own tests know how to make a small production.
SETUP = """
import os, sys
from pathlib import Path
import numpy as np, pandas as pd
from tests import traffic
from tests.test_retrain import CONTRACT, World, run
from ops.monitor import reference
world = World(Path(sys.argv[1]), None)
world.build()
columns = ["temp", "carrier", "distance"]
table = traffic.flights(4000, 74, 28, seed=9)
table["late"] = 1 - table["late"]  # the world turns
model = reference.Model(Path("build/model.onnx"), CONTRACT, columns)
table["probability"] = model.score(table)
traffic.write(world.log, table, sha=world.manifest)
traffic.label(world.labels, table)
"""


@pytest.mark.slow
def test_f15_five_monitors_at_once_leave_one_pull_request(
    bake: Bake, tmp_path: Path
) -> None:
    project = bake()
    Project(project, tmp_path).run("make", "setup")
    python = str(project / ".venv" / "bin" / "python")
    with Forge(tmp_path / "forge", TOOLS) as forge:
        token = forge.user("boss", admin=True)
        url = forge.repository("acme", "flights")
        env = {**forge.gh_env(token), "GH_TOKEN": token, "GITHUB_REPOSITORY": REPO}
        env |= {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        env |= {"PREDICTION_LOG": f"{tmp_path}/log", "LABELS": f"{tmp_path}/labels.csv"}
        path = f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, **env, "PATH": path}

        def run(*command: str, cwd: Path = tmp_path) -> str:
            done = subprocess.run(command, cwd=cwd, env=env, capture_output=True)
            assert done.returncode == 0, (done.stdout + done.stderr).decode()
            return done.stdout.decode()

        run("git", "clone", "-q", url, "first")
        run("git", "switch", "-q", "-C", "main", cwd=tmp_path / "first")
        run(python, "-c", SETUP, str(tmp_path), cwd=tmp_path / "first")
        for number in range(5):
            run("git", "clone", "-q", url, f"runner-{number}")
        script = f"{python} -m ops.monitor --record && {python} -m ops.retrain"
        running = [
            subprocess.Popen(
                ("sh", "-c", script),
                cwd=tmp_path / f"runner-{number}",
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for number in range(5)
        ]
        said = [process.communicate(timeout=300)[0].decode() for process in running]
        codes = [process.returncode for process in running]
        assert codes == [0] * 5, "\n".join(said)

        def api(path: str) -> Any:
            return json.loads(run("gh", "api", f"repos/{REPO}/{path}"))

        pulls = api("pulls?state=all")
        assert [pull["state"] for pull in pulls] == ["open"], "\n".join(said)
        assert sum("opened #" in text for text in said) == 1
        heads = run("git", "ls-remote", "--heads", url, "retrain/*").splitlines()
        assert len(heads) == 1
        ledger = run("git", "ls-remote", url, "refs/heads/ledger").split()[0]
        run("git", "fetch", "-q", url, ledger, cwd=tmp_path / "first")
        tree = ("git", "ls-tree", "-r", "--name-only", ledger, "monitoring/")
        names = run(*tree, cwd=tmp_path / "first").split()
        assert len([name for name in names if name.endswith(".json")]) == 1
