"""Refuses code of `model/` that depends on more than the rows it is given; pure.

It reads the file in which a function stands, and runs nothing of it.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Iterator
from inspect import isfunction
from typing import Any

from mlgitops.pipeline.schema import ContractError

MODULES = frozenset(  # clocks, chance, files and networks
    "http io os pathlib random requests secrets shutil socket subprocess tempfile "
    "time urllib uuid".split()
)
CLOCKS = frozenset(("now", "today", "utcnow"))  # of datetime and pandas


def demand(function: Callable[..., Any], advice: str) -> None:
    """Refuse what the function's file imports and calls; `advice` says what to do.

    Raises:
        ContractError: with the file and the line.
    """
    if not isfunction(function):
        return  # of a library, which reads nothing of ours
    file = function.__code__.co_filename
    tree = ast.parse("".join(linecache.getlines(file)))
    for number, name in sorted(_impure(tree)):
        raise ContractError(
            f"{location(file, number)}: {name} is for clocks, chance, files or "
            f"networks, and {function.__name__}() depends on its rows alone: {advice}"
        )


def location(file: str, number: int) -> str:
    """Return the folder and name of a file, and a line."""
    return f"{'/'.join(file.replace(chr(92), '/').split('/')[-2:])}:{number}"


def _impure(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of what a file should not use."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            if isinstance(node, ast.Call) and _is_impure(node.func):
                yield node.lineno, ast.unparse(node.func)
            continue
        for name in names:
            if name.split(".")[0] in MODULES or name.endswith(".random"):
                yield node.lineno, name


def _is_impure(function: ast.expr) -> bool:
    """Tell whether a call reads a file or a clock, or draws a number."""
    if isinstance(function, ast.Name):
        return function.id == "open"
    if not isinstance(function, ast.Attribute):
        return False
    name, owner = function.attr, ast.unparse(function.value)
    return name in CLOCKS or name.startswith("read_") or owner.endswith(".random")
