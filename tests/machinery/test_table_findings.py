"""What a person is told to look at, and the page that shows it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import free_text, tables
from mlgitops.table import bars, findings

pytest.importorskip("duckdb")  # the group `data`
RANDOM = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a new repository."""
    folder = tables.copy(tmp_path / "new")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def seen(capsys: pytest.CaptureFixture[str]) -> object:
    """Return a function that makes a table and returns what is to be looked at."""

    def look(frame: pd.DataFrame, **given: str) -> str:
        path = Path("..", "table.csv")
        frame.to_csv(path, index=False)
        assert not tables.make(path, "y", **given)
        out = capsys.readouterr().out
        return out.partition("Look at:")[2].partition("Ranges:")[0]

    return look


def test_a_column_that_knows_the_target(seen) -> None:
    frame = tables.frame(800)
    frame.insert(0, "refund", np.where(frame["y"] == 1, RANDOM.integers(1, 99, 800), 0))
    found = seen(frame)
    assert re.search(r"refund +alone it predicts y with ROC AUC (0\.99|1\.0)", found)
    assert "DROP='refund'" in found
    assert "refund" in tables.contract()["columns"]
    assert tables.params("binary")["train"]["columns"] == ["x"]
    gate = tables.params("binary")["gates"]["roc_auc"]
    assert gate["max"] == 0.98 and gate["min"] < 0.8
    assert not re.search(r"^  x ", found, re.M)  # the control


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_such_a_column_in_other_tasks(task: str, seen) -> None:
    frame = tables.frame(800, noise=RANDOM.normal(size=800))
    frame["y"] = np.round(frame["x"] * 10, 1)
    if task == "multiclass":
        frame["y"] = np.array(["low", "mid", "high"])[
            np.digitize(frame["x"], [-0.5, 0.5])
        ]
    found = seen(frame)
    assert re.search(r"x +alone it predicts y", found)
    assert "noise" not in found


def test_a_date_after_the_event(seen) -> None:
    hours = pd.to_timedelta(np.arange(800), unit="h")
    ordered = pd.Timestamp("2024-01-01") + hours
    closed = ordered + pd.to_timedelta(RANDOM.integers(1, 99, 800), unit="h")
    frame = tables.frame(800, ordered=ordered.astype(str), closed=closed.astype(str))
    found = seen(frame, time="ordered")
    assert re.search(r"closed +in 100% of the rows it is later than ordered", found)


def test_where_nothing_else_is_left_the_judge_says_so(seen) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=800)})
    frame["y"] = (frame["x"] > 0).astype(int)
    assert re.search(r"x +alone it predicts y", seen(frame))
    assert tables.params("binary")["train"]["columns"] == ["x"]


@pytest.mark.parametrize("split", ["", "random"])
def test_a_group_is_guessed_where_it_is_clear(split: str, seen) -> None:
    frame = tables.frame(800, customer_id=RANDOM.integers(0, 90, 800))
    found = seen(frame, split=split)
    guessed = not split
    assert ("GROUP='customer_id'" in found) != guessed
    assert tables.contract().get("entity") == ("customer_id" if guessed else None)
    assert ("customer_id" in tables.contract()["columns"]) != guessed
    assert tables.params("binary")["prepare"]["split"] == (split or "group")


@pytest.mark.parametrize(("name", "group"), [("patient", True), ("town", False)])
def test_whose_rows_they_are_may_be_the_whole_name(
    name: str, group: bool, seen
) -> None:
    """No "id" stands behind it; a column of as many places is none."""
    owners = [f"p{n}" for n in RANDOM.integers(0, 90, 800)]
    seen(tables.frame(800, **{name: owners}))
    assert tables.contract().get("entity") == (name if group else None)


@pytest.mark.parametrize("values", [30, 700])
def test_a_group_that_is_not_clear_is_offered(values: int, seen) -> None:
    """Few values may be categories; of two columns no one knows which it is."""
    frame = tables.frame(800, shop_id=RANDOM.integers(0, values, 800))
    if values > 100:
        frame["visitor_id"] = RANDOM.integers(0, 200, 800)
    found = seen(frame)
    assert "GROUP='shop_id'" in found and "both sides" in found
    assert "entity" not in tables.contract()


def test_a_time_needs_no_group(seen) -> None:
    hours = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(800), unit="h")
    ids = RANDOM.integers(0, 90, 800)
    frame = tables.frame(800, at=hours.astype(str), customer_id=ids)
    assert "GROUP='customer_id'" in seen(frame)
    assert tables.params("binary")["prepare"]["split"] == "time"
    assert "both sides" not in seen(frame, group="customer_id")


def test_personal_data(seen) -> None:
    numbers = np.arange(800)
    frame = tables.frame(
        800,
        contact=[f"a{n}@example.org" for n in numbers],
        lastName=RANDOM.choice(["Ada", "Grace", "Mary"], 800),
        area=RANDOM.choice(["north", "south"], 800),
    )
    found = seen(frame)
    assert re.search(r"contact +likely personal data \(100 of 100 values look", found)
    assert re.search(r"lastName +likely personal data \(by its name\)", found)
    assert "area" not in found


def test_groups_of_people_are_pointed_out_until_they_are_compared(seen) -> None:
    """By whole words: nobody's sex is in Essex, nor a race in a trace."""
    yes_no = RANDOM.integers(0, 2, 800)
    others = {"Essex": yes_no, "trace": yes_no, "black_box_age": RANDOM.random(800)}
    frame = tables.frame(800, isFemale=yes_no, Race=RANDOM.choice(["a", "b"], 800))
    frame = frame.assign(**others)
    found = seen(frame)
    assert re.search(r"isFemale, Race +perhaps groups of people", found)
    assert "SENSITIVE='isFemale,Race'" in found
    assert not re.search("Essex|trace|black_box", found)
    assert "perhaps groups" not in seen(frame, sensitive="isFemale,Race")
    assert "fairness" in tables.params("binary")


@pytest.mark.parametrize(
    ("name", "personal"),
    [
        ("Straße & Ort", True),
        ("Geburtsdatum", True),
        ("Prénom", True),
        ("date_naissance", True),
        ("e_mail", True),
        ("Straßenbelag", False),
        ("nombre de pièces", False),
        ("Adressierbarkeit", False),
    ],
)
def test_a_name_says_so_in_other_languages(name: str, personal: bool) -> None:
    assert bool(findings.NAMES.search(name)) is personal


def test_the_age_of_an_account_is_no_personal_data(seen) -> None:
    numbers = [f"A-{n}" for n in RANDOM.integers(0, 90, 800)]
    frame = tables.frame(800, **{"Account no.": numbers})
    frame["Account age (months)"] = RANDOM.integers(0, 60, 800)
    found = seen(frame)
    assert re.search(r"Account no\. +likely personal data", found)
    assert "Account age" not in found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Ticket No.", r"id +Ticket No\. +by its name"),
        ("Ticket", r"id +row_id +no column .*\[ID=Ticket, if it identifies a row\]"),
        ("The ticket", r"\[ID='The ticket', if it identifies a row\]"),
        ("", r"\[ID=column, if it identifies a row\]"),
    ],
)
def test_a_column_without_a_value_twice_is_named_as_the_id(
    name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unique = {name: [f"T{n * 7919 % 100_003}" for n in range(800)]} if name else {}
    tables.frame(800, **unique).to_csv("../table.csv", index=False)
    assert not tables.make("../table.csv", "y")
    assert re.search(words, capsys.readouterr().out)


def test_the_plot_of_a_text_says_that_it_is_of_lengths() -> None:
    texts = pd.Series(["a" * n for n in range(1, 101)])
    assert "99 characters<" in bars.plot(texts, "text", None)
    assert "characters" not in bars.plot(texts.map(len), "number", None), "the control"


def test_free_text_is_kept_with_its_evidence(seen) -> None:
    """And said to be perhaps personal, with what was found in it."""
    texts = free_text.reviews(800).rows["review"].fillna("it was great with me")
    frame = tables.frame(800, note=[f"{t} #{n}" for n, t in enumerate(texts)])
    frame.loc[:39, "note"] += " write to ada@example.org"
    found = seen(frame)
    page = Path("build/data.html").read_text(encoding="utf-8")
    assert "share a word with another: free text" in page
    assert tables.contract()["columns"]["note"]["type"] == "text"
    assert re.search(r"note +free text may hold personal data \(40 of 100", found)
    assert "SENSITIVE='note'" in found
    assert tables.params("binary")["train"]["estimator"] == "logistic_regression"


def test_few_rows_rare_classes_and_duplicates(seen) -> None:
    frame = tables.frame(400).assign(x=lambda f: (f["x"] > 0) * 1.5)
    frame["y"] = np.where(np.arange(400) % 16 == 0, "rare", "usual")
    found = seen(frame)
    assert "80 rows are held out" in found
    assert "y = rare  25 of 400 rows" in found
    assert "repeat another" in found


def test_columns_that_say_nothing(seen) -> None:
    frame = tables.frame(2000).drop(columns="x").assign(z=RANDOM.normal(size=2000))
    assert "hardly say anything" in seen(frame[["z", "y"]])


def test_page_loads_nothing_and_shows_each_column(seen) -> None:
    hostile = "<script>alert(1)</script>"
    frame = tables.frame(
        800,
        **{
            hostile: RANDOM.choice(["<b>", "&amp;"], 800),
            "flag": RANDOM.choice(["yes", "no"], 800),
            "age": RANDOM.integers(0, 50, 800),
            "day": np.repeat(pd.date_range("2024-01-01", periods=100).astype(str), 8),
        },
    )
    seen(frame, split="random")
    page = Path("build", "data.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 5
    assert "&lt;script&gt;" in page and "TYPES=" in page


def test_page_of_a_refusal() -> None:
    path = Path("..", "table.csv")
    tables.frame(3).to_csv(path, index=False)
    assert tables.make(path, "y")
    page = Path("build", "data.html").read_text(encoding="utf-8")
    assert "was refused" in page and "100 are the fewest" in page
