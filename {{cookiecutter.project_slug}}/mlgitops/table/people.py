"""Columns whose names may be of groups of people, which nothing compares yet; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlgitops.table.guess import Guess
from mlgitops.table.options import Options
from mlgitops.table.problem import Warned

GROUPED = ("category", "boolean")  # types whose values are groups
NAMES = re.compile(  # of what laws on equal treatment name; whole words
    r"(^|[^a-z])(sex|gender|male|female|race|ethnic\w*|black|white|asian|hispan\w*|"
    r"latin[aox]|religio\w*|nationality|citizen\w*|disab\w*|pregnan\w*|immigra\w*|"
    r"foreign\w*|sexual\w*)($|[^a-z])",
    re.I,
)


def people(inputs: Sequence[Guess], options: Options) -> list[Warned]:
    """Return one warning for all columns that may be groups of people."""
    names = [
        guess.name
        for guess in inputs
        if guess.type in GROUPED
        and guess.name not in options.sensitive
        and NAMES.search(re.sub(r"([a-z])([A-Z])", r"\1_\2", guess.name))
    ]
    if not names:
        return []
    evidence = (
        "perhaps groups of people, by the name: nothing compares yet how the model "
        "treats them, and its reports may show them"
    )
    named = ",".join(name for name in names if "," not in name)
    return [Warned(", ".join(names), evidence, f"SENSITIVE='{named}'")]
