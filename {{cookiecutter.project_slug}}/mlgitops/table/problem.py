"""What keeps a table from becoming a repository, and what a person should look at."""

from dataclasses import dataclass


class TableError(Exception):
    """A table cannot be used as it is: one sentence."""


@dataclass(frozen=True)
class Problem:
    """One reason to refuse a table: all of them are told at once."""

    column: str  # "" is the whole table
    sentence: str
    line: str  # what to type or to correct
    count: int = 0
    example: str = ""

    def __str__(self) -> str:
        """Return the sentence with its column and an example."""
        subject = f'Column "{self.column}": ' if self.column else ""
        example = f" (such as {self.example})" if self.example else ""
        return f"{subject}{self.sentence}{example}"


@dataclass(frozen=True)
class Warned:
    """Something that may be wrong, with its evidence; nothing is refused for it."""

    subject: str
    evidence: str
    line: str = ""


class Refused(Exception):
    """A table is refused, for all of these reasons."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems
