"""Rows are held out by time, at random, by group or by column, with or without a time.

By a hash of the id, or of the group, a row never changes sides; main's rule decides,
and the report says what a holdout of that kind cannot show.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binomtest

from machinery import grown, judged, lengths, tiny
from machinery.judged import CONTRACT, params, rows
from machinery.test_validate import Bench, linear, predicted
from machinery.test_validate_workflow import read, validate, verdicts
from mlgitops import report, settings
from mlgitops.judge import behaviour, copies, evaluation, holdout_reuse, judge
from mlgitops.judge import gates as gate_rules
from mlgitops.judge.evaluation import Model
from mlgitops.judgement import Judgement, Refused, Split, failed
from mlgitops.pipeline import data, golden, manifest, sides
from mlgitops.pipeline import prepare as stage
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.settings import Prepare, check_split
from mlgitops.testing import Project

TIME = {"split": "time", "holdout_days": 14, "train_days": 90}
RANDOM = {"split": "random", "holdout_share": 0.25, "seed": 1}
GROUP = {**RANDOM, "split": "group"}
COLUMN = {"split": "column", "holdout": ["test"]}
UNTIMED = {name: value for name, value in CONTRACT.items() if name != "time"}
TERMS: dict[str, dict[str, Any]] = {  # what each split needs, and no more
    "time": CONTRACT,
    "random": UNTIMED,
    "group": {**UNTIMED, "entity": "customer"},
    "column": {**UNTIMED, "part": "fold"},
}
RULES: dict[str, dict[str, Any]] = {
    "time": TIME,
    "random": RANDOM,
    "group": GROUP,
    "column": COLUMN,
}
SPLITS = list(RULES)


def terms(split: str) -> Contract:
    """Return a contract with what a split needs."""
    return Contract.parse(TERMS[split])


def rule(split: str, **changes: Any) -> Prepare:
    """Return the section of a split."""
    return settings.prepare({"prepare": {**RULES[split], **changes}})


def table(split: str, count: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Return rows as they come, with the columns of a split and no others."""
    frame, random = rows(count, seed), np.random.default_rng(seed)
    if split != "time":
        frame = frame.drop(columns="placed")
    if split == "group":
        frame["customer"] = [f"c{n}" for n in random.integers(0, count // 10, count)]
    if split == "column":
        frame["fold"] = random.choice(["test", "a", "b"], count)
    return frame


def checked(split: str, count: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Return the same, checked against the contract."""
    return data.check(table(split, count, seed), terms(split))


# --- the settings ------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_has_its_own_keys_and_no_others(split: str) -> None:
    assert rule(split).split == split
    for name in set(RULES[split]) - {"split"}:
        few = {n: v for n, v in RULES[split].items() if n != name}
        with pytest.raises(ContractError, match=f"'prepare.{name}' is missing"):
            settings.prepare({"prepare": few})
    everything = {**TIME, **RANDOM, **COLUMN}
    for name in set(everything) - set(RULES[split]):
        wrong = {**RULES[split], name: everything[name]}
        with pytest.raises(ContractError, match=f"{name} is for the split .*, not"):
            settings.prepare({"prepare": wrong})


@pytest.mark.parametrize(
    ("split", "line"),
    [("time", "`time: NAME`"), ("group", "`entity: NAME`"), ("column", "`part: NAME`")],
)
def test_a_split_without_its_column_names_the_line_to_write(
    split: str, line: str
) -> None:
    bare, good = Contract.parse(UNTIMED), terms(split)
    check_split(rule(split), good)
    for refuse in (
        lambda: check_split(rule(split), bare),
        lambda: data.split(checked("random"), bare, rule(split)),
    ):
        with pytest.raises(ContractError) as refused:
            refuse()
        said = str(refused.value)
        assert said.startswith("params.yaml: prepare.split is ") and line in said
        assert "\n" not in said
    check_split(rule("random"), bare)


@pytest.mark.parametrize("share", [0, 0.95, "a fifth", True])
def test_a_share_that_holds_out_nothing_or_all_is_refused(share: Any) -> None:
    with pytest.raises(ContractError, match=r"holdout_share must be a number between"):
        rule("random", holdout_share=share)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"part": "returned"}, "part is 'returned', the target"),
        ({"part": "order"}, "part is 'order', the id"),
        ({"part": "placed", "time": "placed"}, "part is 'placed', the time"),
        ({"part": "age"}, "part is 'age', whose values may be missing"),
        ({"part": ""}, "part must be text, got ''"),
        ({"time": ""}, "time must be text, got ''"),
        ({"entity": "order"}, "entity is 'order', the id"),
    ],
)
def test_a_column_that_cannot_be_a_role_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ContractError) as refused:
        Contract.parse({**UNTIMED, **changes})
    assert words in str(refused.value)


def test_labelled_rows_have_the_part_and_requests_do_not() -> None:
    contract = Contract.parse({**UNTIMED, "part": "fold", "entity": "customer"})
    assert contract.time == "" and contract.labelled_only == ["customer", "fold"]
    assert "fold" not in data.schema(contract, target=False).columns
    with pytest.raises(ContractError, match='"fold" is missing'):
        data.check(table("group"), contract)
    served = Contract.parse({**UNTIMED, "part": "shop"})
    assert served.labelled_only == [], "an input can say it, too"


# --- the split ---------------------------------------------------------------------


@pytest.mark.parametrize("split", ["random", "group"])
def test_adding_rows_moves_none(split: str) -> None:
    few, contract = checked(split, 1000), terms(split)
    more = checked(split, 1000, seed=3)
    both = pd.concat([more, few], ignore_index=True)
    held = set(data.split(few, contract, rule(split))[1]["order"])
    later = set(data.split(both, contract, rule(split))[1]["order"])
    assert held == later & set(few["order"]) and len(later) > len(held)
    fewer = data.split(few[::3], contract, rule(split))[1]["order"]
    assert set(fewer) == held & set(few["order"][::3])


@pytest.mark.parametrize("split", SPLITS)
def test_the_order_of_the_rows_does_not_matter(split: str) -> None:
    frame, contract = checked(split, 2000), terms(split)
    shuffled = frame.sample(frac=1, random_state=5)
    parts = (data.split(f, contract, rule(split)) for f in (frame, shuffled))
    for one, two in zip(*parts, strict=True):
        pd.testing.assert_frame_equal(one, two)
        assert len(one) > 100


def test_the_share_is_held_out_and_another_seed_holds_out_others() -> None:
    ids = [f"row-{n}" for n in range(20_000)]
    held = [sides.shares(ids, seed) < 0.2 for seed in range(5)]
    for one in held:
        assert binomtest(int(one.sum()), len(ids), 0.2).pvalue > 1e-4
    both = int((held[0] & held[1]).sum())
    assert binomtest(both, len(ids), 0.04).pvalue > 1e-4, "independent of one another"
    larger = sides.shares(ids, 0) < 0.3
    assert larger[held[0]].all(), "a larger share holds out the same rows and more"


def test_the_hash_is_the_same_for_ever() -> None:
    """Another one would let a model be judged on rows that it was trained on."""
    found = sides.shares(["a", "7", "Zoë"], 1).round(12).tolist()
    assert found == HASHES


HASHES = [0.582590486687, 0.068516747551, 0.376515731043]


def test_ids_are_their_text_whatever_their_type() -> None:
    frames = [
        pd.DataFrame({"order": values})
        for values in (["1", "2", "3"], [1, 2, 3], [1.0, 2.0, 3.0])
    ]
    masks = [
        sides.held_out(f, terms("random"), rule("random", holdout_share=0.5)).tolist()
        for f in frames
    ]
    assert masks[0] == masks[1] == masks[2]
    assert sides.text(True) == sides.text(np.bool_(1)) == "true"
    assert sides.text(2.5) == "2.5" and sides.text("01") == "01"


def test_a_group_is_never_on_both_sides() -> None:
    frame, contract = checked("group", 4000), terms("group")
    train, holdout = data.split(frame, contract, rule("group"))
    assert not set(train["customer"]) & set(holdout["customer"])
    assert len(train) + len(holdout) == len(frame)
    wild = data.split(frame, contract, rule("random"))
    assert set(wild[0]["customer"]) & set(wild[1]["customer"]), "the control"


def test_a_column_says_which_rows_are_held_out() -> None:
    frame, contract = checked("column"), terms("column")
    train, holdout = data.split(frame, contract, rule("column"))
    assert set(holdout["fold"]) == {"test"} and set(train["fold"]) == {"a", "b"}
    numbered = frame.assign(fold=(frame["fold"] == "test").astype("int64"))
    _, held = data.split(numbered, contract, rule("column", holdout=[1]))
    assert set(held["order"]) == set(holdout["order"])


@pytest.mark.parametrize(
    ("split", "change", "words"),
    [
        (
            "random",
            {"holdout_share": 0.001},
            "holdout part has 0 rows .*at random: add",
        ),
        ("group", {"holdout_share": 0.001}, "0 rows .*each of 3 customer together"),
        ("column", {"holdout": ["tset"]}, r'where "fold" is tset.*3 values of it'),
        ("column", {"holdout": ["a", "b", "test"]}, "train part has 0 rows"),
    ],
)
def test_a_part_without_a_class_is_refused_in_words_that_fit(
    split: str, change: dict[str, Any], words: str
) -> None:
    frame = checked(split, 30)
    assert len(data.split(checked(split), terms(split), rule(split))[1]) > 100
    with pytest.raises(ContractError, match=words) as refused:
        data.split(frame, terms(split), rule(split, **change))
    assert "time" not in str(refused.value) and "days" not in str(refused.value)


def test_a_million_rows_are_hashed_in_seconds() -> None:
    frame = pd.DataFrame({"order": [f"row-{n:07}" for n in range(1_000_000)]})
    start = time.process_time()
    held = sides.held_out(frame, terms("random"), rule("random"))
    assert time.process_time() - start < 8, "about two on an idle core"
    assert abs(held.mean() - 0.25) < 0.002


@pytest.mark.parametrize("split", SPLITS)
def test_the_stage_says_what_it_wrote(split: str) -> None:
    said = stage.summary(
        data.split(checked(split), terms(split), rule(split))[1], terms(split)
    )
    assert " rows, " in said and "returned" in said
    assert ("2025-02-" in said) == (split == "time")
    assert (" customer, " in said) == (split == "group")


# --- the tests of a repository ------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_a_projects_rows_and_samples_keep_their_sides(
    split: str, tmp_path: Path
) -> None:
    wanted = {**params(["shop", "price"]), "prepare": RULES[split]}
    for name, document in (("contract.yaml", TERMS[split]), ("params.yaml", wanted)):
        (tmp_path / name).write_text(json.dumps(document))
    project = Project(tmp_path)
    made = project.made_up_rows()
    train, holdout = data.split(made, project.contract, project.prepare)
    assert min(len(train), len(holdout)) > 100
    some = project.sample(made, 300)
    pd.testing.assert_frame_equal(data.check(some, project.contract), some)
    parts = data.split(some, project.contract, project.prepare)
    for part, whole in zip(parts, (train, holdout), strict=True):
        assert len(part) and set(part["order"]) <= set(whole["order"])


# --- the judge ---------------------------------------------------------------------


class Table(Bench):
    """A bench whose rows and rules are those of a split."""

    def __init__(self, folder: Path, split: str, own: Prepare | None = None) -> None:
        self.folder, self.split, self.frame = folder, split, table(split, 6000)
        self.contract = terms(split)
        self.frame.to_parquet(folder / "raw.parquet")
        self.place("challenger", linear({"price": 1.0}), own)

    def trained(self, own: Prepare | None = None) -> pd.DataFrame:
        """Return the rows that a proposal with its own split trains on."""
        frame = data.check(self.frame, self.contract)
        return data.split(frame, self.contract, own or rule(self.split))[0]

    def place(
        self,
        who: str,
        model: Any,
        own: Prepare | None = None,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
    ) -> None:
        """Place a model that was trained on what its split gives, or on other rows."""
        self.put(who, model)
        file = self.folder / who
        (file / "contract.yaml").write_text(text := json.dumps(TERMS[self.split]))
        train = change(self.trained(own))
        train.to_parquet(file / "train.parquet")
        version = json.loads((file / "manifest.json").read_text())
        version["contract"] = tiny.contract_hashes(text)
        version["data"] = manifest.window(train, self.contract)
        found = golden.rows(train, self.contract)
        version["golden"] = predicted(model, found, self.contract)
        (file / "manifest.json").write_text(json.dumps(version))

    def put(self, who: str, model: Any, **more: Any) -> None:
        """Place a model as a bench with times does."""
        frame, self.frame = self.frame, rows()
        super().put(who, model, **more)
        self.frame = frame

    def look(self, **gates: Any) -> tuple[Judgement, list[str]]:
        """Judge; return all that was found and the ids of the checks that failed."""
        found, wanted = Judgement(), params(["price"])
        wanted["prepare"] = RULES[self.split]
        wanted["gates"]["holdout"] |= gates
        try:
            judge.judge(self.folder, self.contract, wanted, found)
        except Refused as refusal:
            found.checks.append(refusal.check)
        return found, [check.id for check in failed(found.checks)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    """Give benches on which an honest first model passes."""
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "none")
    return lambda split, **more: Table(tmp_path, split, **more)


def added(more: pd.DataFrame) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what adds rows to a table."""
    return lambda frame: pd.concat([frame, more], ignore_index=True)


def said(found: Judgement) -> str:
    """Return the report of a judgement."""
    facts = report.Facts(state="ready", verdict="Passed.", judgement=found)
    return report.render(facts)


@pytest.mark.parametrize("split", ["random", "group", "column"])
def test_a_table_without_a_time_is_judged_to_the_end(
    split: str, bench: Callable[..., Table]
) -> None:
    """Against a champion of the same split, on all rows that are held out."""
    at = bench(split)
    at.place("champion", linear({"price": 0.8}))
    found, refused = at.look()
    assert refused == [], found.checks
    assert found.rows and found.rows.compared == found.rows.held_out > 1000
    assert found.held_out is None and found.split and found.split.kind == split
    assert found.primary_metric and found.primary_metric.champion is not None
    assert not any("trained on as well" in c for c in found.cautions)
    text = said(found)
    assert "Rows have no time, so nothing here says" in text
    assert {
        "random": "25% at random (seed 1), row by row",
        "group": f"at random (seed 1), {found.split.groups:,} customer with all",
        "column": "the rows where fold is test",
    }[split].replace("(", "&#40;").replace(")", "&#41;") in text
    assert "held out from" not in text


def test_by_time_the_report_says_what_it_said(bench: Callable[..., Table]) -> None:
    found, refused = bench("time").look()
    assert refused == [] and found.held_out
    text = said(found)
    assert "Held out:**" not in text and "held out from" in text


FAULTS = ("another seed", "one row", "all under other ids")
SEEN = [(fault, split) for fault in FAULTS for split in ("random", "group", "column")]


@pytest.mark.parametrize(("fault", "split"), lengths.turn(SEEN, lambda one: one[0]))
def test_a_model_that_saw_mains_holdout_is_refused(
    split: str, fault: str, bench: Callable[..., Table]
) -> None:
    """Whatever split the proposal has: main's rules."""
    at = bench(split)
    assert at.look()[1] == [], "the control"
    held = data.split(data.check(at.frame, at.contract), at.contract, rule(split))[1]
    if fault == "another seed":
        other = {"holdout": ["a"]} if split == "column" else {"seed": 2}
        at.place("challenger", linear({"price": 1.0}), rule(split, **other))
    elif fault == "one row":
        at.place("challenger", linear({"price": 1.0}), change=added(held[:1]))
    else:
        ids = [f"x{n}" for n in range(4 * len(held))]
        trained = sides.shares(ids, 1) >= RANDOM["holdout_share"]
        copy = held.assign(order=np.array(ids)[trained][: len(held)])
        if split != "random":
            column = {"group": "customer", "column": "fold"}[split]
            copy[column] = at.trained()[column].iloc[: len(copy)].to_numpy()
        assert not sides.held_out(copy, at.contract, rule(split)).any()
        at.place("challenger", linear({"price": 1.0}), change=added(copy))
    found, refused = at.look()
    assert "holdout_unseen" in refused, (found.checks, found.cautions)


def test_the_proposals_own_split_does_not_matter(bench: Callable[..., Table]) -> None:
    """One that trains on fewer rows than main's is judged on main's holdout."""
    at = bench("random", own=rule("random", holdout_share=0.6))
    found, refused = at.look()
    assert refused == []
    expected = data.split(
        data.check(at.frame, at.contract), at.contract, rule("random")
    )[1]
    assert found.rows and found.rows.held_out == len(expected)
    assert found.split and found.split.share == 0.25


def test_what_a_champion_of_another_split_has_seen_is_not_compared(
    bench: Callable[..., Table],
) -> None:
    at = bench("random")
    at.place("champion", linear({"price": 1.0}), rule("random", seed=7))
    found, _ = at.look(min_rows=100)
    assert found.rows and 100 < found.rows.compared < 0.4 * found.rows.held_out
    assert "of what the champion was trained on" in said(found)
    (at.folder / "champion" / "train.parquet").unlink()
    alone, refused = at.look()
    assert refused == [] and any(
        c.startswith("Nothing is compared: which rows the") for c in alone.cautions
    )


def test_what_a_proposal_does_to_the_rows_is_said_without_a_time(
    bench: Callable[..., Table],
) -> None:
    """Rows taken out, moved to the other part, or added and easier."""
    at = bench("column")
    at.place("champion", linear({"price": 0.8}))
    at.frame.to_parquet(at.folder / "champion" / "raw.parquet")
    version = at.folder / "challenger" / "manifest.json"
    other = json.loads(version.read_text())
    other["data"]["sha256"] = "f" * 64  # other data than the champion's
    version.write_text(json.dumps(other))
    assert not [c for c in at.look()[0].cautions if "Gone" in c or "Other" in c]
    hard = (at.frame["returned"] == 1) & (at.frame["price"] < -1)
    moved = at.frame[~hard].copy()
    row = moved.index[moved["fold"] == "a"][0]
    moved.loc[row, "fold"] = "test"
    easy = table("column", 3000, seed=9).assign(fold="test")
    easy["returned"] = (easy["price"] > 0).astype("int8")
    pd.concat([moved, easy]).to_parquet(at.folder / "raw.parquet")
    keep = ~hard & (at.frame.index != row)
    at.frame = at.frame[keep]
    at.place("challenger", linear({"price": 1.0}))
    other = json.loads(version.read_text())
    other["data"]["sha256"] = "f" * 64
    version.write_text(json.dumps(other))
    found, _ = at.look()
    text = " ".join(found.cautions)
    count = int(hard.sum())
    assert f"Gone: {count} rows (such as o0-" in text and "of the champion's" in text
    assert "Other values than in the champion's data: 1 row (such as o0-" in text
    assert "rows that are new in this holdout are easier" in text
    assert found.rows and found.rows.compared == found.rows.held_out - 1, "it saw one"


def test_with_a_time_a_random_holdout_says_what_it_does_not_show(
    bench: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "time", RANDOM)
    at = bench("time")
    at.place("champion", linear({"price": 0.8}))
    found, refused = at.look()
    assert refused == [] and found.held_out is None
    assert found.rows and found.rows.compared == found.rows.held_out
    text = said(found)
    assert "A fall over time does not show here" in text and "have no time" not in text
    assert "held out from" in text


def test_new_rows_of_a_champions_customers_are_not_new_to_it(tmp_path: Path) -> None:
    seen = pd.DataFrame({"order": ["a", "1"], "customer": ["x", "y"]})
    seen.to_parquet(tmp_path / "train.parquet")
    now = pd.DataFrame({"order": ["a", "b", 1, 2], "customer": ["x", "x", "z", "z"]})
    champion = Model(tmp_path, {"data": {}})
    for split, expected in (
        ("random", [False, True, False, True]),
        ("group", [False, False, False, True]),
    ):
        new = evaluation.new_to(champion, now, terms("group"), split)
        assert new is not None and new.tolist() == expected
    nobody = Model(tmp_path / "nowhere", {"data": {"train_until": "2025-01-01"}})
    assert evaluation.new_to(nobody, now, terms("group"), "group") is None


def test_customers_on_both_sides_are_a_caution(
    bench: Callable[..., Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "group", RANDOM)
    found, refused = bench("group").look()
    assert refused == []
    (one,) = [c for c in found.cautions if "trained on as well" in c]
    assert "belong to a customer that is" in one and "`prepare.split: group`" in one


@pytest.mark.parametrize("split", ["random", "group"])
def test_rows_that_are_alike_by_nature_are_no_copies(split: str) -> None:
    """Customers with the same few values, again and again."""
    frame, random = table("group", 4000), np.random.default_rng(2)
    kinds = random.normal(size=(400, 2)).astype("float32")
    own = frame["customer"].str[1:].astype(int).to_numpy()
    kind = (own * 7 + random.integers(0, 3, len(own))) % 400
    frame["price"], frame["age"] = kinds[kind].T
    frame["shop"] = np.array(["a", "b", "c"])[kind % 3]
    frame["returned"] = (kind % 5 == 0).astype("int8")
    contract = terms("group")
    train, holdout = data.split(data.check(frame, contract), contract, rule(split))
    inputs = ["shop", "price"]
    assert copies.find(train, holdout, contract, inputs, None, split) is None


@pytest.mark.parametrize(
    ("gates", "check", "words"),
    [
        (
            {"min_class_rows": 900},
            "holdout_classes",
            "too few rows where returned is 1",
        ),
        ({"min_groups": 500}, "holdout_groups", "too few different customer"),
        (
            {"min_rows": 3000},
            "holdout_rows",
            "too few rows to decide on: raise prepare",
        ),
    ],
)
def test_gates_count_rows_classes_and_groups(
    gates: dict[str, int], check: str, words: str, bench: Callable[..., Table]
) -> None:
    at = bench("group")
    assert at.look(**dict.fromkeys(gates, 20))[1] == []
    found, refused = at.look(**gates)
    assert refused == [check]
    (one,) = failed(found.checks)
    assert words in one.reason and "prepare.holdout_share" in one.reason
    assert found.metrics == [], "nothing else is measured on them"


def test_the_gates_have_safe_defaults() -> None:
    wanted = params(["price"])
    del wanted["gates"]["holdout"]["min_class_rows"]
    rules = gate_rules.parse(wanted, "binary").rules.holdout
    assert rules.min_class_rows == 10 and rules.min_groups == 2


# Main's rule decides of each alike; by time it is in test_validate_workflow.
PLAYED = lengths.turn(["group", "column", "random"])


@pytest.mark.slow
@pytest.mark.parametrize("split", PLAYED)
def test_from_a_pull_request_to_the_champion_and_the_next_one(
    split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, stored, released, and a second model judged against it; all real."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project = judged.new(tmp_path / "home")
    wanted = {**params(["shop", "price"]), "prepare": RULES[split]}
    for name, document in (("contract", TERMS[split]), ("params", wanted)):
        text = yaml.safe_dump(document, sort_keys=False)
        project.write(f"{name}.yaml", text)
    project.data(table(split, 6000))
    project.commit("rows without a time")
    judged.git("push", "-q", "origin", "main", cwd=project.clone)
    pull = project.propose("first")
    artifact = project.built(pull)
    hub = validate(project, pull, artifact, monkeypatch)
    assert "no champion yet" in hub.comments[1]
    project.write("dvc.lock", read(artifact, "dvc.lock").decode())
    project.commit("adopt")
    commit = project.merge(pull)
    (first,) = verdicts(project)
    assert first["split"]["kind"] == split and first["held_out"] is None
    assert first["rows_held_out"] > 1000
    project.release(first["manifest_sha256"], commit)
    judged.git("switch", "-q", "main", cwd=project.clone)
    wanted["train"]["columns"] = ["shop", "price", "age"]
    project.write("params.yaml", yaml.safe_dump(wanted, sort_keys=False))
    project.data(pd.concat([table(split, 6000), table(split, 600, seed=8)]))
    pull = project.propose("better-on-more-rows")
    hub = validate(project, pull, project.built(pull), monkeypatch)
    comment = hub.comments[2]
    assert "better than the champion" in comment and "⛔" not in comment, comment
    assert "**Held out:**" in comment and "600 added, 0 removed" in comment
    assert "new to</td>" not in comment and "rows both models are new to" not in comment
    # The contract of the split by group has a column `entity`.
    assert ("(95% interval by customer, " in comment) == (split == "group")
    assert ("count as one" in comment) == (split == "group")


# --- how often a holdout has been used ----------------------------------------------


def uses(earlier: dict[str, Any], **now: Any) -> int:
    """Count for a new model, after one that was judged on an earlier holdout."""
    from machinery.test_holdout_reuse import Book
    from mlgitops.judge.verdict import Case
    from mlgitops.judgement import Rows

    split = Split(**{"kind": "random", "timed": False, "seed": 1, "share": 0.2, **now})
    record = {"manifest_sha256": "a", "data_sha256": "e" * 64, **earlier}
    case: Any = Case(Path(), None, None, {}, Book(record))  # type: ignore[arg-type]
    case.manifest_sha256, case.manifest = "new", {"data": {"sha256": "d" * 64}}
    held = Rows(data=5000, held_out=1000, compared=1000, target="")
    case.judgement = Judgement(split=split, rows=held)
    return holdout_reuse.uses(case)


def test_a_holdout_by_hash_is_the_same_while_data_grow() -> None:
    same = {"kind": "random", "seed": 1, "column": "", "values": [], "share": 0.2}
    assert uses({"split": same, "rows_held_out": 900}) == 2
    assert uses({"split": same, "rows_held_out": 400}) == 1, "most rows are new"
    assert uses({"split": {**same, "seed": 2}, "rows_held_out": 900}) == 1
    assert uses({"split": {**same, "kind": "group"}, "rows_held_out": 900}) == 1
    assert uses({"rows_held_out": 900}) == 1, "a verdict of before"
    assert uses({"split": same, "rows_held_out": 900}, kind="time") == 1


# --- what goes on without a time ----------------------------------------------------


def test_a_request_has_a_time_where_the_contract_has_one(tmp_path: Path) -> None:
    from mlgitops.serving import rows as serving_rows

    schema = serving_rows.columns(TERMS["random"])
    row = {"id": "a", "shop": "a", "price": 1.0, "age": None}
    timed = {**row, "time": "2025-01-01T00:00:00Z"}
    names = ["price"]
    serving_rows.inputs([row], schema, names, timed=False)
    serving_rows.inputs([timed], schema, names)
    with pytest.raises(serving_rows.RowError, match="unknown column 'time'; allowed"):
        serving_rows.inputs([timed], schema, names, timed=False)


@pytest.mark.parametrize("split", ["random", "group", "column"])
def test_new_training_data_without_a_time_keeps_all_that_was_there(split: str) -> None:
    contract, past = terms(split), table(split, 400)
    new = table(split, 100, seed=2).assign(probability=0.5, returned=1.0)
    new[""] = pd.Timestamp("2025-03-01", tz="UTC")  # of arrival
    for name in ("price", "age"):
        new[name] = new[name].astype("float64")
    both = pd.concat([new, new.assign(order=past["order"][:100])], ignore_index=True)
    found = grown.build(past, both, contract, 1, 0.5)
    assert found.counts["rows"] == 500 and found.counts["new"] == 100
    assert found.counts["dropped"] == 0 and found.until == ""
    assert found.table["order"].is_monotonic_increasing
    held = set(
        data.split(data.check(past, contract), contract, rule(split))[1]["order"]
    )
    after = set(data.split(found.table, contract, rule(split))[1]["order"])
    assert held <= after, "no row of the holdout moves into training"
    if split != "random":
        column = contract.labelled_only[0]
        with pytest.raises(ContractError, match=f'have "{column}"'):
            bare = new.drop(columns=column)
            grown.build(past, bare, contract, 1, 0.5)
