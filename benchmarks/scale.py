"""How the commands of one model grow with the rows of a table: `make scale`.

Tables of 10 columns from 10 thousand rows on, each ten times the one before; `ROWS=`
chooses the largest (1 M by default, 100 M with `PROOF=1`). A CSV goes through `make
data`, the stages, the judge, `make score`, and `make monitor` of a shipped log with as
many rows. Writes benchmarks/scale.md and scale.svg: CPU seconds and the memory of the
largest process. A command that would not fit this machine's memory is left out from
there on, with a sentence, as is a size that would not fit its disk. Three questions are
answered at the end: does anything grow faster than the rows, is the memory within PEAK,
and what is the dearest command. A comparison with a champion is `make validation`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from benchmarks import curves, shipped
from benchmarks.cost import GIT, PYTHON, Cost, csv, project, run

FARTHEST = 100_000_000
LARGEST = int(
    os.environ.get("ROWS", FARTHEST if os.environ.get("PROOF") else 1_000_000)
)
KINDS = ["number", "price", "price", "count", "area", "gap", "member"]
PEAK = 8_000  # MB
DISK = 450  # bytes of a row: the CSV, its Parquet files in storage and beside, the log
SPARE = 0.9  # of the memory that is free, that a command may take
HERE = Path(__file__).parent
DVC = (PYTHON, "-m", "dvc", "repro", "--quiet", "--no-run-cache")
COMMANDS = {
    "data": (PYTHON, "-m", "mlgitops", "data", "--file=../t.csv", "--target=churned"),
    "prepare": (*DVC, "prepare"),
    "train": DVC,  # and evaluate
    "validate": (PYTHON, "-m", "mlgitops", "validate", "--local"),
    "score": (PYTHON, "-m", "mlgitops", "score", "--in={table}", "--out=../s.parquet"),
    "monitor": (PYTHON, "-m", "mlgitops", "monitor"),
}
NEEDS = {"prepare": "data", "train": "prepare"}
NEEDS |= dict.fromkeys(("validate", "score", "monitor"), "train")

Costs = dict[int, dict[str, Cost]]  # of each size, by command


def measured(rows: int, commands: dict[str, tuple[str, ...]]) -> dict[str, Cost]:
    """Return the costs of these commands, on a table of so many rows."""
    with TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        csv(folder / "t.csv", rows, KINDS)
        home = project(folder / "project")
        found = {}
        for command, words in commands.items():
            if command == "monitor":
                manifest = (home / "build" / "manifest.json").read_bytes()
                sha256 = hashlib.sha256(manifest).hexdigest()
                shipped.write(folder / "log", rows, KINDS, sha256)
                os.environ["PREDICTION_LOG"] = str(folder / "log")
            table = next(iter((home / "data").glob("*.parquet")), "")
            found[command] = run([w.format(table=table) for w in words], home)
            if command == "data":  # a busy machine answers slowly, and is not judged
                params = home / "params.yaml"
                text = params.read_text().replace("p99_max_ms: 20 ", "p99_max_ms: 999 ")
                params.write_text(text)
            run(("git", "add", "--all"), home)
            run((*GIT, "commit", "--quiet", "--allow-empty", f"-m{command}"), home)
        return found


def fitting(costs: Costs, rows: int) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the commands that this machine has memory for, and what it has not.

    A guess from the last two sizes; a stage that needs one that is left out is, too.
    """
    if len(costs) < 2:
        return COMMANDS, []
    few, many = list(costs)[-2:]
    free, chosen, left_out = _free(), dict[str, tuple[str, ...]](), list[str]()
    for name, words in COMMANDS.items():
        if name not in costs[many] or NEEDS.get(name, name) not in {*chosen, name}:
            continue
        low, high = costs[few][name].peak, costs[many][name].peak
        needed = high + max(high - low, 0) * (rows - many) / (many - few)
        if needed < SPARE * free:
            chosen[name] = words
        else:
            left_out.append(
                f"`{name}` of {rows:,} rows is not measured: it would take about "
                f"{needed / 1000:,.0f} GB of memory; {free / 1000:,.0f} GB are free."
            )
    return chosen, left_out


def _free() -> float:
    """Return how many MB of memory nobody uses."""
    (line,) = [
        line
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    ]
    return int(line.split()[1]) / 1000


def no_room(rows: int) -> str:
    """Return why the disk has no room for so many rows, or nothing."""
    free, needed = shutil.disk_usage(gettempdir()).free, rows * DISK
    if needed < free:
        return ""
    return (
        f"{rows:,} rows are not measured: they would take about {needed / 1e9:,.0f} GB "
        f"of disk, and {free / 1e9:,.0f} GB are free."
    )


def table(costs: Costs) -> list[str]:
    """Return the lines of a Markdown table."""
    head = " | ".join(f"`{name}` CPU s | MB" for name in COMMANDS)
    lines = [f"| rows | {head} |", "|---:" * (1 + 2 * len(COMMANDS)) + "|"]
    for rows, found in costs.items():
        cells = " | ".join(
            f"{c.cpu:,.1f} | {c.peak:,.0f}" if (c := found.get(n)) else "|"
            for n in COMMANDS
        )
        lines.append(f"| {rows:,} | {cells} |")
    return lines


def answers(costs: Costs) -> list[str]:
    """Return what the costs say about growth, memory and the dearest command."""
    sizes = list(costs)
    lines = []
    if len(sizes) > 1:
        few, many = sizes[-2:]
        growth = {n: costs[many][n].cpu / costs[few][n].cpu for n in costs[many]}
        shown = ", ".join(f"`{n}` {times:.1f}" for n, times in growth.items())
        lines.append(
            f"From {few:,} to {many:,} rows the CPU seconds grow: {shown} times."
        )
    peak = max(cost.peak for cost in costs[sizes[-1]].values())
    lines.append(f"The largest process takes {peak:,.0f} MB; the limit is {PEAK:,}.")
    dearest = max(costs[sizes[-1]], key=lambda name: costs[sizes[-1]][name].cpu)
    lines.append(f"At {sizes[-1]:,} rows the dearest command is `{dearest}`.")
    return lines


def beyond(costs: Costs, rows: int = FARTHEST) -> list[str]:
    """Return what more rows would take by the growth of the last two sizes, in words.

    That is a guess, and the page names it as one.
    """
    sizes = list(costs)
    if len(sizes) < 2 or sizes[-1] >= rows:
        return []
    few, many = sizes[-2:]

    def straight(name: str, what: str) -> float:
        low, high = (getattr(costs[n][name], what) for n in (few, many))
        return float(high + max(high - low, 0) * (rows - many) / (many - few))

    each = [
        f"`{n}` {straight(n, 'cpu') / 60:,.0f} min and {straight(n, 'peak'):,.0f} MB"
        for n in COMMANDS
        if n in costs[many]
    ]
    line = (
        f"Extrapolated from the last two sizes, not measured: {rows:,} rows would take"
    )
    return [f"{line} {', '.join(each)}."]


def chart(costs: Costs) -> str:
    """Return an SVG: CPU seconds and memory along the rows."""
    return curves.chart(
        [
            curves.Panel(unit, {n: _along(costs, n, what) for n in COMMANDS})
            for unit, what in (("CPU s", "cpu"), ("MB", "peak"))
        ]
    )


def _along(costs: Costs, command: str, what: str) -> dict[int, float]:
    """Return one number of a command's costs by the rows."""
    of = {rows: found[command] for rows, found in costs.items() if command in found}
    return {rows: float(getattr(cost, what)) for rows, cost in of.items()}


def main() -> None:
    """Measure each size, print the table as it grows, and write both files."""
    costs: Costs = {}
    rows, left_out = 10_000, list[str]()
    while rows <= LARGEST:
        commands, lacking = fitting(costs, rows)
        lacking += [reason] if (reason := no_room(rows)) else []
        left_out += lacking
        if reason or not commands:
            break
        costs[rows] = measured(rows, commands)
        print(*(table(costs) if len(costs) == 1 else table(costs)[-1:]), sep="\n")
        rows *= 10
    said = [*answers(costs), *left_out, *beyond(costs)]
    print("", *said, sep="\n")
    cores = len(os.sched_getaffinity(0))
    lines = [
        "# Cost by rows",
        "",
        f"Written by `make scale ROWS={max(costs)}` on {cores} cores. A CSV of",
        f"{len(KINDS) + 3} columns goes through `make data`, the stages of",
        "`make repro` (`train` with `evaluate`), the judge (`validate`), `make score`",
        "of the same rows, and `make monitor` of a shipped log with as many: CPU",
        "seconds, and the memory of the largest process. What a comparison with a",
        "champion costs says `make validation`; what workers change says",
        "`make cluster`.",
        "",
        *table(costs),
        "",
        *(line for each in said for line in (each, "")),
        "![CPU seconds and memory by rows](scale.svg)",
    ]
    (HERE / "scale.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (HERE / "scale.svg").write_text(chart(costs), encoding="utf-8")


if __name__ == "__main__":
    main()
