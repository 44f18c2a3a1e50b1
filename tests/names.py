"""How plainly the machinery names things, and how much of it is typed.

    python tests/names.py [FOLDER]

Prints the share of bindings whose name says nothing of what the thing is, and how often
`Any` stands in 1,000 lines of code, then the ten modules with most of each.
"""

import ast
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MACHINERY = ROOT / "{{cookiecutter.project_slug}}" / "mlgitops"
GENERIC = frozenset(
    "about agreed answer answered asked at beside both fed found given here know "
    "known like made mine most new now old one other ours place places read said "
    "same seen side sides some spoken that their theirs there thing things told "
    "tried wanted what where which who whole whose why wish word words yours".split()
)


@dataclass(frozen=True)
class Count:
    """What was counted in one module, or in all of them."""

    lines: int
    bindings: int
    generic: Counter[str]
    anys: int

    def __add__(self, other: "Count") -> "Count":
        """Return both counts as one."""
        return Count(
            self.lines + other.lines,
            self.bindings + other.bindings,
            self.generic + other.generic,
            self.anys + other.anys,
        )

    @property
    def generic_share(self) -> float:
        """The share of bindings with a generic name."""
        return self.generic.total() / max(self.bindings, 1)

    @property
    def anys_per_thousand(self) -> float:
        """How often `Any` stands in 1,000 lines."""
        return 1000 * self.anys / max(self.lines, 1)


NONE = Count(0, 0, Counter(), 0)


def bindings(tree: ast.AST) -> list[str]:
    """Return each name that code binds: variables, arguments, fields, functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
    return [name for name in names if name not in ("self", "cls", "_")]


def count(text: str) -> Count:
    """Count one module."""
    tree = ast.parse(text)
    names = bindings(tree)
    anys = sum(
        isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree)
    )
    generic = Counter(n for n in names if n.strip("_").lower() in GENERIC)
    return Count(len(text.splitlines()), len(names), generic, anys)


def survey(folder: Path = MACHINERY) -> dict[str, Count]:
    """Return the count of each module of a folder."""
    paths = sorted(folder.rglob("*.py"))
    return {str(p.relative_to(folder)): count(p.read_text()) for p in paths}


def main() -> None:
    """Print both figures, and where to look first."""
    counts = survey(*(Path(argument) for argument in sys.argv[1:2]))
    total = sum(counts.values(), NONE)
    print(
        f"{total.lines:,} lines, {total.bindings:,} bindings: "
        f"{total.generic_share:.1%} with a generic name, "
        f"{total.anys_per_thousand:.1f} Any per 1,000 lines"
    )
    print(
        "most often:", ", ".join(f"{n} {c}" for n, c in total.generic.most_common(20))
    )
    by_names = sorted(counts, key=lambda name: -counts[name].generic.total())[:10]
    by_anys = sorted(counts, key=lambda name: -counts[name].anys)[:10]
    for name in by_names:
        print(f"  {counts[name].generic.total():4} generic names  {name}")
    for name in by_anys:
        print(f"  {counts[name].anys:4} Any            {name}")


if __name__ == "__main__":
    main()
