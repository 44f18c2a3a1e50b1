"""How `make data`, `repro` and `validate` grow with the rows of a table: `make scale`.

Tables of 10 columns from 10 thousand rows on, each ten times the one before; `ROWS=`
chooses the largest (1 M by default). Writes benchmarks/scale.md and scale.svg: CPU
seconds and the memory of the largest process. Three questions are answered at the end:
does anything grow faster than the rows, is the memory within PEAK, and what is the
dearest command. A comparison with a champion is `make validation`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cost import GIT, PYTHON, Cost, csv, project, run

LARGEST = int(os.environ.get("ROWS", "1000000"))
KINDS = ["number", "price", "price", "count", "area", "gap", "member"]
PEAK = 8_000  # MB
HERE = Path(__file__).parent
COMMANDS = {
    "data": (PYTHON, "-m", "mlgitops", "data", "--file=../t.csv", "--target=churned"),
    "repro": (PYTHON, "-m", "dvc", "repro", "--quiet", "--no-run-cache"),
    "validate": (PYTHON, "-m", "mlgitops", "validate", "--local"),
}
COLOURS = {"data": "#1f77b4", "repro": "#d95f02", "validate": "#2a9d5c"}
WIDTH, HEIGHT, EDGE = 340, 240, 46

Costs = dict[int, dict[str, Cost]]  # of each size, by command


def measured(rows: int) -> dict[str, Cost]:
    """Return the costs of all commands, on a table of so many rows."""
    with TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        csv(folder / "t.csv", rows, KINDS)
        home = project(folder / "project")
        found = {}
        for command, words in COMMANDS.items():
            found[command] = run(words, home)
            if command == "data":  # a busy machine answers slowly, and is not judged
                params = home / "params.yaml"
                text = params.read_text().replace("p99_max_ms: 20 ", "p99_max_ms: 999 ")
                params.write_text(text)
            run(("git", "add", "--all"), home)
            run((*GIT, "commit", "--quiet", "--allow-empty", f"-m{command}"), home)
        return found


def table(costs: Costs) -> list[str]:
    """Return the lines of a Markdown table."""
    head = " | ".join(f"`{name}` CPU s | MB" for name in COMMANDS)
    lines = [f"| rows | {head} |", "|---:" * (1 + 2 * len(COMMANDS)) + "|"]
    for rows, found in costs.items():
        cells = " | ".join(f"{c.cpu:,.1f} | {c.peak:,.0f}" for c in found.values())
        lines.append(f"| {rows:,} | {cells} |")
    return lines


def answers(costs: Costs) -> list[str]:
    """Return what the costs say about growth, memory and the dearest command."""
    sizes = list(costs)
    lines = []
    if len(sizes) > 1:
        few, many = sizes[-2:]
        growth = {n: costs[many][n].cpu / costs[few][n].cpu for n in COMMANDS}
        shown = ", ".join(f"`{n}` {times:.1f}" for n, times in growth.items())
        lines.append(
            f"From {few:,} to {many:,} rows the CPU seconds grow: {shown} times."
        )
    peak = max(cost.peak for cost in costs[sizes[-1]].values())
    lines.append(f"The largest process takes {peak:,.0f} MB; the limit is {PEAK:,}.")
    dearest = max(COMMANDS, key=lambda name: costs[sizes[-1]][name].cpu)
    lines.append(f"At {sizes[-1]:,} rows the dearest command is `{dearest}`.")
    return lines


def chart(costs: Costs) -> str:
    """Return an SVG: CPU seconds and memory along the rows, both on log scales."""
    parts = []
    for number, (unit, name) in enumerate((("CPU s", "cpu"), ("MB", "peak"))):
        values = [getattr(c, name) for found in costs.values() for c in found.values()]
        ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        parts.append(_panel(costs, unit, name, ends, number * (WIDTH + EDGE)))
    box = f"0 0 {2 * (WIDTH + EDGE)} {HEIGHT + EDGE}"
    style = "text{font:11px sans-serif;fill:#777}polyline{fill:none;stroke-width:2}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
        f"<style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _panel(
    costs: Costs, unit: str, name: str, ends: tuple[int, int], left: float
) -> str:
    """Return one plot, `left` from the border."""
    low, high = math.log10(min(costs)), math.log10(max(costs)) + 1e-9

    def point(rows: int, value: float) -> tuple[float, float]:
        x = left + EDGE + (math.log10(rows) - low) / (high - low) * (WIDTH - EDGE)
        share = (math.log10(value) - ends[0]) / (ends[1] - ends[0])
        return x, HEIGHT - share * (HEIGHT - 20)

    parts = [f'<text x="{left + EDGE}" y="12">{unit}</text>']
    for power in range(ends[0], ends[1] + 1):
        x, y = point(min(costs), 10.0**power)
        line = f'<line x1="{x}" x2="{left + WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>'
        words = f"{10.0**power:,.10g}"
        parts.append(
            f'{line}<text x="{x - 4}" y="{y + 4}" text-anchor="end">{words}</text>'
        )
    for rows in costs:
        x, _ = point(rows, 1)
        parts.append(
            f'<text x="{x}" y="{HEIGHT + 16}" text-anchor="middle">{rows:,}</text>'
        )
    for number, (command, colour) in enumerate(COLOURS.items()):
        points = [point(r, getattr(f[command], name)) for r, f in costs.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" stroke="{colour}"/>')
        x, y = left + EDGE + 70 * number, HEIGHT + 34
        text = f'<text x="{x}" y="{y}" style="fill:{colour}">{command}</text>'
        parts.append(text)
    return "".join(parts)


def main() -> None:
    """Measure each size, print the table as it grows, and write both files."""
    costs: Costs = {}
    rows = 10_000
    while rows <= LARGEST:
        costs[rows] = measured(rows)
        print(*(table(costs) if len(costs) == 1 else table(costs)[-1:]), sep="\n")
        rows *= 10
    said = answers(costs)
    print("", *said, sep="\n")
    lines = [
        "# Cost by rows",
        "",
        f"Written by `make scale ROWS={max(costs)}`. A CSV of {len(KINDS) + 3} columns",
        "goes through `make data`, `make repro` and `make validate`: CPU seconds,",
        "and the memory of the largest process. What a comparison with a champion",
        "costs says `make validation`.",
        "",
        *table(costs),
        "",
        *said,
        "",
        "![CPU seconds and memory by rows](scale.svg)",
    ]
    (HERE / "scale.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (HERE / "scale.svg").write_text(chart(costs), encoding="utf-8")


if __name__ == "__main__":
    main()
