"""What real tables showed: columns that a guess took for what they are not."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import tables
from mlgitops.table import files

pytest.importorskip("duckdb")  # the group `data`
ROWS = 600
RANDOM = np.random.default_rng(7)
Made = Callable[..., str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a new repository."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))


@pytest.fixture
def page(capsys: pytest.CaptureFixture[str]) -> Made:
    """Return a function that makes a table and returns what the terminal shows."""

    def make(frame: pd.DataFrame, index: bool = False, **given: str) -> str:
        frame.to_csv("../table.csv", index=index)
        assert not tables.make("../table.csv", "y", **given)
        return capsys.readouterr().out

    return make


def inputs() -> list[str]:
    """Return the columns of the contract."""
    return list(tables.contract()["columns"])


def row(text: str, name: str, part: str = "Look at:") -> str:
    """Return a column's lines of a part of the page; "" where there is none."""
    lines = text.partition(part)[2].splitlines()
    return "\n".join(line for line in lines if re.match(rf"  {name}  ", line))


def by_target() -> pd.DataFrame:
    """Return a table in the order of its target, as sorted exports are."""
    return tables.frame(ROWS).sort_values("y", ignore_index=True)


def test_the_row_numbers_that_pandas_writes_are_no_input(page: Made) -> None:
    """In a sorted file they are the target: a model would learn the order of rows."""
    text = page(by_target(), index=True)
    assert inputs() == ["x"]
    assert "row numbers" in row(text, "unnamed_0", "Left out:")


def test_row_numbers_with_gaps_and_twice_saved(page: Made) -> None:
    """As a filter, and a second `to_csv`, leave them."""
    frame = by_target()
    frame.index = pd.Index(np.sort(RANDOM.choice(ROWS * 20, ROWS, replace=False)))
    page(frame.rename_axis("Unnamed: 0").reset_index(), index=True)
    assert inputs() == ["x"]


@pytest.mark.parametrize("name", ["seqno", "line", "n"])
def test_a_column_that_counts_the_rows_is_no_input(name: str, page: Made) -> None:
    """1 to n, each once, in any order and by any name."""
    frame = by_target().assign(**{name: np.arange(1, ROWS + 1)})
    page(frame.sample(frac=1, random_state=1))
    assert inputs() == ["x"]


def test_a_number_of_a_patient_is_the_id(page: Made) -> None:
    numbers = RANDOM.choice(900_000, ROWS, replace=False) + 10_000
    page(tables.frame(ROWS, pidnum=numbers))
    assert tables.contract()["id"] == "pidnum" and inputs() == ["x"]


def test_years_and_measured_whole_numbers_stay(page: Made) -> None:
    """The control: a year each, and grams that happen to differ."""
    years = np.arange(1400, 1400 + ROWS)
    grams = RANDOM.normal(500_000, 50_000, ROWS).astype(int)
    page(tables.frame(ROWS, year=years, grams=grams, age=RANDOM.integers(18, 90, ROWS)))
    assert inputs() == ["x", "year", "grams", "age"]


def test_a_duration_that_ends_with_the_event_is_asked_about(page: Made) -> None:
    """Days until a relapse, or until the study's end: not yet known in a request."""
    frame = tables.frame(ROWS)
    end = RANDOM.normal(3000, 500, ROWS)
    relapse = np.where(RANDOM.random(ROWS) < 0.1, end, RANDOM.normal(900, 500, ROWS))
    frame["days"] = np.where(frame["y"] == 1, relapse, end).round().astype(int)
    text = page(frame)
    assert "is it known before" in row(text, "days") and "DROP='days'" in text
    assert not row(text, "x"), "the control"


def dated(gap: bool) -> pd.DataFrame:
    """Return visits with a date, which one of them may lack."""
    days = pd.date_range("2021-01-01", periods=ROWS).strftime("%Y-%m-%d").to_list()
    return tables.frame(ROWS, visit=[None, *days[1:]] if gap else days)


def test_a_date_with_a_gap_is_named_as_the_time_that_is_not_taken(page: Made) -> None:
    """A random split of what happened in time has to be seen."""
    text = page(dated(gap=True))
    time = next(line for line in text.splitlines() if line.startswith("  time "))
    assert "visit" in time and "1 row" in time and "TIME='visit'" in time
    assert "time" not in tables.contract()
    text = page(dated(gap=False), force=True)
    assert tables.contract()["time"] == "visit"


def test_a_later_date_is_asked_about_where_no_time_is_chosen(page: Made) -> None:
    first = pd.to_datetime("2020-01-01") + pd.to_timedelta(
        RANDOM.integers(0, 900, ROWS), unit="D"
    )
    later = first + pd.to_timedelta(RANDOM.integers(0, 90, ROWS), unit="D")
    frame = tables.frame(ROWS, opened=first.strftime("%d-%m-%Y"))
    frame["shut"] = later.strftime("%d-%m-%Y")
    text = page(frame)
    assert "later than opened" in row(text, "shut") and "DROP='shut'" in text
    assert not row(text, "opened"), "the control"


def test_a_year_is_offered_as_the_time(page: Made) -> None:
    """Nobody types TIME= for a column that is called no date."""
    text = page(tables.frame(ROWS, Year=RANDOM.integers(2001, 2015, ROWS)))
    assert "TIME='Year' TYPES='Year=%Y'" in row(text, "Year")
    page(
        tables.frame(ROWS, Year=RANDOM.integers(2001, 2015, ROWS)),
        time="Year",
        types="Year=%Y",
        force=True,
    )
    assert tables.params("binary")["prepare"]["split"] == "time"


def test_a_year_is_known_by_its_values(page: Made) -> None:
    """In any language; what is born then, weighs so much or is rare is none."""
    years = RANDOM.integers(2001, 2015, ROWS)
    text = page(tables.frame(ROWS, Jahr=years, ano_birth=years - 40))
    assert "TIME='Jahr'" in row(text, "Jahr")
    assert "a year" not in row(text, "ano_birth")
    grams = RANDOM.integers(1900, 2100, ROWS)
    text = page(tables.frame(ROWS, g=grams, n=years + 900), force=True)
    assert "a year" not in text
    text = page(tables.frame(ROWS, a=years, b=years[::-1]), force=True)
    assert "a year" not in text, "which of them, nobody knows"


def test_many_rows_of_one_name_are_a_group(page: Made) -> None:
    """A column is left out for its many values, and its rows belong together still."""
    names = [f"The Diner {n}" for n in RANDOM.integers(0, 190, ROWS)]
    text = page(tables.frame(ROWS, business=names))
    assert inputs() == ["x"]
    assert "business" in row(text, "group", "columns\n")


def test_a_name_of_a_region_is_no_personal_data(page: Made) -> None:
    regions = RANDOM.choice(["Asia", "Africa", "Europe"], ROWS)
    people = RANDOM.choice(["Ada", "Grace", "Mary"], ROWS)
    text = page(tables.frame(ROWS, un_region_name=regions, customer_name=people))
    assert "personal" in row(text, "customer_name")
    assert not row(text, "un_region_name")


def test_copies_of_rows_on_both_sides_are_said(page: Made) -> None:
    frame = tables.frame(ROWS)
    text = page(pd.concat([frame, frame]))
    assert "both sides of the split" in row(text, "rows")


def test_the_terminal_cuts_no_number_of_rows(page: Made) -> None:
    text = page(tables.frame(20_000))
    assert "4,000 rows" in text and "…" not in text
    assert "1 is 1" not in text


def git(*words: str) -> list[str]:
    """Return the lines that git prints."""
    done = subprocess.run(("git", *words), check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["customers.csv", "raw/my [2] #1 table!.csv", "raw"])
def test_the_raw_file_is_kept_out_of_git(name: str) -> None:
    """`Commit everything` comes next: a table of people would be pushed."""
    git("init", "--quiet")
    file = Path(name if name.endswith("csv") else f"{name}/part.csv")
    file.parent.mkdir(exist_ok=True)
    tables.frame(ROWS).to_csv(file, index=False)
    assert not tables.make(name, "y")
    git("add", "--all")
    assert file.as_posix() not in git("ls-files", "-z")[0].split("\0")
    before = Path(".gitignore").read_text(encoding="utf-8")
    assert not tables.make(name, "y", force=True)
    assert Path(".gitignore").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("head", "names"),
    [
        (b"SQLite format 3\0", {"shop.db-wal", "shop.db-shm", "shop.db-journal"}),
        (b"12345678DUCK 123", {"shop.db.wal", "shop.db.tmp"}),
        (b"id,y\n1,2\n", set()),  # no database: nothing is beside it
    ],
)
def test_what_a_database_writes_beside_its_file_is_kept_out_of_git(
    head: bytes, names: set[str]
) -> None:
    """It has rows that are not in the file yet; a file that git has stays as it is."""
    git("init", "--quiet")
    file = Path("shop.db")
    for tracked in (False, True):
        file.write_bytes(head)
        if tracked:
            Path(".gitignore").unlink()
            git("add", "shop.db")
        assert bool(files.keep_out(file)) == bool(names or not tracked)
        assert files.keep_out(file) == ""
        for name in names | {"shop.db.csv"}:
            Path(name).write_bytes(b"rows")
        git("add", "--all")
        staged = set(git("ls-files", "-z")[0].split("\0"))
        assert "shop.db.csv" in staged and not names & staged
        assert ("shop.db" in staged) == tracked


def test_a_file_that_git_tracks_or_has_elsewhere_changes_no_gitignore() -> None:
    """The control: somebody has decided already."""
    git("init", "--quiet")
    for path in (Path("small.csv"), Path("..", "outside.csv")):
        tables.frame(ROWS).to_csv(path, index=False)
        if path.name == "small.csv":
            git("add", "small.csv")
        assert not tables.make(path, "y", force=True)
    assert "side.csv" not in Path(".gitignore").read_text(encoding="utf-8")
    assert "small" not in Path(".gitignore").read_text(encoding="utf-8")


def test_one_mistake_in_a_price_makes_it_no_list_of_classes() -> None:
    """What is wrong is one value, and not that prices are many."""
    frame = tables.frame(ROWS).assign(y=lambda f: (f["x"] * 1000).round().astype(str))
    frame.loc[7, "y"] = "ask"
    frame.to_csv("../table.csv", index=False)
    refusal = tables.make("../table.csv", "y")
    assert "1 of 600 values of the target are not numbers (such as ask)" in refusal
    grades = RANDOM.choice(["1", "2", "3", "none"], ROWS, p=[0.31, 0.31, 0.32, 0.06])
    tables.frame(ROWS).assign(y=grades).to_csv("../grades.csv", index=False)
    assert not tables.make("../grades.csv", "y"), "the control"
    assert tables.contract()["task"] == "multiclass"


@pytest.mark.parametrize("more", [0, 30], ids=["one line", "many lines"])
def test_a_category_with_a_comma_is_one_category(more: int) -> None:
    """In a list of YAML, `Germany, East` is two names, and one is there already."""
    names = ["Germany", "Germany, East", "[none]", "{x}", "a: b", "- c", "# d", "e]"]
    names += [f"region {n}, {n}" for n in range(more)]
    kinds = RANDOM.choice(["so, so", "good", "bad]"], ROWS)
    frame = tables.frame(ROWS, region=RANDOM.choice(names, ROWS), **{"n, m": 1.5})
    frame["n, m"] += RANDOM.normal(size=ROWS)
    frame.assign(y=kinds).to_csv("../table.csv", index=False)
    assert not tables.make("../table.csv", "y", sensitive='"n, m"')
    contract = tables.contract()
    assert sorted(contract["columns"]["region"]["categories"]) == sorted(names)
    assert sorted(contract["classes"]) == ["bad]", "good", "so, so"]
    assert contract["sensitive"] == ["n, m"]


def test_the_floor_is_that_of_groups_which_a_quick_model_did_not_see(
    page: Made,
) -> None:
    """Else it knows each group by its numbers, and no honest model is good enough."""
    group = RANDOM.integers(0, 60, ROWS)
    seat, luck = RANDOM.normal(size=60), RANDOM.choice([0.1, 0.9], 60)
    frame = tables.frame(ROWS, team=[f"t{n}" for n in group], seat=seat[group])
    frame["y"] = (RANDOM.random(ROWS) < luck[group]).astype(int)
    page(frame, group="team")
    assert tables.params("binary")["gates"]["roc_auc"]["min"] < 0.6


def test_names_in_single_quotes_are_read_without_them() -> None:
    """As some programs write them; nobody types TARGET="'y'"."""
    frame = tables.frame(ROWS).rename(columns=lambda name: f"'{name}'")
    frame.to_csv("../table.csv", index=False, sep="\t")
    assert not tables.make("../table.csv", "y")
    assert inputs() == ["x"]
    frame = tables.frame(ROWS).rename(columns={"x": "'x'"})
    frame.to_csv("../table.csv", index=False)
    assert not tables.make("../table.csv", "y", force=True)
    assert inputs() == ["'x'"], "the control: one of them only is a name"
