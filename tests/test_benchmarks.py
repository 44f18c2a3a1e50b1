"""Each measured page names the command that writes it; its goal stands beside it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "benchmarks").glob("*.md"))
WIDE = (ROOT / "benchmarks" / "wide.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_its_command(page: Path) -> None:
    words = re.findall(r"`make (\w+)", page.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert any(re.search(rf"^{word}: .*##", makefile, re.M) for word in words)


def explained(text: str) -> float:
    """Return the CPU seconds that 1,000 columns take to explain, as the page says."""
    row = re.search(r"^ +1,000 .*", text, re.M)
    assert row
    return float(row[0].split()[3])


def test_a_thousand_columns_are_explained_within_the_goal() -> None:
    goal = re.search(r"goal: explain at 1,000 columns within (\d+) s", WIDE)
    assert goal and explained(WIDE) <= int(goal[1]) == 60
    assert explained(WIDE.replace(f"{explained(WIDE)}", "203.0")) > 60, "the control"
