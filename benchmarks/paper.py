"""What a fleet of 1,000 models and 10^10 predictions a day would need: `make paper`.

On paper: nobody has run it. Measured numbers are read from the pages that `make logs`
and `make ledger` wrote, limits are GitHub's own, assumptions are stated with their
reason; the table in docs/scale.md is written from them, and a test holds it to them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- make paper -->\n", "<!-- end -->\n"
DAY, YEAR = 86_400, 365
UNITS = ("bytes", "kB", "MB", "GB", "TB")

MODELS = 1_000
PREDICTIONS = 10**10  # a day, of all models together
WINDOW = 28  # days, monitor.window_days of the shipped params.yaml
KEEP = 90  # days that logs are kept, `ship --keep-days 90`
ENOUGH = 1_000_000  # rows of a window: 37 times what monitor.sample_precision asks for
RUNS = 365  # of a monitor in a year: every day
VERDICTS = 104  # of a model in a year: two proposals a week
REPORT = 100_000  # bytes of a report in git: assumed, many times the example's
VERSIONS = 26  # of them deployed, to staging and production, each told and confirmed
RECORDS = RUNS + VERDICTS + VERSIONS * 4 + VERSIONS  # and a signature of each version
CALLS = 200  # of GitHub's API: assumed for a proposal, its verdict and its deployment

API_HOUR = 1_000  # requests with GITHUB_TOKEN, in an hour and repository
DISK = 10e9  # bytes of a repository that GitHub recommends at most
JOBS = {"Free": 20, "Team": 60, "Enterprise": 500}  # that run at a time


@dataclass(frozen=True)
class Measured:
    """What the pages of the benchmarks say."""

    logged: float  # bytes of a row
    shipped: float
    by_line: float  # CPU seconds of a million rows
    by_columns: float
    ledger: float  # bytes of a record in git
    fleet: float  # CPU seconds of one model with 1,000 records


def measured() -> Measured:
    """Read the pages of `make logs` and `make ledger`."""
    logs = (HERE / "logs.md").read_text(encoding="utf-8")
    ledger = (HERE / "ledger.md").read_text(encoding="utf-8")
    line, columns = found(r"([\d.]+) s by line, ([\d.]+) s by columns", logs)
    logged, shipped = found(r"bytes of a row: (\d+) as logged, (\d+) as shipped", logs)
    records, size = found(r"size in git +([\d,]+) ([\d,.]+) MB", ledger)
    (fleet,) = found(r"^fleet +1,000 +[\d.]+ +([\d.]+)", ledger)
    return Measured(logged, shipped, line, columns, size * 1e6 / records, fleet)


def found(pattern: str, text: str) -> list[float]:
    """Return the numbers of a line of a page."""
    matches = re.findall(pattern, text, re.MULTILINE)
    if not matches:
        raise SystemExit(f"no line like {pattern!r}: run `make logs` and `make ledger`")
    last = matches[-1] if isinstance(matches[-1], tuple) else (matches[-1],)
    return [float(number.replace(",", "")) for number in last]


def rows(m: Measured) -> list[tuple[str, str, str]]:
    """Return what is needed, how much of it, and from what that follows."""
    each = PREDICTIONS / MODELS
    window = each * WINDOW
    share = ENOUGH / window
    scan, sampled = window / 1e6 * m.by_columns, ENOUGH / 1e6 * m.by_columns
    yearly = RECORDS * m.ledger + VERDICTS * REPORT
    return [
        ("predictions a second", number(PREDICTIONS / DAY), "even over the day"),
        ("of one model", number(each / DAY), f"{MODELS:,} models alike"),
        (
            "log a day, every row",
            size(PREDICTIONS * m.shipped),
            f"{m.shipped:.0f} bytes of a shipped row",
        ),
        (
            "as the servers write it",
            size(PREDICTIONS * m.logged),
            f"{m.logged:.0f} bytes of a line",
        ),
        (
            f"log of {KEEP} days, every row",
            size(PREDICTIONS * m.shipped * KEEP),
            f"`ship --keep-days {KEEP}`",
        ),
        ("rows of one model's window", number(window), f"{WINDOW} days"),
        (
            "CPU of reading them, by columns",
            hours(scan),
            f"{m.by_columns:.2f} s a million rows",
        ),
        (
            "the same by line",
            hours(window / 1e6 * m.by_line),
            f"{m.by_line:.2f} s a million rows",
        ),
        (
            "CPUs busy all day, a look a day each",
            number(scan * MODELS / DAY),
            f"{MODELS:,} models",
        ),
        (
            "share of rows to log instead",
            f"{share:.2%}",
            f"{number(ENOUGH)} rows of each window",
        ),
        (
            f"log of {KEEP} days, that share",
            size(PREDICTIONS * m.shipped * KEEP * share),
            "of all models",
        ),
        ("CPU of reading that share", hours(sampled), "one look at one model"),
        ("CPUs busy all day, that share", f"{sampled * MODELS / DAY:.2f}", "reading"),
        (
            "records of one ledger a year",
            number(RECORDS),
            f"{RUNS} runs, {VERDICTS} verdicts, {VERSIONS} versions",
        ),
        (
            "its growth a year",
            size(yearly),
            f"{m.ledger:,.0f} bytes a record, and reports",
        ),
        ("years until GitHub's 10 GB", number(DISK / yearly), "on-disk size"),
        ("of all ledgers", size(yearly * MODELS), f"{MODELS:,} repositories"),
        (
            "a fleet's page of 1,000 records each",
            hours(m.fleet * MODELS),
            f"{m.fleet:.2f} s of CPU a model, a year or two old",
        ),
        (
            "requests of one model a day",
            number(CALLS * VERDICTS / YEAR + 5),
            f"limit {API_HOUR:,} an hour",
        ),
        (
            "monitors at a time, if each takes 5 min",
            number(MODELS * 5 / (24 * 60)),
            f"jobs: {', '.join(f'{n} {c}' for n, c in JOBS.items())}",
        ),
    ]


def number(value: float) -> str:
    """Return a number for people."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def size(count: float) -> str:
    """Return bytes in the unit that suits them."""
    power = min(max(int(math.log10(count) // 3), 0), len(UNITS) - 1)
    return f"{count / 1000**power:,.1f} {UNITS[power]}"


def hours(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def table() -> str:
    """Return the table of docs/scale.md."""
    lines = ["| what | how much | from |", "|---|---:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(measured())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into docs/scale.md, and print it."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
    print(table())


if __name__ == "__main__":
    main()
