"""Every combination of choices gives exactly the files that it should."""

import ast
import configparser
import functools
import hashlib
import itertools
import json
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from conftest import FOLDER, Bake
from machinery import lengths

CHOICES = json.loads((Path(__file__).parent.parent / "cookiecutter.json").read_text())
RENDERED = {".dvc/config", "CODEOWNERS", "LICENSE", "README.md", "pyproject.toml"}
ONLY = {  # a pattern of paths: the choices that keep them
    r"deploy/(README\.md|agent\..*)": "host",
    r"deploy/kubernetes/.*": "kubernetes",
    r"deploy/Dockerfile": "host kubernetes",
    r"deploy/edge/.*": "edge",
}
LOCKS = ("requirements", "mlgitops/requirements")
COMBINATIONS = list(
    itertools.product(CHOICES["storage"], CHOICES["deploy_target"], CHOICES["license"])
)


def files(folder: Path) -> set[str]:
    """Return the paths of all files in a folder."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def expected(template: Path, choices: tuple[str, ...]) -> set[str]:
    """Return the files that a project of these choices should have."""
    wanted = set()
    for path in files(template / FOLDER):
        owners = [who for what, who in ONLY.items() if re.fullmatch(what, path)]
        if not owners or set(owners[0].split()) & set(choices):
            wanted.add(path)
    return wanted


# Of each storage and target one licence or two; within three days all.
@pytest.mark.bakes
@pytest.mark.parametrize(
    "choices", lengths.turn(COMBINATIONS, lambda choices: choices[:2]), ids="-".join
)
def test_combination(bake: Bake, template: Path, choices: tuple[str, ...]) -> None:
    storage, target, license_ = choices
    project = bake(storage=storage, deploy_target=target, license=license_)
    wanted = expected(template, choices)
    assert files(project) == wanted
    theirs = {path for path in wanted if not path.startswith("mlgitops/")}
    assert len(theirs) <= 50, "the team owns what it can overlook"

    for path in wanted:
        old, new = template / FOLDER / path, project / path
        assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(old.stat().st_mode)
        if path in RENDERED:
            assert not re.search(r"{[{%]|[%}]}|cookiecutter\.", new.read_text()), path
        else:
            assert new.read_bytes() == old.read_bytes(), path
        parse(new.suffix, new.read_bytes())

    config = configparser.RawConfigParser()
    config.read(project / ".dvc" / "config")
    remote = config["'remote \"storage\"'"]
    assert remote["verify"] == "true" and remote["url"].startswith(
        {"branch": "branch", "local": "../../flight-delays"}.get(storage, f"{storage}:")
    )
    assert license_.split("-")[0].lower() in {
        "MIT License": "mit",
        "Apache License": "apache",
        "BSD 3-Clause License": "bsd",
    }.get(
        project.joinpath("LICENSE").read_text().splitlines()[0].strip(), "proprietary"
    )


@functools.cache  # most files are the same in all combinations
def parse(suffix: str, content: bytes) -> None:
    """Parse a file's content as what the end of its name says."""
    match suffix:
        case ".py":
            ast.parse(content)
        case ".toml":
            tomllib.loads(content.decode())
        case ".yaml" | ".yml":
            list(yaml.safe_load_all(content))
        case ".json":
            json.loads(content)


def test_table_names_only_files_that_exist(template: Path) -> None:
    """A row for a file that is gone would hide a file that should be removed."""
    hook = (template / "hooks" / "post_gen_project.py").read_text()
    table = re.search(r"^FILES = ({.*?^})", hook, re.M | re.S)
    assert table
    for paths in ast.literal_eval(table[1]).values():
        for path in paths:
            assert (template / FOLDER / path).exists(), path


def test_rendered_files_are_the_ones_that_vary(template: Path) -> None:
    varies = {
        path
        for path in files(template / FOLDER)
        if b"{{ cookiecutter." in (template / FOLDER / path).read_bytes()
    }
    assert varies == RENDERED


def test_no_template_code_in_what_is_copied(template: Path) -> None:
    for path in files(template / FOLDER) - RENDERED:
        data = (template / FOLDER / path).read_bytes()
        data = data.replace(f"{FOLDER}/mlgitops".encode(), b"")  # the template's folder
        if not path.endswith(".parquet"):
            assert not re.search(rb"{%-? |cookiecutter\.(?!json)", data), path


def test_few_conditionals(template: Path) -> None:
    found = [
        path
        for path in files(template / FOLDER)
        for _ in re.findall(rb"{%-? if", (template / FOLDER / path).read_bytes())
        if not path.endswith(".parquet")
    ]
    assert len(found) <= 5 and len(set(found)) <= 3


def test_no_registry_and_no_path_of_one_machine(template: Path) -> None:
    inside = [template / FOLDER / name for name in LOCKS]
    for folder in (template / "requirements", *inside):
        for path in folder.iterdir():
            text = path.read_text()
            assert not re.search(r"://|index-url|find-links|/(home|root|tmp)/", text)
            assert re.search(r"--hash=sha256:", text)


def test_locks_agree(template: Path) -> None:
    """All groups resolve under one set of constraints."""
    seen: dict[tuple[str, str], str] = {}
    paths = [p for name in LOCKS for p in (template / FOLDER / name).iterdir()]
    for path in paths:
        for name, version, marker in re.findall(
            r"^([\w.-]+)==(\S+)( ;.*?)? \\$", path.read_text(), re.M
        ):
            assert seen.setdefault((name, marker), version) == version, (path, name)
    assert {path.stem for path in paths} >= {"pipeline", "ops", "storage-s3"}
    assert ("pandas", "") in seen and ("onnx", "") in seen


def test_same_answers_give_the_same_bytes(bake: Bake, tmp_path: Path) -> None:
    first = bake()
    shutil.move(first, tmp_path / "first")
    again = bake()
    for path in files(again):
        assert (again / path).read_bytes() == (tmp_path / "first" / path).read_bytes()


def test_post_gen_hook_may_run_again(bake: Bake, template: Path) -> None:
    """Cruft runs it once more on every update."""
    project = bake(deploy_target="edge")
    before = files(project)
    hook = (template / "hooks" / "post_gen_project.py").read_text()
    hook = hook.replace("{{ cookiecutter.deploy_target }}", "edge")
    subprocess.run(("python3", "-c", hook), cwd=project, check=True)
    assert files(project) == before and "deploy/edge/README.md" in before


def test_sizes(template: Path) -> None:
    """The data stays small, hooks stay hooks, workflows stay thin."""
    data = (template / FOLDER).rglob("*.parquet")
    assert 0 < sum(p.stat().st_size for p in data) < 4_000_000
    for hook in (template / "hooks").iterdir():
        tree = ast.parse(hook.read_text())
        imports = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert imports <= {"re", "sys", "shutil", "pathlib"}, hook.name
    for workflow in (template / FOLDER / ".github" / "workflows").iterdir():
        assert len(workflow.read_text().splitlines()) <= 120, workflow.name


def test_the_hashes_of_the_machinery_are_fresh(template: Path) -> None:
    """Stale ones would call what is released modified: `make sums` writes them."""
    folder = template / FOLDER / "mlgitops"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {line[66:]: line[:64] for line in lines}
    there = {
        path: hashlib.sha256((folder / path).read_bytes()).hexdigest()
        for path in files(folder) - {"SHA256SUMS"}
    }
    assert listed == there
