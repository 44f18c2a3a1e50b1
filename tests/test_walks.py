"""The walks in ARCHITECTURE.md: each hop is there, and knows the next one."""

import ast
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
HOP = re.compile(r"`([\w/]+\.py)`((?:,? `\w+`)*)")


def walks(text: str) -> dict[str, list[str]]:
    """Return the lines of each walk by its title."""
    section = text.split("## Three walks")[1].split("\n## ")[0]
    parts = re.split(r"^\*\*(.+)\*\*$", section, flags=re.M)
    return {
        title: re.findall(r"^\d+\. (.+)$", body, re.M)
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


WALKS = walks((ROOT / "ARCHITECTURE.md").read_text())
HOPS = [(title, line) for title, lines in WALKS.items() for line in lines]


def defined(path: Path) -> set[str]:
    """Return the functions, methods and classes of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def imports(path: Path, packages: bool = True) -> set[str]:
    """Return the modules of mlgitops that a module imports, as paths.

    A package stands for the modules that its __init__ hands on.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    files = {name.removeprefix("mlgitops.").replace(".", "/") for name in names}
    paths = {f"{name}.py" for name in files}
    inits = {f"{name}/__init__.py" for name in files}
    for init in inits if packages else ():
        if (PROJECT / "mlgitops" / init).is_file():
            paths |= imports(PROJECT / "mlgitops" / init, packages=False)
    return paths | inits


def modules(line: str) -> list[str]:
    """Return the modules that a hop names."""
    return [module for module, _ in HOP.findall(line)]


@pytest.mark.parametrize(("title", "line"), HOPS, ids=[line[:40] for _, line in HOPS])
def test_a_hop_is_there(title: str, line: str) -> None:
    found = HOP.findall(line)
    assert found, f"{title}: a hop names its module"
    for module, names in found:
        wanted = set(re.findall(r"`(\w+)`", names))
        path = PROJECT / "mlgitops" / module
        assert wanted and wanted <= defined(path), (module, wanted - defined(path))


def connected(first: str, second: str) -> bool:
    """Return whether a hop of one process knows the next, or a caller knows both."""
    package = PROJECT / "mlgitops"
    ends = modules(first), modules(second)
    if any(set(b) & imports(package / a) for a, b in ((e, ends[1]) for e in ends[0])):
        return True
    if any(set(ends[0]) & imports(package / module) for module in ends[1]):
        return True
    callers = (imports(path) for path in package.rglob("*.py"))
    return any(set(ends[0]) & known and set(ends[1]) & known for known in callers)


@pytest.mark.parametrize("title", WALKS)
def test_a_hop_knows_the_next_one_or_names_what_carries_it(title: str) -> None:
    lines = WALKS[title]
    for first, second in itertools.pairwise(lines):
        assert re.search(r"\[\w+\]$", first) or connected(first, second), first


def test_a_walk_that_does_not_hold_is_found() -> None:
    assert not connected("`serving/app.py` `App`", "`judge/gates.py` `parse`")
