"""`make data` with newer rows: what grows in the contract, and how it is proposed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import tables
from machinery.world import git
from mlgitops.pipeline import prepare
from mlgitops.pipeline.contract import ContractError
from mlgitops.table import amend

pytest.importorskip("duckdb")  # the group `data`


def shop(count: int = 600, start: int = 0) -> pd.DataFrame:
    """Return orders; later ones have another city and higher prices."""
    random = np.random.default_rng(start)
    price = random.gamma(3, 20, count).round(2) * (1 + start / 300)
    cities = ["Ghent", "Bruges", "Liège"] + (["Namur"] if start else [])
    frame = pd.DataFrame({"order_id": [f"o{n}" for n in range(start, start + count)]})
    frame["price"], frame["city"] = price, random.choice(cities, count)
    frame["items"] = random.integers(1, 9, count)
    frame["returned"] = (price + random.normal(0, 30, count) > 70).astype(int)
    return frame


def newer(**columns: object) -> pd.DataFrame:
    """Return the orders with later ones."""
    return pd.concat([shop(), shop(600, 900)], ignore_index=True).assign(**columns)


def csv(frame: pd.DataFrame, name: str = "shop.csv") -> Path:
    path = Path("..", name)
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a new repository with a first table."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))
    assert not tables.make(csv(shop()), "returned")


def committed() -> None:
    """Commit all, and let there be an origin."""
    git("init", "-q", "--bare", "-b", "main", "../origin")
    git("init", "-q", "-b", "main", ".")
    git("remote", "add", "origin", "../origin")
    Path("data/shop.parquet.dvc").write_text("outs: []\n")
    with Path(".gitignore").open("a") as file:
        file.write("/mlgitops\n/build\n/data/*.parquet\n")
    git("add", "-A")
    git("commit", "-qm", "start")
    git("push", "-q", "origin", "main")


def by_hand() -> str:
    """Rewrite contract.yaml as a person would; return its text."""
    text = """\
# Orders of our shop; asked of sales every year.
name: returns # not the file's name
task: binary
id: order_id
target: returned # within 30 days
sensitive: [city] # where a person lives

columns:
  items: {type: integer, missing: false, min: 0, max: 50} # of one order
  # what the customer paid
  price: {type: number, min: 0, missing: false} # euros; no upper end
  city: # by the postcode
    type: category
    categories:
      - Ghent # the capital of the province
      - Liège
      - Bruges
    missing: false
"""
    Path("contract.yaml").write_text(text, encoding="utf-8")
    return text


def test_comments_order_and_what_a_person_decided_stay() -> None:
    text = by_hand()
    items = newer()["items"].to_numpy() * 10
    assert not tables.make(csv(newer(items=items)), "", force=True)
    grown = text.replace(
        "max: 50", f"max: {tables.contract()['columns']['items']['max']}"
    )
    grown = grown.replace("      - Bruges\n", "      - Bruges\n      - Namur\n")
    assert Path("contract.yaml").read_text(encoding="utf-8") == grown
    assert tables.path() == Path("data/shop.parquet"), "whatever the model is called"


@pytest.mark.parametrize(
    ("text", "grown"),
    [
        ("[a, b] # c\n", "[a, b, c, 'no'] # c\n"),
        (
            "[\n      a, # first\n      b # last\n    ]\n",
            "[\n      a, # first\n      b,\n      c,\n      'no' # last\n    ]\n",
        ),
        ("[a,\n      b]\n", "[a,\n      b,\n      c,\n      'no']\n"),
        ("\n    - a\n    - b\n", "\n    - a\n    - b\n    - c\n    - 'no'\n"),
        ("\n    - a\n    - b # last", "\n    - a\n    - b # last\n    - c\n    - 'no'"),
    ],
)
def test_a_list_grows_in_its_own_style(text: str, grown: str) -> None:
    head = "columns:\n  x:\n    type: category\n    missing: false\n    categories: "
    columns = {"x": {"type": "category", "missing": False}}
    columns["x"]["categories"] = ["a", "b", "c", "no"]  # type: ignore[assignment]
    assert amend.amended(head + text, {}, columns) == head + grown


@pytest.mark.parametrize("text", ["columns: {x: {type: boolean, missing: false}}\n"])
def test_a_form_that_is_not_edited_is_written_anew_and_said(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "name: shop\ntask: binary\nid: order_id\ntarget: returned\n"
    Path("contract.yaml").write_text(head + text, encoding="utf-8")
    assert not tables.make(csv(newer()), "", force=True)
    assert "its comments are lost" in capsys.readouterr().out
    assert "city" in tables.contract()["columns"]


def test_a_whole_number_stays_a_number_that_may_have_a_fraction() -> None:
    """A contract never shrinks: neither its type nor its range."""
    frame = shop()
    frame["items"] = frame["items"] + 0.5
    assert not tables.make(csv(frame), "", force=True)
    wide = tables.contract()["columns"]["items"]
    assert wide["type"] == "number"
    assert not tables.make(csv(shop(900)), "", force=True)
    assert tables.contract()["columns"]["items"] == wide


def test_the_growth_is_a_pull_request_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The commands that are printed work, and both pull requests are what they say."""
    committed()
    gift = np.where(newer()["price"] > 50, "yes", "no")
    capsys.readouterr()
    assert not tables.make(csv(newer(gift=gift), "shop-2027.csv"), "", force=True)
    Path("data/shop.parquet.dvc").write_text("outs: [newer]\n")
    out = capsys.readouterr().out
    assert "gift: a new column, boolean; not an input yet" in out
    first, second, rows, third = [
        line.strip().split(" && gh pr create")[0].replace(" && make push", "")
        for line in out.split("takes two pull requests")[1].splitlines()
        if line.startswith("  ")
    ]
    whole = Path("contract.yaml").read_text(encoding="utf-8")
    subprocess.run(first, shell=True, check=True, capture_output=True)
    branch = first.split()[-1]
    assert git("diff", "--name-only", "main", branch) == "contract.yaml"
    proposed = yaml.safe_load(git("show", f"{branch}:contract.yaml"))["columns"]
    assert "Namur" in proposed["city"]["categories"] and "gift" not in proposed
    for line in (second, rows):
        subprocess.run(line, shell=True, check=True, capture_output=True)
    git("push", "-q", "origin", "main:refs/heads/old")
    squashed = git("commit-tree", f"{branch}^{{tree}}", "-p", "main", "-m", "squashed")
    git("push", "-q", "origin", f"{squashed}:refs/heads/main")
    done = subprocess.run(third, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = git("diff", "--name-only", "origin/main", "origin/newer-rows").split()
    assert "data/shop.parquet.dvc" in changed and "contract.yaml" in changed
    assert Path("contract.yaml").read_text(encoding="utf-8") == whole
    train = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["train"]
    assert train["columns"] == ["price", "city", "items"], "what main's contract has"
    assert "params.yaml" not in changed and "params.yaml stays as it is" in out
    ran = git("log", "--format=%s", "origin/main..origin/newer-rows")
    assert ran == "Take newer rows", "what is merged already is not proposed again"


def test_todays_rows_keep_the_contract_that_comes_first() -> None:
    """And the newer ones do, too; main's own does not take them."""
    committed()
    old = Path("contract.yaml").read_bytes()
    before = tables.path()
    Path("../before.parquet").write_bytes(before.read_bytes())
    assert not tables.make(csv(newer()), "", force=True)
    grown = Path("contract.yaml").read_bytes()
    (branch,) = git(
        "branch", "--list", "contract/*", "--format=%(refname:short)"
    ).split()
    assert git("show", f"{branch}:contract.yaml") == grown.decode().strip()
    train, holdout = Path("build/train.parquet"), Path("build/holdout.parquet")
    for table in (Path("../before.parquet"), before):
        prepare.prepare(table, train, holdout)
    Path("contract.yaml").write_bytes(old)
    prepare.prepare(Path("../before.parquet"), train, holdout)
    with pytest.raises(ContractError, match="city|price"):
        prepare.prepare(before, train, holdout)


@pytest.mark.parametrize("case", ["no growth", "no origin", "not committed"])
def test_one_pull_request_is_enough_where_main_takes_the_rows(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if case != "not committed":
        committed()
    if case == "no origin":
        git("remote", "remove", "origin")
    capsys.readouterr()
    more = shop(700) if case == "no growth" else newer()
    more["price"] = more["price"].clip(0, shop()["price"].max())
    assert not tables.make(csv(more), "", force=True)
    out = capsys.readouterr().out
    assert "two pull requests" not in out
    assert ("git switch -c newer-rows" in out) is (case == "no growth")
    if case != "not committed":
        assert git("branch", "--list", "contract/*") == ""


def test_rows_that_are_numbered_and_moved_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Else they would change sides, and nobody would know."""
    plain = shop().drop(columns="order_id")
    assert not tables.make(csv(plain), "", force=True)
    capsys.readouterr()
    assert not tables.make(csv(pd.concat([plain, plain.head(9)])), "", force=True)
    assert "stand for another row" not in capsys.readouterr().out
    assert not tables.make(csv(plain.iloc[::-1]), "")
    assert "of 600 numbers stand for another row than before" in capsys.readouterr().out


def test_a_column_that_is_gone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    committed()
    capsys.readouterr()
    assert not tables.make(csv(newer().drop(columns="items")), "")
    out = capsys.readouterr().out
    assert "items: no longer a column (the file has no such column); bring" in out


def test_a_column_that_is_gone_is_taken_out_in_two_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """First main's model reads it no longer; then rows and contract lose it.

    What is printed leads there, and what the judge asks of either is in test_bad_input.
    """
    committed()
    capsys.readouterr()
    assert not tables.make(csv(newer().drop(columns="items")), "", force=True)
    out = capsys.readouterr().out
    assert "train.columns no longer names items" in out
    (branch,) = git(
        "branch", "--list", "contract/*", "--format=%(refname:short)"
    ).split()
    assert f"contract.yaml and params.yaml alone, on the branch {branch}" in out
    changed = git("diff", "--name-only", "main", branch).split()
    assert changed == ["contract.yaml", "params.yaml"]
    first = yaml.safe_load(git("show", f"{branch}:contract.yaml"))["columns"]
    assert "items" in first and "Namur" in first["city"]["categories"]
    texts = [git("show", f"{at}:params.yaml") for at in ("main", branch)]
    gone = set(texts[0].splitlines()) - set(texts[1].splitlines())
    assert {line.strip() for line in gone} == {"- items"}
    assert texts[1] == Path("params.yaml").read_text(encoding="utf-8").strip()
    assert "items" not in tables.contract()["columns"]
    assert tables.params("binary")["train"]["columns"] == ["price", "city"]
    git("commit", "-qam", "rows")
    assert not tables.make(csv(newer().drop(columns="items")), "", force=True)
    assert "two pull requests" not in capsys.readouterr().out.split("Written")[-1]


@pytest.mark.parametrize(
    ("columns", "left"),
    [
        ("\n    - a # first\n    - b\n", "\n    - b\n"),
        ("\n    - b\n    - a", "\n    - b\n"),
        (" [a, b] # two\n", " [b] # two\n"),
        (" [b, 'a']\n", " [b]\n"),
        (" [a]\n", " [a]\n"),
        (" a\n", " a\n"),
        (" &x [b, c]\n", " &x [b, c]\n"),
    ],
)
def test_a_column_is_taken_out_of_a_list_of_any_style(columns: str, left: str) -> None:
    head = "x: 1\ntrain:\n  columns:"
    assert amend.without(head + columns, ["a"]) == head + left


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather"])
def test_names_that_differ_in_case_only_are_two_columns(kind: str) -> None:
    frame = shop()
    frame["Price"] = frame["items"].astype(float)
    frame["PRICE"] = -frame["items"].astype(float)
    path = Path(f"../twins.{kind}")
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        getattr(frame, f"to_{kind}")(path)
    assert not tables.make(path, "returned", force=True)
    assert {"price", "Price", "PRICE"} < set(tables.contract()["columns"])
    written = tables.table()
    assert list(written) == [
        "order_id",
        *list(frame)[1:4],
        "Price",
        "PRICE",
        "returned",
    ]
    for name in ("price", "Price", "PRICE"):
        assert written[name].to_list() == frame[name].to_list()
    assert not tables.make(path, "returned", force=True), "the second time"


def test_json_names_that_differ_in_case_only_are_refused_in_one_sentence() -> None:
    path = Path("../twins.jsonl")
    frame = shop().assign(Price=1)
    frame.to_json(path, orient="records", lines=True)
    refusal = tables.make(path, "returned", force=True)
    assert "price and Price differ only in the case of letters" in refusal


def test_a_sensitive_column_that_is_left_out_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An identifier is: the wish is never dropped without a word."""
    frame = shop()
    frame["note"] = [
        f"customer {n} wrote a long letter of complaint" for n in range(600)
    ]
    frame["tag"] = [f"t{n:05}" for n in range(600)]
    capsys.readouterr()
    asked = {"sensitive": "note,tag,city"}
    assert not tables.make(csv(frame), "returned", force=True, **asked)
    lines = capsys.readouterr().out.splitlines()
    told = [line.split()[0] for line in lines if "SENSITIVE= names it" in line]
    assert told == ["tag"]
    assert sorted(tables.contract()["sensitive"]) == ["city", "note"]
    assert "tag" not in tables.table()


def test_texts_of_digits_are_all_in_quotes() -> None:
    """Some of them are numbers to one reader of YAML and texts to another."""
    codes = ["01234", "01239", "007", "1_000", "12:30", "1e3", "-5"]
    frame = shop().assign(zip=[codes[n % len(codes)] for n in range(600)])
    options = {"types": "zip=category"}
    assert not tables.make(csv(frame), "returned", force=True, **options)
    text = Path("contract.yaml").read_text(encoding="utf-8")
    assert all(f"'{code}'" in text for code in codes), text
    assert tables.contract()["columns"]["zip"]["categories"] == sorted(codes)


def test_gates_do_not_move_with_newer_rows_and_options_still_count() -> None:
    """A pull request that lets rows in does not make its own judge milder."""
    committed()
    before = Path("params.yaml").read_text(encoding="utf-8")
    assert not tables.make(csv(shop(900)), "", force=True)
    assert Path("params.yaml").read_text(encoding="utf-8") == before
    assert not tables.make(csv(shop(950)), "", force=True, sensitive="city")
    assert "sensitive: [city]" in Path("contract.yaml").read_text(encoding="utf-8")
    assert Path("params.yaml").read_text(encoding="utf-8") != before
