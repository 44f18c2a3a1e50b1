"""Without the folder: the wheel of `mlgitops/` does the same, byte for byte."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from machinery import warm
from mlgitops.machinery import FOLDER, machinery
from mlgitops.testing import Project

ROOT = Path.cwd()
LEFT = shutil.ignore_patterns(".venv", ".git", "build", "__pycache__", "?*.dvc")
# What is measured on the clock, and the moment itself, differ from run to run.
MEASURED = re.compile(r"[\d.]+ ms|[\d.]+ µs|\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*|[\d.]+ s\b")

pytestmark = pytest.mark.slow


class Repository:
    """A generated repository, with the folder or with the wheel."""

    def __init__(self, folder: Path, python: Path) -> None:
        """Keep which Python of which environment runs it."""
        self.folder, self.python = folder, str(python)
        drop = re.compile("GIT|PYTHONPATH")
        self.env = {k: v for k, v in os.environ.items() if not drop.match(k)}
        path = f"{python.parent}{os.pathsep}{self.env['PATH']}"
        self.env |= {"PATH": path, "OMP_NUM_THREADS": "1"}
        self.env |= {"DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "site")}

    def run(self, *command: str, fails: bool | None = False, **env: str) -> str:
        """Run a program; return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert fails in (None, bool(done.returncode)), done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def command(self, *words: str, **more: Any) -> str:
        """Run a command of the machinery."""
        return self.run(self.python, "-m", "mlgitops", *words, **more)

    def built(self) -> dict[str, bytes]:
        """Return every file of build/ that the stages write."""
        names = [out for s in stages(self.folder).values() for out in outs(s)]
        return {name: (self.folder / name).read_bytes() for name in names}

    @contextmanager
    def server(self) -> Iterator[int]:
        """Serve what is in build/, with a log; yield the port."""
        command = ("serve", "--model", "build", "--port", "0", "--log", "build/log")
        process = subprocess.Popen(
            (self.python, "-m", "mlgitops", *command),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout
            found = re.search(r":(\d+)", process.stdout.readline())
            assert found
            yield int(found[1])
        finally:
            process.terminate()  # it writes its log to the end
            process.wait(60)
            assert process.stdout
            process.stdout.close()

    def ask(self, port: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a server's answer to some rows."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        head = {"Content-Type": "application/json"}
        body = json.dumps({"rows": rows}).encode()
        connection.request("POST", "/predict", body, head)
        answer = connection.getresponse()
        assert answer.status == 200
        found: dict[str, Any] = json.loads(answer.read())
        connection.close()
        return found


def stages(folder: Path) -> dict[str, Any]:
    """Return the stages of a repository."""
    found: dict[str, Any] = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    return found


def outs(stage: dict[str, Any]) -> list[str]:
    """Return what a stage writes."""
    return [*stage.get("outs", ()), *stage.get("metrics", ())]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of the example, few enough to build twice."""
    project = Project(ROOT)
    if not project.source.exists():
        pytest.skip(f"{project.source} is not here")
    return project.sample(project.labelled_rows(), 5000)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, and with the packages of this one.

    Only what builds the wheel is fetched.
    """
    home = tmp_path_factory.mktemp("wheel")
    shutil.copytree(FOLDER, home / "mlgitops", ignore=LEFT)
    build = ("uv", "build", "--quiet", "--out-dir", str(home / "dist"))
    subprocess.run((*build, str(home / "mlgitops")), check=True)
    (file,) = (home / "dist").glob("*.whl")
    assert file.name == f"mlgitops-{machinery().version}-py3-none-any.whl"

    venv = ("uv", "venv", "--quiet", "--python", warm.COLD, str(home / "venv"))
    subprocess.run(venv, check=True)
    python = home / "venv/bin/python"
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output((python, "-c", purelib), text=True).strip()
    Path(site, "these.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ("uv", "pip", "install", "--quiet", "--no-deps", "--offline")
    subprocess.run((*install, "--python", str(python), str(file)), check=True)
    return python


@pytest.fixture(scope="module")
def both(
    rows: pd.DataFrame, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Repository, Repository]:
    """The repository with the folder, and without it; both have run their stages."""
    made = []
    for place, python in (("folder", Path(warm.python())), ("wheel", wheel)):
        folder = tmp_path_factory.mktemp(place) / "repository"
        shutil.copytree(ROOT, folder, ignore=LEFT)
        repository = Repository(folder, python)
        source = Project(ROOT).source.relative_to(ROOT)
        rows.to_parquet(folder / source, index=False)
        params = folder / "params.yaml"  # how busy the machine is must not matter
        params.write_text(
            params.read_text().replace("p99_max_ms: 20 ", "p99_max_ms: 2000 ")
        )
        if python == wheel:
            shutil.rmtree(folder / "mlgitops")
            # A folder that is not there is no dependency: the version that is pinned
            # in the requirements takes its place.
            file = folder / "dvc.yaml"
            kept = [
                line
                for line in file.read_text().splitlines(keepends=True)
                if not line.strip().startswith("- mlgitops/")
            ]
            file.write_text("".join(kept))
        repository.run("git", "init", "--quiet")
        dvc = (str(python), "-m", "dvc")
        repository.run(*dvc, "add", "--quiet", str(source))
        repository.run(*dvc, "repro", "--no-run-cache")
        made.append(repository)
    return made[0], made[1]


def test_the_wheel_has_every_file_of_the_folder(wheel: Path) -> None:
    """Bytes too: what is installed says of itself what the folder says."""
    (folder,) = wheel.parent.parent.glob("lib/*/site-packages/mlgitops")
    assert machinery(folder) == machinery()
    for name in ("requirements/ops.txt", "report/page.css", "SHA256SUMS", "VERSION"):
        assert (folder / name).is_file()


def test_what_the_stages_write_is_the_same(both: tuple[Repository, ...]) -> None:
    first, second = both
    found = first.built()
    assert {"build/model.onnx", "build/manifest.json", "build/metrics.json"} <= set(
        found
    )
    assert found == second.built()
    assert not (second.folder / "mlgitops").exists()


def test_the_verdict_is_the_same(both: tuple[Repository, ...]) -> None:
    reports = []
    for repository in both:
        repository.command("validate", "--local", fails=None)
        text = (repository.folder / "build/report.md").read_text()
        parts = [p for p in text.split("<summary>") if not p.startswith("Latency")]
        reports.append([MEASURED.sub("-", part) for part in parts])
    assert "Holdout rows" in str(reports[0]) and reports[0] == reports[1]


def test_server_and_monitor_say_the_same(
    both: tuple[Repository, ...], rows: pd.DataFrame
) -> None:
    contract = Project(ROOT).contract
    table = rows[list(contract.columns)].astype(object)
    asked = table.where(rows[list(contract.columns)].notna(), None).to_dict("records")
    for record, key, time in zip(
        asked, rows[contract.id], rows[contract.time], strict=True
    ):
        record |= {"id": key, "time": time.isoformat()}
    answers, seen = [], []
    for repository in both:
        with repository.server() as port:
            answers.append(repository.ask(port, [asked[-1]]))
            if repository is both[0]:
                for at in range(len(asked) - 3000, len(asked), 500):
                    repository.ask(port, asked[at : at + 500])
    assert answers[0]["predictions"] and answers[0] == answers[1]

    log = both[0].folder / "build/log"
    for repository in both:
        said = repository.command("monitor", fails=None, PREDICTION_LOG=str(log))
        seen.append(MEASURED.sub("-", said))
    assert "build/monitor.html" in seen[0] and "rows" in seen[0], seen[0]
    assert seen[0] == seen[1]
