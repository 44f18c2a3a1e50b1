"""The table of what real tables took is in shape, and so is what measures it."""

import re

from benchmarks import tables

LINES = tables.PAGE.read_text(encoding="utf-8").splitlines()
ROWS = [line for line in LINES if line.startswith("| **")]


def test_it_is_the_page_that_the_command_writes() -> None:
    """It names its command and machine, and each row has a cell for each head."""
    text = "\n".join(LINES)
    assert "`make tables`" in text and "cores" in text and "licence" in text
    makefile = (tables.ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^tables:.*\n.*\n\t@python -m benchmarks.tables", makefile, re.M)
    assert f"| {' | '.join(tables.HEAD)} |" in LINES
    for row in ROWS:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == len(tables.HEAD)
        about = dict(zip(tables.HEAD, cells, strict=True))
        assert "make data FILE=" in about["`make data`"] and about["edits"] == "0"
        outcome = about["outcome"]
        assert outcome == "ready" or re.fullmatch(r"refused: \S.+", outcome), row
        assert float(about["minutes"]) > 0


def test_at_least_eight_tables_two_commands_and_nothing_of_the_example() -> None:
    """More than half end with a model that the judge passes."""
    assert len(ROWS) >= 8
    assert sum("| ready |" in row for row in ROWS) > len(ROWS) / 2
    assert not re.search(r"flights|census|adult", "".join(ROWS), re.I)
    assert "The median user types" in "\n".join(LINES)


def test_each_table_names_a_package_that_the_command_installs() -> None:
    """With its version, so that the same bytes are measured."""
    makefile = (tables.ROOT / "Makefile").read_text(encoding="utf-8")
    names = {re.escape(table.package) for table in tables.TABLES}
    assert all(re.search(rf"\b{name}==[\d.]+", makefile) for name in names)
    page = "\n".join(LINES)
    assert all(table.package in page for table in tables.TABLES)
