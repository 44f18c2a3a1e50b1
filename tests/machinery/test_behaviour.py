"""What behaviour.yaml declares is tried, and a model that breaks it is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from machinery.judged import CONTRACT
from machinery.test_validate import Bench, linear
from mlgitops.judge import behaviour
from mlgitops.judgement import Judgement
from mlgitops.pipeline.contract import Contract, ContractError

ROOT = Path.cwd()
RISING = {
    "name": "dearer is not safer",
    "column": "price",
    "add": 1,
    "expect": "not lower",
    "tolerance": 0.01,
    "allowed": 0.05,
}


def judged(bench: Bench, patch: pytest.MonkeyPatch, *tests: Any) -> list[str]:
    """Judge with these tests; return the names of the checks that failed."""
    file = bench.folder / "behaviour.yaml"
    file.write_text(yaml.safe_dump(list(tests)))
    patch.setattr(behaviour, "FILE", file)
    return bench.judged()[1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench on which an honest first model passes."""
    monkeypatch.chdir(ROOT)
    return Bench(tmp_path)


def test_a_model_that_behaves_passes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(bench, monkeypatch, RISING) == []


@pytest.mark.parametrize("expect", ["same", "not higher"])
def test_a_model_that_does_not_is_refused_by_the_name_of_the_test(
    expect: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = judged(bench, monkeypatch, {**RISING, "expect": expect})
    assert failed == ["behaviour.dearer_is_not_safer"]


def test_the_wrong_direction_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("challenger", linear({"price": -1.0}))
    assert "behaviour.dearer_is_not_safer" in judged(bench, monkeypatch, RISING)


def test_the_allowed_share_of_rows_may_break_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = {**RISING, "expect": "same", "tolerance": 0.99, "allowed": 0.0}
    assert judged(bench, monkeypatch, test) == []
    assert judged(bench, monkeypatch, {**test, "tolerance": 0.0}) != []


def test_a_column_that_the_model_does_not_take_is_not_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = {**RISING, "column": "age", "expect": "same", "tolerance": 0.0}
    assert judged(bench, monkeypatch, test) == []


def test_a_test_of_a_column_that_is_removed_is_a_caution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main's file still has it, as the proposal removes both; a typing error stays one.

    No model reads a column that may be removed, so that nothing would be tried.
    """
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "behaviour.yaml")
    behaviour.FILE.write_text(yaml.safe_dump([{**RISING, "column": "age"}]))
    columns = {n: c for n, c in CONTRACT["columns"].items() if n != "age"}
    evaluation: Any = SimpleNamespace(
        contract=Contract.parse({**CONTRACT, "columns": columns}),
        challenger=SimpleNamespace(columns=["price"]),
        task=None,
        removed=frozenset({"age"}),
        judgement=Judgement(),
    )
    behaviour.add(evaluation)
    (caution,) = evaluation.judgement.cautions
    assert "age" in caution and '"dearer is not safer"' in caution
    evaluation.removed = frozenset()
    with pytest.raises(ContractError, match="'age'.*: remove this test if"):
        behaviour.add(evaluation)


def test_what_is_shipped_fits_the_contract() -> None:
    contract = Contract.parse(yaml.safe_load((ROOT / "contract.yaml").read_bytes()))
    declared = yaml.safe_load((ROOT / "behaviour.yaml").read_bytes())
    assert len(behaviour.parse(declared, contract)) == len(declared)


@pytest.mark.parametrize(
    "change",
    [
        {"column": "cost"},
        {"expect": "better"},
        {"tolerance": "0.1"},
        {"allowed": 1},
        {"add": "1"},
        {"set": 1},
        {"more": 1},
        {"column": "shop"},
        {"name": None, "add": None},
    ],
)
def test_a_test_that_tests_nothing_is_an_error(change: dict[str, Any]) -> None:
    test = {k: v for k, v in {**RISING, **change}.items() if v is not None}
    with pytest.raises(ContractError, match=r"behaviour\.yaml"):
        behaviour.parse([test], Contract.parse(CONTRACT))
    with pytest.raises(ContractError, match="list"):
        behaviour.parse({"a": 1}, Contract.parse(CONTRACT))
