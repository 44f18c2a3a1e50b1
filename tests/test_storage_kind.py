"""A new kind of storage is one choice in cookiecutter.json; the rest is derived."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.exceptions import CookiecutterException

from conftest import FOLDER, Bake
from user import ROOT, baked

KIND, URL = "webdav", "webdav://files.example.com:8443/models"
LOCK = Path("mlgitops", "requirements", f"storage-{KIND}.txt")
REASON = f"{KIND}: a folder on a WebDAV server, because an office has one"


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def with_webdav(template: Path, tmp_path: Path) -> Path:
    """Return a copy of the template with the entry for one more kind of storage."""
    copy = tmp_path / "template"
    shutil.copytree(template, copy)
    questions = json.loads((copy / "cookiecutter.json").read_text())
    questions["storage"].append(KIND)
    questions["__prompts__"]["storage"][KIND] = REASON
    (copy / "cookiecutter.json").write_text(json.dumps(questions, indent=2))
    return copy


def test_one_file_is_changed(template: Path, with_webdav: Path) -> None:
    """`make lock` writes the lock of its packages; nobody types another file."""
    before, after = contents(template), contents(with_webdav)
    changed = [path for path in after if after[path] != before.get(path)]
    assert changed == ["cookiecutter.json"] and set(before) == set(after)
    command = ("make", "--dry-run", "lock", f"PYTHON={sys.executable}")
    recipe = subprocess.run(
        command, cwd=with_webdav, check=True, capture_output=True, text=True
    ).stdout
    (kinds,) = re.findall(r"^printf 'dvc\[%s\]\\n' (.*) >", recipe, re.M)
    assert KIND in kinds.split() and not {"branch", "local"} & set(kinds.split())
    assert f"for kind in {kinds}; do" in recipe


def test_every_kind_is_locked() -> None:
    """The other way round, too: no lock is left of a kind that is gone."""
    choices = json.loads((ROOT / "cookiecutter.json").read_text())["storage"]
    locks = (ROOT / FOLDER / "mlgitops" / "requirements").glob("storage-*.txt")
    kinds = {file.stem.removeprefix("storage-"): file.read_text() for file in locks}
    assert set(kinds) == set(choices) - {"branch", "local"}
    for kind, lock in kinds.items():
        assert re.search(rf"^dvc-{kind}==", lock, re.M), kind


def test_no_workflow_knows_a_kind() -> None:
    """A login is the text of .dvc/config.local, whatever the kind is."""
    choices = json.loads((ROOT / "cookiecutter.json").read_text())["storage"]
    kinds = "|".join({*choices, "aws", "azure", "google"} - {"branch", "local"})
    for file in (ROOT / FOLDER / ".github" / "workflows").glob("*.yml"):
        assert not re.search(rf"(?i)\b({kinds})(_|\b)", file.read_text()), file.name


@pytest.mark.bakes
def test_a_generated_repository_knows_the_kind(
    with_webdav: Path, tmp_path: Path
) -> None:
    """.dvc/config, the locks to install, and what the doctor says."""
    (with_webdav / FOLDER / LOCK).write_text("dvc-webdav==3.0.1\n")  # by `make lock`
    project = baked(with_webdav, tmp_path, {"storage": KIND, "storage_url": URL})
    config = configparser.RawConfigParser()
    config.read(project / ".dvc" / "config")
    assert config["'remote \"storage\"'"]["url"] == URL
    assert str(LOCK) in mlgitops(project, "install", "--list", "ops")
    assert f"storage is {URL}" in mlgitops(project, "doctor")
    assert "make setup" in line_of(mlgitops(project, "doctor"), URL)

    (project / LOCK).unlink()  # negative control: a kind without a lock is named
    assert str(LOCK) not in mlgitops(project, "install", "--list", "ops")
    assert "make lock" in line_of(mlgitops(project, "doctor"), URL)


@pytest.mark.bakes
def test_an_unlisted_kind_is_refused(bake: Bake) -> None:
    with pytest.raises((CookiecutterException, ValueError)):
        bake(storage=KIND, storage_url=URL)


def mlgitops(project: Path, *arguments: str) -> str:
    """Return what a command of the machinery prints."""
    command = (sys.executable, "-m", "mlgitops", *arguments)
    env = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True
    ).stdout


def line_of(text: str, part: str) -> str:
    """Return the one line that contains a part."""
    (line,) = [line for line in text.splitlines() if part in line]
    return line
