"""Storage of a cloud, or on a host, that fails: each case against a real server.

A proxy on loopback stands before it, and the packages are those of a generated
repository. Each day one kind has its turn with a part of the cases; `PROOF=1` has all.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import bytecode
from machinery import lengths, storage_cases, warm
from rehearsal import storages
from rehearsal.__main__ import KINDS
from user import ROOT, Project, generate

BIN = ROOT / ".venv" / "bin"
PARTS = 5  # of the cases, one a day; no multiple of the kinds, so that all pairs come
PROGRAMS = {"azure": "npm", "ssh": "/usr/sbin/sshd"}  # of a server, beside packages
LIMIT = 300  # seconds for a case
# Packages of the clouds wait for up to a minute between two tries.
HURRY = """\
import asyncio

wait = asyncio.sleep
asyncio.sleep = lambda seconds, *result: wait(seconds / 20, *result)
"""


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """Mount a disk of 20 MB that a host can fill; yield "" where that may not be."""
    folder.mkdir(parents=True)
    mount = ("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder))
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        yield ""
        return
    try:
        yield str(folder)
    finally:
        subprocess.run(("umount", "-l", str(folder)), check=True)


def installed(template: Path, folder: Path, kind: str) -> Project:
    """Return a repository with storage of a kind, and the packages that it installs."""
    (folder / "home").mkdir()
    answers = {"storage": kind, "storage_url": f"{kind}://models/flights"}
    made = generate(template, folder, folder / "home", **answers)
    made.run("git", "init", "--quiet")
    made.run(str(BIN / "uv"), "venv", "--quiet", ".venv")
    locks = made.run("python3", "-m", "mlgitops", "install", "--list", "ops").split()
    sync = (str(BIN / "uv"), "pip", "install", "--quiet", "--python", ".venv")
    made.run(*sync, "--require-hashes", *(f"-r{lock}" for lock in locks))
    return made


def ground(project: Project, folder: Path) -> Path:
    """Return a repository with an origin, in which the cases are played."""
    here = folder / "here"
    project.run("git", "init", "-q", "--bare", "-b", "main", str(folder / "origin"))
    project.run("git", "clone", "-q", str(folder / "origin"), str(here))
    project.run("git", "-C", str(here), "commit", "-q", "--allow-empty", "-m", "start")
    project.run("git", "-C", str(here), "push", "-q", "origin", "HEAD:main")
    (here / ".dvc").mkdir()
    return here


@contextmanager
def forking(project: Project, folder: Path) -> Iterator[Path]:
    """Yield a program that is the repository's Python, and starts DVC in a moment."""
    python = str(project.folder / ".venv" / "bin" / "python")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HURRY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        server, text = warm.serving(python, folder, project.folder)
    program = folder / "python"
    program.write_text(text)
    program.chmod(0o755)
    try:
        yield program
    finally:
        server.communicate(timeout=60)  # its stdin ends, so it ends


def played(
    project: Project, here: Path, service: storages.Service, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Play cases, with the packages of the repository; return what each did."""
    file = here.parent / "settings.json"
    logins = {n: service.text(getattr(service, n)) for n in ("writer", "reader")}
    (port,) = re.findall(r"127\.0\.0\.1:(\d+)", service.url + logins["writer"])[:1]
    about = {"kind": service.kind, "url": service.url, "port": int(port)}
    file.write_text(json.dumps({**settings, **logins, **about}))
    python = Path(settings["python"])
    paths = (project.folder, ROOT / "tests", python.parent)  # with its sitecustomize
    done = subprocess.run(
        (project.folder / ".venv/bin/python", "-m", "machinery.faulty", file),
        cwd=here,
        env={
            **project.env,
            **service.home(here.parent / "home"),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT * len(settings["cases"]),
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == len(settings["cases"]), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", lengths.turn(storages.STORAGES, days=4))
def test_each_fault_is_one_sentence_and_the_same_command_goes_on(
    kind: str, template: Path, tmp_path: Path
) -> None:
    if kind in PROGRAMS and not shutil.which(PROGRAMS[kind]):
        pytest.skip(f"there is no {PROGRAMS[kind]}, which serves {kind}")
    cases = lengths.turn(storage_cases.cases(kind), days=PARTS)
    project = installed(template, tmp_path, kind)
    store = tmp_path / "server" / "store"
    with (
        small_disk(store) if kind == "ssh" else nullcontext("") as disk,
        storages.serving(kind, tmp_path / "server", BIN) as service,
        forking(project, tmp_path / "warm") as python,
    ):
        if kind == "ssh" and not disk:  # only root may mount one
            cases = [case for case in cases if case[0] != "full"]
        settings = {"cases": cases, "disk": disk, "python": str(python)}
        records = played(project, ground(project, tmp_path), service, settings)
    bytecode.keep(project.folder / ".venv")
    assert [(r["fault"], r["operation"]) for r in records] == cases
    assert not [record for record in records if "wrong" in record]
    assert all(record["sentence"] for record in records)


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of docs/storage.md."""
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_says_of_each_kind_what_is_played() -> None:
    """A kind, a fault or an operation that is new is missing there until it is told."""
    kinds = json.loads((ROOT / "cookiecutter.json").read_text())["storage"]
    head, _, *rows = table("What is played")
    assert head == ["kind", "against", "whole loop", *storage_cases.CASES, "cases"]
    assert sorted(row[0] for row in rows) == sorted(kinds) == sorted(KINDS)
    for kind, server, loop, *numbers, total in rows:
        assert server and loop.startswith("to the ")
        assert (loop == "to the end") == (kind == "branch")
        cases = storage_cases.cases(kind)
        each = [sum(case[0] == fault for case in cases) for fault in head[3:-1]]
        assert numbers == [str(number or "–") for number in each], kind
        assert total == str(len(cases)), kind
    head, _, *rows = table("The faults")
    told = {fault: tuple(operations.split(", ")) for fault, operations, *_ in rows}
    assert told == storage_cases.CASES
