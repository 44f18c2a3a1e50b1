"""How the commands of one model grow with the rows of a table: `make scale`.

Tables of 10 columns from 10 thousand rows on, each ten times the one before; `ROWS=`
chooses the largest (1 M by default, 100 M with `PROOF=1`). A CSV goes through `make
data`, the stages, the judge, `make score`, and `make monitor` of a shipped log with as
many rows: as shipped, and from a million rows on with `prepare.batch` and `train.batch`
as well. Writes benchmarks/scale.md and scale.svg: CPU seconds and the memory of the
largest process. A command that would not fit this machine's memory is left out from
there on, with a sentence, as is a size that would not fit its disk. Four questions are
answered at the end: does anything grow faster than the rows, is the memory within PEAK,
what is the dearest command, and from which size on the settings pay. A comparison with
a champion is `make validation`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import yaml

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
SHIPPED, BATCHED = "as shipped", "in batches"
SAME = ("data", "monitor")  # look at neither setting: measured once
BATCHED_FROM = 1_000_000  # rows; of fewer there is one batch or few
BATCH = 100_000  # rows held at once
ESTIMATOR = """
from xgboost import XGBClassifier

CLASSIFIERS["boosting"] = (
    for_trees,
    XGBClassifier(
        n_estimators=100, max_leaves=31, max_depth=0, grow_policy="lossguide",
        learning_rate=0.1, n_jobs=1,
    ),
)
"""  # trees as many and as large as those that ship
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

Commands = dict[str, tuple[str, ...]]
Costs = dict[int, dict[str, Cost]]  # of each size, by command
Ways = dict[str, Costs]


def measured(rows: int, ways: dict[str, Commands]) -> dict[str, dict[str, Cost]]:
    """Return the costs of each way's commands, on one table of so many rows."""
    with TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        csv(folder / "t.csv", rows, KINDS)
        home, costs = project(folder / "project"), dict[str, dict[str, Cost]]()
        for way, commands in ways.items():
            if way == BATCHED:
                in_batches(home)
            before = costs.get(SHIPPED, {})
            costs[way] = {
                command: before[command]
                if command in SAME and command in before
                else _cost(command, words, home, rows)
                for command, words in commands.items()
            }
        return costs


def _cost(command: str, words: tuple[str, ...], home: Path, rows: int) -> Cost:
    """Run one command, and commit what it wrote."""
    if command == "monitor":
        manifest = (home / "build" / "manifest.json").read_bytes()
        log, sha256 = home.parent / "log", hashlib.sha256(manifest).hexdigest()
        shutil.rmtree(log, ignore_errors=True)
        shipped.write(log, rows, KINDS, sha256)
        os.environ["PREDICTION_LOG"] = str(log)
    table = next(iter((home / "data").glob("*.parquet")), "")
    cost = run([word.format(table=table) for word in words], home)
    if command == "data":  # a busy machine answers slowly, and is not judged
        params = home / "params.yaml"
        text = params.read_text().replace("p99_max_ms: 20 ", "p99_max_ms: 999 ")
        params.write_text(text)
    commit(home, command)
    return cost


def in_batches(home: Path) -> None:
    """Set `prepare.batch` and `train.batch`, with what docs/large.md asks for them."""
    params = yaml.safe_load((home / "params.yaml").read_bytes())
    params["prepare"]["batch"] = BATCH
    params["train"] |= {"estimator": "boosting", "batch": BATCH}
    (home / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name, lines in (("prepare", "\nBY_BATCH = True\n"), ("estimator", ESTIMATOR)):
        with (home / "model" / f"{name}.py").open("a") as file:
            file.write(lines)
    commit(home, "batches")


def commit(home: Path, message: str) -> None:
    """Commit whatever has changed."""
    run(("git", "add", "--all"), home)
    run((*GIT, "commit", "--quiet", "--allow-empty", f"-m{message}"), home)


def fitting(costs: Costs, rows: int, way: str = SHIPPED) -> tuple[Commands, list[str]]:
    """Return the commands that this machine has memory for, and what it has not.

    A guess from the last two sizes; a stage that needs one that is left out is, too.
    """
    if len(costs) < 2:
        return COMMANDS, []
    few, many = list(costs)[-2:]
    free, chosen, left_out = _free(), Commands(), list[str]()
    for name, words in COMMANDS.items():
        if name not in costs[many] or NEEDS.get(name, name) not in {*chosen, name}:
            continue
        low, high = costs[few][name].peak, costs[many][name].peak
        needed = high + max(high - low, 0) * (rows - many) / (many - few)
        if needed < SPARE * free:
            chosen[name] = words
        else:
            left_out.append(
                f"`{name}` of {rows:,} rows is not measured {way}: it would take about "
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


def lines_of(ways: Ways, rows: int) -> list[str]:
    """Return the lines of the table that one size has."""
    lines = []
    for name in COMMANDS:
        cells = [_cells(costs.get(rows, {}).get(name)) for costs in ways.values()]
        if any(map(str.strip, cells)):
            lines.append(f"| {rows:,} | `{name}` | {' | '.join(cells)} |")
    return lines


def _cells(cost: Cost | None) -> str:
    """Return the two cells that a command has, empty ones where it was not run."""
    return f"{cost.cpu:,.1f} | {cost.peak:,.0f}" if cost else " | "


def head() -> list[str]:
    """Return the first lines of the table."""
    names = " | ".join(f"{way}: CPU s | MB" for way in (SHIPPED, BATCHED))
    return [f"| rows | command | {names} |", "|---:|---|---:|---:|---:|---:|"]


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


def beyond(way: str, costs: Costs, rows: int = FARTHEST) -> list[str]:
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
        f"Extrapolated from the last two sizes, not measured: {rows:,} rows {way} would"
        " take"
    )
    return [f"{line} {', '.join(each)}."]


def pays(ways: Ways) -> list[str]:
    """Return what the settings cost and save at each size, and where they begin to."""
    lines, saving = [], list[int]()
    for rows, batched in ways[BATCHED].items():
        whole = ways[SHIPPED].get(rows, {})
        names = [n for n in batched if n in whole and n not in SAME]
        if not names:
            continue
        cpu = sum(batched[n].cpu for n in names) / sum(whole[n].cpu for n in names)
        peaks = [max(costs[n].peak for n in names) for costs in (whole, batched)]
        saving += [rows] * (peaks[1] < peaks[0])
        lines.append(
            f"At {rows:,} rows the largest process of what the settings change takes "
            f"{peaks[0]:,.0f} MB {SHIPPED} and {peaks[1]:,.0f} MB {BATCHED}, for "
            f"{cpu:.1f} times the CPU seconds."
        )
    if lines:
        least = f"{min(saving):,} rows is the smallest" if saving else "No size is one"
        lines.append(f"{least} of those measured where the settings save memory.")
    return lines


def chart(ways: Ways) -> str:
    """Return an SVG: CPU seconds and memory along the rows, each way by itself."""
    return curves.chart(
        [
            curves.Panel(
                f"{unit}, {way}", {n: _along(costs, n, what) for n in COMMANDS}
            )
            for way, costs in ways.items()
            if costs
            for unit, what in (("CPU s", "cpu"), ("MB", "peak"))
        ]
    )


def _along(costs: Costs, command: str, what: str) -> dict[int, float]:
    """Return one number of a command's costs by the rows."""
    of = {rows: found[command] for rows, found in costs.items() if command in found}
    return {rows: float(getattr(cost, what)) for rows, cost in of.items()}


def main() -> None:
    """Measure each size, print the table as it grows, and write both files."""
    ways: Ways = {SHIPPED: {}, BATCHED: {}}
    rows, left_out = 10_000, list[str]()
    print(*head(), sep="\n")
    while rows <= LARGEST:
        planned = dict[str, Commands]()
        for way in ways if rows >= min(BATCHED_FROM, LARGEST) else (SHIPPED,):
            like = ways[way] if len(ways[way]) > 1 else ways[SHIPPED]
            planned[way], lacking = fitting(like, rows, way)
            left_out += lacking
        left_out += [reason] if (reason := no_room(rows)) else []
        if reason or not planned[SHIPPED]:
            break
        for way, costs in measured(rows, planned).items():
            ways[way][rows] = costs
        print(*lines_of(ways, rows), sep="\n", flush=True)
        rows *= 10
    sentences = [*answers(ways[SHIPPED]), *pays(ways), *left_out]
    for way, costs in ways.items():
        sentences += beyond(way, costs)
    print("", *sentences, sep="\n")
    write(ways, sentences)


def write(ways: Ways, sentences: list[str]) -> None:
    """Write the page and its plot."""
    cores, sizes = len(os.sched_getaffinity(0)), list(ways[SHIPPED])
    lines = [
        "# Cost by rows",
        "",
        f"Written by `make scale ROWS={max(sizes)}` on {cores} cores. A CSV of",
        f"{len(KINDS) + 3} columns goes through `make data`, the stages of",
        "`make repro` (`train` with `evaluate`), the judge (`validate`), `make score`",
        "of the same rows, and `make monitor` of a shipped log with as many: CPU",
        f"seconds, and the memory of the largest process. *{SHIPPED.capitalize()}* is",
        f"without a setting; *{BATCHED}* is with `prepare.batch` and `train.batch` of",
        f"{BATCH:,} rows, and XGBoost, which the latter needs, with as many trees of",
        "the same size ([how](../docs/large.md)); `data` and `monitor` look at neither",
        "and are measured once. What a comparison with a champion costs says",
        "`make validation`; what workers change says `make cluster`.",
        "",
        *head(),
        *(line for rows in sizes for line in lines_of(ways, rows)),
        "",
        *(line for each in sentences for line in (each, "")),
        "![CPU seconds and memory by rows](scale.svg)",
    ]
    (HERE / "scale.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (HERE / "scale.svg").write_text(chart(ways), encoding="utf-8")


if __name__ == "__main__":
    main()
