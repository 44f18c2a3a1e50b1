"""The page that explains a version: planted failures are found, and none in noise."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from machinery import tiny
from machinery.ledgers import Book, served, sha
from machinery.test_fleet import HOSTILE, NOW, read
from machinery.world import World, world
from mlgitops.commands import explain, release_page
from mlgitops.explain import ExplainError, counterfactual, find, page
from mlgitops.explain.counterfactual import Decider, Search
from mlgitops.explain.error_tree import LEAST, MEASURED, SEED, error_tree
from mlgitops.explain.profile import profile
from mlgitops.explain.subject import Explained, Watched
from mlgitops.fleet import site
from mlgitops.fleet.page import of_model
from mlgitops.judge import sandbox
from mlgitops.judge.publish import JUDGED
from mlgitops.judgement import Judgement
from mlgitops.ledger import Ledger
from mlgitops.pipeline import sides
from mlgitops.pipeline.contract import Contract
from mlgitops.release import ReleaseError, eligibility, package, registry
from mlgitops.release.registry import Version

CONTRACT = Contract.read(tiny.CONTRACT)


def table(count: int, seed: int = 0) -> pd.DataFrame:
    """Return rows of the tiny contract, labelled by chance."""
    random = np.random.default_rng(seed)
    temp = random.uniform(-20, 100, count).astype("float32")
    return pd.DataFrame(
        {
            "flight_id": [f"f{n}" for n in range(count)],
            "scheduled_departure": pd.date_range(
                "2013-01-01", periods=count, freq="h", tz="UTC"
            ),
            "carrier": random.choice(["AA", "B6", "UA"], count),
            "distance": random.uniform(100, 4000, count).astype("float32"),
            "temp": np.where(random.random(count) < 0.2, np.nan, temp),
            "seat": random.choice(["a", "b"], count),
            "late": (random.random(count) < 0.4).astype("float32"),
        }
    )


ROWS = table(1200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny version with both of its tables."""
    folder = tmp_path_factory.mktemp("version")
    tiny.version(folder)
    table(600, 1).to_parquet(folder / find.TRAIN, index=False)
    ROWS.to_parquet(folder / find.HOLDOUT, index=False)
    return folder


@pytest.fixture(scope="module")
def about(folder: Path) -> Explained:
    """Explain it."""
    return find.explained(folder, version="v1.0.0", runs=[])


def search(predict: Any, contract: Contract = CONTRACT) -> Search:
    """Return a search over a function of the model's inputs, threshold 0.5."""
    columns = ["carrier", "distance", "temp", "seat"]
    return Search(contract, columns, ROWS, Decider(predict))


def test_noise_has_no_leaf_that_is_worse() -> None:
    """In 60 holdouts whose losses hang on nothing, 5 % may have one by chance."""
    wrong = 0
    for seed in range(60):
        losses = np.random.default_rng(seed).exponential(0.2, len(ROWS))
        tree = error_tree(ROWS, CONTRACT, losses)
        assert tree.leaves and tree.grown + tree.measured == len(ROWS)
        wrong += any(leaf.worse for leaf in tree.leaves)
    assert wrong <= 7, "more than the 5 % that are allowed, at p = 0.01"


def test_rows_of_an_entity_count_as_one_and_few_make_no_leaf() -> None:
    """What hangs on entities alone is noise to a column that each of them has."""
    contract = Contract.read(f"{tiny.CONTRACT}entity: tail\n")
    wrong = {"entities": 0, "rows": 0}
    for seed in range(40):
        random = np.random.default_rng(seed)
        tail = random.integers(0, 150, len(ROWS))
        far = random.uniform(100, 4000, 150)[tail]
        rows = ROWS.assign(tail=tail.astype(str), distance=far.astype("float32"))
        losses = random.exponential(0.2, 150)[tail]
        for name, of in (("entities", contract), ("rows", CONTRACT)):
            leaves = error_tree(rows, of, losses).leaves
            wrong[name] += any(leaf.worse for leaf in leaves)
    assert wrong["entities"] <= 5 < 20 <= wrong["rows"], wrong
    few = rows.assign(tail=(rows["tail"].astype(int) % 15).astype(str))
    assert error_tree(few, contract, losses).leaves == (), "7 or 8 in each half"


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_other_tasks_are_explained(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number decides nothing; of classes, the likeliest is decided."""
    classes = "classes: ['0', '1']" if task == "multiclass" else ""
    text = tiny.CONTRACT.replace("task: binary", f"task: {task}\n{classes}")
    (tmp_path / "contract.yaml").write_text(text)
    target = ROWS["late"] if task == "regression" else ROWS["late"].map("{:.0f}".format)
    for name in (find.TRAIN, find.HOLDOUT):
        ROWS.assign(late=target).to_parquet(tmp_path / name, index=False)

    class Stub:
        """A model of any task, without a file."""

        inputs, threshold, manifest_sha256 = ["distance"], None, "a" * 64

        def __init__(self, folder: Path, **_: Any) -> None: ...

        def predict_arrays(self, feeds: Any, count: int) -> Any:
            p = (feeds["distance"][:, 0] / 4000).astype("float32")
            return p if task == "regression" else np.column_stack([1 - p, p])

    monkeypatch.setattr(find, "Model", Stub)
    found = find.explained(tmp_path, version="v1.0.0", runs=[])
    shown = page.page(found)
    if task == "regression":
        assert found.counterfactuals is None and "nothing can flip" in shown
    else:
        assert found.counterfactuals and found.counterfactuals[0].options
        assert "Wrong decisions" in shown


def test_the_same_half_would_have_found_leaves_in_noise() -> None:
    """The negative control: without the second half, noise looks worse."""
    from sklearn.tree import DecisionTreeRegressor

    values = ROWS[["distance", "temp"]].to_numpy("float32")
    losses = np.random.default_rng(1).exponential(0.2, len(ROWS))
    tree = DecisionTreeRegressor(max_leaf_nodes=8, min_samples_leaf=LEAST)
    ends = tree.fit(values, losses).apply(values)
    z = [
        (losses[ends == leaf].mean() - losses[ends != leaf].mean())
        / (losses.std() / np.sqrt((ends == leaf).sum()))
        for leaf in np.unique(ends)
    ]
    assert max(z) > 2.7, "Bonferroni's border of eight leaves"


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (ROWS["temp"] > 70, "temp above"),
        (ROWS["temp"].isna(), "temp is missing"),
        (ROWS["carrier"] == "B6", "carrier is B6"),
        ((ROWS["distance"] > 2500) & (ROWS["carrier"] == "UA"), "carrier is UA"),
    ],
)
def test_a_planted_slice_is_found(planted: pd.Series, words: str) -> None:
    noise = np.random.default_rng(3).exponential(0.2, len(ROWS))
    losses = np.where(planted, noise + 0.5, noise)
    worst = error_tree(ROWS, CONTRACT, losses, planted.to_numpy()).leaves[0]
    assert worst.worse and worst.low > 0.2
    assert words in "; ".join(map(page._words, worst.conditions))
    assert worst.wrong is not None and worst.wrong > 0.7, "nearly only planted rows"
    assert worst.rows >= MEASURED


def test_a_leafs_words_name_exactly_its_rows() -> None:
    """Counted again from the words' numbers, on the rows of the measuring half."""
    noise = np.random.default_rng(5).exponential(0.2, len(ROWS))
    losses = noise + (ROWS["distance"] > 2000) + (ROWS["temp"].isna())
    tree = error_tree(ROWS, CONTRACT, losses.to_numpy())
    assert sum(leaf.rows for leaf in tree.leaves) == tree.measured
    shares = np.array([*map(float, _shares())])
    for leaf in tree.leaves:
        inside = shares >= 0.5
        for each in leaf.conditions:
            values = ROWS[each.column]
            if each.equal is not None:
                inside &= (values == each.equal).to_numpy()
            elif each.other_than:
                inside &= ~values.isin(each.other_than).to_numpy()
            else:
                numbers = values.to_numpy("float32")
                named = (numbers > each.above) & (numbers <= each.until)
                inside &= named | (np.isnan(numbers) & each.missing)
        assert int(inside.sum()) == leaf.rows, leaf.conditions


def _shares() -> Any:
    """Return which half each row is in."""
    return sides.shares(ROWS["flight_id"], SEED)


def test_sensitive_columns_and_few_rows_make_no_leaf() -> None:
    losses = np.where(ROWS["seat"] == "a", 1.0, 0.0)
    for leaf in error_tree(ROWS, CONTRACT, losses).leaves:
        assert "seat" not in {each.column for each in leaf.conditions}
    few = ROWS.head(2 * LEAST)
    assert error_tree(few, CONTRACT, losses[: len(few)]).leaves == ()


def test_the_smallest_change_is_the_border_that_is_known() -> None:
    """Decided is distance > 2000: no other column matters, and 2001 is near enough."""
    found = search(
        lambda feeds: (feeds["distance"][:, 0] > 2000).astype("float32")
    ).counterfactual(ROWS.assign(distance=np.float32(1500)).head(1))
    (option,) = found.options
    (change,) = option.changes
    assert (found.decision, option.decision) == ("0", "1")
    assert change.column == "distance" and 2000 < float(str(change.after)) < 2100
    quartiles = ROWS["distance"].quantile([0.25, 0.75])
    size = (float(str(change.after)) - 1500) / (quartiles[0.75] - quartiles[0.25])
    assert option.size == pytest.approx(size)


def test_two_columns_where_none_alone_is_enough() -> None:
    def both(feeds: Any) -> Any:
        far = feeds["distance"][:, 0] > 2000
        return (0.3 * far + 0.3 * (feeds["carrier"][:, 0] == "UA")).astype("float32")

    row = ROWS.assign(distance=np.float32(1500), carrier="AA").head(1)
    (option,) = search(both).counterfactual(row).options
    assert {c.column: c.after for c in option.changes}["carrier"] == "UA"
    assert len(option.changes) == 2 and option.prediction == pytest.approx(0.6)


def test_nothing_is_proposed_where_only_a_sensitive_column_decides() -> None:
    def by_seat(feeds: Any) -> Any:
        return (feeds["seat"][:, 0] == "a").astype("float32")

    found = search(by_seat)
    assert "seat" not in found.values
    assert found.counterfactual(ROWS.head(1)).options == ()
    open_ = Contract.read(tiny.CONTRACT.replace("sensitive: [seat]", "sensitive: []"))
    (option,) = search(by_seat, open_).counterfactual(ROWS.head(1)).options
    assert [c.column for c in option.changes] == ["seat"], "the control: it would be"


def test_what_is_proposed_flips_the_exported_file(
    folder: Path, about: Explained
) -> None:
    """Asked again with each row as a request, by the formula of the tiny model."""
    assert about.counterfactuals and len(about.counterfactuals) == find.NEAREST
    (named,) = find.explained(
        folder, ["f7"], version="v1.0.0", runs=[]
    ).counterfactuals or [None]
    assert named is not None and named.name == "f7" and named.options
    row = ROWS.set_index("flight_id").loc["f7"].to_dict()
    row["temp"] = None if np.isnan(row["temp"]) else row["temp"]
    assert named.prediction == pytest.approx(tiny.expected(row), abs=1e-5)
    for option in named.options:
        after = {**row, **{c.column: c.after for c in option.changes}}
        again = tiny.expected(after)
        assert option.prediction == pytest.approx(again, abs=1e-5)
        assert (again >= 0.3) != (named.prediction >= 0.3)
        for change in option.changes:
            if isinstance(change.after, float):
                limits = CONTRACT.columns[change.column]
                assert limits.min <= change.after <= limits.max


def test_the_nearest_rows_are_nearest(about: Explained) -> None:
    rows = ROWS.astype(object).where(ROWS.notna(), None).to_dict("records")
    margins = sorted(abs(tiny.expected(row) - 0.3) for row in rows)
    found = [abs(each.prediction - 0.3) for each in about.counterfactuals or []]
    assert found == pytest.approx(margins[: find.NEAREST], abs=1e-5)


def test_classes_are_flipped_too() -> None:
    def three(feeds: Any) -> Any:
        far = np.clip(feeds["distance"][:, 0] / 4000, 0, 1)
        return np.column_stack([1 - far, far, np.full(len(far), 0.1)])

    decider = Decider(three, ("near", "far", "other"))
    found = Search(CONTRACT, ["distance"], ROWS, decider)
    row = ROWS.assign(distance=np.float32(1500)).head(1)
    (option,) = found.counterfactual(row).options
    assert (option.decision, option.changes[0].column) == ("far", "distance")
    assert 2000 < float(str(option.changes[0].after)) < 2100


def test_a_row_that_is_not_in_the_holdout_is_refused(folder: Path) -> None:
    with pytest.raises(ExplainError, match="flight_id nobody"):
        find.explained(folder, ["f1", "nobody"], version="", runs=[])


def test_two_numbers_that_differ_read_differently() -> None:
    """As the model reads them, in 32 bits."""
    values = (1234567.0, 1234568.0, 0.1, 2500.0, 1e-7, 16777216.0)
    words = [page._value(value) for value in values]
    assert words[2:4] == ["0.1", "2500"]
    assert [float(word) for word in words] == list(values)


def test_no_number_of_the_profile_is_about_few_rows() -> None:
    rare = ROWS.head(400).assign(temp=1.0, carrier="AA")
    rare.loc[:4, "temp"] = np.nan
    rare.loc[:4, "carrier"] = "UA"
    carrier, distance, temp, seat = profile(ROWS, rare, CONTRACT)
    assert carrier.holdout.shares == (("AA", 395 / 400),)
    assert carrier.holdout.others is None and temp.holdout.missing is None
    assert temp.train.missing == pytest.approx(ROWS["temp"].isna().mean())
    assert distance.train.quantiles == pytest.approx(
        ROWS["distance"].astype(float).quantile([0.05, 0.5, 0.95]).tolist()
    )
    assert seat.sensitive and not seat.train.shares
    (_, few, *_) = profile(ROWS, ROWS.head(30), CONTRACT)
    assert few.holdout.quantiles[0] is None and few.holdout.quantiles[1] is not None


def test_the_page_says_nothing_of_few_entities_nor_who_they_are() -> None:
    """Many rows may be one customer's; who sees a release may know no customer."""
    names = [f"c{number}" for number in range(300)]
    mine = names[int(np.argmax(np.array(sides.shares(names, SEED)) < 0.5))]
    rows = ROWS.assign(carrier="AA", who=names * 4)
    rows.loc[rows["who"] == mine, "carrier"] = "UA"
    rows = pd.concat([rows, *[rows[rows["who"] == mine]] * 9], ignore_index=True)
    who = "  who: {type: category, categories: [c1], missing: false}\n"
    own = Contract.read(f"{tiny.CONTRACT}{who}entity: who\n")
    carrier, distance, _, _, entity = profile(rows, rows.head(150), own)
    assert carrier.train.shares == (("AA", 1196 / len(rows)),)
    assert carrier.train.others is None and not entity.train.shares
    assert distance.train.quantiles[0] and entity.sensitive
    assert distance.holdout.quantiles[0] is None
    rare = profile(rows, rows, CONTRACT)[0]
    assert dict(rare.train.shares).keys() == {"AA", "UA"}, "the control: 40 rows"
    losses = np.where(rows["who"] == mine, 9.0, rows["distance"] > 2000)
    tree = error_tree(rows, own, losses)
    conditions = [each for leaf in tree.leaves for each in leaf.conditions]
    words = " ".join(map(page._words, conditions))
    assert "distance" in words and not re.search(r"\b(who|UA)\b", words)


def test_the_page_is_inert_and_loads_nothing(about: Explained) -> None:
    runs = [Watched(HOSTILE, HOSTILE, HOSTILE, 9, 8, 0.6, 1.5)]
    hostile = replace(about, name=HOSTILE, version=HOSTILE, runs=runs)
    for each in (about, hostile):
        text = page.page(each)
        assert "<script" not in text and "default-src 'none'" in text
        assert not re.findall(r'(?:src|href)="', text)
    assert "No verdict" in text and "seat" in text


def test_the_verdicts_own_numbers_are_shown(
    good: Book, about: Explained, tmp_path: Path
) -> None:
    """What the ledger keeps of the judge's findings is read back as it was."""
    version = Version("v1.1.0", "", "", sha("flights v1.1.0"))
    known = explain.known(good.ledger, version)
    assert known["judgement"].primary_metric.challenger == 0.7
    assert [run.drift for run in known["runs"]] == [0.4]
    text = page.page(replace(about, **known))
    assert "0.7000" in text and "Not kept in the verdict" in text
    dependence = {"column": "temp", "places": ["1", "2"], "challenger": [0.1, 0.22222]}
    slices = {"metric": "Brier score", "looked_at": 1, "rows": []}
    book = served(tmp_path / "again", "flights")
    book.verdict("v1.1.0", dependence=[dependence], slices=slices)
    known = explain.known(book.ledger, version)
    assert "0.222" in page.page(replace(about, **known)), "as the ledger has it"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Make the ledger of one model that is well."""
    return served(tmp_path_factory.mktemp("good") / "flights", "flights")


def test_the_ledger_keeps_what_the_page_shows() -> None:
    fields = set(Judgement.__struct_fields__)
    assert (
        {*page.OPTIONAL, "metrics", "fairness", "mitigation"} <= set(JUDGED) <= fields
    )


def test_the_fleet_links_to_the_page_and_keeps_it(
    good: Book, about: Explained, tmp_path: Path
) -> None:
    mine = replace(about, manifest_sha256=sha("flights v1.1.0"), version="v1.1.0")
    other = replace(about, manifest_sha256=sha("another"))
    fleet = tmp_path / "fleet"
    file = explain.write(mine, fleet / "explain")
    explain.write(other, fleet / "explain")
    for _ in range(2):
        site.write(read(good), fleet, NOW, "2026-06-30")
        text = (fleet / "models" / "flights.html").read_text()
        assert re.findall(r'href="\.\./(explain/[^"]+)"', text) == [
            f"explain/{file.name}"
        ]
        assert file.is_file()


def test_the_fleet_links_to_the_release_where_it_has_no_page(good: Book) -> None:
    (model,) = read(good)
    there = replace(model, address="https://github.com/acme/flights.git")
    start = "https://github.com/acme/flights/releases/tag/flights@"
    text = of_model(there, "2026-06-30", {})
    assert f'href="{start}v1.1.0"' in text and f'href="{start}v1.0.0"' in text
    for address in ("/srv/flights", "https://***@github.com/acme/flights.git"):
        mine = replace(model, address=address)
        assert "releases/tag" not in of_model(mine, "2026-06-30", {})


def test_the_page_of_a_release_has_no_single_row_and_is_the_same_every_time(
    folder: Path, about: Explained
) -> None:
    """Who sees a release may not be one who may read storage."""
    public, again = (
        find.explained(folder, public=True, version="v1.0.0", runs=[]) for _ in range(2)
    )
    text = page.page(public)
    assert public == again and text == page.page(again)
    assert public.counterfactuals is None and about.counterfactuals
    assert "nearest, 1" in page.page(about) and "nearest, 1" not in text
    assert "Single rows are not" in text and "made when the version" in text
    assert public.errors == about.errors and public.profiles == about.profiles


def test_a_folder_is_explained_and_what_it_lacks_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    found = explain.of_folder(Path(), [])
    assert found.version == "" and found.holdout == len(ROWS)
    (tmp_path / "contract.yaml").write_text(tiny.CONTRACT)
    with pytest.raises(ExplainError, match="type make repro"):
        explain.of_folder(tmp_path, [])


def test_a_file_that_is_not_the_manifests_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "v")
    (tmp_path / "v" / "model.onnx").write_bytes(tiny.onnx_bytes(0.002))
    with pytest.raises(explain.ERRORS):
        find.explained(tmp_path / "v", version="", runs=[])
    assert json.loads((folder / "manifest.json").read_text())["threshold"] == 0.3


def test_a_version_comes_by_its_tag_verified(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All of the command: tag, storage, ledger, page; other bytes are refused."""
    with world(tmp_path, monkeypatch) as here:
        manifest = tagged(here, folder)
        book = Ledger()
        book.append({"monitoring/00000001.json": run_of(manifest)}, "monitor")
        monkeypatch.setattr("sys.argv", ["explain", "--version", "v1.0.0"])
        explain.main()
        (file,) = Path("build/explain").iterdir()
        assert str(file) in capsys.readouterr().out
        assert file.name == f"flights-v1.0.0-{manifest[:12]}.html"
        text = file.read_text()
        assert "Drift of temp." in text and "No verdict on these bytes" in text
        with pytest.raises(ReleaseError, match="--model build"):
            explain.of_version("", [])  # nothing is in production
        for each in here.objects.iterdir():
            if each.read_bytes() == (folder / "model.onnx").read_bytes():
                each.write_bytes(tiny.onnx_bytes(0.002))
        with pytest.raises(ReleaseError, match="sha256"):
            explain.of_version("v1.0.0", [])
        gone = {"manifest_sha256": manifest, "seq": 2, "time": "2026-06-30"}
        book.append({f"retired/{manifest}/00000002.json": gone}, "retired")
        with pytest.raises(ReleaseError, match="was retired on 2026-06-30"):
            explain.of_version("v1.0.0", [])


def test_a_release_gets_the_page_or_a_reason(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the version's own tables; what goes wrong stops no release."""
    lost = f"the release has no {package.EXPLAINED}: "
    with world(tmp_path, monkeypatch) as here:
        manifest = tagged(here, folder)
        version = registry.get("flights", "v1.0.0")
        candidate = eligibility.bring(version.commit, tmp_path / "v", manifest)
        paths = {"PYTHONPATH": os.environ["PYTHONPATH"]}  # no machinery is in the clone
        made = sandbox.environment
        monkeypatch.setattr(sandbox, "environment", lambda: {**made(), **paths})
        with monkeypatch.context() as patch:  # the model is asked in a child alone
            patch.setattr(find, "explained", None)
            found = release_page.files(Ledger(), version, candidate)
        text = found.pop(package.EXPLAINED, b"").decode()
        assert "Single rows are not" in text and not found, capsys.readouterr().out
        again = find.explained(folder, public=True, version="v1.0.0", runs=[])
        assert text == page.page(again), "the same bytes here"
        with monkeypatch.context() as patch:
            patch.setattr(release_page, "SECONDS", 0.01)
            assert release_page.files(Ledger(), version, candidate) == {}
            assert f"{lost}it took longer than 0.01 s" in capsys.readouterr().out
        with monkeypatch.context() as patch:
            patch.setattr(release_page, "MOST_BYTES", 10)
            assert release_page.files(Ledger(), version, candidate) == {}
            assert f"{lost}0 MB of tables" in capsys.readouterr().out
        for each in here.objects.iterdir():
            each.unlink()
        assert release_page.files(Ledger(), version, candidate) == {}
        assert f"{lost}build/train.parquet is not in storage" in capsys.readouterr().out


def tagged(here: World, folder: Path) -> str:
    """Put a version on main with its lock, and tag it; return its manifest's sha256."""
    lines = ["schema: '2.0'", "stages:", "  train:", "    outs:"]
    for name in ("model.onnx", "manifest.json", *explain.FILES):
        data = (folder / name).read_bytes()
        md5 = hashlib.md5(data).hexdigest()
        (here.objects / md5).write_bytes(data)
        lines += [f"    - path: build/{name}", f"      md5: {md5}"]
        lines += [f"      size: {len(data)}"]
    (here.clone / "contract.yaml").write_text(tiny.CONTRACT)
    (here.clone / "dvc.lock").write_text("\n".join([*lines, ""]))
    manifest = tiny.sha256((folder / "manifest.json").read_bytes())
    registry.register("flights", manifest, here.commit("model"))
    return manifest


def run_of(manifest: str) -> dict[str, Any]:
    """Return a run of the monitor on a version."""
    return {
        **{"schema": 1, "seq": 1, "time": "2026-06-01T00:00:00+00:00"},
        **{"decision": "watch", "sentence": "Drift of temp.", "version": "v1.0.0"},
        **{"manifest_sha256": manifest, "window": {"rows": 900, "labels": 0}},
        "measured": {"drift": 1.2},
    }


def test_a_version_is_asked_for_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReleaseError, match="not a version"):
        explain.of_version("newest", [])


def test_the_search_is_the_same_every_time(about: Explained, folder: Path) -> None:
    again = find.explained(folder, version="v1.0.0", runs=[])
    assert again.counterfactuals == about.counterfactuals
    assert again.errors == about.errors
    assert counterfactual.SHOWN == 3
