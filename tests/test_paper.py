"""What docs/scale.md says of 1,000 models follows from what was measured."""

import re

from benchmarks import paper


def test_the_table_is_the_one_that_the_command_writes() -> None:
    """Measured again, or assumed otherwise: `make paper` writes it again."""
    text = paper.PAGE.read_text(encoding="utf-8")
    assert f"{paper.BEGIN}\n{paper.table()}\n{paper.END}" in text


def test_every_number_moves_with_what_it_follows_from() -> None:
    """The control: twice the bytes are twice the log, and nothing else."""
    measured = paper.measured()
    twice = paper.Measured(**{**vars(measured), "shipped": 2 * measured.shipped})
    rows = {name: value for name, value, _ in paper.rows(measured)}
    changed = {n for n, value, _ in paper.rows(twice) if value != rows[n]}
    assert changed == {
        "log a day, every row",
        f"log of {paper.KEEP} days, every row",
        f"log of {paper.KEEP} days, that share",
    }
    assert all(re.search(r"\d", value) for value in rows.values())
