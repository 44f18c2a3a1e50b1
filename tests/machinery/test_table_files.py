"""What `make data` writes, removes, leaves alone, and shows the second time."""

import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import tables
from mlgitops.table import files, plan
from mlgitops.table.problem import TableError

pytest.importorskip("duckdb")  # the group `data`
EXAMPLE = re.compile(
    r"flight|airline|airport|carrier|passenger|nycflights|weather|storm|JetBlue|punctual"
    r"|depart(ure|ed)|\bdest\b|EWR|minutes late|government",
    re.I,
)
FREE = ("LICENSE", "requirements", "uv.lock")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a new repository."""
    folder = tables.copy(tmp_path / "new")
    monkeypatch.chdir(folder)
    return folder


def shop(count: int = 600, start: int = 0) -> pd.DataFrame:
    """Return orders; later ones have another city and higher prices."""
    random = np.random.default_rng(start)
    price = random.gamma(3, 20, count).round(2) * (1 + start / 300)
    cities = ["Ghent", "Bruges", "Liège"] + (["Namur"] if start else [])
    return pd.DataFrame(
        {
            "order_id": [f"o{n}" for n in range(start, start + count)],
            "price": price,
            "city": random.choice(cities, count),
            "items": random.integers(1, 9, count),
            "returned": (price + random.normal(0, 30, count) > 70).astype(int),
        }
    )


def csv(frame: pd.DataFrame) -> Path:
    path = Path("..", "shop.csv")
    frame.to_csv(path, index=False)
    return path


def named() -> list[str]:
    """Return what the project is called: its title and its slug are answers."""
    title = Path("README.md").read_text(encoding="utf-8").splitlines()[0]
    slug = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    return [title.removeprefix("# "), slug["project"]["name"]]


def test_nothing_of_the_example_is_left() -> None:
    assert not tables.make(csv(shop()), "returned")
    answers = re.compile("|".join(map(re.escape, named())))
    found = []
    for path in sorted(Path().rglob("*")):
        if not path.is_file() or path.parts[0] in (*FREE, "build", "example"):
            continue
        if path.suffix != ".parquet":
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            lines = [answers.sub("", line) for line in lines]
            found += [f"{path}: {line}" for line in lines if EXAMPLE.search(line)]
    assert found == []
    assert (
        not Path("example").exists() and "example" not in Path(".gitignore").read_text()
    )
    assert [p.name for p in Path("data").iterdir() if p.suffix == ".parquet"] == [
        "shop.parquet"
    ]
    assert yaml.safe_load(Path("behaviour.yaml").read_text()) == []
    first = Path("README.md").read_text(encoding="utf-8").split("```")[1]
    assert "make data FILE=" in first and "example" not in first


def test_what_was_built_from_the_example_goes_too() -> None:
    """Else `make serve` would answer with its model."""
    built = [Path("build/model.onnx"), Path("build/manifest.json"), Path("dvc.lock")]
    Path("build").mkdir()
    for path in built:
        path.write_text("the example's")
    assert not tables.make(csv(shop()), "returned")
    assert not any(path.exists() for path in built)
    for path in built:
        path.write_text("one's own")
    assert not tables.make(csv(shop()), "returned")
    assert all(path.exists() for path in built), "only the first time"


def test_what_a_person_wrote_into_the_readme_stays() -> None:
    text = Path("README.md").read_text(encoding="utf-8")
    question = "Will this flight arrive 15 minutes late or more?"
    own = text.replace(question, "Who sends back what?") + "Our own flights.\n"
    Path("README.md").write_text(own, encoding="utf-8")
    assert not tables.make(csv(shop()), "returned")
    now = Path("README.md").read_text(encoding="utf-8")
    assert "\nWho sends back what?\n" in now and now.endswith("Our own flights.\n")
    assert 'description = "Predicts returned (binary)."' in (
        Path("pyproject.toml").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Gewässer proben.csv", "gewasser-proben"),
        ("Straße.csv", "strasse"),
        ("2024 sales.v2.csv", "model-2024-sales"),
        ("東京.csv", "model"),
    ],
)
def test_a_model_is_named_after_its_file(file: str, name: str) -> None:
    assert plan.slug(file) == name


def test_only_what_the_table_named_is_escaped_in_the_readme() -> None:
    table = shop().rename(columns={"returned": "a <b>?"})
    assert not tables.make(csv(table), "a <b>?")
    text = Path("README.md").read_text(encoding="utf-8")
    line = next(x for x in text.splitlines() if x.startswith("Predicts "))
    assert "<b>" not in line and line.endswith(" (binary).")


def test_no_table_as_it_came_gets_into_git(capsys: pytest.CaptureFixture[str]) -> None:
    """The next thing that a person types is a commit of everything."""

    def untracked(*paths: str) -> list[str]:
        command = ("git", "status", "--porcelain", "--untracked-files=all", *paths)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    subprocess.run(("git", "init", "-q"), check=True)
    for name, rows in (("bad.csv", 3), ("orders.csv", 600), ("newer.csv", 700)):
        shop(rows).to_csv(name, index=False)
        assert untracked(name), "the control"
        refused = tables.make(name, "returned")
        assert bool(refused) == (name == "bad.csv")
        out = capsys.readouterr().out
        assert not untracked(name) and f"{name} is kept out of git" in out
        assert ("Only .gitignore has a new line" in out) == (name != "orders.csv")


def test_sums_of_the_example_are_those_of_its_files() -> None:
    """`make sums`, where the template is made, writes them."""
    for name, digest in files._examples().items():
        path = tables.ROOT / name
        if (
            yaml.safe_load((tables.ROOT / "contract.yaml").read_text())["name"]
            == "flights"
        ):
            assert files._sum(str(path)) == digest, name


def test_every_other_line_of_params_stays() -> None:
    before = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    assert not tables.make(csv(shop()), "returned")
    after = Path("params.yaml").read_text(encoding="utf-8").splitlines()
    before = [line for line in before if line]
    kept = [line for line in before if line in after]
    assert len(kept) > 60
    assert [line for line in after if line in before] == kept


def test_what_was_written_by_hand_is_not_overwritten(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = Path("contract.yaml").read_text(encoding="utf-8") + "# mine\n"
    Path("contract.yaml").write_text(own, encoding="utf-8")
    assert not tables.make(csv(shop()), "returned")
    assert "contract.yaml was written by hand" in capsys.readouterr().out
    assert Path("contract.yaml").read_text(encoding="utf-8") == own
    assert Path("data/flights.parquet").exists() and not files.RECORD.exists()
    assert not tables.make(csv(shop()), "returned", force=True)
    assert tables.contract()["name"] == "shop"


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n{}", '{"another": 1}', "[]"])
def test_a_record_that_no_run_wrote_is_refused(text: str) -> None:
    files.RECORD.write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match="git checkout HEAD -- data/table.json"):
        tables.make(csv(shop()), "returned")


def test_the_same_file_with_another_option_needs_no_force() -> None:
    path = csv(shop())
    assert not tables.make(path, "returned")
    assert not tables.make(path, "", types="items=category")  # the rest is remembered
    assert tables.contract()["columns"]["items"]["type"] == "category"
    assert tables.table()["items"].iloc[0] in list("12345678")


def test_a_newer_file_shows_what_would_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not tables.make(csv(shop()), "returned")
    before = Path("contract.yaml").read_bytes()
    newer = pd.concat([shop(), shop(600, 900)])
    newer["items"] = newer["items"] + 0.5 * (newer["price"] > 400)
    newer["gift"] = np.where(newer["price"] > 50, "yes", "no")
    path = csv(newer)
    capsys.readouterr()
    assert not tables.make(path, "")
    out = capsys.readouterr().out
    for line in (
        "city: 1 new category: Namur",
        "price: max ",
        "items: type integer → number",
        "gift: a new column, boolean",
        "rows: 600 → 1,200",
        "FORCE=1",
    ):
        assert line in out, line
    assert Path("contract.yaml").read_bytes() == before
    assert len(tables.table()) == 600
    assert not tables.make(path, "", force=True)
    columns = tables.contract()["columns"]
    assert columns["city"]["categories"] == ["Bruges", "Ghent", "Liège", "Namur"]
    assert columns["price"]["max"] >= newer["price"].max()
    assert len(tables.table()) == 1200
    assert "gift" in tables.params("binary")["train"]["columns"]


def test_a_contract_grows_and_never_shrinks() -> None:
    assert not tables.make(csv(shop(600, 900)), "returned")
    wide = tables.contract()["columns"]
    assert not tables.make(csv(shop()), "", force=True)
    narrow = tables.contract()["columns"]
    assert narrow["price"] == wide["price"]
    assert "Namur" in narrow["city"]["categories"]


def test_a_setting_of_your_own_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert not tables.make(csv(shop()), "returned")
    text = Path("params.yaml").read_text(encoding="utf-8")
    mine = text.replace("learning_rate: 0.1", "learning_rate: 0.02").replace(
        "    - items\n", ""
    )
    mine = mine.replace("margin: 0.01 # a slice", "margin: 0.04 # a slice")
    Path("params.yaml").write_text(mine, encoding="utf-8")
    assert not tables.make(csv(pd.concat([shop(), shop(600, 900)])), "", force=True)
    params = tables.params("binary")
    assert params["train"]["hist_gradient_boosting"]["learning_rate"] == 0.02
    assert params["train"]["columns"] == ["price", "city"]
    assert params["gates"]["slices"]["margin"] == 0.04
    assert "gates.slices stays as you wrote it" in capsys.readouterr().out


def test_a_type_of_your_own_in_the_contract_stays() -> None:
    path = csv(shop())
    assert not tables.make(path, "returned")
    text = Path("contract.yaml").read_text(encoding="utf-8")
    line = re.search(r"  items: .*\n", text)
    assert line
    Path("contract.yaml").write_text(
        text.replace(
            line[0], "  items: {type: number, min: 0, max: 50, missing: false}\n"
        ),
        encoding="utf-8",
    )
    assert not tables.make(path, "", force=True)
    assert tables.contract()["columns"]["items"] == {
        "type": "number",
        "min": 0,
        "max": 50,
        "missing": False,
    }


def test_the_same_file_gives_the_same_bytes() -> None:
    path = csv(shop(6000))
    assert not tables.make(path, "returned")
    names = ("data/shop.parquet", "contract.yaml", "params.yaml", "data/table.json")
    first = [Path(name).read_bytes() for name in names]
    assert not tables.make(path, "returned")
    assert [Path(name).read_bytes() for name in names] == first


def test_a_table_in_data_is_not_written_over() -> None:
    path = Path("data", "shop.parquet")
    shop().to_parquet(path)
    before = path.read_bytes()
    assert not tables.make(path, "returned")
    assert path.read_bytes() == before
    assert "data/shop-table.parquet" in Path("dvc.yaml").read_text(encoding="utf-8")


def test_make_passes_what_is_typed_and_no_more() -> None:
    """An environment may have a TIME or a NAME; a name may hold anything."""
    command = ("make", "-n", "data", "FILE=a b.csv", 'TARGET=x "y" `z`')
    environment = {"PATH": "/usr/bin:/bin", "TIME": "%e", "NAME": "machine"}
    makefile = ("-f", str(tables.ROOT / "Makefile"))
    done = subprocess.run(
        (*command, *makefile),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(t for t in done.stdout.splitlines() if "mlgitops data" in t)
    assert '--FILE="$FILE"' in line and '--TARGET="$TARGET"' in line
    assert "TIME" not in line and "NAME=" not in line
