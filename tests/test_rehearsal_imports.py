"""What the modules of the rehearsal import: no circle, and nothing of a project."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "rehearsal" / "actions"  # scripts of stand-ins, not modules
OF_A_PROJECT = {"mlgitops", "model", "machinery"}


def modules(root: Path) -> dict[str, ast.Module]:
    """Return module name -> its syntax tree."""
    return {
        ".".join(file.relative_to(root).with_suffix("").parts): ast.parse(
            file.read_text()
        )
        for file in (root / "rehearsal").rglob("*.py")
        if PROGRAMS not in file.parents
    }


def imported(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports, also in functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = name.split(".")[: -node.level] if node.level else []
            package = ".".join([*parent, *filter(None, [node.module])])
            yield from (f"{package}.{alias.name}" for alias in node.names)


def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return module -> the modules of the rehearsal that it imports."""
    known = {name.removesuffix(".__init__"): name for name in trees}
    edges: dict[str, set[str]] = {}
    for name, tree in trees.items():
        full = (n if n in known else n.rpartition(".")[0] for n in imported(name, tree))
        edges[name] = {known[n] for n in full if n in known} - {name}
    return edges


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = graph(modules(ROOT))
    assert edges["rehearsal.forge.events"] >= {"rehearsal.forge.runs"}
    TopologicalSorter(edges).prepare()


@pytest.mark.parametrize("hidden", ["if TYPE_CHECKING:", "def late():"])
def test_a_hidden_circle_is_found(hidden: str, tmp_path: Path) -> None:
    package = tmp_path / "rehearsal"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from . import two\n")
    (package / "two.py").write_text(f"{hidden}\n    from .one import One\n")
    with pytest.raises(CycleError):
        TopologicalSorter(graph(modules(tmp_path))).prepare()


def test_the_rehearsal_never_knows_the_inside_of_a_project() -> None:
    for name, tree in modules(ROOT).items():
        roots = {each.split(".")[0] for each in imported(name, tree)}
        assert not roots & OF_A_PROJECT, name
