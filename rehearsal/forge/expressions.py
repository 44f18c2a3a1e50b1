"""The expressions of a concurrency group: paths, texts, ``||``, ``==`` and ``!=``.

Everything else in one is refused, as it would be evaluated wrongly.
"""

import re
from typing import Any

from .state import Json, Run

HOLE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
ATOM = r"'[^'|]*'|[A-Za-z_][\w.-]*"
PART = re.compile(rf"({ATOM})(?:\s*(==|!=)\s*({ATOM}))?")
LITERALS = {"true": True, "false": False, "null": None}
EMPTY: tuple[Any, ...] = (None, False, "", 0)


class ExpressionError(Exception):
    """An expression that the forge does not know."""


def context(run: Run) -> Json:
    """Return what an expression may look at (GitHub: no secrets, env or jobs)."""
    head = run.head_branch if run.event == "pull_request" else ""
    return {
        "github": {
            "actor": run.actor.login,
            "event": run.payload,
            "event_name": run.event,
            "head_ref": head,
            "ref": run.ref,
            "ref_name": run.ref.split("/", 2)[-1],
            "repository": run.repository,
            "run_id": run.id,
            "sha": run.sha,
            "workflow": run.workflow,
        },
        "inputs": run.payload.get("inputs") or {},
    }


NAMES = (
    """actor event event_name head_ref ref ref_name repository run_id sha workflow"""
)
NOTHING: Json = {"github": dict.fromkeys(NAMES.split()), "inputs": {}}


def fill(text: str, values: Json = NOTHING) -> str:
    """Return a text with its ``${{ }}`` evaluated; without values, only check it.

    Raises:
        ExpressionError: GitHub may know it, the forge does not.
    """
    return HOLE.sub(lambda hole: _text(_either(hole[1], values)), text)


def _either(expression: str, values: Json) -> Any:
    """Return the first part of ``a || b`` that is not empty, or the last one."""
    results = [_compare(part.strip(), values) for part in expression.split("||")]
    return next((r for r in results if r not in EMPTY), results[-1])


def _compare(part: str, values: Json) -> Any:
    """Return a value, or whether two are equal: letters' case makes no difference."""
    match = PART.fullmatch(part)
    if match is None:
        raise ExpressionError(f"the forge does not know the expression {part!r}")
    first, operator, second = match.groups()
    left = _value(first, values)
    if not operator:
        return left
    equal = _text(left).lower() == _text(_value(second, values)).lower()
    return equal is (operator == "==")


def _value(atom: str, values: Json) -> Any:
    """Return a literal, or what is at a path: nothing where it ends too early."""
    if atom.startswith("'"):
        return atom[1:-1]
    if atom in LITERALS:
        return LITERALS[atom]
    root, _, rest = atom.partition(".")
    known = NOTHING.get(root)
    if known is None or (known and rest.split(".")[0] not in known):
        raise ExpressionError(f"the forge does not know {atom} in an expression")
    value: Any = values[root]
    for key in rest.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: object) -> str:
    """Return a value as GitHub writes it into a text."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
