"""What the machinery calls things, and how much of it is typed: tests/names.py."""

import pytest

from names import NONE, count, survey


def test_the_machinery_is_named_plainly_and_typed() -> None:
    total = sum(survey().values(), NONE)
    assert total.bindings > 5000, "nothing was counted"
    assert total.generic_share < 0.03
    assert total.anys_per_thousand <= 12


@pytest.mark.parametrize(
    ("code", "generic"),
    [
        ("found = 1", 1),
        ("def place(who, rows): ...", 2),
        ("class Side:\n    said: int = 0", 2),
        ("for what, row in words: pass", 1),
        ("missing_columns = found", 0),
    ],
)
def test_a_name_that_says_nothing_is_counted(code: str, generic: int) -> None:
    assert count(code).generic.total() == generic


def test_any_is_counted_per_thousand_lines() -> None:
    code = "def load(text: Any) -> dict[str, Any]: ...\n" + "\n" * 999
    assert count(code).anys_per_thousand == pytest.approx(2)
